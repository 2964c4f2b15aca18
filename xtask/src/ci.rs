//! `cargo xtask ci`: exactly what CI runs, cheap steps first, each under its cap.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::generated::Mode;
use crate::tally::Tally;
use crate::{
    codegen, contracts, launch, process, repository, sim, slither, suite, tidy, trace, vectors,
    xmtp,
};

/// The chaos of every run: all phases once, each for a short while.
const CHAOS: [&str; 4] = ["--seed", "1", "--seconds", "6"];

/// The chaos of a long run.
const LONG_CHAOS: [&str; 4] = ["--seconds", "20", "--rounds", "2"];

/// The version of cargo-deny that is installed where there is none.
const DENY_VERSION: &str = "0.20.2";

/// How a node of the demo lies.
const LIES: [&str; 5] = ["equivocate", "forge", "withhold", "vote-twice", "propose-twice"];

/// Options of `cargo xtask ci`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Add what takes long: fresh seeds, long chaos, and the demo with every faulty node
    #[arg(long)]
    long: bool,
}

/// .ci/ci.toml: the most minutes a step may take.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Caps {
    minutes: BTreeMap<String, f64>,
}

impl Caps {
    fn of(&self, step: &str) -> Result<Duration> {
        let minutes =
            self.minutes.get(step).with_context(|| format!(".ci/ci.toml has no cap for {step}"))?;
        Duration::try_from_secs_f64(minutes * 60.0).with_context(|| format!("the cap of {step}"))
    }
}

/// Runs every step and prints `N passed, N failed` as the last line.
///
/// # Errors
/// When a step fails or takes longer than its cap.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut run = match Run::new(root) {
        Ok(run) => run,
        Err(error) => return suite::conclude(Tally::default(), Err(error)),
    };
    let result = run.steps(options);
    println!("\nminutes per step");
    for (step, taken) in &run.taken {
        println!("  {step:<10} {:6.1}", minutes(*taken));
    }
    println!("  {:<10} {:6.1}", "all", minutes(start.elapsed()));
    suite::conclude(run.tally, result)
}

fn minutes(taken: Duration) -> f64 {
    taken.as_secs_f64() / 60.0
}

/// A run under way.
struct Run {
    root: PathBuf,
    caps: Caps,
    taken: Vec<(&'static str, Duration)>,
    tally: Tally,
}

impl Run {
    fn new(root: &Path) -> Result<Self> {
        let caps = repository::read(&root.join(".ci/ci.toml"))?;
        Ok(Self {
            root: root.to_path_buf(),
            caps: toml::from_str(&caps).context(".ci/ci.toml")?,
            taken: Vec::new(),
            tally: Tally::default(),
        })
    }

    fn steps(&mut self, options: &Options) -> Result<()> {
        let root = self.root.clone();
        self.step("format", |_, deadline| {
            cargo(&root, &["fmt", "--all", "--check"], deadline)?;
            let own = ["fmt", "--manifest-path", "xtask/Cargo.toml", "--check"];
            cargo(&root, &own, deadline)
        })?;
        self.step("tidy", |_, _| tidy::run(&root))?;
        self.step("codegen", |_, _| codegen::run(&root, Mode::Check))?;
        self.step("trace", |_, _| trace::run(&root, Mode::Check))?;
        self.step("vectors", |_, _| vectors::run(&root))?;
        self.step("deny", |_, deadline| deny(&root, deadline))?;
        self.step("contracts", |run, deadline| {
            contracts::run(&root, Mode::Check, deadline, &mut run.tally)
        })?;
        self.step("slither", |_, deadline| slither::run(&root, deadline))?;
        self.step("build", |_, deadline| {
            let words = ["build", "--workspace", "--all-targets", "--locked"];
            cargo(&root, &words, deadline)
        })?;
        self.step("clippy", |_, deadline| clippy(&root, deadline))?;
        self.step("docs", |_, deadline| {
            let words = ["doc", "--no-deps", "--workspace", "--locked"];
            let mut command = command(&root, &words);
            process::run(command.env("RUSTDOCFLAGS", "-D warnings"), deadline)
        })?;
        let long = options.long;
        self.step("test", |run, deadline| {
            let options = suite::Options { long, as_ci: true, ..suite::Options::default() };
            let (tally, result) = suite::measure(&root, &options, deadline);
            run.tally += tally;
            result
        })?;
        // The programs are those of the build step: building them alone would unify other features.
        self.step("sim", |_, deadline| sim::check(&root, deadline))?;
        self.step("mutants", |_, deadline| sim::check_mutants(&root, &[], deadline))?;
        self.step("chaos", |_, deadline| launch::unleash(&root, &CHAOS, deadline))?;
        self.step("governance", |_, deadline| launch::govern(&root, deadline))?;
        self.step("economy", |_, deadline| launch::trade(&root, None, &[], deadline))?;
        self.step("xmtp", |run, deadline| xmtp::check(&root, deadline, &mut run.tally))?;
        match options.long {
            true => self.long_steps(),
            false => Ok(()),
        }
    }

