//! A reader of Rust text: what is code, what is a comment or a literal, what is a test.
//!
//! It knows just enough of the language to find items and their braces; the
//! compiler remains the judge of everything else.

/// One Rust file, taken apart.
pub struct Source {
    /// The text as written.
    pub text: String,
    /// The same text, byte for byte as long, with the inside of comments and
    /// literals blanked.
    pub code: String,
    /// Byte ranges of items under `#[cfg(test)]`.
    test_ranges: Vec<(usize, usize)>,
}

/// A function and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub length: usize,
}

impl Source {
    /// Takes `text` apart.
    pub fn new(text: String) -> Self {
        let code = blanked(&text);
        let test_ranges = test_ranges(&code);
        Self { text, code, test_ranges }
    }

    /// Whether the byte at `offset` is inside an item under `#[cfg(test)]`.
    pub fn is_test(&self, offset: usize) -> bool {
        self.test_ranges.iter().any(|(start, end)| (*start..*end).contains(&offset))
    }

    /// The line of the byte at `offset`, from 1.
    pub fn line(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
    }

    /// Offsets in the code at which `pattern` stands as a whole: what comes
    /// before and after it is no part of a longer name.
    pub fn occurrences(&self, pattern: &str) -> Vec<usize> {
        self.code
            .match_indices(pattern)
            .map(|(offset, _)| offset)
            .filter(|offset| is_whole(&self.code, *offset, pattern))
            .collect()
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for offset in self.occurrences("fn") {
            let rest = &self.code[offset + 2..];
            let name: String = rest.trim_start().chars().take_while(|c| is_name_char(*c)).collect();
            // `fn(u8) -> u8` is a type.
            if name.is_empty() {
                continue;
            }
            let Some(end) = item_end(&self.code, offset) else {
                continue;
            };
            if self.code.as_bytes()[end - 1] == b'}' {
                let line = self.line(offset);
                found.push(Function { name, line, length: self.line(end - 1) - line + 1 });
            }
        }
        found
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_whole(text: &str, offset: usize, pattern: &str) -> bool {
    let starts_name = pattern.chars().next().is_some_and(is_name_char);
    let ends_name = pattern.chars().last().is_some_and(is_name_char);
    let before = text[..offset].chars().next_back();
    let after = text[offset + pattern.len()..].chars().next();
    !(starts_name && before.is_some_and(is_name_char)
        || ends_name && after.is_some_and(is_name_char))
}

/// Where the item that begins at `start` ends: after its `;`, or after the
/// brace that closes its first block.
fn item_end(code: &str, start: usize) -> Option<usize> {
    let bytes = code.as_bytes();
    let mut nested = 0_usize;
    for (offset, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested = nested.saturating_sub(1),
            b';' if nested == 0 => return Some(offset + 1),
            b'{' if nested == 0 => return block_end(bytes, offset),
            _ => {}
        }
    }
    None
}

/// The offset after the brace that closes the one at `open`.
pub fn block_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(offset + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn test_ranges(code: &str) -> Vec<(usize, usize)> {
    if code.contains("#![cfg(test)]") {
        return vec![(0, code.len())];
    }
    let mut ranges = Vec::new();
    for attribute in ["#[cfg(test)]", "#[test]", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(attribute) {
            let body = start + attribute.len();
            if let Some(end) = item_end(code, skip_attributes(code, body)) {
                ranges.push((start, end));
            }
        }
    }
    ranges
}

/// The offset after the attributes that stand at `offset`.
fn skip_attributes(code: &str, mut offset: usize) -> usize {
    loop {
        let rest = &code[offset..];
        let trimmed = rest.trim_start();
        let start = offset + rest.len() - trimmed.len();
        if !trimmed.starts_with("#[") {
            return start;
        }
        match trimmed.find(']') {
            Some(end) => offset = start + end + 1,
            None => return start,
        }
    }
}

/// The text with comments and the inside of literals turned into spaces.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut offset = 0;
    while offset < bytes.len() {
        let end = literal_or_comment_end(text, offset);
        match end {
            Some(end) => {
                for byte in &mut out[offset..end] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                offset = end;
            }
            None => offset += 1,
        }
    }
    // Blanking replaces whole literals and comments, so what is left is UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

fn literal_or_comment_end(text: &str, offset: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let rest = &bytes[offset..];
    match rest {
        [b'/', b'/', ..] => Some(line_end(bytes, offset)),
        [b'/', b'*', ..] => Some(block_comment_end(bytes, offset)),
        [b'"', ..] => Some(string_end(bytes, offset)),
        [b'r', ..] if !follows_name(bytes, offset) => raw_string_end(text, offset),
        [b'b', b'r', ..] if !follows_name(bytes, offset) => raw_string_end(text, offset + 1),
        [b'\'', ..] => char_end(text, offset),
        _ => None,
    }
}

fn follows_name(bytes: &[u8], offset: usize) -> bool {
    offset > 0 && (bytes[offset - 1].is_ascii_alphanumeric() || bytes[offset - 1] == b'_')
}

fn line_end(bytes: &[u8], offset: usize) -> usize {
    bytes[offset..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| offset + length)
}

fn block_comment_end(bytes: &[u8], offset: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = offset;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], offset: usize) -> usize {
    let mut at = offset + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"` or `r#"…"#` at `offset`, the place of its `r`.
fn raw_string_end(text: &str, offset: usize) -> Option<usize> {
    let after = &text[offset + 1..];
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    if !after[hashes..].starts_with('"') {
        return None;
    }
    let body = offset + 1 + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text[body..].find(&close).map_or(text.len(), |length| body + length + close.len()))
}

/// The end of a character literal at `offset`, or none for a lifetime.
fn char_end(text: &str, offset: usize) -> Option<usize> {
    let mut chars = text[offset + 1..].char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        let body = offset + 3;
        let close = text.get(body..)?.find('\'')?;
        return Some(body + close + 1);
    }
    let (next, quote) = chars.next()?;
    (quote == '\'').then_some(offset + 1 + next + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_code(text: &str, expected: &str) {
        let source = Source::new(text.to_owned());
        assert_eq!(source.code.len(), text.len());
        let words: Vec<&str> = source.code.split_whitespace().collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check_code("a // tokio\nb", "a b");
        check_code("a /* x /* y */ z */ b", "a b");
        check_code("f(\"tokio \\\" {\", 'x', '\\'', b'{')", "f( , , , b )");
        check_code("r#\"a \" b\"# c br\"{\" d", "c d");
        check_code("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check_code("let var = 'é'; r", "let var = ; r");
    }

    #[test]
    fn functions_have_lengths() {
        let text = "fn one() {}\nfn two(x: [u8; 3]) -> u8\nwhere\n{\n    if x { \"}\" }\n}\ntrait T { fn none(); }\ntype F = fn(u8);\n";
        let functions = Source::new(text.to_owned()).functions();
        let seen: Vec<(&str, usize, usize)> = functions
            .iter()
            .map(|function| (function.name.as_str(), function.line, function.length))
            .collect();
        assert_eq!(seen, [("one", 1, 1), ("two", 2, 5)]);
    }

    #[test]
    fn test_items_are_known() {
        let text = "fn a() {}\n#[cfg(test)]\n#[expect(x, reason = \"y\")]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let source = Source::new(text.to_owned());
        let at = |pattern: &str| source.is_test(text.find(pattern).unwrap());
        assert_eq!((at("fn a"), at("fn b"), at("fn c")), (false, true, false));
    }

    #[test]
    fn an_occurrence_is_a_whole_name() {
        let source = Source::new("Instant InstantX tokio::spawn mytokio".to_owned());
        assert_eq!(source.occurrences("Instant"), [0]);
        assert_eq!(source.occurrences("tokio"), [17]);
    }
}
