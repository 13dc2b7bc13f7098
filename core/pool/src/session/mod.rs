//! Sessions of the P2P protocol on a connection: serving a peer, and being a client of one.
//!
//! [`serve`](server::serve) speaks for a [`Peer`](crate::Peer) to whoever is at the other end; a
//! [`Remote`](client::Remote) is the peer that is at the other end.

pub mod client;
pub mod server;
