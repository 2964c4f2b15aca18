//! Signals as events, and the children that must hear of a stop.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Something the operating system told this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Ctrl-C, SIGTERM or SIGHUP: end in good order.
    Stop,
    /// A child may have ended.
    Child,
}

static STOPPED: AtomicBool = AtomicBool::new(false);
static FOREGROUND: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Starts to watch for signals; from here on they no longer end the process.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn watch() -> Result<Receiver<Event>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD])
        .context("cannot install signal handlers")?;
    let (events, receiver) = channel();
    thread::spawn(move || {
        for signal in signals.forever() {
            deliver(signal, &events);
        }
    });
    Ok(receiver)
}

fn deliver(signal: i32, events: &Sender<Event>) {
    let event = if signal == SIGCHLD {
        Event::Child
    } else {
        STOPPED.store(true, Ordering::SeqCst);
        // The terminal sends Ctrl-C to the whole foreground group itself.
        if signal != SIGINT {
            for pid in foreground().iter() {
                send(*pid, SIGTERM);
            }
        }
        Event::Stop
    };
    // The receiver is gone when the command at hand does not care.
    let _ = events.send(event);
}

fn foreground() -> std::sync::MutexGuard<'static, BTreeSet<u32>> {
    FOREGROUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the user asked this process to stop.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}

/// A child that is told to stop when this process is; dropped when it ended.
pub struct Forwarded(u32);

impl Forwarded {
    /// Enters the child with process id `pid`.
    pub fn new(pid: u32) -> Self {
        foreground().insert(pid);
        if stopped() {
            send(pid, SIGTERM);
        }
        Self(pid)
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        foreground().remove(&self.0);
    }
}

/// Sends `signal` to one process; false when there is none to receive it.
pub fn send(pid: u32, signal: i32) -> bool {
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    // SAFETY: kill takes two integers and touches no memory of ours; a positive
    // pid addresses one process only.
    pid > 0 && unsafe { libc::kill(pid, signal) } == 0
}
