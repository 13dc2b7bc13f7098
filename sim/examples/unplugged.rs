//! A bank that must survive crashes, and two ways in which it does not: the smallest example of `crash`.
//!
//! ```text
//! cargo run --release --example unplugged -- crash                              the healthy bank passes
//! cargo run --release --example unplugged -- crash --relapse unplugged-B1          what it confirmed is lost
//! cargo run --release --example unplugged -- crash --twice --relapse unplugged-B2  counted twice after a second crash
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures::future::BoxFuture;
use runtime::Runtime;
use runtime::files::{File, OpenMode};
use seedgrid::case::{Dice, Draft, Scenario, Scenarios, Script};
use seedgrid::explore::{KnownBug, Sign};
use seedgrid::fault::{DiskEffect, Fault};
use seedgrid::world::{Actor, Knobs, NoAnswer, World};
use serde::{Deserialize, Serialize};

fn main() -> ExitCode {
    seedgrid::cli::main(Scenarios(SCENARIOS), BUGS)
}

static SCENARIOS: &[&dyn Scenario] = &[&BANK, &IDLE];

static BUGS: &[KnownBug] = &[
    KnownBug {
        name: "unplugged-B1",
        about: "a deposit is confirmed before it is durable",
        signs: &[Sign::Violated { oracle: "balance" }],
    },
    KnownBug {
        name: "unplugged-B2",
        about: "a journal that was added to the balance is added again after a crash",
        signs: &[Sign::Violated { oracle: "balance" }],
    },
];

/// What is done: deposits, one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    deposits: Vec<u64>,
}

static BANK: Script<Work> = Script {
    name: "bank",
    about: "deposits in a bank that crashes",
    troubles: &DiskEffect::CRASHES,
    draw: |dice| {
        let deposits = (0..dice.between(1, 4)).map(|_| 1 + dice.below(100)).collect();
        Draft { workload: Work { deposits }, faults: draw_faults(dice), knobs: Knobs::default() }
    },
    check: |work| match work.deposits.iter().all(|amount| *amount < 1 << 32) && work.deposits.len() < 1000 {
        true => Ok(()),
        false => Err("so much money there is not".into()),
    },
    play: |work, world| Box::pin(play(work, world)),
};

/// Half of the cases have a crash of their own, so that a sweep sees some.
fn draw_faults(dice: &mut Dice) -> Vec<Fault> {
    match dice.chance(1, 2) {
        true => {
            let kind = *dice.pick(&DiskEffect::CRASHES);
            vec![Fault::draw_disk(dice, "bank", kind, 16)]
        }
        false => Vec::new(),
    }
}

static IDLE: Script<toml::Table> = Script {
    name: "idle",
    about: "nobody has a disk",
    troubles: &[],
    draw: |_| Draft::of(toml::Table::new()),
    check: |_| Ok(()),
    play: |_, _| -> BoxFuture<'static, ()> { Box::pin(async {}) },
};

async fn play(work: Work, world: World) {
    let bank = world.actor("bank");
    bank.expose_disk(&DiskEffect::CRASHES);
    let (mut confirmed, mut unknown) = (0, Vec::new());
    for (number, amount) in work.deposits.into_iter().enumerate() {
        bank.stage("deposit");
        match bank.ask("deposit", number as u64, deposit(bank.runtime(), amount)).await {
            Ok(Ok(())) => confirmed += amount,
            Ok(Err(error)) => return world.violated("bank", error.to_string()),
            Err(NoAnswer) => unknown.push(amount),
        }
        bank.may_crash_here();
        recover(&bank).await;
    }
    let balance = loop {
        match bank.ask("balance", 0, balance(bank.runtime())).await {
            Ok(Ok(balance)) => break balance,
            Ok(Err(error)) => return world.violated("bank", error.to_string()),
            Err(NoAnswer) => recover(&bank).await,
        }
    };
    let possible = unknown
        .iter()
        .fold(vec![confirmed], |sums, amount| sums.iter().flat_map(|sum| [*sum, sum + amount]).collect());
    if !possible.contains(&balance) {
        world.violated("balance", format!("{balance}, and it should be one of {possible:?}"));
    }
}

/// When the bank went down: waits until it is up, and has it recover, as often as it takes.
async fn recover(bank: &Actor) {
    while bank.life() > 0 {
        // The crash, if this is one, takes effect when the poll is over.
        if !bank.is_up() {
            bank.restarted(0).await;
        }
        let life = bank.life();
        bank.stage("recovery");
        let recovered = bank.ask("recover", life.into(), fold_journal(bank.runtime())).await;
        if let Ok(Ok(())) = recovered {
            return bank.recovered();
        }
    }
}

const BALANCE: &str = "/balance";

/// The journal that goes with a balance of that generation.
fn journal(generation: u64) -> PathBuf {
    PathBuf::from(format!("/journal.{generation}"))
}

/// Adds a deposit to the journal: 16 bytes, so that no sector has but a part of them.
async fn deposit(runtime: Runtime, amount: u64) -> io::Result<()> {
    let files = runtime.files();
    let (generation, _) = read_balance(&runtime)?;
    let file = files.open(&journal(generation), OpenMode::CreateOrOpen)?;
    let record = [amount.to_be_bytes(), (!amount).to_be_bytes()].concat();
    file.write_all_at(file.len()?, &record)?;
    if !runtime::relapse!("unplugged-B1") {
        file.sync_data()?;
    }
    files.sync_dir(Path::new("/"))
}

/// The balance, with what the journal has.
async fn balance(runtime: Runtime) -> io::Result<u64> {
    let (generation, balance) = read_balance(&runtime)?;
    Ok(balance + sum_of_journal(&runtime, generation)?)
}

/// Adds the journal to the balance, which belongs to the next journal from then on.
async fn fold_journal(runtime: Runtime) -> io::Result<()> {
    let files = runtime.files();
    let (generation, balance) = read_balance(&runtime)?;
    let again = runtime::relapse!("unplugged-B2");
    let sum = sum_of_journal(&runtime, generation)?;
    let next = if again { generation } else { generation + 1 };
    let new = files.open(Path::new("/balance.new"), OpenMode::CreateOrOpen)?;
    new.write_all_at(0, &[next.to_be_bytes(), (balance + sum).to_be_bytes()].concat())?;
    new.sync_data()?;
    files.rename(Path::new("/balance.new"), Path::new(BALANCE))?;
    files.sync_dir(Path::new("/"))?;
    match files.remove_file(&journal(generation)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => files.sync_dir(Path::new("/")),
    }
}

/// The balance without its journal, and its generation.
fn read_balance(runtime: &Runtime) -> io::Result<(u64, u64)> {
    match runtime.files().open(Path::new(BALANCE), OpenMode::Read) {
        Ok(file) => Ok((number_at(&*file, 0)?, number_at(&*file, 8)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0)),
        Err(error) => Err(error),
    }
}

/// What the journal has, up to the first record that is not whole.
fn sum_of_journal(runtime: &Runtime, generation: u64) -> io::Result<u64> {
    let file = match runtime.files().open(&journal(generation), OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    let mut sum = 0;
    for record in 0..file.len()? / 16 {
        let (amount, check) = (number_at(&*file, 16 * record)?, number_at(&*file, 16 * record + 8)?);
        if check != !amount {
            break;
        }
        sum += amount;
    }
    Ok(sum)
}

fn number_at(file: &dyn File, offset: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_full_at(offset, &mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}
