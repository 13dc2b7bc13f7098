//! Bytes are a case: it is run, and must pass.
//!
//! `SEEDGRID_RELAPSE=tahoe-B1` puts a known bug back: then the fuzzer must find it. A case that fails is saved as TOML in the
//! working folder, for `seedgrid replay` and `seedgrid shrink`.
//!
//! ```text
//! cd sim/fuzz && mkdir -p corpus
//! cargo build --release --target x86_64-unknown-linux-gnu     any target, but named: else build scripts are instrumented
//! target/x86_64-unknown-linux-gnu/release/case corpus -max_total_time=120 -max_len=1024 -len_control=0
//! ```
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use seedgrid::case::{Case, Detail, run};

/// Known bugs that are put back, separated by commas.
static RELAPSES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = std::env::var("SEEDGRID_RELAPSE").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(String::from).collect()
});

fuzz_target!(
    init: {
        // libFuzzer's hook ends the process at any panic. A panic in a run is its verdict.
        drop(std::panic::take_hook());
        if let Some(unknown) = RELAPSES.iter().find(|name| !scenarios::BUGS.iter().any(|bug| bug.name == **name)) {
            eprintln!("SEEDGRID_RELAPSE: there is no known bug `{unknown}`");
            std::process::exit(2);
        }
    },
    |bytes: &[u8]| -> Corpus { play(bytes) }
);

fn play(bytes: &[u8]) -> Corpus {
    let Some(mut case) = Case::from_bytes(scenarios::ALL, bytes) else { return Corpus::Reject };
    case.relapses = RELAPSES.clone();
    let report = run(&case, Detail::Digest);
    if report.verdict.is_pass() {
        return Corpus::Keep;
    }
    let toml = case.to_toml().unwrap_or_else(|error| panic!("a case out of bytes cannot be written: {error}"));
    let file = format!("{}-{:016x}.toml", case.scenario.name(), report.digest);
    let saved = match std::fs::write(&file, &toml) {
        Ok(()) => format!("saved as {file}"),
        Err(error) => format!("cannot be saved as {file}: {error}"),
    };
    panic!("{}\n\n{toml}\n# {saved}\n# cargo run --release -- replay {file}", report.verdict);
}
