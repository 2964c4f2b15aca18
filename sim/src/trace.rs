//! What happened, as a hash over all of it and as lines for people.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::time::VirtualTime;

/// How many of the last lines are kept.
const LINES_KEPT: usize = 200;

/// The record of a run.
///
/// Two runs with the same hash did the same at the same times, byte for byte.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: Sha256,
    events: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// A record that also keeps the last lines.
    #[must_use]
    pub fn with_lines() -> Self {
        Self { lines: Some(VecDeque::new()), ..Self::default() }
    }

    /// Notes an event: its kind, the bytes that it is made of, and how it reads.
    pub fn note(
        &mut self,
        at: VirtualTime,
        kind: &str,
        bytes: &[u8],
        line: impl FnOnce() -> String,
    ) {
        self.events += 1;
        self.hasher.update(at.0.to_be_bytes());
        self.hasher.update(kind.as_bytes());
        self.hasher.update((bytes.len() as u64).to_be_bytes());
        self.hasher.update(bytes);
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_KEPT {
                lines.pop_front();
            }
            lines.push_back(format!("{at:>14} {kind:<9} {}", line()));
        }
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash over everything, in hex, and the last lines.
    #[must_use]
    pub fn finish(self) -> (String, Vec<String>) {
        let hash: [u8; 32] = self.hasher.finalize().into();
        let hex = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        (hex, self.lines.unwrap_or_default().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(notes: &[(u64, &str, &[u8])]) -> String {
        let mut trace = Trace::default();
        for (at, kind, bytes) in notes {
            trace.note(VirtualTime(*at), kind, bytes, String::new);
        }
        trace.finish().0
    }

    #[test]
    fn the_hash_covers_time_kind_and_bytes() {
        let first = hash(&[(1, "kind", b"bytes")]);
        assert_eq!(first, hash(&[(1, "kind", b"bytes")]));
        for other in [(2, "kind", b"bytes".as_slice()), (1, "other", b"bytes"), (1, "kind", b"")] {
            assert_ne!(first, hash(&[other]));
        }
        assert_ne!(first, hash(&[(1, "kind", b"bytes"), (1, "kind", b"bytes")]));
    }
}
