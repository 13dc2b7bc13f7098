//! The fixtures are what the real Tahoe-LAFS made, and our own encoder and decoder make the same of them.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use bytes::Bytes;
use protocol::base32;
use protocol::cap::Cap;
use protocol::encode::{KeySource, Params, Secret, encode};
use protocol::layout::Version;
use scenarios::fixtures::{Manifest, plaintext};

#[test]
fn our_encoder_makes_every_share_that_tahoe_made() {
    for entry in Manifest::load().files {
        let secret = hex(&entry.convergence);
        let version = match entry.layout {
            1 => Version::V1,
            2 => Version::V2,
            other => panic!("layout {other}"),
        };
        let params = Params { k: entry.k, n: entry.n, max_segment_size: entry.max_segment_size };
        let encoded =
            encode(&entry.plaintext(), params, KeySource::Convergent(Secret(&secret)), Some(version))
                .unwrap();
        assert_eq!(encoded.cap.to_string(), entry.cap, "{}", entry.name);
        assert_eq!(encoded.cap.verify_cap().to_string(), entry.verify_cap, "{}", entry.name);
        assert_eq!(base32::encode(&encoded.cap.storage_index().0), entry.storage_index, "{}", entry.name);
        let shares: Vec<Bytes> = encoded.shares.into_iter().collect();
        assert!(shares == entry.shares(), "the shares of {} differ", entry.name);
    }
}

#[test]
fn literals_are_their_own_content() {
    for entry in Manifest::load().literals {
        let Cap::Literal(literal) = entry.cap.parse().unwrap() else {
            panic!("{} is no literal", entry.name)
        };
        assert_eq!(literal.0, plaintext(entry.size), "{}", entry.name);
        assert_eq!(Cap::Literal(literal).to_string(), entry.cap);
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|byte| u8::from_str_radix(&text[2 * byte..2 * byte + 2], 16).unwrap()).collect()
}
