//! Results as a table for people and as JSON for programs.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::machine::Facts;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The value with its unit.
    pub value: String,
    /// What it is to be compared with.
    pub target: &'static str,
}

/// One benchmark's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// The benchmark's name.
    pub title: &'static str,
    /// How it was measured, in one or two sentences.
    pub method: String,
    /// What came out.
    pub figures: Vec<Figure>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Facts,
    sections: Vec<Section>,
}

impl Report {
    /// An empty report.
    pub fn new(machine: Facts) -> Self {
        Self { machine, sections: Vec::new() }
    }

    /// Adds a benchmark and shows it.
    pub fn add(&mut self, section: Section) {
        eprint!("{}", markdown(&section));
        self.sections.push(section);
    }

    /// Writes the Markdown file, and the raw figures beside it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let raw = path.with_file_name("results.json");
        std::fs::write(&raw, serde_json::to_string_pretty(self)? + "\n")?;
        let mut text = String::from("# Benchmark results\n\n");
        let Facts { commit, processor, cores, memory_gib, kernel, compiler } = &self.machine;
        writeln!(text, "Written by `cargo xtask bench`; the raw figures are in `results.json`.\n")?;
        writeln!(
            text,
            "Commit `{commit}` on {cores} cores of {processor}, {memory_gib} GiB, Linux {kernel}, {compiler}."
        )?;
        writeln!(text, "All processes of a benchmark, the load included, share these cores.")?;
        for section in &self.sections {
            text.push('\n');
            text.push_str(&markdown(section));
        }
        std::fs::write(path, text)?;
        Ok(())
    }
}

fn markdown(section: &Section) -> String {
    let mut text = format!(
        "## {}\n\n{}\n\n| what | measured | target |\n|---|---|---|\n",
        section.title, section.method
    );
    for Figure { name, value, target } in &section.figures {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {name} | {value} | {target} |");
    }
    text
}

/// The given percentiles of latencies in microseconds, as figures in milliseconds.
pub fn percentiles(name: &str, mut micros: Vec<u64>, targets: [&'static str; 3]) -> Vec<Figure> {
    micros.sort_unstable();
    let at = |permille: usize| {
        let place = (micros.len() * permille / 1000).min(micros.len().saturating_sub(1));
        micros.get(place).copied().unwrap_or_default()
    };
    let figure = |(label, permille, target): (&str, usize, &'static str)| Figure {
        name: format!("{name} {label}"),
        value: format!("{}.{:01} ms", at(permille) / 1000, at(permille) % 1000 / 100),
        target,
    };
    [("p50", 500, targets[0]), ("p95", 950, targets[1]), ("p99", 990, targets[2])]
        .map(figure)
        .to_vec()
}
