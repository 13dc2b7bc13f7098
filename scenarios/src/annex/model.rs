//! What must be on the nodes' disks, given what clients asked for and were told.

use std::collections::{BTreeMap, BTreeSet};

use runtime::Instant;

use super::workload::OBJECTS;

/// What is known of all objects.
#[derive(Default)]
pub struct Model {
    objects: [Known; OBJECTS],
    next: u64,
}

/// What is known of an object.
#[derive(Default)]
struct Known {
    /// The nodes that have it: somebody was told so, and nobody has asked to remove it since.
    must: BTreeSet<usize>,
    /// Nodes that keep it, and until when: somebody has a lock, or had one and was lost.
    locks: BTreeMap<u64, (usize, Instant)>,
    /// How many requests of each kind there were.
    puts: u64,
    removals: u64,
    /// How many of them may still come to something: they are under way, or nobody knows what has become of them.
    putting: u64,
    removing: u64,
}

/// What a request to change an object meets at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    puts: u64,
    removals: u64,
    quiet_puts: bool,
    quiet_removals: bool,
}

impl Since {
    /// Nobody was about to put the object.
    pub fn is_alone(self) -> bool {
        self.quiet_puts
    }
}

impl Model {
    /// A request about an object begins; tells what it meets.
    pub fn begin(&self, object: usize) -> Since {
        let known = &self.objects[object];
        Since {
            puts: known.puts,
            removals: known.removals,
            quiet_puts: known.putting == 0,
            quiet_removals: known.removing == 0,
        }
    }

    /// Whether nobody has put the object since, nor was about to.
    pub fn no_puts(&self, object: usize, since: Since) -> bool {
        since.quiet_puts && since.puts == self.objects[object].puts
    }

    /// Whether nobody has removed the object since, nor was about to.
    pub fn no_removals(&self, object: usize, since: Since) -> bool {
        since.quiet_removals && since.removals == self.objects[object].removals
    }

    /// How many have put the object since.
    pub fn puts_since(&self, object: usize, since: Since) -> u64 {
        self.objects[object].puts - since.puts
    }

    /// A PUT begins.
    pub fn puts(&mut self, object: usize) {
        self.objects[object].puts += 1;
        self.objects[object].putting += 1;
    }

    /// A PUT has ended.
    pub fn has_put(&mut self, object: usize) {
        self.objects[object].putting = self.objects[object].putting.saturating_sub(1);
    }

    /// A removal from these nodes begins.
    pub fn removes(&mut self, object: usize, nodes: &BTreeSet<usize>) {
        let known = &mut self.objects[object];
        known.removals += 1;
        known.removing += 1;
        known.must.retain(|node| !nodes.contains(node));
    }

    /// A removal has ended.
    pub fn has_removed(&mut self, object: usize) {
        self.objects[object].removing = self.objects[object].removing.saturating_sub(1);
    }

    /// A node is known to have the object.
    pub fn is_there(&mut self, object: usize, node: usize) {
        self.objects[object].must.insert(node);
    }

    /// A node keeps the object; tells the number of the lock.
    pub fn locked(&mut self, object: usize, node: usize, until: Instant) -> u64 {
        self.next += 1;
        self.objects[object].locks.insert(self.next, (node, until));
        self.next
    }

    /// A lock is being given up.
    pub fn unlocks(&mut self, object: usize, lock: u64) {
        self.objects[object].locks.remove(&lock);
    }

    /// The nodes that must have the object.
    pub fn must(&self, object: usize) -> &BTreeSet<usize> {
        &self.objects[object].must
    }

    /// The nodes that keep the object now, since it is locked.
    pub fn kept(&self, object: usize, now: Instant) -> BTreeSet<usize> {
        let locks = self.objects[object].locks.values();
        locks.filter(|(_, until)| now < *until).map(|(node, _)| *node).collect()
    }

    /// All is quiet: what was under way has come to its end, whatever that was.
    pub fn settle(&mut self) {
        for known in &mut self.objects {
            (known.putting, known.removing) = (0, 0);
        }
    }
}
