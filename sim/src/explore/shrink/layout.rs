//! A case as a person would write it: a line for each server, reader, fault and departure, and nothing that goes without
//! saying.

use toml::{Table, Value};

/// The sections of a case in the order in which they are read. Others follow.
const ORDER: [&str; 8] = ["scenario", "seed", "relapses", "knobs", "schedule", "workload", "fault", "cancel"];

/// Keys that say what the others mean.
const FIRST: [&str; 3] = ["on", "kind", "operation"];

/// The case as TOML.
pub(super) fn lay_out(case: &Table) -> String {
    let known = ORDER.iter().filter_map(|key| case.get_key_value(*key));
    let others = case.iter().filter(|(key, _)| !ORDER.contains(&key.as_str()));
    let sections: Vec<_> =
        known.chain(others).filter(|(key, value)| !goes_without_saying(key, value)).collect();
    let mut text = String::new();
    for (key, value) in sections.iter().filter(|(_, value)| !is_section(value)) {
        text += &format!("{} = {value}\n", name(key));
    }
    for (key, value) in sections.iter().filter(|(_, value)| is_section(value)) {
        match value {
            Value::Table(table) => text += &format!("\n[{}]\n{}", name(key), lines(table)),
            Value::Array(array) => {
                let tables = array.iter().filter_map(Value::as_table);
                text.extend(tables.map(|table| format!("\n[[{}]]\n{}", name(key), lines(table))));
            }
            _ => {}
        }
    }
    text
}

fn is_section(value: &Value) -> bool {
    match value {
        Value::Table(_) => true,
        Value::Array(array) => !array.is_empty() && array.iter().all(Value::is_table),
        _ => false,
    }
}

/// Knobs at nothing, and first in, first out.
fn goes_without_saying(key: &str, value: &Value) -> bool {
    let Value::Table(table) = value else { return false };
    match key {
        "knobs" => table.values().all(|value| *value == Value::Integer(0)),
        "schedule" => table.len() == 1 && table.get("kind").and_then(Value::as_str) == Some("fifo"),
        _ => false,
    }
}

fn lines(table: &Table) -> String {
    entries(table).map(|(key, value)| format!("{} = {}\n", name(key), in_lines(value))).collect()
}

/// A table's entries, those first that say what the others mean.
fn entries(table: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let is_first = |key: &String| FIRST.contains(&key.as_str());
    let first = table.iter().filter(move |(key, _)| is_first(key));
    first.chain(table.iter().filter(move |(key, _)| !is_first(key)))
}

/// An array of tables has a line for each.
fn in_lines(value: &Value) -> String {
    match value {
        Value::Array(array) if is_section(value) => {
            let elements: String =
                array.iter().map(|element| format!("  {},\n", in_a_line(element))).collect();
            format!("[\n{elements}]")
        }
        value => in_a_line(value),
    }
}

fn in_a_line(value: &Value) -> String {
    match value {
        Value::Table(table) if !table.is_empty() => {
            let entry = |(key, value): (&String, &Value)| format!("{} = {}", name(key), in_a_line(value));
            format!("{{ {} }}", entries(table).map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Array(array) => {
            format!("[{}]", array.iter().map(in_a_line).collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

/// A key, in quotes if it needs them.
fn name(key: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    match !key.is_empty() && key.chars().all(plain) {
        true => key.into(),
        false => Value::String(key.into()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_says_the_same_in_fewer_lines() {
        let case: Table = toml::from_str(
            r#"
            scenario = "any"
            seed = 0
            odd = { "a key" = "with \"quotes\"" }
            [schedule]
            kind = "replay"
            [[schedule.departures]]
            run = "b"
            [workload.file]
            name = "x"
            [[workload.server]]
            shares = [1, 2]
            [[fault]]
            nth = 1
            [fault.effect]
            kind = "hang"
            "#,
        )
        .unwrap();
        let text = lay_out(&case);
        assert_eq!(toml::from_str::<Table>(&text).unwrap(), case, "{text}");
        insta::assert_snapshot!(text, @r#"
        scenario = "any"
        seed = 0

        [schedule]
        kind = "replay"
        departures = [
          { run = "b" },
        ]

        [workload]
        file = { name = "x" }
        server = [
          { shares = [1, 2] },
        ]

        [[fault]]
        effect = { kind = "hang" }
        nth = 1

        [odd]
        "a key" = 'with "quotes"'
        "#);
        let quiet = "seed = 1\n[schedule]\nkind = \"fifo\"\n[knobs]\njob_us = 0\n";
        assert_eq!(lay_out(&toml::from_str(quiet).unwrap()), "seed = 1\n");
    }
}
