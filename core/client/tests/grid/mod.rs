//! A grid in memory: servers that answer, hang, fail or lie as a test tells them to.
#![allow(dead_code, reason = "each test file uses its part of this")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use client::{Client, Config, Node};
use protocol::StorageIndex;
use protocol::cap::{Cap, ReadCap};
use protocol::encode::{Encoded, KeySource, Params, Secret, encode};
use protocol::hash::{self, permute};
use protocol::hash_tree::HashTree;
use protocol::layout::{Layout, Version};
use protocol::server::{
    Allocate, Allocated, LeaseSecret, ServerError, ServerId, ServerVersion, ShareNumber, ShareReader,
    StorageServer,
};
use protocol::ueb::Ueb;
use tokio::sync::Notify;

pub mod world;

use world::{Gate, TestWorld};

/// What a server does with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    Answer,
    /// Answers after this many milliseconds.
    Late(u64),
    /// Waits until told otherwise, then acts accordingly.
    Hang,
    Fail,
}

/// A switch that calls in progress obey.
pub struct Switch {
    manner: Mutex<Manner>,
    changed: Notify,
}

impl Switch {
    fn new() -> Self {
        Switch { manner: Mutex::new(Manner::Answer), changed: Notify::new() }
    }

    pub fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
        self.changed.notify_waiters();
    }

    async fn obey(&self) -> Result<(), ServerError> {
        loop {
            let changed = self.changed.notified();
            let manner = self.manner.lock().unwrap().clone();
            match manner {
                Manner::Answer => return Ok(()),
                Manner::Late(millis) => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    return Ok(());
                }
                Manner::Fail => return Err(ServerError::Disconnected),
                Manner::Hang => changed.await,
            }
        }
    }
}

pub struct Server {
    id: ServerId,
    pub shares: Mutex<BTreeMap<ShareNumber, Arc<Share>>>,
    pub queries: Switch,
    pub asked: Mutex<u32>,
    overrun: bool,
}

pub struct Share {
    pub bytes: Mutex<Bytes>,
    pub reads: Switch,
    pub advising: Switch,
    /// Every read, in order: offset and length.
    pub log: Mutex<Vec<(u64, u64)>>,
    pub advice: Mutex<Vec<String>>,
    /// Hands out more than was asked for.
    pub overlong: Mutex<bool>,
    overrun: bool,
}

impl Share {
    pub fn edit(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes.lock().unwrap();
        let mut edited = bytes.to_vec();
        edit(&mut edited);
        *bytes = edited.into();
    }

    pub fn reads_seen(&self) -> Vec<(u64, u64)> {
        self.log.lock().unwrap().clone()
    }

    pub fn advice_seen(&self) -> Vec<String> {
        self.advice.lock().unwrap().clone()
    }
}

#[async_trait]
impl StorageServer for Server {
    fn id(&self) -> &ServerId {
        &self.id
    }

    fn version(&self) -> ServerVersion {
        ServerVersion { tolerates_immutable_read_overrun: self.overrun, ..ServerVersion::default() }
    }

    async fn get_buckets(
        &self,
        _index: StorageIndex,
    ) -> Result<BTreeMap<ShareNumber, Arc<dyn ShareReader>>, ServerError> {
        *self.asked.lock().unwrap() += 1;
        self.queries.obey().await?;
        let shares = self.shares.lock().unwrap();
        let reader = |(&number, share): (&ShareNumber, &Arc<Share>)| {
            let reader: Arc<dyn ShareReader> = Arc::new(Reader(share.clone()));
            (number, reader)
        };
        Ok(shares.iter().map(reader).collect())
    }

    async fn allocate_buckets(&self, _request: Allocate) -> Result<Allocated, ServerError> {
        Err(ServerError::NoSpace)
    }

    async fn add_lease(&self, _: StorageIndex, _: LeaseSecret, _: LeaseSecret) -> Result<(), ServerError> {
        Ok(())
    }
}

struct Reader(Arc<Share>);

#[async_trait]
impl ShareReader for Reader {
    async fn read(&self, offset: u64, length: u64) -> Result<Bytes, ServerError> {
        self.0.log.lock().unwrap().push((offset, length));
        self.0.reads.obey().await?;
        let bytes = self.0.bytes.lock().unwrap().clone();
        if !self.0.overrun && offset + length > bytes.len() as u64 {
            return Err(ServerError::Refused("read past the end".into()));
        }
        if *self.0.overlong.lock().unwrap() {
            return Ok(vec![0; length as usize + 1].into());
        }
        let start = offset.min(bytes.len() as u64) as usize;
        let end = offset.saturating_add(length).min(bytes.len() as u64) as usize;
        Ok(bytes.slice(start..end))
    }

    async fn advise_corrupt_share(&self, reason: &str) -> Result<(), ServerError> {
        self.0.advice.lock().unwrap().push(reason.to_owned());
        self.0.advising.obey().await
    }
}

/// A file on a grid, with share i on server i. The servers stand on the file's ring in that order.
pub struct Grid {
    pub client: Client,
    pub servers: Vec<Arc<Server>>,
    pub cap: ReadCap,
    pub plain: Vec<u8>,
    pub encoded: Encoded,
    /// Holds decoding back.
    pub gate: Gate,
}

#[derive(Clone)]
pub struct Setup {
    pub length: usize,
    pub params: Params,
    pub servers: usize,
    pub version: Option<Version>,
    pub overrun: bool,
    pub config: Config,
}

