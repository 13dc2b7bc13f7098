//! The command line, from outside: what it prints, where it ends, and that nothing a run does can hurt it.
//!
//! The program is `examples/planted.rs`, which `cargo test` builds. When only this test is asked for, build it
//! first: `cargo build -p seedgrid --example planted`.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod bench;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use bench::{Bench, assert_input_error};
use serde_json::Value;

/// Patience for runs that never end. Those that do end need a fraction of it.
const PATIENCE: &str = "1s";

#[test]
fn scenarios_are_listed() {
    let bench = Bench::new();
    let done = bench.run("scenarios");
    assert_eq!(done.status, Some(0));
    insta::assert_snapshot!(done.stdout, @r"
    steady      workers that sleep; passes
    mistaken    an oracle finds one seed in three; passes else
    sleepy      waits for a bell that nobody rings
    careless    panics in a task
    endless     seed 3 loops without a runtime call
    bottomless  seed 3 overflows its stack
    abrupt      seed 3 aborts the process
    moody       differs from run to run
    talkative   prints to stdout and stderr; passes
    ");
    let (status, lines) = bench.json("scenarios");
    assert_eq!((status, lines.len()), (Some(0), 9));
    assert_eq!(lines[0]["scenario"], "steady");
}

#[test]
fn a_run_prints_its_case_its_story_and_how_to_repeat_it() {
    let bench = Bench::new();
    let done = bench.run("run steady --seed 0 --trace --set schedule.kind=fifo --set workload.workers=2");
    assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(without_digest(&done.stdout), @r#"
    scenario = "steady"
    seed = 0

    [knobs]
    job_us = 0

    [schedule]
    kind = "fifo"

    [workload]
    rounds = 2
    workers = 2

    #      0.000 ms  worker.0                 tick index=0 round=0
    #      0.000 ms  worker.1                 tick index=1 round=0
    #      1.000 ms  worker.0                 tick index=0 round=1
    #      1.000 ms  worker.1                 tick index=1 round=1
    #
    # pass
    # digest -, 6 steps, 1ms simulated
    # cargo run --release -- run steady --seed 0 --set schedule.kind=fifo --set workload.workers=2
    "#);
}

#[test]
fn a_hung_run_shows_who_waits_for_what() {
    let done = Bench::new().run("run sleepy --seed 0 --schedule fifo");
    assert_eq!(done.status, Some(1));
    insta::assert_snapshot!(without_digest(&done.stdout), @r#"
    scenario = "sleepy"
    seed = 0

    [knobs]
    job_us = 0

    [schedule]
    kind = "fifo"

    [workload]
    rounds = 4
    workers = 3

    # driver.0 has waited 0ns for the bell tower=1
    #   held by nobody: a lost wake-up, or work that was not begun
    # hung: nothing is ready and no timer is set; driver.0 waits for the bell tower=1, held by nobody
    # digest -, 1 steps, 0ns simulated
    # cargo run --release -- run sleepy --seed 0 --schedule fifo
    "#);
}

/// The text without the one number in it that says nothing to a person.
fn without_digest(text: &str) -> String {
    match text.split_once("digest ") {
        Some((before, after)) => format!("{before}digest -{}", &after[16..]),
        None => text.into(),
    }
}

#[test]
fn the_output_of_a_run_is_a_case_file() {
    let bench = Bench::new();
    let done = bench.run("run mistaken --seed 9 --relapse planted-B1");
    bench.write("case.toml", &done.stdout);
    let digest = done.stdout.lines().find(|line| line.starts_with("# digest")).unwrap().to_string();
    let again = bench.run("replay case.toml");
    assert_eq!(again.status, Some(1));
    assert!(
        again.stdout.contains(&digest) && again.stdout.contains("relapses = [\"planted-B1\"]"),
        "{}",
        again.stdout
    );
    assert!(again.stdout.ends_with("# cargo run --release -- replay case.toml\n"), "{}", again.stdout);
}

#[test]
fn a_run_in_json_is_one_object() {
    let bench = Bench::new();
    let (status, lines) = bench.json("run steady --seed 5 --trace");
    assert_eq!((status, lines.len()), (Some(0), 1));
    assert_eq!(
        keys(&lines[0]),
        ["case", "digest", "scenario", "seed", "sim_ns", "steps", "story", "verdict"]
    );
    assert_eq!(lines[0]["digest"].as_str().unwrap().len(), 16);
    assert!(!lines[0]["story"].as_array().unwrap().is_empty());

    let (status, lines) = bench.json("run sleepy --seed 5");
    assert_eq!(status, Some(1));
    assert_eq!(
        keys(&lines[0]),
        [
            "case", "detail", "digest", "ends", "oracle", "replay", "scenario", "seed", "sim_ns", "steps",
            "verdict", "waits"
        ]
    );
    assert!(
        lines[0]["detail"].as_str().unwrap().ends_with("driver.0 waits for the bell tower=1, held by nobody")
    );
}

#[test]
fn the_replay_command_of_a_run_repeats_its_edits() {
    let (_, lines) =
        Bench::new().json("run mistaken --seed 3 --relapse planted-B1 --set workload={rounds=1,workers=2}");
    let replay = "cargo run --release -- run mistaken --seed 3 --relapse planted-B1 --set 'workload={rounds=1,workers=2}'";
    assert_eq!(lines[0]["replay"], replay);
    assert!(lines[0]["case"].as_str().unwrap().contains("workers = 2"));
    assert_eq!(lines[0].get("waits"), None, "a wait graph belongs to a hang");
}

#[test]
fn the_replay_command_of_a_finding_repeats_its_schedule() {
    let bench = Bench::new();
    for kind in ["fifo", "uniform", "bounded", "pct", "pctcp", "urw"] {
        let (_, lines) = bench.json(&format!("sweep mistaken --seeds 3..7 --schedule {kind}"));
        let finding = &lines[1];
        let replay = finding["replay"].as_str().unwrap();
        assert_eq!(replay, format!("cargo run --release -- run mistaken --seed 6 --schedule {kind}"));
        let (_, again) = bench.json(replay.strip_prefix("cargo run --release -- ").unwrap());
        assert_eq!((&again[0]["digest"], &again[0]["replay"]), (&finding["digest"], &finding["replay"]));
        assert!(again[0]["case"].as_str().unwrap().contains(&format!("kind = \"{kind}\"")));
    }
}

#[test]
fn a_sweep_counts_and_saves_the_first_of_each_kind() {
    let bench = Bench::new();
    let (status, lines) = bench.json("sweep steady mistaken sleepy careless --seeds 10..20");
    assert_eq!(status, Some(1));
    let (summary, findings) = lines.split_last().unwrap();
    for (key, value) in [("runs", 40), ("passed", 17), ("findings", 23)] {
        assert_eq!(summary[key], value, "{key}");
    }
    assert_eq!(summary["unreached"], serde_json::json!(["planted: the bell rang"]));
    assert!(summary["seconds"].is_f64() && summary["jobs"].is_u64() && summary["interrupted"] == false);
    assert_eq!(findings.len(), 23);
    let order: Vec<_> =
        findings.iter().map(|it| (it["scenario"].as_str().unwrap(), it["seed"].as_u64().unwrap())).collect();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(findings[0]["verdict"], "panicked");
    assert!(
        findings[0]["detail"]
            .as_str()
            .unwrap()
            .starts_with("careless.7: planted panic (sim/examples/planted.rs:")
    );
    let sleepy = findings.last().unwrap();
    assert!(sleepy["detail"].as_str().unwrap().ends_with("the bell tower=1, held by nobody"), "{sleepy}");
    let mistaken = findings.iter().find(|it| it["scenario"] == "mistaken").unwrap();
    assert_eq!((&mistaken["oracle"], &mistaken["seed"]), (&"planted".into(), &12.into()));
    assert_eq!(mistaken["replay"], "cargo run --release -- run mistaken --seed 12");
    assert_eq!(
        bench.saved(),
        ["careless-10-panicked.toml", "mistaken-12-violated.toml", "sleepy-10-hung.toml"]
    );
    assert_eq!(bench.run("replay findings/mistaken-12-violated.toml").status, Some(1));
}

#[test]
fn a_sweep_for_people_names_what_matters() {
    let done = Bench::new().run("sweep steady mistaken --seeds 0..12");
    assert_eq!(done.status, Some(1));
    let told = &done.stdout;
    assert!(
        told.contains("mistaken seed 0: violated (planted): three divides the seed\n    cargo run"),
        "{told}"
    );
    assert!(told.contains("    and 1 more violated like this"), "{told}");
    assert!(told.contains("24 runs: 20 passed, 4 findings; "), "{told}");
    assert_eq!(told.matches("saved as").count(), 1, "{told}");
}

#[test]
fn what_exists_is_never_overwritten() {
    let bench = Bench::new();
    let seeds = "sweep mistaken --seeds 3..4";
    assert_eq!(bench.run(&format!("{seeds} --out lines.json")).status, Some(1));
    let lines = fs::read_to_string(bench.folder.path().join("lines.json")).unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert_input_error(&bench.run(&format!("{seeds} --out lines.json")), "lines.json exists already");

    bench.write("findings/mistaken-3-violated.toml", "mine");
    bench.run(seeds);
    bench.run(seeds);
    assert_eq!(bench.saved(), ["mistaken-3-violated-2.toml", "mistaken-3-violated.toml"]);
    assert_eq!(
        fs::read_to_string(bench.folder.path().join("findings/mistaken-3-violated.toml")).unwrap(),
        "mine"
    );
    assert_input_error(&bench.run("audit --seeds 9 --emit lines.json"), "lines.json exists already");
}

#[test]
fn digests_are_the_same_with_one_job_with_two_and_alone() {
    let bench = Bench::new();
    let digests = |jobs: u32| -> BTreeMap<u64, String> {
        let (_, lines) = bench.json(&format!("sweep mistaken --seeds 0..300 --each --jobs {jobs}"));
        assert_eq!(lines.len(), 301);
        let runs = lines[..300].iter();
        runs.map(|run| (run["seed"].as_u64().unwrap(), run["digest"].as_str().unwrap().into())).collect()
    };
    let one = digests(1);
    assert_eq!(one, digests(2));
    for seed in [0, 1, 151, 299] {
        let (_, lines) = bench.json(&format!("run mistaken --seed {seed}"));
        assert_eq!(lines[0]["digest"], one[&seed].as_str());
    }
    let (_, other) = bench.json("sweep mistaken --seeds 1..2 --each --schedule fifo");
    let (_, alone) = bench.json("run mistaken --seed 1 --set schedule.kind=fifo");
    assert_eq!(other[0]["digest"], alone[0]["digest"]);
}

#[test]
fn an_endless_loop_is_stuck_and_its_case_is_saved() {
    let bench = Bench::new();
    let line = format!("sweep endless steady --seeds 0..30 --patience {PATIENCE}");
    assert_stuck(&bench, &line, "endless", "no progress");
    let done = bench.run(&format!("replay findings/endless-3-stuck.toml --patience {PATIENCE}"));
    assert_eq!(done.status, Some(1));
    assert!(done.stdout.contains("# stuck: no progress"), "{}", done.stdout);
}

#[test]
fn a_stack_overflow_is_stuck_and_its_case_is_saved() {
    assert_stuck(
        &Bench::new(),
        "sweep bottomless steady --seeds 0..30",
        "bottomless",
        "thread '<unknown>' has overflowed its stack",
    );
}

#[test]
fn an_abort_is_stuck_and_its_case_is_saved() {
    let bench = Bench::new();
    assert_stuck(&bench, "sweep abrupt steady --seeds 0..30", "abrupt", "SIGABRT");
    let (status, lines) = bench.json("run abrupt --seed 3");
    assert_eq!((status, &lines[0]["verdict"]), (Some(1), &"stuck".into()));
    assert_eq!((&lines[0]["scenario"], &lines[0]["seed"]), (&"abrupt".into(), &3.into()));
}

fn assert_stuck(bench: &Bench, sweep: &str, scenario: &str, detail: &str) {
    let (status, lines) = bench.json(sweep);
    assert_eq!((status, lines.len()), (Some(1), 2), "{lines:?}");
    assert_eq!((&lines[0]["verdict"], &lines[0]["seed"]), (&"stuck".into(), &3.into()));
    assert!(lines[0]["detail"].as_str().unwrap().contains(detail), "{}", lines[0]);
    assert_eq!((&lines[1]["runs"], &lines[1]["passed"]), (&60.into(), &59.into()));
    assert_eq!(bench.saved(), [format!("{scenario}-3-stuck.toml")]);
}

#[test]
fn a_finding_that_differs_when_it_is_repeated_is_nondeterministic() {
    let (status, lines) = Bench::new().json("run moody --seed 1");
    assert_eq!((status, &lines[0]["verdict"]), (Some(1), &"nondeterministic".into()));
    let detail = lines[0]["detail"].as_str().unwrap();
    let first = "first difference at step 1, driver.0: in one run `not again run=1` at 0.000000 ms \
                 (sim/examples/planted.rs:";
    assert!(detail.contains(first) && detail.contains("; in the next `not again run=2` at"), "{detail}");
}

#[test]
fn what_scenarios_print_does_not_get_in_the_way() {
    let bench = Bench::new();
    let (status, lines) = bench.json("sweep talkative --seeds 0..50");
    assert_eq!((status, lines.len()), (Some(0), 1));
    let done = bench.run("run talkative --seed 4");
    assert_eq!(done.stderr, "on stdout: seed 4\non stderr: seed 4\n");
    assert!(!done.stdout.contains("on stdout"));
}

#[test]
fn bugs_are_found_or_not() {
    let bench = Bench::new();
    let (status, lines) = bench.json("bugs planted-B1 --quick --budget 600 --jobs 3 --patience 1s");
    assert_eq!((status, lines.len()), (Some(0), 2));
    let bug = &lines[0];
    assert_eq!((&bug["bug"], &bug["found"], &bug["hits"]), (&"planted-B1".into(), &true.into(), &20.into()));
    assert_eq!(
        bug["verdicts"],
        serde_json::json!([["violated (planted)", 20]]),
        "what fails without the bug is no hit"
    );
    assert_eq!(bug["replay"], "cargo run --release -- run steady --seed 3 --relapse planted-B1");
    assert_eq!(bug["runs_to_first"], 28);
    assert_eq!(bench.run("run steady --seed 3 --relapse planted-B1").status, Some(1));
    let (_, again) = bench.json("bugs planted-B1 --quick --budget 600 --jobs 1 --patience 1s");
    assert_eq!(&again[0], bug, "the number of jobs is no matter");

    let (status, lines) = bench.json("bugs planted-B2 --budget 90");
    assert_eq!((status, &lines[0]["found"], &lines[0]["runs"]), (Some(1), &false.into(), &90.into()));
    assert!(bench.run("bugs planted-B2 --budget 90").stdout.contains("NOT FOUND"));
}

#[test]
fn a_hunt_uses_its_whole_budget_and_says_how_sure_it_is() {
    let bench = Bench::new();
    let (status, lines) = bench.json("bugs planted-B1 --budget 270 --patience 1s");
    let (bug, summary) = (&lines[0], &lines[1]);
    assert_eq!((status, &bug["runs"], &bug["hits"]), (Some(0), &270.into(), &11.into()));
    let near = |key: &str, value: f64| (bug[key].as_f64().unwrap() - value).abs() < 5e-4;
    assert!(near("rate", 0.0407) && near("wilson_low", 0.0229) && near("wilson_high", 0.0715), "{bug}");
    assert_eq!(
        bug["runs_median"], 35,
        "every fourth seed of steady, and most of these of mistaken: 9 scenarios a seed"
    );
    let under: Vec<(String, u64)> = serde_json::from_value(bug["schedules"].clone()).unwrap();
    assert_eq!(under.iter().map(|(_, times)| times).sum::<u64>(), 11, "{under:?}");
    assert_eq!((&bug["as_declared"], &bug["shrunk"]["steps"]), (&true.into(), &1.into()));
    assert_eq!((&summary["bugs"], &summary["found"], &summary["part"]), (&1.into(), &1.into(), &Value::Null));
}

#[test]
fn a_find_that_is_not_as_declared_fails_the_hunt() {
    let bench = Bench::new();
    let (status, lines) = bench.json("bugs planted-B3 --budget 144 --patience 1s");
    let bug = &lines[0];
    assert_eq!((status, &bug["found"], &bug["as_declared"]), (Some(1), &true.into(), &false.into()));
    assert_eq!(bug["signs"], serde_json::json!(["hung: waiting for the bell, held by nobody"]));
    for stray in bug["not_as_declared"].as_array().unwrap() {
        assert_eq!(
            (&stray["oracle"], stray["seed"].as_u64().unwrap() % 8),
            (&"planted".into(), 7),
            "{stray}"
        );
    }
    assert_eq!(lines[1]["not_as_declared"], 1);
    let told = bench.run("bugs planted-B3 --budget 144 --patience 1s").stdout;
    assert!(told.contains("FOUND, BUT NOT AS DECLARED, 3 times; declared: hung: waiting for"), "{told}");
    // Seed 3 alone hangs, as declared.
    let (status, lines) = bench.json("bugs planted-B3 --budget 36 --patience 1s");
    assert_eq!((status, &lines[0]["as_declared"]), (Some(0), &true.into()));
}

#[test]
fn parts_of_the_catalogue_cover_it_once() {
    let bench = Bench::new();
    let mut hunted = Vec::new();
    for part in 0..2 {
        let (_, lines) = bench.json(&format!("bugs --part {part}/2 --quick --budget 9"));
        let (summary, bugs) = lines.split_last().unwrap();
        assert_eq!(summary["part"], serde_json::json!([part, 2]));
        hunted.extend(bugs.iter().map(|bug| bug["bug"].as_str().unwrap().to_string()));
    }
    assert_eq!(hunted, ["planted-B1", "planted-B3", "planted-B2"]);
    assert!(bench.run("bugs --part 1/2 --budget 9").stdout.starts_with("part 1 of 0..2: planted-B2\n"));
}

#[test]
fn a_sweep_counts_what_went_wrong_and_names_what_never_did() {
    let bench = Bench::new();
    let (status, lines) = bench.json("sweep steady --seeds 0..20 --jobs 2");
    assert_eq!(status, Some(0));
    let summary = lines.last().unwrap();
    assert_eq!(summary["without_effect"], serde_json::json!(["nobody-comes"]));
    let times = summary["effects"]["third-round"].as_u64().unwrap();
    assert!(times > 0, "{summary}");
    let of = |seeds: &str| {
        let (_, lines) = bench.json(&format!("sweep steady --seeds {seeds} --jobs 1"));
        lines.last().unwrap()["effects"]["third-round"].as_u64().unwrap()
    };
    assert_eq!((of("0..20"), of("0..10") + of("10..20")), (times, times), "the sum over all runs");
    let told = bench.run("sweep steady --seeds 0..20").stdout;
    let lines = format!("took effect: third-round {times}\nnever took effect: nobody-comes\n");
    assert!(told.contains(&lines), "{told}");
}

#[test]
fn a_mark_that_no_run_reaches_fails_a_sweep_that_asks_for_all() {
    let bench = Bench::new();
    assert_eq!(bench.run("sweep steady --seeds 0..9").status, Some(0));
    let done = bench.run("sweep steady --seeds 0..9 --fail-on-unreached");
    assert_eq!(done.status, Some(1));
    assert!(done.stdout.contains("never reached: planted: the bell rang\n"), "{}", done.stdout);
    assert!(done.stdout.contains("FAILED: 1 coverage mark reached by no run\n"), "{}", done.stdout);
}

#[test]
fn bad_input_is_told_in_one_line() {
    let bench = Bench::new();
    let case = bench.run("run steady --seed 1").stdout;
    bench.write("no.toml", "scenario = \n");
    bench.write("other.toml", &case.replace("\"steady\"", "\"stedy\""));
    bench.write("unplayable.toml", &case.replace("workers", "wokers"));
    bench.write("extra.toml", &case.replace("seed = 1", "seed = 1\nsead = 2"));
    for (line, complaint) in [
        ("", "unrecognized subcommand ''"),
        ("swep", "unrecognized subcommand 'swep'"),
        ("sweep stedy", "there is no scenario `stedy`: there are steady, mistaken"),
        ("sweep --seeds 5..2", "the range is empty"),
        ("sweep --seeds x", "write A..B"),
        ("sweep --for soon", "as in 500ms, 60s"),
        ("sweep --jobs 0", "'--jobs <J>'"),
        ("sweep --schedule pst", "invalid value 'pst'"),
        ("sweep --relapse planted-B9", "no known bug `planted-B9`"),
        ("sweep --frobnicate", "unexpected argument '--frobnicate'"),
        ("run steady", "required arguments were not provided: --seed <SEED>"),
        ("run stedy --seed 1", "there is no scenario `stedy`"),
        ("run steady --seed=-1", "--seed"),
        ("run steady --seed 9223372036854775808", "9223372036854775808"),
        ("run steady --seed 1 --set knobs", "write path=value"),
        ("run steady --seed 1 --set knob.job_us=1", "the case has no `knob`"),
        ("run steady --seed 1 --set knobs.job=1", "unknown field `job`"),
        ("run steady --seed 1 --set workload.workers=many", "cannot play this workload"),
        ("run steady --seed 1 --relapse planted-B9", "no known bug `planted-B9`"),
        ("replay missing.toml", "cannot read missing.toml"),
        ("replay no.toml", "no.toml: not a case file: line 1"),
        ("replay other.toml", "other.toml: the case wants the scenario `stedy`"),
        ("replay unplayable.toml", "unplayable.toml: the scenario `steady` cannot play this workload"),
        ("replay extra.toml", "unknown field `sead`"),
        ("replay .", "cannot read ."),
        ("bugs planted-B9", "no known bug `planted-B9`: there are planted-B1"),
        ("bugs --budget 0", "--budget"),
        ("bugs --part 2/2", "write I/N with I below N"),
        ("audit --seeds 0", "--seeds"),
        ("audit --compare missing", "cannot read missing"),
    ] {
        let done = bench.run(line);
        assert_input_error(&done, complaint);
    }
}

#[test]
fn help_is_no_error() {
    for line in ["--help", "sweep --help", "help run", "--version"] {
        let done = Bench::new().run(line);
        assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(!done.stdout.contains("worker"), "the command for workers is hidden: {}", done.stdout);
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let bench = Bench::new();
    let mut command = bench.command("sweep steady --seeds 0..20000 --each");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("steady seed 0: pass "), "{line}");
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(done.stderr).unwrap(), "");
    assert_eq!(done.status.code(), Some(141));
}

#[test]
fn an_interrupt_ends_a_sweep_with_what_it_has() {
    let bench = Bench::new();
    let mut command = bench.command("sweep steady --for 1h --each --json");
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    interrupt_after_first_line(child, |lines, status| {
        let summary: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        assert_eq!(status, Some(130));
        assert_eq!(summary["interrupted"], true);
        assert_eq!(summary["runs"], lines.len() - 1);
        assert_eq!(summary["passed"], summary["runs"]);
    });
}

fn interrupt_after_first_line(mut child: std::process::Child, check: impl Fn(&[String], Option<i32>)) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let pid = child.id().to_string();
    assert_cmd::Command::new("kill").args(["-INT", &pid]).assert().success();
    let told: Vec<String> = std::iter::once(first).chain(lines.map(Result::unwrap)).collect();
    check(&told, child.wait().unwrap().code());
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

const EXPLAINED: [&str; 5] = ["case.toml", "story.txt", "timeline.html", "trace.json", "waits.txt"];

impl Bench {
    /// A case file of what a seed draws.
    fn case_of(&self, line: &str) {
        let case = self.run(&format!("run {line}")).stdout;
        self.write("case.toml", &case);
    }

    fn explained(&self, folder: &str) -> BTreeMap<String, String> {
        let files = fs::read_dir(self.folder.path().join(folder)).unwrap();
        let named = files
            .map(|file| file.unwrap())
            .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()));
        named.collect()
    }
}

