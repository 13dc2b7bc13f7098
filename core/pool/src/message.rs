//! The messages of the P2P protocol: one a line, each a word and its fields (annex-p2p §1, §2).
//!
//! Parsing is of bytes, since keys and file names are. It takes what the real program takes, but for its lenient
//! numbers: an optional minus and decimal digits are a number here, and nothing else is.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};

use crate::key::Key;
use crate::uuid::Uuid;

/// The longest line, without its line feed, in bytes.
pub const LONGEST_LINE: usize = 32768;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Client: who it is, where the transport does not tell.
    Auth(Uuid, Token),
    /// Server: accepted, and who the server is.
    AuthSuccess(Uuid),
    /// Server: refused.
    AuthFailure,
    /// Either: the version that is wanted, or spoken from now on.
    Version(i64),
    /// Client: the gateways that the request has passed. Not answered.
    Bypass(Vec<Uuid>),
    /// Client: is the whole object there?
    CheckPresent(Key),
    /// Client: keep the object until it is unlocked.
    LockContent(Key),
    /// Client: the lock is no longer needed. Not answered.
    UnlockContent,
    /// Client: remove the object.
    Remove(Key),
    /// Client: remove the object if the server's clock is below this.
    RemoveBefore(i64, Key),
    /// Client: what does the server's monotonic clock show?
    GetTimestamp,
    /// Server: so many seconds.
    Timestamp(i64),
    /// Client: send the object from this offset on.
    Get(i64, AssociatedFile, Key),
    /// Client: here is an object.
    Put(AssociatedFile, Key),
    /// Server: send it from this offset on.
    PutFrom(i64),
    /// Server: it is there already.
    AlreadyHave,
    /// Server: it is there already, and in these repositories.
    AlreadyHavePlus(Vec<Uuid>),
    /// Either: so many bytes follow at once.
    Data(i64),
    /// Client, instead of DATA: the object came to the server in another way.
    DataPresent,
    /// Either: the data just sent are right.
    Valid,
    /// Either: the data just sent are not to be trusted.
    Invalid,
    /// Either: done.
    Success,
    /// Server: done, in these repositories as well.
    SuccessPlus(Vec<Uuid>),
    /// Either: not done.
    Failure,
    /// Server: not done, though in these repositories.
    FailurePlus(Vec<Uuid>),
    /// Client: from now on this is a connection of git's.
    Connect(Service),
    /// Either: git's connection is over, with this exit status.
    ConnectDone(i64),
    /// Client: say when references have changed.
    NotifyChange,
    /// Server: these references have changed.
    Changed(Vec<Bytes>),
    /// Either: what went wrong.
    Error(Bytes),
}

/// What a client shows to prove who it is. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub Bytes);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The file of a working tree that an object is wanted for, for people to read; empty when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssociatedFile(pub Bytes);

/// What git wants to do on a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `git-upload-pack`
    UploadPack,
    /// `git-receive-pack`
    ReceivePack,
}

/// A line that is no message: its word is unknown, or its fields are not those of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no message of the protocol")]
pub struct NotAMessage;

impl Message {
    /// Parses a line, without its line feed.
    pub fn parse(line: &Bytes) -> Result<Message, NotAMessage> {
        let (word, rest) = match line.iter().position(is_space) {
            Some(end) => (line.slice(..end), Some(line.slice(end + 1..))),
            None => (line.clone(), None),
        };
        let fields = Fields { rest };
        Ok(match &*word {
            b"AUTH" => fields.two(|uuid, token| Some(Message::Auth(to_uuid(&uuid)?, Token(token))))?,
            b"AUTH-SUCCESS" => fields.one(|uuid| to_uuid(&uuid).map(Message::AuthSuccess))?,
            b"AUTH-FAILURE" => fields.none(Message::AuthFailure)?,
            b"VERSION" => fields.one(|number| to_number(&number).map(Message::Version))?,
            b"BYPASS" => fields.uuids(Message::Bypass)?,
            b"CHECKPRESENT" => fields.one(|key| to_key(key).map(Message::CheckPresent))?,
            b"LOCKCONTENT" => fields.one(|key| to_key(key).map(Message::LockContent))?,
            b"UNLOCKCONTENT" => fields.none(Message::UnlockContent)?,
            b"REMOVE" => fields.one(|key| to_key(key).map(Message::Remove))?,
            b"REMOVE-BEFORE" => {
                fields.two(|time, key| Some(Message::RemoveBefore(to_number(&time)?, to_key(key)?)))?
            }
            b"GETTIMESTAMP" => fields.none(Message::GetTimestamp)?,
            b"TIMESTAMP" => fields.one(|time| to_number(&time).map(Message::Timestamp))?,
            b"GET" => fields.three(|offset, file, key| {
                Some(Message::Get(to_number(&offset)?, AssociatedFile::unescape(&file)?, to_key(key)?))
            })?,
            b"PUT" => {
                fields.two(|file, key| Some(Message::Put(AssociatedFile::unescape(&file)?, to_key(key)?)))?
            }
            b"PUT-FROM" => fields.one(|offset| to_number(&offset).map(Message::PutFrom))?,
            b"ALREADY-HAVE" => fields.none(Message::AlreadyHave)?,
            b"ALREADY-HAVE-PLUS" => fields.uuids(Message::AlreadyHavePlus)?,
            b"DATA" => fields.one(|length| to_number(&length).map(Message::Data))?,
            b"DATA-PRESENT" => fields.none(Message::DataPresent)?,
            b"VALID" => fields.none(Message::Valid)?,
            b"INVALID" => fields.none(Message::Invalid)?,
            b"SUCCESS" => fields.none(Message::Success)?,
            b"SUCCESS-PLUS" => fields.uuids(Message::SuccessPlus)?,
            b"FAILURE" => fields.none(Message::Failure)?,
            b"FAILURE-PLUS" => fields.uuids(Message::FailurePlus)?,
            b"CONNECT" => fields.one(|service| Service::of(&service).map(Message::Connect))?,
            b"CONNECTDONE" => fields.one(|status| to_number(&status).map(Message::ConnectDone))?,
            b"NOTIFYCHANGE" => fields.none(Message::NotifyChange)?,
            b"CHANGED" => Message::Changed(fields.words()),
            b"ERROR" => fields.one(|text| Some(Message::Error(text)))?,
            _ => return Err(NotAMessage),
        })
    }

