//! One share on one server: asks for the bytes that a wanted block needs, and checks them (spec §12.6).
//!
//! A share knows three sets of bytes: asked for and unanswered, received, and unavailable (asked for,
//! and past the end of what the server has). At each [turn](Share::turn) it uses what it has received,
//! works out what it needs next, and asks for what is in none of the three sets. A needed byte that is
//! unavailable is the end of the share; so every turn either asks for new bytes, waits for some, or ends.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use protocol::hash;
use protocol::hash_tree::{HashTreeError, IncompleteHashTree};
use protocol::layout::{Layout, Version, parse_share_chain};
use protocol::server::ServerError;
use protocol::spans::{DataSpans, Spans};
use protocol::ueb;
use runtime::{reached, relapse};
use tracing::debug;

use crate::errors::ShareFailure;
use crate::event::{Action, CallId, Event, FetchId, Notice, Outbox, ServerIndex, ShareIndex, Source};
use crate::file::{File, is_damage};
use crate::status::EventId;

/// What a node knows of one share.
pub(crate) struct Share {
    pub server: ServerIndex,
    pub source: Source,
    /// How long the server took to say that it has the share.
    pub rtt: Duration,
    index: ShareIndex,
    /// The server answers reads past the end of the share with what there is.
    overrun: bool,
    dead: bool,
    layout: Option<Layout>,
    calls: BTreeMap<CallId, Call>,
    next_call: CallId,
    pending: Spans,
    received: DataSpans,
    unavailable: Spans,
    wanted: VecDeque<Wanted>,
    /// A turn is queued already.
    scheduled: bool,
}

/// A read that has not been answered.
struct Call {
    range: Range<u64>,
    overdue: bool,
    status: EventId,
}

/// A block that fetches wait for.
struct Wanted {
    segment: u64,
    fetches: Vec<FetchId>,
}

/// Bytes to ask for. Without the needed ones the share is of no use.
#[derive(Default)]
struct Desire {
    wanted: Spans,
    needed: Spans,
}

impl Share {
    pub fn new(index: ShareIndex, server: ServerIndex, source: Source, rtt: Duration, overrun: bool) -> Self {
        Share {
            server,
            source,
            rtt,
            index,
            overrun,
            dead: false,
            layout: None,
            calls: BTreeMap::new(),
            next_call: 0,
            pending: Spans::new(),
            received: DataSpans::new(),
            unavailable: Spans::new(),
            wanted: VecDeque::new(),
            scheduled: false,
        }
    }

    pub fn is_alive(&self) -> bool {
        !self.dead
    }

    /// Whether a read of this share is overdue and unanswered.
    pub fn is_overdue(&self) -> bool {
        self.calls.values().any(|call| call.overdue)
    }

    /// Asks for the block of `segment`. What becomes of it comes as a [`Notice`] to `fetch`.
    pub fn get_block(&mut self, segment: u64, fetch: FetchId, out: &mut Outbox) {
        match self.wanted.iter_mut().find(|wanted| wanted.segment == segment) {
            Some(wanted) => wanted.fetches.push(fetch),
            None => self.wanted.push_back(Wanted { segment, fetches: vec![fetch] }),
        }
        if self.is_overdue() {
            // No fresh time limit for a server that is known to be silent.
            reached!("share: asked for a block while an older read is overdue");
            self.notify(fetch, Notice::Overdue, out);
        }
        self.schedule(out);
    }

    /// Forgets that `fetch` wants anything. Reads already sent are not recalled.
    pub fn forget(&mut self, fetch: FetchId) {
        for wanted in &mut self.wanted {
            wanted.fetches.retain(|&other| other != fetch);
        }
        self.wanted.retain(|wanted| !wanted.fetches.is_empty());
        if self.wanted.is_empty() {
            self.received.clear();
        }
    }

