//! The simulated world keeps the real one's promises: each check of the door runs in both.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use runtime::Runtime;
use runtime::files::{FileKind, OpenMode};
use runtime::real::RealWorld;
use seedgrid::case::{Case, Detail, Dice, Draft, Scenario, Verdict, Workload, run};
use seedgrid::world::{Knobs, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Check = fn(Runtime, Directory) -> BoxFuture<'static, ()>;
type Directory = std::path::PathBuf;

/// What both worlds must pass.
static CHECKS: [Check; 6] = [time_and_timeouts, scopes, jobs, files, streams, datagrams];

fn time_and_timeouts(runtime: Runtime, _: Directory) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let start = runtime.now();
        runtime.sleep(Duration::from_millis(3)).await;
        assert!(runtime.now() - start >= Duration::from_millis(3));
        assert_eq!(runtime.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        assert!(runtime.timeout(Duration::from_millis(1), std::future::pending::<()>()).await.is_err());
        runtime.sleep_until(start).await;
        assert!(runtime.unix_time() > Duration::from_secs(1_700_000_000));
        assert_ne!(runtime.entropy::<16>(), runtime.entropy::<16>());
    })
}

fn scopes(runtime: Runtime, _: Directory) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let ended = Arc::new(AtomicU32::new(0));
        let (scope, doomed) = (runtime.scope(), runtime.scope());
        for index in 0..5 {
            let ended = ended.clone();
            scope.spawn("worker", index, async move {
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        scope.drain().await;
        assert_eq!((ended.load(Ordering::SeqCst), scope.len()), (5, 0));
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        doomed.spawn("waiter", 0, async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(doomed);
        assert!(dropped.await.is_err(), "an aborted task drops what it holds");
    })
}

fn jobs(runtime: Runtime, _: Directory) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        assert_eq!(runtime.blocking("sum", || (1..=4).sum::<u32>()).await, Ok(10));
        let finished = Arc::new(AtomicU32::new(0));
        let flag = finished.clone();
        // A job runs to its end even when nobody waits for it any more.
        let job = runtime.blocking("count", move || flag.store(1, Ordering::SeqCst));
        let _ = runtime.timeout(Duration::ZERO, job).await;
        while finished.load(Ordering::SeqCst) == 0 {
            runtime.sleep(Duration::from_millis(1)).await;
        }
    })
}

fn files(runtime: Runtime, dir: Directory) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let files = runtime.files();
        let done = runtime.blocking("files", move || {
            let (sub, path) = (dir.join("a/b"), dir.join("a/b/share"));
            assert!(files.open(&path, OpenMode::CreateNew).is_err(), "its directory is missing");
            files.create_dir_all(&sub)?;
            let file = files.open(&path, OpenMode::CreateNew)?;
            assert!(files.open(&path, OpenMode::CreateNew).is_err());
            file.write_all_at(3, b"late")?;
            file.write_all_at(4, b"ATE")?;
            file.sync_data()?;
            files.sync_dir(&sub)?;
            let mut bytes = [9; 10];
            assert_eq!(file.read_full_at(0, &mut bytes)?, 7);
            assert_eq!(&bytes[..7], b"\0\0\0lATE");
            assert_eq!(file.read_at(100, &mut bytes)?, 0);
            file.set_len(5)?;
            assert_eq!(
                (file.len()?, files.kind(&path)?, files.kind(&sub)?),
                (5, FileKind::File, FileKind::Directory)
            );
            assert!(files.open(&path, OpenMode::Read)?.write_all_at(0, b"x").is_err());
            files.open(&sub.join("z"), OpenMode::CreateOrOpen)?;
            files.rename(&path, &sub.join("c"))?;
            assert_eq!(files.list(&sub)?, [Path::new("c"), Path::new("z")]);
            assert!(files.remove_dir(&sub).is_err(), "not empty");
            files.remove_file(&sub.join("c"))?;
            files.remove_file(&sub.join("z"))?;
            files.remove_dir(&sub)?;
            assert!(files.list(&sub).is_err() && files.kind(&path).is_err());
            assert!(files.available_space(&dir)? > 0);
            std::io::Result::Ok(())
        });
        done.await.unwrap().unwrap();
    })
}

fn streams(runtime: Runtime, _: Directory) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let network = runtime.network();
        let listener = network.listen(any(0)).await.unwrap();
        let address = reachable(listener.address().unwrap());
        let scope = runtime.scope();
        scope.spawn("echo", 0, async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        let mut stream = network.connect(address).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"ping", "the other end closed after it");
        scope.drain().await;
        assert!(network.connect(address).await.is_err(), "nobody listens any more");
    })
}

fn datagrams(runtime: Runtime, _: Directory) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let network = runtime.network();
        let (left, right) = (network.bind(any(0)).await.unwrap(), network.bind(any(0)).await.unwrap());
        left.send_to(b"a long datagram", reachable(right.address().unwrap())).await.unwrap();
        let mut bytes = [0; 6];
        let (length, from) = right.receive_from(&mut bytes).await.unwrap();
        assert_eq!((&bytes[..length], from.port()), (&b"a long"[..], left.address().unwrap().port()));
    })
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// In the real world "any" address is reached at loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::from(([127, 0, 0, 1], address.port())),
        false => address,
    }
}

