//! What is asked, as methods, paths and queries (annex-p2p §10.1, §10.3). Pure.

use std::collections::BTreeSet;
use std::fmt::Write;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use runtime::relapse;

use super::answer::Refusal;
use super::text::{decode, decode_query, encode};
use crate::key::Key;
use crate::message::AssociatedFile;
use crate::mode::Need;
use crate::uuid::Uuid;
use crate::version::Version;

/// What a client asks of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The repository.
    pub server: Uuid,
    /// The version that the client speaks.
    pub version: Version,
    /// Who the client is; only a GET without a version, and what keeps a lock, may not tell.
    pub client: Option<Uuid>,
    /// The gateways that the request has passed.
    pub bypass: BTreeSet<Uuid>,
    /// What it asks.
    pub call: Call,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The object from this offset on.
    Get(Key, AssociatedFile, u64),
    /// Whether the object is there.
    CheckPresent(Key),
    /// Remove it.
    Remove(Key),
    /// Remove it if the server's clock is below this.
    RemoveBefore(Key, i64),
    /// What the server's clock shows.
    GetTimestamp,
    /// Here is the object, from this offset on.
    Put(Key, AssociatedFile, u64),
    /// The object has come in another way.
    DataPresent(Key, AssociatedFile),
    /// From where on the object is wanted.
    PutOffset(Key),
    /// Lock it.
    LockContent(Key),
    /// Keep this lock for as long as the body lasts.
    KeepLocked(String),
}

impl Call {
    /// The last part of its path, but for a GET's key.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Get(..) => "key",
            Call::CheckPresent(_) => "checkpresent",
            Call::Remove(_) => "remove",
            Call::RemoveBefore(..) => "remove-before",
            Call::GetTimestamp => "gettimestamp",
            Call::Put(..) | Call::DataPresent(..) => "put",
            Call::PutOffset(_) => "putoffset",
            Call::LockContent(_) => "lockcontent",
            Call::KeepLocked(_) => "keeplocked",
        }
    }

    /// What the client must be allowed to do.
    pub fn need(&self) -> Need {
        match self {
            Call::Get(..) | Call::CheckPresent(_) | Call::GetTimestamp => Need::Read,
            Call::Put(..) | Call::DataPresent(..) | Call::PutOffset(_) => Need::Write,
            Call::Remove(_) | Call::RemoveBefore(..) => Need::Remove,
            Call::LockContent(_) | Call::KeepLocked(_) => Need::Lock,
        }
    }

    /// Whether it can be asked in this version.
    pub fn exists_in(&self, version: Version) -> bool {
        exists_in(self.name(), version)
            && (version.has_data_present() || !matches!(self, Call::DataPresent(..)))
    }

    /// Whether it can be asked again when no answer came: it changes nothing, or what it changes times out.
    pub fn is_repeatable(&self) -> bool {
        use Call::*;
        matches!(self, Get(..) | CheckPresent(_) | GetTimestamp | PutOffset(_) | LockContent(_))
    }

    fn method(&self) -> Method {
        if matches!(self, Call::Get(..)) { Method::GET } else { Method::POST }
    }
}

