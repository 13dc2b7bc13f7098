//! Plays a case: readers on a simulated grid, every oracle, then healing, a fresh look, and closing.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use client::{Client, Config, Node, ReadError};
use futures::future::{Either, select};
use protocol::cap::Cap;
use protocol::segmentation::Segmentation;
use protocol::server::ServerId;
use runtime::{Instant, Runtime, Scope};
use seedgrid::case::Case;
use seedgrid::grid::{Server, Setup, StoredFile};
use seedgrid::oracle::{
    Budget, Outcome, ReadFacts, check_budget, check_bytes, check_closed, check_idle, check_outcome,
};
use seedgrid::world::{Actor, Cancelled, World};

use crate::fixtures::FileSpec;
use crate::swarm::Circumstance;
use crate::workload::{GridWorkload, ReadPlan, ReaderPlan};

/// How many segments a fresh node reads after healing at the most, when it reads more than one.
const FRESH_LOOK: u64 = 6;
/// With fewer shares than are needed and so many more, a grid is short of shares.
const SCARCE: usize = 3;

/// Plays a case from beginning to end.
pub async fn play(case: Arc<Case>, world: World) {
    let Ok(stage) = Stage::set(&case, world) else {
        return world.violated("harness", "the case's file does not exist");
    };
    let stage = Arc::new(stage);
    let workload = case.workload.of::<GridWorkload>();
    world.must_end_within(stage.reading_bound(workload));
    stage.join_servers(workload);
    stage.read_all(workload).await;
    stage.let_settle().await;
    stage.check("quiescence", check_idle(&stage.client_actor, stage.nodes().len()));
    stage.check_budget(workload.nodes());
    stage.heal_and_look_again(case.seed).await;
    stage.close().await;
}

/// The client, the grid and what the harness keeps of them.
struct Stage {
    world: World,
    file: &'static StoredFile,
    servers: Vec<Server>,
    joined: Vec<AtomicBool>,
    script: Runtime,
    /// Tasks of the script: readers, joining servers.
    scope: Scope,
    client_actor: Actor,
    client: Client,
    config: Config,
    nodes: Mutex<BTreeMap<u32, Arc<OpenNode>>>,
    /// The planned reads that are under way: node, offset, length.
    under_way: Mutex<Vec<Wanting>>,
    segments: AtomicU64,
    /// Reads that did not come to their end: dropped, cancelled, or failed.
    broken_off: AtomicU64,
}

type Wanting = (u32, u64, Option<u64>);

/// A node and the servers that it can know of.
struct OpenNode {
    node: Node,
    known: Vec<Server>,
}

impl Stage {
    fn set(case: &Case, world: World) -> Result<Stage, String> {
        let workload = case.workload.of::<GridWorkload>();
        let file = workload.file.load()?;
        let other = FileSpec::fixture("many_segments").load()?;
        let script = world.actor("script");
        let mut config = Config::default();
        config.guessed_max_segment_size = workload.guess.unwrap_or(config.guessed_max_segment_size);
        config.max_outstanding_dyhbs = workload.most_queries.unwrap_or(config.max_outstanding_dyhbs);
        config.max_advice = workload.most_advice.unwrap_or(config.max_advice);
        let silence = config.dyhb_overdue.min(config.block_overdue) + config.abandon.unwrap_or_default();
        let server = |(number, plan): (usize, &crate::workload::ServerPlan)| {
            let id = ServerId::new(format!("S{number}"), [number as u8; 20]);
            Server::new(
                world,
                Setup {
                    number,
                    id,
                    spec: plan.spec(),
                    seed: case.seed,
                    file,
                    other,
                    shares: &plan.shares,
                    faults: &case.faults,
                    injector: script.clone(),
                    // What a call takes anyway comes on top.
                    patience: silence - Duration::from_secs(2),
                },
            )
        };
        let servers: Vec<_> = workload.servers.iter().enumerate().map(server).collect();
        let client_actor = world.actor("client");
        let client = Client::new(client_actor.runtime(), config.clone());
        let script = script.runtime();
        Ok(Stage {
            world,
            file,
            joined: servers.iter().map(|_| AtomicBool::new(false)).collect(),
            servers,
            scope: script.scope(),
            script,
            client_actor,
            client,
            config,
            nodes: Mutex::default(),
            under_way: Mutex::default(),
            segments: AtomicU64::new(0),
            broken_off: AtomicU64::new(0),
        })
    }

