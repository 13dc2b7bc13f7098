//! What our server says, against what the real program of 10.20261026 said to the same lines (annex-p2p §17).
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

mod playing;

use playing::play;
use pool::mode::Mode;
use pool::repository::Repository;
use pool::session::server::{Manner, serve};
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::real::RealWorld;
use tokio::io::duplex;

const K6: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";
const K4: &str = "SHA256E-s4--edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb.txt";
const K11: &str = "SHA256E-s11--b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9.txt";
const ABSENT: &str = "SHA256E-s3--ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.txt";

/// A server on an empty directory that has K6.
struct Server {
    _root: tempfile::TempDir,
    repository: Repository,
}

impl Server {
    async fn new() -> Server {
        let root = tempfile::tempdir().unwrap();
        let runtime = RealWorld::runtime();
        let repository = Repository::open(runtime, Uuid::new("SERVER").unwrap(), root.path()).await.unwrap();
        let server = Server { _root: root, repository };
        server.play("C> VERSION 4\nS> VERSION 4\nC> PUT  K6\nS> PUT-FROM 0\nC> DATA 6\nC> <hello\n>\nC> VALID\nS> SUCCESS").await;
        server
    }

    /// Plays a transcript on a connection of its own, to its end.
    async fn play(&self, transcript: &str) {
        self.play_as(Mode::ReadWrite, transcript).await;
    }

    async fn play_as(&self, mode: Mode, transcript: &str) {
        let (mut client, server) = duplex(1 << 16);
        let repository = self.repository.clone();
        let serving = async move {
            let manner = Manner { mode, version: Version::MAX, proxy: false, own: repository.uuid().clone() };
            let mut wire = Wire::new(Box::new(server));
            let _ = serve(&mut wire, &mut repository.peer(), &manner).await;
        };
        let names = [("ABSENT", ABSENT), ("K11", K11), ("K4", K4), ("K6", K6)];
        let transcript = format!("S> AUTH-SUCCESS SERVER\n{transcript}");
        futures::join!(serving, play(&mut client, &transcript, &names));
        assert!(self.repository.is_quiet());
    }
}

/// What versions 1 to 4 have in common.
const COMMON: &str = "\
C> CHECKPRESENT K6
S> SUCCESS
C> GET 0 foo.txt K6
S> DATA 6
S> <hello
>
S> VALID
C> SUCCESS
C> GET 3  K6
S> DATA 3
S> <lo
>
S> VALID
C> SUCCESS
C> GET 6  K6
S> DATA 0
S> VALID
C> SUCCESS
C> GET 7  K6
S> DATA 0
S> VALID
C> SUCCESS
C> GET 0  ABSENT
S> DATA 0
S> INVALID
C> FAILURE
C> BYPASS 12345678-0000-0000-0000-000000000000
C> FROBNICATE x
S> ERROR unknown command
C> SUCCESS
S> ERROR unexpected command
C> PUT  K6
S> ALREADY-HAVE
C> PUT a%b K4
S> PUT-FROM 0
C> DATA 4
C> <abc
>
C> VALID
S> SUCCESS
C> REMOVE K4
S> SUCCESS
C> REMOVE K4
S> SUCCESS
C> REMOVE-BEFORE 1 K6
S> FAILURE
C> LOCKCONTENT K6
S> SUCCESS
C> UNLOCKCONTENT
C> LOCKCONTENT ABSENT
S> FAILURE
C> PUT  ABSENT
S> PUT-FROM 0
C> DATA-PRESENT
";

#[tokio::test]
async fn a_plain_repository_from_version_1_on() {
    let server = Server::new().await;
    for version in 1..=4 {
        let last = if version == 4 { "S> FAILURE" } else { "S> ERROR expected DATA" };
        server.play(&format!("C> VERSION {version}\nS> VERSION {version}\n{COMMON}{last}")).await;
    }
}

#[tokio::test]
async fn a_plain_repository_at_version_0() {
    let server = Server::new().await;
    let transcript = "C> GET 0  K6\nS> DATA 6\nS> <hello\n>\nC> SUCCESS\n\
        C> GET 0  ABSENT\nS> DATA 0\nC> FAILURE\n\
        C> PUT  K4\nS> PUT-FROM 0\nC> DATA 4\nC> <abc\n>\nS> SUCCESS\n\
        C> REMOVE K4\nS> SUCCESS";
    server.play(transcript).await;
}

