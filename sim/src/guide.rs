//! Bring your own client: from an empty folder to a bug that is found, named and shrunk.
//!
//! # Start here
//!
//! A harness is a binary of your own. It needs two crates of this workspace: [`runtime`], which the code under test is
//! written against, and `seedgrid`. `serde` writes workloads, `tokio` (its `sync` only) and `tracing` are what the client
//! uses.
//!
//! ```toml
//! # Cargo.toml
//! [dependencies]
//! runtime = { path = "../seedgrid/core/runtime" }
//! seedgrid = { path = "../seedgrid/sim" }
//! serde = { version = "1", features = ["derive"] }
//! tokio = { version = "1", default-features = false, features = ["sync"] }
//! tracing = { version = "0.1", default-features = false }
//!
//! [lints.rust]
//! unexpected_cfgs = { level = "warn", check-cfg = ['cfg(madsim)'] }
//! ```
//!
//! ```toml
//! # .cargo/config.toml
//! [build]
//! rustflags = ["--cfg", "madsim"]
//! rustdocflags = ["--cfg", "madsim"]
//! ```
//!
//! ```
//! // src/main.rs
//! use std::{collections::BTreeMap, process::ExitCode, time::Duration};
//! use seedgrid::case::{Draft, Scenarios, Script};
//!
//! static NAP: Script<BTreeMap<String, u64>> = Script {
//!     name: "nap",
//!     about: "one sleeper",
//!     troubles: &[],
//!     draw: |dice| Draft::of(BTreeMap::from([("seconds".into(), dice.between(1, 10))])),
//!     check: |work| if work.contains_key("seconds") { Ok(()) } else { Err("`seconds` is missing".into()) },
//!     play: |work, world| {
//!         Box::pin(async move {
//!             world.actor("sleeper").runtime().sleep(Duration::from_secs(work["seconds"])).await;
//!         })
//!     },
//! };
//!
//! # #[allow(clippy::needless_doctest_main)]
//! fn main() -> ExitCode {
//! # return ExitCode::SUCCESS; // a test has no command line
//!     seedgrid::cli::main(Scenarios(&[&NAP]), &[])
//! }
//! ```
//!
//! `cargo run --release -- sweep` then runs some hundred thousand naps, and every other command works as well.
//!
//! # The rules for a client
//!
//! - It reaches the world through its [`Runtime`](runtime::Runtime) alone: tasks belong to a
//!   [`Scope`](runtime::Scope), time is `runtime.sleep`, `timeout` and `now`, random bytes are `runtime.entropy`.
//! - Nothing in it may differ from run to run: no `HashMap`, no unbiased `select!`, no `watch`. The workspace's `clippy.toml`
//!   has the list: copy it. `seedgrid audit` finds the rest.
//! - Whoever waits says so: `let _waiting = runtime::wait!("turn");`. Whoever has it: `runtime::hold!("turn")`. From these
//!   two a hang is explained.
//! - What moves from task to task shows in a span, an event, or a wake-up: `exhaust` takes states that look alike from
//!   outside for equal.
//!
//! # A worked example
//!
//! `sim/examples/quorum` is a small quorum key-value store. Try it:
//!
//! ```text
//! cargo run --release --example quorum -- sweep                                    the healthy client passes
//! cargo run --release --example quorum -- bugs                                     and two bugs are found
//! cargo run --release --example quorum -- sweep --seeds 0..200 --relapse quorum-B1    saves a case that fails
//! cargo run --release --example quorum -- shrink findings/FILE
//! cargo run --release --example quorum -- explain findings/FILE
//! cargo run --release --example quorum -- cancel --seeds 0..5
//! cargo run --release --example quorum -- exhaust quorum --deviations 1
//! ```
//!
//! **The client** (`client.rs`) is production code: it knows `runtime`, and runs on tokio as it is. A write goes to a
//! majority of the replicas; a read asks a majority, and the newest version wins. Its *turns* limit how many operations are
//! on their way at once, and it is there that the bug is: `relapse!("quorum-B1")` forgets that somebody may give up between
//! being called and answering. His turn is lost, and nobody wakes the next in the queue.
//!
//! ```ignore
#![doc = include_str!("../examples/quorum/client.rs")]
//! ```
//!
//! **A server** (`replica.rs`) is an [`Actor`](crate::world::Actor). [`ask`](crate::world::Actor::ask) makes a plain call
//! a task of the actor, so that the schedule decides when it gets on and a crash ends it.
//! [`World::fault`](crate::world::World::fault) asks the case what is to happen to this very message; to make it happen is
//! the replica's part. What it may be is given in full each time, so that `exhaust` can try it.
//!
//! ```ignore
#![doc = include_str!("../examples/quorum/replica.rs")]
//! ```
//!
//! **An oracle** (`oracle.rs`) is a function from facts to `Result<(), String>`; the error is the evidence. It knows neither
//! world nor client, and so can be tested alone.
//!
//! ```ignore
#![doc = include_str!("../examples/quorum/oracle.rs")]
//! ```
//!
//! **The scenario** (`scenario.rs`) is a [`Script`](crate::case::Script): a workload that serde can write, a function that
//! draws it from [`Dice`](crate::case::Dice), a check of what anybody may have edited, and a function that plays it. Lists
//! in the workload are tables, so that `shrink` can take elements out. What a user would give up is an
//! [operation](crate::world::World::operation): `cancel` and `exhaust` take each at every step of its life. At the end
//! [`check_closed`](crate::oracle::check_closed) sees that nothing is left.
//!
//! ```ignore
#![doc = include_str!("../examples/quorum/scenario.rs")]
//! ```
//!
//! **The program** (`main.rs`) names the scenarios and the [known bugs](crate::explore::KnownBug), each with what a finding
//! of it must look like: `quorum-B1` is a hang in which somebody waits for `turn`, held by nobody.
//!
//! ```ignore
#![doc = include_str!("../examples/quorum/main.rs")]
//! ```
//!
//! # Disks and crashes
//!
//! `sim/examples/unplugged.rs` is a bank that must survive crashes. Each actor has a [`Disk`](crate::world::Disk), which it
//! reaches as `runtime.files()`. Nothing on it is durable before its sync has returned: `sync_data` for a file's bytes and
//! length, `sync_dir` for the names in a directory (a rename is never half done, and durable when the directory of the new
//! name has been synced). When the power goes, any part of the rest may survive: each write whole, torn between sectors or
//! not at all, each name by itself.
//!
//! - [`expose_disk`](crate::world::Actor::expose_disk) says what may go wrong with an actor's disk. `crash` then takes every
//!   crash point, `exhaust` tries every kind of trouble at every operation.
//! - [`ask`](crate::world::Actor::ask) gives `NoAnswer` when the actor went down, be it in the middle of the work: what it
//!   was asked for may have been done or not, and the oracle must allow for both.
//! - [`on_restart`](crate::world::Actor::on_restart) starts the actor's server anew,
//!   [`restarted`](crate::world::Actor::restarted) waits for that, and [`recovered`](crate::world::Actor::recovered) says when
//!   it is over, for `crash --twice`. [`stage`](crate::world::Actor::stage) names what is going on, so that crash points are
//!   counted by it.
//! - [`Fault::draw_disk`](crate::fault::Fault::draw_disk) and [`draw_clock`](crate::fault::Fault::draw_clock) draw trouble
//!   for sweeps.
//!
//! ```text
//! cargo run --release --example unplugged -- crash
//! cargo run --release --example unplugged -- crash --relapse unplugged-B1
//! cargo run --release --example unplugged -- crash --twice --relapse unplugged-B2
//! ```
//!
//! # What comes of it
//!
//! `bugs` finds `quorum-B1` in about one run of fifty. `shrink` leaves one replica and three operations, one of whose users
//! is impatient, and one or two departures from first in, first out: he gives up in the very instant in which his turn has
//! come. `explain` then says the cause in a line:
//!
//! ```text
//!       3.000 ms  user.0/try.0                lets go of turn
//!       3.000 ms  user.0/try.1                begins to wait for turn
//!       3.000 ms  user.1/try.0                waits no more for turn
//! hung: nothing is ready and no timer is set; user.0/try.1 waits for turn, held by nobody
//! cause: user.0/try.1 waits for turn, held by nobody since user.0/try.0 let go of it at 3.000 ms: a lost wake-up, …
//! nearest passing run: without workload.users.1.operations.0.patience_ms (3); …
//! ```
//!
//! `sim/tests/quorum.rs` holds all of this.
