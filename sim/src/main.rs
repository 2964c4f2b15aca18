//! `tidings-sim`: runs seeds and says which of them break an invariant.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tidings_sim::randomness::Seed;
use tidings_sim::trial::{self, Failure};
use tidings_sim::{Coverage, Scenario, Selection};

/// Simulates networks and checks what must hold in them.
#[derive(Parser)]
#[command(name = "tidings-sim")]
struct Cli {
    /// Run one seed
    #[arg(long)]
    seed: Option<u64>,
    /// Run seeds from A to below B, written A..B
    #[arg(long, value_parser = range, conflicts_with = "seed")]
    seeds: Option<(u64, u64)>,
    /// Of the seed's acts, let only these happen: numbers with commas between
    #[arg(long, requires = "seed", value_delimiter = ',')]
    keep: Option<Vec<usize>>,
    /// Let everything heal after so many milliseconds
    #[arg(long, requires = "seed")]
    length: Option<u64>,
    /// Print the acts and the end of the trace
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Print the hash over everything that happened, and nothing else
    #[arg(long, requires = "seed")]
    hash: bool,
    /// Do not look for a smaller scenario that fails alike
    #[arg(long)]
    whole: bool,
    /// How many runs at a time [default: one for each core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Switch deliberate bugs on, one after the other, and see that each is noticed
    #[arg(long, conflicts_with_all = ["seed", "calm"])]
    mutants: bool,
    /// Of the bugs, only these: names with commas between
    #[arg(long, requires = "mutants", value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// Run a calm network for so many virtual hours, and say how fast that went
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    calm: Option<u64>,
}

fn range(text: &str) -> Result<(u64, u64)> {
    let (from, to) = text.split_once("..").context("seeds are written A..B")?;
    Ok((from.parse()?, to.parse()?))
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    std::panic::set_hook(Box::new(|_| {}));
    let keep = cli.keep.as_ref().map(|keep| keep.iter().copied().collect::<BTreeSet<usize>>());
    let selection = Selection { keep, length_ms: cli.length };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = cli.jobs.unwrap_or(cores);
    if let Some(hours) = cli.calm {
        return calm(hours);
    }
    if cli.mutants {
        return check_mutants(cli, jobs);
    }
    if let Some(seed) = cli.seed
        && (cli.hash || cli.trace)
    {
        return show(Seed(seed), &selection, cli.hash);
    }
    let (from, to) = match (cli.seed, cli.seeds) {
        (Some(seed), _) => (seed, seed + 1),
        (None, Some(seeds)) => seeds,
        (None, None) => bail!("name a seed, or seeds"),
    };
    Ok(run_all(from..to, &selection, jobs, cli.whole))
}

/// Prints how each deliberate bug is noticed; answers whether all are.
#[cfg(feature = "mutants")]
fn check_mutants(cli: &Cli, jobs: usize) -> Result<bool> {
    use tidings_sim::mutation;

    let begin = Instant::now();
    let mutants = mutation::named(cli.only.as_deref())?;
    let seeds = cli.seeds.map(|(from, to)| from..to);
    let findings = mutation::check(&mutants, jobs, seeds);
    println!("{}", mutation::COLUMNS);
    findings.iter().for_each(|finding| println!("{finding}"));
    let caught = findings.iter().filter(|finding| finding.is_caught()).count();
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    println!("\n{caught} of {} bugs are caught, in {minutes:.1} minutes", findings.len());
    Ok(caught == findings.len())
}

#[cfg(not(feature = "mutants"))]
fn check_mutants(_: &Cli, _: usize) -> Result<bool> {
    bail!("this is built without deliberate bugs; `cargo xtask sim --mutants` builds it with them")
}

/// Runs one seed and prints what happened.
fn show(seed: Seed, selection: &Selection, only_hash: bool) -> Result<bool> {
    let scenario = Scenario::draw(seed).select(selection);
    let (failure, outcome) = trial::attempt(&scenario, true);
    let outcome = outcome.context("the code panicked")?;
    if only_hash {
        println!("{}", outcome.hash);
        return Ok(failure.is_none());
    }
    println!("{:?}\n{:?}", scenario.shape, scenario.weather);
    scenario.acts.iter().for_each(|act| println!("{act}"));
    outcome.lines.iter().for_each(|line| println!("{line}"));
    println!(
        "{} events in {} virtual ms, hash {}",
        outcome.events, outcome.lasted_ms, outcome.hash
    );
    outcome.coverage.iter().for_each(|(what, count)| println!("{count:8} {what}"));
    if let Some(failure) = &failure {
        println!("{failure}");
    }
    Ok(failure.is_none())
}