impl Default for Setup {
    /// 300 bytes in five segments, 3 of 10, on ten servers.
    fn default() -> Self {
        Setup {
            length: 300,
            params: Params { k: 3, n: 10, max_segment_size: 60 },
            servers: 10,
            version: None,
            overrun: true,
            config: Config::default(),
        }
    }
}

impl Setup {
    pub fn segments_of(max_segment_size: u64) -> Self {
        Setup { params: Params { max_segment_size, ..Params::default() }, ..Setup::default() }
    }

    /// The segment size guessed first.
    pub fn guess(mut self, guess: u64) -> Self {
        self.config.guessed_max_segment_size = guess;
        self
    }

    pub fn length(mut self, length: usize) -> Self {
        self.length = length;
        self
    }

    pub fn servers(mut self, servers: usize) -> Self {
        self.servers = servers;
        self
    }

    pub fn build(self) -> Grid {
        let plain: Vec<u8> = (0..self.length).map(|i| ((7 * i + 13) % 251) as u8).collect();
        let key = KeySource::Convergent(Secret(b"aaaaaaaaaaaaaaaa"));
        let encoded = encode(&plain, self.params, key, self.version).unwrap();
        let index = encoded.cap.storage_index();
        let gate = Gate::default();
        let client = Client::new(TestWorld::runtime(gate.clone()), self.config);
        let mut seeds: Vec<[u8; 20]> = (0..self.servers).map(|i| [i as u8; 20]).collect();
        seeds.sort_by_key(|seed| permute(&index, seed));
        let servers: Vec<_> = seeds
            .into_iter()
            .enumerate()
            .map(|(i, seed)| {
                let server = Arc::new(Server {
                    id: ServerId::new(format!("s{i}"), seed),
                    shares: Mutex::default(),
                    queries: Switch::new(),
                    asked: Mutex::default(),
                    overrun: self.overrun,
                });
                client.add_server(server.clone());
                server
            })
            .collect();
        let grid = Grid { client, servers, cap: encoded.cap, plain, encoded, gate };
        for i in 0..grid.encoded.shares.len().min(grid.servers.len()) {
            grid.place(i as u32, i);
        }
        grid
    }
}

impl Grid {
    /// Puts an intact copy of a share on a server.
    pub fn place(&self, number: ShareNumber, server: usize) -> Arc<Share> {
        self.place_bytes(number, server, self.encoded.shares[number as usize].clone())
    }

    pub fn place_bytes(&self, number: ShareNumber, server: usize, bytes: Bytes) -> Arc<Share> {
        let server = &self.servers[server];
        let share = Arc::new(Share {
            bytes: Mutex::new(bytes),
            reads: Switch::new(),
            advising: Switch::new(),
            log: Mutex::default(),
            advice: Mutex::default(),
            overlong: Mutex::new(false),
            overrun: server.overrun,
        });
        server.shares.lock().unwrap().insert(number, share.clone());
        share
    }

    /// Share i, on server i.
    pub fn share(&self, i: usize) -> Arc<Share> {
        self.servers[i].shares.lock().unwrap()[&(i as u32)].clone()
    }

    /// Takes all shares off all servers but those listed.
    pub fn keep_shares(&self, keep: &[usize]) {
        for (i, server) in self.servers.iter().enumerate() {
            if !keep.contains(&i) {
                server.shares.lock().unwrap().clear();
            }
        }
    }

    pub fn node(&self) -> Node {
        self.client.open(&Cap::Read(self.cap)).unwrap()
    }

    /// The plaintext of a range.
    pub fn want(&self, offset: usize, length: usize) -> Bytes {
        Bytes::copy_from_slice(&self.plain[offset..offset + length])
    }

    pub fn layout(&self) -> Layout {
        Layout::parse(&self.encoded.shares[0]).unwrap()
    }

    /// Reads all of the file with a node of its own.
    pub async fn read_all(&self) -> Result<Bytes, client::ReadError> {
        self.node().read(0, None).collect().await
    }

    /// Rewrites all shares as a malicious uploader would: everything is authentic, and what a segment
    /// decodes to is not what its hash promises. Servers get the new shares, the grid the new cap.
    pub fn poison_segment(&mut self, segment: usize) {
        let layout = self.layout();
        let old = self.encoded.shares[0].clone();
        let nodes = (layout.block_hashes - layout.crypttext_hash_tree) as usize / 32;
        let first_leaf = nodes / 2;
        let node = |i: usize| {
            let start = layout.crypttext_hash_tree as usize + 32 * i;
            let hash: [u8; 32] = old[start..start + 32].try_into().unwrap();
            hash
        };
        let length = old.len() - layout.uri_extension as usize - layout.version.field_len() as usize;
        let ueb_at = old.len() - length;
        let mut ueb = Ueb::parse(&old[ueb_at..]).unwrap();
        let count = ueb.num_segments.unwrap() as usize;
        let mut leaves: Vec<_> = (0..count).map(|i| node(first_leaf + i)).collect();
        leaves[segment] = [0x66; 32];
        let tree = HashTree::new(&leaves).unwrap();
        ueb.crypttext_root_hash = tree.root();
        let ueb = ueb.to_bytes();
        for share in &mut self.encoded.shares {
            let mut bytes = share.to_vec();
            let start = layout.crypttext_hash_tree as usize;
            bytes[start..start + 32 * nodes].copy_from_slice(tree.nodes().as_flattened());
            bytes[ueb_at..].copy_from_slice(&ueb);
            *share = bytes.into();
        }
        self.cap.ueb_hash = hash::ueb(&ueb);
        for i in 0..self.servers.len().min(self.encoded.shares.len()) {
            self.place(i as u32, i);
        }
    }
}

/// Lets every task run until all of them wait for something other than each other; time stands still.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
