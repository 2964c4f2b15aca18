//! Files that xtask writes and CI compares: write them, or say which differ.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repository;

/// What to do with a generated file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write it when it differs.
    Write,
    /// Fail when it differs.
    Check,
}

impl Mode {
    /// The mode behind a `--check` switch.
    pub fn from_check(check: bool) -> Self {
        if check { Self::Check } else { Self::Write }
    }
}

/// Brings `path` in line with `text`, or fails under [`Mode::Check`].
///
/// # Errors
/// When the file cannot be written, or differs and `mode` is [`Mode::Check`];
/// the message names `command`, which would repair it.
pub fn settle(root: &Path, path: &Path, text: &str, mode: Mode, command: &str) -> Result<()> {
    let name = repository::relative(root, path);
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    match mode {
        Mode::Check => bail!("{name} is stale: run `{command}` and commit the result"),
        Mode::Write => {
            fs::write(path, text).with_context(|| format!("cannot write {name}"))?;
            println!("wrote {name}");
            Ok(())
        }
    }
}
