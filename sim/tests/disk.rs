//! Disks and clocks as an actor meets them: what a crash does in the middle of a poll, who learns of it, and each kind of
//! trouble.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use runtime::Runtime;
use runtime::files::{File, OpenMode};
use seedgrid::case::{Case, Detail, Draft, Report, Scenario, Scenarios, Script, run};
use seedgrid::fault::{CrashKind, DiskEffect, DiskError, DiskOp, Fault};
use seedgrid::schedule::ScheduleSpec;
use seedgrid::world::{Actor, NoAnswer, Point, World};

type Toy = Script<BTreeMap<String, u64>>;

const fn toy(play: fn(BTreeMap<String, u64>, World) -> BoxFuture<'static, ()>) -> Toy {
    Script {
        name: "toy",
        about: "a check of the world",
        troubles: &[],
        draw: |_| Draft::of(BTreeMap::new()),
        check: |_| Ok(()),
        play,
    }
}

fn case(toy: &'static Toy, faults: Vec<Fault>) -> Case {
    let mut case = Case::draw(toy, 1);
    case.schedule = ScheduleSpec::Fifo;
    case.faults = faults;
    case
}

fn play(toy: &'static Toy, faults: Vec<Fault>) -> Report {
    let report = run(&case(toy, faults), Detail::Digest);
    assert!(report.verdict.is_pass(), "{}", report.verdict);
    report
}

fn at(op: DiskOp, nth: u32, effect: DiskEffect) -> Fault {
    Fault::Disk { disk: "S0".into(), op, nth, effect }
}

fn bytes_of(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_full_at(0, &mut bytes).unwrap();
    bytes
}

/// What the owner of the disk finds in the file.
fn found(actor: &Actor) -> Vec<u8> {
    use runtime::files::Files;
    bytes_of(&*actor.disk().open(Path::new("/x"), OpenMode::Read).unwrap())
}

/// Writes `a`, syncs, writes `b` behind it, renames and writes `c`, all in one poll, whatever fails.
fn work(runtime: &Runtime) {
    let files = runtime.files();
    let file = files.open(Path::new("/x"), OpenMode::CreateNew).unwrap();
    file.write_all_at(0, b"a").unwrap();
    file.sync_data().unwrap();
    files.sync_dir(Path::new("/")).unwrap();
    let last = [
        file.write_all_at(1, b"b"),
        files.rename(Path::new("/x"), Path::new("/y")),
        file.write_all_at(2, b"c"),
    ];
    assert!(last.iter().all(Result::is_err), "the power is gone, and each of these fails");
}

static CRASHING: Toy = toy(|_, world| {
    Box::pin(async move {
        let (actor, other) = (world.actor("S0"), world.actor("client"));
        let begun = Arc::new(AtomicU32::new(0));
        let counter = begun.clone();
        actor.on_restart(move |actor| {
            counter.fetch_add(1, Ordering::SeqCst);
            actor.spawn("serve", actor.life().into(), std::future::pending());
        });
        let (runtime, ghosts) = (actor.runtime(), Arc::new(AtomicU32::new(0)));
        let ghost = ghosts.clone();
        let stale = runtime.clone();
        let answer = actor.ask("work", 0, async move {
            work(&runtime);
            let scope = runtime.scope();
            scope.spawn("ghost", 0, async move { _ = ghost.fetch_add(1, Ordering::SeqCst) });
            std::mem::forget(scope);
            "an answer that reaches nobody"
        });
        assert_eq!(answer.await, Err(NoAnswer));
        assert!(!actor.is_up() && actor.live_tasks().is_empty() && actor.life() == 1);
        actor.down(0).await;
        assert_eq!(found(&actor), b"a");
        let crashed_at = world.now();
        assert_eq!(actor.restarted(0).await, 1);
        assert_eq!(world.now() - crashed_at, Duration::from_secs(1));
        assert_eq!((begun.load(Ordering::SeqCst), actor.live_tasks()), (1, vec!["restart.1/serve.1".into()]));
        assert!(stale.files().list(Path::new("/")).is_err(), "an earlier life reads nothing");
        other.runtime().sleep(Duration::from_secs(1)).await;
        assert_eq!(ghosts.load(Ordering::SeqCst), 0);
        assert_eq!(found(&actor), b"a");
    })
});

