//! A node behind a program that speaks the P2P protocol on its standard input and output, such as `git-annex-shell
//! p2pstdio`, by itself or at the end of `ssh`. The program lives as long as the connection.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use pool::peer::PeerError;
use pool::pooled::Dial;
use pool::session::client::Remote;
use pool::uuid::Uuid;
use pool::version::Version;
use pool::wire::Wire;
use runtime::Runtime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// How long a program may take to end when its pipes are closed, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A program to run for each connection.
pub struct Child {
    pub runtime: Runtime,
    /// Who it speaks for.
    pub uuid: Uuid,
    pub program: String,
    pub arguments: Vec<String>,
    /// How long it may take until it has said who it is and which version it speaks.
    pub patience: Duration,
}

#[async_trait]
impl Dial for Child {
    fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    async fn dial(&self, newest: Version, bypass: &BTreeSet<Uuid>) -> Result<Remote, PeerError> {
        let pipes = Pipes::start(self).map_err(|error| self.unreachable(&error.to_string()))?;
        let meeting = Remote::meet(self.uuid.clone(), Wire::new(Box::new(pipes)), newest, bypass);
        match self.runtime.timeout(self.patience, meeting).await {
            Ok(Err(PeerError::Lost { why, .. })) => Err(self.unreachable(&why)),
            Ok(met) => met,
            Err(late) => Err(self.unreachable(&late.to_string())),
        }
    }
}

impl Child {
    fn unreachable(&self, why: &str) -> PeerError {
        PeerError::Unreachable { uuid: self.uuid.clone(), why: format!("`{}`: {why}", self.program) }
    }
}

/// A program's pipes. Dropped, they take the program with them.
struct Pipes {
    running: Option<Running>,
    /// Resolves when the program has ended.
    ending: Option<BoxFuture<'static, ()>>,
}

struct Running {
    input: ChildStdin,
    output: ChildStdout,
    process: tokio::process::Child,
    runtime: Runtime,
}

impl Pipes {
    fn start(program: &Child) -> io::Result<Pipes> {
        let mut command = Command::new(&program.program);
        command.args(&program.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C is for us: requests that are under way have a while to end.
        command.process_group(0);
        let mut process = command.spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        let running = Running { input, output, process, runtime: program.runtime.clone() };
        Ok(Pipes { running: Some(running), ending: None })
    }

    fn running(&mut self) -> io::Result<&mut Running> {
        self.running.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Running {
    /// Closes the pipes, which tells the program to end, and waits until it has.
    async fn end(self) {
        let Running { input, output, mut process, runtime } = self;
        drop((input, output));
        if runtime.timeout(GRACE, process.wait()).await.is_err() {
            tracing::warn!("a node's program does not end, and is killed");
            let _ = process.kill().await;
        }
    }
}

impl AsyncRead for Pipes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.running()?.output).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipes {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.running()?.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.running()?.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(running) = self.running.take() {
            self.ending = Some(Box::pin(running.end()));
        }
        if let Some(ending) = &mut self.ending {
            ready!(ending.as_mut().poll(cx));
            self.ending = None;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::real::RealWorld;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::unix::pipe;

    fn program(script: &str) -> Child {
        let uuid = Uuid::new("node").unwrap();
        let arguments = vec!["-c".into(), script.into()];
        let patience = Duration::from_secs(60);
        Child { runtime: RealWorld::runtime(), uuid, program: "sh".into(), arguments, patience }
    }

    /// Starts a program that says its process id first.
    async fn start(script: &str) -> (Pipes, std::path::PathBuf) {
        let mut pipes = Pipes::start(&program(&format!("echo $$; {script}"))).unwrap();
        let mut id = String::new();
        while !id.ends_with('\n') {
            id.push(char::from(pipes.read_u8().await.unwrap()));
        }
        (pipes, std::path::Path::new("/proc").join(id.trim()))
    }

    #[tokio::test]
    async fn a_program_is_waited_for_when_its_connection_is_closed() {
        let (mut pipes, process) = start("cat").await;
        pipes.write_all(b"echo").await.unwrap();
        assert_eq!(pipes.read_u8().await.unwrap(), b'e');
        assert!(process.exists());
        pipes.shutdown().await.unwrap();
        assert!(!process.exists(), "it is left, or nobody has waited for it");
        assert!(pipes.write_all(b"more").await.is_err());
        pipes.shutdown().await.unwrap();
    }

    /// The clock jumps: nobody waits that long.
    #[tokio::test(start_paused = true)]
    async fn a_program_that_does_not_end_is_killed() {
        let (mut pipes, process) = start("trap '' TERM PIPE; while :; do read line; done").await;
        pipes.shutdown().await.unwrap();
        assert!(!process.exists());
    }

    /// The program has the only other end of a pipe, which is at its end when the program is.
    #[tokio::test]
    async fn a_program_dies_with_a_connection_that_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let mut alive = pipe::OpenOptions::new().open_receiver(&path).unwrap();
        let script = format!("exec 3> '{}'; echo; exec sleep infinity", path.display());
        let mut pipes = Pipes::start(&program(&script)).unwrap();
        assert_eq!(pipes.read_u8().await.unwrap(), b'\n');
        drop(pipes);
        let mut said = Vec::new();
        alive.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"");
    }

    #[tokio::test]
    async fn what_cannot_be_met_cannot_be_reached() {
        for script in
            ["exit 1", "echo AUTH-SUCCESS other; cat", "echo AUTH-SUCCESS node; exit 1", "exec /nowhere 2>&-"]
        {
            let dialled = program(script).dial(Version::MAX, &BTreeSet::new()).await;
            assert!(matches!(dialled, Err(PeerError::Unreachable { .. })), "{script}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_says_nothing_is_not_waited_for_for_ever() {
        let dialled = program("exec sleep 1000").dial(Version::MAX, &BTreeSet::new()).await;
        assert!(matches!(dialled, Err(PeerError::Unreachable { .. })));
    }
}
