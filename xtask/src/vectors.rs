//! `cargo xtask vectors`: the files under spec/vectors have one shape, and each
//! suite fits its schema.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::repository;
use crate::schema::Schema;

/// Checks every vector file and prints each offence.
///
/// # Errors
/// When a file offends or cannot be read.
pub fn run(root: &Path) -> Result<()> {
    let dir = root.join("spec/vectors");
    let mut cases = 0;
    let mut offences = Vec::new();
    let files = repository::files_below(&dir, "json")?;
    for path in &files {
        let name = repository::relative(&dir, path);
        match name.split_once('/') {
            Some((suite, _)) => match check_file(&dir, suite, path) {
                Ok(count) => cases += count,
                Err(error) => offences.push(format!("spec/vectors/{name}: {error:#}")),
            },
            None => offences.extend(stray(&dir, &name)),
        }
    }
    for offence in &offences {
        eprintln!("{offence}");
    }
    if !offences.is_empty() {
        bail!("{} vector files offend", offences.len());
    }
    println!("vectors: {} files, {cases} cases", files.len());
    Ok(())
}

/// A file beside the suites that is no suite's schema.
fn stray(dir: &Path, name: &str) -> Option<String> {
    let of_suite = name.strip_suffix(".schema.json").is_some_and(|suite| dir.join(suite).is_dir());
    (!of_suite).then(|| format!("spec/vectors/{name}: is the schema of no suite"))
}

fn check_file(dir: &Path, suite: &str, path: &Path) -> Result<usize> {
    let schema_path = dir.join(format!("{suite}.schema.json"));
    ensure!(schema_path.is_file(), "the suite has no spec/vectors/{suite}.schema.json");
    let schema = Schema::parse(&repository::read(&schema_path)?).context("its schema")?;
    let value: Value = serde_json::from_str(&repository::read(path)?)?;
    let count = check_shape(suite, &value)?;
    schema.check(&value)?;
    Ok(count)
}

/// The number of cases in a well-formed file.
fn check_shape(suite: &str, value: &Value) -> Result<usize> {
    let field = |name: &str| value.get(name).with_context(|| format!("lacks {name}"));
    ensure!(field("suite")?.as_str() == Some(suite), "its suite is its folder's name, {suite}");
    ensure!(
        field("version")?.as_u64().is_some_and(|version| version > 0),
        "its version is a positive integer"
    );
    let cases = field("cases")?.as_array().context("its cases are a list")?;
    ensure!(!cases.is_empty(), "it has no case");
    Ok(cases.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let value: Value = serde_json::from_str(text).unwrap();
        let found = match check_shape("tlog", &value) {
            Ok(count) => format!("{count} cases"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_file_has_suite_version_and_cases() {
        check(r#"{"suite":"tlog","version":1,"cases":[{},{}]}"#, "2 cases");
        check(r#"{"suite":"tlog","version":1,"cases":[]}"#, "it has no case");
        check(r#"{"suite":"tlog","version":1}"#, "lacks cases");
        check(r#"{"suite":"tlog","version":0,"cases":[1]}"#, "its version is a positive integer");
        check(r#"{"suite":"mls","version":1,"cases":[1]}"#, "its suite is its folder's name, tlog");
    }
}
