//! What the schedules promise, tested: small programs with known counts, on the real executor, over fixed seeds.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use runtime::Scope;
use seedgrid::case::{Case, Detail, Dice, Draft, Report, Scenario, Scenarios, Workload, run};
use seedgrid::schedule::{PORTFOLIO, ScheduleKind, ScheduleSpec};
use seedgrid::world::{Knobs, World};

/// A scenario that is one small program.
struct Program(&'static str, fn(World) -> BoxFuture<'static, ()>);

impl Scenario for Program {
    fn name(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        "a small program"
    }

    fn draw(&self, _dice: &mut Dice) -> Draft {
        Draft { workload: Arc::new(toml::Table::new()), faults: Vec::new(), knobs: Knobs::default() }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        Ok(Arc::new(workload))
    }

    fn play(&self, _case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        self.1(world)
    }
}

fn play(program: &'static Program, schedule: &ScheduleSpec, seed: u64, detail: Detail) -> Report {
    let case = Case { schedule: schedule.clone(), ..Case::draw(program, seed) };
    run(&case, detail)
}

/// What happened in a program, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, event: String) {
        self.0.lock().unwrap().push(event);
    }

    /// Whether these all happened, in this order, whatever else did.
    fn has_in_order(&self, events: &[&str]) -> bool {
        let log = self.0.lock().unwrap();
        let places: Option<Vec<_>> = events.iter().map(|event| log.iter().position(|e| e == event)).collect();
        places.unwrap().is_sorted()
    }
}

/// A task that notes `name1`, `name2`, … in as many steps.
fn steps(scope: &Scope, log: &Log, name: &'static str, count: u64) {
    let log = log.clone();
    scope.spawn(name, 0, async move {
        for step in 1..=count {
            if step > 1 {
                next_step().await;
            }
            log.note(format!("{name}{step}"));
        }
    });
}

async fn next_step() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Four tasks (the driver among them), nine steps; wrong when these events happen in this order.
fn three_tasks(world: World, bug: &'static [&'static str]) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let scope = world.actor("program").runtime().scope();
        let log = Log::default();
        steps(&scope, &log, "a", 3);
        steps(&scope, &log, "b", 3);
        steps(&scope, &log, "c", 1);
        scope.drain().await;
        if log.has_in_order(bug) {
            world.violated("order", bug.join(" < "));
        }
    })
}

const TASKS: u64 = 4;
const STEPS: u64 = 9;

/// By depth: so many constraints of order, each of which breaks off the task that went before.
static DEEP: [Program; 4] = [
    Program("depth-1", |world| three_tasks(world, &["b3", "a1"])),
    Program("depth-2", |world| three_tasks(world, &["a2", "b2", "a3"])),
    Program("depth-3", |world| three_tasks(world, &["a2", "b1", "a3", "b2"])),
    Program("depth-4", |world| three_tasks(world, &["a1", "b1", "a2", "b2", "a3"])),
];

fn hits(program: &'static Program, schedule: &ScheduleSpec, runs: u64) -> u64 {
    (0..runs).filter(|seed| !play(program, schedule, *seed, Detail::Digest).verdict.is_pass()).count() as u64
}

/// The lower end of the Wilson interval of two standard deviations.
fn at_least(hits: u64, runs: u64) -> f64 {
    let (hits, runs, z2) = (hits as f64, runs as f64, 4.0);
    let middle = hits + z2 / 2.0;
    (middle - (z2 * (hits * (runs - hits) / runs + z2 / 4.0)).sqrt()) / (runs + z2)
}

#[test]
fn the_programs_have_the_counts_that_the_bounds_are_made_of() {
    for program in &DEEP {
        let report = play(program, &ScheduleSpec::Fifo, 0, Detail::Digest);
        assert_eq!(report.steps, STEPS, "{}", program.0);
    }
}

