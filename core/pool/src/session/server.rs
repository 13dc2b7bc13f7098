//! Serves a peer to a client, as the real program does on standard input and output (annex-p2p §3, §4, §7.3, §15.1).
//!
//! One request at a time: a message comes in, is carried out, and is answered; what cannot be answered ends the session.

use std::collections::BTreeSet;
use std::pin::pin;

use futures::future::{Either, select};
use runtime::{reached, relapse};
use tracing::debug;

use super::client::UNKNOWN_COMMAND;
use crate::key::Key;
use crate::message::{AssociatedFile, Message};
use crate::mode::{Mode, Need};
use crate::peer::{Offer, Outcome, Peer, PeerError, Verdict};
use crate::uuid::Uuid;
use crate::version::Version;
use crate::wire::{Received, Wire, WireError};

/// What a client may do, and how it is answered.
#[derive(Clone, Debug)]
pub struct Manner {
    /// What the client may do.
    pub mode: Mode,
    /// The newest version that is spoken.
    pub version: Version,
    /// The peer is somewhere else: what makes no sense ends the session, as it does at a real proxy (§7.3).
    pub proxy: bool,
    /// Our own repository, which a request must not come back to.
    pub own: Uuid,
}

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The client's connection is of no more use.
    #[error("the client: {0}")]
    Client(#[from] WireError),
    /// The peer failed, and there is no way to say so to the client.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The client said what makes no sense here.
    #[error("the client does not follow the protocol")]
    Protocol,
    /// The client wants something else of us than objects.
    #[error("{0}")]
    NotServed(&'static str),
}

/// Serves requests until the client has said its last.
pub async fn serve(wire: &mut Wire, peer: &mut dyn Peer, manner: &Manner) -> Result<(), SessionError> {
    let mut session = Session {
        wire,
        peer,
        manner,
        version: Version::V0,
        bypass: [manner.own.clone()].into(),
        begun: false,
    };
    session.wire.send(&Message::AuthSuccess(session.peer.uuid().clone())).await?;
    while session.step().await? {}
    Ok(())
}

struct Session<'a> {
    wire: &'a mut Wire,
    peer: &'a mut dyn Peer,
    manner: &'a Manner,
    version: Version,
    /// The gateways that requests have passed, ourselves included.
    bypass: BTreeSet<Uuid>,
    /// The peer has been told of version and gateways.
    begun: bool,
}

