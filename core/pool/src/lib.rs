//! git-annex peers: whoever holds annexed objects, asks for them, or stands in between.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`peer`] | [`Peer`]: what can be asked of a repository, wherever it is |
//! | [`repository`] | a directory of our own with objects |
//! | [`special`] | a directory special remote of git-annex's |
//! | [`session`] | the P2P protocol on a connection: serving a peer, being a client of one |
//! | [`wire`], [`message`], [`version`] | connections, what is said on them, and in which version |
//! | [`key`], [`hash`], [`verify`], [`uuid`] | what objects are called, and whether bytes are theirs; what repositories are called |
//! | [`http`] | the protocol over HTTP: a server, and the peer behind a URL |
//! | [`workers`] | how many requests are served at a time |
//! | [`cluster`] | several repositories that are one to their clients |
//! | [`connections`], [`idle`] | connections to peers elsewhere, lent, and kept to be used again |
//! | [`pooled`] | the peer at the other end of a session that is kept |
//! | [`asked`] | a peer as a gateway asks it: not for ever, and not without a record |
//! | [`gateway`] | nodes and clusters that are reached through one place |
//! | [`mode`] | what clients may do |

pub mod asked;
pub mod cluster;
pub mod connections;
pub mod gateway;
pub mod hash;
pub mod http;
pub mod idle;
pub mod key;
pub mod message;
pub mod mode;
pub mod peer;
pub mod pooled;
pub mod repository;
pub mod session;
pub mod special;
pub mod uuid;
pub mod verify;
pub mod version;
pub mod wire;
pub mod workers;

pub use peer::Peer;
