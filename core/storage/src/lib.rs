//! A storage server over one Tahoe-LAFS storage directory: immutable shares, read and written in the
//! formats of Tahoe-LAFS 1.20, so that a real node's directory can be used as it stands.
//!
//! ```text
//! STORAGE/shares/<prefix>/<storage index>/<share number>            complete shares
//! STORAGE/shares/incoming/<prefix>/<storage index>/<share number>   uploads in progress
//! STORAGE/corruption-advisories/…                                   what clients complained about
//! ```
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`ShareDirectory`] | the server: a [`StorageServer`](protocol::server::StorageServer) over a directory |
//! | `container` | one share file: its header, its data, its leases |
//! | `lease` | the lease record at the end of a share file |
//! | `upload` | one share on its way in, from allocation to the rename that publishes it |
//! | `advisory` | the report that a client leaves about a damaged share |
//! | `error` | what can go wrong, and what the client is told of it |
//!
//! Every touch of the disk is a job in [`Runtime::blocking`](runtime::Runtime::blocking): it runs to
//! its end even when the client has gone, so a share file is never left half-way between two states
//! by a cancelled call.
//!
//! The directory may belong to a node that is running. Opening it changes nothing, and an upload that
//! the node has in progress keeps its place. Uploads that a crash left behind are therefore left alone
//! too; a node sweeps its own when it starts.

mod advisory;
pub mod backend;
mod classic;
pub mod config;
mod container;
pub mod database;
mod error;
mod layout;
mod lock;
pub mod server;
pub mod share;

pub use classic::{OpenError, ShareDirectory};
