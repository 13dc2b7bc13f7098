//! Trails: what an audit keeps of each run, and the file that carries them between builds and machines.
//!
//! A file of trails is text: a line that names the format, then a line for each run, `SCENARIO SEED DIGEST STEPS`, with
//! the digest in 16 hex digits and four more for what there was before the first step and for each step after it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use crate::trace::StepDigests;
use crate::world::STEP_LIMIT;

/// A run's name that means the same in every build: scenario and seed.
pub type Coordinate = (String, u64);
/// The trails of many runs.
pub type Trails = BTreeMap<Coordinate, Trail>;

/// What is kept of a run, to be compared with another of the same case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Its digest.
    pub digest: u64,
    /// The running digest after each of its steps.
    pub steps: StepDigests,
}

/// The first line.
const FORMAT: &str = "seedgrid digests 1";
/// The most runs in a file, and in an audit.
pub const MOST_RUNS: u64 = 100_000;
/// The longest line: a run of as many steps as there may be, and its name.
const LONGEST_LINE: u64 = 4 * (STEP_LIMIT + 2) + 1000;
/// The most bytes in a file.
const MOST_BYTES: u64 = 1 << 30;

/// Writes trails.
pub fn write_trails(trails: &Trails, file: &mut impl Write) -> io::Result<()> {
    writeln!(file, "{FORMAT}")?;
    for ((scenario, seed), Trail { digest, steps }) in trails {
        writeln!(file, "{scenario} {seed} {digest:016x} {steps}")?;
    }
    file.flush()
}

/// Reads trails. The error is one line that names the line at fault.
pub fn read_trails(file: impl BufRead) -> Result<Trails, String> {
    let mut file = file.take(MOST_BYTES);
    let mut line = Vec::new();
    next_line(&mut file, &mut line, 1)?;
    if line != FORMAT.as_bytes() {
        return Err(format!("line 1: not `{FORMAT}`, as audit --emit of this version writes it"));
    }
    let mut trails = Trails::new();
    for number in 2.. {
        if !next_line(&mut file, &mut line, number)? {
            break;
        }
        let (coordinate, trail) = read_trail(&line).ok_or_else(|| {
            format!("line {number}: not `scenario seed digest steps`, as audit --emit writes it")
        })?;
        if trails.len() as u64 == MOST_RUNS {
            return Err(format!("line {number}: more than {MOST_RUNS} runs"));
        }
        if trails.insert(coordinate, trail).is_some() {
            return Err(format!("line {number}: that run has a line already"));
        }
    }
    match trails.is_empty() {
        true => Err("it has no digests".into()),
        false => Ok(trails),
    }
}

/// Reads a line without its end; false at the end of the file.
fn next_line(file: &mut io::Take<impl BufRead>, line: &mut Vec<u8>, number: u64) -> Result<bool, String> {
    line.clear();
    let length = file
        .by_ref()
        .take(LONGEST_LINE)
        .read_until(b'\n', line)
        .map_err(|error| format!("line {number}: {error}"))?;
    match line.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) if length as u64 == LONGEST_LINE => {
            Err(format!("line {number}: longer than {LONGEST_LINE} bytes, which no run's is"))
        }
        Some(_) if file.limit() == 0 => {
            Err(format!("line {number}: the file is larger than {MOST_BYTES} bytes"))
        }
        Some(_) => Err(format!("line {number}: the file ends in the middle of it")),
    }
}

fn read_trail(line: &[u8]) -> Option<(Coordinate, Trail)> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let coordinate = (words.next()?.to_string(), words.next()?.parse().ok()?);
    let digest = words.next().filter(|digits| digits.len() == 16)?;
    let digest = u64::from_str_radix(digest, 16).ok()?;
    let steps = words.next()?.parse().ok()?;
    words.next().is_none().then_some((coordinate, Trail { digest, steps }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trails, String> {
        read_trails(text.as_bytes())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let trail = |digest, steps: &str| Trail { digest, steps: steps.parse().unwrap() };
        let trails = Trails::from([
            (("a".into(), 3), trail(u64::MAX, "00001111ffff")),
            (("b".into(), 0), trail(0, "")),
        ]);
        let mut file = Vec::new();
        write_trails(&trails, &mut file).unwrap();
        let text = String::from_utf8(file).unwrap();
        assert_eq!(text, "seedgrid digests 1\na 3 ffffffffffffffff 00001111ffff\nb 0 0000000000000000 \n");
        assert_eq!(read(&text), Ok(trails));
    }

    #[test]
    fn a_hostile_file_is_refused_with_its_line() {
        let good = "seedgrid digests 1\na 3 00000000000000ff 00001111\n";
        assert!(read(good).is_ok());
        for (bad, why) in [
            ("", "line 1: not `seedgrid digests 1`"),
            ("a 3 ff\n", "line 1: not `seedgrid digests 1`"),
            ("seedgrid digests 2\n", "line 1: not `seedgrid digests 1`"),
            ("seedgrid digests 1\n", "no digests"),
            ("seedgrid digests 1\na 3 ff 00001111\n", "line 2: not `scenario seed digest steps`"),
            ("seedgrid digests 1\na -3 00000000000000ff 0000\n", "line 2: not"),
            ("seedgrid digests 1\na 3 00000000000000ff 000\n", "line 2: not"),
            ("seedgrid digests 1\na 3 00000000000000ff 0000 0\n", "line 2: not"),
            ("seedgrid digests 1\na 3 00000000000000ff\n", "line 2: not"),
            ("seedgrid digests 1\na 3 00000000000000ff 0000", "line 2: the file ends in the middle"),
            (&format!("{good}{}", &good[19..]), "line 3: that run has a line already"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
        let endless = read_trails(io::BufReader::new(io::repeat(b'x'))).unwrap_err();
        assert!(endless.starts_with("line 1: longer than"), "{endless}");
        let not_text = read_trails(&b"seedgrid digests 1\n\xff\n"[..]).unwrap_err();
        assert!(not_text.starts_with("line 2: not"), "{not_text}");
        let many: String = (0..=MOST_RUNS).map(|seed| format!("a {seed} 0000000000000000 \n")).collect();
        let many = read(&format!("seedgrid digests 1\n{many}")).unwrap_err();
        assert!(many.ends_with("more than 100000 runs"), "{many}");
    }
}
