//! `cargo xtask codegen`: spec/constants.toml becomes Rust constants, those that contracts need, and
//! the table in spec/constants.md; spec/parameters.toml the contracts' table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::generated::{self, Mode};
use crate::{parameters, repository};

const COMMAND: &str = "cargo xtask codegen";
const TYPES: [&str; 11] =
    ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128"];
const SOLIDITY_TYPES: [&str; 6] = ["uint8", "uint16", "uint32", "uint64", "uint128", "uint256"];
const LINE_WIDTH: usize = 96;

/// One named number of the protocol.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Constant {
    name: String,
    value: i64,
    #[serde(rename = "type")]
    rust_type: String,
    /// Its type in contracts; none where no contract computes with it.
    solidity: Option<String>,
    unit: String,
    reason: String,
    source: String,
}

/// A condition between constants that the compiler checks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relation {
    assert: String,
    reason: String,
}

/// The whole of spec/constants.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Constants {
    constant: Vec<Constant>,
    #[serde(default)]
    relation: Vec<Relation>,
}

/// Writes or checks every file generated from spec/constants.toml.
///
/// # Errors
/// When the file breaks its schema, or an output is stale under [`Mode::Check`].
pub fn run(root: &Path, mode: Mode) -> Result<()> {
    let constants = parse(&repository::read(&root.join("spec/constants.toml"))?)?;
    generated::settle(
        root,
        &root.join("crates/types/src/constants.rs"),
        &rust(&constants),
        mode,
        COMMAND,
    )?;
    let table = root.join("spec/constants.md");
    generated::settle(root, &table, &markdown(&constants), mode, COMMAND)?;
    let library = root.join("contracts/src/generated/ProtocolConstants.sol");
    generated::settle(root, &library, &solidity(&constants), mode, COMMAND)?;
    parameters::run(root, mode, COMMAND)
}

