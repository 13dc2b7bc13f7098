//! The chart of a run: its timeline laid out in lanes, with bars that do not overlap, for whatever draws it.
//!
//! Nothing here knows a scenario. Who speaks gets a lane: an operation's task, a client's. Who only answers, such as a
//! server with a task for each call, gets one lane for its actor. A wait that the waiting task's own child ends in another
//! lane is a call, and is drawn where it is answered; any other wait is drawn where somebody waits.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::gist::is_injected;
use super::phrase::Phrase;
use super::timeline::{Deed, Moment, Stretch, StretchKind, Timeline};

/// A timeline laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Chart {
    /// The lanes, from the top.
    pub lanes: Vec<Lane>,
    /// What lasted, in the order in which it began.
    pub bars: Vec<Bar>,
    /// What happened, in order.
    pub marks: Vec<Mark>,
}

/// A lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// The actor whose it is.
    pub actor: String,
    /// The label of its task; the actor's name for a lane of all tasks that do not speak.
    pub name: String,
    /// How many bars are drawn below each other.
    pub rows: usize,
    /// How many of these rows, from the top, have the lane's own bars; those below have the bars of its helpers.
    pub own_rows: usize,
}

/// Something that lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// In which lane.
    pub lane: usize,
    /// In which of its rows.
    pub row: usize,
    /// What it was.
    pub kind: BarKind,
    /// Name and fields.
    pub text: String,
    /// The label of the task whose it was: for a call, of the one that answers.
    pub who: String,
    /// Where in the code it began.
    pub source: Option<String>,
    /// The label of the task that waited for it, and its lane.
    pub awaited_by: Option<(String, usize)>,
    /// When it began.
    pub from: Moment,
    /// When it ended, or the run did.
    pub to: Moment,
    /// Whether the run ended first.
    pub open: bool,
}

/// What a [`Bar`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarKind {
    /// A call: from when it was made until it was answered.
    Call,
    /// A wait for something that others have.
    Wait,
    /// Something that others may wait for.
    Hold,
    /// An operation.
    Operation,
    /// Any other span.
    Other,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// In which lane.
    pub lane: usize,
    /// When.
    pub at: Moment,
    /// What it is.
    pub kind: MarkKind,
    /// The label of the task that did it.
    pub who: String,
    /// Message and fields.
    pub text: String,
    /// Where in the code.
    pub source: Option<String>,
}

/// What a [`Mark`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// An event.
    Event,
    /// A fault that took effect.
    Fault,
    /// A cancel that took effect.
    Cancel,
}

/// The most lanes of one actor for tasks that it starts itself, and for tasks that others start on it.
const LANES_OF_ITS_OWN: usize = 40;
const LANES_FOR_OTHERS: usize = 8;
/// How many stretches of one resource are looked through for the one that another waits for.
const LOOKED_THROUGH: usize = 64;

impl Chart {
    /// Lays a timeline out.
    pub fn of(timeline: &Timeline) -> Chart {
        let lanes = Lanes::of(timeline);
        let (bars, marks) = (bars(timeline, &lanes), marks(timeline, &lanes));
        Chart { lanes: lanes.lanes, bars, marks }.in_order(timeline)
    }

    /// Puts the lanes in order, without those in which there is nothing. Gives each bar a row.
    fn in_order(self, timeline: &Timeline) -> Chart {
        let mut first = vec![None; self.lanes.len()];
        for mark in self.marks.iter().rev().filter(|mark| mark.kind == MarkKind::Event) {
            first[mark.lane] = Some(mark.at.step);
        }
        // Actors come in the order in which they speak up, then those that never speak, by name.
        let mut actors = BTreeMap::<&str, u64>::new();
        for (lane, step) in self.lanes.iter().zip(&first).filter_map(|(lane, step)| Some((lane, (*step)?))) {
            let actor = actors.entry(&lane.actor).or_insert(step);
            *actor = step.min(*actor);
        }
        let used: BTreeSet<usize> =
            self.bars.iter().map(|bar| bar.lane).chain(self.marks.iter().map(|mark| mark.lane)).collect();
        let mut order: Vec<usize> = used.into_iter().collect();
        order.sort_by_key(|lane| {
            let Lane { actor, name, .. } = &self.lanes[*lane];
            let speaks = first[*lane].unwrap_or(u64::MAX);
            (actors.get(actor.as_str()).copied().unwrap_or(u64::MAX), natural(actor), speaks, natural(name))
        });
        let mut place = vec![0; self.lanes.len()];
        order.iter().enumerate().for_each(|(to, from)| place[*from] = to);
        let lanes = order.iter().map(|lane| self.lanes[*lane].clone()).collect();
        let mut chart = Chart { lanes, ..self };
        for bar in &mut chart.bars {
            bar.lane = place[bar.lane];
            if let Some((_, lane)) = &mut bar.awaited_by {
                *lane = place[*lane];
            }
        }
        chart.marks.iter_mut().for_each(|mark| mark.lane = place[mark.lane]);
        chart.give_rows(timeline.end.step);
        chart
    }

