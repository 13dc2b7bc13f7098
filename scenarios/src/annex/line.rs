//! A client's connection to the gateway, spoken on by hand: what a client is told is judged as it was said.

use async_trait::async_trait;
use bytes::Bytes;
use pool::key::Key;
use pool::message::{AssociatedFile, Message};
use pool::version::Version;
use pool::wire::{Received, Wire};

use super::oracle;
use super::workload::Body;

/// A client's way to speak with the gateway. Requests and answers are messages, in whatever form they go.
#[async_trait]
pub trait Speak: Send {
    /// The version that is spoken.
    fn version(&self) -> Version;

    /// Whether the gateway has gone, after saying nothing unasked.
    async fn is_over(&mut self) -> Answered<bool>;

    /// Asks for something, and hears what is said.
    async fn ask(&mut self, request: &Message) -> Answered<Message>;

    /// Gets an object from `offset` on; none when the gateway refuses that.
    async fn get(&mut self, offset: u64, key: &Key) -> Answered<Result<Got, Message>>;

    /// Puts an object, or something else, in so many pieces. `leaves`: a client that sends too little hangs up.
    async fn put(
        &mut self,
        key: &Key,
        content: &Bytes,
        body: Body,
        pieces: u64,
        leaves: bool,
    ) -> Answered<Message>;

    /// Asks from where on an object is wanted, where that is a request of its own; none when it is not, or not wanted.
    async fn offset(&mut self, _: &Key) -> Answered<Option<u64>> {
        Ok(None)
    }

    /// Gives up the lock that was asked for last.
    async fn unlock(&mut self) -> Answered<()>;
}

/// A connection to the gateway.
pub struct Line {
    wire: Wire,
    version: Version,
}

/// What went wrong with a request, or its connection.
#[derive(Debug)]
pub enum Lost {
    /// The connection has gone: nobody knows what has come of the request.
    Gone(String),
    /// The gateway has said what it must not.
    Wrong(String),
}

/// What has come of an object.
pub struct Got {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The gateway says that they are right; without verdicts, it says nothing.
    pub valid: Option<bool>,
}

/// What was heard.
pub type Answered<T> = Result<T, Lost>;

impl Line {
    /// Meets the gateway, and agrees on a version.
    pub async fn meet(wire: Wire, newest: Version) -> Answered<Line> {
        let mut line = Line { wire, version: Version::V0 };
        match line.hear().await? {
            Message::AuthSuccess(_) => {}
            other => return Err(wrong(&other)),
        }
        if newest > Version::V0 {
            match line.ask(&Message::Version(newest.number().into())).await? {
                Message::Version(number) => {
                    line.version = newest.negotiate(number);
                    if number != i64::from(line.version.number()) {
                        return Err(Lost::Wrong(format!("VERSION {number} is more than was asked for")));
                    }
                }
                other => return Err(wrong(&other)),
            }
        }
        Ok(line)
    }

    async fn say(&mut self, message: &Message) -> Answered<()> {
        self.wire.send(message).await.map_err(gone)
    }

    async fn hear(&mut self) -> Answered<Message> {
        match self.wire.receive().await.map_err(gone)? {
            Received::Message(message) => {
                oracle::replies::check_word(&message, self.version).map_err(Lost::Wrong)?;
                Ok(message)
            }
            Received::Unknown => Err(Lost::Wrong("the gateway says what is no message".into())),
            Received::End => Err(Lost::Gone("the gateway has hung up".into())),
        }
    }
}

#[async_trait]
impl Speak for Line {
    fn version(&self) -> Version {
        self.version
    }

    async fn is_over(&mut self) -> Answered<bool> {
        let over = self.wire.is_stale().await;
        oracle::replies::check_silent(self.wire.is_quiet()).map_err(Lost::Wrong)?;
        Ok(over)
    }

    async fn ask(&mut self, request: &Message) -> Answered<Message> {
        self.say(request).await?;
        self.hear().await
    }

    async fn get(&mut self, offset: u64, key: &Key) -> Answered<Result<Got, Message>> {
        let request = Message::Get(offset as i64, AssociatedFile::default(), key.clone());
        let length = match self.ask(&request).await? {
            Message::Data(length) => length,
            refusal @ Message::Error(_) => return Ok(Err(refusal)),
            other => return Err(wrong(&other)),
        };
        self.wire.expect_data(length).map_err(gone)?;
        let mut bytes = Vec::new();
        while let Some(piece) = self.wire.receive_piece().await.map_err(gone)? {
            bytes.extend_from_slice(&piece);
        }
        let valid = match self.version.has_verdict() {
            false => None,
            true => match self.hear().await? {
                Message::Valid => Some(true),
                Message::Invalid => Some(false),
                other => return Err(wrong(&other)),
            },
        };
        let all_is_well = valid.unwrap_or(!bytes.is_empty());
        self.say(if all_is_well { &Message::Success } else { &Message::Failure }).await?;
        Ok(Ok(Got { bytes, valid }))
    }

    async fn put(
        &mut self,
        key: &Key,
        content: &Bytes,
        body: Body,
        pieces: u64,
        _: bool,
    ) -> Answered<Message> {
        let offset = match self.ask(&Message::Put(AssociatedFile::default(), key.clone())).await? {
            Message::PutFrom(offset) => usize::try_from(offset).unwrap_or(usize::MAX),
            answer => return Ok(answer),
        };
        let mut rest = content.get(offset..).unwrap_or_default().to_vec();
        let (announced, verdict) = match body {
            Body::Present if self.version.has_data_present() => return self.ask(&Message::DataPresent).await,
            Body::Mute => (rest.len(), Message::CheckPresent(key.clone())),
            Body::Whole | Body::Short => (rest.len(), Message::Valid),
            Body::Wrong => {
                rest.last_mut().into_iter().for_each(|byte| *byte ^= 1);
                (rest.len(), Message::Valid)
            }
            Body::Excess => {
                rest.extend([7; 50]);
                (rest.len() + 100, Message::Valid)
            }
            Body::Nothing | Body::Present => {
                rest.clear();
                (0, Message::Invalid)
            }
        };
        if body == Body::Short {
            rest.truncate(rest.len() / 2);
        }
        self.say(&Message::Data(announced as i64)).await?;
        for piece in rest.chunks(rest.len().div_ceil(pieces.max(1) as usize).max(1)) {
            self.wire.send_piece(Bytes::copy_from_slice(piece)).await.map_err(gone)?;
        }
        if rest.len() < announced {
            return Err(Lost::Gone("the client hangs up in the middle".into()));
        }
        if self.version.has_verdict() {
            self.say(&verdict).await?;
        }
        self.hear().await
    }

    async fn unlock(&mut self) -> Answered<()> {
        self.say(&Message::UnlockContent).await
    }
}

fn wrong(message: &Message) -> Lost {
    Lost::Wrong(format!("the gateway says {message:?}, which is no answer to that"))
}

fn gone(error: impl std::fmt::Display) -> Lost {
    Lost::Gone(error.to_string())
}
