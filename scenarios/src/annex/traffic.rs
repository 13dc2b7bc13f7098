//! What goes on between clients, the gateway and its nodes, in numbers: requests, connections to nodes, and what nodes do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// All that is counted.
#[derive(Default)]
pub struct Traffic {
    /// Requests of clients: that were ever made, that are under way, and that nobody heard the end of.
    made: AtomicU64,
    under_way: AtomicU64,
    unheard: AtomicU64,
    /// Requests that were sent over HTTP: some of a client's take several.
    sent: AtomicU64,
    /// How often each node was connected to.
    connects: Vec<AtomicU64>,
    /// What nodes are doing now.
    actions: AtomicU64,
}

/// A client's request, from its beginning to its end.
pub struct Asking<'a> {
    traffic: &'a Traffic,
    /// Nobody else was asking, nor had anybody gone away from a request that may still be carried out.
    alone: bool,
    made: u64,
    sent: u64,
    connects: Vec<u64>,
    heard: bool,
}

/// Something that a node does, until it is dropped.
pub struct Acting<'a>(&'a Traffic);

impl Traffic {
    /// Nothing goes on yet with so many nodes.
    pub fn of(nodes: usize) -> Traffic {
        Traffic { connects: (0..nodes).map(|_| AtomicU64::new(0)).collect(), ..Traffic::default() }
    }

    /// A client asks for something.
    pub fn ask(&self) -> Asking<'_> {
        let nobody_else = self.under_way.fetch_add(1, Relaxed) == 0;
        let alone = nobody_else && self.unheard.load(Relaxed) == 0;
        let made = self.made.fetch_add(1, Relaxed) + 1;
        let connects = self.connects.iter().map(|count| count.load(Relaxed)).collect();
        Asking { traffic: self, alone, made, sent: self.sent.load(Relaxed), connects, heard: false }
    }

    /// A request is sent over HTTP.
    pub fn sends(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    /// A node is connected to.
    pub fn connects(&self, node: usize) {
        self.connects[node].fetch_add(1, Relaxed);
    }

    /// A node begins to do something.
    pub fn act(&self) -> Acting<'_> {
        self.actions.fetch_add(1, Relaxed);
        Acting(self)
    }

    /// What nodes are doing, and for how many requests at the most: of one that nobody heard the end of, nobody knows when
    /// that was.
    pub fn actions(&self) -> (u64, u64) {
        (self.actions.load(Relaxed), self.under_way.load(Relaxed) + self.unheard.load(Relaxed))
    }
}

impl Asking<'_> {
    /// It was answered.
    pub fn is_heard(&mut self) {
        self.heard = true;
    }

    /// How often each node was connected to for it, and for how many requests to the gateway; none when somebody else was
    /// asking at the time.
    pub fn connects(&self) -> Option<(Vec<u64>, u64)> {
        if !self.alone || self.traffic.made.load(Relaxed) != self.made {
            return None;
        }
        let counts = self.traffic.connects.iter().zip(&self.connects);
        let connects = counts.map(|(now, before)| now.load(Relaxed) - before).collect();
        Some((connects, (self.traffic.sent.load(Relaxed) - self.sent).max(1)))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.traffic.under_way.fetch_sub(1, Relaxed);
        self.traffic.unheard.fetch_add(u64::from(!self.heard), Relaxed);
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.0.actions.fetch_sub(1, Relaxed);
    }
}