    /// Gives each bar the first row that is free: the lane's own bars first, below them those of its helpers.
    fn give_rows(&mut self, end: u64) {
        self.bars.sort_by_key(|bar| (bar.from, std::cmp::Reverse(bar.to)));
        for helpers in [false, true] {
            // For each row of each lane, the first step that is free.
            let mut free = vec![Vec::<u64>::new(); self.lanes.len()];
            for bar in &mut self.bars {
                let lane = &self.lanes[bar.lane];
                if helpers != (lane.name != lane.actor && lane.name != bar.who) {
                    continue;
                }
                let rows = &mut free[bar.lane];
                let until = if bar.open { end + 1 } else { bar.to.step.max(bar.from.step + 1) };
                let row = rows.iter().position(|free| *free <= bar.from.step).unwrap_or(rows.len());
                match rows.get_mut(row) {
                    Some(free) => *free = until,
                    None => rows.push(until),
                }
                bar.row = lane.own_rows + row;
            }
            for (lane, rows) in self.lanes.iter_mut().zip(free) {
                lane.rows += rows.len();
                lane.own_rows = if helpers { lane.own_rows } else { lane.rows };
            }
        }
    }
}

/// Which tasks are in which lane.
struct Lanes {
    lanes: Vec<Lane>,
    /// By task; the harness comes last.
    of_task: Vec<usize>,
    of_actor: BTreeMap<String, usize>,
}

impl Lanes {
    fn of(timeline: &Timeline) -> Lanes {
        let tops = tops(timeline);
        let mut speaks = BTreeSet::new();
        for line in &timeline.log {
            if matches!(&line.what, Deed::Says { target, .. } if !is_injected(target)) {
                speaks.extend(tops.get(line.task as usize));
            }
        }
        for stretch in timeline.stretches.iter().filter(|stretch| stretch.kind == StretchKind::Operation) {
            speaks.extend(tops.get(stretch.task as usize));
        }
        let mut speakers = BTreeMap::<(&str, bool), usize>::new();
        for top in &speaks {
            *speakers.entry((timeline.actor_of(*top), timeline.who(*top).contains('/'))).or_default() += 1;
        }
        let mut lanes = Lanes { lanes: Vec::new(), of_task: Vec::new(), of_actor: BTreeMap::new() };
        let mut of_top = BTreeMap::new();
        for top in &tops {
            let (actor, name) = (timeline.actor_of(*top), timeline.who(*top));
            let foreign = name.contains('/');
            let most = if foreign { LANES_FOR_OTHERS } else { LANES_OF_ITS_OWN };
            let few = speakers.get(&(actor, foreign)).is_some_and(|count| *count <= most);
            let lane = match speaks.contains(top) && few {
                true => *of_top.entry(*top).or_insert_with(|| lanes.add(actor, name)),
                false => lanes.of_actor(actor),
            };
            lanes.of_task.push(lane);
        }
        let harness = lanes.of_actor("harness");
        lanes.of_task.push(harness);
        lanes
    }

    fn add(&mut self, actor: &str, name: &str) -> usize {
        self.lanes.push(Lane { actor: actor.into(), name: name.into(), rows: 0, own_rows: 0 });
        self.lanes.len() - 1
    }

    fn of_actor(&mut self, actor: &str) -> usize {
        match self.of_actor.get(actor) {
            Some(lane) => *lane,
            None => {
                let lane = self.add(actor, actor);
                self.of_actor.insert(actor.into(), lane);
                lane
            }
        }
    }

    /// Whether a lane is for all tasks of an actor that do not speak.
    fn is_shared(&self, lane: usize) -> bool {
        self.of_actor.values().any(|shared| *shared == lane)
    }

    fn of_task(&self, task: u32) -> usize {
        let harness = self.of_task.last().copied().unwrap_or_default();
        self.of_task.get(task as usize).copied().unwrap_or(harness)
    }
}

