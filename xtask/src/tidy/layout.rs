//! Sizes, module docs, inherited lints, and words that must not appear.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Package, RustFile};
use crate::repository;

/// Lines a file may have; 400 is the aim.
const FILE_LINES_MAX: usize = 800;
/// Lines a function may have; 50 is the aim.
const FUNCTION_LINES_MAX: usize = 100;

/// Text files that must not name a place on somebody's machine.
const TEXT_EXTENSIONS: [&str; 11] =
    ["rs", "toml", "md", "json", "sh", "yml", "yaml", "js", "ts", "sql", "sol"];
/// Written in two parts, so that this file passes its own check.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Offences in one Rust file.
pub fn check_file(file: &RustFile) -> Vec<String> {
    let mut offences = Vec::new();
    let lines = file.source.text.lines().count();
    if lines > FILE_LINES_MAX {
        offences
            .push(file.offence(0, &format!("{lines} lines; a file has at most {FILE_LINES_MAX}")));
    }
    if !file.source.text.starts_with("//!") {
        offences.push(file.offence(0, "a file begins with its `//!` doc"));
    }
    for function in file.source.functions() {
        if function.length > FUNCTION_LINES_MAX {
            offences.push(format!(
                "{}:{}: `{}` has {} lines; a function has at most {FUNCTION_LINES_MAX}",
                file.path, function.line, function.name, function.length
            ));
        }
    }
    for (pattern, reason) in [
        ("todo!", "write it"),
        ("unimplemented!", "write it"),
        ("#[ignore", "a test runs or is deleted"),
    ] {
        for offset in file.source.occurrences(pattern) {
            offences.push(file.offence(offset, &format!("`{pattern}`: {reason}")));
        }
    }
    offences
}

/// Packages that do not inherit the workspace's lints.
///
/// # Errors
/// When a manifest cannot be read.
pub fn check_manifests(root: &Path, packages: &[Package]) -> Result<Vec<String>> {
    let mut offences = Vec::new();
    for package in packages {
        let path = Path::new(&package.manifest_path);
        let name = repository::relative(root, path);
        let text = repository::read(path)?;
        if !inherits_lints(&text).with_context(|| name.clone())? {
            offences.push(format!("{name}: has no `[lints] workspace = true`"));
        }
    }
    Ok(offences)
}

fn inherits_lints(manifest: &str) -> Result<bool> {
    #[derive(Deserialize)]
    struct Manifest {
        lints: Option<Lints>,
    }
    #[derive(Deserialize)]
    struct Lints {
        #[serde(default)]
        workspace: bool,
    }
    let manifest: Manifest = toml::from_str(manifest)?;
    Ok(manifest.lints.is_some_and(|lints| lints.workspace))
}

/// Text files that name a place on somebody's machine.
///
/// # Errors
/// When a file cannot be read.
pub fn check_paths(root: &Path) -> Result<Vec<String>> {
    let mut offences = Vec::new();
    for extension in TEXT_EXTENSIONS {
        for path in repository::files_below(root, extension)? {
            let text = repository::read(&path)?;
            for (index, line) in text.lines().enumerate() {
                if let Some(found) = machine_path(line) {
                    offences.push(format!(
                        "{}:{}: names a machine's folder, {found}",
                        repository::relative(root, &path),
                        index + 1
                    ));
                }
            }
        }
    }
    Ok(offences)
}

fn machine_path(line: &str) -> Option<&'static str> {
    MACHINE_PATHS.into_iter().find(|pattern| {
        line.match_indices(pattern).any(|(offset, _)| {
            // What follows a name is a longer path or an address.
            let before = line[..offset].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || ".-_~}/".contains(c))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::rust_file;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(check_file(&rust_file("a.rs", text)), expected);
    }

    #[test]
    fn a_file_has_docs_and_a_size() {
        check("//! A.\n", &[]);
        check("fn f() {}\n", &["a.rs:1: a file begins with its `//!` doc"]);
        check(
            &format!("//! A.\n{}", "\n".repeat(FILE_LINES_MAX)),
            &["a.rs:1: 801 lines; a file has at most 800"],
        );
    }

    #[test]
    fn a_function_has_a_size() {
        let body = "    x();\n".repeat(FUNCTION_LINES_MAX - 2);
        check(&format!("//! A.\nfn f() {{\n{body}}}\n"), &[]);
        check(
            &format!("//! A.\nfn f() {{\n\n{body}}}\n"),
            &["a.rs:2: `f` has 101 lines; a function has at most 100"],
        );
    }

    #[test]
    fn unfinished_code_is_found() {
        check("//! todo!\nfn f() { todo!() }\n", &["a.rs:2: `todo!`: write it"]);
        check(
            "//! A.\n#[ignore = \"slow\"]\nfn f() {}\n",
            &["a.rs:2: `#[ignore`: a test runs or is deleted"],
        );
    }

    #[test]
    fn lints_are_inherited() {
        assert!(inherits_lints("[lints]\nworkspace = true\n").unwrap());
        assert!(!inherits_lints("[package]\nname = \"a\"\n").unwrap());
        assert!(!inherits_lints("[lints.rust]\nmissing_docs = \"warn\"\n").unwrap());
    }

    #[test]
    fn machine_paths_are_found() {
        for (line, found) in [
            (concat!("see /wo", "rk/main"), true),
            (concat!("\"/ho", "me/alice\""), true),
            (concat!("frame/wo", "rk/x"), false),
            (concat!("https://a.example/ho", "me/"), false),
            ("artwork/ and rooted", false),
        ] {
            assert_eq!(machine_path(line).is_some(), found, "{line}");
        }
    }
}