    /// The message as a line, with its line feed. A text is cut where it would end the line.
    pub fn line(&self) -> Bytes {
        let mut line = BytesMut::with_capacity(128);
        line.put_slice(self.word().as_bytes());
        match self {
            Message::Auth(uuid, token) => {
                field(&mut line, uuid.as_str().as_bytes());
                field(&mut line, &token.0);
            }
            Message::AuthSuccess(uuid) => field(&mut line, uuid.as_str().as_bytes()),
            Message::Version(number)
            | Message::Timestamp(number)
            | Message::PutFrom(number)
            | Message::Data(number)
            | Message::ConnectDone(number) => number_field(&mut line, *number),
            Message::Bypass(uuids)
            | Message::AlreadyHavePlus(uuids)
            | Message::SuccessPlus(uuids)
            | Message::FailurePlus(uuids) => {
                uuids.iter().for_each(|uuid| field(&mut line, uuid.as_str().as_bytes()));
            }
            Message::CheckPresent(key) | Message::LockContent(key) | Message::Remove(key) => {
                field(&mut line, key.as_bytes());
            }
            Message::RemoveBefore(time, key) => {
                number_field(&mut line, *time);
                field(&mut line, key.as_bytes());
            }
            Message::Get(offset, file, key) => {
                number_field(&mut line, *offset);
                field(&mut line, &file.escape());
                field(&mut line, key.as_bytes());
            }
            Message::Put(file, key) => {
                field(&mut line, &file.escape());
                field(&mut line, key.as_bytes());
            }
            Message::Connect(service) => field(&mut line, service.name().as_bytes()),
            Message::Changed(references) => references.iter().for_each(|name| field(&mut line, name)),
            Message::Error(text) => {
                let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
                field(&mut line, &text[..end.min(LONGEST_LINE / 2)]);
            }
            _ => {}
        }
        line.put_u8(b'\n');
        line.freeze()
    }

    /// An ERROR.
    pub fn error(text: &str) -> Message {
        Message::Error(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Its word.
    pub fn word(&self) -> &'static str {
        match self {
            Message::Auth(..) => "AUTH",
            Message::AuthSuccess(_) => "AUTH-SUCCESS",
            Message::AuthFailure => "AUTH-FAILURE",
            Message::Version(_) => "VERSION",
            Message::Bypass(_) => "BYPASS",
            Message::CheckPresent(_) => "CHECKPRESENT",
            Message::LockContent(_) => "LOCKCONTENT",
            Message::UnlockContent => "UNLOCKCONTENT",
            Message::Remove(_) => "REMOVE",
            Message::RemoveBefore(..) => "REMOVE-BEFORE",
            Message::GetTimestamp => "GETTIMESTAMP",
            Message::Timestamp(_) => "TIMESTAMP",
            Message::Get(..) => "GET",
            Message::Put(..) => "PUT",
            Message::PutFrom(_) => "PUT-FROM",
            Message::AlreadyHave => "ALREADY-HAVE",
            Message::AlreadyHavePlus(_) => "ALREADY-HAVE-PLUS",
            Message::Data(_) => "DATA",
            Message::DataPresent => "DATA-PRESENT",
            Message::Valid => "VALID",
            Message::Invalid => "INVALID",
            Message::Success => "SUCCESS",
            Message::SuccessPlus(_) => "SUCCESS-PLUS",
            Message::Failure => "FAILURE",
            Message::FailurePlus(_) => "FAILURE-PLUS",
            Message::Connect(_) => "CONNECT",
            Message::ConnectDone(_) => "CONNECTDONE",
            Message::NotifyChange => "NOTIFYCHANGE",
            Message::Changed(_) => "CHANGED",
            Message::Error(_) => "ERROR",
        }
    }
}

impl AssociatedFile {
    /// A file's name as it came in some other form: relative, and with underscores for control characters.
    pub fn of_name(name: &Bytes) -> Option<AssociatedFile> {
        let plain = |byte: &u8| if byte.is_ascii_control() { b'_' } else { *byte };
        (!name.starts_with(b"/")).then(|| AssociatedFile(name.iter().map(plain).collect()))
    }

