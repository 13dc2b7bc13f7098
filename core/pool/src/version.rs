//! Versions of the P2P protocol, and what a peer may say at each (annex-p2p §2, §3).

use std::fmt;

/// A version of the P2P protocol: 0 to 4. A session begins at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u8);

impl Version {
    /// The version before any negotiation.
    pub const V0: Version = Version(0);
    /// The newest version.
    pub const MAX: Version = Version(4);

    /// The version with this number; none when there is no such version.
    pub fn new(number: u64) -> Option<Version> {
        u8::try_from(number).ok().map(Version).filter(|version| *version <= Version::MAX)
    }

    /// The version that two peers speak when the other asks for `wanted`, which may be one that only it knows. Nothing
    /// below zero is spoken.
    pub fn negotiate(self, wanted: i64) -> Version {
        let wanted = wanted.clamp(0, i64::from(Version::MAX.0));
        Version(self.0.min(wanted as u8))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// All versions, the oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Version> {
        (0..=Version::MAX.0).map(Version)
    }

    /// Whether VALID or INVALID follows each object's data.
    pub fn has_verdict(self) -> bool {
        self.0 >= 1
    }

    /// Whether there are answers that name other repositories, and BYPASS.
    pub fn has_plus(self) -> bool {
        self.0 >= 2
    }

    /// Whether a client may ask for GETTIMESTAMP and REMOVE-BEFORE.
    pub fn has_timestamps(self) -> bool {
        self.0 >= 3
    }

    /// Whether a client may answer PUT-FROM with DATA-PRESENT.
    pub fn has_data_present(self) -> bool {
        self.0 >= 4
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_both_is_spoken() {
        let (three, four) = (Version::new(3).unwrap(), Version::MAX);
        assert_eq!(four.negotiate(9), four);
        assert_eq!(four.negotiate(3), three);
        assert_eq!(three.negotiate(4), three);
        assert_eq!(four.negotiate(-1), Version::V0);
        assert_eq!(Version::new(5), None);
    }

    #[test]
    fn each_version_adds_what_the_table_says() {
        let added = |has: fn(Version) -> bool| Version::all().position(has);
        assert_eq!(added(Version::has_verdict), Some(1));
        assert_eq!(added(Version::has_plus), Some(2));
        assert_eq!(added(Version::has_timestamps), Some(3));
        assert_eq!(added(Version::has_data_present), Some(4));
    }
}
