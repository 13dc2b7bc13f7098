//! Idle connections by the thousand: what is kept, taken and given up is compared with a list, and the steps that it takes
//! are counted (annex-p2p §11). No bytes pass here: this is the pool's bookkeeping alone, with more connections than a
//! gateway of a few nodes ever has.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pool::connections::Counts;
use pool::idle::Idle;
use seedgrid::case::{Dice, Draft, Script};
use seedgrid::world::World;
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::oracle::{capacity, chosen, work};

/// The scenario.
pub static IDLE: Script<Work> = Script {
    name: "annex-idle",
    about: "connections become idle, are taken again and given up, by the thousand: which, and with how much work",
    troubles: &[],
    draw,
    check,
    play: |work, world| Box::pin(async move { play(&work, &world) }),
};

/// What is done with connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// How many are kept.
    limit: usize,
    /// Of how many kinds they are.
    kinds: u64,
    #[serde(rename = "move", default)]
    moves: Vec<Move>,
}

/// The same, so many times.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    #[serde(rename = "do")]
    what: What,
    times: u64,
    /// The kind of the first; each of the others is of the next kind.
    kind: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// A connection becomes idle.
    Keep,
    /// One is wanted.
    Take,
    /// The one that has been idle longest is closed.
    GiveUp,
}

/// The most that a case may have of anything.
const MOST: u64 = 10_000;

fn draw(dice: &mut Dice) -> Draft<Work> {
    let kinds = *dice.pick(&[1, 2, 30, 1000]);
    let some = |dice: &mut Dice| match *dice.pick(&[1, 10, 300]) {
        1 => 1,
        most => dice.between(1, most),
    };
    let moves = (0..dice.between(2, 8)).map(|_| Move {
        what: *dice.weighted(&[(3, What::Keep), (2, What::Take), (1, What::GiveUp)]),
        times: some(dice),
        kind: dice.below(kinds),
    });
    let moves = moves.collect();
    Draft::of(Work { limit: *dice.pick(&[0, 1, 2, 10, 100, 1000]), kinds, moves })
}

fn check(work: &Work) -> Result<(), String> {
    let times = work.moves.iter().map(|of| of.times).fold(0, u64::saturating_add);
    match () {
        () if !(1..=MOST).contains(&work.kinds) => Err(format!("there are 1 to {MOST} kinds")),
        () if times > MOST => Err(format!("more than {MOST} moves")),
        () => Ok(()),
    }
}

/// A kind of connections. Comparisons with another one and copies are steps.
struct Kind {
    number: u64,
    steps: Arc<AtomicU64>,
}

impl Clone for Kind {
    fn clone(&self) -> Kind {
        self.steps.fetch_add(1, Relaxed);
        Kind { number: self.number, steps: self.steps.clone() }
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Kind) -> Ordering {
        self.steps.fetch_add(1, Relaxed);
        self.number.cmp(&other.number)
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Kind) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Kind {}

/// What is kept, as a list by age, of kind and number.
#[derive(Default)]
struct List(Vec<(u64, u64)>);

impl List {
    fn take(&mut self, kind: u64) -> Option<u64> {
        let place = self.0.iter().rposition(|(of, _)| *of == kind)?;
        Some(self.0.remove(place).1)
    }

    fn give_up(&mut self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.remove(0).1)
    }
}

fn play(work: &Work, world: &World) {
    let steps = Arc::new(AtomicU64::new(0));
    let (mut idle, mut list) = (Idle::new(work.limit), List::default());
    let (mut opened, mut closed) = (0, 0);
    for Move { what, times, kind } in &work.moves {
        debug!(target: "idle", what = ?what, times, idle = idle.len());
        for nth in 0..*times {
            let number = (kind + nth) % work.kinds;
            let kind = Kind { number, steps: steps.clone() };
            let (before, there) = (steps.load(Relaxed), idle.len());
            let (done, right) = match what {
                What::Keep => {
                    opened += 1;
                    list.0.push((number, opened));
                    let over = (list.0.len() > work.limit).then(|| list.give_up()).flatten();
                    let done = idle.put(kind, opened);
                    closed += u64::from(done.is_some());
                    (done, over)
                }
                What::Take => {
                    let done = idle.take(&kind);
                    closed += u64::from(done.is_some());
                    (done, list.take(number))
                }
                What::GiveUp => {
                    let done = idle.take_oldest();
                    closed += u64::from(done.is_some());
                    (done, list.give_up())
                }
            };
            let name = format!("{what:?}");
            let counts = Counts { opened, closed, idle: idle.len() as u64 };
            let judged = [
                ("capacity", capacity::check_counts(counts, work.limit as u64)),
                ("chosen", chosen::check_chosen(&name, done, right)),
                ("work", work::check_steps(&name, there, steps.load(Relaxed) - before)),
            ];
            for (oracle, found) in judged {
                if let Err(detail) = found {
                    return world.violated(oracle, detail);
                }
            }
        }
    }
}