    /// How long all reads together may take, whatever servers do: each segment that anybody may ask for, one
    /// after the other, at the client's own bound for one fetch.
    fn reading_bound(&self, workload: &GridWorkload) -> Duration {
        let shares = workload.servers.iter().map(|server| server.shares.len()).sum();
        let fetch = self.fetch_bound(workload.servers.len(), shares);
        let mut bound = Duration::from_secs(1);
        for reader in &workload.readers {
            bound += Duration::from_micros(reader.starts_us);
            for read in &reader.reads {
                let segments = self.range(read).count_segments(self.file) + 2;
                bound += fetch * u32::try_from(segments).unwrap_or(u32::MAX)
                    + Duration::from_micros(read.pause_us);
            }
        }
        bound
    }

    /// The client's own bound for the fetch of one segment.
    fn fetch_bound(&self, servers: usize, shares: usize) -> Duration {
        let bound = self.config.fetch_bound(servers as u32, shares as u32);
        bound.expect("the client of a simulated grid does not wait for ever")
    }

    fn join_servers(self: &Arc<Self>, workload: &GridWorkload) {
        for (number, plan) in workload.servers.iter().enumerate() {
            match plan.joins_us {
                0 => self.join(number),
                us => {
                    let stage = self.clone();
                    self.scope.spawn("join", number as u64, async move {
                        stage.script.sleep(Duration::from_micros(us)).await;
                        if !stage.nodes().is_empty() {
                            stage.took_effect(Circumstance::Latecomers);
                        }
                        stage.join(number);
                    });
                }
            }
        }
    }

    fn join(&self, number: usize) {
        self.client.add_server(self.servers[number].handle());
        self.joined[number].store(true, Ordering::Relaxed);
    }

    async fn read_all(self: &Arc<Self>, workload: &GridWorkload) {
        for (number, plan) in workload.readers.iter().enumerate() {
            let (stage, plan) = (self.clone(), plan.clone());
            self.scope.spawn("reader", number as u64, async move { stage.run_reader(plan).await });
        }
        self.scope.drain().await;
    }

    async fn run_reader(self: Arc<Self>, plan: ReaderPlan) {
        if plan.starts_us > 0 {
            self.script.sleep(Duration::from_micros(plan.starts_us)).await;
            if !self.nodes().is_empty() {
                self.took_effect(Circumstance::LateStarts);
            }
        }
        let Some(open) = self.open(plan.node) else { return };
        for (number, read) in plan.reads.iter().enumerate() {
            let (stage, node, work) = (self.clone(), open.clone(), read.clone());
            let wanting = (plan.node, read.offset, read.length);
            let work = async move {
                let _under_way = stage.clone().begin(wanting);
                stage.run_read(&node.node, &work).await
            };
            let ended = self.world.operation("read", number as u64, work).await;
            if matches!(ended, Ok((Outcome::Dropped, _))) {
                self.took_effect(Circumstance::Drops);
            }
            let (outcome, delivered) = ended.unwrap_or((Outcome::Dropped, 0));
            if outcome != Outcome::Complete {
                self.broken_off.fetch_add(1, Ordering::Relaxed);
            }
            if outcome == Outcome::BadCiphertextHash {
                self.took_effect(Circumstance::Poison);
            }
            let known: Vec<_> = open.known.iter().collect();
            let facts = ReadFacts {
                file: self.file,
                range: self.range(read).0,
                delivered,
                outcome: &outcome,
                known: &known,
            };
            self.check("progress", check_outcome(&facts));
        }
    }

    /// The node of that number, opened by whoever comes first.
    fn open(&self, number: u32) -> Option<Arc<OpenNode>> {
        if let Some(open) = self.nodes().get(&number) {
            return Some(open.clone());
        }
        let node = match self.client.open(&Cap::Read(self.file.cap)) {
            Ok(node) => node,
            Err(error) => {
                self.world.violated("progress", format!("the file cannot be opened: {error}"));
                return None;
            }
        };
        let joined = self.servers.iter().zip(&self.joined);
        let known = joined.filter(|(_, joined)| joined.load(Ordering::Relaxed));
        let known: Vec<_> = known.map(|(server, _)| server.clone()).collect();
        self.note_circumstances(&known);
        let open = Arc::new(OpenNode { node, known });
        self.nodes().insert(number, open.clone());
        Some(open)
    }