    /// As it is sent: a percent sign is doubled, and whitespace becomes one.
    fn escape(&self) -> Bytes {
        let mut escaped = BytesMut::with_capacity(self.0.len());
        for byte in &self.0 {
            match byte {
                b'%' => escaped.put_slice(b"%%"),
                space if is_space(space) => escaped.put_u8(b'%'),
                other => escaped.put_u8(*other),
            }
        }
        escaped.freeze()
    }

    /// From what was sent. What was whitespace becomes an underscore, and so do control characters; nothing absolute.
    fn unescape(escaped: &[u8]) -> Option<AssociatedFile> {
        if escaped.starts_with(b"/") {
            return None;
        }
        let mut name = BytesMut::with_capacity(escaped.len());
        let mut bytes = escaped.iter().peekable();
        while let Some(byte) = bytes.next() {
            name.put_u8(match byte {
                b'%' if bytes.next_if(|next| **next == b'%').is_some() => b'%',
                b'%' => b'_',
                control if control.is_ascii_control() => b'_',
                other => *other,
            });
        }
        Some(AssociatedFile(name.freeze()))
    }
}

impl Service {
    fn of(name: &[u8]) -> Option<Service> {
        [Service::UploadPack, Service::ReceivePack]
            .into_iter()
            .find(|service| service.name().as_bytes() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Service::UploadPack => "git-upload-pack",
            Service::ReceivePack => "git-receive-pack",
        }
    }
}

/// What follows the word: nothing, or what comes after one separator.
struct Fields {
    rest: Option<Bytes>,
}

impl Fields {
    fn none(self, message: Message) -> Result<Message, NotAMessage> {
        self.rest.map_or(Ok(message), |_| Err(NotAMessage))
    }

    fn one(self, to: impl FnOnce(Bytes) -> Option<Message>) -> Result<Message, NotAMessage> {
        to(self.rest.ok_or(NotAMessage)?).ok_or(NotAMessage)
    }

    fn two(self, to: impl FnOnce(Bytes, Bytes) -> Option<Message>) -> Result<Message, NotAMessage> {
        let (first, rest) = cut(&self.rest.ok_or(NotAMessage)?)?;
        to(first, rest).ok_or(NotAMessage)
    }

    fn three(self, to: impl FnOnce(Bytes, Bytes, Bytes) -> Option<Message>) -> Result<Message, NotAMessage> {
        let (first, rest) = cut(&self.rest.ok_or(NotAMessage)?)?;
        let (second, rest) = cut(&rest)?;
        to(first, second, rest).ok_or(NotAMessage)
    }

    fn words(self) -> Vec<Bytes> {
        let rest = self.rest.unwrap_or_default();
        rest.split(is_space).filter(|word| !word.is_empty()).map(|word| rest.slice_ref(word)).collect()
    }