/// Measures how fast a calm network is simulated.
fn calm(hours: u64) -> Result<bool> {
    let begin = Instant::now();
    let (failure, outcome) = trial::attempt(&Scenario::calm(Seed(1), hours * 3_600_000), false);
    let outcome = outcome.context("the code panicked")?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let node_hours = hours as f64 * 4.0;
    println!(
        "{node_hours} node-hours in {minutes:.2} minutes, {:.0} a minute; {} events, {} envelopes, \
         {} operations",
        node_hours / minutes,
        outcome.events,
        outcome.coverage.of("envelopes acknowledged"),
        outcome.coverage.of("operations applied"),
    );
    if let Some(failure) = &failure {
        println!("{failure}");
    }
    Ok(failure.is_none())
}

/// What all runs came to.
#[derive(Default)]
struct Sum {
    failed: Vec<u64>,
    coverage: Coverage,
    node_ms: u64,
}

fn run_all(seeds: std::ops::Range<u64>, selection: &Selection, jobs: usize, whole: bool) -> bool {
    let begin = Instant::now();
    let all: Vec<u64> = seeds.collect();
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(Sum::default());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(seed) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let text = try_seed(Seed(*seed), selection, whole, &sum);
                    if let Some(text) = text {
                        println!("{text}");
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failed.sort_unstable();
    println!("\nwhat the runs went through");
    sum.coverage.iter().for_each(|(what, count)| println!("{count:10} {what}"));
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let hours = sum.node_ms as f64 / 3_600_000.0;
    println!("\n{} seeds, {hours:.1} node-hours in {minutes:.1} minutes", all.len());
    if !sum.failed.is_empty() {
        println!("failed: {:?}", sum.failed);
    }
    println!("{} passed, {} failed", all.len() - sum.failed.len(), sum.failed.len());
    sum.failed.is_empty()
}

/// Runs a seed; answers what is to be said about it.
fn try_seed(seed: Seed, selection: &Selection, whole: bool, sum: &Mutex<Sum>) -> Option<String> {
    let scenario = Scenario::draw(seed).select(selection);
    let (failure, outcome) = trial::attempt(&scenario, false);
    {
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = &outcome {
            sum.coverage.add(&outcome.coverage);
            sum.node_ms += outcome.lasted_ms * u64::from(scenario.shape.nodes);
        }
        if failure.is_some() {
            sum.failed.push(seed.0);
        }
    }
    failure.map(|failure| tell(seed, selection, &failure, whole))
}

fn tell(seed: Seed, selection: &Selection, failure: &Failure, whole: bool) -> String {
    let mut text = format!("seed {}: {failure}\n", seed.0);
    if whole {
        text += &format!("  cargo xtask sim --seed {}\n", seed.0);
        return text;
    }
    let small = trial::shrink(seed, selection, failure);
    let count = Scenario::draw(seed).acts.len();
    let shape = small.scenario.shape;
    text += &format!(
        "  {} of {count} acts lead to: {}\n  {} nodes, {} shards, periods of {} ms\n",
        small.scenario.acts.len(),
        small.failure,
        shape.nodes,
        shape.shards,
        shape.period_ms,
    );
    for act in &small.scenario.acts {
        text += &format!("    {act}\n");
    }
    text += "  the end of its trace\n";
    let skipped = small.lines.len().saturating_sub(25);
    for line in small.lines.iter().skip(skipped) {
        let line: String = line.chars().take(200).collect();
        text += &format!("    {line}\n");
    }
    text + &format!("  cargo xtask sim {}\n", arguments(seed, &small.selection))
}

/// What to say on the command line to run the same again.
fn arguments(seed: Seed, selection: &Selection) -> String {
    let mut words = vec![format!("--seed {}", seed.0)];
    if let Some(keep) = &selection.keep {
        let keep: Vec<String> = keep.iter().map(ToString::to_string).collect();
        // An empty list is one that names an act that there is not.
        let keep = if keep.is_empty() { format!("{}", usize::MAX) } else { keep.join(",") };
        words.push(format!("--keep {keep}"));
    }
    words.extend(selection.length_ms.map(|length| format!("--length {length}")));
    words.join(" ")
}
