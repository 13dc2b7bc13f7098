//! Operations and their cancel points: what is cancelled is cancelled there, in that manner, and nothing else changes.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use seedgrid::case::{Cancel, Case, Detail, Dice, Draft, Manner, Report, Scenario, Workload, run};
use seedgrid::fault::Fault;
use seedgrid::schedule::{Departure, ScheduleSpec};
use seedgrid::world::{Knobs, Point, Points, World};

struct Toy(&'static str, fn(World) -> BoxFuture<'static, ()>);

impl Scenario for Toy {
    fn name(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        "a toy"
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

/// Tells that it goes.
struct Told(&'static str);

impl Drop for Told {
    fn drop(&mut self) {
        tracing::debug!(target: "toy", "{} dropped", self.0);
    }
}

/// An operation that waits, parked, for a child of two sleeps; a bystander ticks in between.
static PARKED: Toy = Toy("parked", |world| {
    Box::pin(async move {
        let runtime = world.actor("toy").runtime();
        let scope = runtime.scope();
        let ticking = runtime.clone();
        scope.spawn("bystander", 0, async move {
            for tick in 0..3u64 {
                tracing::debug!(target: "toy", tick, "tick");
                ticking.sleep(Duration::from_millis(1)).await;
            }
        });
        let work = async move {
            let _told = Told("the operation");
            let child = runtime.scope();
            let (clock, steps) = (runtime.clone(), [5, 7]);
            child.spawn("child", 0, async move {
                for ms in steps {
                    clock.sleep(Duration::from_millis(ms)).await;
                }
            });
            child.drain().await;
            tracing::debug!(target: "toy", "the operation came to its end");
            42
        };
        let ended = world.operation("wait", 3, work).await;
        tracing::debug!(target: "toy", "ended: {ended:?}");
        scope.drain().await;
    })
});

fn play(scenario: &'static Toy, cancels: Vec<Cancel>, detail: Detail) -> Report {
    let mut case = Case::draw(scenario, 1);
    case.schedule = ScheduleSpec::Fifo;
    case.cancels = cancels;
    run(&case, detail)
}

fn cancel(after: Option<&str>, by: Manner) -> Cancel {
    Cancel { operation: "wait.3".into(), after: after.map(String::from), by }
}

fn lines(report: &Report) -> Vec<String> {
    report.story.as_ref().unwrap().lines.iter().map(|line| line.what.clone()).collect()
}

/// The steps after which the operation is alive.
fn life(points: &Points) -> Vec<String> {
    let step = |point: &Point| match point {
        Point::Step { task, polls, alive, .. } if !alive.is_empty() => {
            Some(format!("{}#{polls}", points.tasks[*task as usize]))
        }
        _ => None,
    };
    points.log.iter().filter_map(step).collect()
}

#[test]
fn an_operation_lives_while_it_is_parked_and_its_child_progresses() {
    let points = play(&PARKED, vec![], Detail::Points).points.unwrap();
    assert_eq!(points.operations, ["wait.3"]);
    let life = life(&points);
    assert!(life.contains(&"driver.0#0".into()), "{life:?}");
    assert!(life.contains(&"child.0#1".into()) && life.contains(&"bystander.0#2".into()), "{life:?}");
}

#[test]
fn every_point_is_taken_by_every_manner_and_cancels_the_operation() {
    let points = play(&PARKED, vec![], Detail::Points).points.unwrap();
    let steps = life(&points);
    for after in steps.iter().map(|step| Some(&**step)).chain([None]) {
        for by in Manner::ALL {
            let report = play(&PARKED, vec![cancel(after, by)], Detail::Full);
            let lines = lines(&report);
            assert!(report.verdict.is_pass(), "{after:?} {by:?}: {}", report.verdict);
            assert_eq!(report.cancels, 1, "{after:?} {by:?}");
            // A timeout that expires when the work is done comes too late: its last poll ends it.
            let ended = match lines.contains(&"the operation came to its end".into()) {
                true if by == Manner::Timeout => "ended: Ok(42)",
                _ => "ended: Err(Cancelled)",
            };
            assert!(lines.contains(&ended.into()), "{after:?} {by:?}: {lines:?}");
        }
    }
}

#[test]
fn a_drop_is_at_once_and_an_abort_when_its_turn_comes() {
    // Three at one instant: the bystander ends its first tick; the operation is cancelled; others are ready before it.
    let place = |by| {
        let lines = lines(&play(&PARKED, vec![cancel(Some("driver.0#0"), by)], Detail::Full));
        let at = |what: &str| lines.iter().position(|line| line == what).unwrap();
        (at("the operation dropped"), at("tick tick=0"))
    };
    let (dropped, ticked) = place(Manner::Drop);
    assert!(dropped < ticked);
    for by in [Manner::Abort, Manner::Timeout] {
        let (dropped, ticked) = place(by);
        assert!(dropped > ticked, "{by:?}");
    }
}

#[test]
fn a_timeout_lets_the_work_end_only_if_it_does_so_at_once() {
    let ended = |after| {
        let lines = lines(&play(&PARKED, vec![cancel(Some(after), Manner::Timeout)], Detail::Full));
        lines.into_iter().find(|line| line.starts_with("ended")).unwrap()
    };
    assert_eq!(ended("driver.0#0"), "ended: Err(Cancelled)");
    assert_eq!(ended("child.0#1"), "ended: Err(Cancelled)");
    // The child's last step: the operation only has to notice.
    assert_eq!(ended("child.0#2"), "ended: Ok(42)");
}

#[test]
fn what_is_not_alive_is_not_cancelled() {
    let plain = play(&PARKED, vec![], Detail::Digest);
    for (operation, after) in [("wait.3", Some("child.0#99")), ("wait.4", None), ("wait.3", Some("nonsense"))]
    {
        let cancel = Cancel { operation: operation.into(), after: after.map(String::from), by: Manner::Drop };
        let report = play(&PARKED, vec![cancel], Detail::Digest);
        assert_eq!((report.cancels, report.digest), (0, plain.digest), "{operation} {after:?}");
    }
}

#[test]
fn looking_changes_nothing() {
    let digests: BTreeSet<u64> = [Detail::Digest, Detail::Full, Detail::Points]
        .map(|detail| play(&PARKED, vec![cancel(Some("child.0#1"), Manner::Abort)], detail).digest)
        .into();
    assert_eq!(digests.len(), 1);
}

/// Two tasks that have nothing to do with each other, and a third that both wake.
static SWAPPED: Toy = Toy("swapped", |world| {
    Box::pin(async move {
        let runtime = world.actor("toy").runtime();
        let scope = runtime.scope();
        for index in 0..2u64 {
            let runtime = runtime.clone();
            scope.spawn("worker", index, async move {
                runtime.sleep(Duration::from_millis(index + 1)).await;
                tracing::debug!(target: "toy", index, "done");
            });
        }
        scope.drain().await;
    })
});

fn states(departures: Vec<Departure>) -> Vec<(String, u64)> {
    states_of(&SWAPPED, departures, vec![])
}

fn states_of(toy: &'static Toy, departures: Vec<Departure>, faults: Vec<Fault>) -> Vec<(String, u64)> {
    let mut case = Case::draw(toy, 1);
    case.schedule = ScheduleSpec::Replay { departures };
    case.faults = faults;
    let points = run(&case, Detail::Points).points.unwrap();
    let state = |point: &Point| match point {
        Point::Step { task, polls, state, .. } => {
            Some((format!("{}#{polls}", points.tasks[*task as usize]), *state))
        }
        _ => None,
    };
    points.log.iter().filter_map(state).collect()
}

#[test]
fn states_meet_again_after_steps_that_do_not_depend_on_each_other() {
    let first = states(vec![]);
    let swap = Departure { instead_of: "worker.0#0".into(), run: "worker.1".into() };
    let second = states(vec![swap]);
    let order = |states: &[(String, u64)]| states.iter().map(|(step, _)| step.clone()).collect::<Vec<_>>();
    assert_ne!(order(&first), order(&second));
    assert_eq!(first[0], second[0]);
    // One has slept, and not the other: two different states. Then both have.
    assert_ne!(first[1].1, second[1].1);
    assert_eq!(first[2].1, second[2].1);
    assert_eq!(first.last(), second.last());
    assert_eq!(first.iter().map(|(_, state)| state).collect::<BTreeSet<_>>().len(), first.len());
}

/// Two that ring, each a bell of its own, and two that wait for them.
static RUNG: Toy = Toy("rung", |world| {
    Box::pin(async move {
        let runtime = world.actor("toy").runtime();
        let scope = runtime.scope();
        let bells: [Arc<tokio::sync::Notify>; 2] = Default::default();
        for (index, bell) in bells.iter().cloned().enumerate() {
            scope.spawn("waiter", index as u64, async move { bell.notified().await });
        }
        for (index, bell) in bells.into_iter().enumerate() {
            scope.spawn("ringer", index as u64, async move { bell.notify_waiters() });
        }
        scope.drain().await;
    })
});

#[test]
fn who_is_ready_in_which_order_is_part_of_a_state() {
    let first = states_of(&RUNG, vec![], vec![]);
    let swap = Departure { instead_of: "ringer.0#0".into(), run: "ringer.1".into() };
    let second = states_of(&RUNG, vec![swap], vec![]);
    let after = |states: &[(String, u64)], steps: [&str; 2]| {
        let place = states.iter().position(|(step, _)| steps.contains(&step.as_str())).unwrap();
        (states[place + 1].1, states[place + 1].0.clone())
    };
    let rung = [after(&first, ["ringer.0#0", "ringer.1#0"]), after(&second, ["ringer.0#0", "ringer.1#0"])];
    assert_eq!([&*rung[0].1, &*rung[1].1], ["ringer.1#0", "ringer.0#0"]);
    assert_ne!(rung[0].0, rung[1].0, "the waiters are ready in different orders");
}

#[test]
fn what_befell_a_task_is_part_of_a_state() {
    let fault = |effect: &str| vec![Fault::Point { at: "link.7".into(), nth: 1, effect: effect.into() }];
    let ends = ["lose", "double", "unheard of"].map(|effect| states_of(&FAULTY, vec![], fault(effect)));
    let ends: BTreeSet<u64> = ends.iter().map(|states| states.last().unwrap().1).collect();
    assert_eq!(ends.len(), 3);
}

/// Asks for faults of its own.
static FAULTY: Toy = Toy("faulty", |world| {
    Box::pin(async move {
        for round in 0..3u64 {
            let effect = world.fault("link", 7, &["lose", "double"]);
            tracing::debug!(target: "toy", round, "{effect:?}");
        }
    })
});

#[test]
fn a_fault_of_its_own_hits_where_the_case_says() {
    let mut case = Case::draw(&FAULTY, 1);
    let fault = |nth, effect: &str| Fault::Point { at: "link.7".into(), nth, effect: effect.into() };
    case.faults = vec![fault(2, "double"), fault(3, "unheard of")];
    let told = lines(&run(&case, Detail::Full));
    let own: Vec<_> = told.iter().filter(|line| line.contains("round=")).collect();
    assert_eq!(own, ["None round=0", "Some(\"double\") round=1", "None round=2"]);
    let points = run(&case, Detail::Points).points.unwrap();
    let possible = points.log.iter().filter_map(|point| match point {
        Point::Fault(faults) => Some(faults.clone()),
        _ => None,
    });
    let expected: Vec<_> = (1..=3).map(|nth| vec![fault(nth, "lose"), fault(nth, "double")]).collect();
    assert_eq!(possible.collect::<Vec<_>>(), expected);
}