impl Session<'_> {
    /// One message of the client and all that follows from it; false when the session is over.
    async fn step(&mut self) -> Result<bool, SessionError> {
        let message = match self.wire.receive().await? {
            Received::End => return Ok(false),
            Received::Unknown if self.manner.proxy => return Err(SessionError::Protocol),
            Received::Unknown => {
                self.wire.send(&Message::error(UNKNOWN_COMMAND)).await?;
                return Ok(true);
            }
            Received::Message(message) => message,
        };
        debug!(target: "p2p", request = message.word());
        match message {
            Message::Error(_) => return Ok(false),
            Message::Version(wanted) => {
                self.version = self.manner.version.negotiate(wanted);
                self.version = self.peer.begin(self.version, &self.bypass).await?.min(self.version);
                self.begun = true;
                self.wire.send(&Message::Version(self.version.number().into())).await?;
            }
            Message::Bypass(gateways) => {
                self.bypass.extend(gateways);
                self.begun = false;
            }
            request => {
                let goes_on = self.answer(request).await;
                if !self.peer.is_reusable() {
                    // Whoever is in the middle of something must learn now, not with the next request, that nothing comes.
                    reached!("session: a connection to a peer is given up after a request");
                    self.peer.close().await;
                }
                return goes_on;
            }
        }
        Ok(true)
    }

    async fn answer(&mut self, request: Message) -> Result<bool, SessionError> {
        let need = match request {
            // To a gateway that is no request (§7.3).
            Message::NotifyChange if self.manner.proxy => None,
            _ => Need::of(&request),
        };
        let Some(need) = need else {
            let text = if self.manner.proxy { "protocol error" } else { "unexpected command" };
            self.wire.send(&Message::error(text)).await?;
            return if self.manner.proxy { Err(SessionError::Protocol) } else { Ok(true) };
        };
        if let Err(why) = self.manner.mode.allows(need) {
            self.wire.send(&Message::error(why)).await?;
            return Ok(!matches!(request, Message::Connect(_)));
        }
        if let Some(why) = not_served(&request) {
            self.wire.send(&Message::error(why)).await?;
            return Err(SessionError::NotServed(why));
        }
        if !self.begun {
            self.peer.begin(self.version, &self.bypass).await?;
            self.begun = true;
        }
        match request {
            Message::CheckPresent(key) => {
                let present = self.peer.check_present(&key).await;
                let answer = present.map(|present| self.outcome(Outcome::of(present)));
                reply(self.wire, answer).await?;
            }
            Message::LockContent(key) => self.lock(&key).await?,
            Message::Remove(key) => {
                let removed = self.peer.remove(&key, None).await;
                let answer = removed.map(|outcome| self.outcome(outcome));
                reply(self.wire, answer).await?;
            }
            Message::RemoveBefore(time, key) => {
                let removed = self.peer.remove(&key, Some(time)).await;
                let answer = removed.map(|outcome| self.outcome(outcome));
                reply(self.wire, answer).await?;
            }
            Message::GetTimestamp => {
                let time = self.peer.timestamp().await.map(Message::Timestamp);
                reply(self.wire, time).await?;
            }
            Message::Get(offset, file, key) => self.get(offset, &file, &key).await?,
            Message::Put(file, key) => self.put(&file, &key).await?,
            _ => return Err(SessionError::Protocol),
        }
        Ok(true)
    }

    /// SUCCESS or FAILURE, and with PLUS where the client knows that and there is more to tell (§7.5).
    fn outcome(&self, outcome: Outcome) -> Message {
        let Outcome { done, also } = outcome;
        let also: Vec<_> = also.into_iter().filter(|uuid| uuid != self.peer.uuid()).collect();
        match (done, also.is_empty() || !self.version.has_plus()) {
            (true, true) => Message::Success,
            (true, false) => Message::SuccessPlus(also),
            (false, true) => Message::Failure,
            (false, false) => Message::FailurePlus(also),
        }
    }

    /// Locks the object until the client's next message (§4.2). Should that not come, the lock is dropped as it is; should the
    /// lock be lost before, the session ends, which is how the client learns of it.
    async fn lock(&mut self, key: &Key) -> Result<(), SessionError> {
        let mut lock = match self.peer.lock(key).await {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(self.wire.send(&Message::Failure).await?),
            Err(error) => return reply(self.wire, Err(error)).await,
        };
        self.wire.send(&Message::Success).await?;
        let received = match select(pin!(self.wire.receive()), lock.keep()).await {
            Either::Left((received, _)) => received?,
            Either::Right((error, _)) => {
                reached!("session: a lock is lost");
                return Err(error.into());
            }
        };
        match received {
            Received::Message(Message::UnlockContent) => unheard("unlock", lock.unlock().await),
            Received::End if relapse!("annex-L1") => unheard("unlock", lock.unlock().await),
            Received::End => {}
            _ => {
                unheard("unlock", lock.unlock().await);
                self.wire.send(&Message::error("expected UNLOCKCONTENT")).await?;
            }
        }
        Ok(())
    }

    async fn get(&mut self, offset: i64, file: &AssociatedFile, key: &Key) -> Result<(), SessionError> {
        let Ok(offset) = u64::try_from(offset) else {
            return Ok(self.wire.send(&Message::error("the offset is negative")).await?);
        };
        let mut download = match self.peer.get(offset, file, key).await {
            Ok(download) => download,
            Err(error) => return reply(self.wire, Err(error)).await,
        };
        let mut to_come = download.length();
        self.wire.send(&Message::Data(i64::try_from(to_come).unwrap_or(i64::MAX))).await?;
        while let Some(piece) = download.next().await? {
            to_come = to_come.saturating_sub(piece.len() as u64);
            self.wire.send_piece(piece).await?;
        }
        if to_come > 0 {
            // The client waits for the rest, and there is no other way to say that it does not come.
            drop(download);
            let (uuid, why) =
                (self.peer.uuid().clone(), format!("{to_come} bytes that it announced did not come"));
            return Err(PeerError::Lost { uuid, why }.into());
        }
        let verdict = download.verdict().await?;
        if self.version.has_verdict() {
            let valid = verdict == Verdict::Valid;
            self.wire.send(if valid { &Message::Valid } else { &Message::Invalid }).await?;
        }
        match self.wire.receive().await? {
            Received::Message(Message::Success | Message::SuccessPlus(_)) => {
                unheard("end", download.end(true).await);
            }
            Received::Message(Message::Failure | Message::FailurePlus(_)) => {
                unheard("end", download.end(false).await);
            }
            _ => return Err(SessionError::Protocol),
        }
        Ok(())
    }

    async fn put(&mut self, file: &AssociatedFile, key: &Key) -> Result<(), SessionError> {
        let version = self.version;
        let (offset, mut upload) = match self.peer.put(file, key).await {
            Ok(Offer::AlreadyHave(also)) => {
                let also: Vec<_> = also.into_iter().filter(|uuid| !uuid.is_cluster()).collect();
                let plain = also.is_empty() || !version.has_plus();
                let answer = if plain { Message::AlreadyHave } else { Message::AlreadyHavePlus(also) };
                return Ok(self.wire.send(&answer).await?);
            }
            Ok(Offer::From(offset, upload)) => (offset, upload),
            Err(error) => return reply(self.wire, Err(error)).await,
        };
        self.wire.send(&Message::PutFrom(i64::try_from(offset).unwrap_or(i64::MAX))).await?;
        let outcome = match self.wire.receive().await? {
            Received::Message(Message::Data(length)) => {
                let length = self.wire.expect_data(length)?;
                upload.begin(length).await?;
                while let Some(piece) = self.wire.receive_piece().await? {
                    upload.write(piece).await?;
                }
                let (verdict, complaint) = verdict_of(self.wire, version).await?;
                if relapse!("annex-B20") && (length, verdict) == (0, Verdict::Invalid) {
                    return Ok(());
                }
                let outcome = upload.finish(verdict).await;
                if let Some(complaint) = complaint {
                    // One answer a request: the real program sends a second one after this (§4.2).
                    self.wire.send(&Message::error(complaint)).await?;
                    if !relapse!("annex-L17") {
                        return Ok(());
                    }
                }
                outcome
            }
            Received::Message(Message::DataPresent) if version.has_data_present() => {
                upload.is_present().await
            }
            Received::Message(Message::Error(_)) => {
                unheard("withdraw", upload.withdraw().await);
                return Ok(());
            }
            Received::End => return Ok(()),
            _ => {
                unheard("withdraw", upload.withdraw().await);
                return Ok(self.wire.send(&Message::error("expected DATA")).await?);
            }
        };
        let answer = outcome.map(|outcome| self.outcome(outcome));
        reply(self.wire, answer).await
    }
}

