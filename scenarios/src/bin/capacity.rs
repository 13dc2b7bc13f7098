//! Ten thousand requests to one gateway that serves J at a time, for each J from 1 to 8, with every kind of trouble again
//! and again: nothing that is lent to a request may be lost (annex-p2p §16, I19). Prints a line for each, and ends with
//! status 1 if an oracle finds anything. Arguments are known bugs that are put back.

use std::process::ExitCode;
use std::sync::Arc;

use scenarios::ALL;
use scenarios::annex::link::TROUBLES;
use scenarios::annex::workload::{AnnexWorkload, ClientPlan, Deed, What};
use seedgrid::case::{Case, Detail, Dice, run};
use seedgrid::fault::{CLOCK_KINDS, DiskEffect, Fault};

/// Requests of a case, at the least.
const REQUESTS: u64 = 10_000;
/// What is asked.
const ASKED: [What; 6] = [What::Check, What::Get, What::Put, What::Remove, What::RemoveBefore, What::Lock];
/// How often each kind of trouble comes, in each place.
const TIMES: u32 = 4;

fn main() -> ExitCode {
    let relapses: Vec<String> = std::env::args().skip(1).collect();
    let mut all_held = true;
    println!("{:>3}  {:>8}  {:>8}  {:>7}  {:>10}  verdict", "J", "clients", "requests", "faults", "steps");
    for served in 1..=8 {
        let case = Case { relapses: relapses.clone(), ..crowd(served) };
        let workload = case.workload.of::<AnnexWorkload>();
        let requests: usize = workload.clients.iter().map(|client| client.all_steps().count()).sum();
        let report = run(&case, Detail::Digest);
        all_held &= report.verdict.is_pass();
        println!(
            "{served:>3}  {:>8}  {requests:>8}  {:>7}  {:>10}  {}",
            workload.clients.len(),
            case.faults.len() + workload.deeds.len(),
            report.steps,
            report.verdict
        );
    }
    if all_held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The first case of the scenario that serves so many at a time and in which everything is asked over HTTP, in many rounds.
fn crowd(served: usize) -> Case {
    let scenario = ALL.find("annex-crowd").expect("it is listed");
    let cases = (0..).map(|seed| Case::draw(scenario, seed));
    let is_wanted = |case: &Case| {
        let workload = case.workload.of::<AnnexWorkload>();
        let steps = || workload.clients.iter().filter(|client| client.http).flat_map(|client| &client.steps);
        let asked = |what: &What| steps().any(|step| step.what == *what && step.node.is_some());
        workload.workers == served && ASKED.iter().all(asked)
    };
    let mut case = cases.into_iter().find(is_wanted).expect("all numbers are drawn");
    let mut workload = case.workload.of::<AnnexWorkload>().clone();
    let steps: u64 = workload.clients.iter().map(|client| client.steps.len() as u64).sum();
    workload.clients.iter_mut().for_each(|client: &mut ClientPlan| client.rounds = REQUESTS.div_ceil(steps));
    let (nodes, clients) = (workload.nodes.len() as u64, workload.clients.len() as u64);
    let mut dice = Dice::new(served as u64, "capacity");
    case.faults.clear();
    for kind in TROUBLES {
        for (way, count) in
            [("client-out", clients), ("client-back", clients), ("node-out", nodes), ("node-back", nodes)]
        {
            for _ in 0..TIMES {
                let nth = 1 + dice.below(2_000) as u32;
                case.faults.push(Fault::at(way, dice.below(count), nth, kind));
            }
        }
    }
    for _ in 0..TIMES {
        for kind in DiskEffect::KINDS {
            let disk = format!("node{}", dice.below(nodes));
            case.faults.push(Fault::draw_disk(&mut dice, &disk, kind, 5_000));
        }
        for kind in CLOCK_KINDS {
            let machine = format!("node{}", dice.below(nodes));
            case.faults.push(Fault::draw_clock(&mut dice, &machine, kind, 1 << 40));
        }
        let node = dice.below(nodes) as usize;
        workload.deeds.push(Deed { after_ms: 1_000_000, node, power: dice.chance(1, 2) });
    }
    case.workload = Arc::new(workload);
    case
}