impl Request {
    /// Reads a request's method, path and query.
    pub fn parse(method: &Method, path: &str, query: &str) -> Result<Request, Refusal> {
        let not_found = || Refusal::new(StatusCode::NOT_FOUND, "there is nothing here");
        let mut segments = path.strip_prefix("/git-annex/").ok_or_else(not_found)?.split('/');
        let server = segments.next().and_then(decode).ok_or_else(not_found)?;
        let server = to_uuid(server).ok_or_else(not_found)?;
        let rest: Vec<_> = segments.collect();
        let (version, name, key) = match rest[..] {
            ["key", key] => (None, "key", Some(key)),
            [version, "key", key] => (Some(version), "key", Some(key)),
            [version, name] if name != "key" => (Some(version), name, None),
            _ => return Err(not_found()),
        };
        let versioned = version.is_some();
        let version = version.map_or(Ok(Version::V0), to_version)?;
        if !exists_in(name, version) {
            return Err(not_found());
        }
        let wanted = if name == "key" { Method::GET } else { Method::POST };
        if *method != wanted {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{name} is asked with {wanted}"),
            ));
        }
        let fields = Fields(decode_query(query).ok_or_else(|| bad("the query"))?);
        let call = match name {
            "key" => {
                let key = key.and_then(decode).and_then(|key| Key::parse(key).ok());
                Call::Get(key.ok_or_else(|| bad("the key"))?, fields.file()?, fields.offset()?)
            }
            "checkpresent" => Call::CheckPresent(fields.key()?),
            "remove" => Call::Remove(fields.key()?),
            "remove-before" => Call::RemoveBefore(fields.key()?, fields.timestamp()?),
            "gettimestamp" => Call::GetTimestamp,
            "put" if version.has_data_present() && fields.has("data-present", b"true") => {
                Call::DataPresent(fields.key()?, fields.file()?)
            }
            "put" => Call::Put(fields.key()?, fields.file()?, fields.offset()?),
            "putoffset" => Call::PutOffset(fields.key()?),
            "lockcontent" => Call::LockContent(fields.key()?),
            _ => Call::KeepLocked(fields.lock()?),
        };
        let client = fields.client()?;
        if client.is_none() && versioned && name != "keeplocked" {
            return Err(bad("clientuuid"));
        }
        Ok(Request { server, version, client, bypass: fields.bypass()?, call })
    }

    /// The method, and the path with its query, that ask it.
    pub fn render(&self) -> (Method, String) {
        let (server, name) = (encode(self.server.as_str().as_bytes()), self.call.name());
        let mut path = format!("/git-annex/{server}/v{}/{name}", self.version);
        if let Call::Get(key, ..) = &self.call {
            path.push('/');
            path.push_str(&encode(key.as_bytes()));
        }
        let mut sign = '?';
        let mut add = |name: &str, value: &[u8]| {
            // Writing to a string cannot fail.
            let _ = write!(path, "{}{name}={}", std::mem::replace(&mut sign, '&'), encode(value));
        };
        match &self.call {
            Call::Get(..) | Call::GetTimestamp => {}
            Call::KeepLocked(lock) => add("lockid", lock.as_bytes()),
            Call::CheckPresent(key) | Call::Remove(key) | Call::RemoveBefore(key, _) => {
                add("key", key.as_bytes());
            }
            Call::Put(key, ..)
            | Call::DataPresent(key, _)
            | Call::PutOffset(key)
            | Call::LockContent(key) => {
                add("key", key.as_bytes());
            }
        }
        match &self.call {
            Call::RemoveBefore(_, time) => add("timestamp", time.to_string().as_bytes()),
            Call::Get(_, file, offset) | Call::Put(_, file, offset) => {
                if !file.0.is_empty() {
                    add("associatedfile", &file.0);
                }
                if *offset > 0 {
                    add("offset", offset.to_string().as_bytes());
                }
            }
            Call::DataPresent(_, file) => {
                if !file.0.is_empty() {
                    add("associatedfile", &file.0);
                }
                add("data-present", b"true");
            }
            _ => {}
        }
        if let Some(client) = &self.client {
            add("clientuuid", client.as_str().as_bytes());
        }
        for gateway in &self.bypass {
            add("bypass", gateway.as_str().as_bytes());
        }
        (self.call.method(), path)
    }
}

/// The version of a path's segment.
fn to_version(segment: &str) -> Result<Version, Refusal> {
    let number = segment.strip_prefix('v').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|number| number.parse().ok()).and_then(Version::new).ok_or_else(bad_version)
}

/// A version that is not spoken here is not found, from which a client learns to ask for a lower one (§14).
pub(super) fn bad_version() -> Refusal {
    let status = if relapse!("annex-L16") { StatusCode::BAD_REQUEST } else { StatusCode::NOT_FOUND };
    Refusal::new(status, "bad version")
}

fn exists_in(name: &str, version: Version) -> bool {
    match name {
        "key" | "checkpresent" | "remove" | "put" | "lockcontent" | "keeplocked" => true,
        "putoffset" => version.has_verdict(),
        "remove-before" | "gettimestamp" => version.has_timestamps(),
        _ => false,
    }
}

fn to_uuid(text: Vec<u8>) -> Option<Uuid> {
    Uuid::new(&String::from_utf8(text).ok()?)
}

fn bad(what: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, format!("{what} is missing, or is not right"))
}

