//! Running the program and looking at what it prints.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program with these words, not yet started; nothing of the environment reaches it.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.args(words).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command
}

/// What the program prints to standard output; it has to end with code 0.
pub fn run(words: &[&str]) -> String {
    let output = command(words).output().unwrap();
    assert!(output.status.success(), "tidings {words:?}: {}", shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What the program tells on standard error while it does what it is asked.
pub fn told(words: &[&str]) -> String {
    let output = command(words).output().unwrap();
    assert!(output.status.success(), "tidings {words:?}: {}", shown(&output));
    String::from_utf8(output.stderr).unwrap()
}

/// The JSON that the program prints.
pub fn json(words: &[&str]) -> serde_json::Value {
    let words: Vec<&str> = ["--json"].iter().chain(words).copied().collect();
    serde_json::from_str(&run(&words)).unwrap()
}

/// What the program says when it ends with `code`.
pub fn refused(words: &[&str], code: i32) -> String {
    let output = command(words).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "tidings {words:?}: {}", shown(&output));
    String::from_utf8(output.stderr).unwrap()
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A path as a word of a command line.
pub fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}
