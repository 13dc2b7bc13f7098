//! What the simulated disk costs: the writes of an embedded database, 4 KiB each to pages of a file of a megabyte, a sync
//! after every 16. The baseline hashes and copies the same bytes and does nothing else. Items are writes.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::path::Path;

use divan::Bencher;
use divan::counter::ItemsCount;
use runtime::files::OpenMode;
use seedgrid::case::{Case, Detail, Draft, Script, run};
use seedgrid::fault::{CrashKind, DiskEffect, DiskOp, Fault};
use seedgrid::schedule::ScheduleSpec;
use seedgrid::world::World;
use xxhash_rust::xxh3::xxh3_64;

const WRITES: u64 = 20_000;
const PAGE: usize = 4096;
const PAGES: u64 = 256;

fn main() {
    divan::main();
}

/// The pages that are written to, one after the other.
fn offsets() -> impl Iterator<Item = u64> {
    (0..WRITES).map(|write| write * 97 % PAGES * PAGE as u64)
}

#[divan::bench]
fn hash_and_copy_baseline(bencher: Bencher) {
    let mut file = vec![0; PAGE * PAGES as usize];
    bencher.counter(ItemsCount::new(WRITES)).bench_local(|| {
        let page = [7; PAGE];
        let mut hash = 0;
        for offset in offsets() {
            file[offset as usize..][..PAGE].copy_from_slice(&page);
            hash ^= xxh3_64(divan::black_box(&page));
        }
        hash
    });
}

#[divan::bench]
fn without_crashes(bencher: Bencher) {
    bench_writes(bencher, Vec::new());
}

/// The power might go, and so it is kept account of what is durable.
#[divan::bench]
fn with_a_power_loss_to_come(bencher: Bencher) {
    let effect = DiskEffect::crash(CrashKind::Power, 0);
    bench_writes(bencher, vec![Fault::Disk { disk: "db".into(), op: DiskOp::Change, nth: u32::MAX, effect }]);
}

static WRITER: Script<toml::Table> = Script {
    name: "writer",
    about: "writes and syncs",
    troubles: &[],
    draw: |_| Draft::of(toml::Table::new()),
    check: |_| Ok(()),
    play: |_, world| Box::pin(write(world)),
};

async fn write(world: World) {
    let files = world.actor("db").runtime().files();
    let file = files.open(Path::new("/db"), OpenMode::CreateNew).unwrap();
    file.set_len(PAGES * PAGE as u64).unwrap();
    for (number, offset) in offsets().enumerate() {
        file.write_all_at(offset, &[7; PAGE]).unwrap();
        if number % 16 == 15 {
            file.sync_data().unwrap();
        }
    }
}

fn bench_writes(bencher: Bencher, faults: Vec<Fault>) {
    let mut case = Case::draw(&WRITER, 1);
    case.schedule = ScheduleSpec::Fifo;
    case.faults = faults;
    bencher.counter(ItemsCount::new(WRITES)).bench_local(|| {
        let report = run(&case, Detail::Digest);
        assert!(report.verdict.is_pass(), "{}", report.verdict);
    });
}
