//! What both sides of a storage grid agree on.
//!
//! This crate is pure: no clock, no entropy, no input or output. Bytes in, bytes out.

pub mod base32;
pub mod cap;
pub mod chain_order;
pub mod codec;
pub mod crypt;
pub mod encode;
mod gf256;
pub mod hash;
pub mod hash_tree;
pub mod ids;
pub mod layout;
pub mod lease_secret;
pub mod netstring;
pub mod segmentation;
pub mod server;
pub mod spans;
pub mod ueb;

pub use hash::Hash;
pub use ids::{Key, StorageIndex};
