//! Child processes: run to their end, within a deadline, with their output passed on.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGKILL, SIGTERM};

use crate::signals;

/// How long a child may take between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(20);

/// `cargo` itself, as the toolchain that runs xtask names it, started in `root`.
pub fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root);
    // Set by the `cargo run` that started xtask; they would describe xtask.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
        command.env_remove(name);
    }
    command
}

/// The command as one would type it, for messages.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words =
        vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Runs a command to its end; its output goes where ours goes.
///
/// # Errors
/// When it cannot start, fails, is interrupted, or outlives `deadline`.
pub fn run(command: &mut Command, deadline: Option<Instant>) -> Result<()> {
    let name = shown(command);
    let status = status(command, deadline)?;
    if !status.success() {
        bail!("`{name}` failed: {status}");
    }
    Ok(())
}

/// Runs a command to its end and says how it ended.
///
/// # Errors
/// When it cannot start, is interrupted, or outlives `deadline`.
pub fn status(command: &mut Command, deadline: Option<Instant>) -> Result<ExitStatus> {
    let name = shown(command);
    let child = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
    finish(child, &name, deadline)
}

/// Runs a command to its end, passing its output on and each line to `on_line`.
///
/// # Errors
/// When it cannot start, is interrupted, or outlives `deadline`.
pub fn run_lines(
    command: &mut Command,
    deadline: Option<Instant>,
    on_line: &mut dyn FnMut(&str),
) -> Result<ExitStatus> {
    let name = shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{name}`"))?;
    let (lines, received) = channel();
    let out = child.stdout.take().context("stdout is piped")?;
    let err = child.stderr.take().context("stderr is piped")?;
    let readers =
        [pass_on(out, std::io::stdout(), lines.clone()), pass_on(err, std::io::stderr(), lines)];
    let pid = child.id();
    let _forwarded = signals::Forwarded::new(pid);
    let watchdog = Watchdog::start(pid, deadline);
    for line in received {
        on_line(&line);
    }
    for reader in readers {
        let _ = reader.join();
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{name}`"))?;
    watchdog.verdict(&name)?;
    Ok(status)
}

fn pass_on(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    lines: Sender<String>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|size| size > 0) {
            // A closed terminal must not stop the count of what passed.
            let _ = to.write_all(&line);
            let _ = to.flush();
            let text = String::from_utf8_lossy(&line);
            let _ = lines.send(text.trim_end_matches(['\n', '\r']).to_owned());
            line.clear();
        }
    })
}

fn finish(mut child: Child, name: &str, deadline: Option<Instant>) -> Result<ExitStatus> {
    let pid = child.id();
    let _forwarded = signals::Forwarded::new(pid);
    let watchdog = Watchdog::start(pid, deadline);
    let status = child.wait().with_context(|| format!("cannot wait for `{name}`"))?;
    watchdog.verdict(name)?;
    Ok(status)
}

/// Ends a child that outlives its deadline.
struct Watchdog {
    ended: Sender<()>,
    thread: thread::JoinHandle<bool>,
}

impl Watchdog {
    fn start(pid: u32, deadline: Option<Instant>) -> Self {
        let (ended, end) = channel::<()>();
        let thread = thread::spawn(move || {
            let Some(deadline) = deadline else {
                return false;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if end.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
            signals::send(pid, SIGTERM);
            if end.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                signals::send(pid, SIGKILL);
            }
            true
        });
        Self { ended, thread }
    }

    fn verdict(self, name: &str) -> Result<()> {
        drop(self.ended);
        let late = self.thread.join().unwrap_or(false);
        if late {
            bail!("`{name}` was ended: it took longer than its cap");
        }
        if signals::stopped() {
            bail!("interrupted");
        }
        Ok(())
    }
}

/// Makes the child receive `signal` when this process dies, however it dies.
pub fn dies_with_us(command: &mut Command, signal: i32) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: between fork and exec the closure makes two system calls that are
    // async-signal-safe, and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have died before prctl; then nobody sends the signal.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        })
    }
}

/// Gives the child a session of its own, so that it survives our terminal.
pub fn outlives_us(command: &mut Command) -> &mut Command {
    // SAFETY: setsid is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    }
}

/// Waits until the child ends or `deadline` passes; none means it still runs.
///
/// # Errors
/// When the operating system cannot say.
pub fn wait_until(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The program called `name` on the search path.
pub fn on_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_streams_arrive() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; printf end"]);
        let status = run_lines(&mut command, None, &mut |line| lines.push(line.to_owned()));
        assert!(status.unwrap().success());
        lines.sort();
        assert_eq!(lines, ["end", "err", "out"]);
    }

    #[test]
    fn a_failure_names_the_command() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        let message = run(&mut command, None).unwrap_err().to_string();
        assert!(message.contains("`sh -c exit 3` failed"), "{message}");
    }

    #[test]
    fn a_deadline_ends_a_child() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let message = run(&mut command, Some(Instant::now())).unwrap_err().to_string();
        assert!(message.contains("longer than its cap"), "{message}");
    }
}
