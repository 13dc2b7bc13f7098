//! `grid annex get`, `put`, `check`, `remove` and `lock`: one question to a repository behind a URL.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek};
use std::path::{Path, PathBuf};
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::future::{Either, select};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pool::Peer;
use pool::connections::Connections;
use pool::http::HttpRemote;
use pool::http::site::Site;
use pool::key::Key;
use pool::message::AssociatedFile;
use pool::peer::{Offer, Outcome, PeerError, Upload, Verdict};
use pool::uuid::Uuid;
use pool::verify::Verifier;
use pool::version::Version;
use pool::wire::PIECE;
use runtime::Runtime;
use serde_json::{Value, json};

use super::serve::password;
use crate::outcome::{Answer, Failure, unless_interrupted};
use crate::output::Output;
use crate::print;

/// Whom to ask, and about what.
#[derive(clap::Args)]
struct Asked {
    /// The repository: annex+http://HOST:PORT/git-annex/UUID. The port is 9417 if it is left out.
    #[arg(value_name = "URL")]
    site: Site,

    /// The object's key.
    #[arg(value_name = "KEY", value_parser = |text: &str| Key::parse(text.to_owned()))]
    key: Key,

    /// Who we are; made up if it is not given.
    #[arg(long, value_name = "UUID", value_parser = super::uuid)]
    client: Option<Uuid>,

    /// The user whose password is in GIT_ANNEX_P2PHTTP_PASSWORD_NAME in the environment.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// The newest version of the protocol that is spoken.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(0..=4))]
    protocol: u64,
}

/// Download an object. Its bytes are verified as far as the key allows.
#[derive(clap::Args)]
pub struct Get {
    #[command(flatten)]
    asked: Asked,

    /// Write to FILE instead of standard output. It appears when it is complete.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace FILE if it exists.
    #[arg(long, requires = "output")]
    force: bool,
}

/// Upload an object from a file. An earlier upload that broke off is gone on with.
#[derive(clap::Args)]
pub struct Put {
    #[command(flatten)]
    asked: Asked,

    /// The file with the object's bytes.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Ask whether an object is there. Exit status 1: it is not.
#[derive(clap::Args)]
pub struct Check {
    #[command(flatten)]
    asked: Asked,
}

/// Remove an object. Exit status 1: it is locked, or stays for another reason.
#[derive(clap::Args)]
pub struct Remove {
    #[command(flatten)]
    asked: Asked,

    /// Only if the repository's clock shows less than this many seconds.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    before: Option<i64>,
}

/// Lock an object against removal, until standard input ends. Exit status 1: it cannot be locked.
#[derive(clap::Args)]
pub struct Lock {
    #[command(flatten)]
    asked: Asked,
}

impl Asked {
    async fn peer(&self, runtime: &Runtime) -> Result<HttpRemote, Failure> {
        let client = self.client.clone().or_else(|| {
            let hex: String = runtime.entropy::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
            Uuid::new(&format!(
                "{}-{}-4{}-8{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[13..16],
                &hex[17..20],
                &hex[20..]
            ))
        });
        let client = client.ok_or_else(|| Failure::Usage("there is no name for us: use --client".into()))?;
        // One question is asked at a time.
        let connections = Connections::new(runtime.clone(), 1);
        let mut peer = HttpRemote::new(connections, self.site.clone(), client);
        if let Some(user) = &self.user {
            let password = password(user);
            let text = || {
                Failure::Usage(format!("there is no GIT_ANNEX_P2PHTTP_PASSWORD_{user} in the environment"))
            };
            peer.log_in(user, &password.ok_or_else(text)?);
        }
        let version = Version::new(self.protocol).unwrap_or(Version::MAX);
        peer.begin(version, &BTreeSet::new()).await.map_err(explain)?;
        Ok(peer)
    }
}

impl Get {
    pub async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        if json && self.output.is_none() {
            return Err(Failure::Usage(
                "--json needs standard output for itself: name a file with -o".into(),
            ));
        }
        let mut output = Output::open(self.output.as_deref(), self.force)?;
        let bytes = unless_interrupted(self.download(&runtime, &mut output)).await?;
        output.complete()?;
        Ok(Answer::new(String::new(), json!({ "ok": true, "bytes": bytes, "file": self.output })))
    }

