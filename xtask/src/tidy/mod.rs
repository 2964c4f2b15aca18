//! `cargo xtask tidy`: the rules of the house that no compiler checks.

mod edges;
mod layout;
mod mutants;
mod purity;
mod vector_use;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repository;
use crate::source::Source;

pub use edges::Package;

/// Crates that do no I/O: time and randomness are arguments.
pub const PROTOCOL_CRATES: [&str; 8] =
    ["types", "identity", "envelope", "mls", "tlog", "order", "payer", "replica"];

/// A Rust file and its path below the repository's top.
pub struct RustFile {
    /// The path, with forward slashes.
    pub path: String,
    /// The text, taken apart.
    pub source: Source,
}

impl RustFile {
    /// Whether the whole file is test code.
    pub fn is_test_file(&self) -> bool {
        self.path.split('/').any(|part| part == "tests")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
    }

    /// Whether the byte at `offset` is test code.
    pub fn is_test(&self, offset: usize) -> bool {
        self.is_test_file() || self.source.is_test(offset)
    }

    /// The name of the crate folder below `crates/`, for a file of its `src`.
    fn source_of(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once('/')?;
        rest.starts_with("src/").then_some(name)
    }

    /// An offence at a byte of this file.
    fn offence(&self, offset: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.source.line(offset))
    }
}

/// Checks everything and prints each offence.
///
/// # Errors
/// When anything offends, or the repository cannot be read.
pub fn run(root: &Path) -> Result<()> {
    let files = rust_files(root)?;
    let packages = edges::packages(root)?;
    let mut offences = edges::check(&packages);
    offences.extend(edges::check_shipped(&packages));
    offences.extend(mutants::check(&packages));
    offences.extend(purity::check_dependencies(&packages));
    for file in &files {
        offences.extend(purity::check_file(file));
        offences.extend(layout::check_file(file));
    }
    offences.extend(purity::check_roots(&files));
    offences.extend(layout::check_manifests(root, &packages)?);
    offences.extend(layout::check_paths(root)?);
    offences.extend(vector_use::check(root, &files)?);
    if offences.is_empty() {
        println!("tidy: {} files, {} packages", files.len(), packages.len());
        return Ok(());
    }
    offences.sort();
    for offence in &offences {
        eprintln!("{offence}");
    }
    bail!("{} offences", offences.len());
}

/// Every Rust file of the repository.
///
/// # Errors
/// When one cannot be read.
pub fn rust_files(root: &Path) -> Result<Vec<RustFile>> {
    repository::files_below(root, "rs")?
        .iter()
        .map(|path| {
            let text = repository::read(path).context("tidy")?;
            Ok(RustFile { path: repository::relative(root, path), source: Source::new(text) })
        })
        .collect()
}

#[cfg(test)]
pub fn rust_file(path: &str, text: &str) -> RustFile {
    RustFile { path: path.to_owned(), source: Source::new(text.to_owned()) }
}
