//! A real database on a simulated disk: whatever survives a power loss at any operation, what was committed is there.
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use runtime::Runtime;
use runtime::files::{File, OpenMode};
use seedgrid::case::{Case, Detail, Draft, Script, run};
use seedgrid::fault::{CrashKind, DiskEffect, DiskOp, Fault};
use seedgrid::schedule::ScheduleSpec;
use seedgrid::world::World;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("table");

/// A redb file on the runtime's files.
struct Backend(Arc<dyn File>);

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.0.read_full_at(offset, out)? == out.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(offset, bytes)
    }
}

fn open(runtime: &Runtime) -> Result<Database, String> {
    let files = runtime.files();
    let file = files.open(Path::new("/redb"), OpenMode::CreateOrOpen).map_err(|error| error.to_string())?;
    if file.is_empty().map_err(|error| error.to_string())? {
        files.sync_dir(Path::new("/")).map_err(|error| error.to_string())?;
    }
    Builder::new().create_with_backend(Backend(file.into())).map_err(|error| error.to_string())
}

/// What the database holds, by key the length of the value.
fn content(database: &Database) -> Result<BTreeMap<u64, usize>, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        table => table?,
    };
    let rows = table.iter()?.map(|row| row.map(|(key, value)| (key.value(), value.value().len())));
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Transaction `number`: it puts three keys, and takes one of an earlier transaction away.
fn commit(database: &Database, number: u64) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(TABLE)?;
        for key in 0..3 {
            table.insert(10 * number + key, &vec![number as u8; 300 * (1 + key as usize)][..])?;
        }
        if let Some(earlier) = number.checked_sub(2) {
            table.remove(10 * earlier + 1)?;
        }
    }
    write.commit()?;
    Ok(())
}

/// What the database holds after so many transactions.
fn expected(transactions: u64) -> BTreeMap<u64, usize> {
    let put = (0..transactions).flat_map(|number| (0..3).map(move |key| (number, key)));
    let gone = |(number, key): &(u64, u64)| *key == 1 && number + 2 < transactions;
    put.filter(|row| !gone(row)).map(|(number, key)| (10 * number + key, 300 * (1 + key as usize))).collect()
}

static REDB: Script<BTreeMap<String, u64>> = Script {
    name: "redb",
    about: "a database is written to, and opened again after a crash",
    troubles: &[],
    draw: |_| Draft::of(BTreeMap::from([("transactions".into(), 5)])),
    check: |_| Ok(()),
    play: |work, world| Box::pin(play(work["transactions"], world)),
};

async fn play(transactions: u64, world: World) {
    let actor = world.actor("db");
    let (mut made, mut acknowledged) = (false, 0);
    actor.expose_disk(&DiskEffect::CRASHES);
    // One poll, with all that is done in it: wherever the crash falls, nothing after it reaches the disk.
    if let Ok(database) = open(&actor.runtime()) {
        made = true;
        for number in 0..transactions {
            match commit(&database, number) {
                Ok(()) => acknowledged += 1,
                Err(_) => break,
            }
        }
        drop(database);
    }
    let clock = world.actor("clock").runtime();
    let found = loop {
        // The crash takes effect when the poll is over.
        clock.sleep(Duration::from_millis(1)).await;
        if !actor.is_up() {
            actor.restarted(0).await;
        }
        let life = actor.life();
        match open(&actor.runtime()) {
            Ok(database) => break content(&database),
            // It may fall into the recovery as well.
            Err(_) if actor.life() > life => {}
            // redb writes the magic number last, so that a file that was not made to its end is no database.
            Err(why) if !made && why.contains("invalid data") => return world.took_effect("half-made"),
            Err(why) => return world.violated("opens", format!("after {acknowledged} commits: {why}")),
        }
    };
    let found = match found {
        Err(why) => return world.violated("readable", format!("after {acknowledged} commits: {why}")),
        Ok(found) => found,
    };
    let allowed = [expected(acknowledged), expected((acknowledged + 1).min(transactions))];
    if !allowed.contains(&found) {
        world.violated("durable", format!("{acknowledged} were committed, and {found:?} is there"));
    }
}

fn case(faults: Vec<Fault>) -> Case {
    let mut case = Case::draw(&REDB, 1);
    case.schedule = ScheduleSpec::Fifo;
    case.faults = faults;
    case
}

fn changes() -> u32 {
    let report = run(&case(vec![]), Detail::Points);
    assert!(report.verdict.is_pass(), "{}", report.verdict);
    let points = report.points.unwrap();
    let of = |point: &seedgrid::world::Point| match point {
        seedgrid::world::Point::Fault(faults) => match faults.first() {
            Some(Fault::Disk { nth, op: DiskOp::Change, .. }) => Some(*nth),
            _ => None,
        },
        _ => None,
    };
    points.log.iter().filter_map(of).max().unwrap()
}

fn crash(nth: u32, how: CrashKind, survivors: u64) -> Case {
    let effect = DiskEffect::crash(how, survivors);
    case(vec![Fault::Disk { disk: "db".into(), op: DiskOp::Change, nth, effect }])
}

/// Crashes at every operation, with so many survivor numbers each.
fn crash_everywhere(survivors: u64) {
    let changes = changes();
    assert!(changes > 30, "{changes}");
    let ways = (0..survivors).map(|survivors| (CrashKind::Power, survivors));
    let ways: Vec<_> = ways.chain((0..4).map(|survivors| (CrashKind::Process, survivors))).collect();
    let (mut runs, mut half_made, mut failed) = (0, 0, Vec::new());
    for nth in 1..=changes {
        for (how, survivors) in &ways {
            let report = run(&crash(nth, *how, *survivors), Detail::Digest);
            runs += 1;
            half_made += report.effects.get("half-made").copied().unwrap_or_default();
            assert_eq!(report.effects.get(how.name()), Some(&1), "operation {nth}");
            if !report.verdict.is_pass() {
                failed.push(format!("operation {nth}, {how:?}, survivors {survivors}: {}", report.verdict));
            }
        }
    }
    assert!(half_made > 0, "a database is not made in one write");
    assert!(
        failed.is_empty(),
        "{} of {runs} failed, the first {:#?}",
        failed.len(),
        failed.iter().step_by(failed.len() / 20 + 1).collect::<Vec<_>>()
    );
    println!("{changes} operations, {runs} runs, {half_made} before the database was made");
}

#[test]
fn what_was_committed_survives_any_crash_at_any_operation() {
    crash_everywhere(30);
}

#[test]
#[ignore = "takes a quarter of a minute"]
fn what_was_committed_survives_any_of_200_crashes_at_any_operation() {
    crash_everywhere(200);
}
