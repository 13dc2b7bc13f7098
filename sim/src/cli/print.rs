//! Printing: text for people, or JSON for programs.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use crate::explore::{Outcome, Size};

/// Prints a command's output, in one of two forms.
pub(super) struct Printer {
    json: bool,
    stdout: BufWriter<Stdout>,
    /// Gets the JSON lines as well.
    copy: Option<BufWriter<File>>,
}

impl Printer {
    pub(super) fn new(json: bool) -> Printer {
        Printer { json, stdout: BufWriter::new(io::stdout()), copy: None }
    }

    /// Writes the JSON lines to a file as well.
    pub(super) fn copy_to(&mut self, file: File) {
        self.copy = Some(BufWriter::new(file));
    }

    /// A line for people.
    pub(super) fn text(&mut self, line: impl fmt::Display) -> io::Result<()> {
        if !self.json {
            writeln!(self.stdout, "{line}")?;
        }
        Ok(())
    }

    /// A line for programs.
    pub(super) fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        if !self.json && self.copy.is_none() {
            return Ok(());
        }
        let line = serde_json::to_string(object)?;
        if self.json {
            writeln!(self.stdout, "{line}")?;
        }
        if let Some(copy) = &mut self.copy {
            writeln!(copy, "{line}")?;
        }
        Ok(())
    }

    /// Sends off what has been printed so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()?;
        self.copy.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// Says what is wrong, in one line on stderr.
pub(super) fn complain(what: &str) {
    // With nobody to read it there is nobody to tell.
    let _ = writeln!(io::stderr(), "seedgrid: {}", one_line(what));
}

/// A finding in one line: what, where and why.
pub(super) fn finding(outcome: &Outcome) -> String {
    let (scenario, verdict, oracle) = outcome.kind();
    let detail = outcome.evidence.as_ref().map_or("", |evidence| evidence.detail.as_str());
    let oracle = oracle.map(|oracle| format!(" ({oracle})")).unwrap_or_default();
    format!("{scenario} seed {}: {verdict}{oracle}: {}", outcome.seed, one_line(detail))
}

/// A number as people read it: 12,345.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 run`, `2 runs`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// How large a case is, in words.
pub(super) fn sized(size: &Size) -> String {
    let Size { faults, cancels, workload, departures, steps } = size;
    let workload = workload.iter().map(|(name, count)| counted(*count as u64, name));
    let counts = [counted(*faults as u64, "fault"), counted(*cancels as u64, "cancel")].into_iter();
    let departures = counted(*departures as u64, "departure");
    let counts: Vec<_> = counts.chain(workload).chain([departures]).collect();
    format!("{}, {} steps", counts.join(", "), grouped(*steps))
}

pub(super) fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let texts: Vec<_> = [0, 999, 1000, 123_456, 1_234_567].map(grouped).into();
        assert_eq!(texts, ["0", "999", "1,000", "123,456", "1,234,567"]);
        assert_eq!(counted(1, "run") + &counted(2, "run"), "1 run2 runs");
    }

    #[test]
    fn complaints_have_one_line() {
        assert_eq!(one_line("a\n  b\n\nc"), "a b c");
    }
}
