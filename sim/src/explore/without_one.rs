//! Cases that lack one thing of a case: a fault, a cancel, a departure from FIFO, a part of the workload, a known bug.
//!
//! Unlike a shrinker's, each lacks exactly one thing: what the run then does differently is that thing's doing. What a
//! scenario cannot play is refused when it is tried.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::shrink::tree::{self, Path, Step};

/// A case that lacks one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// What it lacks.
    pub lacks: String,
    /// The case as TOML.
    pub case: String,
    /// To be tried only when no other that passes has anything in common with the run: without a bug that was put back,
    /// any run may pass.
    pub last_resort: bool,
}

/// The most departures that are left out one at a time: the latest of them.
const DEPARTURES: usize = 400;
/// The most parts of a workload that are left out one at a time.
const PARTS: usize = 400;

/// All cases that lack one thing, what comes late in the case first.
pub(super) fn without_one(case: &Table) -> Vec<Candidate> {
    let mut found = Vec::new();
    for name in ["fault", "cancel"] {
        elements(case, &[key(name)], &mut found);
    }
    let departures = [key("schedule"), key("departures")];
    let most = found.len() + DEPARTURES;
    elements(case, &departures, &mut found);
    found.truncate(most);
    if let Some(departures) = tree::at(case, &departures).and_then(Value::as_array).filter(|it| it.len() > 1)
    {
        let fifo = Table::from_iter([("kind".into(), Value::from("fifo"))]);
        let lacks = format!("all of the {} departures from FIFO", departures.len());
        add(lacks, &tree::with(case, &[key("schedule")], fifo.into()), &mut found);
    }
    parts(case, &mut found);
    let relapses = found.len();
    elements(case, &[key("relapses")], &mut found);
    found.iter_mut().skip(relapses).for_each(|candidate| candidate.last_resort = true);
    found
}

/// Without each part of the workload: elements of arrays, and keys within those.
fn parts(case: &Table, found: &mut Vec<Candidate>) {
    let of_workload = |path: &Path| path.first() == Some(&key("workload"));
    let depths = (1..=tree::depth(case)).rev();
    let arrays = depths.flat_map(|depth| tree::arrays(case, depth)).filter(of_workload);
    let within_an_array = |path: &Path| path.iter().any(|step| matches!(step, Step::Index(_)));
    let keys = tree::entries(case).into_iter().filter(|path| of_workload(path) && within_an_array(path));
    let most = found.len() + PARTS;
    for path in keys {
        add(in_full(case, &path), &tree::without_key(case, &path), found);
    }
    for array in arrays {
        elements(case, &array, found);
    }
    found.truncate(most);
}

/// Without each element of an array.
fn elements(case: &Table, array: &[Step], found: &mut Vec<Candidate>) {
    let count = tree::at(case, array).and_then(Value::as_array).map_or(0, Vec::len);
    for index in (0..count).rev() {
        let path = [array, &[Step::Index(index)]].concat();
        let without = tree::without_elements_renumbered(case, array, &BTreeSet::from([index]));
        add(in_full(case, &path), &without, found);
    }
}

fn add(lacks: String, case: &Table, found: &mut Vec<Candidate>) {
    // What cannot be written cannot be tried.
    if let Ok(case) = toml::to_string(case) {
        found.push(Candidate { lacks, case, last_resort: false });
    }
}

fn key(name: &str) -> Step {
    Step::Key(name.into())
}

/// A place, and what is there.
fn in_full(case: &Table, path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => key.clone(),
        Step::Index(index) => index.to_string(),
    });
    let place = steps.collect::<Vec<_>>().join(".");
    match tree::at(case, path).map(in_words) {
        Some(value) if !value.is_empty() => format!("{place} ({value})"),
        _ => place,
    }
}

/// A value in a few words: `on share, server 0, damage: kind flip`.
fn in_words(value: &Value) -> String {
    let words = match value {
        Value::Table(table) => {
            // What it is comes first, what has parts comes last.
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, value)| (value.is_table(), !matches!(key.as_str(), "on" | "kind")));
            let entry = |(key, value): (&String, &Value)| match value {
                Value::Table(_) => format!("{key}: {}", in_words(value)),
                value => format!("{key} {}", in_words(value)),
            };
            entries.into_iter().map(entry).collect::<Vec<_>>().join(", ")
        }
        Value::Array(array) => format!("[{}]", array.iter().map(in_words).collect::<Vec<_>>().join("; ")),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    match words.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_taken_away_once() {
        let case: Table = toml::from_str(
            r#"
            relapses = ["planted-B1"]
            workload = { rounds = 2, reader = [{ node = 0, read = [{ offset = 5 }] }] }
            fault = [{ on = "share", damage = { kind = "flip", at = 0 } }, { on = "call" }]
            schedule = { kind = "replay", departures = [{ run = "a" }, { run = "b" }] }
            "#,
        )
        .unwrap();
        let candidates = without_one(&case);
        let lacking: Vec<_> = candidates.iter().map(|candidate| candidate.lacks.as_str()).collect();
        assert_eq!(
            lacking,
            [
                "fault.1 (on call)",
                "fault.0 (on share, damage: kind flip, at 0)",
                "schedule.departures.1 (run b)",
                "schedule.departures.0 (run a)",
                "all of the 2 departures from FIFO",
                "workload.reader.0.node (0)",
                "workload.reader.0.read.0.offset (5)",
                "workload.reader.0.read.0 (offset 5)",
                "workload.reader.0 (node 0, read [offset 5])",
                "relapses.0 (planted-B1)",
            ]
        );
        let without: Table = toml::from_str(&candidates[1].case).unwrap();
        assert_eq!(without["fault"], case["fault"].as_array().unwrap()[1..].to_vec().into());
        assert!(candidates.iter().all(|candidate| toml::from_str::<Table>(&candidate.case).unwrap() != case));
        let last: Vec<_> =
            candidates.iter().filter(|it| it.last_resort).map(|it| it.lacks.as_str()).collect();
        assert_eq!(last, ["relapses.0 (planted-B1)"]);
    }
}
