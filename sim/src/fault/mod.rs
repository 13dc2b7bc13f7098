//! What can go wrong, as data. Each kind has a file that says what it may do, and why a client must survive it.
//!
//! Faults trigger on logical points (a share on a server, the n-th call of a kind to it), never on times or
//! steps, so that they keep their meaning when the rest of a case shrinks. Clocks are the exception.

mod call;
mod clock;
mod disk;
mod draw;
mod share;

use serde::{Deserialize, Serialize};

pub use call::{CallKind, Effect, Refusal};
pub use clock::CLOCK_KINDS;
pub(crate) use clock::{CLOCK_SKEW, CLOCK_STEP};
pub use disk::{CrashKind, DiskEffect, DiskError, DiskOp};
pub use share::{Damage, OffsetField, Region};

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// A stored share is damaged, before anything runs.
    Share {
        /// The server's number.
        server: usize,
        /// The share's number.
        share: u32,
        /// What happened to it.
        damage: Damage,
    },
    /// A call to a server goes wrong.
    Call {
        /// The server's number.
        server: usize,
        /// Which kind of call.
        call: CallKind,
        /// Which call of that kind to that server: 1 is the first.
        nth: u32,
        /// What happens.
        effect: Effect,
    },
    /// Something goes wrong with an actor's disk.
    Disk {
        /// The name of the actor.
        disk: String,
        /// At which kind of operation.
        op: DiskOp,
        /// At which operation of that kind, counted over the whole run: 1 is the first.
        nth: u32,
        /// What happens. Of several faults at one operation, the last counts.
        effect: DiskEffect,
    },
    /// An actor's wall clock is wrong. A clock has no calls of its own to count, so this one is at a time.
    Clock {
        /// The name of the actor.
        of: String,
        /// When it is set, in microseconds of simulated time: at 0 it is wrong from the start.
        at_us: u64,
        /// By how many seconds it is set forward, or back.
        step_s: i64,
    },
    /// Something goes wrong at a point of a scenario's own ([`World::fault`](crate::world::World::fault)).
    Point {
        /// The point: `KIND.INDEX`.
        at: String,
        /// Which time that it is come by: 1 is the first.
        nth: u32,
        /// What happens: one of the effects that are possible there.
        effect: String,
    },
}

impl Fault {
    /// An effect at a point of a scenario's own: `nth` is 1 for the first time that `KIND.INDEX` is come by.
    pub fn at(kind: &str, index: u64, nth: u32, effect: &str) -> Fault {
        Fault::Point { at: format!("{kind}.{index}"), nth, effect: effect.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;

    use super::*;

    /// The names of all variants, out of the mouth of the enum itself.
    fn variants<T: DeserializeOwned>() -> Vec<String> {
        let Err(error) = toml::from_str::<T>("kind = \"nothing\"") else { panic!("a kind of nothing") };
        let quoted = error.message().split('`').skip(3).step_by(2);
        quoted.map(String::from).collect()
    }

    #[test]
    fn no_kind_is_forgotten() {
        assert_eq!(variants::<Damage>(), Damage::KINDS);
        assert_eq!(variants::<Effect>(), Effect::KINDS);
        assert!(Damage::SAMPLES.iter().all(|damage| Damage::KINDS.contains(&damage.name())));
        assert!(Effect::SAMPLES.iter().all(|effect| Effect::KINDS.contains(&effect.name())));
        let names = DiskEffect::SAMPLES.iter().map(DiskEffect::name).collect::<BTreeSet<_>>();
        assert_eq!(names, DiskEffect::KINDS.into_iter().collect());
        let tag = |effect| toml::Table::try_from(effect).unwrap()["kind"].as_str().map(String::from);
        let tags = DiskEffect::SAMPLES.iter().filter_map(tag).collect::<BTreeSet<_>>();
        assert_eq!(tags, variants::<DiskEffect>().into_iter().collect());
    }
}
