//! Asking for what a share still lacks: which bytes the first wanted block needs next, and where they are.

use std::ops::Range;

use protocol::hash_tree::HashTreeError;
use protocol::layout::{Layout, Version};
use protocol::spans::Spans;
use runtime::{reached, relapse};
use tracing::debug;

use super::{Call, Share};
use crate::errors::ShareFailure;
use crate::event::{Action, Outbox, Source};
use crate::file::File;

/// Bytes to ask for. Without the needed ones the share is of no use.
#[derive(Default)]
struct Desire {
    wanted: Spans,
    needed: Spans,
}

impl Share {
    pub(super) fn ask(&mut self, file: &mut File, out: &mut Outbox) -> Result<(), ShareFailure> {
        if self.wanted.is_empty() {
            // What is left was read on a guess. To keep it would cost memory for ever.
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