#[test]
fn a_crash_in_the_middle_of_a_poll_severs_the_actor_there_and_then() {
    for how in CrashKind::ALL {
        let report = play(&CRASHING, vec![at(DiskOp::Change, 5, DiskEffect::crash(how, 0))]);
        assert_eq!(report.effects, BTreeMap::from([(how.name(), 1)]));
    }
}

/// A job is one poll: what waits for it in the same actor never hears of it.
static JOB: Toy = toy(|_, world| {
    Box::pin(async move {
        let actor = world.actor("S0");
        let runtime = actor.runtime();
        let heard = Arc::new(AtomicU32::new(0));
        let hearer = heard.clone();
        actor.spawn("server", 0, async move {
            let worker = runtime.clone();
            let _ = runtime.blocking("work", move || work(&worker)).await;
            hearer.fetch_add(1, Ordering::SeqCst);
        });
        actor.restarted(0).await;
        assert_eq!((heard.load(Ordering::SeqCst), found(&actor)), (0, b"ab".to_vec()));
    })
});

#[test]
fn what_was_in_progress_may_be_done_all_the_same() {
    for how in CrashKind::ALL {
        play(&JOB, vec![at(DiskOp::Change, 5, DiskEffect::crash(how, 1))]);
    }
}

/// The crash and the restart fall into one poll.
static AT_ONCE: Toy = toy(|_, world| {
    Box::pin(async move {
        let actor = world.actor("S0");
        let old = Arc::new(AtomicU32::new(0));
        let counter = old.clone();
        actor.spawn("old", 0, async move { _ = counter.fetch_add(1, Ordering::SeqCst) });
        assert!(actor.runtime().files().create_dir_all(Path::new("/d")).is_err());
        actor.restart();
        actor.spawn("new", 0, std::future::pending());
        world.actor("clock").runtime().sleep(Duration::from_secs(2)).await;
        assert_eq!(
            (old.load(Ordering::SeqCst), actor.life(), actor.live_tasks()),
            (0, 1, vec!["new.0".into()])
        );
    })
});

#[test]
fn a_restart_in_the_very_poll_of_the_crash_waits_for_nothing() {
    play(&AT_ONCE, vec![at(DiskOp::Change, 1, DiskEffect::crash(CrashKind::Process, 0))]);
}

/// A panic in the poll in which the power went is nobody's, and what a destructor writes reaches nothing.
static PANICKING: Toy = toy(|_, world| {
    Box::pin(async move {
        struct Writes(Box<dyn File>);
        impl Drop for Writes {
            fn drop(&mut self) {
                assert!(self.0.write_all_at(0, b"late").is_err());
                panic!("of a process that has ended");
            }
        }
        let actor = world.actor("S0");
        let runtime = actor.runtime();
        let file = runtime.files().open(Path::new("/x"), OpenMode::CreateNew).unwrap();
        actor.spawn("writer", 0, async move {
            let _file = Writes(file);
            std::future::pending().await
        });
        actor.spawn("work", 0, async move {
            runtime.sleep(Duration::from_secs(1)).await;
            runtime.files().create_dir_all(Path::new("/d")).expect("it is not");
        });
        actor.restarted(0).await;
        assert_eq!(found(&actor), b"");
    })
});

#[test]
fn who_has_lost_power_does_not_panic() {
    play(&PANICKING, vec![at(DiskOp::Change, 2, DiskEffect::crash(CrashKind::Process, 0))]);
}

