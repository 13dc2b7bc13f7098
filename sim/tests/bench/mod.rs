//! A folder to run commands in, and what is asked of all of them.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

pub struct Bench {
    program: &'static str,
    pub folder: TempDir,
}

pub struct Done {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::of("planted")
    }

    /// For commands of that example.
    pub fn of(program: &'static str) -> Bench {
        Bench { program, folder: tempfile::tempdir().unwrap() }
    }

    pub fn command(&self, line: &str) -> std::process::Command {
        let mut command = std::process::Command::new(path_of(self.program));
        command.args(line.split(' ')).current_dir(self.folder.path());
        command
    }

    pub fn run(&self, line: &str) -> Done {
        let Output { status, stdout, stderr } =
            assert_cmd::Command::from_std(self.command(line)).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { status: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The JSON lines of a command, and its status.
    pub fn json(&self, line: &str) -> (Option<i32>, Vec<Value>) {
        let done = self.run(&format!("{line} --json"));
        assert_eq!(done.stderr, "", "{line}");
        let lines = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        (done.status, lines.collect())
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn saved(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.folder.path().join("findings")) else { return Vec::new() };
        let mut names: Vec<_> =
            folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn path_of(program: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(program);
    assert!(path.exists(), "{}: build it first: cargo build -p seedgrid --examples", path.display());
    path
}

/// Checks that a command was refused in one line, with status 2.
pub fn assert_input_error(done: &Done, complaint: &str) {
    assert_eq!(done.status, Some(2), "{}", done.stderr);
    assert_eq!(done.stdout, "");
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    assert!(done.stderr.starts_with("seedgrid: ") && done.stderr.contains(complaint), "{}", done.stderr);
}
