//! `cargo xtask contracts --slither`: looks for known mistakes in the contracts with Slither.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::contracts::Forge;
use crate::{npm, process, repository};

/// What to do where Python cannot make a virtual environment.
const PYTHON_ADVICE: &str = "Slither needs Python 3.10 or later with its module venv: install \
                             python3 and python3-venv (Debian: apt-get install python3-venv)";

/// What Slither says of a function that it cannot read, and then passes over.
const UNREAD: &str = "Impossible to generate IR";

/// Builds the contracts without their tests, and has Slither look at all of them.
/// `contracts/slither.config.json` says what it looks for.
///
/// # Errors
/// When a tool is missing, a contract does not compile, or Slither finds something or cannot read
/// a function.
pub fn run(root: &Path, deadline: Option<Instant>) -> Result<()> {
    let forge = Forge { folder: root.join("contracts"), deadline };
    let slither = slither(root, deadline)?;
    npm::install(&forge.folder, deadline)?;

    // Builds add up in a folder, and Slither reads all that it finds there.
    let build = repository::target_dir(root).join("slither");
    remove(&build)?;
    let [out, cache] = ["out", "cache"].map(|name| build.join(name));
    let words = ["build", "--force", "--build-info", "--skip", "test/**"];
    let mut command = forge.compiling(&words);
    command.arg("--out").arg(&out).arg("--cache-path").arg(&cache);
    process::run(&mut command, deadline)?;

    let mut command = Command::new(slither);
    command
        .current_dir(&forge.folder)
        .env("PATH", path_with(&forge)?)
        .args([".", "--ignore-compile", "--disable-color", "--foundry-build-info-directory"])
        .arg(out.join("build-info"))
        .stdin(Stdio::null());
    let mut unread = 0;
    let status = process::run_lines(&mut command, deadline, &mut |line| {
        unread += usize::from(line.contains(UNREAD));
    })?;
    ensure!(unread == 0, "Slither passed over {unread} functions that it cannot read");
    ensure!(
        status.success(),
        "Slither failed, or found something: mend it, or answer it where it is ({status})"
    );
    Ok(())
}

/// Slither asks forge where libraries are.
fn path_with(forge: &Forge) -> Result<OsString> {
    let program = forge.program();
    let folder = program.parent().context("a program is in a folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("a folder on the search path has a colon in its name")
}

/// The program, which is installed unless what is there is of the same versions.
fn slither(root: &Path, deadline: Option<Instant>) -> Result<PathBuf> {
    let wanted = root.join("contracts/requirements.txt");
    let folder = repository::target_dir(root).join("tools/slither");
    let program = folder.join("bin/slither");
    // Copied last, so that a broken installation is made anew.
    let installed = folder.join("requirements.txt");
    let text = repository::read(&wanted)?;
    if program.is_file() && fs::read_to_string(&installed).is_ok_and(|present| present == text) {
        return Ok(program);
    }
    remove(&folder)?;
    let Some(python) = process::on_path("python3") else {
        bail!("python3 is not installed. {PYTHON_ADVICE}");
    };
    let mut command = Command::new(python);
    command.args(["-m", "venv"]).arg(&folder).stdin(Stdio::null());
    process::run(&mut command, deadline).context(PYTHON_ADVICE)?;
    let mut command = Command::new(folder.join("bin/python"));
    command
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(&wanted)
        .stdin(Stdio::null());
    process::run(&mut command, deadline)
        .context("pip could not install Slither, which comes from PyPI")?;
    fs::write(&installed, text).context("cannot note what is installed")?;
    Ok(program)
}

/// Removes a folder with all that is in it, if it is there.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_one_exact_version() {
        let text =
            repository::read(&repository::root().join("contracts/requirements.txt")).unwrap();
        let packages: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(packages.iter().any(|line| line.starts_with("slither-analyzer==")));
        for line in packages {
            let parts: Vec<_> = line.split("==").collect();
            assert!(
                matches!(parts[..], [name, version] if !name.is_empty()
                && version.starts_with(|first: char| first.is_ascii_digit())),
                "{line}"
            );
        }
    }
}
