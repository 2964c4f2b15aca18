//! What a command prints: plain words for people, JSON for machines.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Whether the answer is JSON.
    pub json: bool,
}

impl Output {
    /// Prints `value` as one JSON document, or what `words` makes of it.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn answer<T: Serialize>(self, value: &T, words: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json {
            return self.line(&serde_json::to_string_pretty(value)?);
        }
        self.line(&words(value))
    }

    /// Prints `value` as one line of JSON, or what `words` makes of it.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn item<T: Serialize>(self, value: &T, words: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json {
            return self.line(&serde_json::to_string(value)?);
        }
        self.line(&words(value))
    }

    /// Prints a line at once, so that a reader at the other end of a pipe sees it.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn line(self, text: &str) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }
}

/// A row per item, columns aligned, without trailing blanks.
#[must_use]
pub fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let lines = rows.iter().map(|row| {
        let cells = row.iter().enumerate();
        let line: String =
            cells.map(|(column, cell)| format!("{cell:<0$}  ", width(column))).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Text from elsewhere made safe for a terminal: control characters become visible marks.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = [row(["name", "members"]), row(["n", "1"])];
        assert_eq!(aligned(&rows), "name  members\nn     1");
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
    }
}
