//! Case files: a case as TOML that a person can read and edit.

use serde::{Deserialize, Serialize};

use super::{Cancel, Case, Expect, Scenarios};
use crate::fault::Fault;
use crate::schedule::ScheduleSpec;
use crate::world::Knobs;

/// Why a case file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// It is no TOML, or not of a case's shape.
    #[error("not a case file: {0}")]
    Malformed(String),
    /// No such scenario.
    #[error("the case wants the scenario `{0}`, and there is none of that name")]
    UnknownScenario(String),
    /// The scenario cannot use it.
    #[error("the scenario `{scenario}` cannot play this workload: {reason}")]
    Unplayable {
        /// Which scenario.
        scenario: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The schedule's parameters are out of range.
    #[error("{0}")]
    Schedule(String),
    /// No such known bug.
    #[error("the case puts the bug `{0}` back, and there is none of that name")]
    UnknownRelapse(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    scenario: String,
    seed: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    relapses: Vec<String>,
    #[serde(default)]
    knobs: Knobs,
    #[serde(default)]
    schedule: ScheduleSpec,
    workload: toml::Table,
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "fault")]
    faults: Vec<Fault>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "cancel")]
    cancels: Vec<Cancel>,
    /// No part of the run: for those who compare.
    #[serde(default, skip_serializing)]
    expect: Option<Expect>,
}

impl Case {
    /// The case as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let file = CaseFile {
            scenario: self.scenario.name().into(),
            seed: self.seed,
            relapses: self.relapses.clone(),
            knobs: self.knobs,
            schedule: self.schedule.clone(),
            workload: self.workload.to_toml()?,
            faults: self.faults.clone(),
            cancels: self.cancels.clone(),
            expect: None,
        };
        toml::to_string(&file)
    }

    /// Reads a case.
    pub fn from_toml(text: &str, scenarios: Scenarios) -> Result<Case, CaseError> {
        Case::from_file(CaseFile::read(text)?, scenarios)
    }

    /// Reads a case from JSON of the same shape, which is much faster when there are thousands.
    pub(crate) fn from_json(text: &str, scenarios: Scenarios) -> Result<Case, CaseError> {
        let file = serde_json::from_str(text).map_err(|error| CaseError::Malformed(error.to_string()))?;
        Case::from_file(file, scenarios)
    }

    fn from_file(file: CaseFile, scenarios: Scenarios) -> Result<Case, CaseError> {
        let scenario = scenarios.find(&file.scenario).ok_or(CaseError::UnknownScenario(file.scenario))?;
        let known = |name: &String| runtime::RELAPSES.iter().any(|relapse| relapse.name == name);
        if let Some(unknown) = file.relapses.iter().find(|name| !known(name)) {
            return Err(CaseError::UnknownRelapse(unknown.clone()));
        }
        file.schedule.check().map_err(CaseError::Schedule)?;
        let workload = scenario
            .load(file.workload)
            .map_err(|reason| CaseError::Unplayable { scenario: scenario.name(), reason })?;
        Ok(Case {
            scenario,
            seed: file.seed,
            relapses: file.relapses,
            knobs: file.knobs,
            schedule: file.schedule,
            workload,
            faults: file.faults,
            cancels: file.cancels,
        })
    }
}

impl Expect {
    /// What a case file expects of its case; nothing in particular, when it does not say.
    pub fn from_toml(text: &str) -> Result<Expect, CaseError> {
        CaseFile::read(text).map(|file| file.expect.unwrap_or_default())
    }
}

impl CaseFile {
    fn read(text: &str) -> Result<CaseFile, CaseError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            CaseError::Malformed(format!("line {line}: {}", error.message().replace('\n', " ")))
        })
    }
}
