//! The names of repositories and clusters (annex-p2p §1.2, §8.1).

use std::fmt;
use std::sync::Arc;

/// The longest name that is taken from a peer, in bytes: a real one has 36.
const LONGEST: usize = 256;

/// What a repository or a cluster calls itself: any text without whitespace, usually an RFC 4122 UUID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(Arc<str>);

impl Uuid {
    /// A name of at most 256 bytes without whitespace or control characters; none otherwise, or when it is empty.
    pub fn new(text: &str) -> Option<Uuid> {
        let fits = !text.is_empty() && text.len() <= LONGEST;
        let plain = !text.chars().any(|character| character.is_whitespace() || character.is_control());
        (fits && plain).then(|| Uuid(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a cluster's: of version 8, and beginning with `ac`. No repository's is.
    pub fn is_cluster(&self) -> bool {
        let text = self.0.as_bytes();
        text.len() == 36 && text.starts_with(b"ac") && text[14] == b'8'
    }

    /// A cluster's name, made of 16 random bytes.
    pub fn of_cluster(entropy: [u8; 16]) -> Uuid {
        let hex: String = entropy.iter().map(|byte| format!("{byte:02x}")).collect();
        let text =
            format!("ac{}-{}-8{}-{}-{}", &hex[2..8], &hex[8..12], &hex[13..16], &hex[16..20], &hex[20..]);
        Uuid(text.into())
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word() {
        assert_eq!(Uuid::new("node-1").unwrap().as_str(), "node-1");
        for bad in ["", "two words", "a\tb", "a\n", "\u{a0}", &"x".repeat(257)] {
            assert_eq!(Uuid::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn clusters_are_known_by_three_characters() {
        let cluster = Uuid::of_cluster([0x3f; 16]);
        assert_eq!(cluster.as_str(), "ac3f3f3f-3f3f-8f3f-3f3f-3f3f3f3f3f3f");
        assert!(cluster.is_cluster());
        for other in ["ac3f3f3f-3f3f-4f3f-3f3f-3f3f3f3f3f3f", "bc3f3f3f-3f3f-8f3f-3f3f-3f3f3f3f3f3f", "ac"] {
            assert!(!Uuid::new(other).unwrap().is_cluster(), "{other}");
        }
    }
}
