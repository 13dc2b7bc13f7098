//! Seedgrid: a deterministic simulation harness for storage-grid clients.
//!
//! Everything is built on one pure function: [`case::run`] takes a [`case::Case`], which holds all that a run depends
//! on, and gives a [`case::Report`]. The same case gives the same report, whenever and wherever it runs; a deadlock is
//! a seed.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`case`] | cases as data, how a seed draws one, the run, its report |
//! | [`world`] | the simulated side of core's one door: actors, tasks, timers, clock, disks, network |
//! | [`schedule`] | who runs next |
//! | [`fault`] | what can go wrong, as data |
//! | [`grid`] | storage servers as actors, which do with each call what the faults say |
//! | [`oracle`] | what must hold of every run, one checker per file |
//! | [`trace`] | what a run tells: digest, story, and who waits for whom |
//! | [`explore`] | many runs: sweeps, hunts for known bugs, audits, in supervised worker processes |
//! | [`cli`] | the commands |
//!
//! [`guide`] shows how to bring a client of one's own. A scenario is a type that implements [`case::Scenario`]. This one loses a wake-up, and the harness
//! says so:
//!
//! ```
//! use std::sync::Arc;
//! use seedgrid::case::{Case, Detail, Dice, Draft, Scenario, Workload, run};
//! use seedgrid::world::{Knobs, World};
//!
//! struct Bell;
//!
//! impl Scenario for Bell {
//!     fn name(&self) -> &'static str { "bell" }
//!     fn about(&self) -> &'static str { "somebody waits for a bell that has been rung" }
//!     fn draw(&self, _dice: &mut Dice) -> Draft {
//!         Draft { workload: Arc::new(toml::Table::new()), faults: Vec::new(), knobs: Knobs::default() }
//!     }
//!     fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> { Ok(Arc::new(workload)) }
//!     fn play(&self, _case: Arc<Case>, world: World) -> futures::future::BoxFuture<'static, ()> {
//!         Box::pin(async move {
//!             let runtime = world.actor("ringer").runtime();
//!             let bell = Arc::new(tokio::sync::Notify::new());
//!             let (scope, rung) = (runtime.scope(), bell.clone());
//!             scope.spawn("ringer", 0, async move { rung.notify_waiters() });
//!             scope.drain().await;
//!             let _waiting = runtime::wait!("the bell");
//!             bell.notified().await;
//!         })
//!     }
//! }
//!
//! static BELL: Bell = Bell;
//! let report = run(&Case::draw(&BELL, 42), Detail::Full);
//! assert_eq!(report.verdict.word(), "hung");
//! assert!(report.waits.unwrap().to_string().contains("the bell\n  held by nobody"));
//! ```
#![allow(
    clippy::disallowed_macros,
    reason = "one of the audit's culprits is an unbiased `select!`, and the lint cannot be told so any nearer to it"
)]

#[cfg(not(madsim))]
compile_error!(
    "seedgrid must be built with `--cfg madsim`, which .cargo/config.toml sets. An environment RUSTFLAGS \
     replaces that setting: unset it, or type RUSTFLAGS=\"--cfg madsim $RUSTFLAGS\" instead."
);

pub mod case;
pub mod cli;
pub mod explore;
pub mod fault;
pub mod grid;
pub mod guide;
pub mod oracle;
mod panics;
pub mod schedule;
pub mod trace;
pub mod world;