/// A scenario takes the power itself.
static UNPLUGGED: Toy = toy(|_, world| {
    Box::pin(async move {
        let actor = world.actor("S0");
        actor.disk().track();
        let write = |bytes: &[u8]| {
            let file = actor.runtime().files().open(Path::new("/x"), OpenMode::CreateOrOpen).unwrap();
            file.write_all_at(0, bytes).unwrap();
            file
        };
        let kept = write(b"synced");
        kept.lock().unwrap();
        actor.disk().sync_all();
        write(b"unsynced");
        assert_eq!(found(&actor), b"unsynced");
        actor.crash_with(CrashKind::Process, 0);
        assert_eq!(found(&actor), b"unsynced");
        actor.restart();
        actor.crash_with(CrashKind::Power, 0);
        assert_eq!(found(&actor), b"synced");
        actor.restart();
        assert!(kept.write_all_at(0, b"stale").is_err());
        // Nobody holds the lock of an earlier life; of two in one life only the first gets it.
        let first = write(b"again");
        first.lock().unwrap();
        let second = actor.runtime().files().open(Path::new("/x"), OpenMode::Read).unwrap();
        assert_eq!(second.lock().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(second.write_all_at(0, b"no").unwrap_err().kind(), ErrorKind::PermissionDenied);
        drop(first);
        second.lock().unwrap();
    })
});

#[test]
fn a_scenario_can_take_the_power_away() {
    let report = play(&UNPLUGGED, vec![]);
    assert_eq!(report.effects, BTreeMap::from([("process-crash", 1), ("power-loss", 1)]));
}

static TROUBLED: Toy = toy(|_, world| {
    Box::pin(async move {
        let actor = world.actor("S0");
        let (runtime, clock) = (actor.runtime(), world.actor("clock").runtime());
        let files = runtime.files();
        let file = files.open(Path::new("/x"), OpenMode::CreateNew).unwrap();
        let kinds =
            |results: [std::io::Result<()>; 4]| results.map(|result| result.err().map(|error| error.kind()));
        // Changes 2 and 3 fail.
        let writes = [b"none", b"none", b"here", b"here"].map(|bytes| file.write_all_at(0, bytes));
        let error = Some(ErrorKind::Other);
        assert_eq!(kinds(writes), [error, error, None, None]);
        // Change 6 finds no room, nor does anything that needs more, for a second.
        let full = Some(ErrorKind::StorageFull);
        let writes =
            [(0, 5), (0, 4), (1, 4), (0, 1)].map(|(at, length)| file.write_all_at(at, &b"there"[..length]));
        assert_eq!(kinds(writes), [full, None, full, None]);
        assert!(files.create_dir_all(Path::new("/d")).is_err());
        assert_eq!(files.available_space(Path::new("/")).unwrap(), 0);
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(files.available_space(Path::new("/")).unwrap(), (1 << 30) - 4);
        // Read 3 finds a flipped bit, and so does everybody after it.
        assert_eq!(bytes_of(&*file), b"tier");
        assert_eq!(found(&actor), b"tier");
        assert_eq!(actor.disk().rotten(), [("/x".into(), 1)]);
        // Change 11 makes the next two jobs late.
        files.create_dir_all(Path::new("/d")).unwrap();
        for late in [5, 5, 0] {
            let begun = world.now();
            runtime.blocking("job", || ()).await.unwrap();
            assert_eq!(world.now() - begun, Duration::from_secs(late));
        }
        // Healed, nothing strikes any more, and an owner's limit still holds.
        actor.disk().heal();
        actor.disk().set_capacity(6);
        file.write_all_at(0, b"sixsix").unwrap();
        assert_eq!(file.set_len(7).unwrap_err().kind(), ErrorKind::StorageFull);
        file.set_len(1).unwrap();
        file.set_len(6).unwrap();
        assert_eq!(bytes_of(&*file), b"s\0\0\0\0\0");
        assert_eq!(actor.disk().operations()[DiskOp::Change as usize], 15);
    })
});

#[test]
fn each_kind_of_trouble_does_what_it_says() {
    let report = play(
        &TROUBLED,
        vec![
            at(DiskOp::Change, 2, DiskEffect::Fail { with: DiskError::Io, times: 2 }),
            at(DiskOp::Change, 6, DiskEffect::Full { us: Some(1_000_000) }),
            at(DiskOp::Read, 4, DiskEffect::Rot { at: 5, bit: 0 }),
            at(DiskOp::Change, 11, DiskEffect::Slow { us: 5_000_000, jobs: 2 }),
            at(DiskOp::Change, 12, DiskEffect::Fail { with: DiskError::NoSpace, times: 9 }),
        ],
    );
    let expected = [("disk-error", 2), ("full-disk", 4), ("bit-rot", 1), ("slow-disk", 2)];
    assert_eq!(report.effects, BTreeMap::from(expected));
}

/// Two actors and their clocks.
static CLOCKS: Toy = toy(|_, world| {
    Box::pin(async move {
        let [wrong, right] = ["S0", "S1"].map(|name| world.actor(name).runtime());
        let ahead = || wrong.unix_time().as_secs() as i64 - right.unix_time().as_secs() as i64;
        assert_eq!(ahead(), -3600);
        right.sleep(Duration::from_secs(10)).await;
        assert_eq!(ahead(), 82800);
        assert_eq!(right.now().as_nanos(), 10_000_000_000);
        assert_eq!(wrong.now(), right.now());
        right.sleep(Duration::from_secs(10)).await;
        assert_eq!(wrong.unix_time(), Duration::ZERO, "no clock is set back before its beginning");
    })
});

#[test]
fn clocks_are_skewed_and_set() {
    let clock = |at_us, step_s| Fault::Clock { of: "S0".into(), at_us, step_s };
    let faults = vec![clock(0, -3600), clock(10_000_000, 86400), clock(20_000_000, i64::MIN)];
    let report = play(&CLOCKS, faults);
    assert_eq!(report.effects, BTreeMap::from([("clock-skew", 1), ("clock-step", 2)]));
}

static KNOWN: &[&dyn Scenario] = &[&EXPOSED];

/// Exposed after its first operation.
static EXPOSED: Toy = toy(|_, world| {
    Box::pin(async move {
        let actor = world.actor("S0");
        let files = actor.runtime().files();
        files.create_dir_all(Path::new("/d")).unwrap();
        actor.expose_disk(&["process-crash", "disk-error"]);
        let file = files.open(Path::new("/x"), OpenMode::CreateNew).unwrap();
        file.len().unwrap();
    })
});

#[test]
fn a_search_is_told_of_what_may_go_wrong_with_a_disk() {
    let report = run(&case(&EXPOSED, vec![]), Detail::Points);
    let points = report.points.unwrap().log.into_iter();
    let possible: Vec<_> = points
        .filter_map(|point| match point {
            Point::Fault(faults) => Some(faults),
            _ => None,
        })
        .collect();
    let error = DiskEffect::Fail { with: DiskError::Io, times: 1 };
    let change = [0, 1].map(|survivors| DiskEffect::crash(CrashKind::Process, survivors)).into_iter();
    let change = change.chain([error.clone()]).map(|effect| at(DiskOp::Change, 2, effect)).collect();
    assert_eq!(possible, [change, vec![at(DiskOp::Read, 1, error)]]);
}

#[test]
fn faults_of_disks_and_clocks_can_be_written_and_read() {
    let mut faults: Vec<_> = DiskEffect::SAMPLES.map(|effect| at(DiskOp::Change, 7, effect)).into();
    faults.push(at(
        DiskOp::Read,
        1,
        DiskEffect::Crash { how: CrashKind::Power, survivors: 1 << 40, restart_us: None },
    ));
    faults.push(Fault::Clock { of: "S0".into(), at_us: 5, step_s: -9 });
    let case = case(&EXPOSED, faults.clone());
    let text = case.to_toml().unwrap();
    assert!(
        text.contains("kind = \"crash\"\nhow = \"process\"\nsurvivors = 0\nrestart_us = 1000000\n"),
        "{text}"
    );
    let read = Case::from_toml(&text, Scenarios(KNOWN)).unwrap();
    assert_eq!(read.faults, faults);
}