    /// Notes what is the matter with the grid and the client that a node is opened on.
    fn note_circumstances(&self, known: &[Server]) {
        let shares: Vec<_> = known.iter().map(Server::all_shares).collect();
        let numbers: BTreeSet<_> = shares.iter().flatten().collect();
        let ours = Config::default();
        let guess = Segmentation::plan(
            self.file.cap.size,
            self.file.cap.k,
            self.file.cap.n,
            self.config.guessed_max_segment_size,
        );
        for (circumstance, here) in [
            (Circumstance::SeveralNodes, !self.nodes().is_empty()),
            (Circumstance::Crowding, shares.iter().any(|shares| shares.len() > 1)),
            (Circumstance::Scarcity, numbers.len() < self.file.cap.k as usize + SCARCE),
            (Circumstance::WrongGuess, guess.ok() != Some(self.file.sizes)),
            (Circumstance::NarrowSearch, self.config.max_outstanding_dyhbs < ours.max_outstanding_dyhbs),
            (Circumstance::LittleAdvice, self.config.max_advice < ours.max_advice),
        ] {
            if here {
                self.took_effect(circumstance);
            }
        }
    }

    /// Notes that a read is under way, until what it gives is dropped.
    fn begin(self: Arc<Self>, wanting: Wanting) -> UnderWay {
        let (several, same) = {
            let mut under_way = self.under_way();
            let before = (under_way.len() > 1, under_way.contains(&wanting));
            under_way.push(wanting);
            before
        };
        if several {
            self.took_effect(Circumstance::ManyReaders);
        }
        if same {
            self.took_effect(Circumstance::HotRanges);
        }
        UnderWay { stage: self, wanting }
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, Vec<Wanting>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took_effect(&self, circumstance: Circumstance) {
        self.world.took_effect(circumstance.name());
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<OpenNode>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads as planned. Gives how it ended, and how many bytes were delivered.
    async fn run_read(&self, node: &Node, plan: &ReadPlan) -> (Outcome, u64) {
        let mut read = node.read(plan.offset, plan.length);
        let mut place = plan.offset;
        let mut pieces = 0;
        let drop_at = plan.drop_after_us.map(|us| self.script.now() + Duration::from_micros(us));
        let mut impatience = plan.drop_after_turns.map(|turns| Box::pin(self.lose_patience(drop_at, turns)));
        self.segments.fetch_add(2, Ordering::Relaxed);
        let outcome = loop {
            if plan.drop_after_pieces == Some(pieces) {
                break Outcome::Dropped;
            }
            if plan.pause_after_pieces == Some(pieces) {
                self.script.sleep(Duration::from_micros(plan.pause_us)).await;
                self.took_effect(Circumstance::Pauses);
            }
            let next = match (&mut impatience, drop_at) {
                (Some(impatience), _) => match select(impatience, pin!(read.next())).await {
                    Either::Left(_) => break Outcome::Dropped,
                    Either::Right((next, _)) => next,
                },
                (None, None) => read.next().await,
                (None, Some(moment)) => {
                    match self.script.timeout(moment - self.script.now(), read.next()).await {
                        Ok(next) => next,
                        Err(_) => break Outcome::Dropped,
                    }
                }
            };
            match next {
                None => break Outcome::Complete,
                Some(Ok(piece)) => {
                    self.check("integrity", check_bytes(self.file, place, &piece));
                    place += piece.len() as u64;
                    pieces += 1;
                    self.segments.fetch_add(1, Ordering::Relaxed);
                }
                Some(Err(error)) => break outcome_of(error),
            }
        };
        tracing::debug!(target: "reader", offset = plan.offset, delivered = place - plan.offset, "read ended: {outcome:?}");
        (outcome, place - plan.offset)
    }

    /// Waits for the moment, and then for so many turns.
    async fn lose_patience(&self, moment: Option<Instant>, turns: u32) {
        if let Some(moment) = moment {
            self.script.sleep(moment - self.script.now()).await;
        }
        for _ in 0..turns {
            let mut had_its_turn = false;
            poll_fn(|cx| match std::mem::replace(&mut had_its_turn, true) {
                true => Poll::Ready(()),
                false => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
        }
    }

    /// Waits until the client has lost its patience with every silent server.
    async fn let_settle(&self) {
        let patience = self.config.dyhb_overdue.max(self.config.block_overdue)
            + self.config.abandon.unwrap_or_default()
            + self.config.advice_limit;
        self.world.must_end_within(patience * 2);
        self.script.sleep(patience).await;
    }

    fn check_budget(&self, nodes: u64) {
        let segments = self.segments.load(Ordering::Relaxed);
        let broken_off = self.broken_off.load(Ordering::Relaxed);
        let budget = Budget { nodes, segments, guess: self.config.guessed_max_segment_size, broken_off };
        self.check("budget", check_budget(self.world, self.file, &self.servers, budget));
    }

    /// Ends all faults. A node that is opened now must be able to read all. Most seeds try one segment, for speed;
    /// one in eight tries the first few.
    async fn heal_and_look_again(self: &Arc<Self>, seed: u64) {
        for (number, server) in self.servers.iter().enumerate() {
            server.heal();
            self.join(number);
        }
        let shares: BTreeSet<_> = self.servers.iter().flat_map(|server| server.all_shares()).collect();
        if shares.len() < self.file.cap.k as usize {
            return;
        }
        let Ok(node) = self.client.open(&Cap::Read(self.file.cap)).map(Arc::new) else {
            return self.world.violated("progress", "the file cannot be opened again");
        };
        let fetch = self.fetch_bound(self.servers.len(), shares.len());
        let segments = self.file.sizes.segments;
        let look = match seed % 8 {
            0 => 0..segments.min(FRESH_LOOK),
            _ => seed / 8 % segments..seed / 8 % segments + 1,
        };
        for segment in look {
            let Some(range) = self.file.sizes.segment_range(segment) else { return };
            self.world.must_end_within(fetch * 2);
            let plan = ReadPlan {
                offset: range.start,
                length: Some(range.end - range.start),
                ..ReadPlan::default()
            };
            let expected = match self.file.poisoned == Some(segment) {
                true => Outcome::BadCiphertextHash,
                false => Outcome::Complete,
            };
            let (stage, again, work) = (self.clone(), node.clone(), plan.clone());
            let work = async move { stage.run_read(&again, &work).await };
            let (outcome, _) = match self.world.operation("look", segment, work).await {
                Ok(ended) => ended,
                // Cancelled. Whoever asks again must get it.
                Err(Cancelled) => self.run_read(&node, &plan).await,
            };
            if outcome != expected {
                let detail =
                    format!("after healing, segment {segment} is read with {outcome:?}, not {expected:?}");
                return self.world.violated("progress", detail);
            }
        }
    }

    /// Closes everything. Nothing may be left.
    async fn close(self: Arc<Self>) {
        self.world.must_end_within(Duration::from_secs(120));
        self.nodes().clear();
        let stage = self.clone();
        let work = async move { stage.client.close(Duration::from_secs(30)).await };
        if let Err(Cancelled) = self.world.operation("close", 0, work).await {
            self.client.close(Duration::from_secs(30)).await;
        }
        self.script.sleep(Duration::from_secs(1)).await;
        if let Err(detail) = check_closed(&self.client_actor) {
            self.world.leaked(detail);
        }
    }

    fn range(&self, plan: &ReadPlan) -> Wanted {
        let start = plan.offset.min(self.file.cap.size);
        let rest = self.file.cap.size - start;
        Wanted(start..start + plan.length.unwrap_or(rest).min(rest))
    }

    fn check(&self, oracle: &str, result: Result<(), String>) {
        if let Err(detail) = result {
            self.world.violated(oracle, detail);
        }
    }
}

/// A planned read that is under way.
struct UnderWay {
    stage: Arc<Stage>,
    wanting: Wanting,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.stage.under_way();
        if let Some(place) = under_way.iter().position(|wanting| *wanting == self.wanting) {
            under_way.swap_remove(place);
        }
    }
}

/// The range that a read asks for, within the file.
struct Wanted(std::ops::Range<u64>);

impl Wanted {
    fn count_segments(&self, file: &StoredFile) -> u64 {
        (self.0.end - self.0.start).div_ceil(file.sizes.segment_size) + 1
    }
}

fn outcome_of(error: ReadError) -> Outcome {
    match error {
        ReadError::NoShares { .. } => Outcome::NoShares,
        ReadError::NotEnoughShares { .. } => Outcome::NotEnoughShares,
        ReadError::BadCiphertextHash { .. } => Outcome::BadCiphertextHash,
        other => Outcome::Other(other.to_string()),
    }
}