    /// Writes the object to `output` as it comes, and says how many bytes.
    async fn download(&self, runtime: &Runtime, output: &mut Output) -> Result<u64, Failure> {
        let key = &self.asked.key;
        let mut peer = self.asked.peer(runtime).await?;
        let mut download = peer.get(0, &AssociatedFile::default(), key).await.map_err(explain)?;
        let (mut verifier, bar) = (Verifier::new(key), progress(download.length()));
        while let Some(piece) = download.next().await.map_err(explain)? {
            verifier.update(&piece);
            bar.inc(piece.len() as u64);
            output.write(&piece)?;
        }
        bar.finish_and_clear();
        let (bytes, announced) = (verifier.passed(), download.length());
        let verdict = download.verdict().await.map_err(explain)?;
        download.end(true).await.map_err(explain)?;
        match verifier.finish() {
            Some(true) => Ok(bytes),
            Some(false) if announced == 0 => Err(Failure::Failed("the object is not there".into())),
            Some(false) => Err(Failure::Failed("the bytes that came are not the object's".into())),
            None if verdict == Verdict::Valid => Ok(bytes),
            None if announced == 0 => Err(Failure::Failed("the object is not there".into())),
            None => Err(Failure::Failed("the repository does not vouch for the bytes that came".into())),
        }
    }
}

impl Put {
    pub async fn run(self, runtime: Runtime) -> Result<Answer, Failure> {
        let mut source = Source::open(&self.file, &self.asked.key)?;
        source.verify(&self.asked.key)?;
        let (outcome, sent) = unless_interrupted(self.upload(&runtime, &mut source)).await?;
        if !outcome.done {
            return Err(Failure::Failed("the repository did not take it".into()));
        }
        let object = json!({ "ok": true, "sent": sent, "also": names(&outcome) });
        Ok(Answer::new(String::new(), object))
    }

    async fn upload(&self, runtime: &Runtime, source: &mut Source) -> Result<(Outcome, u64), Failure> {
        let mut peer = self.asked.peer(runtime).await?;
        match peer.put(&AssociatedFile::default(), &self.asked.key).await.map_err(explain)? {
            Offer::AlreadyHave(also) => Ok((Outcome { done: true, also }, 0)),
            Offer::From(offset, mut upload) => {
                let length = source.size.saturating_sub(offset);
                upload.begin(length).await.map_err(explain)?;
                let verdict = send(source, offset.min(source.size), &mut *upload).await?;
                // What it has more than there is, is something else: nothing that is sent makes it the object.
                let verdict = if offset > source.size { Verdict::Invalid } else { verdict };
                Ok((upload.finish(verdict).await.map_err(explain)?, length))
            }
        }
    }
}

/// Sends what is behind `offset`, and says whether all of the file is the object still.
async fn send(source: &mut Source, offset: u64, upload: &mut dyn Upload) -> Result<Verdict, Failure> {
    let bar = progress(source.size);
    let (mut at, size) = (0, source.size);
    while at < size {
        let end = if at < offset { offset } else { size };
        let piece = source.read((end - at).min(PIECE as u64))?;
        bar.inc(piece.len() as u64);
        at += piece.len() as u64;
        if at > offset {
            upload.write(piece).await.map_err(explain)?;
        }
    }
    bar.finish_and_clear();
    Ok(Verdict::of(source.verifier.take().and_then(Verifier::finish) != Some(false)))
}

impl Check {
    pub async fn run(self, runtime: Runtime) -> Result<Answer, Failure> {
        let mut peer = self.asked.peer(&runtime).await?;
        let present =
            unless_interrupted(async { peer.check_present(&self.asked.key).await.map_err(explain) }).await?;
        let text = if present { "present\n" } else { "not there\n" };
        Ok(Answer { text: text.into(), object: json!({ "ok": true, "present": present }), sound: present })
    }
}

