//! Counts of tests, read from the closing lines of the runners.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed, failed and did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, timed out or could not run.
    pub failed: u64,
    /// Tests that the runner left out without being asked to.
    pub ignored: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Tally {
    /// The counts of a runner's closing line; none for every other line.
    ///
    /// Reads nextest's `Summary [ … ] 3 tests run: 2 passed, 1 failed, 0 skipped`
    /// and libtest's `test result: ok. 2 passed; 0 failed; 0 ignored; …`.
    pub fn of_line(line: &str) -> Option<Self> {
        let line = plain(line);
        let line = line.trim();
        let counts = if let Some(rest) = line.strip_prefix("test result: ") {
            rest.split_once(". ")?.1
        } else {
            line.strip_prefix("Summary [")?.split_once(" run: ")?.1
        };
        let mut tally = Self::default();
        for part in counts.split([',', ';']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(word)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => tally.passed += count,
                "failed" | "timed" | "exec" => tally.failed += count,
                "ignored" | "skipped" => tally.ignored += count,
                _ => {}
            }
        }
        Some(tally)
    }
}

/// The line without terminal colours.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(u64, u64, u64)>) {
        let found = Tally::of_line(line).map(|tally| (tally.passed, tally.failed, tally.ignored));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn closing_lines_are_read() {
        check("     Summary [   0.012s] 5 tests run: 5 passed, 0 skipped", Some((5, 0, 0)));
        check(
            "\u{1b}[32;1m     Summary\u{1b}[0m [ 63.1s] 9/12 tests run: 5 passed (1 slow, 1 leaky), 2 failed, 1 timed out, 1 exec failed, 3 skipped",
            Some((5, 4, 3)),
        );
        check(
            "test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            Some((4, 1, 2)),
        );
    }

    #[test]
    fn other_lines_are_not() {
        check("test a::b ... ok", None);
        check("running 5 tests", None);
        check("Summary of what passed", None);
    }
}
