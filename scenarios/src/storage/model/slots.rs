//! The mutable shares of one file: every state that they may be in, given what clients asked and were answered.
//!
//! A call that is under way has taken effect, as a whole, or has not. So the model keeps all states that some order of
//! the calls under way leads to, each with the answers that the calls had in it, and drops those whose answer turns out
//! to be another (just-in-time linearization: Lowe, "Testing for linearizability", 2017). When none is left, no order of
//! the calls explains what was answered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::server::{LeaseSecret, ShareNumber, TestAndWrite};

/// A call, by a number of its own.
pub type CallId = u64;

/// What is asked of the file's slots.
#[derive(Clone, Debug)]
pub enum SlotCall {
    /// Tests, reads, writes.
    Write {
        /// Opens the slots.
        enabler: LeaseSecret,
        /// What to test and to write.
        shares: BTreeMap<ShareNumber, TestAndWrite>,
        /// What to read.
        reads: Vec<(u64, u64)>,
    },
    /// Which there are.
    List,
    /// Bytes of one.
    Read {
        /// Which.
        share: ShareNumber,
        /// From where.
        offset: u64,
        /// How many.
        length: u64,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotAnswer {
    /// The tests held or did not, and this was read.
    Written(bool, BTreeMap<ShareNumber, Vec<Bytes>>),
    /// The write enabler is another.
    WrongEnabler,
    /// These there are.
    Listed(BTreeSet<ShareNumber>),
    /// These bytes.
    Bytes(Bytes),
    /// There is no such share.
    NoShare,
    /// It has taken effect in part, so it is going to fail.
    Failing,
}

/// A mutable share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Who may write it.
    pub enabler: LeaseSecret,
    /// Its bytes.
    pub data: Vec<u8>,
}

type Shares = BTreeMap<ShareNumber, Slot>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    shares: Shares,
    /// The calls under way that have taken effect, with what they will be answered.
    done: BTreeMap<CallId, SlotAnswer>,
}

/// The mutable shares of one file.
#[derive(Clone, Debug)]
pub struct Slots {
    known: Known,
    /// All shares that anybody ever wanted to write.
    wanted: BTreeSet<ShareNumber>,
    /// What was known when nothing was under way last, and what has happened since.
    base: Known,
    events: Vec<Event>,
}

/// Something that happens to the shares, or is learnt of them.
#[derive(Clone, Debug)]
enum Event {
    Begin(CallId, SlotCall),
    Answered(CallId, SlotAnswer),
    Lost(CallId),
    NeverCame(CallId),
    Failed(CallId),
    MayBeGone(Vec<ShareNumber>),
    Tampered(ShareNumber),
}

/// What is known of the shares.
#[derive(Clone, Debug)]
struct Known {
    states: BTreeSet<State>,
    under_way: BTreeMap<CallId, SlotCall>,
    /// Those of them that may have failed half-way, or may still: nobody has told.
    doubtful: BTreeSet<CallId>,
    /// Every write is one of those, from its beginning.
    cautious: bool,
    /// Shares that were damaged or tampered with: nothing is known of them any more.
    wild: BTreeSet<ShareNumber>,
    /// There were too many states: nothing is known of any share.
    lost: bool,
    /// A share is kept in chunks of so many bytes, one after the other. Absent, a change happens whole or not at all.
    chunk: Option<u64>,
}

/// More states than this are not followed.
const MOST_STATES: usize = 400;

impl Slots {
    /// No shares yet.
    pub fn new(chunk: Option<u64>) -> Self {
        let empty = State { shares: Shares::new(), done: BTreeMap::new() };
        let known = Known {
            states: BTreeSet::from([empty]),
            under_way: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            cautious: false,
            wild: BTreeSet::new(),
            lost: false,
            chunk,
        };
        Slots { base: known.clone(), known, wanted: BTreeSet::new(), events: Vec::new() }
    }

    /// A call begins.
    pub fn begin(&mut self, id: CallId, call: SlotCall) {
        if let SlotCall::Write { shares, .. } = &call {
            self.wanted.extend(shares.keys());
        }
        self.learn(Event::Begin(id, call));
    }