impl Remove {
    pub async fn run(self, runtime: Runtime) -> Result<Answer, Failure> {
        let mut peer = self.asked.peer(&runtime).await?;
        let key = &self.asked.key;
        let outcome =
            unless_interrupted(async { peer.remove(key, self.before).await.map_err(explain) }).await?;
        let text = if outcome.done { "removed\n" } else { "not removed: it is locked, or may not be\n" };
        let object = json!({ "ok": outcome.done, "removed": outcome.done, "also": names(&outcome) });
        Ok(Answer { text: text.into(), object, sound: outcome.done })
    }
}

impl Lock {
    pub async fn run(self, runtime: Runtime, json: bool) -> Result<Answer, Failure> {
        let mut peer = self.asked.peer(&runtime).await?;
        let Some(mut lock) = peer.lock(&self.asked.key).await.map_err(explain)? else {
            let text = "not locked: it is not there, or there are too many locks\n";
            return Ok(Answer {
                text: text.into(),
                object: json!({ "ok": false, "locked": false }),
                sound: false,
            });
        };
        print(if json { format!("{}\n", json!({ "locked": true })) } else { "locked\n".into() })?;
        let ended = runtime.blocking("wait for the end of standard input", || {
            io::copy(&mut io::stdin().lock(), &mut io::sink())
        });
        // Ctrl-C is a way to end it, too.
        let ended = unless_interrupted(async { ended.await.map_err(Failure::failed("cannot wait")) });
        if let Either::Right((lost, _)) = select(pin!(ended), lock.keep()).await {
            return Err(explain(lost));
        }
        lock.unlock().await.map_err(explain)?;
        Ok(Answer::new("unlocked\n".into(), json!({ "ok": true, "locked": false })))
    }
}

/// The file of an upload.
struct Source {
    path: PathBuf,
    file: File,
    size: u64,
    verifier: Option<Verifier>,
}

impl Source {
    fn open(path: &Path, key: &Key) -> Result<Source, Failure> {
        let open = || -> io::Result<(File, u64)> {
            // Looked at before it is opened: opening a pipe would wait.
            match std::fs::metadata(path)?.is_file() {
                true => File::open(path).and_then(|file| file.metadata().map(|found| (file, found.len()))),
                false => Err(io::Error::other("it is no regular file")),
            }
        };
        let (file, size) = open().map_err(Failure::usage(format!("cannot upload {}", path.display())))?;
        Ok(Source { path: path.to_owned(), file, size, verifier: Some(Verifier::new(key)) })
    }

    /// Reads the whole file once, and goes back to its start: a repository keeps what has come of an object, and wrong bytes
    /// would be in the way of the right ones.
    fn verify(&mut self, key: &Key) -> Result<(), Failure> {
        let mut rest = self.size;
        while rest > 0 {
            rest -= self.read(rest.min(PIECE as u64))?.len() as u64;
        }
        let verifier = self.verifier.replace(Verifier::new(key));
        if verifier.and_then(Verifier::finish) == Some(false) {
            let text = format!("{} is not the object that the key names", self.path.display());
            return Err(Failure::Usage(text));
        }
        self.file.rewind().map_err(Failure::failed(format!("cannot read {} again", self.path.display())))
    }

    fn read(&mut self, length: u64) -> Result<Bytes, Failure> {
        let mut piece = BytesMut::zeroed(length as usize);
        let read = self.file.read_exact(&mut piece);
        read.map_err(Failure::failed(format!("cannot read {}", self.path.display())))?;
        if let Some(verifier) = &mut self.verifier {
            verifier.update(&piece);
        }
        Ok(piece.freeze())
    }
}

/// A bar on a terminal, and nothing elsewhere.
fn progress(length: u64) -> ProgressBar {
    let target =
        if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    match ProgressStyle::with_template("{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn names(outcome: &Outcome) -> Value {
    outcome.also.iter().map(Uuid::as_str).collect()
}

fn explain(error: PeerError) -> Failure {
    Failure::Failed(error.to_string())
}
