//! What the system calls alone of each job of `throughput.rs` cost: no database, no tasks, no checks, on every core. The
//! bound is that of these calls, by whole paths; relative to open directories they are somewhat cheaper.
//!
//! ```text
//! calls upload DIR COUNT BYTES   makes, fills, syncs and renames so many shares, and syncs their directories
//! calls renew DIR                lists the directory of every file that is there
//! calls crawl DIR                lists it, and reads the head of every share
//! ```
//! Prints a JSON object, as `throughput.rs` does.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "it measures the machine, and nothing of core runs in it"
)]

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match command(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("calls: {error}");
            ExitCode::from(2)
        }
    }
}

fn command(words: &[&str]) -> Outcome<()> {
    match *words {
        ["upload", dir, count, bytes] => {
            let (shares, count, bytes) =
                (Path::new(dir).join("shares"), count.parse()?, vec![b'x'; bytes.parse()?]);
            let incoming = shares.join("incoming");
            fs::create_dir_all(&incoming)?;
            // Half of a storage index is the number, spread over all prefixes; any name of this length will do.
            let names: Vec<_> = (0..count)
                .map(|number: u64| {
                    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let prefix = format!("{:03x}", spread >> 54);
                    fs::create_dir_all(shares.join(&prefix))?;
                    Ok((prefix, format!("{spread:016x}{number:010}")))
                })
                .collect::<io::Result<_>>()?;
            each("upload", &names, |(prefix, name)| {
                let (on_its_way, prefix) = (incoming.join(format!("{name}.0")), shares.join(prefix));
                let shareset = prefix.join(name);
                let file = OpenOptions::new().read(true).write(true).create_new(true).open(&on_its_way)?;
                file.write_all_at(&bytes, 0)?;
                file.sync_data()?;
                drop(file);
                fs::create_dir(&shareset)?;
                fs::rename(&on_its_way, shareset.join("0"))?;
                File::open(&shareset)?.sync_all()?;
                File::open(&prefix)?.sync_all()
            })
        }
        ["renew", dir] => each("renew", &sharesets(dir)?, |shareset| list(shareset).map(drop)),
        ["crawl", dir] => each("crawl", &sharesets(dir)?, |shareset| {
            for share in list(shareset)? {
                let (file, mut head) = (File::open(share)?, [0; 100]);
                file.metadata()?;
                file.read_at(&mut head, 0)?;
            }
            Ok(())
        }),
        _ => Err("no such command; the commands are at the top of calls.rs".into()),
    }
}

/// Does the work for each item, on every core, and tells how long that took.
fn each<T: Sync>(what: &str, items: &[T], work: impl Fn(&T) -> io::Result<()> + Sync) -> Outcome<()> {
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    let on_one_core = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item)?;
        }
        io::Result::Ok(())
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(on_one_core)).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Outcome::Ok(())
    })?;
    let (count, seconds) = (items.len(), start.elapsed().as_secs_f64());
    println!("{{\"what\": \"{what}\", \"count\": {count}, \"seconds\": {seconds:.3}}}");
    Ok(())
}

/// The directories of all files.
fn sharesets(dir: &str) -> io::Result<Vec<PathBuf>> {
    let mut sharesets = Vec::new();
    for prefix in list(&Path::new(dir).join("shares"))?.iter().filter(|prefix| !prefix.ends_with("incoming"))
    {
        sharesets.extend(list(prefix)?);
    }
    Ok(sharesets)
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}
