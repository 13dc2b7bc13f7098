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
