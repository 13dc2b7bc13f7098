//! `seedgrid`: scenarios by seed, known bugs, regression cases.
fn main() {
    use seedgrid::case::{Case, Detail, run};
    let args: Vec<String> = std::env::args().collect();
    let (from, to): (u64, u64) = (args[2].parse().unwrap(), args[3].parse().unwrap());
    let names: Vec<_> = scenarios::ALL.0.iter().filter(|s| args[1] == "all" || s.name() == args[1]).collect();
    let start = std::time::Instant::now();
    let mut shown = 0;
    let mut runs = 0u64; let mut steps=0;
    for scenario in names {
        for seed in from..to {
            let mut case = Case::draw(*scenario, seed);
            if let Some(r) = args.get(4) { case.relapses = vec![r.clone()]; }
            let report = run(&case, Detail::Digest);
            runs += 1; steps += report.steps;
            if !report.verdict.is_pass() && shown < 3 {
                shown += 1;
                println!("{} {seed}: {}", scenario.name(), report.verdict);
                if shown == 1 {
                let report = run(&case, Detail::Full);
                println!("{}", case.to_toml().unwrap());
                println!("{}\n{}", report.story.unwrap(), report.waits.unwrap());
                }
            }
        }
    }
    let s = start.elapsed().as_secs_f64();
    println!("{runs} runs {:.0}/s, {} steps per run", runs as f64 / s, steps / runs);
}
