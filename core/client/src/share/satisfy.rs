//! Using what a share has received: each step needs those before it, and stops where bytes are missing.

use std::ops::Range;

use bytes::Bytes;
use protocol::hash;
use protocol::hash_tree::IncompleteHashTree;
use protocol::layout::{Layout, Version, parse_share_chain};
use protocol::ueb;
use runtime::{reached, relapse};
use tracing::debug;

use super::Share;
use crate::errors::ShareFailure;
use crate::event::{Action, Notice, Outbox};
use crate::file::{File, is_damage};

impl Share {
    pub(super) fn satisfy(&mut self, file: &mut File, out: &mut Outbox) -> Result<(), ShareFailure> {
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
            let Some(version) = self.version()? else {
                self.lack(Version::FIELD);
                return Ok(None);
            };
            let Some(table) = self.need(version.table()) else { return Ok(None) };
            let layout = Layout::parse_table(version, &table)?;
            check_length("share hash chain", layout.uri_extension - layout.share_hashes, MAX_CHAIN)?;
            self.layout = Some(layout);
        }
        Ok(self.layout)
    }

    pub(super) fn version(&self) -> Result<Option<Version>, ShareFailure> {
        match self.received.get(Version::FIELD) {
            Some(bytes) => Ok(Some(Version::parse(&bytes)?)),
            None => Ok(None),
        }
    }

    fn take_ueb(&mut self, layout: &Layout, file: &mut File, out: &mut Outbox) -> Result<bool, ShareFailure> {
        let Some(range) = self.ueb_range(layout)? else {
            self.lack(layout.ueb_length()?);
            return Ok(false);
        };
        let Some(bytes) = self.need(range.clone()) else { return Ok(false) };
        match file.learn(&bytes) {
            Ok(()) => Ok(true),
            Err(failure) if is_damage(&failure) => {
                Err(self.damaged(layout.uri_extension..range.end, failure, out))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Where the URI extension block is, once its length is known.
    pub(super) fn ueb_range(&self, layout: &Layout) -> Result<Option<Range<u64>>, ShareFailure> {
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
        let Some(chain) = self.need(layout.share_chain()) else { return Ok(false) };
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
            if let Some(hash) = self.need(place(node)?).and_then(|bytes| bytes[..].try_into().ok()) {
                nodes.push((node, hash));
            }
        }
        if nodes.len() < needed.len() {
            return Ok(false);
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
        let Some(block) = self.need(range.clone()) else { return Ok(false) };
        self.received.remove(range.clone());
        let expected = file.block_tree(self.source.number)?.leaf(segment);
        if expected == Some(hash::block(&block)) {
            self.settle(|| Notice::Complete(block.clone()), out);
        } else {
            reached!("share: a block has the wrong hash");
            debug!(target: "client", node = out.node, server = &*self.source.server, share = self.source.number, segment, "corrupt block");
            self.advise(range, "the block has the wrong hash", out);
            self.settle(|| Notice::Corrupt, out);
        }
        Ok(true)
    }

    /// The bytes of a range, without which there is no going on. Notes which of them are missing.
    fn need(&mut self, range: Range<u64>) -> Option<Bytes> {
        let bytes = self.received.get(range.clone());
        if bytes.is_none() {
            self.lack(range);
        }
        bytes
    }

    fn lack(&mut self, range: Range<u64>) {
        self.lacks.extend(self.received.gaps(range).iter());
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

    pub(super) fn leaf(&self) -> u64 {
        self.source.number.into()
    }
}

/// The longest share hash chain that is read: every node of the largest share tree, twice over.
const MAX_CHAIN: u64 = 34 * 1022;

fn check_length(region: &'static str, length: u64, limit: u64) -> Result<(), ShareFailure> {
    match length {
        length if (1..=limit).contains(&length) => Ok(()),
        length => Err(ShareFailure::Length { region, length, limit }),
    }
}
