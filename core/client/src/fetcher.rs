//! The segment fetcher: gathers k blocks of one segment from k different shares (spec §12.8).
//!
//! It takes shares in the order of how fast their servers answered, one at a time from each server while
//! there are others, and as many at a time as blocks are missing. A share whose block is overdue no longer
//! counts, so that another is tried, but its block is still welcome. Shares that are known to be silent
//! come last.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::server::ShareNumber;
use runtime::{reached, relapse, wait};
use tracing::Span;

use crate::errors::{ReadError, ShareFailure, Tally};
use crate::event::{FetchId, Notice, Outbox, ServerIndex, ShareIndex};
use crate::file::File;
use crate::finder::Finder;
use crate::share::Share;

/// One fetch of one segment.
pub(crate) struct Fetcher {
    pub id: FetchId,
    pub segment: u64,
    /// Shares not tried yet, fastest first.
    unused: Vec<ShareIndex>,
    /// At most one for each share number.
    active: BTreeMap<ShareNumber, Asked>,
    overdue: BTreeMap<ShareIndex, Asked>,
    /// How many shares of each server are active or overdue.
    busy: BTreeMap<ServerIndex, usize>,
    max_per_server: usize,
    blocks: BTreeMap<ShareNumber, Bytes>,
    no_more_shares: bool,
    bad_segment_number: bool,
    last_failure: Option<ShareFailure>,
    /// Open while it waits for the finder.
    short: Option<Span>,
}

/// A share that was asked for its block.
struct Asked {
    share: ShareIndex,
    number: ShareNumber,
    server: ServerIndex,
    _waiting: Span,
}

/// What a fetch has come to.
pub(crate) enum Progress {
    /// It waits for blocks or shares.
    Waiting,
    /// It has exactly k blocks.
    Blocks(Vec<(ShareNumber, Bytes)>),
    /// It cannot be done.
    Failed(ReadError),
}

impl Fetcher {
    pub fn new(id: FetchId, segment: u64) -> Self {
        Fetcher {
            id,
            segment,
            unused: Vec::new(),
            active: BTreeMap::new(),
            overdue: BTreeMap::new(),
            busy: BTreeMap::new(),
            max_per_server: 1,
            blocks: BTreeMap::new(),
            no_more_shares: false,
            bad_segment_number: false,
            last_failure: None,
            short: None,
        }
    }

    pub fn add_shares(&mut self, found: &[ShareIndex], shares: &[Share]) {
        self.unused.extend(found);
        self.unused.sort_by_key(|&index| shares.get(index).map(|share| (share.rtt, share.source.number)));
    }

    /// The finder will not find any more.
    pub fn no_more_shares(&mut self) {
        self.no_more_shares = true;
    }

    /// What became of a block.
    pub fn notice(&mut self, share: ShareIndex, notice: Notice) {
        if let Notice::Overdue = notice {
            let number = self.active.values().find(|asked| asked.share == share).map(|asked| asked.number);
            if let Some(asked) = number.and_then(|number| self.active.remove(&number)) {
                reached!("fetcher: a block is overdue");
                self.overdue.insert(share, asked);
            }
            return;
        }
        let Some(asked) = self.take_asked(share) else { return };
        match notice {
            Notice::Complete(block) => {
                self.blocks.insert(asked.number, block);
            }
            Notice::Dead(failure) => self.last_failure = Some(failure),
            Notice::BadSegmentNumber => self.bad_segment_number = true,
            Notice::Corrupt | Notice::Overdue => {}
        }
    }

    /// Asks for as many blocks as are missing.
    pub fn turn(
        &mut self,
        file: &File,
        shares: &mut [Share],
        finder: &mut Finder,
        out: &mut Outbox,
    ) -> Progress {
        if let Some(error) = self.past_the_end(file) {
            reached!("fetcher: the segment does not exist");
            return Progress::Failed(error);
        }
        let needed = file.cap.k as usize;
        while self.count(false) < needed {
            let Some(pick) = self.pick(shares, finder, out) else {
                return self.wait_for_more(needed, file, shares, finder, out);
            };
            self.start(pick, shares, out);
        }
        self.short = None;
        if self.blocks.len() < needed {
            return Progress::Waiting;
        }
        let blocks = std::mem::take(&mut self.blocks);
        Progress::Blocks(blocks.into_iter().take(needed).collect())
    }

    /// Forgets about every block that has not come.
    pub fn stop(&mut self, shares: &mut [Share]) {
        let asked = self.active.values().chain(self.overdue.values());
        for index in asked.map(|asked| asked.share) {
            if let Some(share) = shares.get_mut(index) {
                share.forget(self.id);
            }
        }
        self.active.clear();
        self.overdue.clear();
        self.unused.clear();
        self.short = None;
    }

    fn past_the_end(&self, file: &File) -> Option<ReadError> {
        let segments = file.sizes?.segments;
        let known = if relapse!("tahoe-B7") { self.bad_segment_number } else { self.segment >= segments };
        known.then_some(ReadError::BadSegmentNumber { segment: self.segment, segments })
    }

