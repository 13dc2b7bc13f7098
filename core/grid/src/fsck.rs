//! `grid fsck`: the shares of a storage directory against its lease database.

use std::path::PathBuf;

use runtime::Runtime;
use serde_json::json;
use storage::config::Config;
use storage::server::{Finding, Mode, Outcome, Server};
use storage::share::Prefix;

use crate::directory::{Directory, progress};
use crate::outcome::{Answer, Failure, unless_interrupted};
use crate::print;

/// Compare the shares of a storage directory with its lease database, and say what a server would put right.
///
/// Nothing changes without --repair, which adopts shares, ends what was cut off, and removes the rows of shares that are
/// gone. No share is deleted for want of a lease. The directory must not belong to a running node.
#[derive(clap::Args)]
pub struct Fsck {
    /// A storage node's directory, or the `storage` directory in it. No node may be running on it.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Put right what is found.
    #[arg(long)]
    repair: bool,
}

#[derive(Default)]
struct Totals {
    files: u64,
    found: u64,
    /// What still is wrong.
    left: u64,
    /// What could not be looked at.
    unknown: u64,
}

impl Fsck {
    pub async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        let directory = Directory::find(&self.directory)?;
        if directory.database().is_none() {
            let storage = directory.storage.display();
            return Err(Failure::Usage(format!(
                "{storage} has no lease database: `grid crawl --adopt` begins one, `grid leases` lists what is in share files"
            )));
        }
        let server = match self.repair {
            true => Server::open(runtime.clone(), directory.setup(runtime, Config::default()).await?).await,
            false => Server::look(runtime.clone(), directory.setup_to_look(runtime)).await,
        };
        let server = server.map_err(|error| Failure::Usage(error.to_string()))?;
        let mut totals = Totals::default();
        let walked = unless_interrupted(self.walk(&server, json, &mut totals)).await;
        server.close().await;
        walked?;
        let Totals { files, found, left, unknown } = totals;
        let repaired = found - left;
        let text = match found + unknown {
            0 => format!("{files} files: shares and lease database agree\n"),
            _ => format!(
                "{files} files: {found} found, {repaired} put right, {unknown} could not be looked at\n"
            ),
        };
        let sound = left + unknown == 0;
        let object =
            json!({ "ok": sound, "files": files, "found": found, "repaired": repaired, "unknown": unknown });
        Ok(Answer { sound, ..Answer::new(text, object) })
    }

    async fn walk(&self, server: &Server, json: bool, totals: &mut Totals) -> Result<(), Failure> {
        let mode = if self.repair { Mode::Recover } else { Mode::Dry };
        let bar = progress("checking");
        bar.set_length(Prefix::COUNT.into());
        for prefix in Prefix::all() {
            match server.files(prefix).await {
                Ok(files) => {
                    for index in files {
                        totals.files += 1;
                        match server.reconcile(index, mode).await {
                            Ok(findings) => {
                                findings.iter().try_for_each(|finding| tell(finding, json, totals))?;
                            }
                            Err(error) => unknown(index, error, json, totals)?,
                        }
                    }
                }
                Err(error) => unknown(format!("prefix {prefix}"), error, json, totals)?,
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

fn tell(finding: &Finding, json: bool, totals: &mut Totals) -> Result<(), Failure> {
    let Finding { id, step, outcome } = finding;
    totals.found += 1;
    totals.left += u64::from(*outcome != Outcome::Done);
    let word = match outcome {
        Outcome::Done => "done",
        Outcome::Left => "left",
        Outcome::Failed(why) => why,
    };
    print(match (json, outcome) {
        (true, _) => {
            let index = id.index.to_string();
            let object = json!({ "storage_index": index, "share": id.share, "step": step.to_string(), "outcome": word });
            format!("{object}\n")
        }
        (false, Outcome::Done) => format!("{id}: {step}: done\n"),
        (false, Outcome::Left) => format!("{id}: {step}\n"),
        (false, Outcome::Failed(why)) => format!("{id}: {step}: failed: {why}\n"),
    })
}

fn unknown(
    what: impl std::fmt::Display,
    error: impl std::fmt::Display,
    json: bool,
    totals: &mut Totals,
) -> Result<(), Failure> {
    totals.unknown += 1;
    print(match json {
        true => format!("{}\n", json!({ "what": what.to_string(), "error": error.to_string() })),
        false => format!("{what} cannot be looked at: {error}\n"),
    })
}