    /// A read is overdue.
    pub fn overdue(&mut self, call: CallId, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&call) else { return };
        call.overdue = true;
        debug!(target: "client", node = out.node, server = &*self.source.server, share = self.source.number, "block read overdue");
        for fetch in self.wanted.iter().flat_map(|wanted| &wanted.fetches) {
            self.notify(*fetch, Notice::Overdue, out);
        }
    }

    /// A read has ended; `None`: it was given up.
    pub fn answered(&mut self, call: CallId, answer: Option<Result<Bytes, ServerError>>, out: &mut Outbox) {
        let Some(Call { range, overdue, status }) = self.calls.remove(&call) else { return };
        let length = match &answer {
            Some(Ok(data)) => Some(data.len() as u64),
            _ => None,
        };
        out.journal.block_finished(out.now, status, length);
        debug!(target: "client", node = out.node, server = &*self.source.server, share = self.source.number, length, "block read answered");
        self.pending.remove(range.clone());
        if self.dead {
            return;
        }
        match answer {
            Some(Ok(data)) => {
                if overdue {
                    reached!("share: a late answer arrived");
                }
                self.receive(range, data, out);
            }
            Some(Err(error)) => self.die(error.into(), out),
            None => {
                reached!("share: a read was given up");
                self.die(ShareFailure::Abandoned, out);
            }
        }
    }

    /// Uses what was received, and asks for what is missing.
    pub fn turn(&mut self, file: &mut File, out: &mut Outbox) {
        self.scheduled = false;
        if !self.dead
            && let Err(failure) = self.satisfy(file, out).and_then(|()| self.ask(file, out))
        {
            self.die(failure, out);
        }
    }

    fn receive(&mut self, range: Range<u64>, data: Bytes, out: &mut Outbox) {
        let (asked, got) = (range.end - range.start, data.len() as u64);
        if got > asked {
            let words = format!("{got} bytes for a read of {asked}");
            return self.die(ServerError::BadAnswer(words).into(), out);
        }
        self.received.add(range.start, data);
        self.unavailable.add(range.start + got..range.end);
        self.schedule(out);
    }

    /// The share is of no use any more: the last thing that it says.
    fn die(&mut self, failure: ShareFailure, out: &mut Outbox) {
        debug!(target: "client", node = out.node, server = &*self.source.server, share = self.source.number, reason = %failure, "share dead");
        self.dead = true;
        self.received.clear();
        for wanted in std::mem::take(&mut self.wanted) {
            for fetch in wanted.fetches {
                self.notify(fetch, Notice::Dead(failure.clone()), out);
            }
        }
    }

    fn notify(&self, fetch: FetchId, notice: Notice, out: &mut Outbox) {
        out.post(Event::Notice { fetch, share: self.index, notice });
    }

    fn schedule(&mut self, out: &mut Outbox) {
        if !self.scheduled {
            self.scheduled = true;
            out.post(Event::ShareTurn(self.index));
        }
    }
}

/// Using what was received: each step needs those before it, and stops where bytes are missing.
impl Share {
    fn satisfy(&mut self, file: &mut File, out: &mut Outbox) -> Result<(), ShareFailure> {
        loop {
            let Some(layout) = self.take_layout()? else { return Ok(()) };
            if file.sizes.is_none() && !self.take_ueb(&layout, file, out)? {
                return Ok(());
            }
            if relapse!("tahoe-B4") {
                let _ = file.resize(self.source.number);
            }
            let segment = self.wanted.front().map(|wanted| wanted.segment);
            if segment.is_some_and(|segment| segment >= file.best_sizes().segments) {
                reached!("share: asked for a segment past the end of the file");
                self.settle(|| Notice::BadSegmentNumber, out);
                continue;
            }
            if !self.take_chain(&layout, file, out)? {
                return Ok(());
            }
            self.take_root(&layout, file, out)?;
            let Some(segment) = segment else { return Ok(()) };
            if !self.take_block_hashes(&layout, segment, file, out)?
                || !self.take_crypttext_hashes(&layout, segment, file, out)?
                || !self.take_block(&layout, segment, file, out)?
            {
                return Ok(());
            }
        }
    }

    fn take_layout(&mut self) -> Result<Option<Layout>, ShareFailure> {
        if self.layout.is_none() {
            let Some(version) = self.version()? else { return Ok(None) };
            let Some(table) = self.received.get(version.table()) else { return Ok(None) };
            let layout = Layout::parse_table(version, &table)?;
            check_length("share hash chain", layout.uri_extension - layout.share_hashes, MAX_CHAIN)?;
            self.layout = Some(layout);
        }
        Ok(self.layout)
    }