#[tokio::test]
async fn the_real_world_passes() {
    for check in CHECKS {
        let dir = tempfile::tempdir().unwrap();
        check(RealWorld::runtime(), dir.path().into()).await;
    }
}

#[test]
fn the_simulated_world_passes() {
    for seed in 0..20 {
        assert_eq!(play(&SIMULATED, seed), Verdict::Pass);
    }
}

#[test]
fn a_crash_severs_before_it_drops_and_a_restart_keeps_the_disk() {
    assert_eq!(play(&CRASHING, 1), Verdict::Pass);
}

#[test]
fn a_paused_actor_does_nothing_until_it_is_resumed() {
    assert_eq!(play(&PAUSING, 1), Verdict::Pass);
}

fn play(scenario: &'static Toy, seed: u64) -> Verdict {
    run(&Case::draw(scenario, seed), Detail::Digest).verdict
}

static SIMULATED: Toy = Toy(|world| {
    Box::pin(async move {
        for check in CHECKS {
            let actor = world.actor("somebody");
            let dir = Path::new("/storage");
            actor.runtime().files().create_dir_all(dir).unwrap();
            check(actor.runtime(), dir.into()).await;
        }
        let network = world.actor("known").runtime().network();
        assert_eq!(network.resolve("known", 7).await.unwrap()[0].port(), 7);
        assert!(network.resolve("unknown", 7).await.is_err());
    })
});

static CRASHING: Toy = Toy(|world| {
    Box::pin(async move {
        let (actor, script) = (world.actor("victim"), world.actor("script").runtime());
        let runtime = actor.runtime();
        let path = Path::new("/kept");
        runtime.files().open(path, OpenMode::CreateNew).unwrap().write_all_at(0, b"kept").unwrap();

        /// Tries to act from its destructor, when the power is gone already.
        struct Meddler(Runtime, Arc<AtomicU32>);
        impl Drop for Meddler {
            fn drop(&mut self) {
                let after = self.1.clone();
                let scope = self.0.scope();
                scope.spawn("ghost", 0, async move {
                    after.fetch_add(1, Ordering::SeqCst);
                });
                std::mem::forget(scope);
                self.1.fetch_add(10, Ordering::SeqCst);
            }
        }
        let acted = Arc::new(AtomicU32::new(0));
        let meddler = Meddler(runtime.clone(), acted.clone());
        actor.spawn("meddler", 0, async move {
            let _meddler = meddler;
            std::future::pending::<()>().await;
        });
        script.sleep(Duration::from_millis(1)).await;
        actor.crash();
        assert!(!actor.is_up() && actor.live_tasks().is_empty());
        actor.spawn("ignored", 0, async { panic!("a dead actor runs nothing") });
        actor.restart();
        script.sleep(Duration::from_millis(1)).await;
        assert_eq!(acted.load(Ordering::SeqCst), 10, "the destructor ran once, and what it started did not");
        // The old life's door stays shut; the new one finds the disk as it was.
        runtime.scope().spawn("stale", 0, async { panic!("an earlier life runs nothing") });
        let mut bytes = [0; 4];
        let file = actor.runtime().files().open(path, OpenMode::Read).unwrap();
        assert_eq!((file.read_at(0, &mut bytes).unwrap(), &bytes), (4, b"kept"));
        script.sleep(Duration::from_millis(1)).await;
    })
});

static PAUSING: Toy = Toy(|world| {
    Box::pin(async move {
        let (actor, script) = (world.actor("victim"), world.actor("script").runtime());
        let ticks = Arc::new(AtomicU32::new(0));
        let (runtime, counter) = (actor.runtime(), ticks.clone());
        actor.spawn("clock", 0, async move {
            loop {
                runtime.sleep(Duration::from_secs(1)).await;
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        script.sleep(Duration::from_millis(3500)).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 3);
        actor.pause();
        script.sleep(Duration::from_secs(100)).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 3);
        actor.resume();
        script.sleep(Duration::from_millis(500)).await;
        assert_eq!(ticks.load(Ordering::SeqCst), 4, "the timer that passed meanwhile fires late, once");
    })
});

struct Toy(fn(World) -> BoxFuture<'static, ()>);

impl Scenario for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn about(&self) -> &'static str {
        "a check of the world"
    }

    fn draw(&self, _dice: &mut Dice) -> Draft {
        Draft { workload: Arc::new(toml::Table::new()), faults: Vec::new(), knobs: Knobs { job_us: 100 } }
    }

    fn load(&self, workload: toml::Table) -> Result<Arc<dyn Workload>, String> {
        Ok(Arc::new(workload))
    }

    fn play(&self, _case: Arc<Case>, world: World) -> BoxFuture<'static, ()> {
        self.0(world)
    }
}
