//! A worker as its parent sees it: a process that is given orders, watched, and buried.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::worker::Place;
use super::{Answer, Order, Stop, Stopwatch};

/// A child process that carries out orders.
pub struct WorkerProcess {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    stderr: File,
    child: Arc<Mutex<Watched>>,
    watchdog: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

struct Watched {
    child: Child,
    killed: Option<Killed>,
}

/// Why a worker was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    NoProgress,
    Stopped,
}

/// How a worker ended that should not have.
#[derive(Debug)]
pub enum Death {
    /// It was on this run.
    OnRun {
        /// The run's number.
        run: u64,
        /// What happened, in a line.
        how: String,
        /// It was killed from outside, which may be the fault of a busy machine.
        killed: bool,
    },
    /// Somebody wants all work to stop.
    Stopped,
    /// It was on no run, or failed by itself: a defect of the harness, in a line.
    Defect(String),
}

/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long work that is under way may go on after somebody wants a stop.
const GRACE: Duration = Duration::from_secs(2);
/// How much of a dead worker's last words is kept, in bytes.
const LAST_WORDS: usize = 4096;

impl WorkerProcess {
    /// Starts a worker: this very program, with the hidden command.
    pub fn start(patience: Duration, stop: &Stop) -> io::Result<WorkerProcess> {
        let mut stderr = tempfile::tempfile()?;
        // The worker's words follow the place that it keeps at the head.
        stderr.write_all_at(&[0; Place::BYTES], 0)?;
        stderr.seek(io::SeekFrom::End(0))?;
        let mut command = Command::new(this_program()?);
        command.arg0("seedgrid").arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C is the parent's to handle.
        let mut child = command.stderr(stderr.try_clone()?).process_group(0).spawn()?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let child = Arc::new(Mutex::new(Watched { child, killed: None }));
        let watchdog = watch(child.clone(), stderr.try_clone()?, patience, stop.clone())?;
        Ok(WorkerProcess {
            orders,
            answers: BufReader::new(answers),
            stderr,
            child,
            watchdog: Some(watchdog),
        })
    }

    /// Gives an order and waits for the answer. After an error the worker is dead.
    pub fn ask(&mut self, order: &Order) -> Result<Answer, Death> {
        match self.exchange(order) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.bury()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(self.bury()),
            Err(error) => Err(Death::Defect(format!("a worker cannot be understood: {error}"))),
        }
    }

    /// What the worker and its scenarios have printed.
    pub fn words(&self) -> Vec<u8> {
        let length = self.stderr.metadata().map_or(0, |data| data.len());
        let start = (Place::BYTES as u64).max(length.saturating_sub(LAST_WORDS as u64));
        let mut words = vec![0; length.saturating_sub(start) as usize];
        match self.stderr.read_exact_at(&mut words, start) {
            Ok(()) => words,
            Err(_) => Vec::new(),
        }
    }

    fn exchange(&mut self, order: &Order) -> io::Result<Option<Answer>> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line)?;
        line.clear();
        self.answers.read_until(b'\n', &mut line)?;
        match line.last() {
            Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
            _ => Ok(None),
        }
    }

    fn bury(&mut self) -> Death {
        let (status, killed) = {
            let mut watched = locked(&self.child);
            // Its pipes are closed, so it is on its way out; this is for one that is not.
            let _ = watched.child.kill();
            (watched.child.wait(), watched.killed)
        };
        let words = without_ids(String::from_utf8_lossy(&self.words()).trim()).replace('\n', " | ");
        let status = match status {
            Ok(status) => status,
            Err(error) => return Death::Defect(format!("a worker cannot be waited for: {error}")),
        };
        match (killed, Place::read(&self.stderr)) {
            (Some(Killed::Stopped), _) => Death::Stopped,
            (_, Ok(Place { run, .. })) if run > 0 && status.code() != Some(PANICKED) => {
                let how = match killed {
                    Some(_) => "no progress: the process that ran it had to be killed".into(),
                    None => format!("the process that ran it died: {status}{}", quoted(&words)),
                };
                Death::OnRun { run: run - 1, how, killed: killed.is_some() || is_kill(status) }
            }
            _ => Death::Defect(format!("a worker died by itself: {status}{}", quoted(&words))),
        }
    }
}

/// The exit status of a Rust program whose own thread panicked. Runs have threads of their own.
const PANICKED: i32 = 101;

fn quoted(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// Without the numbers that differ from process to process: `thread 'x' (1234) has …`.
fn without_ids(words: &str) -> String {
    let is_id = |word: &str| {
        let number = word.strip_prefix('(').and_then(|word| word.strip_suffix(')'));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let line = |line: &str| line.split(' ').filter(|word| !is_id(word)).collect::<Vec<_>>().join(" ");
    words.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_kill(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    status.signal() == Some(SIGKILL)
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let mut watched = locked(&self.child);
        // It may be dead already, which is just as well.
        let _ = watched.child.kill();
        let _ = watched.child.wait();
        drop(watched);
        if let Some((leash, watchdog)) = self.watchdog.take() {
            drop(leash);
            let _ = watchdog.join();
        }
    }
}

fn locked(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This program's file, even if it has been replaced on disk since it was started.
fn this_program() -> io::Result<std::path::PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.into()) } else { std::env::current_exe() }
}

/// Kills the worker when it makes no progress with a run, or when all work is to stop. Ends with its leash.
fn watch(
    child: Arc<Mutex<Watched>>,
    stderr: File,
    patience: Duration,
    stop: Stop,
) -> io::Result<(mpsc::Sender<()>, JoinHandle<()>)> {
    let (leash, held) = mpsc::channel::<()>();
    let look = LOOK.min(patience / 4);
    let watchdog = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        let mut last = Place::default();
        let mut unchanged = Stopwatch::start();
        let mut stopping: Option<Stopwatch> = None;
        while held.recv_timeout(look) == Err(mpsc::RecvTimeoutError::Timeout) {
            let place = Place::read(&stderr).unwrap_or_default();
            if place != last || place.run == 0 {
                last = place;
                unchanged = Stopwatch::start();
            }
            if stop.is_wanted() {
                stopping.get_or_insert_with(Stopwatch::start);
            }
            let reason = match stopping {
                Some(stopping) if stopping.elapsed() > GRACE => Killed::Stopped,
                _ if unchanged.elapsed() > patience => Killed::NoProgress,
                _ => continue,
            };
            let mut watched = locked(&child);
            watched.killed = Some(reason);
            // It may be dead already, which is just as well.
            let _ = watched.child.kill();
            return;
        }
    })?;
    Ok((leash, watchdog))
}