    /// How many different blocks are here or on their way; overdue ones count when asked for.
    fn count(&self, with_overdue: bool) -> usize {
        let overdue = self.overdue.values().map(|asked| asked.number).filter(|number| {
            with_overdue && !self.active.contains_key(number) && !self.blocks.contains_key(number)
        });
        let overdue = overdue.collect::<BTreeSet<_>>().len();
        let active = self.active.keys().filter(|number| !self.blocks.contains_key(number)).count();
        self.blocks.len() + active + overdue
    }

    /// The next share to try, off the list. Raises the number of shares that one server may be asked for
    /// at a time when nothing else helps.
    fn pick(&mut self, shares: &[Share], finder: &mut Finder, out: &mut Outbox) -> Option<ShareIndex> {
        self.unused.retain(|&index| shares.get(index).is_some_and(Share::is_alive));
        let useful = |share: &&Share| {
            let number = share.source.number;
            !self.blocks.contains_key(&number) && !self.active.contains_key(&number)
        };
        // 0: a server that answers; 1: one that did not lately; 2: this very share was asked in vain.
        let silence = |share: &Share| match finder.server(share.server) {
            _ if share.is_overdue() => 2,
            Some(server) if server.silent => 1,
            _ => 0,
        };
        let candidates = self.unused.iter().enumerate().filter_map(|(place, &index)| {
            let share = shares.get(index).filter(useful)?;
            let blocked = self.busy.get(&share.server).is_some_and(|&busy| busy >= self.max_per_server);
            Some((silence(share), blocked, place))
        });
        let (silence, blocked, place) = candidates.min()?;
        if silence > 0 {
            reached!("fetcher: only silent shares are left");
        }
        if blocked {
            reached!("fetcher: several shares from one server");
            self.max_per_server += 1;
            finder.hungry(out);
        }
        Some(self.unused.remove(place))
    }

    fn start(&mut self, index: ShareIndex, shares: &mut [Share], out: &mut Outbox) {
        let Some(share) = shares.get_mut(index) else { return };
        let (number, server) = (share.source.number, share.server);
        let waiting = wait!("block", node = out.node, server = &*share.source.server, share = number);
        self.active.insert(number, Asked { share: index, number, server, _waiting: waiting });
        *self.busy.entry(server).or_default() += 1;
        share.get_block(self.segment, self.id, out);
    }

    fn wait_for_more(
        &mut self,
        needed: usize,
        file: &File,
        shares: &[Share],
        finder: &mut Finder,
        out: &mut Outbox,
    ) -> Progress {
        if !self.no_more_shares {
            finder.hungry(out);
            self.short.get_or_insert_with(|| wait!("shares", node = out.node));
            return Progress::Waiting;
        }
        self.short = None;
        if self.count(true) >= needed {
            return Progress::Waiting;
        }
        Progress::Failed(self.failure(file, shares))
    }

    fn failure(&self, file: &File, shares: &[Share]) -> ReadError {
        let (needed, last_failure) = (file.cap.k, self.last_failure.clone());
        let none = self.unused.is_empty() && self.active.is_empty() && self.overdue.is_empty();
        if none && self.blocks.is_empty() {
            reached!("fetcher: no shares");
            return ReadError::NoShares { needed, last_failure };
        }
        reached!("fetcher: not enough shares");
        let number = |&index: &ShareIndex| shares.get(index).map(|share| share.source.number);
        let tally = Tally {
            complete: self.blocks.keys().copied().collect(),
            pending: self.active.keys().copied().collect(),
            overdue: self.overdue.values().map(|asked| asked.number).collect(),
            unused: self.unused.iter().filter_map(number).collect(),
        };
        ReadError::NotEnoughShares { needed, tally: Box::new(tally), last_failure }
    }

