//! What is answered: JSON bodies and status codes (annex-p2p §10.1, §10.3). Pure.

use std::collections::BTreeSet;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::peer::{Outcome, PeerError};
use crate::uuid::Uuid;
use crate::version::Version;

/// A request's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether the object is there.
    Present(bool),
    /// Whether it is removed.
    Removed(Outcome),
    /// Whole seconds.
    Timestamp(i64),
    /// Whether it is stored.
    Stored(Outcome),
    /// It is wanted from here on.
    Offset(u64),
    /// It is there already, and in these repositories.
    AlreadyHave(BTreeSet<Uuid>),
    /// It is locked, under this name; or it is not.
    Locked(Option<String>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Why, for people.
    pub text: String,
}

impl Answer {
    /// The answer as JSON, as the client's version has it.
    pub fn json(&self, version: Version) -> Value {
        let plus = |mut object: Value, also: &BTreeSet<Uuid>| {
            if version.has_plus() {
                let also = also.iter().filter(|uuid| !uuid.is_cluster()).map(Uuid::as_str);
                object["plusuuids"] = also.collect();
            }
            object
        };
        match self {
            Answer::Present(present) => json!({ "present": present }),
            Answer::Removed(outcome) => plus(json!({ "removed": outcome.done }), &outcome.also),
            Answer::Timestamp(time) => json!({ "timestamp": time }),
            Answer::Stored(outcome) => plus(json!({ "stored": outcome.done }), &outcome.also),
            Answer::Offset(offset) => json!({ "offset": offset }),
            Answer::AlreadyHave(also) => plus(json!({ "alreadyhave": true }), also),
            Answer::Locked(Some(lock)) => json!({ "locked": true, "lockid": lock }),
            Answer::Locked(None) => json!({ "locked": false }),
        }
    }

    /// Reads an answer: what it is follows from its fields. None when it is none.
    pub fn parse(body: &[u8]) -> Option<Answer> {
        let object: Value = serde_json::from_slice(body).ok()?;
        let flag = |name: &str| object.get(name).and_then(Value::as_bool);
        let also = || {
            let uuids = object.get("plusuuids").and_then(Value::as_array).into_iter().flatten();
            let uuids = uuids.filter_map(Value::as_str).filter_map(Uuid::new);
            uuids.filter(|uuid| !uuid.is_cluster()).collect::<BTreeSet<_>>()
        };
        if let Some(present) = flag("present") {
            return Some(Answer::Present(present));
        }
        if let Some(done) = flag("removed") {
            return Some(Answer::Removed(Outcome { done, also: also() }));
        }
        if let Some(done) = flag("stored") {
            return Some(Answer::Stored(Outcome { done, also: also() }));
        }
        if flag("alreadyhave") == Some(true) {
            return Some(Answer::AlreadyHave(also()));
        }
        match flag("locked") {
            Some(true) => return Some(Answer::Locked(Some(object.get("lockid")?.as_str()?.to_owned()))),
            Some(false) => return Some(Answer::Locked(None)),
            None => {}
        }
        if let Some(time) = object.get("timestamp").and_then(Value::as_i64) {
            return Some(Answer::Timestamp(time));
        }
        object.get("offset").and_then(Value::as_u64).map(Answer::Offset)
    }
}

impl Refusal {
    /// A status, and why.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into() }
    }
}

/// What a client is told when a peer has no answer.
impl From<PeerError> for Refusal {
    fn from(error: PeerError) -> Refusal {
        let status = match error {
            PeerError::Unreachable { .. } => StatusCode::BAD_GATEWAY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal::new(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn also(texts: &[&str]) -> BTreeSet<Uuid> {
        texts.iter().map(|text| Uuid::new(text).unwrap()).collect()
    }

    /// The last column of the table of §10.1, at versions 1 and 2.
    #[test]
    fn answers_are_those_of_the_table() {
        let node = || Outcome { done: true, also: also(&["n1", "ac3f3f3f-3f3f-8f3f-3f3f-3f3f3f3f3f3f"]) };
        let table = [
            (Answer::Present(true), r#"{"present":true}"#, r#"{"present":true}"#),
            (
                Answer::Removed(Outcome::of(false)),
                r#"{"removed":false}"#,
                r#"{"plusuuids":[],"removed":false}"#,
            ),
            (Answer::Removed(node()), r#"{"removed":true}"#, r#"{"plusuuids":["n1"],"removed":true}"#),
            (Answer::Stored(node()), r#"{"stored":true}"#, r#"{"plusuuids":["n1"],"stored":true}"#),
            (Answer::Timestamp(-1), r#"{"timestamp":-1}"#, r#"{"timestamp":-1}"#),
            (Answer::Offset(7), r#"{"offset":7}"#, r#"{"offset":7}"#),
            (
                Answer::AlreadyHave(also(&["n1"])),
                r#"{"alreadyhave":true}"#,
                r#"{"alreadyhave":true,"plusuuids":["n1"]}"#,
            ),
            (Answer::Locked(None), r#"{"locked":false}"#, r#"{"locked":false}"#),
            (
                Answer::Locked(Some("L".into())),
                r#"{"locked":true,"lockid":"L"}"#,
                r#"{"locked":true,"lockid":"L"}"#,
            ),
        ];
        let [one, two] = [1, 2].map(|number| Version::new(number).unwrap());
        for (answer, at_one, at_two) in table {
            assert_eq!(answer.json(one).to_string(), at_one);
            assert_eq!(answer.json(two).to_string(), at_two);
            let read = Answer::parse(at_two.as_bytes()).unwrap();
            assert_eq!(read.json(two), answer.json(two));
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for bad in ["", "{}", "[]", "null", r#"{"present":1}"#, r#"{"locked":true}"#, r#"{"offset":-1}"#, "{"]
        {
            assert_eq!(Answer::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn each_way_to_fail_has_its_status() {
        let uuid = Uuid::new("n1").unwrap();
        let unreachable = PeerError::Unreachable { uuid: uuid.clone(), why: "it is not there".into() };
        let lost = PeerError::Lost { uuid, why: "it went".into() };
        assert_eq!(Refusal::from(unreachable).status, 502);
        assert_eq!(Refusal::from(lost).status, 500);
        let refused = Refusal::from(PeerError::Refused("because".into()));
        assert_eq!((refused.status.as_u16(), refused.text.as_str()), (500, "because"));
    }
}