fn assert_pct_hits(depth: u32, runs: u64) {
    let program = &DEEP[depth as usize - 1];
    let of_depth = |depth| ScheduleSpec::Pct { depth, steps: STEPS as u32 };
    let bound = 1.0 / (TASKS * STEPS.pow(depth - 1)) as f64;
    let found = hits(program, &of_depth(depth), runs);
    let rate = at_least(found, runs);
    assert!(rate >= bound, "depth {depth}: {found} of {runs}, a rate of at least {rate:.6}, not {bound:.6}");
    if depth > 1 {
        let shallow = hits(program, &of_depth(depth - 1), runs);
        assert_eq!(shallow, 0, "a bug of depth {depth} needs {} changes of priority", depth - 1);
    }
}

#[test]
fn pct_finds_a_bug_of_depth_1() {
    assert_pct_hits(1, 100);
}

#[test]
fn pct_finds_a_bug_of_depth_2() {
    assert_pct_hits(2, 1000);
}

#[test]
fn pct_finds_a_bug_of_depth_3() {
    assert_pct_hits(3, 4000);
}

#[test]
fn pct_finds_a_bug_of_depth_4() {
    assert_pct_hits(4, 20_000);
}

/// Three clients that make five, five and one calls, one after the other, each call a task of its own: 15 tasks with the
/// driver, but three chains of events.
fn callers(world: World, bug: &'static [&'static str]) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let runtime = world.actor("program").runtime();
        let (clients, log) = (runtime.scope(), Log::default());
        for (name, count) in [("x", 5), ("y", 5), ("z", 1u64)] {
            let (calls, log) = (runtime.scope(), log.clone());
            clients.spawn(name, 0, async move {
                for call in 1..=count {
                    let log = log.clone();
                    calls.spawn("call", call, async move { log.note(format!("{name}{call}")) });
                    calls.drain().await;
                }
            });
        }
        clients.drain().await;
        if log.has_in_order(bug) {
            world.violated("order", bug.join(" < "));
        }
    })
}

static CALLS: [Program; 3] = [
    Program("calls-1", |world| callers(world, &["y5", "x1"])),
    Program("calls-2", |world| callers(world, &["x2", "y3", "x3"])),
    Program("calls-3", |world| callers(world, &["x2", "y3", "x3", "y4"])),
];

const CHAINS: u64 = 3;
const CALL_STEPS: u64 = 27;

fn assert_pctcp_hits(depth: u32, runs: u64) {
    let program = &CALLS[depth as usize - 1];
    let counted = play(program, &ScheduleSpec::Fifo, 0, Detail::Digest).steps;
    assert_eq!(counted, CALL_STEPS);
    let of_depth = |depth| ScheduleSpec::Pctcp { depth, steps: CALL_STEPS as u32 };
    let bound = 1.0 / (CHAINS * CALL_STEPS.pow(depth - 1)) as f64;
    let found = hits(program, &of_depth(depth), runs);
    let rate = at_least(found, runs);
    assert!(rate >= bound, "depth {depth}: {found} of {runs}, a rate of at least {rate:.6}, not {bound:.6}");
    if depth > 1 {
        let shallow = hits(program, &of_depth(depth - 1), runs);
        assert_eq!(shallow, 0, "a bug of depth {depth} needs {} changes of priority", depth - 1);
    }
}

#[test]
fn pctcp_finds_a_bug_of_depth_1_among_calls() {
    assert_pctcp_hits(1, 1000);
    // With a priority for each call, a whole client goes first much less often.
    let pct = ScheduleSpec::Pct { depth: 1, steps: CALL_STEPS as u32 };
    assert!(hits(&CALLS[0], &pct, 1000) < 350);
}

#[test]
fn pctcp_finds_a_bug_of_depth_2_among_calls() {
    assert_pctcp_hits(2, 4000);
}

#[test]
fn pctcp_finds_a_bug_of_depth_3_among_calls() {
    assert_pctcp_hits(3, 10_000);
}

/// 7! / (2! 2! 3!) = 210 interleavings.
static FLAT: Program = Program("flat", |world| {
    Box::pin(async move {
        let scope = world.actor("program").runtime().scope();
        let log = Log::default();
        steps(&scope, &log, "a", 2);
        steps(&scope, &log, "b", 2);
        steps(&scope, &log, "c", 3);
        scope.drain().await;
    })
});

