//! `cargo xtask trace`: every rule of the specification has a check in the code
//! and a test that names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::generated::{self, Mode};
use crate::repository;
use crate::tidy::{self, RustFile};

const COMMAND: &str = "cargo xtask trace";

/// What the numbered documents of spec/ call their rules.
const PREFIXES: [&str; 15] = [
    "ENC", "TOP", "ENV", "LOG", "REP", "ORD", "IDN", "MLS", "API", "ERR", "FEE", "GTW", "EVD",
    "XMTP", "SET",
];

/// Where a rule stands and who cites it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rule {
    document: String,
    code: BTreeSet<String>,
    tests: BTreeSet<String>,
}

type Rules = BTreeMap<String, Rule>;

/// Compares rules and citations, and brings spec/trace.md in line.
///
/// # Errors
/// When a rule lacks a check or a test, a citation names no rule, a rule is
/// stated twice, or the table is stale under [`Mode::Check`].
pub fn run(root: &Path, mode: Mode) -> Result<()> {
    let mut rules = Rules::new();
    let mut offences = Vec::new();
    for path in repository::files_below(&root.join("spec"), "md")? {
        let name = repository::relative(root, &path);
        if is_numbered(&path) {
            let text = repository::read(&path)?;
            offences.extend(state(&mut rules, &name, &text));
        }
    }
    let mut unknown = BTreeMap::new();
    for file in tidy::rust_files(root)? {
        if !file.path.starts_with("xtask/") {
            cite(&mut rules, &mut unknown, &file);
        }
    }
    for path in repository::files_below(&root.join("contracts"), "sol")? {
        let text = repository::read(&path)?;
        cite_contract(&mut rules, &mut unknown, &repository::relative(root, &path), &text);
    }
    for (id, places) in &unknown {
        offences.push(format!("{id} is stated nowhere in spec/: {}", places.join(", ")));
    }
    offences.extend(gaps(&rules));
    for offence in &offences {
        eprintln!("{offence}");
    }
    if !offences.is_empty() {
        bail!("{} of the trace's conditions fail", offences.len());
    }
    println!("trace: {} rules", rules.len());
    generated::settle(root, &root.join("spec/trace.md"), &table(&rules), mode, COMMAND)
        .context("trace")
}

fn is_numbered(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(|first: char| first.is_ascii_digit()))
}

/// Enters the rules that a document states.
fn state(rules: &mut Rules, document: &str, text: &str) -> Vec<String> {
    let mut offences = Vec::new();
    for (offset, id) in ids(text) {
        let bold = text[..offset].ends_with("**") && text[offset + id.len()..].starts_with("**");
        if !bold {
            continue;
        }
        let rule = rules.entry(id.to_owned()).or_default();
        if rule.document.is_empty() {
            document.clone_into(&mut rule.document);
        } else {
            offences.push(format!("{document}: {id} is already stated in {}", rule.document));
        }
    }
    offences
}

/// Where what is no rule is cited.
type Unknown = BTreeMap<String, Vec<String>>;

/// Enters the citations of one Solidity file, and where it cites what is no rule.
fn cite_contract(rules: &mut Rules, unknown: &mut Unknown, path: &str, text: &str) {
    for (_, id) in ids(text) {
        let Some(rule) = rules.get_mut(id) else {
            unknown.entry(id.to_owned()).or_default().push(path.to_owned());
            continue;
        };
        let is_test = path.starts_with("contracts/test/");
        let citations = if is_test { &mut rule.tests } else { &mut rule.code };
        citations.insert(path.to_owned());
    }
}

/// Enters the citations of one Rust file, and where it cites what is no rule.
fn cite(rules: &mut Rules, unknown: &mut Unknown, file: &RustFile) {
    for (offset, id) in ids(&file.source.text) {
        let Some(rule) = rules.get_mut(id) else {
            let place = format!("{}:{}", file.path, file.source.line(offset));
            unknown.entry(id.to_owned()).or_default().push(place);
            continue;
        };
        let is_test = file.is_test(offset)
            || ["sim/", "fuzz/", "benches/", "demo/"].iter().any(|top| file.path.starts_with(top));
        let citations = if is_test { &mut rule.tests } else { &mut rule.code };
        citations.insert(file.path.clone());
    }
}

/// Rules without a check or without a test.
fn gaps(rules: &Rules) -> Vec<String> {
    let mut offences = Vec::new();
    for (id, rule) in rules {
        if rule.code.is_empty() {
            offences.push(format!("{}: no code cites {id}", rule.document));
        }
        if rule.tests.is_empty() {
            offences.push(format!("{}: no test cites {id}", rule.document));
        }
    }
    offences
}