/// What the client is told that wants what only a git repository has; the session is over then, as it is after a connection of
/// git's (§4.2).
fn not_served(request: &Message) -> Option<&'static str> {
    match request {
        Message::Connect(_) => Some("there is no git repository here to connect to"),
        Message::NotifyChange => Some("there are no references here that could change"),
        _ => None,
    }
}

/// A peer that fails after the client has had all that it gets: the client's next request finds another connection.
fn unheard(what: &str, ended: Result<(), PeerError>) {
    if let Err(error) = ended {
        reached!("session: a peer fails when its client needs nothing more of it");
        debug!(target: "p2p", what, %error, "the client is not told");
    }
}

/// Answers, or says what the peer said instead. Anything else that goes wrong has no answer.
async fn reply(wire: &mut Wire, answer: Result<Message, PeerError>) -> Result<(), SessionError> {
    match answer {
        Ok(message) => wire.send(&message).await?,
        Err(PeerError::Refused(text)) => wire.send(&Message::error(&text)).await?,
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// What the client says of the bytes that it has sent, and what to tell it if that makes no sense.
async fn verdict_of(
    wire: &mut Wire,
    version: Version,
) -> Result<(Verdict, Option<&'static str>), SessionError> {
    if !version.has_verdict() {
        return Ok((Verdict::Unknown, None));
    }
    Ok(match wire.receive().await? {
        Received::Message(Message::Valid) => (Verdict::Valid, None),
        Received::Message(Message::Invalid) => (Verdict::Invalid, None),
        Received::End => return Err(WireError::Cut("a request").into()),
        _ => (Verdict::Unknown, Some("expected VALID or INVALID")),
    })
}
