//! The oracles of the storage scenarios: one checker per file, each from facts to evidence. What is looked at is outside the
//! server: its disk or store, the content of its database, and what clients were told (leasedb-and-storage §16).

pub mod agreed;
pub mod answers;
pub mod crawling;
pub mod deletes;
pub mod handles;
pub mod idle;
pub mod kept;
pub mod leased;
pub mod promised;
pub mod renewed;
pub mod reserved;
pub mod rows;
pub mod secrets;
pub mod settled;
pub mod siblings;
pub mod unchanged;
pub mod visible;
pub mod writes;
