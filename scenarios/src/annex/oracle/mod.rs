//! The oracles of the annex scenarios (annex-p2p §16): one checker per file, each from facts to evidence.

pub mod actions;
pub mod answers;
pub mod capacity;
pub mod chosen;
pub mod connects;
pub mod content;
pub mod locks;
pub mod log;
pub mod replies;
pub mod stored;
pub mod work;