    /// A call was answered.
    ///
    /// # Errors
    /// No order of the calls explains the answer. Nothing is known of the shares from then on.
    pub fn answered(&mut self, id: CallId, answer: &SlotAnswer) -> Result<(), String> {
        match self.try_to_learn(Event::Answered(id, answer.clone())) {
            Err(why) => {
                self.known.lost = true;
                self.rest();
                Err(why)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Nobody knows what became of a call: it takes effect some time, as a whole or in part, or never does.
    pub fn lost(&mut self, id: CallId) {
        self.learn(Event::Lost(id));
    }

    /// A call never reached the server.
    pub fn never_came(&mut self, id: CallId) {
        self.learn(Event::NeverCame(id));
    }

    /// A call failed: it is over, and has taken effect for some of its shares, or for none.
    pub fn failed(&mut self, id: CallId) {
        self.learn(Event::Failed(id));
    }

    /// The server went down: whatever was under way is over, done as a whole, for some shares, or not at all.
    pub fn cut_off(&mut self) {
        let ids: Vec<_> = self.known.under_way.keys().copied().collect();
        ids.into_iter().for_each(|id| self.failed(id));
    }

    /// The shares may have been deleted.
    pub fn may_be_gone(&mut self, shares: impl Iterator<Item = ShareNumber>) {
        self.learn(Event::MayBeGone(shares.collect()));
    }

    /// Nothing is known of the share any more.
    pub fn tampered(&mut self, share: ShareNumber) {
        self.learn(Event::Tampered(share));
    }

    /// The server may have forgotten that shares were to be deleted: those of which the backend did not let go are back.
    pub fn may_be_back(&mut self) {
        let gone: Vec<_> = self.wanted.iter().copied().filter(|share| !self.is_certain(*share)).collect();
        gone.into_iter().for_each(|share| self.tampered(share));
    }

    /// The writes under way may leave their shares half changed.
    pub fn may_be_torn(&mut self) {
        let writes = self.known.under_way.values().filter_map(|call| match call {
            SlotCall::Write { shares, .. } => Some(shares.keys().copied()),
            _ => None,
        });
        let shares: BTreeSet<_> = writes.flatten().collect();
        shares.into_iter().for_each(|share| self.tampered(share));
    }

    /// Whether something befell the share from outside.
    pub fn is_wild(&self, share: ShareNumber) -> bool {
        self.known.wild.contains(&share)
    }

    /// Whether something befell any of the shares from outside.
    pub fn has_wild(&self) -> bool {
        !self.known.wild.is_empty()
    }

    /// A share that clients must find: it is there in every state.
    pub fn is_certain(&self, share: ShareNumber) -> bool {
        let known = &self.known;
        !known.lost
            && !known.wild.contains(&share)
            && known.states.iter().all(|state| state.shares.contains_key(&share))
    }

    /// What the share may be: its bytes, or nothing. `None` when nothing is known of it.
    pub fn may_be(&self, share: ShareNumber) -> Option<BTreeSet<Option<Vec<u8>>>> {
        let known = !self.known.lost && !self.known.wild.contains(&share);
        let slot = |state: &State| state.shares.get(&share).map(|slot| slot.data.clone());
        known.then(|| self.known.states.iter().map(slot).collect())
    }

    /// All numbers of shares that there may be.
    pub fn shares(&self) -> BTreeSet<ShareNumber> {
        let known = self.known.states.iter().flat_map(|state| state.shares.keys());
        known.chain(&self.known.wild).copied().collect()
    }

    fn learn(&mut self, event: Event) {
        // Only an answer can be one that nothing explains; of others less is known in the end.
        if self.try_to_learn(event).is_err() {
            self.known.lost = true;
        }
    }

    /// Follows an event. When nothing explains it, a write may have failed half-way although its client has not been told
    /// yet: everything since nothing was under way is gone through again with that in mind.
    fn try_to_learn(&mut self, event: Event) -> Result<(), String> {
        self.events.push(event.clone());
        let mut learnt = self.known.follow(event);
        if learnt.is_err() && !self.known.cautious {
            let mut known = Known { cautious: true, ..self.base.clone() };
            let again = self.events.iter().try_for_each(|event| known.follow(event.clone()));
            if again.is_ok() {
                runtime::reached!("storage model: a write failed half-way before its client knew");
                (self.known, learnt) = (known, again);
            }
        }
        if self.known.under_way.is_empty() {
            self.rest();
        }
        learnt
    }

    /// Nothing is under way.
    fn rest(&mut self) {
        self.known.cautious = false;
        self.events.clear();
        self.base = self.known.clone();
    }
}

impl Known {
    fn follow(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Begin(id, call) => self.begin(id, call),
            Event::Answered(id, answer) => return self.answered(id, &answer),
            Event::Lost(id) => self.lost(id),
            Event::NeverCame(id) => self.never_came(id),
            Event::Failed(id) => self.failed(id),
            Event::MayBeGone(shares) => self.may_be_gone(shares),
            Event::Tampered(share) => self.tampered(share),
        }
        Ok(())
    }

    fn begin(&mut self, id: CallId, call: SlotCall) {
        if self.cautious && matches!(call, SlotCall::Write { .. }) {
            self.doubtful.insert(id);
        }
        self.under_way.insert(id, call);
        self.expand();
    }

    fn answered(&mut self, id: CallId, answer: &SlotAnswer) -> Result<(), String> {
        let Some(call) = self.under_way.remove(&id) else { return Ok(()) };
        self.doubtful.remove(&id);
        if self.lost {
            return Ok(());
        }
        let unknown = match &call {
            SlotCall::Read { share, .. } => self.wild.contains(share),
            SlotCall::Write { .. } => !self.wild.is_empty(),
            SlotCall::List => false,
        };
        if unknown {
            self.under_way.insert(id, call);
            self.failed(id);
            return Ok(());
        }
        let before: BTreeSet<_> =
            self.states.iter().filter_map(|state| state.done.get(&id)).cloned().collect();
        self.states = self.explaining(id, answer);
        if self.states.is_empty() {
            self.lost = true;
            return Err(format!(
                "the answer was {answer:?}, and the calls explain only {before:?}: {call:?}"
            ));
        }
        Ok(())
    }

    /// The states in which a call is answered so, without it.
    fn explaining(&self, id: CallId, answer: &SlotAnswer) -> BTreeSet<State> {
        let fits = |state: &&State| state.done.get(&id).is_some_and(|own| self.alike(own, answer));
        self.states.iter().filter(fits).map(|state| state.clone().without(id)).collect()
    }

    fn lost(&mut self, id: CallId) {
        if self.under_way.contains_key(&id) {
            self.doubtful.insert(id);
            self.expand();
        }
    }

    fn never_came(&mut self, id: CallId) {
        self.under_way.remove(&id);
        let states = std::mem::take(&mut self.states);
        self.states = states.into_iter().filter(|state| !state.done.contains_key(&id)).collect();
    }

    fn failed(&mut self, id: CallId) {
        let Some(call) = self.under_way.remove(&id) else { return };
        self.doubtful.remove(&id);
        if self.lost {
            return;
        }
        let states = std::mem::take(&mut self.states);
        for state in states {
            if self.states.len() > MOST_STATES {
                // They are given up below: more are not worth their time.
                self.states.insert(state);
                continue;
            }
            if state.done.contains_key(&id) {
                self.states.insert(state.without(id));
                continue;
            }
            self.states.extend(partly(&state, &call, self.chunk));
            if self.are_too_many() {
                return;
            }
        }
        self.expand();
    }

    fn may_be_gone(&mut self, shares: Vec<ShareNumber>) {
        if self.lost {
            return;
        }
        for share in shares {
            let without: Vec<_> =
                self.states.iter().filter(|state| state.shares.contains_key(&share)).cloned().collect();
            for mut state in without {
                state.shares.remove(&share);
                self.states.insert(state);
            }
        }
        self.expand();
    }

    fn tampered(&mut self, share: ShareNumber) {
        self.wild.insert(share);
        let states = std::mem::take(&mut self.states);
        self.states = states
            .into_iter()
            .map(|mut state| {
                state.shares.remove(&share);
                state
            })
            .collect();
    }

    /// Whether two answers are the same, but for what nobody knows.
    fn alike(&self, own: &SlotAnswer, given: &SlotAnswer) -> bool {
        let known = |share: &ShareNumber| !self.wild.contains(share);
        match (own, given) {
            _ if self.wild.is_empty() => own == given,
            (SlotAnswer::Listed(own), SlotAnswer::Listed(given)) => {
                own.iter().filter(|share| known(share)).eq(given.iter().filter(|share| known(share)))
            }
            _ => own == given,
        }
    }

    /// Adds the states that the calls under way lead to.
    fn expand(&mut self) {
        if self.lost {
            return;
        }
        let mut fresh: Vec<State> = self.states.iter().cloned().collect();
        while let Some(state) = fresh.pop() {
            for (id, call) in self.under_way.iter().filter(|(id, _)| !state.done.contains_key(id)) {
                let mut next = state.clone();
                let answer = apply(&mut next.shares, call);
                let parts =
                    if self.doubtful.contains(id) { partly(&state, call, self.chunk) } else { Vec::new() };
                let parts = parts.into_iter().map(|part| (part, SlotAnswer::Failing));
                for (mut next, answer) in parts.chain([(next, answer)]) {
                    next.done.insert(*id, answer);
                    if self.states.insert(next.clone()) {
                        fresh.push(next);
                    }
                }
                if self.states.len() > MOST_STATES {
                    break;
                }
            }
            if self.are_too_many() {
                return;
            }
        }
    }

    /// Whether there are more states than can be followed. Then only the numbers of the shares are kept: more of them would
    /// cost ever more time, and tell nothing.
    fn are_too_many(&mut self) -> bool {
        if self.states.len() > MOST_STATES {
            runtime::reached!("storage model: too many states to follow");
            self.lost = true;
            let shares =
                std::mem::take(&mut self.states).into_iter().flat_map(|state| state.shares).collect();
            self.states.insert(State { shares, done: BTreeMap::new() });
        }
        self.lost
    }
}

impl State {
    fn without(mut self, id: CallId) -> State {
        self.done.remove(&id);
        self
    }
}

/// The states after a call that took effect for some of its shares, and for the first of the others in some of its chunks.
fn partly(state: &State, call: &SlotCall, chunk: Option<u64>) -> Vec<State> {
    let SlotCall::Write { enabler, shares, reads } = call else { return vec![state.clone()] };
    let mut whole = state.clone();
    if !matches!(apply(&mut whole.shares, call), SlotAnswer::Written(true, _)) {
        return vec![state.clone()];
    }
    let numbers: Vec<_> = shares.keys().copied().collect();
    let some = |chosen: u32| {
        let mut next = state.clone();
        let of = numbers.iter().enumerate().filter(|(place, _)| chosen & 1 << place != 0);
        let of: BTreeMap<_, _> = of
            .filter_map(|(_, share)| {
                let work = shares.get(share)?;
                Some((*share, TestAndWrite { tests: Vec::new(), ..work.clone() }))
            })
            .collect();
        apply(&mut next.shares, &SlotCall::Write { enabler: *enabler, shares: of, reads: reads.clone() });
        next
    };
    let mut parts: Vec<State> = (0..1u32 << numbers.len().min(8)).map(some).collect();
    let Some(chunk) = chunk else { return parts };
    for part in parts.clone() {
        for share in &numbers {
            let (Some(old), Some(new)) = (part.shares.get(share), whole.shares.get(share)) else { continue };
            for mixed in half_written(old, new, chunk as usize) {
                let mut next = part.clone();
                next.shares.insert(*share, mixed);
                parts.push(next);
            }
        }
    }
    parts
}

/// Bytes of a mutable container before its data (leasedb-and-storage §2.2).
const BEFORE_DATA: usize = 468;

/// A share whose chunks after the first are new up to some place, while the first is old and with it the length (§17, D3 in
/// place).
fn half_written(old: &Slot, new: &Slot, chunk: usize) -> Vec<Slot> {
    let last = (BEFORE_DATA + new.data.len().max(old.data.len())) / chunk;
    let start = chunk.saturating_sub(BEFORE_DATA).min(old.data.len());
    (1..=last)
        .map(|done| {
            let end = ((done + 1) * chunk).saturating_sub(BEFORE_DATA).clamp(start, old.data.len());
            let mut data = old.data.clone();
            // What is cut off has become zeros.
            let own = |place: usize| new.data.get(place).copied().unwrap_or(0);
            data.iter_mut().enumerate().take(end).skip(start).for_each(|(place, byte)| *byte = own(place));
            Slot { enabler: old.enabler, data }
        })
        .collect()
}

/// What a call does and is answered when it is alone (leasedb-and-storage §3.6, gbs-http §9.1).
fn apply(shares: &mut Shares, call: &SlotCall) -> SlotAnswer {
    match call {
        SlotCall::List => SlotAnswer::Listed(shares.keys().copied().collect()),
        SlotCall::Read { share, offset, length } => match shares.get(share) {
            Some(slot) => SlotAnswer::Bytes(slot.cut(*offset, *length)),
            None => SlotAnswer::NoShare,
        },
        SlotCall::Write { enabler, shares: work, reads } => {
            if shares.values().any(|slot| slot.enabler != *enabler) {
                return SlotAnswer::WrongEnabler;
            }
            let holds = |(share, work): (&ShareNumber, &TestAndWrite)| {
                work.tests.iter().all(|test| {
                    let own = shares.get(share).map(|slot| slot.cut(test.offset, test.length));
                    own.unwrap_or_default() == test.specimen
                })
            };
            let success = work.iter().all(holds);
            let read =
                |slot: &Slot| reads.iter().map(|(offset, length)| slot.cut(*offset, *length)).collect();
            let read = shares.iter().map(|(share, slot)| (*share, read(slot))).collect();
            if success {
                work.iter().for_each(|(share, work)| write(shares, *share, *enabler, work));
            }
            SlotAnswer::Written(success, read)
        }
    }
}

fn write(shares: &mut Shares, share: ShareNumber, enabler: LeaseSecret, work: &TestAndWrite) {
    if work.new_length == Some(0) {
        shares.remove(&share);
        return;
    }
    let slot = shares.entry(share).or_insert_with(|| Slot { enabler, data: Vec::new() });
    for (offset, bytes) in &work.writes {
        let (start, end) = (*offset as usize, *offset as usize + bytes.len());
        if slot.data.len() < end {
            slot.data.resize(end, 0);
        }
        slot.data[start..end].copy_from_slice(bytes);
    }
    if let Some(length) = work.new_length {
        slot.data.truncate(length as usize);
    }
}

impl Slot {
    fn cut(&self, offset: u64, length: u64) -> Bytes {
        let start = (offset as usize).min(self.data.len());
        let end = (start + length as usize).min(self.data.len());
        Bytes::copy_from_slice(&self.data[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A share is written, or deleted, alone, when these are there.
    fn write(slots: &mut Slots, there: &[ShareNumber], share: ShareNumber, new_length: Option<u64>) {
        let id = there.len() as CallId;
        let writes = vec![(0, Bytes::from_static(b"bytes"))];
        let shares = BTreeMap::from([(share, TestAndWrite { tests: Vec::new(), writes, new_length })]);
        slots.begin(id, SlotCall::Write { enabler: LeaseSecret::default(), shares, reads: Vec::new() });
        let read = there.iter().map(|share| (*share, Vec::new())).collect();
        slots.answered(id, &SlotAnswer::Written(true, read)).unwrap();
    }

    #[test]
    fn a_share_whose_deletion_may_be_forgotten_may_be_back() {
        let mut slots = Slots::new(None);
        write(&mut slots, &[], 1, None);
        write(&mut slots, &[1], 2, None);
        write(&mut slots, &[1, 2], 2, Some(0));
        slots.may_be_back();
        assert!(slots.is_certain(1) && !slots.is_wild(1));
        assert!(slots.is_wild(2), "nobody knows");
        slots.begin(3, SlotCall::List);
        assert_eq!(slots.answered(3, &SlotAnswer::Listed([1, 2].into())), Ok(()));
    }
}
