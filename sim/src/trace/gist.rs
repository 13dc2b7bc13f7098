//! The gist of a run: the few lines of its story that matter for how it ended.
//!
//! What matters is judged without knowing the scenario. Faults, cancels, the comings and goings of the resources that
//! somebody waits for in the end, and the place where the nearest passing run parts matter most; then what is rare, what
//! the operations themselves say, and what came last. What is alike is folded into one line, over short stretches first,
//! over longer ones and over tasks alike when that is not enough.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::phrase::{self, Phrase};
use super::timeline::{Deed, Moment, Stretch, StretchKind, Timeline};
use super::waits::WaitGraph;

/// A line of a gist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GistLine {
    /// When it happened; for several things alike, the first of them.
    pub at: Moment,
    /// The last of several things alike.
    pub until: Moment,
    /// The tasks that did it.
    pub who: String,
    /// What they did.
    pub text: String,
    /// Whether it is a fault or a cancel.
    pub injected: bool,
}

/// What matters so much that other lines are not folded across it.
const DECISIVE: u32 = 600;
/// How many changes of each resource in the end's wait chains matter.
const CHANGES: usize = 4;
/// How many events before the end matter.
const LAST: usize = 5;
/// How many lines from where the nearest passing run parts matter.
const PARTING: usize = 3;

/// The gist of a run in at most `most` lines. `waits`: for a hang, who waits for what; `parting`: where in the log the
/// nearest passing run parts.
pub fn gist(
    timeline: &Timeline,
    waits: Option<&WaitGraph>,
    parting: Option<usize>,
    most: usize,
) -> Vec<GistLine> {
    let items = weighed(timeline, waits, parting);
    let folded =
        [Fold::AtOneTime, Fold::OfOneTask, Fold::OfLikeTasks].map(|fold| groups(timeline, &items, fold));
    let [.., coarsest] = &folded;
    let mut chosen = folded.iter().find(|groups| groups.len() <= most).unwrap_or(coarsest).clone();
    chosen.sort_by_key(|group| (std::cmp::Reverse(group.weight), std::cmp::Reverse(group.items[0])));
    chosen.truncate(most);
    chosen.sort_by_key(|group| group.items[0]);
    chosen.iter().map(|group| line(timeline, group)).collect()
}

/// How far apart things may be that are told in one line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fold {
    AtOneTime,
    OfOneTask,
    OfLikeTasks,
}

/// A line of the log, and how much it matters.
struct Item {
    index: usize,
    weight: u32,
}

/// Lines that are told together.
#[derive(Clone)]
struct Group {
    items: Vec<usize>,
    weight: u32,
}

/// Why a run hangs, as best known, in a sentence: the chain of waits, and how long nobody has had what it ends with.
pub fn cause(timeline: &Timeline, waits: &WaitGraph) -> Option<String> {
    let chain = waits.chain();
    let (first, last) = (chain.first()?, chain.last()?);
    let mut text = first.who.clone();
    for (place, wait) in chain.iter().enumerate() {
        if place > 0 {
            text += &format!(", held by {}, which", wait.who);
        }
        if chain[..place].iter().any(|earlier| earlier.who == wait.who) {
            return Some(text + " waits for it in turn: a deadlock");
        }
        text += &format!(" waits for {}", phrase::together(&[Phrase::of(&wait.resource)]));
        if let Some((_, since)) = wait.holders.iter().find(|(holder, _)| *holder == wait.who) {
            let since = in_ms(since.as_nanos() as u64);
            return Some(format!("{text}, which it has itself since {since}: it was not let go of"));
        }
    }
    let Some((holder, _)) = last.holders.first() else {
        let had = |stretch: &&Stretch| stretch.kind == StretchKind::Hold && stretch.text == last.resource;
        let let_go = timeline.stretches.iter().filter(had).filter_map(|it| Some((it.to?, it.task))).max();
        return Some(match let_go {
            Some((at, task)) => format!(
                "{text}, held by nobody since {} let go of it at {}: a lost wake-up, or work that was not begun",
                timeline.who(task),
                in_ms(at.ns)
            ),
            None => format!("{text}, held by nobody, ever: a lost wake-up, or work that was not begun"),
        });
    };
    Some(format!("{text}, held by {holder}, which says of nothing that it waits for it"))
}

/// Simulated nanoseconds as people read them.
pub(crate) fn in_ms(ns: u64) -> String {
    let micros = ns / 1000;
    format!("{}.{:03} ms", micros / 1000, micros % 1000)
}

