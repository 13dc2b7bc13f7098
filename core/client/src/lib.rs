//! The storage client: reads files from a grid of servers none of which is trusted.
//!
//! A [`Client`] knows servers and opens capabilities; a [`Node`] is an open file; a [`Read`] hands out a
//! range of it piece by piece. Any k of a file's N shares suffice; servers may be slow, silent, broken or
//! lie, and every byte handed out was checked against the capability.
//!
//! ```
//! # use std::{collections::BTreeMap, sync::Arc, time::Duration};
//! # use protocol::{StorageIndex, server::*};
//! # struct Disk { id: ServerId, share: bytes::Bytes }
//! # struct Reader(bytes::Bytes);
//! # #[async_trait::async_trait]
//! # impl StorageServer for Disk {
//! #     fn id(&self) -> &ServerId { &self.id }
//! #     fn version(&self) -> ServerVersion { ServerVersion::default() }
//! #     async fn get_buckets(&self, _: StorageIndex)
//! #         -> Result<BTreeMap<u32, Arc<dyn ShareReader>>, ServerError> {
//! #         let reader: Arc<dyn ShareReader> = Arc::new(Reader(self.share.clone()));
//! #         Ok(BTreeMap::from([(0, reader)]))
//! #     }
//! #     async fn allocate_buckets(&self, _: Allocate) -> Result<Allocated, ServerError> { Ok(Allocated::default()) }
//! #     async fn add_lease(&self, _: StorageIndex, _: LeaseSecret, _: LeaseSecret) -> Result<(), ServerError> { Ok(()) }
//! # }
//! # #[async_trait::async_trait]
//! # impl ShareReader for Reader {
//! #     async fn read(&self, offset: u64, length: u64) -> Result<bytes::Bytes, ServerError> {
//! #         let end = self.0.len().min((offset + length) as usize);
//! #         Ok(self.0.slice(end.min(offset as usize)..end))
//! #     }
//! #     async fn advise_corrupt_share(&self, _: &str) -> Result<(), ServerError> { Ok(()) }
//! # }
//! # use protocol::{cap::Cap, encode::{encode, KeySource, Params, Secret}};
//! # let text = b"It was a bright cold day in April, and the clocks were striking thirteen.";
//! # let params = Params { k: 1, n: 1, ..Params::default() };
//! # let made = encode(text, params, KeySource::Convergent(Secret(b"")), None).unwrap();
//! # let (cap, share) = (Cap::Read(made.cap).to_string(), made.shares[0].clone());
//! # let server = Arc::new(Disk { id: ServerId::new("s0", [0; 20]), share });
//! # let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # tokio.block_on(async {
//! use client::{Client, Config};
//! let client = Client::new(runtime::real::RealWorld::runtime(), Config::default());
//! client.add_server(server);
//! let node = client.open(&cap.parse().unwrap()).unwrap();
//! let mut read = node.read(9, Some(15));
//! while let Some(piece) = read.next().await {
//!     assert_eq!(piece.unwrap(), "bright cold day");
//! }
//! assert_eq!(node.status().bytes_returned, 15);
//! client.close(Duration::from_secs(5)).await;
//! # });
//! ```
//!
//! # How it works
//!
//! Each node has one task and one queue. Requests, answers, time limits and the node's own notifications
//! all go through that queue, in order, into a state machine that never waits: data in, data out. So no
//! state is half changed when something is cancelled, and every run can be replayed. The machine's parts:
//!
//! | part | what it does |
//! | --- | --- |
//! | `machine` | requests for segments, first come first served; one fetch at a time |
//! | `finder` | asks servers in ring order which shares they have |
//! | `fetcher` | gathers k blocks of one segment, from the fastest servers first |
//! | `share` | reads one share on one server, and checks what it reads |
//! | `file` | what is known of the file whichever share it came from |
//!
//! `check` asks all servers about a file without reading it, and leases its shares.
//!
//! Around it: `node` runs the machine and its calls, `read` is the reader's side, `janitor` tells servers
//! about corrupt shares, `patience` limits how long a call is waited for. [`Config`] says what bounds of
//! time and memory follow.
//!
//! Sources of the rules: tahoe-immutable §10 (ring), §12 (download), §13 (status), §20 (deviations).

mod broker;
mod check;
mod client;
mod config;
mod errors;
mod event;
mod fetcher;
mod file;
mod finder;
mod inbox;
mod janitor;
mod machine;
mod node;
mod patience;
mod read;
mod share;
mod status;
#[cfg(test)]
mod workbench;

pub use check::{BucketSecrets, Check, CheckFailure};
pub use client::Client;
pub use config::Config;
pub use errors::{OpenError, ReadError, ShareFailure, Tally};
pub use node::Node;
pub use read::Read;
pub use status::{BlockEvent, DecodeEvent, DyhbEvent, Log, ReadEvent, SegmentEvent, Status};
