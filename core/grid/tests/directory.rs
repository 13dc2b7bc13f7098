//! `grid leases`, `grid crawl` and `grid fsck` from outside: what they print, change and leave alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::cargo::cargo_bin_cmd;
use serde_json::Value;
use tempfile::TempDir;

/// A classic node's storage directory with the three shares of one file, each with a lease of 31 days.
struct Place {
    root: TempDir,
}

struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Place {
        let place = Place { root: TempDir::new().unwrap() };
        fs::create_dir_all(place.root.path().join("storage/shares")).unwrap();
        let file = place.root.path().join("in");
        fs::write(&file, vec![b'x'; 300]).unwrap();
        let words = ["put", file.to_str().unwrap(), "--k", "1", "--n", "3", "--storage", place.dir()];
        assert_eq!(run(&words).status, 0);
        place
    }

    /// One with a lease database.
    fn adopted() -> Place {
        let place = Place::new();
        assert_eq!(place.run("crawl --adopt").status, 0);
        place
    }

    fn dir(&self) -> &str {
        self.root.path().to_str().unwrap()
    }

    /// A command about the directory.
    fn run(&self, words: &str) -> Ran {
        let mut words: Vec<&str> = words.split_whitespace().collect();
        words.insert(1, self.dir());
        run(&words)
    }

    /// The share files, in order.
    fn shares(&self) -> Vec<PathBuf> {
        let mut shares = Vec::new();
        for prefix in fs::read_dir(self.root.path().join("storage/shares")).unwrap() {
            let prefix = prefix.unwrap().path();
            if prefix.ends_with("incoming") {
                continue;
            }
            for shareset in fs::read_dir(prefix).unwrap() {
                let files = fs::read_dir(shareset.unwrap().path()).unwrap();
                shares.extend(files.map(|file| file.unwrap().path()));
            }
        }
        shares.sort();
        shares
    }

    fn database(&self) -> PathBuf {
        self.root.path().join("storage/leasedb.redb")
    }

    /// Everything below the directory.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(directory: &Path, content: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, content),
                    false => drop(content.insert(path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        let mut content = BTreeMap::new();
        walk(self.root.path(), &mut content);
        content
    }
}

fn run(words: &[&str]) -> Ran {
    let output = cargo_bin_cmd!("grid").args(words).output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// The objects, the last of which is the summary.
    fn objects(&self) -> (Vec<Value>, Value) {
        assert_eq!(self.stderr, "");
        let mut objects: Vec<Value> =
            self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = objects.pop().unwrap();
        (objects, last)
    }

    /// Failed for a wrong input, with one line that contains `why`.
    fn refused(&self, why: &str) {
        assert_eq!((self.status, self.stderr.lines().count(), &*self.stdout), (2, 1, ""), "{}", self.stderr);
        assert!(self.stderr.contains(why), "no {why:?} in: {}", self.stderr);
    }
}

#[test]
fn the_leases_of_a_classic_node_are_listed() {
    let place = Place::new();
    let before = place.content();
    let ran = place.run("leases");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!((ran.status, lines.len()), (0, 4), "{}", ran.stdout);
    assert!(lines[1].contains("/1 immutable ") && lines[1].contains(": owner 0 until 20"), "{}", lines[1]);
    assert!(lines[3].starts_with("3 shares of 1 files; 3 leased, "), "{}", lines[3]);
    fs::write(&place.shares()[0], "no share").unwrap();
    let (shares, summary) = place.run("leases --json").objects();
    assert_eq!((shares.len(), &summary["source"], &summary["leases"]), (3, &"containers".into(), &2.into()));
    assert!(shares[0]["unusable"].is_string() && shares[2]["leases"][0]["expires"].is_u64());
    assert_eq!(place.content().len(), before.len());
}

#[test]
fn the_leases_of_a_database_are_listed() {
    let place = Place::adopted();
    let before = place.content();
    let ran = place.run("leases");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!((ran.status, lines.len()), (0, 5), "{}", ran.stdout);
    assert!(
        lines[0].contains("/0 immutable ") && lines[0].contains(" bytes: starter until 20"),
        "{}",
        lines[0]
    );
    assert!(lines[4].starts_with("starter: 3 leases, "), "{}", lines[4]);
    let (shares, summary) = place.run("leases --json").objects();
    assert_eq!(
        (&summary["shares"], &summary["files"], &summary["leased_shares"]),
        (&3.into(), &1.into(), &3.into())
    );
    assert_eq!(summary["accounts"][0]["holder"], "starter");
    let lease = &shares[0]["leases"][0];
    let lasts = lease["expires"].as_u64().unwrap() - lease["renewed"].as_u64().unwrap();
    assert_eq!((lasts, &shares[0]["state"]), (60 * 86_400, &"stable".into()));
    assert!(place.content() == before, "looking changes nothing");
}

