//! Netstrings: `decimal-length ":" bytes ","` (spec §1.2), the framing inside every tagged hash and
//! inside the URI extension block.

/// Appends `bytes` to `out` as a netstring.
pub fn write(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(bytes);
    out.push(b',');
}

/// Splits the netstring at the start of `input` off: `(its bytes, the rest)`.
///
/// `None` when `input` does not start with a whole, canonical netstring: the length must be decimal
/// without leading zeros, and must not reach past the end of the input.
pub fn read(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = input.iter().take(MAX_DIGITS + 1).position(|&b| b == b':')?;
    let (digits, rest) = (input.get(..colon)?, input.get(colon + 1..)?);
    let (value, rest) = rest.split_at_checked(length(digits)?)?;
    Some((value, rest.strip_prefix(b",")?))
}

/// Digits in the largest `usize`.
const MAX_DIGITS: usize = 20;

fn length(digits: &[u8]) -> Option<usize> {
    let canonical = digits == b"0" || !digits.starts_with(b"0");
    if !canonical || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_back() {
        for value in [&b""[..], b"abc", &[0; 1000]] {
            let mut out = Vec::new();
            write(&mut out, value);
            out.extend_from_slice(b"rest");
            assert_eq!(read(&out), Some((value, &b"rest"[..])));
        }
        let mut out = Vec::new();
        write(&mut out, b"abc");
        assert_eq!(out, b"3:abc,");
    }

    #[test]
    fn refuses_what_is_not_a_whole_canonical_netstring() {
        for bad in ["", ":", ":,", "3:ab", "3:abc", "3:abcd", "03:abc,", "00:,", "+3:abc,", "3abc,", "-1:,"] {
            assert_eq!(read(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(read(b"99999999999999999999999999999:a,"), None);
        assert_eq!(read(b"18446744073709551615:a,"), None);
    }
}
