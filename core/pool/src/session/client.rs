//! The peer at the other end of a connection: a client's side of a session (annex-p2p §3, §4, §7.2).
//!
//! What the peer's version does not have is translated here: a REMOVE-BEFORE becomes a REMOVE below version 3, and where
//! nobody says whether bytes are valid, they are hashed on their way.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use runtime::relapse;

use crate::key::Key;
use crate::message::{AssociatedFile, Message};
use crate::peer::{Download, Lock, Offer, Outcome, Peer, PeerError, Upload, Verdict};
use crate::uuid::Uuid;
use crate::verify::Verifier;
use crate::version::Version;
use crate::wire::{Received, Wire, WireError};

/// What a peer says to a line that is no message.
pub(super) const UNKNOWN_COMMAND: &str = "unknown command";

/// A peer behind a connection.
pub struct Remote {
    uuid: Uuid,
    wire: Wire,
    version: Version,
}

impl Remote {
    /// Meets the peer at the other end, which must be `uuid`, and agrees on a version, `newest` or an older one. The
    /// gateways of `bypass` are told to it if it can understand that.
    pub async fn meet(
        uuid: Uuid,
        wire: Wire,
        newest: Version,
        bypass: &BTreeSet<Uuid>,
    ) -> Result<Remote, PeerError> {
        let mut remote = Remote { uuid, wire, version: Version::V0 };
        match remote.receive().await? {
            Message::AuthSuccess(found) if found == remote.uuid => {}
            Message::AuthSuccess(found) => {
                return Err(PeerError::Unreachable { uuid: remote.uuid, why: format!("{found} is there") });
            }
            other => return Err(remote.nonsense(&other)),
        }
        if newest > Version::V0 {
            remote.send(&Message::Version(newest.number().into())).await?;
            match remote.hear().await? {
                Message::Version(number) => {
                    let agreed = u64::try_from(number).ok().and_then(Version::new);
                    let agreed = agreed.filter(|agreed| *agreed <= newest);
                    remote.version = agreed.ok_or_else(|| remote.nonsense(&Message::Version(number)))?;
                }
                // What its client speaks stays in force.
                Message::Error(_) if relapse!("annex-B25") => remote.version = newest,
                // It is older than versions are.
                Message::Error(_) => {}
                other => {
                    let _ = remote.send(&Message::error("expected VERSION")).await;
                    return Err(remote.nonsense(&other));
                }
            }
        }
        if remote.version.has_plus() && !bypass.is_empty() {
            remote.send(&Message::Bypass(bypass.iter().cloned().collect())).await?;
        }
        Ok(remote)
    }

    /// The version that is spoken.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the peer has said something unasked, or has gone. Does not wait.
    pub async fn is_stale(&mut self) -> bool {
        self.wire.is_stale().await
    }

    /// Asks for a lock; true when it is held, and [`locked`](Remote::locked) has to be called.
    pub(crate) async fn ask_lock(&mut self, key: &Key) -> Result<bool, PeerError> {
        self.send(&Message::LockContent(key.clone())).await?;
        let done = self.outcome().await?.done;
        if done && !relapse!("annex-B19") {
            self.wire.owe();
        }
        Ok(done)
    }

