//! A chart as a trace in the JSON format of Chrome and Perfetto
//! ("Trace Event Format", <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>).
//!
//! Each lane is a process, each of its rows a thread: the slices of a thread must not overlap. Bars are complete events
//! (`X`), events are instants (`i`) on the first row, faults and cancels are instants across all lanes; an arrow (`s`, `f`)
//! leads from whoever waits to what it waits for. Times are in microseconds of simulated time.

use std::io;

use serde_json::{Value, json};

use super::chart::{Bar, BarKind, Chart, Mark, MarkKind};
use super::timeline::Moment;

/// Writes a chart as a trace. `title` names the run.
pub fn perfetto(chart: &Chart, title: &str) -> io::Result<String> {
    let mut events = Vec::new();
    for (number, lane) in chart.lanes.iter().enumerate() {
        let name = match lane.name == lane.actor {
            true => lane.name.clone(),
            false => format!("{} ({})", lane.name, lane.actor),
        };
        let about =
            |what, args| json!({ "ph": "M", "name": what, "pid": pid(number), "tid": 1, "args": args });
        events.push(about("process_name", json!({ "name": name })));
        events.push(about("process_sort_index", json!({ "sort_index": number })));
        for row in 0..lane.rows {
            let args = json!({ "name": if row == 0 { "events".into() } else { format!("row {row}") } });
            events.push(json!({ "ph": "M", "name": "thread_name", "pid": pid(number), "tid": tid(row), "args": args }));
        }
    }
    events.extend(chart.bars.iter().map(slice));
    for (number, bar) in chart.bars.iter().enumerate() {
        events.extend(arrow(chart, bar, number));
    }
    events.extend(chart.marks.iter().map(instant));
    let trace = json!({ "traceEvents": events, "displayTimeUnit": "ns", "otherData": { "run": title } });
    Ok(serde_json::to_string(&trace)?)
}

fn slice(bar: &Bar) -> Value {
    let kind = match bar.kind {
        BarKind::Call => "call",
        BarKind::Wait => "wait",
        BarKind::Hold => "hold",
        BarKind::Operation => "operation",
        BarKind::Other => "span",
    };
    let awaited_by = bar.awaited_by.as_ref().map(|(who, _)| who);
    json!({
        "ph": "X",
        "name": bar.text,
        "cat": kind,
        "pid": pid(bar.lane),
        "tid": tid(bar.row),
        "ts": micros(bar.from),
        "dur": micros(bar.to) - micros(bar.from),
        "args": {
            "task": bar.who, "source": bar.source, "awaited by": awaited_by, "ended": !bar.open,
            "steps": format!("{} to {}", bar.from.step, bar.to.step),
        },
    })
}

/// An arrow from a wait to what has the resource, when both are drawn.
fn arrow(chart: &Chart, bar: &Bar, number: usize) -> Vec<Value> {
    let Some((waiter, lane)) = &bar.awaited_by else { return Vec::new() };
    let drawn = |wait: &&Bar| {
        wait.kind == BarKind::Wait
            && (wait.lane, &wait.who, &wait.text) == (*lane, waiter, &bar.text)
            && wait.from <= bar.to
            && wait.to >= bar.from
    };
    let Some(wait) = chart.bars.iter().find(drawn) else { return Vec::new() };
    let point = |ph: &str, bar: &Bar, at: Moment| {
        json!({
            "ph": ph, "bp": "e", "id": number + 1, "name": "waits for", "cat": "wait",
            "pid": pid(bar.lane), "tid": tid(bar.row), "ts": micros(at),
        })
    };
    vec![point("s", wait, wait.from), point("f", bar, bar.from.max(wait.from))]
}

fn instant(mark: &Mark) -> Value {
    let (kind, scope) = match mark.kind {
        MarkKind::Event => ("event", "t"),
        MarkKind::Fault => ("fault", "g"),
        MarkKind::Cancel => ("cancel", "g"),
    };
    json!({
        "ph": "i",
        "name": mark.text,
        "cat": kind,
        "s": scope,
        "pid": pid(mark.lane),
        "tid": tid(0),
        "ts": micros(mark.at),
        "args": { "task": mark.who, "step": mark.at.step, "source": mark.source },
    })
}