/// For each task the first of its ancestors, up from it, that belong to the same actor.
fn tops(timeline: &Timeline) -> Vec<u32> {
    let numbers: BTreeMap<&str, u32> =
        timeline.tasks.iter().zip(0..).map(|(task, number)| (task.label.as_str(), number)).collect();
    let mut tops = Vec::<u32>::with_capacity(timeline.tasks.len());
    for (task, number) in timeline.tasks.iter().zip(0..) {
        let parent = parent(&task.label).and_then(|parent| numbers.get(parent));
        // Parents are older than their children.
        let of_same = parent.filter(|parent| timeline.tasks[**parent as usize].actor == task.actor);
        tops.push(of_same.and_then(|parent| tops.get(*parent as usize)).copied().unwrap_or(number));
    }
    tops
}

fn parent(label: &str) -> Option<&str> {
    label.rsplit_once('/').map(|(parent, _)| parent)
}

fn bars(timeline: &Timeline, lanes: &Lanes) -> Vec<Bar> {
    let mut waits = BTreeMap::<&str, Vec<usize>>::new();
    for (number, stretch) in timeline.stretches.iter().enumerate() {
        if stretch.kind == StretchKind::Wait {
            waits.entry(&stretch.text).or_default().push(number);
        }
    }
    let mut drawn_elsewhere = BTreeSet::new();
    let mut bars = Vec::new();
    for stretch in timeline.stretches.iter().filter(|stretch| stretch.kind != StretchKind::Wait) {
        let mut bar = bar(timeline, lanes, stretch);
        let awaiting = match stretch.kind {
            StretchKind::Hold => waits.get(stretch.text.as_str()).map(Vec::as_slice).unwrap_or_default(),
            _ => &[],
        };
        let end = end_of(timeline, stretch);
        let begun = awaiting.partition_point(|wait| timeline.stretches[*wait].from <= end);
        for number in awaiting[..begun].iter().rev().take(LOOKED_THROUGH) {
            let wait = &timeline.stretches[*number];
            let lane = lanes.of_task(wait.task);
            if end_of(timeline, wait) < stretch.from || drawn_elsewhere.contains(number) {
                continue;
            }
            let called = parent(timeline.who(stretch.task)) == Some(timeline.who(wait.task));
            let called = called && lanes.is_shared(bar.lane);
            if called || (lane == bar.lane && wait.task != stretch.task) {
                drawn_elsewhere.insert(*number);
                bar.kind = if called { BarKind::Call } else { bar.kind };
                bar.from = bar.from.min(wait.from);
                bar.to = bar.to.max(end_of(timeline, wait));
            }
            bar.awaited_by = Some((timeline.who(wait.task).into(), lane));
        }
        bars.push(bar);
    }
    let others = waits.into_values().flatten().filter(|number| !drawn_elsewhere.contains(number));
    bars.extend(others.map(|number| bar(timeline, lanes, &timeline.stretches[number])));
    bars
}

fn bar(timeline: &Timeline, lanes: &Lanes, stretch: &Stretch) -> Bar {
    Bar {
        lane: lanes.of_task(stretch.task),
        row: 0,
        kind: match stretch.kind {
            StretchKind::Wait => BarKind::Wait,
            StretchKind::Hold => BarKind::Hold,
            StretchKind::Operation => BarKind::Operation,
            StretchKind::Other => BarKind::Other,
        },
        text: stretch.text.clone(),
        who: timeline.who(stretch.task).into(),
        source: stretch.source.clone(),
        awaited_by: None,
        from: stretch.from,
        to: end_of(timeline, stretch),
        open: stretch.to.is_none(),
    }
}

fn end_of(timeline: &Timeline, stretch: &Stretch) -> Moment {
    stretch.to.unwrap_or(timeline.end)
}

fn marks(timeline: &Timeline, lanes: &Lanes) -> Vec<Mark> {
    let mark = |line: &super::Line| {
        let Deed::Says { target, text } = &line.what else { return None };
        let kind = match target.as_str() {
            "fault" => MarkKind::Fault,
            "cancel" => MarkKind::Cancel,
            _ => MarkKind::Event,
        };
        // A fault is drawn where it hits, if it says at whom.
        let hit =
            || Phrase::of(text).fields.into_iter().find_map(|(_, value)| lanes.of_actor.get(value).copied());
        let hit = if kind == MarkKind::Fault { hit() } else { None };
        let lane = hit.unwrap_or_else(|| lanes.of_task(line.task));
        let (who, source) = (timeline.who(line.task).into(), line.source.clone());
        Some(Mark { lane, at: line.at, kind, who, text: text.clone(), source })
    };
    timeline.log.iter().filter_map(mark).collect()
}

