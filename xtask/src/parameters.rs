//! The governed numbers: spec/parameters.toml becomes the contracts' table, that of the crate which
//! talks to them, and spec/parameters.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::generated::{self, Mode};
use crate::repository;

/// The longest line that the formatters of Solidity and Rust make here.
const LINE_WIDTH: usize = 100;

/// One number that governance sets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    name: String,
    unit: String,
    initial: u64,
    min: u64,
    max: u64,
    reason: String,
}

/// The whole of spec/parameters.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    parameter: Vec<Parameter>,
}

/// Writes or checks every file generated from spec/parameters.toml.
///
/// # Errors
/// When the file breaks its schema, or an output is stale under [`Mode::Check`].
pub fn run(root: &Path, mode: Mode, command: &str) -> Result<()> {
    let parameters = parse(&repository::read(&root.join("spec/parameters.toml"))?)?;
    let table = root.join("contracts/src/generated/ParameterTable.sol");
    generated::settle(root, &table, &solidity(&parameters), mode, command)?;
    let module = root.join("crates/chain/src/parameter.rs");
    generated::settle(root, &module, &rust(&parameters), mode, command)?;
    generated::settle(root, &root.join("spec/parameters.md"), &markdown(&parameters), mode, command)
}

fn parse(text: &str) -> Result<Vec<Parameter>> {
    let Parameters { parameter } = toml::from_str(text).context("spec/parameters.toml")?;
    let mut names = BTreeSet::new();
    for Parameter { name, unit, initial, min, max, reason } in &parameter {
        let camel_case = name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric());
        ensure!(camel_case, "{name}: a parameter is UpperCamelCase");
        ensure!(names.insert(name), "{name} is defined twice");
        ensure!((min..=max).contains(&initial), "{name}: {initial} is not in {min} to {max}");
        for (field, value) in [("unit", unit), ("reason", reason)] {
            let is_line = !value.trim().is_empty() && !value.contains(['\n', '"', '\\']);
            ensure!(is_line, "{name}: {field} is one line of text without quotes");
        }
    }
    Ok(parameter)
}

fn solidity(parameters: &[Parameter]) -> String {
    let mut out = String::from(
        "// SPDX-License-Identifier: MIT OR Apache-2.0\n\
         // Generated from spec/parameters.toml by `cargo xtask codegen`; do not edit.\n\
         pragma solidity 0.8.37;\n\n\
         /// What governance sets.\n\
         enum Parameter {\n",
    );
    for (index, parameter) in parameters.iter().enumerate() {
        let comma = if index + 1 < parameters.len() { "," } else { "" };
        let _ = writeln!(out, "    {}{comma}", parameter.name);
    }
    let _ = write!(
        out,
        "}}\n\n\
         /// A parameter's name, unit, bounds (both included) and first value.\n\
         struct Definition {{\n    string name;\n    string unit;\n    uint256 min;\n    \
         uint256 max;\n    uint256 initial;\n}}\n\n\
         /// The definitions of all parameters.\n\
         library ParameterTable {{\n    \
         uint256 internal constant COUNT = {};\n\n    \
         /// What `parameter` is.\n    \
         function definition(Parameter parameter) internal pure returns (Definition memory) {{\n",
        parameters.len()
    );
    for (index, parameter) in parameters.iter().enumerate() {
        let last = index + 1 == parameters.len();
        let indent = if last { 8 } else { 12 };
        if !last {
            let _ = writeln!(out, "        if (parameter == Parameter.{}) {{", parameter.name);
        }
        returned(&mut out, parameter, indent);
        if !last {
            out.push_str("        }\n");
        }
    }
    out.push_str("    }\n}\n");
    out
}

