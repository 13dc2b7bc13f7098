//! Schedules compared: how many runs each kind needs to find each known bug, on the same seeds of the same scenarios.
//!
//! `cargo bench -p scenarios --bench schedules [-- --runs N] [--hits N] [BUG…]`: a bug is hunted with each kind for 5,000
//! runs, or until it has been found 40 times. A run finds a bug when it fails with the bug and passes without. Nothing here
//! looks at a clock: the figures are the same on every machine.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]
#![allow(clippy::disallowed_methods, reason = "the harness itself is outside of any world")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use seedgrid::case::{Case, Detail, run};
use seedgrid::explore::KnownBug;
use seedgrid::schedule::ScheduleKind;

fn main() -> ExitCode {
    let limits = match Limits::of(std::env::args().skip(1)) {
        Ok(limits) => limits,
        Err(why) => {
            eprintln!("schedules: {why}");
            return ExitCode::from(2);
        }
    };
    println!(
        "Runs to find a bug, median / 95th percentile; × is how often it was found, against the uniform pick.\n"
    );
    print!("| bug |");
    CONTESTANTS.iter().for_each(|contestant| print!(" {} |", contestant.name()));
    print!("\n| --- |{}\n", " --- |".repeat(CONTESTANTS.len()));
    let mut rates = [Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for bug in scenarios::BUGS.iter().filter(|bug| limits.wants(bug)) {
        let hunts = limits.hunt_with_all(bug);
        let uniform = hunts[Contestant::UNIFORM].rate();
        print!("| {} |", bug.name);
        for (hunt, rates) in hunts.iter().zip(&mut rates) {
            print!(" {} |", hunt.cell(uniform));
            rates.push(hunt.rate().max(f64::MIN_POSITIVE) / uniform.max(f64::MIN_POSITIVE));
        }
        println!();
    }
    print!("| mean × |");
    for rates in &rates {
        let log: f64 = rates.iter().map(|rate| rate.max(0.01).ln()).sum();
        print!(" × {:.2} |", (log / rates.len() as f64).exp());
    }
    println!();
    ExitCode::SUCCESS
}

/// A kind of schedule, or the default portfolio.
#[derive(Clone, Copy)]
struct Contestant(Option<ScheduleKind>);

const CONTESTANTS: [Contestant; 7] = [
    Contestant(Some(ScheduleKind::Uniform)),
    Contestant(Some(ScheduleKind::Fifo)),
    Contestant(Some(ScheduleKind::Bounded)),
    Contestant(Some(ScheduleKind::Pct)),
    Contestant(Some(ScheduleKind::Pctcp)),
    Contestant(Some(ScheduleKind::Urw)),
    Contestant(None),
];

impl Contestant {
    const UNIFORM: usize = 0;

    fn name(self) -> &'static str {
        self.0.map_or("portfolio", ScheduleKind::name)
    }

    /// Whether run `index` of the default rotation of scenarios finds the bug.
    fn finds(self, bug: &KnownBug, index: u64) -> bool {
        let count = scenarios::ALL.0.len() as u64;
        let (scenario, seed) = (scenarios::ALL.0[(index % count) as usize], index / count);
        let mut case = Case::draw(scenario, seed);
        if let Some(kind) = self.0 {
            case.schedule = kind.schedule(seed);
        }
        let healthy = case.clone();
        case.relapses = vec![bug.name.into()];
        let passes = |case| run(case, Detail::Digest).verdict.is_pass();
        !passes(&case) && passes(&healthy)
    }
}

struct Limits {
    bugs: Vec<String>,
    runs: u64,
    hits: usize,
}

impl Limits {
    fn of(mut args: impl Iterator<Item = String>) -> Result<Limits, String> {
        let mut limits = Limits { bugs: Vec::new(), runs: 5000, hits: 40 };
        while let Some(arg) = args.next() {
            let mut number = || {
                let number = args.next().and_then(|number| number.parse().ok());
                number
                    .filter(|number| (1..=10_000_000).contains(number))
                    .ok_or(format!("{arg} wants a number"))
            };
            match arg.as_str() {
                // What cargo itself says.
                "--bench" => {}
                "--runs" => limits.runs = number()?,
                "--hits" => limits.hits = number()? as usize,
                name if scenarios::BUGS.iter().any(|bug| bug.name == name) => limits.bugs.push(arg),
                _ => {
                    return Err(format!(
                        "no bug and no option: {arg}; there are --runs N, --hits N and names of bugs"
                    ));
                }
            }
        }
        Ok(limits)
    }

    fn wants(&self, bug: &KnownBug) -> bool {
        self.bugs.is_empty() || self.bugs.iter().any(|name| name == bug.name)
    }

    /// One hunt for each contestant, as many at a time as there are cores.
    fn hunt_with_all(&self, bug: &KnownBug) -> Vec<Hunt> {
        let queue = Mutex::new(CONTESTANTS.iter().enumerate());
        let hunts = Mutex::new(vec![Hunt::default(); CONTESTANTS.len()]);
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    loop {
                        let Some((place, contestant)) = queue.lock().unwrap().next() else { return };
                        let hunt = self.hunt(bug, *contestant);
                        hunts.lock().unwrap()[place] = hunt;
                    }
                });
            }
        });
        hunts.into_inner().unwrap()
    }

    fn hunt(&self, bug: &KnownBug, contestant: Contestant) -> Hunt {
        let mut hunt = Hunt::default();
        let mut last = 0;
        while hunt.runs < self.runs && hunt.gaps.len() < self.hits {
            let index = hunt.runs;
            hunt.runs += 1;
            if contestant.finds(bug, index) {
                hunt.gaps.push(hunt.runs - last);
                last = hunt.runs;
            }
        }
        hunt.gaps.sort_unstable();
        hunt
    }
}

#[derive(Clone, Default)]
struct Hunt {
    runs: u64,
    /// Runs from find to find, ascending.
    gaps: Vec<u64>,
}

impl Hunt {
    fn rate(&self) -> f64 {
        self.gaps.len() as f64 / self.runs as f64
    }

    fn cell(&self, uniform: f64) -> String {
        let at = |parts: usize| self.gaps.get(self.gaps.len() * parts / 100);
        match (at(50), at(95)) {
            (Some(median), Some(p95)) => format!("{median} / {p95} × {:.2}", self.rate() / uniform),
            _ => format!("not in {}", self.runs),
        }
    }
}
