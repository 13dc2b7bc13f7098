//! The order in which real uploaders store a share hash chain (spec §6.3).
//!
//! It is not canonical, and readers accept any: it is the order in which CPython iterates over a set
//! of small integers. It is reproduced here so that shares come out byte for byte the same.

use crate::hash_tree::{HashTreeError, Shape};

/// The nodes of the chain of share `share` among `n`, its own leaf included, in the order in which
/// they are stored.
pub fn chain_order(n: u32, share: u32) -> Result<Vec<u64>, HashTreeError> {
    let tree = Shape::new(n.into())?;
    let mut set = IntSet::new();
    for node in tree.chain(share.into())? {
        set.insert(node);
    }
    set.insert(tree.leaf_node(share.into())?);
    Ok(set.slots.into_iter().flatten().collect())
}

/// An open-addressed table as CPython's `set` keeps it, for distinct integers that hash to
/// themselves.
struct IntSet {
    slots: Vec<Option<u64>>,
    filled: usize,
}

impl IntSet {
    fn new() -> IntSet {
        IntSet { slots: vec![None; SMALLEST], filled: 0 }
    }

    fn insert(&mut self, value: u64) {
        self.place(value);
        self.filled += 1;
        if 5 * self.filled >= 3 * (self.slots.len() - 1) {
            let larger = vec![None; (4 * self.filled + 1).next_power_of_two().max(SMALLEST)];
            for value in std::mem::replace(&mut self.slots, larger).into_iter().flatten() {
                self.place(value);
            }
        }
    }

    /// Puts `value` into the first free slot: a few in a row, then a jump to the next row.
    fn place(&mut self, value: u64) {
        let mask = self.slots.len() - 1;
        let mut row = value as usize & mask;
        let mut perturb = value as usize;
        loop {
            let last = if row + LINEAR_PROBES <= mask { row + LINEAR_PROBES } else { row };
            if let Some(free) = self.slots[row..=last].iter_mut().find(|slot| slot.is_none()) {
                *free = Some(value);
                return;
            }
            perturb >>= 5;
            row = (5 * row + 1 + perturb) & mask;
        }
    }
}

const SMALLEST: usize = 8;
const LINEAR_PROBES: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn known_orders() {
        for (n, share, expected) in [
            (1, 0, &[0][..]),
            (3, 0, &[2, 3, 4]),
            (7, 0, &[8, 2, 4, 7]),
            (7, 6, &[1, 13, 5, 14]),
            (10, 0, &[2, 4, 8, 15, 16]),
            (10, 3, &[2, 4, 7, 17, 18]),
            (100, 0, &[128, 32, 64, 2, 4, 8, 16, 127]),
            (256, 0, &[256, 32, 64, 128, 4, 2, 8, 16, 255]),
        ] {
            assert_eq!(chain_order(n, share).unwrap(), expected, "share {share} of {n}");
        }
    }

    /// All orders for all n, against a digest of what CPython 3.11 makes of them.
    #[test]
    fn all_orders() {
        let mut digest = Sha256::new();
        for n in 1..=256 {
            for share in 0..n {
                for node in chain_order(n, share).unwrap() {
                    digest.update((node as u16).to_be_bytes());
                }
            }
        }
        let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "a6e5ffe10b3d060c478346aec7ba529a37d1b3f4343b57a9e56e61b38c2ba547");
    }

    #[test]
    fn an_order_has_the_chain_and_the_leaf_and_nothing_else() {
        for n in 1..=256 {
            let tree = Shape::new(n.into()).unwrap();
            for share in 0..n {
                let mut expected = tree.chain(share.into()).unwrap();
                expected.push(tree.leaf_node(share.into()).unwrap());
                expected.sort_unstable();
                let mut order = chain_order(n, share).unwrap();
                order.sort_unstable();
                assert_eq!(order, expected, "share {share} of {n}");
            }
        }
        assert_eq!(chain_order(10, 10), Err(HashTreeError::NoSuchLeaf { leaf: 10, leaves: 10 }));
    }
}
