//! What a node knows of its file whichever share it learnt it from: sizes and checked hashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::cap::VerifyCap;
use protocol::codec::Codec;
use protocol::hash_tree::{HashTreeError, IncompleteHashTree};
use protocol::layout::Layout;
use protocol::segmentation::Segmentation;
use protocol::server::ShareNumber;
use protocol::ueb::{Ueb, UebError};
use runtime::{reached, relapse};

use crate::errors::{OpenError, ShareFailure};

/// What is known of a file. Sizes and trees are guesses until a URI extension block is accepted.
pub(crate) struct File {
    pub cap: VerifyCap,
    pub codec: Arc<Codec>,
    /// From the URI extension block.
    pub sizes: Option<Segmentation>,
    pub guess: Segmentation,
    pub crypttext_tree: IncompleteHashTree,
    pub share_tree: IncompleteHashTree,
    /// For each share number the block tree that all its copies have in common.
    block_trees: BTreeMap<ShareNumber, IncompleteHashTree>,
    max_segment_size: u64,
}

impl File {
    pub fn new(cap: VerifyCap, guess: u64, max_segment_size: u64) -> Result<File, OpenError> {
        let impossible = |error: &dyn std::fmt::Display| OpenError::Impossible(error.to_string());
        let guess = Segmentation::plan(cap.size, cap.k, cap.n, guess.max(1)).map_err(|e| impossible(&e))?;
        Ok(File {
            cap,
            codec: Arc::new(Codec::new(cap.k, cap.n).map_err(|e| impossible(&e))?),
            sizes: None,
            guess,
            crypttext_tree: IncompleteHashTree::new(guess.segments).map_err(|e| impossible(&e))?,
            share_tree: IncompleteHashTree::new(cap.n.into()).map_err(|e| impossible(&e))?,
            block_trees: BTreeMap::new(),
            max_segment_size,
        })
    }

    /// The sizes, real or guessed.
    pub fn best_sizes(&self) -> &Segmentation {
        self.sizes.as_ref().unwrap_or(&self.guess)
    }

    /// Where a share's regions are if its uploader did as uploaders do.
    pub fn likely_layout(&self) -> Option<Layout> {
        Layout::plan(self.best_sizes(), None).ok()
    }

    /// Makes room for what will be known of a share's blocks. Sized by the real number of segments as
    /// soon as that is known.
    pub fn add_share(&mut self, number: ShareNumber) -> Result<(), HashTreeError> {
        if !self.block_trees.contains_key(&number) {
            let tree = IncompleteHashTree::new(self.best_sizes().segments)?;
            self.block_trees.insert(number, tree);
        }
        Ok(())
    }

    pub fn block_tree(&mut self, number: ShareNumber) -> Result<&mut IncompleteHashTree, ShareFailure> {
        self.block_trees.get_mut(&number).ok_or(ShareFailure::IncompleteChain)
    }

    /// How many hashes are known that matter to a share: more after all that any share teaches.
    pub fn known_hashes(&self, number: ShareNumber) -> usize {
        let block_tree = self.block_trees.get(&number).map_or(0, IncompleteHashTree::known);
        self.share_tree.known() + self.crypttext_tree.known() + block_tree
    }

    /// Takes a URI extension block in: sizes, roots, and trees of the right size.
    pub fn learn(&mut self, ueb: &[u8]) -> Result<(), ShareFailure> {
        let VerifyCap { ueb_hash, k, n, size, .. } = self.cap;
        let ueb = Ueb::parse_authentic(ueb, &ueb_hash)?;
        let sizes = ueb.segmentation(size, k, n)?;
        if sizes.segment_size > self.max_segment_size {
            return Err(ShareFailure::SegmentSize(sizes.segment_size));
        }
        let bad = |error| ShareFailure::BadHash { region: "URI extension block", error };
        self.crypttext_tree =
            IncompleteHashTree::with_root(sizes.segments, ueb.crypttext_root_hash).map_err(bad)?;
        self.share_tree = IncompleteHashTree::with_root(n.into(), ueb.share_root_hash).map_err(bad)?;
        if sizes != self.guess {
            reached!("file: the guessed segment size was wrong");
        }
        self.sizes = Some(sizes);
        if !relapse!("tahoe-B4") {
            // Shares found earlier and not used yet must not keep trees of the guessed size.
            let numbers: Vec<_> = self.block_trees.keys().copied().collect();
            for number in numbers {
                self.resize(number).map_err(bad)?;
            }
        }
        Ok(())
    }

    /// Gives a share's block tree the real size, once that is known.
    pub fn resize(&mut self, number: ShareNumber) -> Result<(), HashTreeError> {
        if let (Some(sizes), Some(tree)) = (self.sizes, self.block_trees.get_mut(&number))
            && tree.shape().leaves() != sizes.segments
        {
            *tree = IncompleteHashTree::new(sizes.segments)?;
        }
        Ok(())
    }
}

/// Whether the failure shows that the block itself was damaged, and not merely badly made.
pub(crate) fn is_damage(failure: &ShareFailure) -> bool {
    matches!(failure, ShareFailure::Ueb(UebError::Hash))
}
