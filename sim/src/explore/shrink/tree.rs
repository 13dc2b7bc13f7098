//! A case as a tree of TOML: where its arrays and values are, and what is left when some of them go.
//!
//! Nothing here knows any scenario. That an array named `server` is what the key `server` counts in elsewhere, and that
//! its elements have tasks labelled `server.N`, are the only conventions.

use std::collections::BTreeSet;

use toml::{Table, Value};

/// The way to a place in a case.
pub(in crate::explore) type Path = Vec<Step>;

/// One step of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::explore) enum Step {
    /// Into a table.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// What is no part of what can be removed: the scenario is what the case is about, the schedule has a pass of its own.
const UNTOUCHED: [&str; 2] = ["scenario", "schedule"];

/// Every array with something in it that is `depth` steps from the top.
pub(in crate::explore) fn arrays(case: &Table, depth: usize) -> Vec<Path> {
    let mut found = Vec::new();
    visit(case, &mut |path, value| {
        if path.len() == depth && value.as_array().is_some_and(|array| !array.is_empty()) {
            found.push(path.clone());
        }
    });
    found
}

/// Every table in an array, by its array and its place there, outer ones before those in them.
pub(super) fn elements(case: &Table) -> Vec<(Path, usize)> {
    let mut found = Vec::new();
    visit(case, &mut |path, value| {
        if let (Some((Step::Index(place), array)), true) = (path.split_last(), value.is_table()) {
            found.push((array.to_vec(), *place));
        }
    });
    found
}

/// How deep the deepest place is.
pub(in crate::explore) fn depth(case: &Table) -> usize {
    let mut deepest = 0;
    visit(case, &mut |path, _| deepest = deepest.max(path.len()));
    deepest
}

/// Every value under a key that is no array: numbers, truths, words and tables.
pub(in crate::explore) fn entries(case: &Table) -> Vec<Path> {
    let mut found = Vec::new();
    visit(case, &mut |path, value| {
        if matches!(path.last(), Some(Step::Key(_))) && !value.is_array() {
            found.push(path.clone());
        }
    });
    found
}

/// The value at a place.
pub(in crate::explore) fn at<'a>(case: &'a Table, path: &[Step]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let Step::Key(key) = first else { return None };
    rest.iter().try_fold(case.get(key)?, |value, step| match step {
        Step::Key(key) => value.get(key.as_str()),
        Step::Index(index) => value.get(*index),
    })
}

/// The case with another value at a place.
pub(in crate::explore) fn with(case: &Table, path: &[Step], value: Value) -> Table {
    let mut case = case.clone();
    if let Some(place) = at_mut(&mut case, path) {
        *place = value;
    }
    case
}

/// The case without a key.
pub(in crate::explore) fn without_key(case: &Table, path: &[Step]) -> Table {
    let mut case = case.clone();
    if let Some((Step::Key(key), parent)) = path.split_last() {
        let table = match parent {
            [] => Some(&mut case),
            parent => at_mut(&mut case, parent).and_then(Value::as_table_mut),
        };
        table.map(|table| table.remove(key));
    }
    case
}

/// The case without some elements of an array.
pub(super) fn without_elements(case: &Table, array: &[Step], gone: &BTreeSet<usize>) -> Table {
    let mut case = case.clone();
    if let Some(Value::Array(array)) = at_mut(&mut case, array) {
        let mut place = 0..;
        array.retain(|_| place.next().is_none_or(|place| !gone.contains(&place)));
    }
    case
}

/// The case without some elements of an array, and without what names them elsewhere; what names later elements names
/// them by their new numbers.
pub(in crate::explore) fn without_elements_renumbered(
    case: &Table,
    array: &[Step],
    gone: &BTreeSet<usize>,
) -> Table {
    let renumber = Renumber { chain: chain(array), gone };
    let case = without_elements(case, array, gone);
    match renumber.value(Value::Table(case)) {
        Some(Value::Table(case)) => case,
        _ => Table::new(),
    }
}

