//! A decoded structure for people and for JSON, fields in their order on the wire.

use std::fmt::Write as _;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tidings_types::sha256;

/// A value, or what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// An optional value that is not there.
    Absent,
    /// A whole number.
    Number(u64),
    /// A word, an id, a hash, a key or a signature.
    Text(String),
    /// Values in order.
    List(Vec<Tree>),
    /// Named values in order.
    Record(Vec<(&'static str, Tree)>),
}

/// Makes a record: `record! { "name" => value, … }`.
macro_rules! record {
    ($($name:literal => $value:expr),* $(,)?) => {
        $crate::inspect::tree::Tree::Record(vec![
            $(($name, $crate::inspect::describe::Describe::describe(&$value)),)*
        ])
    };
}
pub(super) use record;

impl Tree {
    /// Text made of anything that can be shown.
    pub fn shown(value: impl std::fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// Bytes that mean nothing here: how many, and their hash.
    pub fn opaque(bytes: &[u8]) -> Self {
        Self::Record(vec![
            ("length_bytes", Self::Number(u64::try_from(bytes.len()).unwrap_or(u64::MAX))),
            ("sha256", Self::Text(hex::encode(sha256(bytes)))),
        ])
    }

    /// One value or name per line, indented by depth.
    #[must_use]
    pub fn words(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out.trim_end().to_owned()
    }

    fn write(&self, out: &mut String, depth: usize) {
        match self {
            Self::Record(fields) => {
                for (name, value) in fields {
                    value.write_named(out, name, depth);
                }
            }
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.write_named(out, &format!("[{index}]"), depth);
                }
            }
            leaf => {
                let _ = writeln!(out, "{:1$}{2}", "", depth * 2, leaf.leaf());
            }
        }
    }

    fn write_named(&self, out: &mut String, name: &str, depth: usize) {
        let indent = depth * 2;
        match self {
            Self::Record(fields) if !fields.is_empty() => {
                let _ = writeln!(out, "{:indent$}{name}", "");
                self.write(out, depth + 1);
            }
            Self::List(items) if !items.is_empty() => {
                let _ = writeln!(out, "{:indent$}{name} ({})", "", items.len());
                self.write(out, depth + 1);
            }
            leaf => {
                let _ = writeln!(out, "{:indent$}{name}: {1}", "", leaf.leaf());
            }
        }
    }

    fn leaf(&self) -> String {
        match self {
            Self::Absent => "none".into(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::List(_) | Self::Record(_) => "none".into(),
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => serializer.serialize_none(),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Record(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_json_say_the_same() {
        let inner = Tree::Record(vec![("b", Tree::Number(1)), ("a", Tree::Absent)]);
        let tree = Tree::Record(vec![("list", Tree::List(vec![inner])), ("x", Tree::shown("y"))]);
        assert_eq!(tree.words(), "list (1)\n  [0]\n    b: 1\n    a: none\nx: y");
        let json = serde_json::to_string(&tree).unwrap();
        assert_eq!(json, r#"{"list":[{"b":1,"a":null}],"x":"y"}"#);
    }
}
