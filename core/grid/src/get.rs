//! `grid get`: a file, or a part of it, from its shares.

use std::path::PathBuf;

use client::{Client, Config, Read, ReadError};
use protocol::cap::Cap;
use runtime::Runtime;
use serde_json::json;

use crate::cap;
use crate::outcome::{Answer, Failure, unless_interrupted};
use crate::output::Output;
use crate::servers::{Access, StorageDirs};

/// Download a file, or a part of it, from its shares.
///
/// Nothing in the storage directories changes. Shares that are damaged, foreign or missing do no harm
/// while enough good ones are left.
#[derive(clap::Args)]
pub struct Get {
    /// The file's capability, or `-` to read it from standard input (other users can see arguments).
    #[arg(value_name = "CAP")]
    cap: String,

    #[command(flatten)]
    storage: StorageDirs,

    /// Write to FILE instead of standard output. It appears when it is complete.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace FILE if it exists.
    #[arg(long, requires = "output")]
    force: bool,

    /// Skip the first BYTES of the file.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,

    /// Stop after BYTES.
    #[arg(long, value_name = "BYTES")]
    length: Option<u64>,
}

impl Get {
    pub async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        let cap = cap::read(&self.cap)?;
        if json && self.output.is_none() {
            return Err(Failure::Usage(
                "--json needs standard output for itself: name a file with -o".into(),
            ));
        }
        if let Cap::Verify(_) = cap {
            return Err(Failure::Usage(
                "a verify capability cannot read its file: use the read capability".into(),
            ));
        }
        let client = Client::new(runtime.clone(), Config::default());
        // A literal file needs no servers.
        if cap.verify_cap().is_some() {
            for server in self.storage.open(&runtime, Access::Read).await? {
                client.add_server(server);
            }
        }
        let node = client.open(&cap).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut output = Output::open(self.output.as_deref(), self.force)?;
        let read = node.read(self.offset, self.length);
        let bytes = unless_interrupted(copy(read, &mut output)).await?;
        output.complete()?;
        let object = json!({ "ok": true, "bytes": bytes, "file": self.output });
        Ok(Answer::new(String::new(), object))
    }
}

/// Writes what is read to `output` as it comes, and says how many bytes.
async fn copy(mut read: Read, output: &mut Output) -> Result<u64, Failure> {
    let mut bytes = 0;
    while let Some(piece) = read.next().await {
        let piece = piece.map_err(explain)?;
        output.write(&piece)?;
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}

fn explain(error: ReadError) -> Failure {
    Failure::Failed(match error {
        ReadError::NoShares { .. } | ReadError::NotEnoughShares { .. } => {
            format!("not enough shares: {error} (--verbose tells more)")
        }
        error => error.to_string(),
    })
}
