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
        Ok(siblings(self.leaf_node(leaf)?).collect())
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

    /// How many nodes are known.
    pub fn known(&self) -> usize {
        self.nodes.len()
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
        let own = self.shape.leaf_node(leaf)?;
        Ok(siblings(own).filter(|node| !self.nodes.contains_key(node)).collect())
    }

    /// Like [`needed`](Self::needed), with the leaf's own node last unless it is known.
    pub fn needed_with_leaf(&self, leaf: u64) -> Result<Vec<u64>, HashTreeError> {
        let own = self.shape.leaf_node(leaf)?;
        let chain = siblings(own).chain([own]);
        Ok(chain.filter(|node| !self.nodes.contains_key(node)).collect())
    }

    /// Adds nodes: all of them, or after an error none.
    ///
    /// Each must agree with the values held and must be checkable up to a node already held, by what
    /// is held and what comes in the same call. Values that are held already cost nothing. A root is
    /// accepted as it is when none is held. O(log leaves) hashes for each leaf.
    pub fn insert(&mut self, nodes: impl IntoIterator<Item = (u64, Hash)>) -> Result<(), HashTreeError> {
        let mut unchecked = self.news_in(nodes)?;
        let mut checked = Vec::with_capacity(2 * unchecked.len());

        // A node's index is above its parent's and its children's above both, so the largest
        // index is always on the deepest level left to check.
        while let Some((node, value)) = unchecked.pop_last() {
            checked.push((node, value));
            let (Some(parent), Some(sibling)) = (parent(node), sibling(node)) else {
                continue;
            };
            let other = match unchecked.remove(&sibling) {
                Some(other) => {
                    checked.push((sibling, other));
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
        self.nodes.extend(checked);
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

/// The siblings of a node and of all above it.
fn siblings(node: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(node), |&node| parent(node)).filter_map(sibling)
}

/// The other child of the same parent: 1 and 2, 3 and 4, and so on.
fn sibling(node: u64) -> Option<u64> {
    Some(((node.checked_sub(1)?) ^ 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| hash::tagged(b"leaf", i.to_string().as_bytes())).collect()
    }

    fn full(count: u64) -> HashTree {
        HashTree::new(&leaves(count)).unwrap()
    }

    /// A leaf of `tree` with the chain that proves it.
    fn proof(tree: &HashTree, leaf: u64) -> Vec<(u64, Hash)> {
        let mut nodes = tree.shape().chain(leaf).unwrap();
        nodes.push(tree.shape().leaf_node(leaf).unwrap());
        nodes.into_iter().map(|node| (node, tree.nodes()[node as usize])).collect()
    }

    #[test]
    fn shapes() {
        for (leaves, padded, nodes) in
            [(1, 1, 1), (2, 2, 3), (3, 4, 7), (4, 4, 7), (5, 8, 15), (256, 256, 511)]
        {
            let shape = Shape::new(leaves).unwrap();
            assert_eq!((shape.leaves(), shape.padded_leaves(), shape.nodes()), (leaves, padded, nodes));
        }
        let shape = Shape::new(10).unwrap();
        assert_eq!(shape.leaf_node(0), Ok(15));
        assert_eq!(shape.chain(0), Ok(vec![16, 8, 4, 2]));
        assert_eq!(shape.chain(9), Ok(vec![23, 12, 6, 1]));
        assert_eq!(shape.chain(10), Err(HashTreeError::NoSuchLeaf { leaf: 10, leaves: 10 }));
        assert_eq!(Shape::new(1).unwrap().chain(0), Ok(vec![]));
        for leaves in [0, (1 << 62) + 1, u64::MAX] {
            assert_eq!(Shape::new(leaves), Err(HashTreeError::Size { leaves }));
        }
    }

    #[test]
    fn the_tree_of_the_specification() {
        let tree = full(3);
        let hex: Vec<String> =
            tree.nodes().iter().map(|node| node.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        assert_eq!(hex[0], "12d11e354ec4b87aab9f4651a31ec8261094b591d7087a7cbcce3e04f4a148b2");
        let starts = ["12d11e35", "1395f7c1", "5c1c3c8d", "20d64388", "3b3371dc", "4082edc7", "9ed59076"];
        assert_eq!(hex.iter().map(|node| &node[..8]).collect::<Vec<_>>(), starts);
        assert_eq!(tree.nodes()[6], hash::empty_leaf(3));
        assert_eq!(full(1).nodes(), leaves(1), "a single leaf is the root");
        assert_eq!(HashTree::new(&[]), Err(HashTreeError::Size { leaves: 0 }));
    }

    #[test]
    fn a_chain_proves_a_leaf() {
        let tree = full(5);
        let mut known = IncompleteHashTree::with_root(5, tree.root()).unwrap();
        assert_eq!(known.needed(0), Ok(vec![8, 4, 2]));
        assert_eq!(known.needed_with_leaf(0), Ok(vec![8, 4, 2, 7]));
        known.insert(proof(&tree, 0)).unwrap();
        assert_eq!(known.leaf(0), Some(leaves(5)[0]));
        assert_eq!(known.get(3), Some(tree.nodes()[3]), "inner nodes are computed and kept");
        assert_eq!((known.needed(0), known.needed_with_leaf(0)), (Ok(vec![]), Ok(vec![])));
        assert_eq!(known.needed_with_leaf(1), Ok(vec![]), "a sibling is proved along");
        assert_eq!(known.needed_with_leaf(3), Ok(vec![9, 10]), "what is held above is not asked for");
        assert_eq!(known.leaf(5), None, "padding is no leaf");
    }

    #[test]
    fn errors_change_nothing() {
        let tree = full(5);
        let mut known = IncompleteHashTree::with_root(5, tree.root()).unwrap();
        known.insert(proof(&tree, 4)).unwrap();
        let before = known.clone();
        let good = proof(&tree, 0);

        for spoilt in 0..good.len() {
            let mut bad = good.clone();
            bad[spoilt].1[31] ^= 1;
            assert!(matches!(known.insert(bad), Err(HashTreeError::BadHash { .. })), "{spoilt}");
            assert_eq!(known, before);
        }
        let without_sibling: Vec<_> = good.iter().copied().filter(|&(node, _)| node != 8).collect();
        assert_eq!(known.insert(without_sibling), Err(HashTreeError::NotEnoughHashes { missing: 8 }));
        let twice = [good[0], (good[0].0, [0; 32])];
        assert_eq!(known.insert(twice), Err(HashTreeError::BadHash { node: 8 }));
        for node in [15, u64::MAX] {
            let outside = good.iter().copied().chain([(node, [0; 32])]);
            assert_eq!(known.insert(outside), Err(HashTreeError::NoSuchNode { node, nodes: 15 }));
        }
        assert_eq!(known.insert([(0, [0; 32])]), Err(HashTreeError::BadHash { node: 0 }));
        assert_eq!(known, before);

        // Values held are ignored; a repetition is no contradiction.
        known.insert(good.iter().chain(&good).copied()).unwrap();
        known.insert([good[0]]).unwrap();
    }

    /// Contract rule 5: the root must come first, or whatever is consistent is believed.
    #[test]
    fn without_a_root_anything_consistent_is_believed() {
        let mut known = IncompleteHashTree::new(5).unwrap();
        known.insert(proof(&full(5), 0)).unwrap();
        assert_eq!(known.get(0), Some(full(5).root()));
        assert!(known.insert([(0, [0; 32])]).is_err());
    }

    /// A leaf of a tree of 2^62 leaves costs its chain, in time and in memory.
    #[test]
    fn huge_trees_are_sparse() {
        let leaf = 0x2aaa_aaaa_aaaa_aaaa;
        let mut known = IncompleteHashTree::new(1 << 62).unwrap();
        let own = known.shape().leaf_node(leaf).unwrap();
        let siblings = known.needed(leaf).unwrap();
        let (mut root, mut node) = ([7; 32], own);
        for &sibling in &siblings {
            root = if node < sibling { hash::node(&root, &[9; 32]) } else { hash::node(&[9; 32], &root) };
            node = parent(node).unwrap();
        }
        known.insert([(0, root)]).unwrap();
        known.insert(siblings.iter().map(|&node| (node, [9; 32])).chain([(own, [7; 32])])).unwrap();
        assert_eq!(known.leaf(leaf), Some([7; 32]));
        assert_eq!(known.nodes.len(), 2 * 62 + 1);
    }

    /// The contract of §6.4 on a dense array: try on a copy, walk the whole tree, keep it if all is well.
    fn naive_insert(nodes: &mut Vec<Option<Hash>>, given: &[(u64, Hash)]) -> Result<(), HashTreeError> {
        let mut trial = nodes.clone();
        let mut unchecked = vec![false; nodes.len()];
        for &(node, value) in given {
            let slot = trial
                .get_mut(node as usize)
                .ok_or(HashTreeError::NoSuchNode { node, nodes: nodes.len() as u64 })?;
            match slot {
                Some(held) if *held != value => return Err(HashTreeError::BadHash { node }),
                Some(_) => {}
                None => {
                    *slot = Some(value);
                    unchecked[node as usize] = true;
                }
            }
        }
        for right in (2..nodes.len()).rev().step_by(2) {
            let left = right - 1;
            if !unchecked[left] && !unchecked[right] {
                continue;
            }
            let a = trial[left].ok_or(HashTreeError::NotEnoughHashes { missing: left as u64 })?;
            let b = trial[right].ok_or(HashTreeError::NotEnoughHashes { missing: right as u64 })?;
            let up = left / 2;
            match trial[up] {
                Some(held) if held != hash::node(&a, &b) => {
                    return Err(HashTreeError::BadHash { node: up as u64 });
                }
                Some(_) => {}
                None => {
                    trial[up] = Some(hash::node(&a, &b));
                    unchecked[up] = true;
                }
            }
        }
        *nodes = trial;
        Ok(())
    }

    proptest! {
        /// Proofs, pieces of proofs and spoilt ones, in any order: always what the naive tree says.
        #[test]
        fn agrees_with_the_naive_tree(
            count in 1u64..20,
            rooted: bool,
            calls in prop::collection::vec(
                (any::<prop::sample::Index>(), any::<u8>(), prop::option::weighted(0.2, any::<prop::sample::Index>()), 0u64..45),
                1..12,
            ),
        ) {
            let tree = full(count);
            let mut known = IncompleteHashTree::new(count).unwrap();
            let mut naive = vec![None; tree.nodes().len()];
            if rooted {
                known.insert([(0, tree.root())]).unwrap();
                naive[0] = Some(tree.root());
            }
            for (leaf, keep, spoil, extra) in calls {
                let mut given = proof(&tree, leaf.index(count as usize) as u64);
                // Mostly whole proofs, for little is learnt from scraps.
                if keep < 64 {
                    let mut bit = 0;
                    given.retain(|_| { bit += 1; keep >> (bit % 6) & 1 == 1 });
                }
                if extra < 15 {
                    given.push((extra, tree.nodes().get(extra as usize).copied().unwrap_or([0; 32])));
                }
                if let Some(spoil) = spoil && !given.is_empty() {
                    let spoil = spoil.index(given.len());
                    given[spoil].1[0] ^= 1;
                }
                prop_assert_eq!(known.insert(given.iter().copied()), naive_insert(&mut naive, &given));
                let held: Vec<_> = (0..naive.len() as u64).map(|node| known.get(node)).collect();
                prop_assert_eq!(&held, &naive);
                for node in 1..held.len() as u64 {
                    let sibling = sibling(node).unwrap();
                    prop_assert_eq!(held[node as usize].is_some(), held[sibling as usize].is_some());
                }
                if rooted {
                    prop_assert!(held.iter().zip(tree.nodes()).all(|(held, real)| held.is_none_or(|held| held == *real)));
                }
            }
        }
    }
}
