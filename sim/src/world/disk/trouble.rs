//! What goes wrong with a disk: which operation the case has it at, and what lasts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use crate::fault::{CrashKind, DiskEffect, DiskError, DiskOp, Fault};
use crate::world::{CrashPoint, context, executor, took_effect};

/// What happens at which operation of which kind.
type Fated = (DiskOp, u32, DiskEffect);

thread_local! {
    /// The faults of disks, by the name of the actor.
    static FAULTS: RefCell<BTreeMap<String, Vec<Fated>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Prepares this thread for a run with these faults.
pub(in crate::world) fn start(faults: &[Fault]) {
    let mut of_disks = BTreeMap::<String, Vec<_>>::new();
    for fault in faults {
        if let Fault::Disk { disk, op, nth, effect } = fault {
            of_disks.entry(disk.clone()).or_default().push((*op, *nth, effect.clone()));
        }
    }
    FAULTS.set(of_disks);
}

/// The trouble of one disk.
#[derive(Default)]
pub(super) struct Trouble {
    name: String,
    /// Operations so far: those that change the disk, and others.
    counts: [u32; 2],
    faults: [BTreeMap<u32, DiskEffect>; 2],
    /// How many operations of either kind fail from now on, and with what.
    failing: [Option<(DiskError, u32)>; 2],
    /// Until when there is no room, in nanoseconds of simulated time.
    full_until: u64,
    /// How many jobs begin late, and by how many nanoseconds.
    slow: (u32, u64),
    /// Which kinds an exhaustive search may try.
    pub(super) exposed: &'static [&'static str],
    /// What the scenario says is going on.
    pub(super) stage: String,
    /// The life in which the actor has recovered from what ended those before.
    pub(super) recovered: u32,
}

impl Trouble {
    /// What the case has in store for the disk of that name.
    pub(super) fn of(name: &str) -> Trouble {
        let mut trouble = Trouble { name: name.into(), ..Trouble::default() };
        FAULTS.with_borrow(|faults| {
            for (op, nth, effect) in faults.get(name).into_iter().flatten() {
                trouble.faults[*op as usize].insert(*nth, effect.clone());
            }
        });
        trouble
    }

    pub(super) fn has_power_loss(&self) -> bool {
        let mut effects = self.faults.iter().flat_map(BTreeMap::values);
        effects.any(|effect| matches!(effect, DiskEffect::Crash { how: CrashKind::Power, .. }))
    }

    pub(super) fn counts(&self) -> [u32; 2] {
        self.counts
    }

    pub(super) fn heal(&mut self) {
        self.faults = Default::default();
        self.failing = [None, None];
        self.full_until = 0;
        self.slow = (0, 0);
    }

    /// Counts an operation in that life, and says what the case has happen at it, beyond what lasts.
    pub(super) fn come_by(&mut self, op: DiskOp, life: u32) -> io::Result<Option<DiskEffect>> {
        let count = &mut self.counts[op as usize];
        *count += 1;
        let nth = *count;
        if !self.exposed.is_empty() {
            executor::could_fail(|| self.possible(op, nth));
            if op == DiskOp::Change {
                self.note_crash_point(nth, life);
            }
        }
        let effect = self.faults[op as usize].remove(&nth);
        if let Some(effect) = &effect {
            executor::did(|| xxhash_rust::xxh3::xxh3_64(format!("{effect:?}").as_bytes()));
            let (disk, kind) = (&*self.name, if op == DiskOp::Change { "change" } else { "read" });
            tracing::debug!(target: "fault", disk, op = kind, nth, "{}", effect.name());
        }
        match effect {
            // Who goes down meets no other trouble.
            Some(DiskEffect::Crash { .. }) => return Ok(effect),
            Some(DiskEffect::Fail { with, times }) => self.failing[op as usize] = Some((with, times)),
            Some(DiskEffect::Full { us }) => {
                let length = us.map_or(u64::MAX, |us| us.saturating_mul(1000));
                self.full_until = context::now().saturating_add(length);
            }
            Some(DiskEffect::Slow { us, jobs }) => self.slow = (jobs, us.saturating_mul(1000)),
            _ => {}
        }
        if let Some((with, left @ 1..)) = &mut self.failing[op as usize] {
            *left -= 1;
            let failed = DiskEffect::Fail { with: *with, times: 1 };
            took_effect(failed.name());
            return Err(match with {
                DiskError::Io => io::Error::other("input/output error"),
                DiskError::NoSpace => ErrorKind::StorageFull.into(),
            });
        }
        Ok(effect.filter(|effect| matches!(effect, DiskEffect::Rot { .. })))
    }

    /// Whether there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.full_until > context::now()
    }

    /// Somebody needed room and found none.
    pub(super) fn was_felt_full(&self) {
        took_effect(DiskEffect::Full { us: None }.name());
    }

    /// By how many nanoseconds the next job of the disk's actor begins late.
    pub(super) fn job_delay(&mut self) -> u64 {
        let (jobs, ns) = &mut self.slow;
        if *jobs == 0 {
            return 0;
        }
        *jobs -= 1;
        took_effect(DiskEffect::Slow { us: 0, jobs: 0 }.name());
        *ns
    }

    fn note_crash_point(&self, nth: u32, life: u32) {
        let may = |kind: &CrashKind| self.exposed.contains(&kind.name());
        let kinds: Vec<_> = CrashKind::ALL.into_iter().filter(may).collect();
        if !kinds.is_empty() {
            executor::could_crash(|| CrashPoint {
                actor: self.name.clone(),
                nth,
                kinds,
                stage: self.stage.clone(),
                recovering: life > self.recovered,
            });
        }
    }

    /// What could go wrong at an operation. Crashes only where something changes: between two changes there is nothing
    /// for a crash to part.
    fn possible(&self, op: DiskOp, nth: u32) -> Vec<Fault> {
        let may = |effect: &&DiskEffect| {
            let crash = DiskEffect::CRASHES.contains(&effect.name());
            self.exposed.contains(&effect.name()) && (op == DiskOp::Change || !crash)
        };
        let effects = DiskEffect::SAMPLES;
        let fault =
            |effect: &DiskEffect| Fault::Disk { disk: self.name.clone(), op, nth, effect: effect.clone() };
        effects.iter().filter(may).map(fault).collect()
    }
}