fn weighed(timeline: &Timeline, waits: Option<&WaitGraph>, parting: Option<usize>) -> Vec<Item> {
    let says = |index: &usize| matches!(timeline.log[*index].what, Deed::Says { .. });
    let mut counts = BTreeMap::<(&str, &str), u32>::new();
    let messages: Vec<_> = timeline.log.iter().map(|line| message(&line.what)).collect();
    messages.iter().flatten().for_each(|message| *counts.entry(*message).or_default() += 1);
    let last: BTreeSet<_> = (0..timeline.log.len()).rev().filter(says).take(LAST).collect();
    let changes = waits.map(|waits| changes(timeline, waits)).unwrap_or_default();
    let parts = parting.map_or(0..0, |parting| parting..parting + PARTING);

    let weight = |index: usize| {
        let line = &timeline.log[index];
        if index == parts.start && !parts.is_empty() {
            return Some(950);
        }
        match &line.what {
            Deed::Says { target, .. } if is_injected(target) => Some(1000),
            Deed::Says { .. } => {
                let count = messages[index].and_then(|message| counts.get(&message)).copied().unwrap_or(1);
                let mut weight = 100 + 200 / count + (50 * index / timeline.log.len()) as u32;
                weight += if timeline.who(line.task).contains('/') { 0 } else { 100 };
                weight += if last.contains(&index) { 150 } else { 0 };
                Some(if parts.contains(&index) { weight.max(DECISIVE) } else { weight })
            }
            Deed::Begins(_) | Deed::Ends(_) => changes.contains(&index).then_some(900),
        }
    };
    (0..timeline.log.len()).filter_map(|index| Some(Item { index, weight: weight(index)? })).collect()
}

/// The last changes of the resources that are waited for in the end.
fn changes(timeline: &Timeline, waits: &WaitGraph) -> BTreeSet<usize> {
    let resources: BTreeSet<&str> = waits.chain().iter().map(|wait| wait.resource.as_str()).collect();
    let mut left: BTreeMap<&str, usize> = resources.into_iter().map(|resource| (resource, CHANGES)).collect();
    let mut changes = BTreeSet::new();
    for (index, line) in timeline.log.iter().enumerate().rev() {
        let (Deed::Begins(number) | Deed::Ends(number)) = line.what else { continue };
        let stretch = &timeline.stretches[number];
        if matches!(stretch.kind, StretchKind::Wait | StretchKind::Hold)
            && let Some(left) = left.get_mut(stretch.text.as_str())
            && *left > 0
        {
            *left -= 1;
            changes.insert(index);
        }
    }
    changes
}

fn groups(timeline: &Timeline, items: &[Item], fold: Fold) -> Vec<Group> {
    let mut groups = Vec::<Group>::new();
    // The group that a key is collected in, until something decisive comes.
    let mut open = BTreeMap::<(String, &str, &str, u64), usize>::new();
    for Item { index, weight } in items {
        let line = &timeline.log[*index];
        let Some((target, message)) = message(&line.what).filter(|_| *weight < DECISIVE) else {
            open.clear();
            groups.push(Group { items: vec![*index], weight: *weight });
            continue;
        };
        let who = timeline.who(line.task);
        let who = if fold == Fold::OfLikeTasks { without_numbers(who) } else { who.into() };
        let time = if fold == Fold::AtOneTime { line.at.ns } else { 0 };
        let place = *open.entry((who, target, message, time)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => {
                group.items.push(*index);
                group.weight = group.weight.max(*weight);
            }
            None => groups.push(Group { items: vec![*index], weight: *weight }),
        }
    }
    groups
}

fn line(timeline: &Timeline, group: &Group) -> GistLine {
    let lines: Vec<_> = group.items.iter().map(|index| &timeline.log[*index]).collect();
    let words: Vec<_> = lines.iter().map(|line| timeline.words(line)).collect();
    let phrases: Vec<_> = words.iter().map(|words| Phrase::of(words)).collect();
    let who = phrase::distinct(&lines.iter().map(|line| timeline.who(line.task)).collect::<Vec<_>>());
    let injected = match &lines[0].what {
        Deed::Says { target, .. } if is_injected(target) => Some(target.as_str()),
        _ => None,
    };
    let text = phrase::together(&phrases);
    GistLine {
        at: lines[0].at,
        until: lines[lines.len() - 1].at,
        who: phrase::listed(&who).unwrap_or_else(|| format!("{} tasks", who.len())),
        text: injected.map(|target| format!("{target}: {text}")).unwrap_or(text),
        injected: injected.is_some(),
    }
}

/// Whether the harness brought it about.
pub(super) fn is_injected(target: &str) -> bool {
    matches!(target, "fault" | "cancel")
}

