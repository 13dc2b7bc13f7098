//! Many runs: sweeps, the hunt for known bugs, and the audit of determinism.
//!
//! All of it is built on [`run`](crate::case::run) and happens in supervised child processes, so that a run
//! that never comes back, or takes its process along, is a finding like any other:
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`Plan`] | which runs there are: an index is a scenario and a seed |
//! | [`Outcome`] | what became of one run, in words |
//! | [`work`] | the child: takes orders on stdin, answers on stdout |
//! | [`Crew`] | the parent: hands out the indices of a plan, and replaces workers that die |
//! | [`sweep`], [`hunt`], [`audit`], [`cancel_everywhere`], [`crash_everywhere`], [`exhaust`], [`shrink`], [`check_kept`] | what is asked of a crew |
//! | [`explain`] | one case: what happened, and the nearest run that passes |

mod account;
mod audit;
mod bugs;
mod cancel;
mod corpus;
mod crash;
mod crew;
mod evidence;
mod examiner;
mod exhaust;
mod explain;
mod one_core;
mod order;
mod plan;
mod planted;
mod shrink;
mod sign;
mod stop;
mod stopwatch;
mod sweep;
mod tally;
mod trail;
mod variation;
mod wilson;
mod without_one;
mod worker;
mod worker_process;

pub use account::Account;
pub use audit::{ALONE, Audit, Difference, audit};
pub use bugs::{Hunt, KnownBug, Quarry, hunt};
pub use cancel::{Cancelled, cancel_everywhere};
pub use corpus::{Kept, Standing, check_kept};
pub use crash::{Crashed, CrashedStage, Crashing, crash_everywhere};
pub use crew::{Crew, CrewError};
pub use evidence::{Evidence, Outcome};
pub use exhaust::{Covered, Searching, Watch, exhaust};
pub use explain::{Comparison, Explanation, Nearest, Told as ToldLine, Traced, explain};
pub use order::{Answer, Edit, Examined, Order, Record, Source, Telling, Told, Wanted, named_in};
pub use plan::Plan;
pub use planted::{CULPRITS, Culprit, Fate, RUNS_OF_EACH, Seen, examine};
pub use shrink::{Limits, Shrunk, Size, shrink};
pub use sign::Sign;
pub use stop::Stop;
pub use stopwatch::Stopwatch;
pub use sweep::{Sweep, Sweeping, sweep};
pub use tally::{ScenarioTally, Tally};
pub use trail::{Coordinate, MOST_RUNS, Trail, Trails, read_trails, write_trails};
pub use variation::{Deviation, Variations};
pub use wilson::wilson;
pub use without_one::Candidate;
pub use worker::work;
pub use worker_process::{Death, WorkerProcess};