fn parse(text: &str) -> Result<Constants> {
    let constants: Constants = toml::from_str(text).context("spec/constants.toml")?;
    let mut names = BTreeSet::new();
    for constant in &constants.constant {
        let name = &constant.name;
        ensure!(is_name(name), "{name}: a constant is SCREAMING_SNAKE_CASE");
        ensure!(names.insert(name), "{name} is defined twice");
        ensure!(
            TYPES.contains(&constant.rust_type.as_str()),
            "{name}: {} is not an integer type",
            constant.rust_type
        );
        ensure!(
            fits(constant.value, &constant.rust_type),
            "{name}: {} does not fit {}",
            constant.value,
            constant.rust_type
        );
        if let Some(solidity) = &constant.solidity {
            ensure!(
                fits_solidity(constant.value, solidity),
                "{name}: {} does not fit {solidity}, or that is no unsigned type of Solidity",
                constant.value
            );
        }
        for (field, value) in
            [("unit", &constant.unit), ("reason", &constant.reason), ("source", &constant.source)]
        {
            ensure!(
                !value.trim().is_empty() && !value.contains('\n'),
                "{name}: {field} is one line of text"
            );
        }
    }
    for relation in &constants.relation {
        if relation.reason.trim().is_empty() {
            bail!("relation `{}` gives no reason", relation.assert);
        }
    }
    Ok(constants)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

fn fits(value: i64, rust_type: &str) -> bool {
    match rust_type {
        "u8" => u8::try_from(value).is_ok(),
        "u16" => u16::try_from(value).is_ok(),
        // A usize constant must also fit the 32-bit targets.
        "u32" | "usize" => u32::try_from(value).is_ok(),
        "u64" | "u128" => u64::try_from(value).is_ok(),
        "i8" => i8::try_from(value).is_ok(),
        "i16" => i16::try_from(value).is_ok(),
        "i32" => i32::try_from(value).is_ok(),
        _ => true,
    }
}

fn fits_solidity(value: i64, solidity: &str) -> bool {
    let bits = solidity.strip_prefix("uint").and_then(|bits| bits.parse::<u32>().ok());
    SOLIDITY_TYPES.contains(&solidity)
        && u64::try_from(value).is_ok_and(|value| bits > Some(value.checked_ilog2().unwrap_or(0)))
}

fn rust(constants: &Constants) -> String {
    let mut out = String::from(
        "//! The protocol's numbers, generated from spec/constants.toml.\n\
         //!\n\
         //! Do not edit: change spec/constants.toml and run `cargo xtask codegen`.\n",
    );
    for constant in &constants.constant {
        out.push('\n');
        doc(&mut out, &constant.reason);
        out.push_str("///\n");
        doc(&mut out, &format!("Unit: {}. Source: {}.", constant.unit, constant.source));
        let _ = writeln!(
            out,
            "pub const {}: {} = {};",
            constant.name,
            constant.rust_type,
            grouped(constant.value)
        );
    }
    for relation in &constants.relation {
        out.push('\n');
        for line in wrapped(&relation.reason, LINE_WIDTH - 3) {
            let _ = writeln!(out, "// {line}");
        }
        let _ = writeln!(out, "const _: () = assert!({});", relation.assert);
    }
    out
}

fn doc(out: &mut String, text: &str) {
    for line in wrapped(text, LINE_WIDTH - 4) {
        let _ = writeln!(out, "/// {line}");
    }
}

/// The library of those constants that contracts compute with, as forge's formatter leaves it.
fn solidity(constants: &Constants) -> String {
    let mut out = String::from(
        "// SPDX-License-Identifier: MIT OR Apache-2.0\n\
         // Generated from spec/constants.toml by `cargo xtask codegen`; do not edit.\n\
         pragma solidity 0.8.37;\n\n\
         /// The protocol's numbers that contracts compute with.\n\
         library ProtocolConstants {\n",
    );
    let mut separator = "";
    for constant in &constants.constant {
        let Constant { name, value, solidity: Some(solidity), .. } = constant else {
            continue;
        };
        out.push_str(separator);
        separator = "\n";
        for text in [&constant.reason, &format!("Unit: {}.", constant.unit)] {
            for line in wrapped(text, LINE_WIDTH - 4) {
                let _ = writeln!(out, "    /// {line}");
            }
        }
        let value = parameters::grouped(value.unsigned_abs());
        let _ = writeln!(out, "    {solidity} internal constant {name} = {value};");
    }
    out.push_str("}\n");
    out
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("starts with one line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Decimal digits with an underscore between thousands, as clippy likes them.
fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    if value < 0 { format!("-{out}") } else { out }
}

fn markdown(constants: &Constants) -> String {
    let mut out = String::from(
        "# Constants\n\n\
         Generated from `constants.toml` by `cargo xtask codegen`; do not edit.\n\n\
         | name | value | unit | type | why | source |\n\
         |---|---:|---|---|---|---|\n",
    );
    for constant in &constants.constant {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | `{}` | {} | {} |",
            constant.name,
            grouped(constant.value).replace('_', ","),
            cell(&constant.unit),
            constant.rust_type,
            cell(&constant.reason),
            cell(&constant.source)
        );
    }
    if !constants.relation.is_empty() {
        out.push_str("\nThe compiler checks what ties them together:\n\n");
        for relation in &constants.relation {
            let _ = writeln!(out, "- `{}`: {}", relation.assert, relation.reason);
        }
    }
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str, rust_type: &str) -> String {
        format!(
            "[[constant]]\nname = \"{name}\"\nvalue = {value}\ntype = \"{rust_type}\"\n\
             unit = \"bytes\"\nreason = \"Because it fits.\"\nsource = \"spec\"\n"
        )
    }

    fn check_refused(text: &str, part: &str) {
        let message = format!("{:#}", parse(text).unwrap_err());
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn a_constant_is_documented_and_grouped() {
        let constants = parse(&one("PAGE_BYTES_MAX", "4_194_304", "usize")).unwrap();
        let text = rust(&constants);
        assert!(text.contains("/// Because it fits.\n///\n/// Unit: bytes. Source: spec.\n"));
        assert!(text.contains("pub const PAGE_BYTES_MAX: usize = 4_194_304;\n"));
        assert!(markdown(&constants).contains("| `PAGE_BYTES_MAX` | 4,194,304 | bytes |"));
    }

    #[test]
    fn a_relation_becomes_a_compile_time_check() {
        let text = format!(
            "{}[[relation]]\nassert = \"A > 1\"\nreason = \"It is.\"\n",
            one("A", "2", "u8")
        );
        let text = rust(&parse(&text).unwrap());
        assert!(text.ends_with("// It is.\nconst _: () = assert!(A > 1);\n"));
    }

    #[test]
    fn contracts_have_the_constants_that_name_a_type_there() {
        let typed = |name, value, solidity: &str| {
            one(name, value, "usize") + &format!("solidity = \"{solidity}\"\n")
        };
        let text = typed("A", "1024", "uint16") + &one("B", "2", "u8") + &typed("C", "0", "uint8");
        let text = solidity(&parse(&text).unwrap());
        let body = "library ProtocolConstants {\n    /// Because it fits.\n    /// Unit: bytes.\n    \
                    uint16 internal constant A = 1024;\n\n    /// Because it fits.\n    \
                    /// Unit: bytes.\n    uint8 internal constant C = 0;\n}\n";
        assert!(text.ends_with(body), "{text}");
        let large = solidity(&parse(&typed("A", "1_048_576", "uint256")).unwrap());
        assert!(large.contains("= 1_048_576;"), "{large}");
        check_refused(&typed("A", "256", "uint8"), "does not fit uint8");
        check_refused(&typed("A", "1", "int8"), "no unsigned type");
        let negative = one("A", "-1", "i8") + "solidity = \"uint8\"\n";
        check_refused(&negative, "does not fit uint8");
    }

    #[test]
    fn what_breaks_the_schema_is_refused() {
        check_refused(&one("pageBytes", "1", "u8"), "SCREAMING_SNAKE_CASE");
        check_refused(&one("A", "1", "f64"), "not an integer type");
        check_refused(&one("A", "256", "u8"), "does not fit");
        check_refused(&one("A", "-1", "u64"), "does not fit");
        check_refused(&one("A", "1", "u8").repeat(2), "twice");
        check_refused(&format!("{}colour = 1\n", one("A", "1", "u8")), "colour");
    }

    #[test]
    fn digits_are_grouped_by_thousands() {
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1_000"), (-65536, "-65_536")] {
            assert_eq!(grouped(value), expected);
        }
    }
}
