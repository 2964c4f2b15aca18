//! An EVM node of our own: anvil, which ends with its handle.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use signal_hook::consts::SIGTERM;

use crate::devnet::readiness;
use crate::{process, signals};

const READY_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A running EVM node; dropped, it stops, and has written its state if it was told to.
pub struct Anvil {
    child: Child,
    url: String,
}

impl Anvil {
    /// Starts `program` on a loopback port, with more words, and waits until it answers.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(program: &Path, port: u16, words: &[&str], log: &Path) -> Result<Self> {
        let log_file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            // Ctrl-C is for us; it ends after those who use it.
            .process_group(0);
        let child = process::dies_with_us(&mut command, SIGTERM)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut anvil = Self { child, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + READY_DEADLINE;
        readiness::wait_for_answer(&mut anvil.child, &anvil.url, deadline)
            .map_err(|error| anyhow!("anvil did not start: {error}; see {}", log.display()))?;
        Ok(anvil)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it ended by itself.
    ///
    /// # Errors
    /// When the operating system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            signals::send(self.child.id(), SIGTERM);
        }
        let deadline = Instant::now() + STOP_DEADLINE;
        if process::wait_until(&mut self.child, deadline)?.is_none() {
            eprintln!("anvil did not stop in time and was killed");
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("stopping anvil: {error:#}");
        }
    }
}