    /// The lock that is held.
    pub(crate) fn locked(&mut self) -> Box<dyn Lock + '_> {
        Box::new(RemoteLock(self))
    }

    /// Asks for an object, and learns how many bytes come: [`downloading`](Remote::downloading) has to be called.
    pub(crate) async fn ask_get(
        &mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<u64, PeerError> {
        let request = Message::Get(i64::try_from(offset).unwrap_or(i64::MAX), file.clone(), key.clone());
        let length = match self.ask(&request).await? {
            Message::Data(length) => length,
            other => return Err(self.nonsense(&other)),
        };
        let length = self.wire.expect_data(length).map_err(|error| lost(&self.uuid, &error))?;
        self.wire.owe();
        Ok(length)
    }

    /// The object that comes.
    pub(crate) fn downloading(&mut self, offset: u64, key: &Key, length: u64) -> Box<dyn Download + '_> {
        // Without verdicts hash and size tell: the hash if all of the object comes.
        let silent = !self.version.has_verdict() && !relapse!("annex-L15");
        let verifier = silent.then(|| Verifier::from_offset(key, offset));
        Box::new(RemoteDownload { remote: self, length, verifier })
    }

    /// Offers an object. If it is wanted, [`uploading`](Remote::uploading) has to be called.
    pub(crate) async fn ask_put(&mut self, file: &AssociatedFile, key: &Key) -> Result<Answer, PeerError> {
        match self.ask(&Message::Put(file.clone(), key.clone())).await? {
            Message::AlreadyHave => Ok(Answer::AlreadyHave(BTreeSet::new())),
            Message::AlreadyHavePlus(also) if self.version.has_plus() => {
                Ok(Answer::AlreadyHave(repositories(also)))
            }
            Message::PutFrom(offset) => {
                let offset = u64::try_from(offset).map_err(|_| self.broken("a negative offset"))?;
                self.wire.owe();
                Ok(Answer::From(offset))
            }
            other => Err(self.nonsense(&other)),
        }
    }

    /// The object that is wanted.
    pub(crate) fn uploading(&mut self, key: &Key) -> Box<dyn Upload + '_> {
        Box::new(RemoteUpload { remote: self, key: key.clone() })
    }

    async fn ask(&mut self, request: &Message) -> Result<Message, PeerError> {
        self.send(request).await?;
        self.receive().await
    }

    async fn send(&mut self, message: &Message) -> Result<(), PeerError> {
        self.wire.send(message).await.map_err(|error| lost(&self.uuid, &error))
    }

    /// The peer's next message. An ERROR is its refusal; but one that says that it knows no such command is about something
    /// that we have not said, and what it says to that is still to come.
    async fn receive(&mut self) -> Result<Message, PeerError> {
        match self.hear().await? {
            Message::Error(text) if &*text == UNKNOWN_COMMAND.as_bytes() => Err(self.broken(UNKNOWN_COMMAND)),
            Message::Error(text) => Err(PeerError::Refused(String::from_utf8_lossy(&text).into_owned())),
            message => Ok(message),
        }
    }

    /// The peer's next message, whatever it is.
    async fn hear(&mut self) -> Result<Message, PeerError> {
        match self.wire.receive().await {
            Ok(Received::Message(message)) => Ok(message),
            Ok(Received::Unknown) => Err(self.broken("a line that is no message")),
            Ok(Received::End) => {
                // Whatever it waits for on its side, it must learn that nothing comes.
                self.wire.give_up();
                Err(PeerError::Lost { uuid: self.uuid.clone(), why: "it said no more".into() })
            }
            Err(error) => Err(lost(&self.uuid, &error)),
        }
    }

    /// SUCCESS or FAILURE in one of their forms.
    async fn outcome(&mut self) -> Result<Outcome, PeerError> {
        let (done, also) = match self.receive().await? {
            Message::Success => (true, Vec::new()),
            Message::Failure => (false, Vec::new()),
            Message::SuccessPlus(also) if self.version.has_plus() => (true, also),
            Message::FailurePlus(also) if self.version.has_plus() => (false, also),
            other => return Err(self.nonsense(&other)),
        };
        Ok(Outcome { done, also: repositories(also) })
    }

    fn nonsense(&mut self, message: &Message) -> PeerError {
        self.broken(message.word())
    }

    fn broken(&mut self, what: &str) -> PeerError {
        self.wire.give_up();
        PeerError::Protocol { uuid: self.uuid.clone(), why: format!("{what} is not expected") }
    }
}

#[async_trait]
impl Peer for Remote {
    fn uuid(&self) -> &Uuid {
        &self.uuid
    }

    async fn begin(&mut self, version: Version, _: &BTreeSet<Uuid>) -> Result<Version, PeerError> {
        Ok(self.version.min(version))
    }

    async fn check_present(&mut self, key: &Key) -> Result<bool, PeerError> {
        self.send(&Message::CheckPresent(key.clone())).await?;
        Ok(self.outcome().await?.done)
    }

