//! Shares as objects of a store: `shares/<prefix>/<storage index>/<n>` holds the first chunk of a share, and
//! `….<c>` the chunk `c` (leasedb-and-storage §12).

mod store;

pub use store::{ObjectStore, Page, StoreError};
