//! The explanations of the regression cases: what `seedgrid explain` tells of each, as reviewed in `snapshots/`.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::fs;
use std::path::Path;

use assert_cmd::Command;

#[test]
fn each_regression_case_is_explained_as_reviewed() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let folder = tempfile::tempdir().unwrap();
    let mut explained = 0;
    for case in fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()) {
        let name = case.file_stem().unwrap().to_str().unwrap();
        if !fs::read_to_string(&case).unwrap().contains("relapses") {
            continue;
        }
        let out = folder.path().join(name);
        // The shrinker may find other ways to the same failure, and in another build another one.
        let done = Command::new(env!("CARGO_BIN_EXE_seedgrid"))
            .args(["explain", "--as-it-is", "--patience", "60s", "-o"])
            .args([&out, &case])
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(1), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        let story = fs::read_to_string(out.join("story.txt")).unwrap();
        assert!(story.lines().count() <= 30, "{name}: the story has more than 30 lines");
        let story = without_line_numbers(&story);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(format!("explained-{name}"), story));
        explained += 1;
    }
    assert!(explained >= 3);
}

/// Any change of the code moves lines.
fn without_line_numbers(story: &str) -> String {
    let mut parts = story.split(".rs:");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        text + ".rs:-" + part.trim_start_matches(|letter: char| letter.is_ascii_digit())
    })
}
