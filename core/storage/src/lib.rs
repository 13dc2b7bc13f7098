//! The storage server of a grid, in the formats of Tahoe-LAFS 1.20, so that a real node's directory can be used as it
//! stands and ours by a real node.
//!
//! ```text
//! STORAGE/shares/<prefix>/<storage index>/<share number>            complete shares
//! STORAGE/shares/incoming/<storage index>.<share number>            uploads in progress, and changes
//! STORAGE/shares/incoming/<prefix>/<storage index>/<share number>   uploads in progress of a real node and its guest
//! STORAGE/corruption-advisories/…                                   what clients complained about
//! STORAGE/leasedb.redb                                              who asked for what, until when
//! STORAGE/leasedb.epochs                                            which epochs were given, should that be lost
//! ```
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`server`] | the server that keeps its leases in a database, and its crawler |
//! | [`database`] | the lease database: shares, their states, accounts, leases |
//! | [`backend`] | where shares are kept: on a [`disk`](backend::disk), in an object store ([`cloud`](backend::cloud)) |
//! | [`classic`] | a guest in a real node's directory: leases are in the containers, there is no database |
//! | `container` | the formats of containers: header, data, leases |
//! | `layout` | the names under which shares are filed |
//! | `advisory` | the report that a client leaves about a damaged share |
//! | [`config`], [`share`], `error` | what can be set; what things are called; what can go wrong |
//!
//! Every touch of the disk is a job in [`Runtime::blocking`](runtime::Runtime::blocking): it runs to
//! its end even when the client has gone, so a share file is never left half-way between two states
//! by a cancelled call.

mod advisory;
pub mod backend;
pub mod classic;
pub mod config;
mod container;
pub mod crawler;
pub mod database;
mod error;
mod layout;
mod lock;
pub mod server;
pub mod share;

pub use classic::{OpenError, ShareDirectory};
