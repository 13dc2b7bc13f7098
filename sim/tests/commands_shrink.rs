//! `shrink` and `corpus` from outside: what they print and write, where they end, and that a case that takes its worker
//! along does not end them.
//!
//! The programs are `examples/knotted.rs` and `examples/planted.rs`, which `cargo test` builds; see `commands.rs`.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

/// Fails by the faults 3 and 7, and readers that come in the wrong order.
const KNOT: &str = r#"
# A knot of twenty faults.
scenario = "knot"
seed = 9
[schedule]
kind = "replay"
departures = [
    { instead_of = "reader.0#0", run = "reader.2" },
    { instead_of = "reader.0#0", run = "reader.3" },
    { instead_of = "reader.4#1", run = "reader.0" },
]
[workload]
reader = [{}, { ms = 40 }, { ms = 1 }, { ms = 7 }, {}]
"#;

struct Bench {
    program: &'static str,
    folder: TempDir,
}

impl Bench {
    fn of(program: &'static str) -> Bench {
        Bench { program, folder: tempfile::tempdir().unwrap() }
    }

    /// The status, stdout and stderr of a command.
    fn run(&self, line: &str) -> (Option<i32>, String, String) {
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("examples").join(self.program);
        let missing = "build it first: cargo build -p seedgrid --examples";
        assert!(program.exists(), "{}: {missing}", program.display());
        let mut command = assert_cmd::Command::new(program);
        let output = command.args(line.split(' ')).current_dir(self.folder.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, line: &str) -> (Option<i32>, Vec<Value>) {
        let (status, stdout, stderr) = self.run(&format!("{line} --json"));
        assert_eq!(stderr, "", "{line}");
        (status, stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// What has become of each case in the folder `kept`, and the status.
    fn standings(&self) -> (Option<i32>, Vec<(String, String)>) {
        let (status, lines) = self.json("corpus kept");
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_string();
        let cases = &lines[..lines.len() - 1];
        (status, cases.iter().map(|line| (text(line, "case"), text(line, "standing"))).collect())
    }
}

fn knot() -> String {
    let fault = |number: u32| {
        format!("[[fault]]\non = \"point\"\nat = \"knot.{number}\"\nnth = 1\neffect = \"tie\"\n")
    };
    KNOT.to_string() + &(0..20).map(fault).collect::<String>()
}

#[test]
fn a_case_shrinks_to_what_its_failure_needs_with_any_number_of_workers() {
    let bench = Bench::of("knotted");
    bench.write("case.toml", &knot());
    let (status, lines) = bench.json("shrink case.toml --jobs 1");
    let one = &lines[0];
    assert_eq!((status, lines.len(), &one["minimal"]), (Some(0), 1, &true.into()));
    insta::assert_snapshot!(one["case"].as_str().unwrap(), @r#"
    scenario = "knot"
    seed = 0

    [schedule]
    kind = "replay"
    departures = [
      { instead_of = "reader.0#0", run = "reader.1" },
    ]

    [workload]
    reader = [
      { ms = 0 },
      { ms = 0 },
    ]

    [[fault]]
    on = "point"
    at = "knot.3"
    effect = "tie"
    nth = 1

    [[fault]]
    on = "point"
    at = "knot.7"
    effect = "tie"
    nth = 1
    "#);
    assert_eq!(one["before"]["faults"], 20);
    assert_eq!(one["after"]["faults"], 2);
    assert_eq!(
        (&one["before"]["workload"]["reader"], &one["after"]["workload"]["reader"]),
        (&5.into(), &2.into())
    );

    let (_, lines) = bench.json("shrink case.toml --jobs 2");
    for key in ["case", "before", "after", "attempts", "minimal"] {
        assert_eq!(lines[0][key], one[key], "{key}");
    }
}

#[test]
fn the_smaller_case_is_printed_or_saved_and_nothing_is_overwritten() {
    let bench = Bench::of("knotted");
    bench.write("case.toml", &knot());
    let (status, printed, _) = bench.run("shrink case.toml");
    assert_eq!(status, Some(0));
    assert!(printed.contains("# violated (planted)\n# was  20 faults, 0 cancels, 5 readers, "), "{printed}");
    assert!(printed.contains("; removing any one thing loses the failure\n"), "{printed}");
    let (status, saved, _) = bench.run("shrink case.toml --expect -o small.toml");
    assert_eq!(status, Some(0));
    assert!(saved.contains("# saved as small.toml") && !saved.contains("scenario"), "{saved}");
    let small = bench.read("small.toml");
    assert!(small.ends_with("\n[expect]\nverdict = \"violated\"\noracle = \"planted\"\n"), "{small}");
    assert!(printed.starts_with(small.split("\n[expect]").next().unwrap().trim_end()), "{small}");

    let (status, _, complaint) = bench.run("shrink case.toml -o small.toml");
    assert_eq!(status, Some(2));
    assert!(complaint.contains("small.toml exists already"), "{complaint}");
    assert_eq!(bench.read("small.toml"), small);
}

#[test]
fn what_cannot_shrink_says_why() {
    let bench = Bench::of("knotted");
    bench.write("passes.toml", &knot().replace("knot.3", "knot.30"));
    bench.write("broken.toml", "scenario = 7");
    for (line, complaint) in [
        ("shrink passes.toml -o small.toml", "passes.toml: nothing to shrink: the case passes"),
        ("shrink broken.toml", "broken.toml: not a case file"),
        ("shrink none.toml", "cannot read none.toml"),
    ] {
        let (status, stdout, stderr) = bench.run(line);
        assert_eq!((status, stdout.as_str(), stderr.lines().count()), (Some(2), "", 1), "{line}: {stderr}");
        assert!(stderr.contains(complaint), "{line}: {stderr}");
    }
    assert!(!bench.path("small.toml").exists());
}

#[test]
fn a_budget_that_is_used_up_is_told() {
    let bench = Bench::of("knotted");
    bench.write("case.toml", &knot());
    let (status, lines) = bench.json("shrink case.toml --attempts 5");
    assert_eq!((status, &lines[0]["minimal"]), (Some(0), &false.into()));
}

#[test]
fn a_case_that_takes_its_process_along_shrinks_too() {
    let bench = Bench::of("planted");
    bench.write("case.toml", "scenario = \"abrupt\"\nseed = 3\n[workload]\nworkers = 3\nrounds = 4\n");
    let (status, lines) = bench.json("shrink case.toml");
    assert_eq!((status, &lines[0]["verdict"]), (Some(0), &"stuck".into()));
    let case: toml::Table = toml::from_str(lines[0]["case"].as_str().unwrap()).unwrap();
    assert_eq!(case["workload"].to_string(), "{ rounds = 0, workers = 0 }");
}

#[test]
fn a_case_shrinks_only_to_what_passes_without_its_bug() {
    let bench = Bench::of("planted");
    // Seeds that three divides fail with or without it, and with the same oracle.
    let case = "scenario = \"mistaken\"\nseed = 23\nrelapses = [\"planted-B1\"]\n[workload]\nworkers = 1\nrounds = 1\n";
    bench.write("case.toml", case);
    let (status, lines) = bench.json("shrink case.toml");
    let case: toml::Table = toml::from_str(lines[0]["case"].as_str().unwrap()).unwrap();
    assert_eq!((status, &case["seed"]), (Some(0), &23.into()));
}

#[test]
fn kept_cases_are_green_stale_changed_or_findings() {
    let bench = Bench::of("planted");
    let steady = |relapses: &str, seed: u64, rest: &str| {
        format!(
            "scenario = \"steady\"\nseed = {seed}\n{relapses}\n[workload]\nworkers = 1\nrounds = 1\n{rest}"
        )
    };
    let bug = "relapses = [\"planted-B1\"]";
    let as_recorded = "[expect]\nverdict = \"violated\"\noracle = \"planted\"\n";
    bench.write("kept/a-green.toml", &steady(bug, 3, as_recorded));
    bench.write(
        "kept/b-passes.toml",
        &steady("", 3, "[expect]\nreaches = [\"planted: steady came to its end\"]\n"),
    );
    assert_eq!(bench.standings().0, Some(0));

    bench.write("kept/c-stale.toml", &steady(bug, 4, as_recorded));
    bench.write(
        "kept/d-no-longer-there.toml",
        &steady("", 3, "[expect]\nreaches = [\"planted: the bell rang\"]\n"),
    );
    bench.write("kept/e-changed.toml", &steady(bug, 3, &as_recorded.replace("\"planted\"", "\"other\"")));
    bench.write("kept/f-finding.toml", &steady("", 3, "").replace("steady", "mistaken"));
    bench.write("kept/g-unusable.toml", &steady("", 3, "").replace("steady", "nonesuch"));
    bench.write("kept/h-fails-anyway.toml", &steady(bug, 3, as_recorded).replace("steady", "mistaken"));
    bench.write("kept/notes.md", "not a case");
    let (status, standings) = bench.standings();
    let standings: Vec<_> = standings.iter().map(|(case, standing)| format!("{case}: {standing}")).collect();
    assert_eq!(status, Some(1));
    insta::assert_snapshot!(standings.join("\n"), @r"
    a-green: green
    b-passes: green
    c-stale: stale
    d-no-longer-there: stale
    e-changed: changed
    f-finding: finding
    g-unusable: unusable
    h-fails-anyway: finding
    ");
    let (_, text, _) = bench.run("corpus kept");
    assert!(
        text.contains("e-changed          changed   was violated (other); is violated (planted)\n"),
        "{text}"
    );
    assert!(text.ends_with("8 cases: 2 green\n"), "{text}");
}

#[test]
fn a_case_is_shrunk_and_added_and_is_green() {
    let bench = Bench::of("knotted");
    bench.write("case.toml", &knot());
    fs::create_dir(bench.path("kept")).unwrap();
    let (status, text, _) = bench.run("corpus kept --add case.toml");
    assert_eq!(status, Some(1), "it has no bug to be mended: {text}");
    assert!(text.contains("added kept/knot.toml\n"), "{text}");
    let kept = bench.read("kept/knot.toml");
    assert!(kept.starts_with("# A knot of twenty faults.\nscenario") && kept.contains("[expect]"), "{kept}");

    let bench = Bench::of("planted");
    fs::create_dir(bench.path("kept")).unwrap();
    bench.write(
        "bug.toml",
        "scenario = \"steady\"\nseed = 7\nrelapses = [\"planted-B1\"]\n[workload]\nworkers = 3\nrounds = 1\n",
    );
    let (status, text, _) = bench.run("corpus kept --add bug.toml");
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(text, @r"
    added kept/planted-B1.toml: say in its first lines what happens
    planted-B1  green     violated (planted)
    1 case: 1 green
    ");
}

#[test]
fn a_corpus_that_is_not_there_says_where_to_go() {
    let bench = Bench::of("planted");
    fs::create_dir(bench.path("empty")).unwrap();
    for (line, complaint) in [
        ("corpus", "this program keeps no cases: name a folder"),
        ("corpus nowhere", "there is no folder nowhere here"),
        ("corpus empty", "empty has no cases"),
    ] {
        let (status, _, stderr) = bench.run(line);
        assert_eq!((status, stderr.lines().count()), (Some(2), 1), "{line}: {stderr}");
        assert!(stderr.contains(complaint), "{line}: {stderr}");
    }
}