/// Names in the order in which people have them: S2 before S10.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(digits);
        let end = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((text.to_string(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Line, TaskName};

    fn at(step: u64) -> Moment {
        Moment { step, ns: step * 1000 }
    }

    fn stretch(kind: StretchKind, text: &str, task: u32, from: u64, to: Option<u64>) -> Stretch {
        Stretch { kind, text: text.into(), task, source: None, from: at(from), to: to.map(at) }
    }

    fn says(target: &str, text: &str, task: u32, step: u64) -> Line {
        let what = Deed::Says { target: target.into(), text: text.into() };
        Line { at: at(step), task, source: None, what }
    }

    /// A reader asks a node for a segment, and its node asks two servers.
    fn timeline() -> Timeline {
        use StretchKind::{Hold, Operation, Wait};
        let task = |label: &str, actor| TaskName { label: label.into(), actor };
        Timeline {
            actors: ["script", "client", "S10", "S2"].map(String::from).into(),
            tasks: vec![
                task("reader.0", 0),
                task("reader.0/node.0", 1),
                task("reader.0/node.0/ask.0", 1),
                task("reader.0/node.0/ask.0/read.1", 2),
                task("reader.0/node.0/ask.1", 1),
                task("reader.0/node.0/ask.1/read.1", 3),
            ],
            stretches: vec![
                stretch(Operation, "reader.0/read.0", 0, 1, None),
                stretch(Wait, "segment 0", 0, 1, None),
                stretch(Hold, "segment 0", 1, 2, None),
                stretch(Wait, "block 0", 1, 3, Some(7)),
                stretch(Hold, "block 0", 2, 4, Some(8)),
                stretch(Wait, "answer 0", 2, 4, Some(7)),
                stretch(Hold, "answer 0", 3, 5, Some(6)),
                stretch(Wait, "answer 1", 4, 5, Some(9)),
                stretch(Hold, "answer 1", 5, 6, None),
            ],
            log: vec![
                says("client", "started", 0, 1),
                says("client", "sent to=S10", 1, 3),
                says("fault", "hang server=S2 nth=1", 4, 5),
            ],
            end: at(10),
            ..Timeline::default()
        }
    }

    #[test]
    fn who_speaks_has_a_lane_and_who_answers_one_for_all_answers() {
        let chart = Chart::of(&timeline());
        let names: Vec<_> = chart.lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(names, ["reader.0", "reader.0/node.0", "S2", "S10"]);
    }

    #[test]
    fn a_call_is_drawn_where_it_is_answered_from_when_it_was_made() {
        let chart = Chart::of(&timeline());
        let bar =
            |text: &str| chart.bars.iter().find(|bar| bar.text == text && bar.kind != BarKind::Wait).unwrap();
        let call = bar("answer 0");
        assert_eq!((call.kind, call.lane, call.from.step, call.to.step), (BarKind::Call, 3, 4, 7));
        assert_eq!(call.awaited_by, Some(("reader.0/node.0/ask.0".into(), 1)));
        let unanswered = bar("answer 1");
        assert_eq!((unanswered.lane, unanswered.open, unanswered.to.step), (2, true, 10));
        // The client's own wait for its helper is one bar with what the helper does.
        assert_eq!(chart.bars.iter().filter(|bar| bar.text == "block 0").count(), 1);
        // The reader waits for what its node has: both are drawn.
        assert_eq!(bar("segment 0").kind, BarKind::Hold);
        assert_eq!(chart.bars.iter().filter(|bar| bar.text == "segment 0").count(), 2);
    }

    #[test]
    fn a_fault_is_drawn_where_it_hits() {
        let chart = Chart::of(&timeline());
        let fault = chart.marks.iter().find(|mark| mark.kind == MarkKind::Fault).unwrap();
        assert_eq!(chart.lanes[fault.lane].name, "S2");
    }

    #[test]
    fn bars_of_one_row_do_not_overlap() {
        let chart = Chart::of(&timeline());
        for (number, bar) in chart.bars.iter().enumerate() {
            let lane = &chart.lanes[bar.lane];
            assert!(bar.row < lane.rows);
            for other in &chart.bars[number + 1..] {
                let same = (bar.lane, bar.row) == (other.lane, other.row);
                assert!(!same || (!bar.open && bar.to.step <= other.from.step), "{bar:?} {other:?}");
            }
        }
    }

    #[test]
    fn names_are_in_the_order_of_people() {
        assert!(natural("S2") < natural("S10") && natural("a.2/b") < natural("a.10"));
    }
}
