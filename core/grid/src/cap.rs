//! `grid cap`: what a capability says of its file, without what it says in confidence. And how each
//! command takes a capability.

use std::io::Read;

use clap::Args;
use protocol::cap::Cap;
use serde_json::{Value, json};

use crate::outcome::{Answer, Failure};

/// Explain a capability without revealing its key.
#[derive(Args)]
pub struct Explain {
    /// The capability, or `-` to read it from standard input (other users can see arguments).
    #[arg(value_name = "CAP")]
    cap: String,
}

impl Explain {
    pub fn run(self) -> Result<Answer, Failure> {
        let cap = read(&self.cap)?;
        Ok(Answer::new(describe(&cap), as_json(&cap)))
    }
}

/// The capability that an argument gives: itself, or `-` for standard input.
pub fn read(argument: &str) -> Result<Cap, Failure> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        let mut input = std::io::stdin().take(MAX_CAP + 1);
        input
            .read_to_string(&mut text)
            .map_err(Failure::usage("cannot read a capability from standard input"))?;
        if text.len() as u64 > MAX_CAP {
            return Err(Failure::Usage("what came on standard input is too long for a capability".into()));
        }
    }
    text.trim().parse().map_err(|error| Failure::Usage(format!("{error}")))
}

/// Far more than any capability has.
const MAX_CAP: u64 = 64 << 10;

fn describe(cap: &Cap) -> String {
    let bytes = cap.size();
    let Some(verify) = cap.verify_cap() else {
        return format!("kind           literal: the capability is the file\nsize           {bytes} bytes\n");
    };
    format!(
        "kind           {}\nsize           {bytes} bytes\nshares         any {} of {}\n\
         storage index  {}\nverify cap     {verify}\n",
        match cap {
            Cap::Verify(_) => "verify: checks and repairs the file, cannot read it",
            _ => "read: reads the file",
        },
        verify.k,
        verify.n,
        verify.storage_index
    )
}

fn as_json(cap: &Cap) -> Value {
    let kind = match cap {
        Cap::Read(_) => "read",
        Cap::Verify(_) => "verify",
        Cap::Literal(_) => "literal",
    };
    let mut object = json!({ "ok": true, "kind": kind, "size": cap.size() });
    if let Some(verify) = cap.verify_cap() {
        object["k"] = verify.k.into();
        object["n"] = verify.n.into();
        object["storage_index"] = verify.storage_index.to_string().into();
        object["verify_cap"] = verify.to_string().into();
    }
    object
}
