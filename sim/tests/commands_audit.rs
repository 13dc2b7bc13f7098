//! The audit on the command line: what differs is named, down to the event and its source line.
//!
//! The program is `examples/planted.rs`, as for the other commands.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod bench;

use std::fs;

use bench::{Bench, assert_input_error};
use serde_json::Value;

/// What an audit found, without the scenario that never is the same.
fn others_than_moody(lines: &[Value]) -> Vec<Value> {
    let findings = lines[..lines.len() - 1].iter();
    findings.filter(|line| line["scenario"] != "moody").cloned().collect()
}

/// The file of digests that an audit of each scenario's first two seeds emits.
fn emitted(bench: &Bench) -> String {
    assert_eq!(bench.json("audit --seeds 18 --emit digests").0, Some(1));
    fs::read_to_string(bench.folder.path().join("digests")).unwrap()
}

/// The file with the line of `run` changed.
fn with_line(file: &str, run: &str, change: impl Fn(&str) -> String) -> String {
    let lines = file.lines().map(|line| if line.starts_with(run) { change(line) } else { line.into() });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn an_audit_names_the_first_event_that_differs_between_processes() {
    let (status, lines) = Bench::new().json("audit --seeds 18");
    assert_eq!((status, others_than_moody(&lines)), (Some(1), Vec::new()));
    let swept = lines
        .iter()
        .find(|line| line["seed"] == 1 && line["detail"].as_str().unwrap().contains("1 job"))
        .unwrap();
    assert_eq!((&swept["scenario"], &swept["verdict"]), (&"moody".into(), &"nondeterministic".into()));
    // Alone it is always the first of its process; in the sweep the run of seed 0 came before.
    let first = &lines.iter().find(|line| line["seed"] == 1 && !line["first"].is_null());
    let detail = swept["detail"].as_str().unwrap();
    let named = first.map(|line| line["detail"].as_str().unwrap()).unwrap_or(detail);
    assert!(
        named.contains(
            "first difference at step 1, driver.0: alone in a fresh process `not again run=0` at 0.000000 ms \
             (sim/examples/planted.rs:"
        ) && named.contains("in a sweep with 1 job `not again run=1` at"),
        "{named}"
    );
    let summary = lines.last().unwrap();
    assert_eq!((&summary["runs"], &summary["compared"]), (&18.into(), &false.into()));
    let people = Bench::new().run("audit --seeds 18").stdout;
    assert!(people.contains("`not again run=0` at"), "{people}");
}

#[test]
fn a_difference_between_builds_is_named_by_step_task_event_and_line() {
    let bench = Bench::new();
    let emitted = emitted(&bench);
    assert_eq!(emitted.lines().count(), 19);
    let (_, lines) = bench.json("audit --compare digests");
    assert_eq!((others_than_moody(&lines), &lines.last().unwrap()["compared"]), (Vec::new(), &true.into()));

    // Another digest after step 2, and so another of the whole.
    let other = |line: &str| {
        let (run, steps) = line.rsplit_once(' ').unwrap();
        format!("{} 0000000000000000 {}0000{}", run.rsplit_once(' ').unwrap().0, &steps[..8], &steps[12..])
    };
    bench.write("other", &with_line(&emitted, "steady 1 ", other));
    let (status, lines) = bench.json("audit --compare other");
    let difference = &others_than_moody(&lines)[0];
    assert_eq!(
        (status, &difference["scenario"], &difference["seed"]),
        (Some(1), &"steady".into(), &1.into())
    );
    let detail = difference["detail"].as_str().unwrap();
    assert!(detail.contains(", 0000000000000000 in other; first difference at step 2, worker."), "{detail}");
    assert!(detail.contains("alone in a fresh process `tick index="), "{detail}");
    let here = &difference["first"]["here"];
    let tick = here.as_array().unwrap().last().unwrap();
    assert_eq!((&tick["step"], &difference["first"]["step"]), (&2.into(), &2.into()), "{here}");
    assert!(tick["task"].as_str().unwrap().starts_with("worker."), "{here}");
    assert!(tick["source"].as_str().unwrap().starts_with("sim/examples/planted.rs:"), "{here}");

    // The other build's run ended after step 2.
    let short = |line: &str| {
        let (run, steps) = line.rsplit_once(' ').unwrap();
        format!("{} 0000000000000000 {}", run.rsplit_once(' ').unwrap().0, &steps[..12])
    };
    bench.write("short", &with_line(&emitted, "steady 1 ", short));
    let (_, lines) = bench.json("audit --compare short");
    let detail = others_than_moody(&lines)[0]["detail"].as_str().unwrap().to_string();
    assert!(detail.ends_with("; in short it ended after step 2"), "{detail}");
}

#[test]
fn a_file_that_cannot_be_compared_with_is_refused_in_one_line() {
    let bench = Bench::new();
    let emitted = emitted(&bench);
    bench.write("fewer", &emitted.lines().take(2).map(|line| format!("{line}\n")).collect::<String>());
    assert_input_error(&bench.run("audit --compare fewer --seeds 2"), "has no digest of");
    assert_input_error(&bench.run("audit --compare digests --seeds 9"), "digests has digests of 18 runs");
    bench.write("bad", &with_line(&emitted, "steady 1 ", |line| line.replace(' ', "  ")));
    let line = 1 + emitted.lines().position(|line| line.starts_with("steady 1 ")).unwrap();
    assert_input_error(
        &bench.run("audit --compare bad"),
        &format!("bad: line {line}: not `scenario seed digest steps`"),
    );
    bench.write("older", "steady 1 0123456789abcdef\n");
    assert_input_error(&bench.run("audit --compare older"), "older: line 1: not `seedgrid digests 1`");
    assert_input_error(&bench.run("audit --emit digests"), "digests exists already");
}

#[test]
fn every_planted_culprit_is_caught_refused_or_harmless_as_declared() {
    let (status, lines) = Bench::new().json("audit --planted");
    let (summary, culprits) = lines.split_last().unwrap();
    let told: Vec<_> = culprits
        .iter()
        .map(|line| {
            assert_eq!((&line["explained"], &line["seen"]), (&true.into(), &line["expected"]), "{line}");
            (line["culprit"].as_str().unwrap(), line["seen"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("wall-clock", "harmless"),
            ("raw-clock", "caught"),
            ("hash-map", "harmless"),
            ("unbiased-select", "caught"),
            ("watch-channel", "caught"),
            ("static-counter", "caught"),
            ("rand-0.8", "caught"),
            ("thread", "refused"),
            ("stray-spawn", "refused"),
            ("early-end", "caught"),
        ]
    );
    assert_eq!((status, &summary["unexplained"]), (Some(0), &0.into()));
    let evidence =
        |name: &str| culprits.iter().find(|it| it["culprit"] == name).unwrap()["evidence"].as_str().unwrap();
    let select = evidence("unbiased-select");
    assert!(
        select.contains("step 1, driver.0") && select.contains("(sim/src/explore/planted/culprits.rs:"),
        "{select}"
    );

    let people = Bench::new().run("audit --planted").stdout;
    assert!(
        people.contains("thread           refused\n") && people.ends_with("10 culprits: none unexplained\n"),
        "{people}"
    );
    assert!(!Bench::new().run("scenarios").stdout.contains("planted:"), "no scenario of a sweep");
    assert_input_error(&Bench::new().run("sweep planted:thread"), "there is no scenario `planted:thread`");
    assert_input_error(&Bench::new().run("audit --planted --emit digests"), "cannot be used with");
}
