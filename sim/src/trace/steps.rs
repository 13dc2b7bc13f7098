//! Step digests: the running digest after each step of a run, so that two runs of one case can be compared step by
//! step, wherever each of them ran.
//!
//! Each is cut to 16 bits. *Whether* two runs differ is for their whole digests to say; these say *where*. As a digest
//! runs on, two runs that have parted stay apart, so a chance agreement can only move the place by a step.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// The running digests of a run: the first is what there was before any step, and the n-th follows the n-th step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct StepDigests(Vec<u16>);

/// Where two lists of step digests part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parted {
    /// This step is the first that was not the same.
    At(u64),
    /// All was the same, but the first run ended after this step and the other went on.
    FirstEnded(u64),
    /// The same, the other way round.
    OtherEnded(u64),
}

impl StepDigests {
    /// Adds the digest after the next step.
    pub(crate) fn push(&mut self, digest: Digest) {
        let value = digest.value();
        self.0.push((value ^ (value >> 32)) as u16);
    }

    /// Where two runs part; nothing when each step of the one is also the other's.
    pub fn parted(&self, other: &StepDigests) -> Option<Parted> {
        let last = |steps: &StepDigests| steps.0.len().saturating_sub(1) as u64;
        match self.0.iter().zip(&other.0).position(|(one, other)| one != other) {
            Some(step) => Some(Parted::At(step as u64)),
            None if self.0.len() < other.0.len() => Some(Parted::FirstEnded(last(self))),
            None if self.0.len() > other.0.len() => Some(Parted::OtherEnded(last(other))),
            None => None,
        }
    }
}

/// Four hex digits a step.
impl fmt::Display for StepDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|digest| write!(f, "{digest:04x}"))
    }
}

impl std::str::FromStr for StepDigests {
    type Err = String;

    fn from_str(text: &str) -> Result<StepDigests, String> {
        let wrong = || "step digests are four hex digits for each step".to_string();
        let digest = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            u16::from_str_radix(digits, 16).ok()
        };
        match text.len() % 4 {
            0 => text
                .as_bytes()
                .chunks(4)
                .map(|digits| digest(digits).ok_or_else(wrong))
                .collect::<Result<_, _>>(),
            _ => Err(wrong()),
        }
        .map(StepDigests)
    }
}

impl From<StepDigests> for String {
    fn from(steps: StepDigests) -> String {
        steps.to_string()
    }
}

impl TryFrom<String> for StepDigests {
    type Error = String;

    fn try_from(text: String) -> Result<StepDigests, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> StepDigests {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_step_that_differs_is_where_runs_part() {
        let run = steps("0000111122223333");
        assert_eq!(run.parted(&run.clone()), None);
        assert_eq!(run.parted(&steps("0000111144443333")), Some(Parted::At(2)));
        assert_eq!(run.parted(&steps("00001111222233334444")), Some(Parted::FirstEnded(3)));
        assert_eq!(run.parted(&steps("00001111")), Some(Parted::OtherEnded(1)));
    }

    #[test]
    fn the_text_is_read_back_and_nothing_else_is() {
        let text = "00ff1234";
        assert_eq!(steps(text).to_string(), text);
        for bad in ["0", "00ff1", "00fg", "+001", "ää"] {
            assert!(bad.parse::<StepDigests>().is_err(), "{bad}");
        }
    }
}
