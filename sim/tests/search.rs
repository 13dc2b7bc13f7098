//! The commands that leave nothing out, `cancel` and `exhaust`, from outside.
//!
//! The program is `examples/twofold.rs`, which `cargo test` builds. When only this test is asked for, build it
//! first: `cargo build -p seedgrid --example twofold`.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/twofold");
    assert!(program.exists(), "build it first: cargo build -p seedgrid --example twofold");
    program
}

fn command(folder: &TempDir, line: &str) -> Command {
    let mut command = Command::new(program());
    command.args(line.split(' ')).current_dir(folder.path());
    command
}

/// A command's status and its summary.
fn summary(folder: &TempDir, line: &str) -> (Option<i32>, Value) {
    let done = command(folder, &format!("{line} --json")).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let last =
        text.lines().last().unwrap_or_else(|| panic!("{line}: {}", String::from_utf8_lossy(&done.stderr)));
    (done.status.code(), serde_json::from_str(last).unwrap())
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("no number {name}: {summary}"))
}

#[test]
fn what_takes_two_deviations_is_found_with_two_and_not_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let (status, one) = summary(&folder, "exhaust twofold --deviations 1");
    assert_eq!((status, &one["complete"], number(&one, "findings")), (Some(0), &true.into(), 0));

    let (status, two) = summary(&folder, "exhaust twofold --deviations 2");
    assert_eq!((status, &two["complete"]), (Some(1), &true.into()));
    assert!(number(&two, "findings") > 0);
    let saved = two["saved"][0].as_str().unwrap();
    let case: toml::Table = toml::from_str(&fs::read_to_string(folder.path().join(saved)).unwrap()).unwrap();
    assert_eq!((case["fault"].as_array().unwrap().len(), case["cancel"].as_array().unwrap().len()), (1, 1));
    let (status, told) = summary(&folder, &format!("replay {saved}"));
    assert_eq!((status, &told["verdict"], &told["oracle"]), (Some(1), &"violated".into(), &"token".into()));
}

#[test]
fn what_is_left_out_is_counted_and_costs_no_kind_of_finding() {
    let folder = tempfile::tempdir().unwrap();
    let (_, all) = summary(&folder, "exhaust twofold --deviations 2 --no-prune");
    let (_, some) = summary(&folder, "exhaust twofold --deviations 2");
    assert_eq!(number(&all, "pruned"), 0);
    assert!(number(&some, "pruned") > 0, "{some}");
    assert_eq!(number(&some, "runs") + number(&some, "pruned"), number(&all, "runs"));
    assert_eq!(some["saved"].as_array().unwrap().len(), all["saved"].as_array().unwrap().len());
}

#[test]
fn a_search_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let line = "exhaust twofold --deviations 3";
    let (_, whole) = summary(&folder, line);

    let kept = folder.path().join("kept");
    let mut child = command(&folder, &format!("{line} --state kept")).stdout(Stdio::null()).spawn().unwrap();
    while !kept.exists() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status().unwrap();
    child.wait().unwrap();
    let (status, rest) = summary(&folder, &format!("{line} --state kept"));
    assert_eq!(status, Some(1));
    for name in ["runs", "pruned", "findings", "extended"] {
        assert_eq!(rest[name], whole[name], "{name}");
    }

    let other = command(&folder, "exhaust twofold --deviations 2 --state kept").output().unwrap();
    assert_eq!(other.status.code(), Some(2));
    let complaint = String::from_utf8(other.stderr).unwrap();
    assert!(complaint.contains("kept keeps another search"), "{complaint}");
}

#[test]
fn every_cancel_point_of_a_case_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (status, healthy) = summary(&folder, "cancel twofold --pairs 20");
    assert_eq!((status, number(&healthy, "findings")), (Some(0), 0));
    assert_eq!(number(&healthy, "operations"), 2);
    assert_eq!(healthy["points"], healthy["taken"]);
    assert!(number(&healthy, "points") >= 12 && number(&healthy, "pairs") == 20, "{healthy}");

    // With the message lost, each cancellation of the first user's work loses the token.
    let case = "scenario = 'twofold'\nseed = 0\n[workload]\n\
        [[fault]]\non = 'point'\nat = 'message.0'\nnth = 1\neffect = 'lose'\n";
    fs::write(folder.path().join("lossy.toml"), case).unwrap();
    let (status, lossy) = summary(&folder, "cancel --case lossy.toml --pairs 0");
    assert_eq!(status, Some(1));
    assert_eq!(lossy["points"], lossy["taken"]);
    let found = number(&lossy, "findings");
    assert!(found > 0 && found < number(&lossy, "points"), "{lossy}");
    let (status, told) = summary(&folder, &format!("replay {}", lossy["saved"][0].as_str().unwrap()));
    assert_eq!((status, &told["oracle"]), (Some(1), &"token".into()));
}

#[test]
fn a_case_that_fails_anyway_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let case = "scenario = 'twofold'\nseed = 0\n[workload]\n\
        [[fault]]\non = 'point'\nat = 'message.0'\nnth = 1\neffect = 'lose'\n\
        [[cancel]]\noperation = 'user.0/work.0'\nby = 'drop'\n";
    fs::write(folder.path().join("failing.toml"), case).unwrap();
    let (status, cancelled) = summary(&folder, "cancel --case failing.toml");
    assert_eq!((status, number(&cancelled, "findings"), number(&cancelled, "points")), (Some(1), 1, 0));
    let done = command(&folder, "exhaust failing.toml").output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let complaint = String::from_utf8(done.stderr).unwrap();
    assert!(complaint.contains("is violated before anything deviates"), "{complaint}");
}