    async fn lock<'a>(&'a mut self, key: &Key) -> Result<Option<Box<dyn Lock + 'a>>, PeerError> {
        Ok(self.ask_lock(key).await?.then(|| self.locked()))
    }

    async fn remove(&mut self, key: &Key, before: Option<i64>) -> Result<Outcome, PeerError> {
        let request = match before.filter(|_| self.version.has_timestamps()) {
            Some(time) => Message::RemoveBefore(time, key.clone()),
            None => Message::Remove(key.clone()),
        };
        self.send(&request).await?;
        self.outcome().await
    }

    async fn timestamp(&mut self) -> Result<i64, PeerError> {
        if !self.version.has_timestamps() {
            return Err(PeerError::Refused(format!("version {} has no clocks", self.version)));
        }
        match self.ask(&Message::GetTimestamp).await? {
            Message::Timestamp(time) => Ok(time),
            other => Err(self.nonsense(&other)),
        }
    }

    async fn get<'a>(
        &'a mut self,
        offset: u64,
        file: &AssociatedFile,
        key: &Key,
    ) -> Result<Box<dyn Download + 'a>, PeerError> {
        let length = self.ask_get(offset, file, key).await?;
        Ok(self.downloading(offset, key, length))
    }

    async fn put<'a>(&'a mut self, file: &AssociatedFile, key: &Key) -> Result<Offer<'a>, PeerError> {
        Ok(match self.ask_put(file, key).await? {
            Answer::AlreadyHave(also) => Offer::AlreadyHave(also),
            Answer::From(offset) => Offer::From(offset, self.uploading(key)),
        })
    }

    fn is_reusable(&self) -> bool {
        self.wire.is_quiet()
    }

    async fn close(&mut self) {
        self.wire.close().await;
    }
}

/// The answer to an offer.
pub(crate) enum Answer {
    AlreadyHave(BTreeSet<Uuid>),
    From(u64),
}

struct RemoteLock<'a>(&'a mut Remote);

#[async_trait]
impl Lock for RemoteLock<'_> {
    async fn unlock(self: Box<Self>) -> Result<(), PeerError> {
        self.0.send(&Message::UnlockContent).await?;
        self.0.wire.settle();
        Ok(())
    }
}

struct RemoteDownload<'a> {
    remote: &'a mut Remote,
    length: u64,
    verifier: Option<Verifier>,
}

#[async_trait]
impl Download for RemoteDownload<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        let piece = self.remote.wire.receive_piece().await;
        let piece = piece.map_err(|error| lost(&self.remote.uuid, &error))?;
        if let (Some(verifier), Some(piece)) = (&mut self.verifier, &piece) {
            verifier.update(piece);
        }
        Ok(piece)
    }

    async fn verdict(&mut self) -> Result<Verdict, PeerError> {
        if let Some(verifier) = self.verifier.take() {
            // Of what cannot be verified here the client verifies what it can (§7.2); but nothing comes of what is not there, too.
            return Ok(Verdict::of(verifier.finish().unwrap_or(self.length > 0)));
        }
        match self.remote.receive().await? {
            Message::Valid => Ok(Verdict::Valid),
            Message::Invalid => Ok(Verdict::Invalid),
            other => Err(self.remote.nonsense(&other)),
        }
    }

    async fn end(self: Box<Self>, received: bool) -> Result<(), PeerError> {
        // The peer waits for this, and takes whatever comes for it.
        if !relapse!("annex-B2") {
            self.remote.send(if received { &Message::Success } else { &Message::Failure }).await?;
        }
        self.remote.wire.settle();
        Ok(())
    }
}

struct RemoteUpload<'a> {
    remote: &'a mut Remote,
    key: Key,
}

