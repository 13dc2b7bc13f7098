//! The `no_network` grid: storage servers as actors, called by plain async calls with a fault layer between.
//!
//! A [`StoredFile`] is what the servers store; a [`Server`] is an actor that answers calls about its shares, and
//! does with each call what the case's faults say.

mod answer;
mod call;
mod file;
mod ledger;
mod poisoned;
mod reader;
mod server;
mod share;
mod sparse;

pub use file::{FileError, StoredFile};
pub use ledger::{CallCounts, Ledger};
pub use server::{Server, ServerSpec, Setup};
pub use share::ShareData;
