//! The P2P protocol over HTTP (annex-p2p §9, §10), on both sides: [`Server`] serves [`Peers`], and [`HttpRemote`] is the
//! peer behind a URL.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`request`], [`answer`], [`text`] | what is asked and answered, as paths, queries, JSON and status codes; pure |
//! | [`access`] | who may do what; pure |
//! | [`server`] | connections, and their bounds |
//! | [`serve`] | a request, from its head to its end; `transfer`: objects' bytes; `locking`: locks |
//! | [`locks`] | locks, which outlast the requests that take them |
//! | [`client`], [`site`] | the peer behind a URL; `conversation`: a connection to it, for one request after the other |
//! | [`body`], [`io`] | bodies that come piece by piece; our streams and clock as hyper wants them |
//!
//! HTTP has no messages after an object's bytes, so their number speaks: a body that is shorter than was announced is not
//! to be trusted, or did not come whole; one of the announced length is what its sender believes to be right.

pub mod access;
pub mod answer;
pub mod body;
pub mod client;
pub(crate) mod conversation;
pub mod io;
mod locking;
pub mod locks;
pub mod request;
pub mod serve;
pub mod server;
pub mod site;

pub mod text;
mod transfer;

use std::collections::BTreeSet;

pub use client::HttpRemote;
pub use server::Server;

use crate::Peer;
use crate::repository::Repository;
use crate::uuid::Uuid;
use crate::version::Version;

/// The header that announces the length of an object's bytes, on both sides.
pub const DATA_LENGTH: &str = "x-git-annex-data-length";

/// The repositories that are served here.
pub trait Peers: Send + Sync {
    /// The repository `server`, for one request of `client` that has passed the gateways of `bypass`; none when it is
    /// not served here. When it is dropped, a connection under it is given up unless it is reusable.
    fn peer(
        &self,
        server: &Uuid,
        client: &Uuid,
        bypass: &BTreeSet<Uuid>,
        version: Version,
    ) -> Option<Box<dyn Peer>>;

    /// The gateway that requests pass here, to which they must not come back; none where nothing is passed on.
    fn gateway(&self) -> Option<&Uuid> {
        None
    }
}

impl Peers for Repository {
    fn peer(&self, server: &Uuid, _: &Uuid, _: &BTreeSet<Uuid>, _: Version) -> Option<Box<dyn Peer>> {
        (server == self.uuid()).then(|| Box::new(Repository::peer(self)) as Box<dyn Peer>)
    }
}
