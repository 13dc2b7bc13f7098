//! `grid crawl`: one full cycle of the accounting crawler over a storage directory.

use std::path::PathBuf;

use runtime::Runtime;
use serde_json::{Value, json};
use storage::ShareDirectory;
use storage::classic::Expired;
use storage::config::{Config, Expire, ExpireMode};
use storage::crawler::{Cycle, Tally};
use storage::server::Server;
use storage::share::Prefix;

use crate::directory::{Directory, progress};
use crate::outcome::{Answer, Failure, unless_interrupted};
use crate::when;

/// Crawl a storage directory once, from end to end: adopt what was copied in, finish what was cut off, count.
///
/// The directory must not belong to a running node. Nothing is ever deleted for want of a lease without --expire. A classic
/// node's directory, which has no lease database, is crawled by the leases in its share files.
#[derive(clap::Args)]
pub struct Crawl {
    /// A storage node's directory, or the `storage` directory in it. No node may be running on it.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// End the leases that are over, and delete the shares that have none.
    #[arg(long)]
    expire: bool,

    /// With --expire: leases are over that were renewed longer ago than this, as in 31days, 2mo, 1year.
    #[arg(long, value_name = "LENGTH", value_parser = when::length, requires = "expire")]
    age: Option<u64>,

    /// With --expire: leases are over that were renewed before this day (midnight UTC), as in 2026-01-31.
    #[arg(long, value_name = "DATE", value_parser = when::date, requires = "expire", conflicts_with = "age")]
    cutoff: Option<u64>,

    /// With --expire: no mutable share is deleted.
    #[arg(long, requires = "expire")]
    keep_mutable: bool,

    /// With --expire: no immutable share is deleted.
    #[arg(long, requires = "expire")]
    keep_immutable: bool,

    /// Begin a lease database in a directory that has none: every share gets a lease of 60 days, and the leases in share
    /// files count no more.
    #[arg(long)]
    adopt: bool,
}

impl Crawl {
    pub async fn run(self, runtime: Runtime) -> Result<Answer, Failure> {
        let directory = Directory::find(&self.directory)?;
        match directory.database().is_some() || self.adopt {
            true => self.with_database(runtime, &directory).await,
            false => self.by_containers(runtime, &directory).await,
        }
    }

    fn policy(&self) -> Expire {
        let mode = match self.cutoff {
            Some(time) => ExpireMode::CutOff(time),
            None => ExpireMode::Age(self.age),
        };
        Expire { enabled: self.expire, mode, mutable: !self.keep_mutable, immutable: !self.keep_immutable }
    }

    async fn with_database(&self, runtime: Runtime, directory: &Directory) -> Result<Answer, Failure> {
        let config = Config { expire: self.policy(), ..Config::default() };
        let setup = directory.setup(runtime.clone(), config).await?;
        let server = Server::open(runtime, setup).await.map_err(|error| Failure::Usage(error.to_string()))?;
        let bar = progress("crawling");
        let crawl = server.crawl(|progress| {
            bar.set_length(progress.of as u64);
            bar.set_position(progress.done as u64);
        });
        let cycle =
            unless_interrupted(async { crawl.await.map_err(Failure::failed("the crawl failed")) }).await;
        bar.finish_and_clear();
        server.close().await;
        Ok(report(&cycle?))
    }

