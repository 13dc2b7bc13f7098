//! Scenarios: what kinds of run there are, and how a seed draws one.

use std::any::Any;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;

use super::{Case, Dice};
use crate::fault::Fault;
use crate::world::{Knobs, World};

/// A kind of run.
pub trait Scenario: Send + Sync {
    /// Its name on the command line and in case files.
    fn name(&self) -> &'static str;

    /// What it is about, in a line.
    fn about(&self) -> &'static str;

    /// The kinds of trouble that its runs may come by, as [`World::took_effect`] counts them. A sweep names those that
    /// never took effect.
    fn troubles(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Draws what a case of this kind does and suffers.
    fn draw(&self, dice: &mut Dice) -> Draft;

    /// Reads a workload out of a case file. The error says what is wrong with it.
    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String>;

    /// Plays a case: sets up actors, does the work, asks the oracles. Resolves when all is done.
    fn play(&self, case: Arc<Case>, world: World) -> BoxFuture<'static, ()>;
}

/// What a scenario draws for a seed.
pub struct Draft<W = Arc<dyn Workload>> {
    /// What is done.
    pub workload: W,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What the world is like where it is not faulty.
    pub knobs: Knobs,
}

impl<W> Draft<W> {
    /// Only a workload: nothing goes wrong, and background jobs take no time.
    pub fn of(workload: W) -> Self {
        Draft { workload, faults: Vec::new(), knobs: Knobs::default() }
    }
}

/// A scenario's own part of a case: anything that can be written to a file and read back.
pub trait Workload: Any + Send + Sync {
    /// For the case file.
    fn to_toml(&self) -> Result<toml::Table, toml::ser::Error>;
}

impl<T: Serialize + Any + Send + Sync> Workload for T {
    fn to_toml(&self) -> Result<toml::Table, toml::ser::Error> {
        toml::Table::try_from(self)
    }
}

impl dyn Workload {
    /// The workload as the type that the scenario drew.
    ///
    /// # Panics
    /// When a scenario is given another scenario's workload, which no case file can bring about.
    pub fn of<T: Any>(&self) -> &T {
        (self as &dyn Any).downcast_ref().expect("a scenario is played with a workload of its own")
    }
}

/// The scenarios of a program, in the order in which they are listed.
#[derive(Clone, Copy)]
pub struct Scenarios(pub &'static [&'static dyn Scenario]);

impl Scenarios {
    /// The scenario of that name.
    pub fn find(&self, name: &str) -> Option<&'static dyn Scenario> {
        self.0.iter().copied().find(|scenario| scenario.name() == name)
    }
}