#[async_trait]
impl Upload for RemoteUpload<'_> {
    async fn begin(&mut self, length: u64) -> Result<(), PeerError> {
        self.remote.send(&Message::Data(i64::try_from(length).unwrap_or(i64::MAX))).await
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), PeerError> {
        self.remote.wire.send_piece(piece).await.map_err(|error| lost(&self.remote.uuid, &error))
    }

    async fn finish(self: Box<Self>, verdict: Verdict) -> Result<Outcome, PeerError> {
        let remote = self.remote;
        if remote.version.has_verdict() || relapse!("annex-L15") {
            remote.send(if verdict == Verdict::Valid { &Message::Valid } else { &Message::Invalid }).await?;
        }
        let outcome = remote.outcome().await?;
        remote.wire.settle();
        Ok(outcome)
    }

    async fn is_present(self: Box<Self>) -> Result<Outcome, PeerError> {
        if !self.remote.version.has_data_present() {
            self.withdraw().await?;
            return Ok(Outcome::of(false));
        }
        self.remote.send(&Message::DataPresent).await?;
        let outcome = self.remote.outcome().await?;
        self.remote.wire.settle();
        Ok(outcome)
    }

    async fn withdraw(mut self: Box<Self>) -> Result<(), PeerError> {
        // Waits until the peer has heard it: the object can be offered again, on whatever connection.
        if self.remote.version.has_verdict() {
            self.begin(0).await?;
            self.finish(Verdict::Invalid).await?;
        } else {
            self.remote.send(&Message::error("it is not sent after all")).await?;
            self.remote.wire.settle();
            self.remote.check_present(&self.key).await?;
        }
        Ok(())
    }
}

/// The repositories that an answer names: clusters hold nothing.
fn repositories(also: Vec<Uuid>) -> BTreeSet<Uuid> {
    also.into_iter().filter(|uuid| !uuid.is_cluster()).collect()
}

fn lost(uuid: &Uuid, error: &WireError) -> PeerError {
    PeerError::Lost { uuid: uuid.clone(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    async fn meet(greeting: &str, answers: &str) -> Remote {
        let (ours, mut theirs) = duplex(1024);
        theirs.write_all(format!("{greeting}{answers}").as_bytes()).await.unwrap();
        let wire = Wire::new(Box::new(ours));
        let met = Remote::meet(Uuid::new("U").unwrap(), wire, Version::MAX, &BTreeSet::new()).await;
        // It would be gone otherwise.
        std::mem::forget(theirs);
        met.unwrap()
    }

    #[tokio::test]
    async fn a_peer_that_is_older_than_versions_speaks_the_first() {
        let remote = meet("AUTH-SUCCESS U\nERROR unknown command\n", "").await;
        assert_eq!(remote.version(), Version::V0);
        assert!(remote.is_reusable());
    }

    #[tokio::test]
    async fn where_nobody_says_whether_bytes_are_valid_size_and_hash_do() {
        let empty = "SHA256E-s0--e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let cases = [
            ("WORM-s3--a", 0, "DATA 3\nabc", Verdict::Valid),
            ("WORM-s3--a", 0, "DATA 2\nab", Verdict::Invalid),
            ("WORM-s3--a", 1, "DATA 2\nbc", Verdict::Valid),
            ("WORM-s3--a", 1, "DATA 1\nb", Verdict::Invalid),
            ("WORM-s3--a", 3, "DATA 0\n", Verdict::Invalid),
            ("URL--a", 0, "DATA 0\n", Verdict::Invalid),
            (empty, 0, "DATA 0\n", Verdict::Valid),
        ];
        for (key, offset, said, verdict) in cases {
            let mut remote = meet("AUTH-SUCCESS U\nERROR unknown command\n", said).await;
            let key = Key::parse(key.as_bytes().to_vec()).unwrap();
            let mut download = remote.get(offset, &AssociatedFile::default(), &key).await.unwrap();
            while download.next().await.unwrap().is_some() {}
            assert_eq!(download.verdict().await, Ok(verdict), "{key} {offset} {said}");
            download.end(true).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_peer_that_answers_what_was_not_said_is_not_asked_again() {
        let key = Key::parse(b"WORM-s1--a".to_vec()).unwrap();
        let mut remote = meet("AUTH-SUCCESS U\nVERSION 4\n", "ERROR unknown command\nSUCCESS\n").await;
        assert!(matches!(remote.check_present(&key).await, Err(PeerError::Protocol { .. })));
        assert!(!remote.is_reusable());
        let mut remote = meet("AUTH-SUCCESS U\nVERSION 4\n", "ERROR not today\n").await;
        assert!(matches!(remote.check_present(&key).await, Err(PeerError::Refused(_))));
        assert!(remote.is_reusable());
    }
}
