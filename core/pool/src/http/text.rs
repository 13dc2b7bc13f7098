//! Bytes in URLs and headers: percent signs, base64, and the brackets that git-annex puts around what is not text
//! (annex-p2p §10.1).

use std::fmt::Write;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A value as it stands in a path or a query. What is not text, or looks as if it were in brackets, is.
pub fn encode(value: &[u8]) -> String {
    let bracketed = value.starts_with(b"[") && value.ends_with(b"]");
    match std::str::from_utf8(value) {
        Ok(_) if !bracketed => escape(value),
        _ => {
            let wrapped = base64(value).replace('+', "-").replace('/', "_");
            escape(format!("[{wrapped}]").as_bytes())
        }
    }
}

/// What a value in a path stands for; none when a percent sign or a bracket is wrong.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let value = unescape(text.as_bytes())?;
    match value.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]")) {
        Some(inner) => unbase64(inner),
        None => Some(value),
    }
}

/// The names and values of a query, in its order; a plus is a blank there. None when one is wrong.
pub fn decode_query(query: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = String::from_utf8(unescape(name.replace('+', " ").as_bytes())?).ok()?;
        Some((name, decode(&value.replace('+', " "))?))
    });
    pairs.collect()
}

/// Base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    let character = |bits: u32, place: u32| char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]);
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let padded = [group[0], group.get(1).copied().unwrap_or(0), group.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..4 {
            text.push(if place as usize <= group.len() { character(bits, place) } else { '=' });
        }
    }
    text
}

/// What base64 stands for, in either alphabet, with or without padding; none when it is none.
pub fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = &text[..text.len() - padding];
    if padding > 2 || text.len() % 4 == 1 || (padding > 0 && !(text.len() + padding).is_multiple_of(4)) {
        return None;
    }
    let value = |byte: &u8| match byte {
        b'-' => Some(62),
        b'_' => Some(63),
        other => ALPHABET.iter().position(|character| character == other),
    };
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for place in 0..4 {
            bits = bits << 6 | group.get(place).map_or(Some(0), value)? as u32;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            plain if plain.is_ascii_alphanumeric() => text.push(char::from(*plain)),
            other => {
                // Writing to a string cannot fail.
                let _ = write!(text, "%{other:02X}");
            }
        }
    }
    text
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(*rest.first()?), digit(*rest.get(1)?)) else { return None };
        bytes.push((high * 16 + low) as u8);
        rest = &rest[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_escaped_and_bytes_are_bracketed() {
        assert_eq!(encode(b"SHA256-s1--ab.c_d~e"), "SHA256-s1--ab.c_d~e");
        assert_eq!(encode(b"a b&c/d%"), "a%20b%26c%2Fd%25");
        assert_eq!(encode("ü".as_bytes()), "%C3%BC");
        assert_eq!(encode(b"\xff\xfe"), "%5B__4%3D%5D");
        assert_eq!(encode(b"[x]"), "%5BW3hd%5D");
    }

    #[test]
    fn what_is_wrong_is_nothing() {
        for bad in ["%", "%4", "%zz", "%+1", "[A]", "[A===]", "[*AAA]", "[AAAAA=]"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode("[W3hd]").unwrap(), b"[x]");
        assert_eq!(decode("[__4]").unwrap(), b"\xff\xfe", "padding may be missing");
        assert_eq!(decode("a+b").unwrap(), b"a+b", "a plus is a plus in a path");
        assert_eq!(decode_query("a=%"), None);
    }

    #[test]
    fn a_query_keeps_its_order() {
        let pairs = decode_query("b=1+2&&a&b=%5BW3hd%5D").unwrap();
        let expected = [("b", &b"1 2"[..]), ("a", b""), ("b", b"[x]")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
    }

    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(unbase64(coded.as_bytes()).unwrap(), plain.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back(value in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decode(&encode(&value)), Some(value.clone()));
            let query = decode_query(&format!("x={}", encode(&value))).unwrap();
            prop_assert_eq!(&query, &[("x".to_owned(), value)]);
        }

        #[test]
        fn any_text_is_a_value_or_is_not(text in "[%\\[\\]a-f0-9=_+]{0,20}") {
            let _ = (decode(&text), decode_query(&text));
        }
    }
}