    fn long_steps(&mut self) -> Result<()> {
        let root = self.root.clone();
        self.step("long-sim", |_, deadline| sim::explore(&root, deadline))?;
        self.step("long-chaos", |_, deadline| launch::unleash(&root, &LONG_CHAOS, deadline))?;
        self.step("demo", |_, deadline| {
            cargo(&root, &["xtask", "demo"], deadline)?;
            for lie in LIES {
                cargo(&root, &["xtask", "demo", "--lying", lie], deadline)?;
            }
            ["0", "1", "2", "3"]
                .iter()
                .try_for_each(|node| cargo(&root, &["xtask", "demo", "--dead", node], deadline))
        })
    }

    fn step(
        &mut self,
        name: &'static str,
        body: impl FnOnce(&mut Self, Option<Instant>) -> Result<()>,
    ) -> Result<()> {
        println!("\n== {name}");
        let cap = self.caps.of(name)?;
        let start = Instant::now();
        let result = body(self, Some(start + cap));
        let taken = start.elapsed();
        self.taken.push((name, taken));
        result.with_context(|| format!("step {name}"))?;
        if taken > cap {
            bail!(
                "step {name} took {:.1} minutes; .ci/ci.toml allows {:.1}",
                minutes(taken),
                minutes(cap)
            );
        }
        Ok(())
    }
}

fn command(root: &Path, words: &[&str]) -> Command {
    let mut command = process::cargo(root);
    command.args(words).env("CARGO_INCREMENTAL", "0").stdin(Stdio::null());
    command
}

/// Runs a cargo command that needs nothing more than words.
fn cargo(root: &Path, words: &[&str], deadline: Option<Instant>) -> Result<()> {
    process::run(&mut command(root, words), deadline)
}

fn clippy(root: &Path, deadline: Option<Instant>) -> Result<()> {
    let words = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    cargo(root, &words, deadline)?;
    let own = [
        "clippy",
        "--manifest-path",
        "xtask/Cargo.toml",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    cargo(root, &own, deadline)
}

/// Checks licences, bans and sources of both workspaces.
fn deny(root: &Path, deadline: Option<Instant>) -> Result<()> {
    let program = deny_program(root, deadline)?;
    for manifest in ["Cargo.toml", "xtask/Cargo.toml"] {
        let mut command = Command::new(&program);
        command
            .current_dir(root)
            .args(["--manifest-path", manifest, "--config", "deny.toml"])
            .args(["check", "--hide-inclusion-graph"])
            .args(["bans", "licenses", "sources"])
            .stdin(Stdio::null());
        process::run(&mut command, deadline)?;
    }
    Ok(())
}

fn deny_program(root: &Path, deadline: Option<Instant>) -> Result<PathBuf> {
    let tools = repository::target_dir(root).join("tools");
    let installed = tools.join("bin/cargo-deny");
    if let Some(program) = process::on_path("cargo-deny") {
        return Ok(program);
    }
    if !installed.is_file() {
        let mut command = command(root, &["install", "--locked", "--debug", "cargo-deny"]);
        command.args(["--version", DENY_VERSION, "--root"]).arg(&tools);
        process::run(&mut command, deadline)?;
    }
    Ok(installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_cap() {
        let text = repository::read(&repository::root().join(".ci/ci.toml")).unwrap();
        let caps: Caps = toml::from_str(&text).unwrap();
        for step in [
            "format",
            "tidy",
            "codegen",
            "contracts",
            "slither",
            "trace",
            "vectors",
            "deny",
            "build",
            "clippy",
            "docs",
            "sim",
            "mutants",
            "test",
            "chaos",
            "governance",
            "economy",
            "xmtp",
            "long-sim",
            "long-chaos",
            "demo",
        ] {
            assert!(caps.of(step).unwrap() > Duration::ZERO, "{step}");
        }
        assert!(caps.of("lunch").is_err());
    }
}
