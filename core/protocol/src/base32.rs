//! Base32 as capabilities spell it (spec §1.1): the lower-case RFC 3548 alphabet without padding.
//!
//! Decoding is strict, so that a value has exactly one spelling: upper case, impossible lengths and
//! left-over bits that are not zero are refused.

/// Spells `bytes` in `ceil(8·n/5)` characters.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(encoded_len(bytes.len()));
    for group in bytes.chunks(5) {
        let mut word = [0; 8];
        word[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(word);
        for i in 0..encoded_len(group.len()) {
            let quintet = (bits >> (35 - 5 * i)) & 31;
            out.push(char::from(ALPHABET[quintet as usize]));
        }
    }
    out
}

/// The bytes that `text` spells, or `None` when it is not the canonical spelling of any.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    for group in text.as_bytes().chunks(8) {
        let len = match group.len() {
            2 => 1,
            4 => 2,
            5 => 3,
            7 => 4,
            8 => 5,
            _ => return None,
        };
        let mut bits = 0;
        for (i, &c) in group.iter().enumerate() {
            bits |= u64::from(quintet(c)?) << (35 - 5 * i);
        }
        let word = bits.to_be_bytes();
        let (data, left_over) = word[3..].split_at(len);
        if left_over.iter().any(|&b| b != 0) {
            return None;
        }
        out.extend_from_slice(data);
    }
    Some(out)
}

/// Like [`decode`], for a value of known length.
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn encoded_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

fn quintet(c: u8) -> Option<u8> {
    match c {
        b'a'..=b'z' => Some(c - b'a'),
        b'2'..=b'7' => Some(c - b'2' + 26),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_answers() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"a", "me"),
            (b"ab", "mfra"),
            (b"abc", "mfrgg"),
            (b"abcd", "mfrggza"),
            (b"abcde", "mfrggzdf"),
            (&[0; 16], &"a".repeat(26)),
            (&[0xff; 16], &format!("{}4", "7".repeat(25))),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Some(bytes));
        }
    }

    /// The table of §1.1, spelled out.
    #[test]
    fn the_last_character_may_only_use_the_bits_of_data() {
        for (len, legal) in [(2, "aeimquy4"), (4, "aq"), (5, "acegikmoqsuwy246"), (7, "aiqy")] {
            for &c in ALPHABET {
                let text = format!("{}{}", "b".repeat(len - 1), char::from(c));
                assert_eq!(decode(&text).is_some(), legal.contains(char::from(c)), "{text}");
            }
        }
    }

    #[test]
    fn impossible_lengths_and_foreign_characters_are_refused() {
        for len in [1, 3, 6, 9, 11, 14] {
            assert_eq!(decode(&"a".repeat(len)), None, "length {len}");
        }
        for bad in ["ME", "m=", "m1", "m0", "m8", "mé", "m ", "me\n"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        assert_eq!(decode_array::<1>("mfra"), None);
    }

    proptest! {
        #[test]
        fn round_trip(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn whatever_decodes_is_the_canonical_spelling(text in "[a-z2-7]{0,40}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
