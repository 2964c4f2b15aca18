//! `cargo xtask sim`: builds the simulator and runs seeds with it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;

use crate::{devnet, process, repository};

/// How many fixed seeds a run without arguments and CI take.
const FIXED_SEEDS: u64 = 200;

/// How many fresh seeds a long run takes.
const FRESH_SEEDS: u64 = 1_000;

/// Options of `cargo xtask sim`.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Run one seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run seeds from A to below B, written A..B [default: 0..200]
    #[arg(long)]
    seeds: Option<String>,
    /// Run 1,000 seeds that were never run before, and say which
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    long: bool,
    /// Switch deliberate bugs on, one after the other, and see that each is noticed
    #[arg(long, conflicts_with_all = ["seed", "seeds", "long"])]
    mutants: bool,
    /// Of the seed's acts, let only these happen: numbers with commas between
    #[arg(long, requires = "seed")]
    keep: Option<String>,
    /// Let everything heal after so many milliseconds
    #[arg(long, requires = "seed")]
    length: Option<u64>,
    /// Print the seed's acts and the end of its trace
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Passed on to the program
    #[arg(last = true)]
    program: Vec<String>,
}

/// Builds the simulator and runs what the options say.
///
/// # Errors
/// When the build fails, or a seed breaks an invariant.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if options.mutants {
        return check_mutants(root, &options.program, None);
    }
    devnet::build(root, &["tidings-sim"], false)?;
    simulate(root, options, None)
}

/// Runs the fixed seeds, with a program that is built already.
///
/// # Errors
/// When a seed breaks an invariant.
pub fn check(root: &Path, deadline: Option<Instant>) -> Result<()> {
    simulate(root, &Options::default(), deadline)
}

/// Runs fresh seeds, with a program that is built already.
///
/// # Errors
/// As [`check`].
pub fn explore(root: &Path, deadline: Option<Instant>) -> Result<()> {
    simulate(root, &Options { long: true, ..Options::default() }, deadline)
}

/// Builds the simulator with the deliberate bugs and sees that it notices each, which says
/// whether passing seeds mean anything.
///
/// It has a target directory of its own, so that no other build is mixed up with it.
///
/// # Errors
/// When the build fails, or a bug goes unnoticed.
pub fn check_mutants(root: &Path, program: &[String], deadline: Option<Instant>) -> Result<()> {
    let target = repository::target_dir(root).join("mutants");
    let mut build = process::cargo(root);
    build.args(["build", "--locked", "-p", "tidings-sim", "--features", "mutants"]);
    build.arg("--target-dir").arg(&target).stdin(Stdio::null());
    process::run(&mut build, deadline)?;
    let mut command = Command::new(target.join("debug").join("tidings-sim"));
    command.current_dir(root).arg("--mutants").args(program).stdin(Stdio::null());
    process::run(&mut command, deadline)
}

fn simulate(root: &Path, options: &Options, deadline: Option<Instant>) -> Result<()> {
    let mut command = Command::new(devnet::binary(root, "tidings-sim", false));
    command.current_dir(root).args(arguments(options)?).stdin(Stdio::null());
    process::run(&mut command, deadline)
}

fn arguments(options: &Options) -> Result<Vec<String>> {
    let mut words = Vec::new();
    if let Some(seed) = options.seed {
        words.extend(["--seed".to_owned(), seed.to_string()]);
    } else {
        words.extend(["--seeds".to_owned(), seeds(options)?]);
    }
    if let Some(keep) = &options.keep {
        words.extend(["--keep".to_owned(), keep.clone()]);
    }
    if let Some(length) = options.length {
        words.extend(["--length".to_owned(), length.to_string()]);
    }
    if options.trace {
        words.push("--trace".to_owned());
    }
    words.extend(options.program.iter().cloned());
    Ok(words)
}

fn seeds(options: &Options) -> Result<String> {
    if let Some(seeds) = &options.seeds {
        return Ok(seeds.clone());
    }
    if !options.long {
        return Ok(format!("0..{FIXED_SEEDS}"));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
    let first = since.as_secs() * FRESH_SEEDS;
    Ok(format!("{first}..{}", first + FRESH_SEEDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &Options, expected: &[&str]) {
        assert_eq!(arguments(options).unwrap(), expected);
    }

    #[test]
    fn options_become_the_programs_arguments() {
        check(&Options::default(), &["--seeds", "0..200"]);
        let one = Options {
            seed: Some(7),
            keep: Some("1,2".to_owned()),
            length: Some(900),
            ..Options::default()
        };
        check(&one, &["--seed", "7", "--keep", "1,2", "--length", "900"]);
        let some = Options { seeds: Some("5..9".to_owned()), ..Options::default() };
        check(&some, &["--seeds", "5..9"]);
    }

    #[test]
    fn fresh_seeds_are_as_many_as_they_should_be() {
        let seeds = seeds(&Options { long: true, ..Options::default() }).unwrap();
        let (from, to) = seeds.split_once("..").unwrap();
        let count = to.parse::<u64>().unwrap() - from.parse::<u64>().unwrap();
        assert_eq!(count, FRESH_SEEDS);
    }
}
