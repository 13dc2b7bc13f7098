//! A guest in the storage directory of a real Tahoe-LAFS node: leases are in the containers, and there is no database.

mod directory;
mod upload;

pub use directory::{OpenError, ShareDirectory};