#[test]
fn a_crawl_of_a_classic_directory_goes_by_its_share_files() {
    let place = Place::new();
    let (_, summary) = place.run("crawl --json").objects();
    assert_eq!((&summary["source"], &summary["examined"]), (&"containers".into(), &3.into()));
    assert!(!place.database().exists(), "no database is begun unasked");
    let (_, summary) = place.run("crawl --json --expire").objects();
    assert_eq!((summary["ended_leases"].as_u64(), place.shares().len()), (Some(0), 3));
    let ran = place.run("crawl --expire --cutoff 9999-01-01");
    assert!(ran.stdout.starts_with("3 shares examined; 3 leases ended, 3 shares deleted"), "{}", ran.stdout);
    assert_eq!((ran.status, place.shares().len()), (0, 0));
}

#[test]
fn a_crawl_adopts_counts_and_expires() {
    let place = Place::adopted();
    let (_, summary) = place.run("crawl --json").objects();
    assert_eq!(
        (&summary["cycle"], &summary["adopted"], &summary["files"]),
        (&2.into(), &0.into(), &1.into())
    );
    assert_eq!((&summary["immutable"]["shares"], &summary["leases"]), (&3.into(), &3.into()));
    assert_eq!(summary["lease_ages"][0]["days"], 0);
    fs::copy(&place.shares()[0], place.shares()[0].with_file_name("7")).unwrap();
    fs::write(place.shares()[0].with_file_name("8"), "no share").unwrap();
    let ran = place.run("crawl");
    assert!(
        ran.stdout.contains("2 shares adopted\n") && ran.stdout.contains("/8 is corrupted\n"),
        "{}",
        ran.stdout
    );
    for spared in
        ["--expire", "--expire --age 2mo", "--expire --cutoff 9999-01-01 --keep-immutable --keep-mutable"]
    {
        place.run(&format!("crawl {spared}"));
        let immutable = place.shares().iter().filter(|path| !path.ends_with("8")).count();
        assert_eq!(immutable, 4, "{spared}");
    }
    let (_, summary) = place.run("crawl --json --expire --cutoff 9999-01-01").objects();
    assert_eq!((place.shares().len(), summary["ok"].as_bool()), (0, Some(true)));
}

#[test]
fn fsck_finds_and_puts_right() {
    let place = Place::adopted();
    let ran = place.run("fsck");
    assert_eq!((ran.status, &*ran.stdout), (0, "1 files: shares and lease database agree\n"));
    let [gone, kept, spoilt] = &place.shares()[..] else { panic!("three shares") };
    fs::copy(kept, kept.with_file_name("7")).unwrap();
    fs::remove_file(gone).unwrap();
    fs::write(spoilt, "no share").unwrap();
    let before = place.content();
    let ran = place.run("fsck");
    assert_eq!(ran.status, 1);
    for found in [
        "/0: forget",
        "/2: correct the row (8 bytes, corrupted)",
        "/7: adopt (",
        "1 files: 3 found, 0 put right",
    ] {
        assert!(ran.stdout.contains(found), "no {found:?} in: {}", ran.stdout);
    }
    assert!(place.content() == before, "it only looks");
    let (steps, summary) = place.run("fsck --repair --json").objects();
    assert!(steps.iter().all(|step| step["outcome"] == "done"));
    assert_eq!((steps.len(), &summary["repaired"], &summary["ok"]), (3, &3.into(), &true.into()));
    assert_eq!(place.run("fsck").status, 0);
    assert!(place.run("leases").stdout.contains("/2 corrupted 8 bytes: starter"));
}

#[test]
fn what_cannot_be_used_is_refused_in_one_line() {
    let place = Place::new();
    place.run("fsck").refused("has no lease database");
    run(&["leases", "/nowhere"]).refused("/nowhere is neither");
    place.run("crawl --age 31days").refused("--expire");
    place.run("crawl --expire --age soon").refused("31days");
    place.run("crawl --expire --cutoff 2026-02-30").refused("2026-01-31");
    let place = Place::adopted();
    let file = fs::File::open(place.database()).unwrap();
    file.lock().unwrap();
    for command in ["leases", "crawl", "fsck", "fsck --repair"] {
        place.run(command).refused("in use by another process");
    }
    drop(file);
    fs::write(place.database(), "no database").unwrap();
    place.run("leases").refused("is damaged");
    place.run("fsck").refused("is damaged");
    assert!(place.content().contains_key(&place.database()), "it is where it was");
}

/// Another crawl makes a database again; what was unusable is kept.
#[test]
fn a_lost_database_costs_no_share() {
    let place = Place::adopted();
    let before: Vec<_> = place.shares().iter().map(|share| fs::read(share).unwrap()).collect();
    fs::write(place.database(), "no database").unwrap();
    let (_, summary) = place.run("crawl --json --expire").objects();
    assert_eq!((&summary["adopted"], &summary["collected"]["shares"]), (&3.into(), &0.into()));
    let after: Vec<_> = place.shares().iter().map(|share| fs::read(share).unwrap()).collect();
    assert!(before == after);
    assert_eq!(fs::read(place.database().with_file_name("leasedb.redb.unusable-1")).unwrap(), b"no database");
}
