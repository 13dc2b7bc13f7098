//! How fast the storage server is on this disk: the measured half of `benches/against_tahoe.py`, which runs the real
//! Tahoe-LAFS through the same.
//!
//! ```text
//! throughput upload DIR COUNT BYTES CLIENTS full|normal   allocates, writes and closes so many shares
//! throughput renew DIR CLIENTS full|normal                renews the lease of every file that is there
//! throughput crawl DIR full|normal                        looks at every file, as a crawl does; twice
//! ```
//! Each prints a JSON object a line: what was done how many times in how many seconds, and by how many KiB the memory of
//! the process has grown at its peak.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use protocol::StorageIndex;
use protocol::server::{Allocate, ServerId, StorageServer};
use runtime::Runtime;
use runtime::real::RealWorld;
use storage::backend::Backend;
use storage::backend::disk::Disk;
use storage::config::{Config, Sync};
use storage::server::{Server, Setup};
use storage::share::Prefix;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into);
    match tokio.and_then(|tokio| tokio.block_on(command(&words))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throughput: {error}");
            ExitCode::from(2)
        }
    }
}

async fn command(words: &[&str]) -> Outcome<()> {
    match *words {
        ["upload", dir, count, bytes, clients, sync] => {
            let place = Place::open(dir, sync).await?;
            let (count, bytes, clients) = (count.parse()?, bytes.parse()?, clients.parse()?);
            let (start, before) = (place.runtime.now(), peak_kib());
            let data = Bytes::from(vec![b'x'; bytes]);
            each(&place, (0..count).map(nth).collect(), clients, move |server, index| {
                let data = data.clone();
                async move {
                    let request = Allocate {
                        index,
                        shares: [0].into(),
                        size: data.len() as u64,
                        renew: [1; 32],
                        cancel: [2; 32],
                    };
                    let mut allocated = server.allocate_buckets(request).await?;
                    let writer = allocated.writers.remove(&0).ok_or("no writer was granted")?;
                    writer.write(0, data).await?;
                    Ok(writer.close().await?)
                }
            })
            .await?;
            place.tell("upload", count, start, before);
            place.server.close().await;
        }
        ["renew", dir, clients, sync] => {
            let place = Place::open(dir, sync).await?;
            let mut files: Vec<_> = place.files().await?;
            // In the order of their numbers, as the real server's: neighbours in the database are not neighbours here.
            files.sort_by_key(|index| index.0[8..].to_vec());
            let (count, start, before) = (files.len() as u64, place.runtime.now(), peak_kib());
            each(&place, files, clients.parse()?, |server, index| async move {
                Ok(server.add_lease(index, [1; 32], [2; 32]).await?)
            })
            .await?;
            place.tell("renew", count, start, before);
            place.server.close().await;
        }
        ["crawl", dir, sync] => {
            let place = Place::open(dir, sync).await?;
            for what in ["crawl, all new", "crawl"] {
                let (start, before) = (place.runtime.now(), peak_kib());
                let cycle = place.server.crawl(|_| {}).await?;
                place.tell(what, cycle.counts.files, start, before);
            }
            place.server.close().await;
        }
        _ => return Err("no such command; the commands are at the top of throughput.rs".into()),
    }
    Ok(())
}

struct Place {
    runtime: Runtime,
    disk: Disk,
    server: Server,
}

impl Place {
    async fn open(dir: &str, sync: &str) -> Outcome<Place> {
        let (runtime, state) = (RealWorld::runtime(), Path::new(dir).to_owned());
        let disk = Disk::open(runtime.clone(), &state).await?;
        let sync = match sync {
            "full" => Sync::Full,
            "normal" => Sync::Normal,
            other => return Err(format!("`{other}` is neither `full` nor `normal`").into()),
        };
        let setup = Setup {
            id: ServerId::new("throughput", *b"throughput"),
            node: [0; 20],
            state,
            backend: Arc::new(disk.clone()),
            config: Config { sync, ..Config::default() },
        };
        let server = Server::start(runtime.clone(), setup).await?;
        Ok(Place { runtime, disk, server })
    }

    async fn files(&self) -> Outcome<Vec<StorageIndex>> {
        let mut files = Vec::new();
        for prefix in (0..Prefix::COUNT).filter_map(Prefix::nth) {
            files.extend(self.disk.files(prefix).await?);
        }
        Ok(files)
    }

    fn tell(&self, what: &str, count: u64, start: runtime::Instant, before: u64) {
        let seconds = (self.runtime.now() - start).as_secs_f64();
        let grown = peak_kib().saturating_sub(before);
        println!(
            "{{\"what\": \"{what}\", \"count\": {count}, \"seconds\": {seconds:.3}, \"peak_grown_kib\": {grown}}}"
        );
    }
}

/// Does the work for each of these files, by so many clients at a time.
async fn each<F>(
    place: &Place,
    files: Vec<StorageIndex>,
    clients: u64,
    work: impl Fn(Server, StorageIndex) -> F + Clone + Send + 'static,
) -> Outcome<()>
where
    F: Future<Output = Outcome<()>> + Send,
{
    let (scope, files) = (place.runtime.scope(), Arc::new(files));
    let (next, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for client in 0..clients {
        let (server, files, work) = (place.server.clone(), files.clone(), work.clone());
        let (next, failed) = (next.clone(), failed.clone());
        scope.spawn("client", client, async move {
            while let Some(index) = files.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                let done = work(server.clone(), *index).await.map_err(|error| error.to_string());
                if let Err(error) = done {
                    eprintln!("throughput: {index}: {error}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    scope.drain().await;
    match failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        failed => Err(format!("{failed} calls failed").into()),
    }
}

/// The n-th storage index: they spread over all prefixes.
fn nth(number: u64) -> StorageIndex {
    let mut index = [0; 16];
    index[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    index[8..].copy_from_slice(&number.to_be_bytes());
    StorageIndex(index)
}

/// The most memory that this process has had, in KiB; zero where the system does not say.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}