    fn version(&self) -> Result<Option<Version>, ShareFailure> {
        match self.received.get(Version::FIELD) {
            Some(bytes) => Ok(Some(Version::parse(&bytes)?)),
            None => Ok(None),
        }
    }

    fn take_ueb(&mut self, layout: &Layout, file: &mut File, out: &mut Outbox) -> Result<bool, ShareFailure> {
        let Some(range) = self.ueb_range(layout)? else { return Ok(false) };
        let Some(bytes) = self.received.get(range.clone()) else { return Ok(false) };
        match file.learn(&bytes) {
            Ok(()) => Ok(true),
            Err(failure) if is_damage(&failure) => {
                Err(self.damaged(layout.uri_extension..range.end, failure, out))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Where the URI extension block is, once its length is known.
    fn ueb_range(&self, layout: &Layout) -> Result<Option<Range<u64>>, ShareFailure> {
        let Some(length) = self.received.get(layout.ueb_length()?) else { return Ok(None) };
        let length = layout.parse_ueb_length(&length)?;
        check_length("URI extension block", length, ueb::MAX_LEN)?;
        Ok(Some(layout.ueb(length)?))
    }

    fn take_chain(
        &mut self,
        layout: &Layout,
        file: &mut File,
        out: &mut Outbox,
    ) -> Result<bool, ShareFailure> {
        if file.share_tree.needed(self.leaf()).is_ok_and(|needed| needed.is_empty()) {
            return Ok(true);
        }
        let Some(chain) = self.received.get(layout.share_chain()) else { return Ok(false) };
        if let Err(error) = file.share_tree.insert(parse_share_chain(&chain)) {
            let failure = ShareFailure::BadHash { region: "share hash chain", error };
            return Err(self.damaged(layout.share_chain(), failure, out));
        }
        Ok(true)
    }

    /// The share tree vouches for the root of this share's block tree.
    fn take_root(&mut self, layout: &Layout, file: &mut File, out: &mut Outbox) -> Result<(), ShareFailure> {
        let root = file.share_tree.leaf(self.leaf());
        let tree = file.block_tree(self.source.number)?;
        if tree.get(0).is_some() {
            return Ok(());
        }
        let Some(root) = root else {
            return Err(self.damaged(layout.share_chain(), ShareFailure::IncompleteChain, out));
        };
        tree.insert([(0, root)]).map_err(|error| ShareFailure::BadHash { region: "share hash chain", error })
    }

    fn take_block_hashes(
        &mut self,
        layout: &Layout,
        segment: u64,
        file: &mut File,
        out: &mut Outbox,
    ) -> Result<bool, ShareFailure> {
        let tree = file.block_tree(self.source.number)?;
        let place = |node| Ok(layout.block_tree_node(node)?);
        let region = ("block hash tree", layout.block_hashes);
        self.take_hashes(tree, segment, place, region, out)
    }

    fn take_crypttext_hashes(
        &mut self,
        layout: &Layout,
        segment: u64,
        file: &mut File,
        out: &mut Outbox,
    ) -> Result<bool, ShareFailure> {
        let place = |node| Ok(layout.crypttext_tree_node(node)?);
        let region = ("crypttext hash tree", layout.crypttext_hash_tree);
        self.take_hashes(&mut file.crypttext_tree, segment, place, region, out)
    }

    /// Adds the hashes that `tree` lacks to check `segment`, all of them or none.
    fn take_hashes(
        &mut self,
        tree: &mut IncompleteHashTree,
        segment: u64,
        place: impl Fn(u64) -> Result<Range<u64>, ShareFailure>,
        (region, start): (&'static str, u64),
        out: &mut Outbox,
    ) -> Result<bool, ShareFailure> {
        let bad = |error| ShareFailure::BadHash { region, error };
        let needed = tree.needed_with_leaf(segment).map_err(bad)?;
        let mut nodes = Vec::with_capacity(needed.len());
        for &node in &needed {
            let Some(bytes) = self.received.get(place(node)?) else { return Ok(false) };
            let Ok(hash) = bytes[..].try_into() else { return Ok(false) };
            nodes.push((node, hash));
        }
        if let Err(error) = tree.insert(nodes) {
            let last = needed.into_iter().max().unwrap_or(0);
            // Tahoe's figure, which leaves the last hash out.
            let range = start..start.saturating_add(last * 32);
            return Err(self.damaged(range, bad(error), out));
        }
        Ok(true)
    }

    /// Checks the block, tells whoever wanted it, and is done with it.
    fn take_block(
        &mut self,
        layout: &Layout,
        segment: u64,
        file: &mut File,
        out: &mut Outbox,
    ) -> Result<bool, ShareFailure> {
        let Some(range) = layout.block(file.best_sizes(), segment) else { return Ok(false) };
        let range = range?;
        let Some(block) = self.received.pop(range.clone()) else { return Ok(false) };
        let expected = file.block_tree(self.source.number)?.leaf(segment);
        if expected == Some(hash::block(&block)) {
            // What is left was read on a guess. To keep it would cost memory for ever.
            self.received.clear();
            self.settle(|| Notice::Complete(block.clone()), out);
        } else {
            reached!("share: a block has the wrong hash");
            debug!(target: "client", node = out.node, server = &*self.source.server, share = self.source.number, segment, "corrupt block");
            self.advise(range, "the block has the wrong hash", out);
            self.settle(|| Notice::Corrupt, out);
        }
        Ok(true)
    }

    /// Takes the first wanted block off the list and says what became of it.
    fn settle(&mut self, notice: impl Fn() -> Notice, out: &mut Outbox) {
        if let Some(wanted) = self.wanted.pop_front() {
            for fetch in wanted.fetches {
                self.notify(fetch, notice(), out);
            }
        }
    }

    /// Tells the server that these bytes are damaged. Hands the failure back.
    fn damaged(&self, range: Range<u64>, failure: ShareFailure, out: &mut Outbox) -> ShareFailure {
        reached!("share: hashes that do not belong to the file");
        self.advise(range, &failure.to_string(), out);
        failure
    }

    fn advise(&self, range: Range<u64>, detail: &str, out: &mut Outbox) {
        let reason = format!("corruption in share[{}-{}): {detail}", range.start, range.end);
        out.start(Action::Advise { source: self.source.clone(), reason });
    }

    fn leaf(&self) -> u64 {
        self.source.number.into()
    }
}

/// Asking for what is missing.
impl Share {
    fn ask(&mut self, file: &mut File, out: &mut Outbox) -> Result<(), ShareFailure> {
        if self.wanted.is_empty() {
            self.received.clear();
            return Ok(());
        }
        if self.is_overdue() {
            // One silent call is enough.
            return Ok(());
        }
        let Desire { wanted, needed } = self.desire(file)?;
        if let Some(missing) = needed.intersection(&self.unavailable).iter().next() {
            reached!("share: it ends before something that it must have");
            return Err(ShareFailure::Unavailable(missing.start));
        }
        let mut request = wanted.union(&needed).difference(&self.pending).difference(&self.received.spans());
        if !relapse!("tahoe-B13") {
            request = request.difference(&self.unavailable);
        }
        for range in request.iter() {
            self.send(range, out);
        }
        Ok(())
    }

    fn send(&mut self, range: Range<u64>, out: &mut Outbox) {
        let (start, length) = (range.start, range.end - range.start);
        let Source { server, number, .. } = &self.source;
        debug!(target: "client", node = out.node, server = &**server, share = number, start, length, "block read sent");
        let status = out.journal.block_sent(out.now, server.clone(), *number, start, length);
        let call = self.next_call;
        self.next_call += 1;
        self.pending.add(range.clone());
        self.calls.insert(call, Call { range: range.clone(), overdue: false, status });
        out.start(Action::Read { share: self.index, call, source: self.source.clone(), range });
    }

    /// The bytes that the first wanted block needs next: by the share's own offset table if that is known,
    /// else, where the server allows it, by the table that it probably has.
    fn desire(&self, file: &mut File) -> Result<Desire, ShareFailure> {
        let mut desire = Desire::default();
        let Some(layout) = self.layout else {
            self.desire_header(&mut desire)?;
            if self.overrun
                && let Some(likely) = file.likely_layout()
            {
                match self.desire_contents(&likely, file, &mut desire) {
                    // Guessed places may be impossible ones.
                    Err(ShareFailure::Layout(_)) => {}
                    desired => desired?,
                }
            }
            return Ok(desire);
        };
        self.desire_contents(&layout, file, &mut desire)?;
        Ok(desire)
    }

    fn desire_header(&self, desire: &mut Desire) -> Result<(), ShareFailure> {
        if self.overrun {
            desire.wanted.add(0..HEADER_GUESS);
            if relapse!("tahoe-B13") {
                return Ok(());
            }
        }
        desire.needed.add(Version::FIELD);
        if let Some(version) = self.version()? {
            desire.needed.add(version.table());
        }
        Ok(())
    }

    fn desire_contents(
        &self,
        layout: &Layout,
        file: &mut File,
        desire: &mut Desire,
    ) -> Result<(), ShareFailure> {
        let firm = self.layout.is_some();
        if file.sizes.is_none() {
            if self.overrun {
                let start = layout.uri_extension;
                desire.wanted.add(start..start.saturating_add(UEB_GUESS));
            }
            desire.add(firm, layout.ueb_length()?);
            if firm && let Some(range) = self.ueb_range(layout)? {
                desire.add(firm, range);
            }
        }
        if !file.share_tree.needed(self.leaf()).is_ok_and(|needed| needed.is_empty()) {
            desire.add(firm, layout.share_chain());
        }
        match self.wanted.front() {
            Some(wanted) if file.sizes.is_some() => self.desire_block(wanted.segment, layout, file, desire),
            Some(wanted) => {
                // The sizes are a guess: good for what lies within its region, and for nothing else.
                let mut guess = Desire::default();
                if self.desire_block(wanted.segment, layout, file, &mut guess).is_ok() {
                    let places = guess.wanted.union(&guess.needed);
                    let plausible = |place: &Range<u64>| self.overrun || within_regions(layout, place);
                    desire.wanted.extend(places.iter().filter(plausible));
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn desire_block(
        &self,
        segment: u64,
        layout: &Layout,
        file: &mut File,
        desire: &mut Desire,
    ) -> Result<(), ShareFailure> {
        let sizes = *file.best_sizes();
        let blind = relapse!("tahoe-B7") && file.sizes.is_some();
        if segment >= sizes.segments && !blind {
            // Past the end of what is known so far. The URI extension block will tell.
            return Ok(());
        }
        let firm = self.layout.is_some();
        let bad = |error: HashTreeError| ShareFailure::BadHash { region: "block hash tree", error };
        for node in file.block_tree(self.source.number)?.needed_with_leaf(segment).map_err(bad)? {
            desire.add(firm, layout.block_tree_node(node)?);
        }
        for node in file.crypttext_tree.needed_with_leaf(segment).map_err(bad)? {
            desire.add(firm, layout.crypttext_tree_node(node)?);
        }
        if let Some(range) = layout.block(&sizes, segment) {
            desire.add(firm, range?);
        }
        Ok(())
    }
}

/// Whether the range, joined of several places, lies where such places can be.
fn within_regions(layout: &Layout, range: &Range<u64>) -> bool {
    let blocks = layout.data..layout.plaintext_hash_tree;
    let hashes = layout.crypttext_hash_tree..layout.share_hashes;
    [blocks, hashes].iter().any(|region| region.start <= range.start && range.end <= region.end)
}

impl Desire {
    fn add(&mut self, firm: bool, range: Range<u64>) {
        if firm { self.needed.add(range) } else { self.wanted.add(range) }
    }
}

/// Read at once from a server that tolerates it: the header, and with luck a whole small share.
const HEADER_GUESS: u64 = 1024;
/// Read at once where the URI extension block is thought to be.
const UEB_GUESS: u64 = 2048;
/// The longest share hash chain that is read: every node of the largest share tree, twice over.
const MAX_CHAIN: u64 = 34 * 1022;

fn check_length(region: &'static str, length: u64, limit: u64) -> Result<(), ShareFailure> {
    match length {
        length if (1..=limit).contains(&length) => Ok(()),
        length => Err(ShareFailure::Length { region, length, limit }),
    }
}