#[tokio::test]
async fn an_interrupted_upload_is_gone_on_with() {
    let server = Server::new().await;
    server.play("C> VERSION 4\nS> VERSION 4\nC> PUT  K11\nS> PUT-FROM 0\nC> DATA 11\nC> <hello>").await;
    let rest = "C> VERSION 4\nS> VERSION 4\nC> PUT  K11\nS> PUT-FROM 5\nC> DATA 6\nC> < world>\nC> VALID\nS> SUCCESS";
    server.play(rest).await;
}

#[tokio::test]
async fn asking_for_an_offset_changes_nothing() {
    let server = Server::new().await;
    server.play("C> VERSION 4\nS> VERSION 4\nC> PUT  K11\nS> PUT-FROM 0\nC> DATA 11\nC> <hello>").await;
    let ask = "C> PUT  K11\nS> PUT-FROM 5\nC> DATA 0\nC> INVALID\nS> FAILURE\n";
    server.play(&format!("C> VERSION 4\nS> VERSION 4\n{ask}{}", ask.trim_end())).await;
}

#[tokio::test]
async fn wrong_bytes_are_discarded_and_right_ones_kept_whatever_is_said_of_them() {
    let server = Server::new().await;
    let transcript = "C> VERSION 4\nS> VERSION 4\n\
        C> PUT  K4\nS> PUT-FROM 0\nC> DATA 4\nC> <abd\n>\nC> VALID\nS> FAILURE\n\
        C> PUT  K4\nS> PUT-FROM 0\nC> DATA 2\nC> <ab>\nC> VALID\nS> FAILURE\n\
        C> PUT  K4\nS> PUT-FROM 0\nC> DATA 4\nC> <abc\n>\nC> INVALID\nS> SUCCESS";
    server.play(transcript).await;
}

#[tokio::test]
async fn a_lock_ends_with_the_next_message() {
    let server = Server::new().await;
    let transcript = "C> LOCKCONTENT K6\nS> SUCCESS\nC> CHECKPRESENT K6\nS> ERROR expected UNLOCKCONTENT\n\
        C> CHECKPRESENT K6\nS> SUCCESS\nC> REMOVE K6\nS> SUCCESS";
    server.play(transcript).await;
}

/// Here the real program forgets the lock; what its documentation promises is kept (annex-bugs L1).
#[tokio::test]
async fn a_lock_outlives_its_connection() {
    let server = Server::new().await;
    server.play("C> LOCKCONTENT K6\nS> SUCCESS").await;
    server.play("C> REMOVE K6\nS> FAILURE\nC> CHECKPRESENT K6\nS> SUCCESS").await;
}

/// Here the real program answers twice (annex-bugs L17).
#[tokio::test]
async fn a_request_has_one_answer() {
    let server = Server::new().await;
    let transcript = "C> VERSION 4\nS> VERSION 4\nC> PUT  K4\nS> PUT-FROM 0\nC> DATA 4\nC> <abc\n>\nC> CHECKPRESENT K6\n\
        S> ERROR expected VALID or INVALID\nC> CHECKPRESENT K6\nS> SUCCESS";
    server.play(transcript).await;
}

/// The real program has no git to connect to on standard input and output, and nobody who tells of changes: its session ends
/// without a word. It refuses a push in these words (annex-p2p §4.2).
#[tokio::test]
async fn what_only_a_git_repository_has_is_refused_and_ends_the_session() {
    let server = Server::new().await;
    for hello in ["", "C> VERSION 4\nS> VERSION 4\n"] {
        for service in ["git-upload-pack", "git-receive-pack"] {
            let transcript = format!(
                "{hello}C> CONNECT {service}\nS> ERROR there is no git repository here to connect to\nC> CHECKPRESENT K6"
            );
            server.play(&transcript).await;
        }
        let transcript = format!(
            "{hello}C> NOTIFYCHANGE\nS> ERROR there are no references here that could change\nC> CHECKPRESENT K6"
        );
        server.play(&transcript).await;
    }
    let unknown = "C> CONNECT git-upload-archive\nS> ERROR unknown command\nC> CHECKPRESENT K6\nS> SUCCESS";
    server.play(unknown).await;
    for mode in [Mode::ReadOnly, Mode::AppendOnly] {
        let push = "C> CONNECT git-receive-pack\nS> ERROR this repository is read-only; write access denied\nC> CHECKPRESENT K6";
        server.play_as(mode, push).await;
        let fetch = "C> CONNECT git-upload-pack\nS> ERROR there is no git repository here to connect to\nC> CHECKPRESENT K6";
        server.play_as(mode, fetch).await;
    }
}