    fn uuids(self, to: impl FnOnce(Vec<Uuid>) -> Message) -> Result<Message, NotAMessage> {
        let uuids = self.words().iter().map(|word| to_uuid(word)).collect::<Option<_>>();
        uuids.map(to).ok_or(NotAMessage)
    }
}

/// What is before the first whitespace, and what is after that one character.
fn cut(text: &Bytes) -> Result<(Bytes, Bytes), NotAMessage> {
    let end = text.iter().position(is_space).ok_or(NotAMessage)?;
    Ok((text.slice(..end), text.slice(end + 1..)))
}

fn field(line: &mut BytesMut, bytes: &[u8]) {
    line.put_u8(b' ');
    line.put_slice(bytes);
}

fn number_field(line: &mut BytesMut, number: i64) {
    // Writing to memory cannot fail.
    let _ = write!(line, " {number}");
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn to_number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}

fn to_uuid(text: &[u8]) -> Option<Uuid> {
    Uuid::new(std::str::from_utf8(text).ok()?)
}

fn to_key(text: Bytes) -> Option<Key> {
    Key::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";

    fn parse(line: &str) -> Result<Message, NotAMessage> {
        Message::parse(&Bytes::copy_from_slice(line.as_bytes()))
    }

    fn key() -> Key {
        Key::parse(KEY).unwrap()
    }

    fn file(name: &'static str) -> AssociatedFile {
        AssociatedFile(Bytes::from_static(name.as_bytes()))
    }

    #[test]
    fn fields_are_cut_at_single_whitespace() {
        assert_eq!(parse(&format!("GET 0  {KEY}")), Ok(Message::Get(0, file(""), key())));
        assert_eq!(parse(&format!("PUT  {KEY}")), Ok(Message::Put(file(""), key())));
        assert_eq!(parse(&format!("CHECKPRESENT\t{KEY}")), Ok(Message::CheckPresent(key())));
        assert_eq!(parse(&format!("PUT {KEY}")), Err(NotAMessage));
        assert_eq!(parse(&format!("CHECKPRESENT  {KEY}")), Err(NotAMessage), "the blank is part of the key");
        assert_eq!(parse("UNLOCKCONTENT anything"), Err(NotAMessage));
        assert_eq!(parse("UNLOCKCONTENT "), Err(NotAMessage));
        assert_eq!(parse("BYPASS"), Ok(Message::Bypass(Vec::new())));
        let two = vec![Uuid::new("a").unwrap(), Uuid::new("b").unwrap()];
        assert_eq!(parse("BYPASS  a \t b "), Ok(Message::Bypass(two)));
    }

    #[test]
    fn numbers_are_decimal() {
        assert_eq!(parse("VERSION 4"), Ok(Message::Version(4)));
        assert_eq!(parse("DATA -1"), Ok(Message::Data(-1)));
        for bad in [
            "VERSION",
            "VERSION ",
            "VERSION 0x4",
            "VERSION +4",
            "VERSION 4 ",
            "VERSION -",
            "DATA 9223372036854775808",
        ] {
            assert_eq!(parse(bad), Err(NotAMessage), "{bad:?}");
        }
    }

    #[test]
    fn file_names_lose_what_would_disturb() {
        let parsed = |name: &str| match parse(&format!("PUT {name} {KEY}")) {
            Ok(Message::Put(file, _)) => Some(file.0),
            _ => None,
        };
        assert_eq!(parsed("a%b%%c").unwrap(), "a_b%c");
        assert_eq!(parsed("a\x01b").unwrap(), "a_b");
        assert_eq!(parsed("/etc/passwd"), None);
        let line = Message::Put(file("50% of\tit"), key()).line();
        assert_eq!(line, format!("PUT 50%%%of%it {KEY}\n"));
    }

    #[test]
    fn a_service_is_one_of_two() {
        assert_eq!(parse("CONNECT git-upload-pack"), Ok(Message::Connect(Service::UploadPack)));
        assert_eq!(parse("CONNECT git-shell"), Err(NotAMessage));
    }

    #[test]
    fn an_error_stays_on_its_line_and_a_token_is_not_printed() {
        assert_eq!(Message::error("one\ntwo").line(), "ERROR one\n");
        let auth = Message::Auth(Uuid::new("u").unwrap(), Token("hush".into()));
        assert!(!format!("{auth:?}").contains("hush"));
    }

    fn any_uuids() -> impl Strategy<Value = Vec<Uuid>> {
        prop::collection::vec("[a-z0-9-]{1,36}".prop_map(|text| Uuid::new(&text).unwrap()), 0..4)
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let name = "[a-z%./]{0,9}".prop_filter("relative", |name| !name.starts_with('/'));
        let file = || name.clone().prop_map(|name| AssociatedFile(name.into_bytes().into()));
        prop_oneof![
            any_uuids().prop_map(Message::Bypass),
            any_uuids().prop_map(Message::AlreadyHavePlus),
            any_uuids().prop_map(Message::SuccessPlus),
            any_uuids().prop_map(Message::FailurePlus),
            any::<i64>().prop_map(Message::Data),
            any::<i64>().prop_map(Message::Timestamp),
            any::<i64>().prop_map(|time| Message::RemoveBefore(time, key())),
            (any::<i64>(), file()).prop_map(|(offset, file)| Message::Get(offset, file, key())),
            file().prop_map(|file| Message::Put(file, key())),
            Just(Message::GetTimestamp),
            Just(Message::DataPresent),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_comes(message in any_message()) {
            let line = message.line();
            let line = line.slice(..line.len() - 1);
            prop_assert_eq!(Message::parse(&line), Ok(message));
        }

        #[test]
        fn any_line_is_a_message_or_is_not(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::parse(&Bytes::from(line));
        }
    }
}
