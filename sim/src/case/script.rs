//! Scripts: scenarios put together from functions, which is all that most scenarios are.

use std::any::Any;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

use super::{Case, Dice, Draft, Scenario, Workload};
use crate::world::World;

/// A scenario put together from functions. Its workload is any type that serde can write as a TOML table and read back.
///
/// ```
/// use seedgrid::case::{Case, Detail, Draft, Script, run};
/// use std::{collections::BTreeMap, time::Duration};
///
/// static NAP: Script<BTreeMap<String, u64>> = Script {
///     name: "nap",
///     about: "one sleeper, who sleeps up to ten seconds",
///     troubles: &[],
///     draw: |dice| Draft::of(BTreeMap::from([("seconds".into(), dice.between(1, 10))])),
///     check: |work| if work.contains_key("seconds") { Ok(()) } else { Err("`seconds` is missing".into()) },
///     play: |work, world| {
///         Box::pin(async move {
///             let runtime = world.actor("sleeper").runtime();
///             runtime.sleep(Duration::from_secs(work["seconds"])).await;
///         })
///     },
/// };
///
/// let case = Case::draw(&NAP, 7);
/// assert!(run(&case, Detail::Digest).verdict.is_pass());
/// ```
pub struct Script<W> {
    /// Its name on the command line and in case files.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// The kinds of trouble that its runs may come by: see [`Scenario::troubles`].
    pub troubles: &'static [&'static str],
    /// Draws what a case does and suffers.
    pub draw: fn(&mut Dice) -> Draft<W>,
    /// Whether a workload out of a case file, which anybody may have edited, can be played. The error says what is wrong.
    /// What is drawn passes, and whatever passes must play without a panic of the scenario's own.
    pub check: fn(&W) -> Result<(), String>,
    /// Plays a case: sets up actors, does the work, asks the oracles. Resolves when all is done.
    pub play: fn(W, World) -> BoxFuture<'static, ()>,
}

impl<W: Serialize + DeserializeOwned + Clone + Any + Send + Sync> Scenario for Script<W> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn troubles(&self) -> Vec<&'static str> {
        self.troubles.to_vec()
    }

    fn draw(&self, dice: &mut Dice) -> Draft {
        let Draft { workload, faults, knobs } = (self.draw)(dice);
        Draft { workload: Arc::new(workload), faults, knobs }
    }

    fn load(&self, workload: Table) -> Result<Arc<dyn Workload>, String> {
        let workload: W =
            workload.try_into().map_err(|error: toml::de::Error| error.message().to_string())?;
        (self.check)(&workload)?;
        Ok(Arc::new(workload))
    }

    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        (self.play)(case.workload.of::<W>().clone(), world)
    }
}
