//! The line being typed.

use unicode_width::UnicodeWidthChar;

/// A text and the place in it where the next character goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    characters: Vec<char>,
    /// Characters before the cursor.
    cursor: usize,
}

impl Input {
    /// Puts a character in; line breaks and other controls become blanks.
    pub fn insert(&mut self, character: char) {
        let character = if character.is_control() { ' ' } else { character };
        self.characters.insert(self.cursor, character);
        self.cursor += 1;
    }

    /// Removes the character before the cursor.
    pub fn backspace(&mut self) {
        if self.cursor > 0 {
            self.cursor -= 1;
            self.characters.remove(self.cursor);
        }
    }

    /// Removes the character under the cursor.
    pub fn delete(&mut self) {
        if self.cursor < self.characters.len() {
            self.characters.remove(self.cursor);
        }
    }

    /// Removes the word before the cursor.
    pub fn delete_word(&mut self) {
        while self.before().is_some_and(char::is_whitespace) {
            self.backspace();
        }
        while self.before().is_some_and(|character| !character.is_whitespace()) {
            self.backspace();
        }
    }

    fn before(&self) -> Option<char> {
        self.cursor.checked_sub(1).and_then(|at| self.characters.get(at)).copied()
    }

    /// Moves one character to the left.
    pub fn left(&mut self) {
        self.cursor = self.cursor.saturating_sub(1);
    }

    /// Moves one character to the right.
    pub fn right(&mut self) {
        self.cursor = (self.cursor + 1).min(self.characters.len());
    }

    /// Moves to the beginning.
    pub fn home(&mut self) {
        self.cursor = 0;
    }

    /// Moves to the end.
    pub fn end(&mut self) {
        self.cursor = self.characters.len();
    }

    /// Empties the line; what was in it, without blanks around.
    pub fn take(&mut self) -> String {
        let text: String = self.characters.drain(..).collect();
        self.cursor = 0;
        text.trim().to_owned()
    }

    /// The part that fits `width` columns, and the column of the cursor in it.
    #[must_use]
    pub fn window(&self, width: usize) -> (String, usize) {
        let mut first = self.cursor;
        let mut column = 0;
        // As much before the cursor as leaves a column for the cursor itself.
        while let Some(at) = first.checked_sub(1) {
            let wide = self.characters.get(at).map_or(0, |character| columns(*character));
            if column + wide >= width {
                break;
            }
            column += wide;
            first = at;
        }
        let mut used = 0;
        let fitting = self.characters.iter().skip(first).take_while(|character| {
            used += columns(**character);
            used <= width
        });
        (fitting.collect(), column)
    }
}

/// How many columns a character takes on a terminal.
pub fn columns(character: char) -> usize {
    character.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        text.chars().for_each(|character| input.insert(character));
        input
    }

    #[test]
    fn a_line_is_edited_in_the_middle() {
        let mut input = typed("helo");
        input.left();
        input.insert('l');
        assert_eq!(input.clone().take(), "hello");
        input.home();
        input.delete();
        input.end();
        input.backspace();
        assert_eq!(input.take(), "ell");
        assert_eq!(input, Input::default());
    }

    #[test]
    fn words_are_removed_whole() {
        let mut input = typed("one two  ");
        input.delete_word();
        assert_eq!(input.clone().take(), "one");
        input.delete_word();
        input.delete_word();
        assert_eq!(input.take(), "");
    }

    #[test]
    fn a_long_line_shows_what_is_around_the_cursor() {
        let mut input = typed("abcdefgh");
        assert_eq!(input.window(4), ("fgh".into(), 3));
        input.home();
        assert_eq!(input.window(4), ("abcd".into(), 0));
        assert_eq!(typed("日本語").window(5), ("本語".into(), 4));
    }

    #[test]
    fn controls_become_blanks() {
        assert_eq!(typed("a\u{1b}b\nc").take(), "a b c");
    }
}
