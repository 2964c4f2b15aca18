//! `cargo xtask test`: every test there is, with a PostgreSQL of its own.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::generated::Mode;
use crate::postgres::{self, Origin, Postgres};
use crate::tally::Tally;
use crate::{contracts, process, xmtp};

/// What the tests read to find the server.
const POSTGRES_VARIABLE: &str = "TIDINGS_TEST_POSTGRES_URL";
/// What the tests read to find an EVM node.
const ANVIL_VARIABLE: &str = "TIDINGS_TEST_ANVIL";
/// What makes seeded tests run their long schedules.
const LONG_VARIABLE: &str = "TIDINGS_TEST_LONG";

/// What random tests draw from, unless it is set already or the run is long: the same inputs in
/// every run, so that a failure is the change's.
const SEED_VARIABLE: &str = "PROPTEST_RNG_SEED";

/// Options of `cargo xtask test`.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Where PostgreSQL's binaries come from
    #[arg(long, value_enum, default_value_t)]
    pub postgres: Origin,
    /// Run seeded tests for longer
    #[arg(long)]
    pub long: bool,
    /// Run the official XMTP client on a network with edges, and nothing else
    #[arg(long)]
    pub xmtp: bool,
    /// Build as CI does, without incremental compilation
    #[arg(skip)]
    pub as_ci: bool,
    /// Passed on to the test runner; with any, doc tests and xtask's own are left out
    #[arg(last = true)]
    pub runner: Vec<String>,
}

/// Runs the tests, and prints `N passed, N failed` as the last line.
///
/// # Errors
/// When a test failed or was left out, or none ran.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if options.xmtp {
        let mut tally = Tally::default();
        let result = xmtp::test(root, &mut tally);
        return conclude(tally, result);
    }
    let (tally, result) = measure(root, options, None);
    conclude(tally, result)
}

/// Prints the last line and turns the outcome into an error if it is one.
///
/// # Errors
/// The given one, or that tests failed.
pub fn conclude(mut tally: Tally, result: Result<()>) -> Result<()> {
    let result = result.inspect_err(|error| {
        // What went wrong outside a test counts as one failure.
        tally.failed = tally.failed.max(1);
        eprintln!("error: {error:#}");
    });
    println!("{tally}");
    if result.is_err() || tally.failed > 0 {
        return Err(crate::AlreadyReported.into());
    }
    Ok(())
}

/// Runs the tests and counts them; all of them end before `deadline`.
pub fn measure(root: &Path, options: &Options, deadline: Option<Instant>) -> (Tally, Result<()>) {
    let mut tally = Tally::default();
    let result = steps(root, options, deadline, &mut tally);
    (tally, result)
}

fn steps(
    root: &Path,
    options: &Options,
    deadline: Option<Instant>,
    tally: &mut Tally,
) -> Result<()> {
    let mut build = cargo(root, options);
    build.args(["build", "--workspace", "--all-targets"]);
    process::run(&mut build, deadline)?;

    let config =
        postgres::Config { origin: options.postgres, keep_as: None, port: None, databases: &[] };
    let postgres = Postgres::start(root, &config)?;
    let anvil = contracts::anvil(root, deadline)?;
    let prepare = |mut command: Command| {
        command.env(POSTGRES_VARIABLE, postgres.url()).stdin(Stdio::null());
        command.env(ANVIL_VARIABLE, &anvil);
        if options.long {
            command.env(LONG_VARIABLE, "1");
        } else if std::env::var_os(SEED_VARIABLE).is_none() {
            command.env(SEED_VARIABLE, "1");
        }
        command
    };
    let mut ok = count(prepare(main_runner(root, options)), deadline, tally)?;
    if options.runner.is_empty() {
        let mut doc = cargo(root, options);
        doc.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
        ok &= count(prepare(doc), deadline, tally)?;
        let mut own = cargo(root, options);
        own.args(["test", "--manifest-path", "xtask/Cargo.toml", "--no-fail-fast"]);
        ok &= count(prepare(own), deadline, tally)?;
    }
    drop(postgres);
    if options.runner.is_empty() && !options.as_ci {
        // For CI they are a step of their own.
        contracts::run(root, Mode::Check, deadline, tally)?;
    }
    verdict(*tally, ok, options.runner.is_empty())
}

fn verdict(tally: Tally, ok: bool, whole: bool) -> Result<()> {
    if tally.passed + tally.failed == 0 {
        bail!("no test ran");
    }
    if !ok || tally.failed > 0 {
        bail!("tests failed");
    }
    if whole && tally.ignored > 0 {
        bail!("{} tests were left out", tally.ignored);
    }
    Ok(())
}

fn cargo(root: &Path, options: &Options) -> Command {
    let mut command = process::cargo(root);
    if options.as_ci {
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// nextest where it is installed, else `cargo test`.
fn main_runner(root: &Path, options: &Options) -> Command {
    let mut command = cargo(root, options);
    if process::on_path("cargo-nextest").is_some() {
        command.args(["nextest", "run", "--workspace", "--all-targets", "--no-fail-fast"]);
        command.args(&options.runner);
    } else {
        command.args(["test", "--workspace", "--all-targets", "--no-fail-fast"]);
        command.args(&options.runner);
        // libtest knows no test that wants the machine to itself, so each has it.
        command.env("RUST_TEST_THREADS", "1");
    }
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
}

fn count(mut command: Command, deadline: Option<Instant>, tally: &mut Tally) -> Result<bool> {
    let name = process::shown(&command);
    println!("running {name}");
    let mut seen = Tally::default();
    let status = process::run_lines(&mut command, deadline, &mut |line| {
        if let Some(part) = Tally::of_line(line) {
            seen += part;
        }
    })
    .with_context(|| name.clone());
    *tally += seen;
    let status = status?;
    if !status.success() && seen.failed == 0 {
        // It did not come as far as a closing line: a build error, for example.
        tally.failed += 1;
    }
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passed: u64, failed: u64, ignored: u64, ok: bool, expected: &str) {
        let tally = Tally { passed, failed, ignored };
        let found = match verdict(tally, ok, true) {
            Ok(()) => "good".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn only_a_full_and_clean_run_is_good() {
        check(3, 0, 0, true, "good");
        check(0, 0, 0, true, "no test ran");
        check(3, 1, 0, false, "tests failed");
        check(3, 0, 0, false, "tests failed");
        check(3, 0, 1, true, "1 tests were left out");
    }
}
