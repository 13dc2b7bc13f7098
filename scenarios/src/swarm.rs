//! The swarm: which kinds of trouble a case may have, and how much of each (Groce, Zhang, Eide, Chen and Regehr, "Swarm
//! testing", ISSTA 2012).
//!
//! A run that has a little of everything is like every other, and what is frequent in it hides what is rare. So each case
//! leaves out a random subset of the kinds on its scenario's [`Menu`], and draws rates of its own for the others. What
//! comes of it stands in the case as faults and workload.

use std::collections::BTreeMap;

use seedgrid::case::Dice;
use seedgrid::fault::{Damage, Effect};

/// Trouble that is no fault of a share or a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub enum Circumstance {
    /// Servers join after the first readers have begun.
    Latecomers,
    /// Servers have several shares, and shares are on several servers.
    Crowding,
    /// Hardly more shares are stored than are needed.
    Scarcity,
    /// Nodes guess another segment size than the file has.
    WrongGuess,
    /// Background jobs take their time.
    SlowJobs,
    /// Servers refuse reads past the end of a share.
    StrictServers,
    /// Nodes ask few servers at a time whether they have shares.
    NarrowSearch,
    /// The client has room for few pieces of advice at a time.
    LittleAdvice,
    /// One segment of the file is inconsistent.
    Poison,
    /// Readers have nodes of their own, instead of one for all.
    SeveralNodes,
    /// Three readers and more.
    ManyReaders,
    /// All readers want the same few ranges.
    HotRanges,
    /// Readers begin one after the other.
    LateStarts,
    /// Reads are dropped half-way, and perhaps tried again.
    Drops,
    /// Readers stop asking for a while.
    Pauses,
}

impl Circumstance {
    /// All of them, each with how many cases in 24 have it, where a scenario says nothing else.
    pub const CHANCES: [(Circumstance, u64); 15] = [
        (Circumstance::Latecomers, 3),
        (Circumstance::Crowding, 5),
        (Circumstance::Scarcity, 9),
        (Circumstance::WrongGuess, 16),
        (Circumstance::SlowJobs, 14),
        (Circumstance::StrictServers, 2),
        (Circumstance::NarrowSearch, 11),
        (Circumstance::LittleAdvice, 3),
        (Circumstance::Poison, 2),
        (Circumstance::SeveralNodes, 3),
        (Circumstance::ManyReaders, 11),
        (Circumstance::HotRanges, 12),
        (Circumstance::LateStarts, 12),
        (Circumstance::Drops, 16),
        (Circumstance::Pauses, 2),
    ];

    /// Its name, for counts.
    pub fn name(self) -> &'static str {
        match self {
            Circumstance::Latecomers => "latecomer",
            Circumstance::Crowding => "crowding",
            Circumstance::Scarcity => "scarcity",
            Circumstance::WrongGuess => "wrong-guess",
            Circumstance::SlowJobs => "slow-job",
            Circumstance::StrictServers => "strict-server",
            Circumstance::NarrowSearch => "narrow-search",
            Circumstance::LittleAdvice => "little-advice",
            Circumstance::Poison => "poison",
            Circumstance::SeveralNodes => "several-nodes",
            Circumstance::ManyReaders => "many-readers",
            Circumstance::HotRanges => "hot-range",
            Circumstance::LateStarts => "late-start",
            Circumstance::Drops => "drop",
            Circumstance::Pauses => "paused-reader",
        }
    }
}

/// What a scenario's cases draw from.
#[derive(Clone, Copy, Debug)]
pub struct Menu {
    /// Kinds of damage, by name.
    pub damage: &'static [&'static str],
    /// Kinds of effects on calls, by name.
    pub effects: &'static [&'static str],
    /// Circumstances that every case has.
    pub always: &'static [Circumstance],
    /// Circumstances that no case has.
    pub never: &'static [Circumstance],
}

impl Menu {
    /// Everything there is.
    pub const ALL: Menu = Menu { damage: &Damage::KINDS, effects: &Effect::KINDS, always: &[], never: &[] };

    /// No faults of shares and calls.
    pub const CALM: Menu = Menu { damage: &[], effects: &[], ..Menu::ALL };

    /// The names of all kinds that a case may have.
    pub fn kinds(&self) -> Vec<&'static str> {
        let circumstances = Circumstance::CHANCES.iter().map(|(circumstance, _)| *circumstance);
        let circumstances = circumstances.filter(|circumstance| !self.never.contains(circumstance));
        let circumstances = circumstances.map(Circumstance::name);
        self.damage.iter().chain(self.effects).copied().chain(circumstances).collect()
    }
}