#[test]
fn a_hang_is_explained_by_who_waits_for_whom() {
    let bench = Bench::new();
    bench.case_of("sleepy --seed 0");
    let done = bench.run("explain case.toml");
    assert_eq!((done.status, done.stderr.as_str()), (Some(1), ""));
    insta::assert_snapshot!(done.stdout, @r"
    sleepy seed 0: 1 steps, 0ns simulated
          0.000 ms  driver.0  begins to wait for the bell (tower 1)
    hung: nothing is ready and no timer is set; driver.0 waits for the bell tower=1, held by nobody
    cause: driver.0 waits for the bell (tower 1), held by nobody, ever: a lost wake-up, or work that was not begun
    nearest passing run: none; each of 0 cases that lack one thing fails as well

    driver.0 has waited 0ns for the bell tower=1
      held by nobody: a lost wake-up, or work that was not begun

    explained/case/case.toml
    explained/case/story.txt
    explained/case/waits.txt
    explained/case/timeline.html
    explained/case/trace.json
    ");
    let files = bench.explained("explained/case");
    assert_eq!(files.keys().collect::<Vec<_>>(), EXPLAINED);
    assert!(done.stdout.starts_with(&files["story.txt"]));
    assert!(files["waits.txt"].contains("held by nobody"));
    // The case fails as the comment at its head says, and the command there repeats it.
    let head: Vec<_> = files["case.toml"].lines().take(3).collect();
    assert!(head[0].starts_with("# hung: ") && head[1].starts_with("# shrunk in "), "{head:?}");
    let again = bench.run(head[2].strip_prefix("# cargo run --release -- ").unwrap());
    assert_eq!(again.status, Some(1));
    assert!(again.stdout.contains("# hung: "), "{}", again.stdout);
}

#[test]
fn an_explanation_overwrites_nothing() {
    let bench = Bench::new();
    bench.case_of("sleepy --seed 0");
    bench.write("mine/story.txt", "mine");
    let done = bench.run("explain case.toml -o mine");
    assert!(done.stdout.contains("mine-2/story.txt"), "{}", done.stdout);
    assert_eq!(fs::read_to_string(bench.folder.path().join("mine/story.txt")).unwrap(), "mine");
    assert_eq!(bench.explained("mine-2").len(), EXPLAINED.len());
    bench.write("file", "mine");
    assert_input_error(&bench.run("explain case.toml -o file/below"), "cannot create file/below: ");
}

#[test]
fn a_case_that_passes_has_a_timeline_too() {
    let bench = Bench::new();
    bench.case_of("steady --seed 0 --set workload.workers=90 --set workload.rounds=40");
    let done = bench.run("explain case.toml -o out");
    assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""));
    let files = bench.explained("out");
    assert_eq!(files.keys().collect::<Vec<_>>(), EXPLAINED);
    let story = &files["story.txt"];
    assert!(story.ends_with("\npass: all held\n") && story.lines().count() <= 30, "{story}");
    let trace: Value = serde_json::from_str(&files["trace.json"]).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["ph"] == "i").count(), 90 * 40);
    assert!(files["timeline.html"].contains("tick index=89 round=39"));
}