    /// Takes a share that has said its last word off all lists.
    fn take_asked(&mut self, share: ShareIndex) -> Option<Asked> {
        let number = self.active.values().find(|asked| asked.share == share).map(|asked| asked.number);
        let asked = match number {
            Some(number) => self.active.remove(&number),
            None => self.overdue.remove(&share),
        }?;
        if let Some(busy) = self.busy.get_mut(&asked.server) {
            *busy = busy.saturating_sub(1);
        }
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::Workbench;
    use protocol::server::ServerError;

    /// One turn; the shares that it asked, and what it has come to.
    fn turn(fetcher: &mut Fetcher, bench: &mut Workbench) -> (Vec<ShareIndex>, Progress) {
        let before: BTreeSet<_> = fetcher.active.values().map(|asked| asked.share).collect();
        let Workbench { file, shares, finder, out, .. } = bench;
        let progress = fetcher.turn(file, shares, finder, out);
        let after: BTreeSet<_> = fetcher.active.values().map(|asked| asked.share).collect();
        (after.difference(&before).copied().collect(), progress)
    }

    /// A bench with these shares, each a number and a server, and a fetcher that knows of them.
    fn known(shares: &[(ShareNumber, ServerIndex)]) -> (Fetcher, Workbench) {
        let mut bench = Workbench::new(310, 1 << 20);
        let found: Vec<_> = shares.iter().map(|&(number, server)| bench.add_share(number, server)).collect();
        let mut fetcher = Fetcher::new(0, 0);
        fetcher.add_shares(&found, &bench.shares);
        (fetcher, bench)
    }

    fn ten_servers() -> (Fetcher, Workbench) {
        known(&(0..10).map(|i| (i as u32, i)).collect::<Vec<_>>())
    }

    fn block() -> Notice {
        Notice::Complete(Bytes::from_static(b"block"))
    }

    fn dead() -> Notice {
        Notice::Dead(ServerError::Disconnected.into())
    }

    #[test]
    fn overdue_shares_are_replaced() {
        let (mut fetcher, mut bench) = ten_servers();
        assert_eq!(turn(&mut fetcher, &mut bench).0, [0, 1, 2]);
        (0..3).for_each(|share| fetcher.notice(share, Notice::Overdue));
        assert_eq!(turn(&mut fetcher, &mut bench).0, [3, 4, 5]);
        (3..6).for_each(|share| fetcher.notice(share, block()));
        let (asked, Progress::Blocks(blocks)) = turn(&mut fetcher, &mut bench) else { panic!("not done") };
        assert_eq!(asked, [0; 0]);
        assert_eq!(blocks.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn overdue_shares_are_waited_for_at_the_end() {
        let (mut fetcher, mut bench) = known(&[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
        fetcher.no_more_shares();
        turn(&mut fetcher, &mut bench);
        (0..3).for_each(|share| fetcher.notice(share, Notice::Overdue));
        turn(&mut fetcher, &mut bench);
        (3..6).for_each(|share| fetcher.notice(share, dead()));
        assert!(matches!(turn(&mut fetcher, &mut bench).1, Progress::Waiting));
        fetcher.notice(0, block());
        assert!(matches!(turn(&mut fetcher, &mut bench).1, Progress::Waiting));
        fetcher.notice(1, dead());
        let (_, Progress::Failed(error)) = turn(&mut fetcher, &mut bench) else { panic!("not failed") };
        let text = error.to_string();
        assert!(
            text.starts_with("ran out of shares: complete=sh0 pending= overdue=sh2 unused= need 3"),
            "{text}"
        );
    }

    #[test]
    fn a_number_is_asked_for_once_at_a_time() {
        // sh0 on two servers, sh1; then another sh1, and sh2.
        let (mut fetcher, mut bench) = known(&[(0, 0), (1, 1), (0, 2)]);
        assert_eq!(turn(&mut fetcher, &mut bench).0, [0, 1]);
        fetcher.notice(1, block());
        assert_eq!(turn(&mut fetcher, &mut bench).0, [0; 0]);
        let found = [bench.add_share(1, 3), bench.add_share(2, 4)];
        fetcher.add_shares(&found, &bench.shares);
        assert_eq!(turn(&mut fetcher, &mut bench).0, [4]);
        // The first sh0 dies: now its copy is of use.
        fetcher.notice(0, dead());
        assert_eq!(turn(&mut fetcher, &mut bench).0, [2]);
    }

    #[test]
    fn one_share_of_each_server_first_and_more_only_when_stuck() {
        let (mut fetcher, mut bench) = known(&[(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)]);
        assert_eq!(turn(&mut fetcher, &mut bench).0, [0, 3, 4]);
        assert_eq!(fetcher.max_per_server, 1);
        fetcher.notice(4, dead());
        assert_eq!(turn(&mut fetcher, &mut bench).0, [1]);
        assert_eq!(fetcher.max_per_server, 2);
    }

    #[test]
    fn silent_shares_come_last() {
        let (mut fetcher, mut bench) = ten_servers();
        // sh0 has an overdue read from an earlier fetch.
        bench.shares[0].get_block(0, 99, &mut bench.out);
        bench.shares[0].turn(&mut bench.file, &mut bench.out);
        bench.shares[0].overdue(0, &mut bench.out);
        assert_eq!(turn(&mut fetcher, &mut bench).0, [1, 2, 3]);
        (1..9).for_each(|share| {
            fetcher.notice(share, dead());
            turn(&mut fetcher, &mut bench);
        });
        assert!(fetcher.active.contains_key(&0), "asked in the end");
    }

    #[test]
    fn a_share_that_died_unused_is_not_asked() {
        let (mut fetcher, mut bench) = ten_servers();
        bench.shares[1].get_block(0, 99, &mut bench.out);
        bench.shares[1].turn(&mut bench.file, &mut bench.out);
        bench.shares[1].answered(0, None, &mut bench.out);
        assert_eq!(turn(&mut fetcher, &mut bench).0, [0, 2, 3]);
    }
}
