//! The regression cases: with its bug put back each fails as its reviewed story in `snapshots/` says; with the bug
//! mended it passes. One that has no bug to put back passes.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::fs;
use std::path::{Path, PathBuf};

use seedgrid::case::{Case, Detail, Expect, Symptom, Verdict, run};

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn each_case_fails_with_its_bug_and_passes_without() {
    let cases = cases();
    assert!(cases.len() >= scenarios::BUGS.len());
    for path in cases {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut case = Case::from_toml(&text, scenarios::ALL).unwrap();
        if case.relapses.is_empty() {
            assert_eq!(run(&case, Detail::Digest).verdict, Verdict::Pass, "{name}");
            continue;
        }
        let broken = run(&case, Detail::Full);
        assert_ne!(broken.verdict, Verdict::Pass, "{name} is stale: the case no longer reaches its bug");
        let expected = Expect::from_toml(&text).unwrap().symptom().unwrap();
        assert_eq!(Symptom::of(&broken), expected, "{name} fails otherwise than its file says");
        let waits = match broken.verdict {
            Verdict::Hung { .. } => format!("\n{}", broken.waits.unwrap()),
            _ => String::new(),
        };
        assert!(broken.story.as_ref().unwrap().lines.len() < 90, "{name} is not shrunk");
        let story = format!("{}\n{}{waits}", broken.verdict, broken.story.unwrap());
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name.clone(), story));

        case.relapses.clear();
        assert_eq!(run(&case, Detail::Digest).verdict, Verdict::Pass, "{name} without the bug");
    }
}
