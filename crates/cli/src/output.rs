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

/// The longest cell of a table in characters; a stranger's text must not make a row of pages.
const CELL_CHARACTERS_MAX: usize = 60;

/// A row per item, columns aligned, long cells cut, without trailing blanks.
#[must_use]
pub fn aligned(rows: &[Vec<String>]) -> String {
    let cut = |row: &Vec<String>| row.iter().map(|cell| shortened(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cut).collect();
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

/// A text on one line and of limited length; an ellipsis marks what is left out.
fn shortened(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(CELL_CHARACTERS_MAX) {
        None => line,
        Some(_) => line.chars().take(CELL_CHARACTERS_MAX - 1).chain(['…']).collect(),
    }
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
    fn a_long_text_is_cut() {
        let table = aligned(&[vec!["x".repeat(100_000), "y".into()]]);
        assert_eq!(table, format!("{}…  y", "x".repeat(59)));
        assert_eq!(aligned(&[vec!["two\nlines".into()]]), "two lines");
    }

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