/// A parent of three steps bears a child of two in its first, beside a task of two: 7! / (5·2·2·2) = 126 interleavings.
static FAMILY: Program = Program("family", |world| {
    Box::pin(async move {
        let scope = Arc::new(world.actor("program").runtime().scope());
        let log = Log::default();
        let (family, family_log) = (scope.clone(), log.clone());
        scope.spawn("parent", 0, async move {
            steps(&family, &family_log, "child", 2);
            next_step().await;
            next_step().await;
        });
        steps(&scope, &log, "other", 2);
        scope.drain().await;
    })
});

/// The chi-square statistic of a program's interleavings against the even distribution. A run's digest tells which
/// interleaving it was.
fn unevenness(program: &'static Program, schedule: &ScheduleSpec, interleavings: usize) -> f64 {
    const FOR_EACH: usize = 20;
    let mut counts = BTreeMap::<u64, usize>::new();
    for seed in 0..(interleavings * FOR_EACH) as u64 {
        // The case's seed is not part of the digest; what the program does under a schedule is.
        *counts.entry(play(program, schedule, seed, Detail::Digest).digest).or_default() += 1;
    }
    assert!(counts.len() <= interleavings, "{}: {} interleavings", program.0, counts.len());
    let unseen = interleavings - counts.len();
    let expected = FOR_EACH as f64;
    counts.values().map(|count| (*count as f64 - expected).powi(2) / expected).sum::<f64>()
        + unseen as f64 * expected
}

/// The value that chi-square exceeds once in a thousand times (Wilson and Hilferty's approximation).
fn once_in_a_thousand(interleavings: usize) -> f64 {
    let freedom = (interleavings - 1) as f64;
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + 3.0902 * part.sqrt()).powi(3)
}

#[test]
fn urw_is_uniform_over_interleavings() {
    let found = unevenness(&FLAT, &ScheduleSpec::Urw, 210);
    assert!(found < once_in_a_thousand(210), "{found}");
}

#[test]
fn urw_is_uniform_over_interleavings_of_tasks_that_are_born_on_the_way() {
    let found = unevenness(&FAMILY, &ScheduleSpec::Urw, 126);
    assert!(found < once_in_a_thousand(126), "{found}");
}

#[test]
fn a_uniform_pick_is_not_uniform_over_interleavings() {
    for (program, interleavings) in [(&FLAT, 210), (&FAMILY, 126)] {
        let found = unevenness(program, &ScheduleSpec::Uniform, interleavings);
        assert!(found > 2.0 * once_in_a_thousand(interleavings), "{}: {found}", program.0);
    }
}

#[test]
fn bounded_departs_at_most_so_often_and_sometimes_just_so_often() {
    for departures in 0..4 {
        let schedule = ScheduleSpec::Bounded { departures, steps: 12 };
        let made = |seed| play(&FLAT, &schedule, seed, Detail::Full).departures.len();
        assert_eq!((0..200).map(made).max(), Some(departures as usize));
    }
}

static PAIRS: Program = Program("pairs", |world| {
    Box::pin(async move {
        let runtime = world.actor("pairs").runtime();
        let scope = runtime.scope();
        for index in 0..6 {
            let runtime = runtime.clone();
            scope.spawn("worker", index, async move {
                let calls = runtime.scope();
                for round in 0..4u64 {
                    runtime.sleep(Duration::from_millis(round % 2)).await;
                    calls.spawn("call", round, async move {
                        tracing::debug!(target: "test", index, round, "tick")
                    });
                }
                calls.drain().await;
            });
        }
        scope.drain().await;
    })
});

