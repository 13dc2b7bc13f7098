//! `grid leases`: who holds what until when, in one storage directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runtime::Runtime;
use serde_json::{Value, json};
use storage::ShareDirectory;
use storage::classic::ShareFile;
use storage::database::{Account, AccountId, Database, Lease, Row, State};
use storage::share::{Kind, Prefix, ShareId};

use crate::directory::{Directory, kind_word};
use crate::outcome::{Answer, Failure, unless_interrupted};
use crate::{print, when};

/// List the leases of a storage directory: who holds what until when, and the totals.
///
/// A server with a lease database has them there; a classic node has them in its share files. Nothing changes.
#[derive(clap::Args)]
pub struct Leases {
    /// A storage node's directory, or the `storage` directory in it.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Leases {
    pub async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        let directory = Directory::find(&self.directory)?;
        match directory.database() {
            Some(path) => {
                let database = Database::look(runtime, &path).await;
                let database = database.map_err(|error| Failure::Usage(error.to_string()))?;
                let answer = unless_interrupted(from_database(&database, json)).await;
                database.close().await;
                answer
            }
            None => {
                let opened =
                    ShareDirectory::open_read_only(runtime, &directory.storage, directory.id()).await;
                let shares = opened.map_err(|error| Failure::Usage(error.to_string()))?;
                unless_interrupted(from_containers(&shares, json)).await
            }
        }
    }
}

async fn from_database(database: &Database, json: bool) -> Result<Answer, Failure> {
    let failed = |error| Failure::Failed(format!("{error}"));
    let accounts = database.view("accounts", |read| read.accounts()).await.map_err(failed)?;
    for prefix in Prefix::all() {
        let look =
            database.view("leases", move |read| Ok((read.prefix(prefix)?, read.prefix_leases(prefix)?)));
        let (rows, mut leases) = look.await.map_err(failed)?;
        for (id, row) in rows {
            let leases = leases.remove(&id).unwrap_or_default();
            print(if json {
                row_json(id, &row, &leases, &accounts)
            } else {
                row_text(id, &row, &leases, &accounts)
            })?;
        }
    }
    let totals = database.view("totals", |read| read.totals()).await.map_err(failed)?;
    let mut text = format!(
        "{} shares of {} files; {} leased, {} bytes\n",
        totals.shares, totals.files, totals.leased_shares, totals.leased_space
    );
    let mut held = Vec::new();
    for (account, total) in &totals.accounts {
        let holder = holder(*account, &accounts);
        text += &format!("{holder}: {} leases, {} bytes\n", total.leases, total.space);
        held.push(
            json!({ "account": account.0, "holder": holder, "leases": total.leases, "bytes": total.space }),
        );
    }
    let object = json!({
        "ok": true, "source": "database", "shares": totals.shares, "files": totals.files,
        "leased_shares": totals.leased_shares, "leased_bytes": totals.leased_space, "accounts": held,
    });
    Ok(Answer::new(text, object))
}

fn row_text(
    id: ShareId,
    row: &Row,
    leases: &BTreeMap<AccountId, Lease>,
    accounts: &BTreeMap<AccountId, Account>,
) -> String {
    let leases =
        leases.iter().map(|(account, lease)| format!("{} {}", holder(*account, accounts), until(lease)));
    let leases: Vec<_> = leases.collect();
    let leases = if leases.is_empty() { "no lease".into() } else { leases.join(", ") };
    let state = if row.state == State::Stable { "" } else { state_word(row.state) };
    format!("{id} {} {} bytes{state}: {leases}\n", kind_word(row.kind), row.used_space)
}

fn row_json(
    id: ShareId,
    row: &Row,
    leases: &BTreeMap<AccountId, Lease>,
    accounts: &BTreeMap<AccountId, Account>,
) -> String {
    let leases = leases.iter().map(|(account, lease)| {
        let holder = holder(*account, accounts);
        json!({ "account": account.0, "holder": holder, "renewed": lease.renewed, "expires": lease.expires })
    });
    let object = json!({
        "storage_index": id.index.to_string(), "share": id.share, "kind": kind_word(row.kind),
        "state": format!("{:?}", row.state).to_lowercase(), "bytes": row.used_space,
        "leases": leases.collect::<Vec<Value>>(),
    });
    format!("{object}\n")
}

fn until(lease: &Lease) -> String {
    match lease.expires {
        Some(expires) => format!("until {}", when::moment(expires)),
        None => "for ever".into(),
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Coming => " (being uploaded)",
        State::Changing => " (being changed)",
        State::Stable => "",
        State::Going => " (being deleted)",
    }
}

fn holder(account: AccountId, accounts: &BTreeMap<AccountId, Account>) -> String {
    match account {
        AccountId::ANONYMOUS => "anonymous".into(),
        AccountId::STARTER => "starter".into(),
        _ => match accounts.get(&account).and_then(|known| known.public_key.clone()) {
            Some(public_key) => public_key,
            None => format!("account {}", account.0),
        },
    }
}

#[derive(Default)]
struct Totals {
    shares: u64,
    files: u64,
    leased: u64,
    bytes: u64,
    leases: u64,
    unusable: u64,
}

async fn from_containers(directory: &ShareDirectory, json: bool) -> Result<Answer, Failure> {
    let mut totals = Totals::default();
    for prefix in Prefix::all() {
        let shares = directory.leases(prefix).await;
        let mut last = None;
        for share in shares.map_err(|error| Failure::Failed(format!("cannot list the shares: {error}")))? {
            totals.files += u64::from(last.replace(share.id.index) != Some(share.id.index));
            print(file_line(&share, json, &mut totals))?;
        }
    }
    let Totals { shares, files, leased, bytes, leases, unusable } = totals;
    let mut text = format!(
        "{shares} shares of {files} files; {leased} leased, {bytes} bytes; {leases} leases in share files\n"
    );
    if unusable > 0 {
        text += &format!("{unusable} of the files are unusable\n");
    }
    let object = json!({
        "ok": true, "source": "containers", "shares": shares, "files": files, "leased_shares": leased,
        "leased_bytes": bytes, "leases": leases, "unusable": unusable,
    });
    Ok(Answer::new(text, object))
}

fn file_line(file: &ShareFile, json: bool, totals: &mut Totals) -> String {
    let id = file.id;
    totals.shares += 1;
    match &file.found {
        Ok(held) => {
            if !held.leases.is_empty() {
                totals.leased += 1;
                totals.bytes = totals.bytes.saturating_add(held.used);
                totals.leases += held.leases.len() as u64;
            }
            if json {
                let leases = held.leases.iter();
                let leases = leases.map(|lease| json!({ "owner": lease.owner, "expires": lease.expires }));
                let object = json!({
                    "storage_index": id.index.to_string(), "share": id.share, "kind": kind_word(held.kind),
                    "bytes": held.used, "leases": leases.collect::<Vec<Value>>(),
                });
                return format!("{object}\n");
            }
            let leases = held
                .leases
                .iter()
                .map(|lease| format!("owner {} until {}", lease.owner, when::moment(lease.expires.into())));
            let leases: Vec<_> = leases.collect();
            let leases = if leases.is_empty() { "no lease".into() } else { leases.join(", ") };
            format!("{id} {} {} bytes: {leases}\n", kind_word(held.kind), held.used)
        }
        Err(why) => {
            totals.unusable += 1;
            if json {
                let kind = kind_word(Kind::Corrupted);
                let object = json!({
                    "storage_index": id.index.to_string(), "share": id.share, "kind": kind, "unusable": why,
                });
                return format!("{object}\n");
            }
            format!("{id} unusable: {why}\n")
        }
    }
}
