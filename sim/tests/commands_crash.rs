//! `crash` on the command line: a bank that confirms what is not durable is found out, and the healthy one passes.
//!
//! The program is `examples/unplugged.rs`.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod bench;

use bench::{Bench, assert_input_error};
use serde_json::{Value, json};

fn numbers(line: &Value) -> [u64; 6] {
    ["points", "process", "power", "drawn", "twice", "findings"].map(|name| line[name].as_u64().unwrap())
}

#[test]
fn the_healthy_bank_passes_wherever_it_crashes() {
    let bench = Bench::of("unplugged");
    let (status, lines) = bench.json("crash");
    let [bank, stage, summary] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((status, &bank["scenario"], &bank["stage"]), (Some(0), &json!("bank"), &Value::Null));
    assert_eq!((&stage["stage"], numbers(stage)), (&json!("deposit"), numbers(bank)));
    let [points, process, power, drawn, twice, findings] = numbers(summary);
    assert!(points > 8, "{points}");
    assert_eq!([process, power, drawn, twice, findings], [2 * points, 2 * points, 4 * points, 0, 0]);
    assert_eq!((&summary["cases"], &summary["taken"]), (&json!(1), &json!(8 * points)));

    let (status, lines) = bench.json("crash bank --seeds 0..3 --drawn 1 --jobs 1");
    let [points, process, power, drawn, ..] = numbers(lines.last().unwrap());
    assert_eq!((status, [process, power, drawn]), (Some(0), [2 * points, 2 * points, points]));
    assert!(bench.saved().is_empty());
}

#[test]
fn a_deposit_that_was_confirmed_too_early_is_found_missing() {
    let bench = Bench::of("unplugged");
    let done = bench.run("crash bank --relapse unplugged-B1");
    assert_eq!(done.status, Some(1), "{}", done.stderr);
    assert!(done.stdout.contains("bank seed 0: violated (balance): "), "{}", done.stdout);
    let saved = bench.saved();
    assert_eq!(saved, ["bank-0-crashed-violated.toml"]);
    let replay = format!("replay findings/{}", saved[0]);
    assert!(done.stdout.contains(&format!("cargo run --release -- {replay}\n")), "{}", done.stdout);
    let replayed = bench.run(&replay);
    assert_eq!(replayed.status, Some(1), "{}", replayed.stderr);
    assert!(replayed.stdout.contains("how = \"power\"\n"), "only a power loss takes it: {}", replayed.stdout);
    // Shrunk, the one crash is left, and as little as can be survives it.
    let shrunk = bench.run(&format!("shrink findings/{}", saved[0]));
    assert_eq!(shrunk.stdout.matches("[[fault]]").count(), 1, "{}", shrunk.stdout);
    assert!(shrunk.stdout.contains("survivors = 0"), "{}", shrunk.stdout);
}

#[test]
fn what_only_a_second_crash_spoils_is_found_by_a_second_crash() {
    let bench = Bench::of("unplugged");
    let (status, _) = bench.json("crash bank --relapse unplugged-B2");
    assert_eq!(status, Some(0), "recovery from one crash is sound");
    let (status, lines) = bench.json("crash bank --relapse unplugged-B2 --twice --budget 300");
    let summary = lines.last().unwrap();
    let [.., twice, findings] = numbers(summary);
    assert_eq!((status, twice), (Some(1), 300));
    assert!(findings > 0 && summary["twice_possible"].as_u64().unwrap() > 300, "{summary}");
    let (status, lines) = bench.json("crash bank --twice --drawn 0");
    let summary = lines.last().unwrap();
    assert_eq!((status, &summary["twice"]), (Some(0), &summary["twice_possible"]));
    let done = bench.run("crash bank --twice --drawn 0");
    assert!(done.stdout.contains(" with a second crash (all there are), 0 findings; "), "{}", done.stdout);
}

#[test]
fn a_case_of_ones_own_is_crashed_without_its_own_crashes() {
    let bench = Bench::of("unplugged");
    let case =
        |faults: &str| format!("scenario = \"bank\"\nseed = 1\nworkload = {{ deposits = [5] }}\n{faults}");
    let fault = "[[fault]]\non = \"disk\"\ndisk = \"bank\"\nop = \"change\"\nnth = 2\n\
                 effect = { kind = \"crash\", how = \"process\", survivors = 0, restart_us = 1 }\n";
    bench.write("calm.toml", &case(""));
    bench.write("crashing.toml", &case(fault));
    let counts = ["calm", "crashing"].map(|name| {
        let (status, lines) = bench.json(&format!("crash --case {name}.toml"));
        (status, numbers(lines.last().unwrap()))
    });
    assert_eq!(counts[0], counts[1]);
    assert_eq!(counts[0].0, Some(0));
}

#[test]
fn who_cannot_crash_is_no_input() {
    let bench = Bench::of("unplugged");
    assert_input_error(
        &bench.run("crash idle"),
        "idle has no crash points: none of its actors exposes its disk",
    );
    assert_input_error(&bench.run("crash nobody"), "nobody");
    assert_input_error(&bench.run("crash bank --relapse no-such-bug"), "no-such-bug");
    assert_input_error(&bench.run("crash bank --budget 0"), "--budget");
}