#[test]
fn under_every_kind_a_run_is_its_case_and_a_replay_of_its_departures_is_the_same_run() {
    for kind in ScheduleKind::ALL {
        let mut digests = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let schedule = kind.schedule(seed);
            let report = play(&PAIRS, &schedule, seed, Detail::Full);
            assert!(report.verdict.is_pass(), "{kind}: {}", report.verdict);
            assert_eq!(play(&PAIRS, &schedule, seed, Detail::Digest).digest, report.digest, "{kind}");
            let replay = ScheduleSpec::Replay { departures: report.departures };
            assert_eq!(play(&PAIRS, &replay, seed, Detail::Digest).digest, report.digest, "{kind}");
            digests.insert(report.digest);
        }
        assert_eq!(digests.len() > 1, kind != ScheduleKind::Fifo, "{kind}: {} runs differ", digests.len());
    }
}

#[test]
fn every_kind_can_be_written_down_and_read_back() {
    static PROGRAMS: Scenarios = Scenarios(&[&FLAT]);
    for kind in ScheduleKind::ALL {
        for seed in 0..200 {
            let case = Case { schedule: kind.schedule(seed), ..Case::draw(&FLAT, seed) };
            let text = case.to_toml().unwrap();
            assert!(text.contains(&format!("kind = \"{kind}\"")), "{text}");
            assert_eq!(Case::from_toml(&text, PROGRAMS).unwrap().schedule, case.schedule);
        }
    }
}

#[test]
fn parameters_out_of_range_are_refused() {
    static PROGRAMS: Scenarios = Scenarios(&[&FLAT]);
    let refusal = |schedule: &str| {
        let text = format!("scenario = \"flat\"\nseed = 1\nworkload = {{}}\nschedule = {{ {schedule} }}\n");
        Case::from_toml(&text, PROGRAMS).err().map(|error| error.to_string())
    };
    assert_eq!(refusal("kind = 'pct', depth = 100, steps = 1000000"), None);
    assert_eq!(refusal("kind = 'bounded', departures = 0, steps = 1"), None);
    for (schedule, why) in [
        ("kind = 'pct', depth = 0, steps = 9", "`depth` is 0, not in 1..=100"),
        ("kind = 'pct', depth = 4000000000, steps = 9", "`depth` is 4000000000, not in 1..=100"),
        ("kind = 'pct', depth = 3, steps = 0", "`steps` is 0, not in 1..=1000000"),
        ("kind = 'pctcp', depth = 101, steps = 1", "`depth` is 101, not in 1..=100"),
        ("kind = 'pctcp', depth = 1, steps = 4000000000", "`steps` is 4000000000, not in 1..=1000000"),
        ("kind = 'bounded', departures = 1001, steps = 2000", "`departures` is 1001, not in 0..=1000"),
        ("kind = 'bounded', departures = 8, steps = 7", "`departures` is 8, not in 0..=7"),
        ("kind = 'bounded', departures = 1, steps = 1000001", "`steps` is 1000001, not in 1..=1000000"),
        ("kind = 'pct', depth = -1, steps = 9", "line 4"),
        ("kind = 'pct', depth = 1", "missing field `steps`"),
        ("kind = 'pct', depth = 1, steps = 9, more = 1", "unknown field `more`"),
        ("kind = 'pst'", "unknown variant `pst`"),
    ] {
        let refused = refusal(schedule).unwrap_or_default();
        assert!(refused.contains(why), "{schedule}: {refused}");
    }
}

#[test]
fn seeds_draw_from_the_portfolio_at_its_weights() {
    let whole: u64 = PORTFOLIO.iter().map(|(weight, _)| weight).sum();
    let draws = 1000 * whole;
    let mut drawn = BTreeMap::<ScheduleKind, u64>::new();
    (0..draws).for_each(|seed| *drawn.entry(ScheduleKind::draw(seed)).or_default() += 1);
    assert_eq!(drawn.len(), PORTFOLIO.len());
    for (weight, kind) in PORTFOLIO {
        let (count, expected) = (drawn[&kind], 1000 * weight);
        assert!(count.abs_diff(expected) < expected / 8, "{kind}: {count} instead of {expected}");
    }
    for kind in ScheduleKind::ALL {
        for seed in 0..1000 {
            assert_eq!(kind.schedule(seed).check(), Ok(()), "{kind}, seed {seed}");
        }
    }
}
