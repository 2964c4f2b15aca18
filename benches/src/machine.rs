//! What the figures were measured on.

use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

/// Facts that a figure means nothing without.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The commit, with a plus sign when the tree had changes.
    pub commit: String,
    /// The processor's name.
    pub processor: String,
    /// How many cores there are.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The compiler.
    pub compiler: String,
}

/// Reads the facts off the machine.
///
/// # Errors
/// When it is no Linux machine or there is no git.
pub fn facts() -> Result<Facts> {
    let processors = std::fs::read_to_string("/proc/cpuinfo")?;
    let processor = field(&processors, "model name").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kilobytes = field(&memory, "MemTotal").context("no MemTotal")?;
    let kilobytes: u64 = kilobytes.trim_end_matches(" kB").parse()?;
    let changed = !output("git", &["status", "--porcelain", "-uno"])?.is_empty();
    let mut commit = output("git", &["rev-parse", "--short", "HEAD"])?;
    if changed {
        commit.push('+');
    }
    Ok(Facts {
        commit,
        processor,
        cores: std::thread::available_parallelism()?.get(),
        memory_gib: kilobytes.div_ceil(1024 * 1024),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into(),
        compiler: output("rustc", &["--version"])?,
    })
}

/// The resident memory of a process.
///
/// # Errors
/// When there is no such process.
pub fn resident_mib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 =
        line.split_whitespace().nth(1).context("no number")?.parse().context("no number")?;
    Ok(kilobytes / 1024)
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
