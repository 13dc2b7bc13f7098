//! Merkle trees (spec §6): their shape, the full tree that an uploader builds, and the incomplete
//! tree that a downloader fills and checks piece by piece.
//!
//! Node 0 is the root, the children of node i are 2i+1 and 2i+2, and the leaves are padded to a power
//! of two. Leaves and nodes are counted in `u64`: a file's tree may be far larger than memory.

use std::collections::BTreeMap;

use crate::hash::{self, Hash};

/// Where the nodes of a tree with some number of leaves are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    leaves: u64,
    padded: u64,
}

/// Why hashes were not accepted, or a tree does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashTreeError {
    /// A value contradicts one already held, one given in the same call, or what its children hash to.
    #[error("the hash of tree node {node} is wrong")]
    BadHash {
        /// The node at which the contradiction showed.
        node: u64,
    },
    /// The value cannot be checked up to the root: a sibling on the way is missing.
    #[error("the hash of tree node {missing} is needed to check its sibling")]
    NotEnoughHashes {
        /// The missing sibling.
        missing: u64,
    },
    /// There is no such node.
    #[error("there is no node {node} in a tree of {nodes}")]
    NoSuchNode {
        /// The node asked for.
        node: u64,
        /// Nodes in the tree.
        nodes: u64,
    },
    /// There is no such leaf.
    #[error("there is no leaf {leaf} in a tree of {leaves}")]
    NoSuchLeaf {
        /// The leaf asked for.
        leaf: u64,
        /// Leaves in the tree.
        leaves: u64,
    },
    /// A tree of so many leaves does not exist: 1 to 2^62.
    #[error("there is no tree of {leaves} leaves")]
    Size {
        /// Leaves asked for.
        leaves: u64,
    },
}

impl Shape {
    /// The shape of a tree of `leaves` leaves, 1 to 2^62.
    pub fn new(leaves: u64) -> Result<Shape, HashTreeError> {
        match leaves {
            1..=MAX_LEAVES => Ok(Shape { leaves, padded: leaves.next_power_of_two() }),
            _ => Err(HashTreeError::Size { leaves }),
        }
    }

    /// Leaves, without padding.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// Leaves and padding: a power of two.
    pub fn padded_leaves(&self) -> u64 {
        self.padded
    }

    /// Nodes, padding included: below 2^63.
    pub fn nodes(&self) -> u64 {
        2 * self.padded - 1
    }

    /// The node that is leaf `leaf`.
    pub fn leaf_node(&self, leaf: u64) -> Result<u64, HashTreeError> {
        if leaf < self.leaves {
            Ok(self.padded - 1 + leaf)
        } else {
            Err(HashTreeError::NoSuchLeaf { leaf, leaves: self.leaves })
        }
    }

    /// The nodes needed to check leaf `leaf` against the root: the sibling of each node on the way
    /// up, from the leaf's own.
    pub fn chain(&self, leaf: u64) -> Result<Vec<u64>, HashTreeError> {
        let path = std::iter::successors(Some(self.leaf_node(leaf)?), |&node| parent(node));
        Ok(path.filter_map(sibling).collect())
    }
}

/// A tree with all its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTree {
    shape: Shape,
    nodes: Vec<Hash>,
}

impl HashTree {
    /// Builds the tree over `leaves`, at least one.
    pub fn new(leaves: &[Hash]) -> Result<HashTree, HashTreeError> {
        let shape = Shape::new(leaves.len() as u64)?;
        let first_leaf = shape.padded_leaves() as usize - 1;
        let mut nodes = vec![[0; 32]; first_leaf];
        nodes.extend_from_slice(leaves);
        nodes.extend((shape.leaves()..shape.padded_leaves()).map(hash::empty_leaf));
        for node in (0..first_leaf).rev() {
            nodes[node] = hash::node(&nodes[2 * node + 1], &nodes[2 * node + 2]);
        }
        Ok(HashTree { shape, nodes })
    }

    /// The tree's shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The root.
    pub fn root(&self) -> Hash {
        self.nodes[0]
    }

    /// All nodes, root first, as a share stores them.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }
}

/// A tree of which only some nodes are known, each of them checked up to the root.
///
/// Memory is used for the nodes held alone. The caller must [install](Self::insert) a trusted root
/// before anything else: a tree without a root accepts any root that fits what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncompleteHashTree {
    shape: Shape,
    nodes: BTreeMap<u64, Hash>,
}