/// What one case may have.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// Kinds of damage to shares.
    pub damage: Mix,
    /// Kinds of effects on calls.
    pub effects: Mix,
    /// The circumstances that it has, each with how often in eight it strikes where it may.
    rates: BTreeMap<Circumstance, u64>,
}

impl Swarm {
    /// What a case may have whose scenario has this menu.
    pub fn draw(dice: &mut Dice, menu: &Menu) -> Swarm {
        let damage = Mix::draw(dice, menu.damage);
        let effects = Mix::draw(dice, menu.effects);
        let mut rates = BTreeMap::new();
        for (circumstance, chance) in Circumstance::CHANCES {
            // Drawn in any case, so that a menu shifts nothing.
            let (on, rate) = (dice.chance(chance, 24), *dice.pick(&[1, 2, 4, 6, 8]));
            let on = (on || menu.always.contains(&circumstance)) && !menu.never.contains(&circumstance);
            if on {
                rates.insert(circumstance, rate);
            }
        }
        Swarm { damage, effects, rates }
    }

    /// Whether the case has this circumstance.
    pub fn has(&self, circumstance: Circumstance) -> bool {
        self.rates.contains_key(&circumstance)
    }

    /// Whether a circumstance that may strike here does so.
    pub fn strikes(&self, dice: &mut Dice, circumstance: Circumstance) -> bool {
        self.rates.get(&circumstance).is_some_and(|rate| dice.chance(*rate, 8))
    }
}

/// Some kinds, each with a weight.
#[derive(Clone, Debug)]
pub struct Mix(Vec<(u64, &'static str)>);

impl Mix {
    /// A random subset with random weights; empty when there is nothing to choose from.
    fn draw(dice: &mut Dice, kinds: &[&'static str]) -> Mix {
        let mut mix: Vec<_> = kinds.iter().filter(|_| dice.chance(1, 2)).copied().collect::<Vec<_>>();
        if mix.is_empty() && !kinds.is_empty() {
            mix.push(*dice.pick(kinds));
        }
        Mix(mix.into_iter().map(|kind| (*dice.pick(&[1, 2, 4, 8]), kind)).collect())
    }

    /// One of the kinds; none when there are none.
    pub fn pick(&self, dice: &mut Dice) -> Option<&'static str> {
        (!self.0.is_empty()).then(|| *dice.weighted(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn swarms(menu: &Menu) -> Vec<Swarm> {
        (0..200).map(|seed| Swarm::draw(&mut Dice::new(seed, "swarm"), menu)).collect()
    }

    #[test]
    fn each_kind_is_left_out_now_and_then_and_had_now_and_then() {
        let swarms = swarms(&Menu::ALL);
        for kind in Damage::KINDS {
            let with = swarms.iter().filter(|swarm| swarm.damage.0.iter().any(|(_, other)| *other == kind));
            assert!((50..150).contains(&with.count()), "{kind}");
        }
        for (circumstance, chance) in Circumstance::CHANCES {
            let with = swarms.iter().filter(|swarm| swarm.has(circumstance)).count() as u64;
            assert!(with > 0 && with.abs_diff(200 * chance / 24) < 30, "{circumstance:?}: {with}");
        }
        assert!(swarms.iter().all(|swarm| !swarm.effects.0.is_empty()));
    }

    #[test]
    fn a_menu_is_kept_to() {
        let menu = Menu {
            effects: &["hang"],
            always: &[Circumstance::Pauses],
            never: &[Circumstance::Drops],
            ..Menu::CALM
        };
        let mut dice = Dice::new(1, "kept to");
        for swarm in swarms(&menu) {
            assert_eq!(swarm.damage.pick(&mut dice), None);
            assert_eq!(swarm.effects.pick(&mut dice), Some("hang"));
            assert!(swarm.has(Circumstance::Pauses) && !swarm.strikes(&mut dice, Circumstance::Drops));
        }
        let kinds = menu.kinds();
        assert!(kinds.contains(&"hang") && kinds.contains(&"scarcity") && !kinds.contains(&"drop"));
    }

    #[test]
    fn no_kind_is_forgotten_or_has_the_name_of_another() {
        let Err(error) = toml::Value::from("nothing").try_into::<Circumstance>() else {
            panic!("a kind of nothing")
        };
        let variants = error.message().split('`').skip(3).step_by(2).count();
        assert_eq!(Circumstance::CHANCES.len(), variants, "{error}");
        let kinds = Menu::ALL.kinds();
        assert_eq!(kinds.len(), Damage::KINDS.len() + Effect::KINDS.len() + variants);
        assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len());
    }
}
