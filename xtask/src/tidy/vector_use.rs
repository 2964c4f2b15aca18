//! Every vector file is opened by some test.

use std::path::Path;

use anyhow::Result;

use super::RustFile;
use crate::repository;

/// Vector files that no test names, alone or by their folder.
///
/// # Errors
/// When spec/vectors cannot be read.
pub fn check(root: &Path, files: &[RustFile]) -> Result<Vec<String>> {
    let dir = root.join("spec/vectors");
    let tests: Vec<String> = files.iter().filter_map(test_text).collect();
    let mut offences = Vec::new();
    for path in repository::files_below(&dir, "json")? {
        let name = repository::relative(&dir, &path);
        // A schema lies beside the folders and is read by `xtask vectors`.
        let Some((suite, file)) = name.split_once('/') else {
            continue;
        };
        if !tests.iter().any(|text| opens(text, suite, file)) {
            offences.push(format!("spec/vectors/{name}: no test opens it"));
        }
    }
    Ok(offences)
}

/// The test code of a file, or none when it has none.
fn test_text(file: &RustFile) -> Option<String> {
    let text = &file.source.text;
    if file.path.starts_with("xtask/") {
        return None;
    }
    if file.is_test_file() {
        return Some(text.clone());
    }
    let tests: String = text
        .lines()
        .scan(0, |offset, line| {
            let start = *offset;
            *offset += line.len() + 1;
            Some((start, line))
        })
        .filter(|(start, _)| file.is_test(*start))
        .flat_map(|(_, line)| [line, "\n"])
        .collect();
    (!tests.is_empty()).then_some(tests)
}

fn opens(text: &str, suite: &str, file: &str) -> bool {
    let stem = file.strip_suffix(".json").unwrap_or(file);
    let whole_folder = [
        format!("vectors/{suite}\""),
        format!("vectors/{suite}/\""),
        format!("vectors/{suite}/{{"),
    ];
    let one_file = text.contains(&format!("{suite}/{file}"))
        || text.contains(&format!("{suite}/{stem}\""))
        || (text.contains(&format!("\"{suite}\""))
            && (text.contains(&format!("\"{file}\"")) || text.contains(&format!("\"{stem}\""))));
    one_file || whole_folder.iter().any(|folder| text.contains(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_opened_by_name_or_by_folder() {
        for (text, expected) in [
            ("read(\"../../spec/vectors/tlog/proofs.json\")", true),
            ("vectors(\"tlog\", \"proofs\")", true),
            ("read_dir(\"../../spec/vectors/tlog\")", true),
            ("format!(\"../../spec/vectors/tlog/{name}\")", true),
            ("read(\"../../spec/vectors/tlog/others.json\")", false),
            ("read(\"proofs.json\")", false),
        ] {
            assert_eq!(opens(text, "tlog", "proofs.json"), expected, "{text}");
        }
    }
}