/// The labels that lead to an array's elements: `reader.0/read` for the reads of the first reader.
fn chain(array: &[Step]) -> Vec<(String, Option<usize>)> {
    let mut chain: Vec<(String, Option<usize>)> = Vec::new();
    let mut steps = array.iter().peekable();
    while let Some(step) = steps.next() {
        let Step::Key(key) = step else { continue };
        match steps.peek() {
            Some(Step::Index(index)) => chain.push((key.clone(), Some(*index))),
            Some(Step::Key(_)) => chain.clear(),
            None => chain.push((key.clone(), None)),
        }
    }
    chain
}

/// Elements of an array that go, and what is to become of their names.
struct Renumber<'a> {
    chain: Vec<(String, Option<usize>)>,
    gone: &'a BTreeSet<usize>,
}

impl Renumber<'_> {
    /// The value with new numbers; none when it, or the element that it is in, names what is gone.
    fn value(&self, value: Value) -> Option<Value> {
        Some(match value {
            Value::Array(array) => {
                Value::Array(array.into_iter().filter_map(|value| self.value(value)).collect())
            }
            Value::Table(table) => Value::Table(self.table(table)?),
            Value::String(text) => Value::String(self.label(text)?),
            value => value,
        })
    }

    fn table(&self, table: Table) -> Option<Table> {
        let entry = |(key, value): (String, Value)| {
            let value = match value {
                Value::Integer(number) if self.counts_in(&key) => Value::Integer(self.number(number)?),
                value => self.value(value)?,
            };
            Some((key, value))
        };
        table.into_iter().map(entry).collect()
    }

    /// Whether a key of that name counts in the array: one of the case's own, not one within another array's element.
    fn counts_in(&self, key: &str) -> bool {
        matches!(self.chain.as_slice(), [(name, None)] if name == key)
    }

    fn number(&self, number: i64) -> Option<i64> {
        let Ok(index) = usize::try_from(number) else { return Some(number) };
        (!self.gone.contains(&index)).then(|| number - self.gone.range(..index).count() as i64)
    }

    /// A text with new numbers, if it is a label that passes by the array.
    fn label(&self, text: String) -> Option<String> {
        let parts: Vec<&str> = text.split('/').collect();
        let Some((name, _)) = self.chain.last() else { return Some(text) };
        for (end, part) in parts.iter().enumerate() {
            let (stem, rest) = part.split_at(part.find(['~', '#']).unwrap_or(part.len()));
            let index = stem
                .rsplit_once('.')
                .filter(|(kind, _)| kind == name)
                .and_then(|(_, index)| index.parse().ok());
            let Some(index) = index.filter(|_: &i64| self.leads_to(&parts[..end])) else { continue };
            let renumbered = format!("{name}.{}{rest}", self.number(index)?);
            let mut parts = parts.clone();
            parts[end] = &renumbered;
            return Some(parts.join("/"));
        }
        Some(text)
    }

    /// Whether the parts of a label end with those that lead to the array.
    fn leads_to(&self, parts: &[&str]) -> bool {
        let lead = &self.chain[..self.chain.len() - 1];
        parts.len() >= lead.len()
            && parts[parts.len() - lead.len()..]
                .iter()
                .zip(lead)
                .all(|(part, (name, index))| index.is_some_and(|index| **part == format!("{name}.{index}")))
    }
}

fn at_mut<'a>(case: &'a mut Table, path: &[Step]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    let Step::Key(key) = first else { return None };
    rest.iter().try_fold(case.get_mut(key)?, |value, step| match step {
        Step::Key(key) => value.get_mut(key.as_str()),
        Step::Index(index) => value.get_mut(*index),
    })
}

/// Visits everything that can be removed or changed, from the top down.
fn visit(case: &Table, see: &mut dyn FnMut(&Path, &Value)) {
    let mut path = Path::new();
    for (key, value) in case.iter().filter(|(key, _)| !UNTOUCHED.contains(&key.as_str())) {
        path.push(Step::Key(key.clone()));
        visit_value(value, &mut path, see);
        path.pop();
    }
}

