//! Phrases: what events say, taken apart into message and fields, and put together for people.
//!
//! The recorder writes `message name=value name=value`. Several such texts of one message become one phrase: equal
//! values are said once, different ones are listed, and many that count up are given by the first and the last.

use std::collections::BTreeSet;

/// An event's text, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phrase<'a> {
    /// What happened.
    pub(super) message: &'a str,
    /// Names and values, in order.
    pub(super) fields: Vec<(&'a str, &'a str)>,
}

/// The most values of one field that are listed.
const LISTED: usize = 4;

impl<'a> Phrase<'a> {
    /// Takes a text apart. A value that has blanks in it goes on to the end of the text.
    pub(super) fn of(text: &'a str) -> Phrase<'a> {
        let mut fields = Vec::new();
        let mut rest = text;
        let message = match next_field(rest) {
            Some(at) => {
                let message = &text[..at];
                rest = text[at..].trim_start();
                message
            }
            None => return Phrase { message: text, fields },
        };
        while let Some((name, value)) = rest.split_once('=') {
            let word = value.find(' ').unwrap_or(value.len());
            let followed = value[word..].trim_start();
            let ends = followed.is_empty() || next_field(&value[word..]) == Some(0);
            let end = if ends { word } else { value.len() };
            fields.push((name, &value[..end]));
            rest = value[end..].trim_start();
        }
        Phrase { message, fields }
    }
}

/// Where the next ` name=` begins.
fn next_field(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find(' ').map(|at| at + from) {
        let word = text[at + 1..].split(' ').next().unwrap_or_default();
        let name = word.split_once('=').map_or("", |(name, _)| name);
        if !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Several phrases of one message as one.
pub(super) fn together(phrases: &[Phrase<'_>]) -> String {
    let Some(first) = phrases.first() else { return String::new() };
    let mut told = Vec::new();
    let mut trailing = String::new();
    for (place, (name, _)) in first.fields.iter().enumerate() {
        let values: Vec<&str> = phrases
            .iter()
            .filter_map(|phrase| phrase.fields.get(place).filter(|(other, _)| other == name))
            .map(|(_, value)| *value)
            .collect();
        let values = distinct(&values);
        match values.as_slice() {
            [only] if only.contains(' ') => trailing = format!(": {only}"),
            [""] => {}
            [only] => told.push(format!("{name} {only}")),
            _ => told.extend(listed(&values).map(|values| format!("{name} {values}"))),
        }
    }
    let fields = if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) };
    let times = if phrases.len() > 1 { format!("{} × ", phrases.len()) } else { String::new() };
    format!("{times}{}{fields}{trailing}", first.message)
}

/// A list of values: all of a few, the first and the last of many that count up, nothing of others.
pub(super) fn listed(values: &[&str]) -> Option<String> {
    let split = |value: &&str| {
        let digits = value.len() - value.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
        let (stem, number) = value.split_at(value.len() - digits);
        Some((stem.to_string(), number.parse::<u64>().ok()?))
    };
    let numbered: Option<BTreeSet<_>> = values.iter().map(split).collect();
    if let Some(numbered) = numbered.filter(|numbered| numbered.len() > 2)
        && let (Some((stem, from)), Some((last, to))) = (numbered.first(), numbered.last())
        && stem == last
        && to - from + 1 == numbered.len() as u64
    {
        return Some(format!("{stem}{from}…{stem}{to}"));
    }
    let short = values.iter().map(|value| value.len()).sum::<usize>() <= 60;
    (values.len() <= LISTED && short).then(|| values.join(", "))
}

/// Each value once, in the order in which they came.
pub(super) fn distinct<'a>(values: &[&'a str]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    values.iter().filter(|value| seen.insert(**value)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart() {
        let phrase = Phrase::of("block read sent node=0 server=S1 length=32");
        assert_eq!(phrase.message, "block read sent");
        assert_eq!(phrase.fields, [("node", "0"), ("server", "S1"), ("length", "32")]);
        assert_eq!(Phrase::of("nothing but = words").fields, []);
        let phrase = Phrase::of("failed node=0 error=out of shares: complete=1 more need 3");
        assert_eq!(phrase.fields, [("node", "0"), ("error", "out of shares: complete=1 more need 3")]);
        assert_eq!(Phrase::of("a b= c=1").fields, [("b", ""), ("c", "1")]);
        assert_eq!(Phrase::of(""), Phrase { message: "", fields: Vec::new() });
    }

    #[test]
    fn phrases_are_put_together() {
        let told = |texts: &[&str]| together(&texts.iter().map(|text| Phrase::of(text)).collect::<Vec<_>>());
        assert_eq!(told(&["sent node=0"]), "sent (node 0)");
        assert_eq!(
            told(&["sent node=0 to=S1", "sent node=0 to=S0", "sent node=0 to=S2"]),
            "3 × sent (node 0, to S0…S2)"
        );
        assert_eq!(told(&["sent to=S1 at=5", "sent to=S4 at=7"]), "2 × sent (to S1, S4, at 5, 7)");
        assert_eq!(told(&["sent at=1", "sent at=3", "sent at=5", "sent at=7", "sent at=9"]), "5 × sent");
        assert_eq!(told(&["failed node=0 error=out of shares"]), "failed (node 0): out of shares");
    }
}