impl IncompleteHashTree {
    /// A tree of `leaves` leaves of which nothing is known.
    pub fn new(leaves: u64) -> Result<IncompleteHashTree, HashTreeError> {
        Ok(IncompleteHashTree { shape: Shape::new(leaves)?, nodes: BTreeMap::new() })
    }

    /// A tree of `leaves` leaves with this trusted root.
    pub fn with_root(leaves: u64, root: Hash) -> Result<IncompleteHashTree, HashTreeError> {
        let mut tree = Self::new(leaves)?;
        tree.nodes.insert(0, root);
        Ok(tree)
    }

    /// The tree's shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The value of a node, if it is known.
    pub fn get(&self, node: u64) -> Option<Hash> {
        self.nodes.get(&node).copied()
    }

    /// The value of a leaf, if it is known.
    pub fn leaf(&self, leaf: u64) -> Option<Hash> {
        self.get(self.shape.leaf_node(leaf).ok()?)
    }

    /// The nodes still missing to check leaf `leaf` up to the root, without the leaf itself.
    /// In the order of the chain, leaf's sibling first.
    pub fn needed(&self, leaf: u64) -> Result<Vec<u64>, HashTreeError> {
        let mut chain = self.shape.chain(leaf)?;
        chain.retain(|node| !self.nodes.contains_key(node));
        Ok(chain)
    }

    /// Like [`needed`](Self::needed), with the leaf's own node last unless it is known.
    pub fn needed_with_leaf(&self, leaf: u64) -> Result<Vec<u64>, HashTreeError> {
        let mut needed = self.needed(leaf)?;
        let own = self.shape.leaf_node(leaf)?;
        if !self.nodes.contains_key(&own) {
            needed.push(own);
        }
        Ok(needed)
    }

    /// Adds nodes: all of them, or after an error none.
    ///
    /// Each must agree with the values held and must be checkable up to a node already held, by what
    /// is held and what comes in the same call. Values that are held already cost nothing. A root is
    /// accepted as it is when none is held. O(log leaves) hashes for each leaf.
    pub fn insert(&mut self, nodes: impl IntoIterator<Item = (u64, Hash)>) -> Result<(), HashTreeError> {
        let mut unchecked = self.news_in(nodes)?;
        let mut checked = BTreeMap::new();

        // A node's index is above its parent's and its children's above both, so the largest
        // index is always on the deepest level left to check.
        while let Some((node, value)) = unchecked.pop_last() {
            checked.insert(node, value);
            let (Some(parent), Some(sibling)) = (parent(node), sibling(node)) else {
                continue;
            };
            let other = match unchecked.remove(&sibling) {
                Some(other) => {
                    checked.insert(sibling, other);
                    other
                }
                None => self.get(sibling).ok_or(HashTreeError::NotEnoughHashes { missing: sibling })?,
            };
            let computed =
                if node < sibling { hash::node(&value, &other) } else { hash::node(&other, &value) };
            match self.get(parent).or_else(|| unchecked.get(&parent).copied()) {
                Some(known) if known == computed => {}
                Some(_) => return Err(HashTreeError::BadHash { node: parent }),
                None => {
                    unchecked.insert(parent, computed);
                }
            }
        }
        self.nodes.append(&mut checked);
        Ok(())
    }

    /// What `nodes` tells that is not known yet, if it contradicts neither the tree nor itself.
    fn news_in(
        &self,
        nodes: impl IntoIterator<Item = (u64, Hash)>,
    ) -> Result<BTreeMap<u64, Hash>, HashTreeError> {
        let mut news = BTreeMap::new();
        for (node, value) in nodes {
            if node >= self.shape.nodes() {
                return Err(HashTreeError::NoSuchNode { node, nodes: self.shape.nodes() });
            }
            let known = match self.nodes.get(&node) {
                Some(held) => held,
                None => news.entry(node).or_insert(value),
            };
            if *known != value {
                return Err(HashTreeError::BadHash { node });
            }
        }
        Ok(news)
    }
}

const MAX_LEAVES: u64 = 1 << 62;

fn parent(node: u64) -> Option<u64> {
    Some(node.checked_sub(1)? / 2)
}

/// The other child of the same parent: 1 and 2, 3 and 4, and so on.
fn sibling(node: u64) -> Option<u64> {
    Some(((node.checked_sub(1)?) ^ 1) + 1)
}
