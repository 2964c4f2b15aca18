//! A pseudo-terminal with the program in it, and what its screen shows.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::network::DEADLINE;

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// The screen, and word of each change to it.
type Screen = Arc<(Mutex<Shown>, Condvar)>;

struct Shown {
    parser: vt100::Parser,
    has_ended: bool,
}

/// A program on a terminal of 80 by 24.
pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    screen: Screen,
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Starts the program with these words on a terminal of its own.
    pub fn start(words: &[&str]) -> Self {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tidings"));
        command.args(words);
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let parser = vt100::Parser::new(ROWS, COLUMNS, 0);
        let screen: Screen =
            Arc::new((Mutex::new(Shown { parser, has_ended: false }), Condvar::new()));
        let mut output = pair.master.try_clone_reader().unwrap();
        let shared = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = output.read(&mut bytes).unwrap_or(0);
                let (shown, changed) = &*shared;
                let mut shown = shown.lock().unwrap();
                shown.parser.process(&bytes[..count]);
                shown.has_ended = count == 0;
                changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Self { child, keyboard, screen, _master: pair.master }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits until the screen shows a text.
    pub fn wait_for(&self, text: &str) {
        self.wait(text, |shown| shown.parser.screen().contents().contains(text));
    }

    /// Waits until the screen does not show a text any more.
    pub fn wait_until_gone(&self, text: &str) {
        let what = format!("{text} to go");
        self.wait(&what, |shown| !shown.parser.screen().contents().contains(text));
    }

    /// Waits for the end; the exit code, and whether the terminal was given back as it was.
    pub fn end(mut self) -> (u32, bool) {
        self.wait("the end", |shown| shown.has_ended);
        let status = self.child.wait().unwrap();
        let shown = self.screen.0.lock().unwrap();
        let screen = shown.parser.screen();
        if !status.success() {
            eprintln!("{}", screen.contents());
        }
        (status.exit_code(), !screen.alternate_screen() && !screen.hide_cursor())
    }

    fn wait(&self, what: &str, holds: impl Fn(&Shown) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let (shown, changed) = &*self.screen;
        let mut shown = shown.lock().unwrap();
        while !holds(&shown) {
            let left = deadline.saturating_duration_since(Instant::now());
            let screen = shown.parser.screen().contents();
            assert!(!left.is_zero() && !shown.has_ended, "waiting for {what} on\n{screen}");
            shown = changed.wait_timeout(shown, left).unwrap().0;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails for a program that has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