/// Zero means no process, and no thread, to some readers.
fn pid(lane: usize) -> usize {
    lane + 1
}

fn tid(row: usize) -> usize {
    row + 1
}

fn micros(at: Moment) -> f64 {
    at.ns as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::trace::Lane;

    fn chart() -> Chart {
        let at = |step, ns| Moment { step, ns };
        let bar = |lane, row, kind, from, to, open| Bar {
            lane,
            row,
            kind,
            text: "segment \"0\"".into(),
            who: "reader.0".into(),
            source: None,
            awaited_by: (kind == BarKind::Hold).then(|| ("reader.0".into(), 0)),
            from,
            to,
            open,
        };
        let lane =
            |name: &str, rows| Lane { actor: "client".into(), name: name.into(), rows, own_rows: rows };
        let mark = |lane, kind| Mark {
            lane,
            at: at(2, 1500),
            kind,
            who: "reader.0".into(),
            text: "hang".into(),
            source: None,
        };
        Chart {
            lanes: vec![lane("reader.0", 2), lane("client", 1)],
            bars: vec![
                bar(0, 0, BarKind::Operation, at(1, 0), at(9, 4000), true),
                bar(0, 1, BarKind::Wait, at(1, 500), at(2, 1000), false),
                bar(1, 0, BarKind::Hold, at(1, 700), at(2, 1000), false),
            ],
            marks: vec![mark(0, MarkKind::Event), mark(1, MarkKind::Fault)],
        }
    }

    /// The rules of the format for the phases that are used.
    fn check(trace: &Value) {
        let events = trace["traceEvents"].as_array().unwrap();
        let mut ends = BTreeMap::<(u64, u64), f64>::new();
        let mut arrows = BTreeMap::<u64, Vec<(String, f64)>>::new();
        let mut named = BTreeSet::new();
        for event in events {
            let phase = event["ph"].as_str().unwrap();
            let thread = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
            assert!(thread.0 > 0 && thread.1 > 0);
            assert!(event["name"].is_string());
            if phase == "M" {
                named.insert(thread.0);
                assert!(event["args"].is_object());
                continue;
            }
            assert!(named.contains(&thread.0), "an event of a process without a name");
            let start = event["ts"].as_f64().unwrap();
            assert!(start >= 0.0);
            match phase {
                "X" => {
                    let length = event["dur"].as_f64().unwrap();
                    assert!(length >= 0.0 && event["cat"].is_string());
                    // Slices of one thread follow each other.
                    let end = ends.entry(thread).or_insert(0.0);
                    assert!(start >= *end, "slices overlap");
                    *end = start + length;
                }
                "i" => assert!(["t", "p", "g"].contains(&event["s"].as_str().unwrap())),
                "s" | "f" => {
                    arrows.entry(event["id"].as_u64().unwrap()).or_default().push((phase.into(), start));
                }
                other => panic!("an unknown phase: {other}"),
            }
        }
        for ends in arrows.values() {
            let [(first, from), (second, to)] = ends.as_slice() else { panic!("half an arrow") };
            assert_eq!((first.as_str(), second.as_str()), ("s", "f"));
            assert!(from <= to, "an arrow back in time");
        }
    }

    #[test]
    fn a_trace_keeps_the_rules_of_its_format() {
        let trace: Value = serde_json::from_str(&perfetto(&chart(), "a run").unwrap()).unwrap();
        check(&trace);
        let count = |phase: &str| {
            trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == phase).count()
        };
        assert_eq!(["X", "i", "s", "f"].map(count), [3, 2, 1, 1]);
        assert_eq!(
            trace["traceEvents"].as_array().unwrap().iter().find(|it| it["ph"] == "X").unwrap()["dur"],
            4.0
        );
    }
}
