//! Starting, signalling and ending the processes of a network.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long a process may take to end after it was told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How many lines of a log tell why a process failed.
const LOG_LINES_SHOWN: usize = 20;

/// The program of this name next to the running program or test.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: run `cargo build --workspace` first"))
}

/// What to start, and where its output goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) words: &'a [&'a str],
    pub(crate) config: &'a Path,
    pub(crate) log: &'a Path,
}

impl Program<'_> {
    /// Starts the program under the process id that the handle has.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(&self, environment: &[(String, String)]) -> Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.log)?;
        // A file size limit is then an error like that of a full disk, and no signal.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(self.path);
        command.args(self.words).arg(self.config).stdin(Stdio::null());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command.spawn()?)
    }
}

/// Sends a signal by its name without `SIG`.
///
/// # Errors
/// When the process is gone.
pub(crate) fn signal(child: &Child, name: &str) -> Result<()> {
    let pid = child.id().to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &pid]).status()?;
    ensure!(status.success(), "process {pid} cannot be signalled");
    Ok(())
}

/// Ends a process by SIGTERM and waits for it.
///
/// # Errors
/// When it does not end in time or in order.
pub(crate) async fn stop(mut child: Child) -> Result<()> {
    signal(&child, "TERM")?;
    let waiting = tokio::task::spawn_blocking(move || child.wait());
    let status =
        tokio::time::timeout(STOP_TIMEOUT, waiting).await.context("it does not stop")???;
    ensure!(status.success(), "the process ended with {status}");
    Ok(())
}

/// The last lines of a log.
pub(crate) fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(LOG_LINES_SHOWN).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
