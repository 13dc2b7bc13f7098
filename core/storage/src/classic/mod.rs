//! A guest in the storage directory of a real Tahoe-LAFS node: leases are in the containers, and there is no database.
//!
//! The directory may belong to a node that is running. Opening it changes nothing, and an upload that
//! the node has in progress keeps its place. Uploads that a crash left behind are therefore left alone
//! too; a node sweeps its own when it starts.

mod directory;
mod leases;
mod upload;

pub use directory::{OpenError, ShareDirectory};
pub use leases::{ContainerLease, Expired, Held, ShareFile};