fn visit_value(value: &Value, path: &mut Path, see: &mut dyn FnMut(&Path, &Value)) {
    see(path, value);
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                path.push(Step::Key(key.clone()));
                visit_value(value, path, see);
                path.pop();
            }
        }
        Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                path.push(Step::Index(index));
                visit_value(value, path, see);
                path.pop();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = r#"
        scenario = "any"
        server = 7
        [schedule]
        kind = "replay"
        departures = [
            { instead_of = "reader.0/read.1#3", run = "reader.1/node.0/read.1~2" },
            { instead_of = "reader.2#0", run = "reader.2/read.0" },
        ]
        [workload]
        server = [{ shares = [0, 1] }, { shares = [] }, {}]
        reader = [{ read = [{ offset = 4 }, {}] }, { read = [{}] }, {}]
        [[fault]]
        server = 1
        nth = 1
        [[fault]]
        server = 2
        effect = { reader = 1 }
        read = 1
    "#;

    fn case() -> Table {
        toml::from_str(CASE).unwrap()
    }

    fn path(text: &str) -> Path {
        let step = |part: &str| part.parse().map_or(Step::Key(part.into()), Step::Index);
        text.split('.').map(step).collect()
    }

    fn renumbered(array: &str, gone: &[usize]) -> Table {
        without_elements_renumbered(&case(), &path(array), &gone.iter().copied().collect())
    }

    fn text(case: &Table, place: &str) -> String {
        at(case, &path(place)).map_or("none".into(), Value::to_string)
    }

    #[test]
    fn places_are_found_and_the_scenario_and_the_schedule_are_none() {
        let case = case();
        assert_eq!(arrays(&case, 1), [path("fault")]);
        assert_eq!(arrays(&case, 2), [path("workload.reader"), path("workload.server")]);
        assert_eq!(arrays(&case, 4).len(), 3);
        assert!(entries(&case).contains(&path("fault.1.effect.reader")));
        assert!(!entries(&case).iter().any(|path| [Step::Key("scenario".into())] == path[..1]));
        assert_eq!(depth(&case), 6);
    }

    #[test]
    fn keys_and_elements_go() {
        let case = case();
        assert_eq!(text(&without_key(&case, &path("fault.0.nth")), "fault.0"), "{ server = 1 }");
        assert_eq!(text(&without_key(&case, &path("server")), "server"), "none");
        let gone = BTreeSet::from([0, 2]);
        assert_eq!(
            text(&without_elements(&case, &path("workload.server"), &gone), "workload.server"),
            "[{ shares = [] }]"
        );
        assert_eq!(
            text(&with(&case, &path("workload.server.0.shares.1"), 9.into()), "workload.server.0"),
            "{ shares = [0, 9] }"
        );
    }

    #[test]
    fn what_names_a_later_element_names_it_by_its_new_number() {
        let case = renumbered("workload.server", &[0]);
        assert_eq!(text(&case, "fault.0.server") + &text(&case, "fault.1.server"), "01");
        assert_eq!(text(&case, "fault.1.effect.reader"), "1");

        let case = renumbered("workload.reader", &[0]);
        assert_eq!(text(&case, "fault.1.effect.reader"), "0");
        assert_eq!(text(&case, "schedule.departures.0.run"), "\"reader.1/read.0\"");
    }

    #[test]
    fn what_names_an_element_goes_with_it() {
        let case = renumbered("workload.server", &[1]);
        assert_eq!(text(&case, "fault.0.server") + &text(&case, "fault.1"), "1none");
        let case = renumbered("workload.reader", &[2]);
        assert_eq!(text(&case, "schedule.departures.1"), "none");
    }

    #[test]
    fn a_nested_element_is_named_behind_its_parent_only() {
        let case = renumbered("workload.reader.0.read", &[0]);
        assert_eq!(text(&case, "schedule.departures.0.instead_of"), "\"reader.0/read.0#3\"");
        assert_eq!(text(&case, "fault.1.read"), "1", "a key counts in an array of the case's own");
        assert_eq!(text(&case, "schedule.departures.0.run"), "\"reader.1/node.0/read.1~2\"");
        assert_eq!(text(&case, "schedule.departures.1.run"), "\"reader.2/read.0\"");
    }
}
