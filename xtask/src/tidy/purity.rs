//! Protocol crates have no runtime, clock, randomness, network or files.

use super::{PROTOCOL_CRATES, Package, RustFile};
use crate::source;

const DENY: &str = "#![deny(clippy::disallowed_methods)]";

/// What the code of a protocol crate must not contain, and why.
const BANNED: [(&str, &str); 21] = [
    ("async", "a protocol crate has no async code"),
    ("await", "a protocol crate has no async code"),
    ("tokio", "a protocol crate has no runtime"),
    ("Instant", "time is an argument in a protocol crate"),
    ("SystemTime", "time is an argument in a protocol crate"),
    ("thread_rng", "randomness is an argument in a protocol crate"),
    ("ThreadRng", "randomness is an argument in a protocol crate"),
    ("OsRng", "randomness is an argument in a protocol crate"),
    ("getrandom", "randomness is an argument in a protocol crate"),
    ("from_entropy", "randomness is an argument in a protocol crate"),
    ("from_os_rng", "randomness is an argument in a protocol crate"),
    ("rand::random", "randomness is an argument in a protocol crate"),
    ("rand::rng", "randomness is an argument in a protocol crate"),
    ("TcpStream", "a protocol crate opens no socket"),
    ("TcpListener", "a protocol crate opens no socket"),
    ("UdpSocket", "a protocol crate opens no socket"),
    ("std::net", "a protocol crate opens no socket"),
    ("std::fs", "a protocol crate opens no file"),
    ("std::process", "a protocol crate starts no process"),
    ("std::thread", "a protocol crate starts no thread"),
    ("std::env", "configuration is an argument in a protocol crate"),
];

/// Modules of `std` that must not come in through `use std::{…}` either.
const BANNED_STD: [&str; 5] = ["net", "fs", "process", "thread", "env"];

/// Direct dependencies that a protocol crate must not have.
const BANNED_DEPENDENCIES: [&str; 17] = [
    "tokio",
    "async-std",
    "smol",
    "futures",
    "sqlx",
    "rusqlite",
    "libsqlite3-sys",
    "axum",
    "hyper",
    "quinn",
    "rustls",
    "reqwest",
    "tokio-tungstenite",
    "alloy",
    "alloy-provider",
    "getrandom",
    "fastrand",
];

/// Offences in one file; files outside protocol crates have none.
pub fn check_file(file: &RustFile) -> Vec<String> {
    if !file.source_of().is_some_and(is_protocol) {
        return Vec::new();
    }
    let mut offences = Vec::new();
    for (pattern, reason) in BANNED {
        for offset in file.source.occurrences(pattern) {
            if !file.is_test(offset) {
                offences.push(file.offence(offset, &format!("`{pattern}`: {reason}")));
            }
        }
    }
    for (offset, module) in grouped_imports(&file.source.code) {
        if !file.is_test(offset) && BANNED_STD.contains(&module) {
            offences.push(
                file.offence(offset, &format!("`std::{module}`: a protocol crate does no I/O")),
            );
        }
    }
    offences
}

fn is_protocol(name: &str) -> bool {
    PROTOCOL_CRATES.contains(&name)
}

/// First segments of the paths inside each `std::{…}`, with their offsets.
fn grouped_imports(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (start, pattern) in code.match_indices("std::{") {
        let open = start + pattern.len() - 1;
        let Some(end) = source::block_end(code.as_bytes(), open) else {
            continue;
        };
        let mut depth = 0_usize;
        let mut segment = open + 1;
        for offset in open + 1..end {
            match code.as_bytes()[offset] {
                b'{' => depth += 1,
                b'}' if depth > 0 => depth -= 1,
                b',' | b'}' if depth == 0 => {
                    found.push((segment, first_segment(&code[segment..offset])));
                    segment = offset + 1;
                }
                _ => {}
            }
        }
    }
    found
}

fn first_segment(path: &str) -> &str {
    let path = path.trim();
    path.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or(path)
}

/// Protocol crates whose `lib.rs` does not deny the methods of clippy.toml.
pub fn check_roots(files: &[RustFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.path.ends_with("/src/lib.rs"))
        .filter(|file| file.source_of().is_some_and(is_protocol))
        .filter(|file| !file.source.code.contains(DENY))
        .map(|file| file.offence(0, &format!("a protocol crate states {DENY}")))
        .collect()
}

/// Direct dependencies that would bring I/O into a protocol crate.
pub fn check_dependencies(packages: &[Package]) -> Vec<String> {
    let mut offences = Vec::new();
    for package in packages {
        if !is_protocol(package.short_name()) {
            continue;
        }
        for dependency in package.dependencies.iter().filter(|found| found.is_normal()) {
            let name = dependency.name.as_str();
            if BANNED_DEPENDENCIES.contains(&name) {
                offences
                    .push(format!("{}: a protocol crate must not depend on {name}", package.name));
            }
            if name == "rand" && dependency.uses_default_features {
                offences.push(format!(
                    "{}: `rand` with default features has a thread RNG; use rand_core",
                    package.name
                ));
            }
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::rust_file;

    fn check(text: &str, expected: &[&str]) {
        let offences = check_file(&rust_file("crates/order/src/lib.rs", text));
        let expected: Vec<String> =
            expected.iter().map(|what| format!("crates/order/src/lib.rs:{what}")).collect();
        assert_eq!(offences, expected);
    }

    #[test]
    fn impure_code_is_found() {
        check("async fn f() {}", &["1: `async`: a protocol crate has no async code"]);
        check(
            "use std::time::{Duration,\n    Instant};",
            &["2: `Instant`: time is an argument in a protocol crate"],
        );
        check("use std::{fmt, fs::{self, File}};", &["1: `std::fs`: a protocol crate does no I/O"]);
        check(
            "fn f() { let _ = std::net::lookup(); }",
            &["1: `std::net`: a protocol crate opens no socket"],
        );
    }

    #[test]
    fn words_tests_and_other_crates_are_free() {
        check("// async tokio\nconst A: &str = \"tokio\";", &[]);
        check("use std::{fmt, collections::BTreeMap};", &[]);
        check("fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }", &[]);
        let node = rust_file("crates/node/src/lib.rs", "async fn f() {}");
        assert!(check_file(&node).is_empty());
    }

    #[test]
    fn a_root_states_the_ban() {
        let with = rust_file("crates/tlog/src/lib.rs", &format!("//! T.\n{DENY}\n"));
        let without = rust_file("crates/tlog/src/lib.rs", "//! T.\n");
        assert!(check_roots(&[with]).is_empty());
        assert_eq!(check_roots(&[without]).len(), 1);
    }
}