/// Target and message of an event.
fn message(deed: &Deed) -> Option<(&str, &str)> {
    match deed {
        Deed::Says { target, text } => Some((target, Phrase::of(text).message)),
        Deed::Begins(_) | Deed::Ends(_) => None,
    }
}

fn without_numbers(label: &str) -> String {
    label.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Line, TaskName};

    const TASKS: [&str; 3] = ["reader.0", "reader.1", "reader.0/node.0"];

    /// A run in which these tasks say these things, a step and a microsecond each.
    fn timeline(said: impl Iterator<Item = (u32, &'static str, String)>) -> Timeline {
        let line = |(number, (task, target, text)): (usize, (u32, &str, String))| {
            let at = Moment { step: number as u64, ns: number as u64 * 1000 };
            Line { at, task, source: None, what: Deed::Says { target: target.into(), text } }
        };
        Timeline {
            actors: vec!["script".into()],
            tasks: TASKS.map(|label| TaskName { label: label.into(), actor: 0 }).into(),
            log: said.enumerate().map(line).collect(),
            ..Timeline::default()
        }
    }

    fn texts(timeline: &Timeline, most: usize) -> Vec<String> {
        gist(timeline, None, None, most).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_short_story_is_told_whole() {
        let said = [(0, "client", "started"), (2, "client", "sent to=S0"), (0, "client", "ended")];
        let timeline = timeline(said.map(|(task, target, text)| (task, target, text.into())).into_iter());
        assert_eq!(texts(&timeline, 30), ["started", "sent (to S0)", "ended"]);
    }

    #[test]
    fn a_long_story_is_folded_and_keeps_within_its_bound() {
        let said = (0..5000).map(|number| match number {
            2500 => (2, "fault", "crash server=S7".into()),
            4000 => (2, "client", "something rare".into()),
            4999 => (0, "client", "read ended".into()),
            number => (2, "client", format!("block {} number={number}", number % 60)),
        });
        let timeline = timeline(said);
        for most in [3, 10, 28] {
            let told = texts(&timeline, most);
            assert!(told.len() <= most, "{} lines of {most}", told.len());
            for kept in ["fault: crash (server S7)", "something rare", "read ended"] {
                assert!(told.iter().any(|text| text == kept), "{kept} is missing in {told:?}");
            }
        }
        let lines = gist(&timeline, None, None, 28);
        assert!(lines.is_sorted_by_key(|line| line.at));
        assert!(lines.iter().any(|line| line.text.contains("× block") && line.until > line.at));
    }

    #[test]
    fn tasks_alike_are_told_together_when_there_are_many() {
        let said = (0..8).map(|number| (number % 2, "client", format!("read started offset={number}")));
        let timeline = timeline(said);
        let lines = gist(&timeline, None, None, 1);
        assert!(lines.iter().any(|line| line.who == "reader.0, reader.1"), "{lines:?}");
    }

    #[test]
    fn where_the_passing_run_parts_is_told() {
        let said = (0..500).map(|number| (2, "client", format!("block number={number}")));
        let timeline = timeline(said);
        let lines = gist(&timeline, None, Some(123), 8);
        assert!(lines.iter().any(|line| line.text == "block (number 123)"), "{lines:?}");
    }

    #[test]
    fn a_deadlock_is_told_from_a_lost_wake_up() {
        use std::time::Duration;

        use crate::trace::Wait;
        let wait = |who: &str, resource: &str, holder: Option<&str>| Wait {
            who: who.into(),
            resource: resource.into(),
            since: Duration::ZERO,
            holders: holder.map(|holder| (holder.into(), Duration::ZERO)).into_iter().collect(),
        };
        let told = |waits: Vec<Wait>| {
            let waits = WaitGraph { waits, ..WaitGraph::default() };
            cause(&Timeline::default(), &waits).unwrap()
        };
        assert_eq!(
            told(vec![wait("a", "x n=1", Some("b")), wait("b", "y", Some("a"))]),
            "a waits for x (n 1), held by b, which waits for y, held by a, which waits for it in turn: a deadlock"
        );
        assert_eq!(
            told(vec![wait("a", "x", Some("b")), wait("b", "y", None)]),
            "a waits for x, held by b, which waits for y, held by nobody, ever: a lost wake-up, or work that was not begun"
        );
        assert!(told(vec![wait("a", "x", Some("a"))]).contains("which it has itself since 0.000 ms"));
        assert!(
            told(vec![wait("a", "x", Some("b"))])
                .ends_with("held by b, which says of nothing that it waits for it")
        );
    }
}