#[test]
fn the_nearest_passing_run_lacks_one_thing() {
    let bench = Bench::new();
    bench.case_of("steady --seed 3 --relapse planted-B1");
    let done = bench.run("explain case.toml");
    assert_eq!(done.status, Some(1));
    let told = "nearest passing run: without relapses.0 (planted-B1); the same in all that either tells";
    assert!(done.stdout.contains(told), "{}", done.stdout);
    assert!(done.stdout.contains("steady seed 3, with planted-B1 put back: "), "{}", done.stdout);
}

#[test]
fn an_explanation_in_json_is_one_object() {
    let bench = Bench::new();
    bench.case_of("careless --seed 5");
    let (status, lines) = bench.json("explain case.toml");
    assert_eq!((status, lines.len()), (Some(1), 1));
    assert_eq!(
        keys(&lines[0]),
        [
            "detail", "digest", "files", "oracle", "replay", "scenario", "seed", "sim_ns", "steps", "story",
            "verdict"
        ]
    );
    assert_eq!(lines[0]["files"].as_array().unwrap().len(), EXPLAINED.len());
}

#[test]
fn a_case_that_kills_its_process_is_explained_as_far_as_that_goes() {
    for scenario in ["endless", "abrupt"] {
        let bench = Bench::new();
        bench.write(
            "case.toml",
            &format!("scenario = \"{scenario}\"\nseed = 3\nworkload = {{ workers = 1, rounds = 1 }}"),
        );
        let done = bench.run("explain case.toml --as-it-is --patience 500ms");
        assert_eq!((done.status, done.stderr.as_str()), (Some(1), ""));
        assert!(
            done.stdout.contains("stuck: ") && done.stdout.contains("took its process along"),
            "{}",
            done.stdout
        );
        assert_eq!(bench.explained("explained/case").len(), 2);
    }
}

#[test]
fn what_cannot_be_explained_is_an_input_error() {
    let bench = Bench::new();
    assert_input_error(&bench.run("explain missing.toml"), "cannot read missing.toml");
    bench.write("bad.toml", "scenario = 7");
    assert_input_error(&bench.run("explain bad.toml"), "bad.toml: not a case file");
    bench.write("strange.toml", "scenario = \"nothing\"\nseed = 1\nworkload = {}");
    assert_input_error(&bench.run("explain strange.toml"), "there is none of that name");
    assert!(!bench.folder.path().join("explained").exists(), "a folder for nothing");
}