    async fn by_containers(&self, runtime: Runtime, directory: &Directory) -> Result<Answer, Failure> {
        let opened = match self.expire {
            true => ShareDirectory::open(runtime, &directory.storage, directory.id()).await,
            false => ShareDirectory::open_read_only(runtime, &directory.storage, directory.id()).await,
        };
        let shares = opened.map_err(|error| Failure::Usage(error.to_string()))?;
        let bar = progress("crawling");
        bar.set_length(Prefix::COUNT.into());
        let crawl = async {
            let mut all = Expired::default();
            for prefix in Prefix::all() {
                let expired = shares.expire(prefix, self.policy()).await;
                let expired = expired
                    .map_err(Failure::failed(format!("cannot crawl the shares of prefix {prefix}")))?;
                all.examined += expired.examined;
                all.leases += expired.leases;
                all.shares += expired.shares;
                all.bytes += expired.bytes;
                all.given += expired.given;
                all.unusable.extend(expired.unusable);
                bar.inc(1);
            }
            Ok(all)
        };
        let all = unless_interrupted(crawl).await;
        bar.finish_and_clear();
        let all = all?;
        let mut text = format!(
            "{} shares examined; {} leases ended, {} shares deleted ({} bytes), {} shares without any lease given one\n",
            all.examined, all.leases, all.shares, all.bytes, all.given
        );
        for (share, why) in &all.unusable {
            text += &format!("{share} is unusable: {why}\n");
        }
        let unusable = all.unusable.iter();
        let unusable = unusable.map(|(share, why)| json!({ "share": share.to_string(), "why": why }));
        let object = json!({
            "ok": true, "source": "containers", "examined": all.examined, "ended_leases": all.leases,
            "collected": tally(Tally { shares: all.shares, bytes: all.bytes }), "given": all.given,
            "unusable": unusable.collect::<Vec<Value>>(),
        });
        Ok(Answer::new(text, object))
    }
}

/// What a cycle found. Files or prefixes that could not be crawled are a finding.
fn report(cycle: &Cycle) -> Answer {
    let counts = &cycle.counts;
    let there = counts.shares();
    let mut text = format!(
        "cycle {}: {} shares of {} files, {} bytes (immutable {}, mutable {}, corrupted {}), {} leases\n",
        cycle.number,
        there.shares,
        counts.files,
        there.bytes,
        counts.immutable.shares,
        counts.mutable.shares,
        counts.corrupted.shares,
        counts.leases
    );
    let done = [
        (counts.adopted, "shares adopted"),
        (counts.vanished, "shares have vanished"),
        (counts.ended_operations, "uploads, changes or deletions that were cut off ended"),
        (counts.corrected, "rows corrected"),
        (counts.ended_leases, "leases ended"),
        (counts.collected.shares, "shares without a lease deleted"),
        (counts.cleared.shares, "leftovers deleted"),
        (counts.watched, "leftovers left for a cycle"),
        (counts.failed_prefixes, "prefixes could not be crawled"),
        (counts.failed_files, "files could not be examined"),
        (counts.failed_steps, "shares could not be put right"),
    ];
    for (number, what) in done.into_iter().filter(|(number, _)| *number > 0) {
        text += &format!("{number} {what}\n");
    }
    for share in &cycle.corrupted {
        text += &format!("{share} is corrupted\n");
    }
    let ages = cycle.lease_ages.iter().map(|bin| json!({ "days": bin.days, "leases": bin.leases }));
    let failed = counts.failed_prefixes + counts.failed_files + counts.failed_steps;
    let object = json!({
        "ok": failed == 0, "source": "database", "cycle": cycle.number,
        "started": cycle.started, "ended": cycle.ended, "files": counts.files, "prefixes": counts.prefixes,
        "immutable": tally(counts.immutable), "mutable": tally(counts.mutable), "corrupted": tally(counts.corrupted),
        "leases": counts.leases, "lease_ages": ages.collect::<Vec<Value>>(), "corrupted_shares": cycle.corrupted,
        "adopted": counts.adopted, "vanished": counts.vanished, "ended_operations": counts.ended_operations,
        "corrected": counts.corrected, "ended_leases": counts.ended_leases, "collected": tally(counts.collected),
        "cleared": tally(counts.cleared), "watched": counts.watched, "failed_prefixes": counts.failed_prefixes,
        "failed_files": counts.failed_files, "failed_steps": counts.failed_steps,
    });
    Answer { sound: failed == 0, ..Answer::new(text, object) }
}

fn tally(tally: Tally) -> Value {
    json!({ "shares": tally.shares, "bytes": tally.bytes })
}
