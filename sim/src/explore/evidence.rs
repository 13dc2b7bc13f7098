//! What became of one run, in words: the form in which a worker tells its parent, and the parent everybody else.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::case::{Report, Symptom, Verdict, WaitEnd};
use crate::trace::{StepDigests, Wait, WaitGraph};

/// What became of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The verdict in one word.
    pub verdict: String,
    /// The run's digest, as 16 hex digits; zero when the run did not live to tell it.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub digest: u64,
    /// Polls.
    pub steps: u64,
    /// Simulated nanoseconds.
    pub sim_ns: u64,
    /// When they were asked for: the running digest after each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_digests: Option<StepDigests>,
    /// For a finding: what there is to show for it.
    #[serde(flatten)]
    pub evidence: Option<Evidence>,
}

/// What a finding has to show for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The oracle that found it, if one did.
    pub oracle: Option<String>,
    /// What it found.
    pub detail: String,
    /// For a hang: what everybody waits for in the end, and who has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<WaitEnd>,
    /// The kind of schedule that the case ran under, where somebody counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The command that repeats the run.
    pub replay: String,
}

impl Outcome {
    /// What became of a run that gave this report.
    pub fn of(report: &Report, scenario: &str, seed: u64, replay: &str) -> Outcome {
        let evidence = || Evidence {
            oracle: report.verdict.oracle().map(String::from),
            detail: detail(&report.verdict, report.waits.as_ref()),
            ends: Symptom::of(report).ends,
            schedule: None,
            replay: replay.into(),
        };
        Outcome {
            scenario: scenario.into(),
            seed,
            verdict: report.verdict.word().into(),
            digest: report.digest,
            steps: report.steps,
            sim_ns: report.sim_ns,
            step_digests: None,
            evidence: (!report.verdict.is_pass()).then(evidence),
        }
    }

    /// What becomes of a run that gave no report at all.
    pub fn without_report(verdict: Verdict, scenario: &str, seed: u64, replay: &str) -> Outcome {
        let oracle = verdict.oracle().map(String::from);
        let (detail, replay) = (detail(&verdict, None), replay.into());
        let evidence = Evidence { oracle, detail, ends: Vec::new(), schedule: None, replay };
        Outcome {
            scenario: scenario.into(),
            seed,
            verdict: verdict.word().into(),
            digest: 0,
            steps: 0,
            sim_ns: 0,
            step_digests: None,
            evidence: Some(evidence),
        }
    }

    /// The same, and a finding says under which kind of schedule.
    pub fn under(mut self, schedule: &str) -> Outcome {
        if let Some(evidence) = &mut self.evidence {
            evidence.schedule = Some(schedule.into());
        }
        self
    }

    /// What findings of one kind have in common: scenario, verdict and oracle.
    pub fn kind(&self) -> (&str, &str, Option<&str>) {
        let oracle = self.evidence.as_ref().and_then(|evidence| evidence.oracle.as_deref());
        (&self.scenario, &self.verdict, oracle)
    }
}

/// How much evidence one finding may carry about, in bytes.
const LONGEST_DETAIL: usize = 2000;
/// How many ends of wait chains are told of.
const ENDS_TOLD: usize = 3;

/// The evidence; for a hung run also what everybody waits for in the end, and who has it.
fn detail(verdict: &Verdict, waits: Option<&WaitGraph>) -> String {
    let mut text = verdict.detail().to_string();
    if let (Verdict::Hung { .. }, Some(waits)) = (verdict, waits) {
        let ends: Vec<&Wait> = waits.ends().collect();
        for wait in ends.iter().take(ENDS_TOLD) {
            text += &format!("; {} waits for {}, held by {}", wait.who, wait.resource, holders(wait));
        }
        if ends.len() > ENDS_TOLD {
            text += &format!("; and {} more such waits", ends.len() - ENDS_TOLD);
        }
    }
    if let Some((end, _)) = text.char_indices().find(|(at, _)| *at >= LONGEST_DETAIL) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn holders(wait: &Wait) -> String {
    let names: Vec<&str> = wait.holders.iter().map(|(who, _)| who.as_str()).collect();
    match names.is_empty() {
        true => "nobody".into(),
        false => names.join(", "),
    }
}

fn to_hex<S: Serializer>(digest: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{digest:016x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_json_and_a_pass_shows_no_evidence() {
        let finding = Outcome::without_report(
            Verdict::Stuck { detail: "x".repeat(3000) },
            "planted",
            u64::MAX,
            "replay it",
        );
        let text = serde_json::to_string(&finding).unwrap();
        assert!(
            text.contains(r#""digest":"0000000000000000""#) && text.contains(r#""oracle":null"#),
            "{text}"
        );
        assert!(text.len() < 2300);
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), finding);

        let pass = Outcome { verdict: "pass".into(), digest: 0xabc, evidence: None, ..finding };
        let text = serde_json::to_string(&pass).unwrap();
        assert!(text.contains(r#""digest":"0000000000000abc""#) && !text.contains("detail"), "{text}");
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), pass);
    }
}
