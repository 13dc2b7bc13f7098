//! Bytes as cases, on the scenarios of the grid: every byte string is one, always the same, and it can be written down.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeSet;

use scenarios::ALL;
use seedgrid::case::{Case, Detail, Dice, run};

/// Byte strings of all lengths: random, and those that a fuzzer tries first.
fn strings(count: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice::new(0, "byte strings");
    let mut strings: Vec<Vec<u8>> = (0..count)
        .map(|_| {
            let mut bytes = vec![0; dice.skewed(10) as usize];
            dice.fill(&mut bytes);
            bytes
        })
        .collect();
    for byte in [0, 1, 0x7F, 0x80, 0xFF] {
        strings.extend([1, 9, 64, 2000].map(|length| vec![byte; length]));
    }
    strings
}

#[test]
fn every_byte_string_is_a_case_that_can_be_written_down_and_played_again() {
    let mut cancels = 0;
    for bytes in strings(120) {
        let case = Case::from_bytes(ALL, &bytes).unwrap();
        let toml = case.to_toml().unwrap();
        assert_eq!(Case::from_bytes(ALL, &bytes).unwrap().to_toml().unwrap(), toml, "{bytes:?}");
        let again = Case::from_toml(&toml, ALL).unwrap_or_else(|error| panic!("{error}\n{toml}"));
        let report = run(&case, Detail::Digest);
        assert!(report.verdict.is_pass(), "{}\n{toml}", report.verdict);
        assert_eq!(run(&again, Detail::Digest).digest, report.digest, "{toml}");
        cancels += report.cancels;
    }
    assert!(cancels > 20, "{cancels} cancellations");
}

#[test]
fn every_scenario_and_schedule_can_be_reached() {
    let mut scenarios = BTreeSet::new();
    let mut schedules = BTreeSet::new();
    for first in 0..=255 {
        // Without cancellations, so that nothing is played.
        let mut bytes = vec![first, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([first / 16; 40]);
        let case = Case::from_bytes(ALL, &bytes).unwrap();
        assert_eq!(case.cancels, []);
        scenarios.insert(case.scenario.name());
        schedules.insert(case.schedule.name());
    }
    assert_eq!(scenarios.len(), ALL.0.len());
    assert_eq!(schedules.into_iter().collect::<Vec<_>>(), ["bounded", "fifo", "pct", "uniform"]);
}

#[test]
fn a_small_change_of_the_bytes_is_a_small_change_of_the_case() {
    let mut dice = Dice::new(1, "byte strings");
    let mut bytes = vec![0; 2000];
    dice.fill(&mut bytes);
    (bytes[0], bytes[9]) = (1, 0);
    let lines = |bytes: &[u8]| -> Vec<String> {
        let toml = Case::from_bytes(ALL, bytes).unwrap().to_toml().unwrap();
        toml.lines().map(String::from).collect()
    };
    let before = lines(&bytes);
    // The seed's last byte: the same grid, the same readers, the same faults.
    bytes[8] ^= 1;
    let after = lines(&bytes);
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert_eq!((before.len(), changed.len()), (after.len(), 1), "{changed:?}");
}