/// A query. Of a name that comes more than once the first counts.
struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    fn first(&self, name: &str) -> Option<&Vec<u8>> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    fn has(&self, name: &str, wanted: &[u8]) -> bool {
        self.first(name).is_some_and(|value| value == wanted)
    }

    fn key(&self) -> Result<Key, Refusal> {
        self.first("key").and_then(|key| Key::parse(key.clone()).ok()).ok_or_else(|| bad("key"))
    }

    fn file(&self) -> Result<AssociatedFile, Refusal> {
        let name = self.first("associatedfile").cloned().unwrap_or_default();
        AssociatedFile::of_name(&Bytes::from(name)).ok_or_else(|| bad("associatedfile"))
    }

    fn offset(&self) -> Result<u64, Refusal> {
        let Some(offset) = self.first("offset") else { return Ok(0) };
        let digits = offset.iter().all(u8::is_ascii_digit);
        let offset = std::str::from_utf8(offset).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        offset.ok_or_else(|| bad("offset"))
    }

    fn timestamp(&self) -> Result<i64, Refusal> {
        let time = self.first("timestamp").and_then(|time| std::str::from_utf8(time).ok());
        time.filter(|text| !text.starts_with('+'))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| bad("timestamp"))
    }

    fn lock(&self) -> Result<String, Refusal> {
        let lock = self.first("lockid").and_then(|lock| String::from_utf8(lock.clone()).ok());
        lock.ok_or_else(|| bad("lockid"))
    }

    fn client(&self) -> Result<Option<Uuid>, Refusal> {
        let client = self.first("clientuuid").cloned();
        client.map(|client| to_uuid(client).ok_or_else(|| bad("clientuuid"))).transpose()
    }

    fn bypass(&self) -> Result<BTreeSet<Uuid>, Refusal> {
        let gateways = self.0.iter().filter(|(name, _)| name == "bypass");
        gateways.map(|(_, value)| to_uuid(value.clone()).ok_or_else(|| bad("bypass"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.txt";

    fn key() -> Key {
        Key::parse(KEY).unwrap()
    }

    fn parse(line: &str) -> Result<Request, Refusal> {
        let (method, path) = line.split_once(' ').unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Request::parse(&method, &path.replace("KEY", KEY), &query.replace("KEY", KEY))
    }

    fn call(line: &str) -> Call {
        parse(line).unwrap_or_else(|refusal| panic!("{line}: {refusal:?}")).call
    }

    fn status(line: &str) -> u16 {
        parse(line).map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    /// The table of §10.1.
    #[test]
    fn each_endpoint_is_where_the_table_says() {
        let none = AssociatedFile::default;
        let table = [
            ("GET v0/key/KEY", Call::Get(key(), none(), 0), 0),
            ("POST v0/checkpresent?key=KEY", Call::CheckPresent(key()), 0),
            ("POST v0/remove?key=KEY", Call::Remove(key()), 0),
            ("POST v3/remove-before?key=KEY&timestamp=-5", Call::RemoveBefore(key(), -5), 3),
            ("POST v3/gettimestamp", Call::GetTimestamp, 3),
            ("POST v0/put?key=KEY&offset=7", Call::Put(key(), none(), 7), 0),
            ("POST v4/put?key=KEY&data-present=true", Call::DataPresent(key(), none()), 4),
            ("POST v1/putoffset?key=KEY", Call::PutOffset(key()), 1),
            ("POST v0/lockcontent?key=KEY", Call::LockContent(key()), 0),
        ];
        for (line, expected, since) in table {
            let (method, rest) = line.split_once(" v").unwrap();
            let rest = &rest[1..];
            let sign = if rest.contains('?') { '&' } else { '?' };
            for version in 0..=4 {
                let line = format!("{method} /git-annex/SU/v{version}{rest}{sign}clientuuid=CU");
                match (version >= since, &expected) {
                    (true, _) => assert_eq!(call(&line), expected, "{line}"),
                    // The parameter means nothing before.
                    (false, Call::DataPresent(..)) => assert_eq!(call(&line), Call::Put(key(), none(), 0)),
                    (false, _) => assert_eq!(status(&line), 404, "{line}"),
                }
                assert_eq!(expected.exists_in(Version::new(version).unwrap()), version >= since);
                let anonymous = line.replace("clientuuid=CU", "");
                assert_eq!(
                    status(&anonymous),
                    if version >= since
                        || !matches!(
                            expected,
                            Call::RemoveBefore(..) | Call::GetTimestamp | Call::PutOffset(_)
                        )
                    {
                        400
                    } else {
                        404
                    },
                    "{anonymous}"
                );
                let other = if method == "GET" { "POST" } else { "GET" };
                let wrong = line.replacen(method, other, 1);
                assert_ne!(status(&wrong), 200, "{wrong}");
            }
        }
        assert_eq!(call("POST /git-annex/SU/v2/keeplocked?lockid=L"), Call::KeepLocked("L".into()));
        let plain = parse("GET /git-annex/SU/key/KEY?bypass=G1&bypass=G2").unwrap();
        assert_eq!((plain.version, plain.client, plain.bypass.len()), (Version::V0, None, 2));
    }

    /// §10.3, but for the versions, where the documentation is right and the program is not (§14).
    #[test]
    fn what_is_wrong_has_its_status() {
        for (line, expected) in [
            ("GET /", 404),
            ("GET /git-annex/", 404),
            ("GET /git-annex/SU", 404),
            ("GET /git-annex/SU/v4", 404),
            ("GET /git-annex/SU/v4/key", 404),
            ("GET /git-annex/SU/v5/key/KEY?clientuuid=CU", 404),
            ("GET /git-annex/SU/v+4/key/KEY?clientuuid=CU", 404),
            ("GET /git-annex/SU/v4/key/KEY/more?clientuuid=CU", 404),
            ("POST /git-annex/SU/v4/connect?clientuuid=CU", 404),
            ("POST /git-annex/SU/v4/key/KEY?clientuuid=CU", 405),
            ("PUT /git-annex/SU/v4/put?key=KEY&clientuuid=CU", 405),
            ("GET /git-annex/SU/v4/key/nokey?clientuuid=CU", 400),
            ("GET /git-annex/SU/v4/key/KEY?clientuuid=C%20U", 400),
            ("GET /git-annex/SU/v4/key/KEY?clientuuid=CU&offset=-1", 400),
            ("GET /git-annex/SU/v4/key/KEY?clientuuid=CU&offset=99999999999999999999", 400),
            ("GET /git-annex/SU/v4/key/KEY?clientuuid=CU&associatedfile=%2Fetc", 400),
            ("GET /git-annex/SU/v4/key/KEY?clientuuid=CU&x=%", 400),
            ("POST /git-annex/SU/v4/checkpresent?clientuuid=CU", 400),
            ("POST /git-annex/SU/v4/remove-before?key=KEY&timestamp=x&clientuuid=CU", 400),
            ("POST /git-annex/SU/v4/keeplocked", 400),
        ] {
            assert_eq!(status(line), expected, "{line}");
        }
    }

    fn any_call() -> impl Strategy<Value = Call> {
        let key = || {
            let name = prop::collection::vec(1_u8.., 1..9);
            let plain =
                name.prop_filter("no line", |name| !name.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
            plain.prop_map(|name| Key::parse([b"WORM--", &name[..]].concat()).unwrap())
        };
        let file =
            || "[a-zü &/%+]{0,9}".prop_filter_map("relative", |name| AssociatedFile::of_name(&name.into()));
        prop_oneof![
            (key(), file(), any::<u64>()).prop_map(|(key, file, offset)| Call::Get(key, file, offset)),
            (key(), file(), any::<u64>()).prop_map(|(key, file, offset)| Call::Put(key, file, offset)),
            (key(), file()).prop_map(|(key, file)| Call::DataPresent(key, file)),
            (key(), any::<i64>()).prop_map(|(key, time)| Call::RemoveBefore(key, time)),
            key().prop_map(Call::Remove),
            key().prop_map(Call::CheckPresent),
            key().prop_map(Call::PutOffset),
            key().prop_map(Call::LockContent),
            "[a-f0-9-]{1,20}".prop_map(Call::KeepLocked),
            Just(Call::GetTimestamp),
        ]
    }

    proptest! {
        #[test]
        fn what_is_asked_is_what_is_heard(call in any_call(), gateways in prop::collection::btree_set("[a-z]{1,3}", 0..3)) {
            let uuid = |text: &str| Uuid::new(text).unwrap();
            let bypass = gateways.iter().map(|text| uuid(text)).collect();
            let request = Request { server: uuid("S/U"), version: Version::MAX, client: Some(uuid("CU")), bypass, call };
            let (method, path) = request.render();
            let (path, query) = path.split_once('?').unwrap();
            prop_assert_eq!(Request::parse(&method, path, query).unwrap(), request);
        }
    }
}
