//! Idle connections, kept to be used again (annex-p2p §11): which to take, which to give up, and no more than so many.
//!
//! Pure bookkeeping: nothing here connects, closes or waits. Each operation takes time logarithmic in the number of idle
//! connections, whatever it does.

use std::collections::{BTreeMap, VecDeque};

use runtime::relapse;

/// Idle connections by key. The one of a key that was used last is taken first; the one that has been idle longest of all
/// is given up first.
#[derive(Debug)]
pub struct Idle<K, C> {
    limit: usize,
    /// Counts what was put: the order of use, which no clock can upset.
    next: u64,
    /// The connections of each key, by when they were put, the newest last. No key is without any.
    keys: BTreeMap<K, VecDeque<(u64, C)>>,
    /// The keys of all connections, by when they were put.
    ages: BTreeMap<u64, K>,
}

impl<K: Ord + Clone, C> Idle<K, C> {
    /// Room for `limit` connections.
    pub fn new(limit: usize) -> Self {
        Idle { limit, next: 0, keys: BTreeMap::new(), ages: BTreeMap::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ages.is_empty()
    }

    /// Takes the connection of this key that was put last.
    pub fn take(&mut self, key: &K) -> Option<C> {
        let of_key = self.keys.get_mut(key)?;
        let (age, connection) = of_key.pop_back()?;
        if of_key.is_empty() {
            self.keys.remove(key);
        }
        self.ages.remove(&age);
        Some(connection)
    }

    /// Puts a connection that is idle from now on. Returns the one that must be closed for it, which is the connection
    /// itself when there is room for none.
    #[must_use = "it must be closed"]
    pub fn put(&mut self, key: K, connection: C) -> Option<C> {
        let age = self.next;
        self.next += 1;
        self.ages.insert(age, key.clone());
        self.keys.entry(key).or_default().push_back((age, connection));
        // Only the first connection of each key was counted.
        let count = if relapse!("annex-L8") { self.keys.len() } else { self.len() };
        if count > self.limit { self.take_oldest() } else { None }
    }

    /// Takes the connection that has been idle longest.
    pub fn take_oldest(&mut self) -> Option<C> {
        if relapse!("annex-B23") {
            return self.take_oldest_of_all();
        }
        let (_, key) = self.ages.pop_first()?;
        let of_key = self.keys.get_mut(&key)?;
        let oldest = of_key.pop_front();
        if of_key.is_empty() {
            self.keys.remove(&key);
        }
        oldest.map(|(_, connection)| connection)
    }

    /// The same, by way of a list of all, which is sorted, and put together anew without the first.
    fn take_oldest_of_all(&mut self) -> Option<C> {
        let mut all = Vec::new();
        for (key, of_key) in std::mem::take(&mut self.keys) {
            all.extend(of_key.into_iter().map(|(age, connection)| (age, key.clone(), connection)));
        }
        all.sort_by_key(|(age, ..)| *age);
        let mut all = all.into_iter();
        let oldest = all.next();
        self.ages.clear();
        for (age, key, connection) in all {
            self.ages.insert(age, key.clone());
            self.keys.entry(key).or_default().push_back((age, connection));
        }
        oldest.map(|(.., connection)| connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_is_taken_and_the_oldest_given_up() {
        let mut idle = Idle::new(3);
        for (key, connection) in [("a", 1), ("b", 2), ("a", 3)] {
            assert_eq!(idle.put(key, connection), None);
        }
        assert_eq!(idle.put("c", 4), Some(1));
        assert_eq!((idle.take(&"a"), idle.take(&"a")), (Some(3), None));
        assert_eq!(idle.len(), 2);
        assert_eq!((idle.take_oldest(), idle.take_oldest(), idle.take_oldest()), (Some(2), Some(4), None));
    }

    #[test]
    fn where_there_is_room_for_none_nothing_stays() {
        let mut idle = Idle::new(0);
        assert_eq!(idle.put("a", 1), Some(1));
        assert!(idle.is_empty());
    }

    /// What anybody would write: one list, the newest last.
    #[derive(Default)]
    struct Naive(Vec<(u8, u32)>);

    proptest! {
        #[test]
        fn it_does_what_a_list_does(limit in 0_usize..5, steps in prop::collection::vec((0_u8..3, 0_u8..4), 0..60)) {
            let (mut idle, mut naive) = (Idle::new(limit), Naive::default());
            for (number, (what, key)) in steps.into_iter().enumerate() {
                let number = number as u32;
                match what {
                    0 | 1 => {
                        naive.0.push((key, number));
                        let over = (naive.0.len() > limit).then(|| naive.0.remove(0).1);
                        prop_assert_eq!(idle.put(key, number), over);
                    }
                    _ => {
                        let place = naive.0.iter().rposition(|(of, _)| *of == key);
                        prop_assert_eq!(idle.take(&key), place.map(|place| naive.0.remove(place).1));
                    }
                }
                prop_assert_eq!(idle.len(), naive.0.len());
                prop_assert!(idle.keys.values().all(|of_key| !of_key.is_empty()));
            }
        }
    }
}
