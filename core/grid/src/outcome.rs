//! How a command ends: with an answer, or failing, and the exit status of each way to fail.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;

use futures::future::{Either, select};
use serde_json::Value;

/// Exit status: the operation failed.
pub const FAILED: u8 = 1;
/// Exit status: what was asked for makes no sense.
pub const USAGE: u8 = 2;

/// What a command has to say on standard output, in two forms.
pub struct Answer {
    /// For people.
    pub text: String,
    /// For programs: an object.
    pub object: Value,
    /// Nothing is wrong with what was looked at. Otherwise the exit status says so.
    pub sound: bool,
}

impl Answer {
    /// An answer in both forms, about something sound.
    pub fn new(text: String, object: Value) -> Answer {
        Answer { text, object, sound: true }
    }
}

/// Why a command ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments or the input cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The operation failed.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// For `map_err`: the operation failed, `what` being what it could not do.
    pub fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> Failure {
        move |error| Failure::Failed(format!("{what}: {error}"))
    }

    /// For `map_err`: an argument or input cannot be used, `what` saying which.
    pub fn usage<E: Display>(what: impl Display) -> impl FnOnce(E) -> Failure {
        move |error| Failure::Usage(format!("{what}: {error}"))
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Usage(_) => USAGE,
            Failure::Failed(_) => FAILED,
        })
    }
}

/// Runs `work` until it ends or the user presses Ctrl-C, which drops it.
pub async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match select(pin!(work), pin!(tokio::signal::ctrl_c())).await {
        Either::Left((result, _)) => result,
        Either::Right((Ok(()), _)) => Err(Failure::Failed("interrupted".into())),
        Either::Right((Err(error), work)) => {
            // No way to notice Ctrl-C: then it ends the program as it always does.
            tracing::debug!(%error, "cannot listen for Ctrl-C");
            work.await
        }
    }
}

/// A word without what is not to be repeated in it: a capability, and who somebody is in a URL.
pub fn without_secrets(word: &str) -> Cow<'_, str> {
    if word.contains("URI:") {
        return "'URI:…'".into();
    }
    let user = word.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)));
    match user {
        Some((scheme, rest)) => format!("{scheme}://…@{rest}").into(),
        None => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn secrets_are_not_repeated() {
        let cases = [
            ("'URI:CHK:a:b:1:2:3'", "'URI:…'"),
            ("'annex+http://ann:secret@host/git-annex/U'", "'annex+http://…@host/git-annex/U'"),
            ("https://ann:s@c/ret@host", "https://…@host"),
            ("http://host/git-annex/U", "http://host/git-annex/U"),
            ("ann@host", "ann@host"),
        ];
        for (word, told) in cases {
            assert_eq!(without_secrets(word), told);
        }
    }
}
