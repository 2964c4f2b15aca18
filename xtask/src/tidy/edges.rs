//! Which of our crates may depend on which.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process;

const PREFIX: &str = "tidings-";

/// A crate and all it may depend on among ours; everything else is refused.
const EDGES: [(&str, &[&str]); 13] = [
    ("types", &[]),
    ("identity", &["types"]),
    ("envelope", &["types"]),
    ("mls", &["types", "identity", "envelope"]),
    ("tlog", &["types", "identity", "envelope"]),
    ("order", &["types", "identity", "envelope"]),
    ("payer", &["types", "identity", "envelope"]),
    ("replica", &["types", "identity", "envelope", "tlog", "order", "payer"]),
    ("chain", &["types", "envelope", "payer"]),
    ("node", &["types", "identity", "envelope", "tlog", "order", "payer", "replica", "chain"]),
    ("client", &["types", "identity", "envelope", "mls", "tlog", "order", "payer"]),
    ("gateway", &["types", "identity", "envelope", "mls", "tlog", "order", "payer", "chain"]),
    ("xmtp", &["types", "envelope", "payer", "gateway"]),
];

/// Crates at the top, which may depend on anything; only each other and tests depend on them.
const UNRESTRICTED: [&str; 9] =
    ["cli", "demo", "chaos", "sim", "fuzz", "bench", "benches", "examples", "bindings"];

/// The crate whose program is shipped.
const SHIPPED: &str = "cli";

/// A package of the workspace, as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name with the prefix.
    pub name: String,
    /// Where its manifest lies.
    pub manifest_path: String,
    /// All dependencies of every kind.
    pub dependencies: Vec<Dependency>,
    /// Its features, each with what it turns on.
    #[serde(default)]
    pub features: BTreeMap<String, Vec<String>>,
}

/// One dependency of a package.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The package depended on.
    pub name: String,
    /// None for a normal dependency, else `dev` or `build`.
    pub kind: Option<String>,
    /// The folder, for one of our own.
    #[serde(default)]
    pub path: Option<String>,
    /// Whether its default features are on.
    pub uses_default_features: bool,
    /// Those that are on besides.
    #[serde(default)]
    pub features: Vec<String>,
}

impl Package {
    /// The name without our prefix.
    pub fn short_name(&self) -> &str {
        short(&self.name)
    }
}

impl Dependency {
    /// Whether the shipped code is built with it.
    pub fn is_normal(&self) -> bool {
        self.kind.is_none()
    }

    /// Whether only tests are built with it.
    pub fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// The packages of the main workspace.
///
/// # Errors
/// When cargo cannot describe it.
pub fn packages(root: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let output = process::cargo(root)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    Ok(metadata.packages)
}

/// Offences against the list of edges.
pub fn check(packages: &[Package]) -> Vec<String> {
    let mut offences = Vec::new();
    for package in packages {
        let name = package.short_name();
        let Some(allowed) = allowed(name) else {
            if !UNRESTRICTED.contains(&name) {
                offences.push(format!(
                    "{}: enter it into the list of edges in xtask/src/tidy/edges.rs",
                    package.name
                ));
            }
            continue;
        };
        for dependency in &package.dependencies {
            let target = short(&dependency.name);
            if dependency.is_normal() && dependency.path.is_some() && !allowed.contains(&target) {
                offences.push(format!("{}: must not depend on {target}", package.name));
            }
        }
    }
    offences
}

/// Crates for tests on the way from the shipped program's crate: nothing in it may lie, break or
/// pretend.
pub fn check_shipped(packages: &[Package]) -> Vec<String> {
    let mut reached = vec![SHIPPED];
    let mut at = 0;
    while let Some(name) = reached.get(at).copied() {
        at += 1;
        let package = packages.iter().find(|package| package.short_name() == name);
        let dependencies = package.iter().flat_map(|package| &package.dependencies);
        for dependency in dependencies.filter(|found| !found.is_dev() && found.path.is_some()) {
            let target = short(&dependency.name);
            if !reached.contains(&target) {
                reached.push(target);
            }
        }
    }
    let for_tests = reached.iter().filter(|name| **name != SHIPPED && UNRESTRICTED.contains(name));
    for_tests.map(|name| format!("{PREFIX}{SHIPPED}: is shipped and reaches {name}")).collect()
}

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    EDGES.iter().find(|(from, _)| *from == name).map(|(_, allowed)| *allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &str) -> Package {
        serde_json::from_str(&format!(
            "{{\"name\":\"{name}\",\"manifest_path\":\"Cargo.toml\",\"dependencies\":[{dependencies}]}}"
        ))
        .unwrap()
    }

    fn edge(name: &str, kind: &str) -> String {
        format!(
            "{{\"name\":\"{name}\",\"kind\":{kind},\"path\":\"crates\",\"uses_default_features\":true}}"
        )
    }

    fn check_edges(name: &str, dependency: &str, kind: &str, expected: &[&str]) {
        let package = package(name, &edge(dependency, kind));
        assert_eq!(check(&[package]), expected);
    }

    #[test]
    fn edges_point_down() {
        check_edges("tidings-envelope", "tidings-types", "null", &[]);
        check_edges(
            "tidings-types",
            "tidings-envelope",
            "null",
            &["tidings-types: must not depend on envelope"],
        );
        check_edges(
            "tidings-replica",
            "tidings-mls",
            "null",
            &["tidings-replica: must not depend on mls"],
        );
        check_edges("tidings-cli", "tidings-mls", "null", &[]);
        check_edges("tidings-bench", "tidings-demo", "null", &[]);
        check_edges(
            "tidings-node",
            "tidings-demo",
            "null",
            &["tidings-node: must not depend on demo"],
        );
    }

    #[test]
    fn test_edges_are_free() {
        check_edges("tidings-types", "tidings-envelope", "\"dev\"", &[]);
        check_edges("tidings-node", "tidings-demo", "\"dev\"", &[]);
    }

    #[test]
    fn what_is_shipped_reaches_no_crate_for_tests() {
        let through = |kind: &str| {
            let cli = package("tidings-cli", &edge("tidings-node", "null"));
            check_shipped(&[cli, package("tidings-node", &edge("tidings-chaos", kind))])
        };
        assert_eq!(through("null"), ["tidings-cli: is shipped and reaches chaos"]);
        assert_eq!(through("\"build\"").len(), 1);
        assert!(through("\"dev\"").is_empty());
    }

    #[test]
    fn an_unlisted_crate_is_refused() {
        let offences = check(&[package("tidings-new", "")]);
        assert_eq!(offences.len(), 1, "{offences:?}");
    }

    #[test]
    fn the_list_has_no_cycle() {
        for (name, allowed) in EDGES {
            for target in allowed {
                let back = super::allowed(target).unwrap();
                assert!(!back.contains(&name), "{name} and {target}");
            }
        }
    }
}