fn rust(parameters: &[Parameter]) -> String {
    let mut out = String::from(
        "//! The governed numbers, generated from spec/parameters.toml by `cargo xtask codegen`; do \
         not edit.\n\n\
         /// What governance sets, in the order of the contract's enumeration.\n\
         #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]\n\
         #[repr(u8)]\n\
         pub enum Parameter {\n",
    );
    for Parameter { name, unit, reason, .. } in parameters {
        let _ = writeln!(out, "    /// In {unit}. {reason}\n    {name},");
    }
    let _ = write!(
        out,
        "}}\n\n\
         /// A parameter's name, unit, bounds (both included) and first value.\n\
         #[derive(Debug, Clone, Copy, PartialEq, Eq)]\n\
         pub struct Definition {{\n    \
         /// Which parameter.\n    pub parameter: Parameter,\n    \
         /// Its name.\n    pub name: &'static str,\n    \
         /// What it counts.\n    pub unit: &'static str,\n    \
         /// The smallest value.\n    pub min: u64,\n    \
         /// The largest value.\n    pub max: u64,\n    \
         /// The value on a network that says nothing of it.\n    pub initial: u64,\n}}\n\n\
         /// All parameters, in the order of the contract's enumeration.\n\
         pub const DEFINITIONS: [Definition; {}] = [\n",
        parameters.len()
    );
    for Parameter { name, unit, initial, min, max, .. } in parameters {
        let [initial, min, max] = [initial, min, max].map(|value| grouped(*value));
        let _ = writeln!(
            out,
            "    Definition {{\n        parameter: Parameter::{name},\n        name: \"{name}\",\n        \
             unit: \"{unit}\",\n        min: {min},\n        max: {max},\n        \
             initial: {initial},\n    }},"
        );
    }
    out.push_str("];\n");
    out
}

/// The statement that returns a definition, on as few lines as forge's formatter leaves it.
fn returned(out: &mut String, parameter: &Parameter, indent: usize) {
    let Parameter { name, unit, initial, min, max, .. } = parameter;
    let fields = [
        format!("name: \"{name}\""),
        format!("unit: unicode\"{unit}\""),
        format!("min: {}", grouped(*min)),
        format!("max: {}", grouped(*max)),
        format!("initial: {}", grouped(*initial)),
    ];
    let inner = indent + 4;
    let in_one = fields.join(", ");
    let in_many = fields.join(&format!(",\n{:inner$}", ""));
    let fits = inner + in_one.chars().count() <= LINE_WIDTH;
    let fields = if fits { in_one } else { in_many };
    let _ = writeln!(
        out,
        "{:indent$}return Definition({{\n{:inner$}{fields}\n{:indent$}}});",
        "", "", ""
    );
}

/// Decimal digits, with an underscore between thousands from five digits on, as forge likes them.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

fn markdown(parameters: &[Parameter]) -> String {
    let mut out = String::from(
        "# Parameters\n\n\
         Generated from `parameters.toml` by `cargo xtask codegen`; do not edit.\n\
         Governance sets these on chain, within their bounds.\n\n\
         | name | first value | from | to | unit | why |\n\
         |---|---:|---:|---:|---|---|\n",
    );
    for Parameter { name, unit, initial, min, max, reason } in parameters {
        let [initial, min, max] =
            [initial, min, max].map(|value| grouped(*value).replace('_', ","));
        let _ = writeln!(out, "| `{name}` | {initial} | {min} | {max} | {unit} | {reason} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, initial: u64) -> String {
        format!(
            "[[parameter]]\nname = \"{name}\"\nunit = \"seconds\"\ninitial = {initial}\n\
             min = 10\nmax = 20_000\nreason = \"Because it fits.\"\n"
        )
    }

    #[test]
    fn a_parameter_is_in_contract_and_table() {
        let parameters = parse(&(one("First", 10) + &one("Second", 20_000))).unwrap();
        let text = solidity(&parameters);
        assert!(text.contains("enum Parameter {\n    First,\n    Second\n}\n"), "{text}");
        assert!(text.contains("if (parameter == Parameter.First) {"), "{text}");
        let text = rust(&parameters);
        assert!(text.contains("    Second,\n}\n"), "{text}");
        assert!(text.contains("        initial: 20_000,\n    },\n];\n"), "{text}");
        let text = solidity(&parameters);
        let last = "max: 20_000, initial: 20_000\n        });\n    }\n}\n";
        assert!(text.ends_with(last), "{text}");
        assert!(markdown(&parameters).contains("| `Second` | 20,000 | 10 | 20,000 | seconds |"));
    }

    #[test]
    fn what_breaks_the_schema_is_refused() {
        for (text, part) in [
            (one("first_one", 10), "UpperCamelCase"),
            (one("First", 9), "not in 10 to 20000"),
            (one("First", 10).repeat(2), "twice"),
        ] {
            let message = format!("{:#}", parse(&text).unwrap_err());
            assert!(message.contains(part), "{message}");
        }
    }
}
