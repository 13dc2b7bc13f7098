//! What must be on the nodes' disks, given what clients asked for and were told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    /// The nodes that said at some time that they have it.
    told: BTreeSet<usize>,
    /// Of some request, ever, nobody knows what has become of it.
    murky: bool,
    /// Nodes that keep it, and until when: somebody has a lock, or had one and was lost.
    locks: BTreeMap<u64, (usize, Instant)>,
    /// How many requests of each kind there were.
    puts: u64,
    removals: u64,
    /// How many of them are under way.
    putting: u64,
    removing: u64,
    /// How many of them may still come to something, since nobody knows what has become of them.
    lost_puts: u64,
    lost_removals: u64,
    /// Until when a lost PUT may have its node refuse another.
    busy_until: Option<Instant>,
    /// When somebody last asked for a lock, or had one.
    last_lock: Option<Instant>,
}

/// For how long an object may be locked after somebody asked for that: a lock's time, as much again where a node does not
/// know when that began, and what a link stood still before the node was asked.
const LOCKED: Duration = Duration::from_secs(2400);

/// Who else is about an object when a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    puts: u64,
    removals: u64,
    /// No PUT is under way, or may still come to something.
    pub no_puts: bool,
    /// No removal is.
    pub no_removals: bool,
    /// No PUT may have a node refuse another.
    pub alone: bool,
}

impl Model {
    /// A request about an object begins; tells what it meets.
    pub fn begin(&self, object: usize, now: Instant) -> Since {
        let known = &self.objects[object];
        Since {
            puts: known.puts,
            removals: known.removals,
            no_puts: known.putting + known.lost_puts == 0,
            no_removals: known.removing + known.lost_removals == 0,
            alone: known.putting == 0 && known.busy_until.is_none_or(|until| until <= now),
        }
    }

    /// Whether nobody has put the object since, nor was about to.
    pub fn no_puts(&self, object: usize, since: Since) -> bool {
        since.no_puts && since.puts == self.objects[object].puts
    }

    /// Whether nobody has removed the object since, nor was about to.
    pub fn no_removals(&self, object: usize, since: Since) -> bool {
        since.no_removals && since.removals == self.objects[object].removals
    }

    /// How many have put the object since.
    pub fn puts_since(&self, object: usize, since: Since) -> u64 {
        self.objects[object].puts - since.puts
    }

    /// How many have removed the object since.
    pub fn removals_since(&self, object: usize, since: Since) -> u64 {
        self.objects[object].removals - since.removals
    }

    /// A PUT begins.
    pub fn puts(&mut self, object: usize) {
        self.objects[object].puts += 1;
        self.objects[object].putting += 1;
    }

    /// A PUT has ended; `lost`: what has become of it is not known, and until then its node may refuse another.
    pub fn has_put(&mut self, object: usize, lost: Option<Instant>) {
        let known = &mut self.objects[object];
        known.putting -= 1;
        known.lost_puts += u64::from(lost.is_some());
        known.murky |= lost.is_some();
        known.busy_until = known.busy_until.max(lost);
    }

    /// A removal from these nodes begins.
    pub fn removes(&mut self, object: usize, nodes: &BTreeSet<usize>) {
        let known = &mut self.objects[object];
        known.removals += 1;
        known.removing += 1;
        known.must.retain(|node| !nodes.contains(node));
    }

    /// A removal has ended, or is lost.
    pub fn has_removed(&mut self, object: usize, lost: bool) {
        self.objects[object].removing -= 1;
        self.objects[object].lost_removals += u64::from(lost);
        self.objects[object].murky |= lost;
    }

    /// A node is known to have the object.
    pub fn is_there(&mut self, object: usize, node: usize) {
        self.objects[object].must.insert(node);
    }

    /// A node has said that it has the object.
    pub fn was_there(&mut self, object: usize, node: usize) {
        self.objects[object].told.insert(node);
    }

    /// The nodes that the gateway's log must have for an object, if they have it.
    pub fn must_be_listed(&self, object: usize) -> BTreeSet<usize> {
        let Known { told, murky, .. } = &self.objects[object];
        if *murky { BTreeSet::new() } else { told.clone() }
    }

    /// Somebody asks for a lock, or has one now.
    pub fn locks(&mut self, object: usize, now: Instant) {
        self.objects[object].last_lock = Some(now);
    }

    /// Whether a lock may keep the object somewhere.
    pub fn may_be_locked(&self, object: usize, now: Instant) -> bool {
        let known = &self.objects[object];
        !known.locks.is_empty() || known.last_lock.is_some_and(|last| now - last < LOCKED)
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
            (known.lost_puts, known.lost_removals) = (0, 0);
        }
    }
}