/// Everything in `text` that has the form of a rule's ID, with its offset.
fn ids(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for prefix in PREFIXES {
        for (offset, _) in text.match_indices(prefix) {
            let Some(id) = text.get(offset..offset + prefix.len() + 4) else {
                continue;
            };
            let digits = &id[prefix.len() + 1..];
            let before = text[..offset].chars().next_back();
            let after = text[offset + id.len()..].chars().next();
            if id.as_bytes()[prefix.len()] == b'-'
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && !before.is_some_and(char::is_alphanumeric)
                && !after.is_some_and(char::is_alphanumeric)
            {
                found.push((offset, id));
            }
        }
    }
    found.sort_unstable();
    found
}

fn table(rules: &Rules) -> String {
    let mut out = String::from(
        "# Trace\n\n\
         Generated by `cargo xtask trace`; do not edit.\n\
         Each rule, the document that states it, the code that keeps it and the tests that carry it.\n\n\
         | rule | document | code | tests |\n\
         |---|---|---|---|\n",
    );
    for (id, rule) in rules {
        let _ = writeln!(
            out,
            "| {id} | {} | {} | {} |",
            rule.document.trim_start_matches("spec/"),
            listed(&rule.code),
            listed(&rule.tests)
        );
    }
    out
}

fn listed(paths: &BTreeSet<String>) -> String {
    let cells: Vec<String> =
        paths.iter().map(|path| format!("`{}`", path.trim_start_matches("crates/"))).collect();
    cells.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::rust_file;

    fn stated(text: &str) -> Rules {
        let mut rules = Rules::new();
        assert_eq!(state(&mut rules, "spec/03-envelopes.md", text), [""; 0]);
        rules
    }

    fn cited(rules: &mut Rules, file: &RustFile) -> BTreeMap<String, Vec<String>> {
        let mut unknown = BTreeMap::new();
        cite(rules, &mut unknown, file);
        unknown
    }

    #[test]
    fn contracts_cite_rules_too() {
        let mut rules = stated("**SET-001** It MUST be.\n");
        let mut unknown = Unknown::new();
        cite_contract(&mut rules, &mut unknown, "contracts/src/Vault.sol", "/// (SET-001)");
        assert!(gaps(&rules)[0].ends_with("no test cites SET-001"));
        cite_contract(&mut rules, &mut unknown, "contracts/test/V.t.sol", "// SET-001, SET-009");
        assert_eq!(gaps(&rules), [""; 0]);
        assert_eq!(unknown["SET-009"], ["contracts/test/V.t.sol"]);
    }

    #[test]
    fn only_ids_of_the_right_form_are_found() {
        let text = "ENV-001 (LOG-12) XENV-002 ENV-0034 EIP-712 RFC-123 ENV-é TOP-100.";
        let found: Vec<&str> = ids(text).into_iter().map(|(_, id)| id).collect();
        assert_eq!(found, ["ENV-001", "TOP-100"]);
    }

    #[test]
    fn a_rule_is_stated_in_bold_and_once() {
        let mut rules = stated("**ENV-001** It MUST be.\nSee LOG-007.\n");
        assert_eq!(rules.keys().collect::<Vec<_>>(), ["ENV-001"]);
        let again = state(&mut rules, "spec/04-log.md", "**ENV-001** Again.");
        assert_eq!(again, ["spec/04-log.md: ENV-001 is already stated in spec/03-envelopes.md"]);
    }

    #[test]
    fn code_and_tests_are_told_apart() {
        let mut rules = stated("**ENV-001** A.\n**ENV-002** B.\n");
        let file = rust_file(
            "crates/envelope/src/a.rs",
            "//! A.\n// ENV-001\nfn f() {}\n#[cfg(test)]\nmod tests {\n    // covers: ENV-001\n}\n",
        );
        assert!(cited(&mut rules, &file).is_empty());
        let file = rust_file("crates/envelope/tests/it/a.rs", "//! ENV-002\n");
        assert!(cited(&mut rules, &file).is_empty());
        assert_eq!(gaps(&rules), ["spec/03-envelopes.md: no code cites ENV-002"]);
        assert!(table(&rules).contains("| ENV-001 | 03-envelopes.md | `envelope/src/a.rs` |"));
    }

    #[test]
    fn an_unknown_citation_is_refused() {
        let file = rust_file("crates/envelope/src/a.rs", "//! A.\n// ENV-404\n");
        let unknown = cited(&mut Rules::new(), &file);
        assert_eq!(unknown["ENV-404"], ["crates/envelope/src/a.rs:2"]);
    }
}
