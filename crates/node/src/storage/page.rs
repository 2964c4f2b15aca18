//! A stretch of a log as auditors get it.

use tidings_envelope::api::LogPage;
use tidings_replica::store::Flush;
use tidings_types::constants::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, PROTOCOL_VERSION};
use tidings_types::{BoundedVec, LogIndex};

/// What was stored from `first` on as a page, which ends at a checkpoint, unless one flush alone is
/// larger than a page may be.
#[must_use]
pub fn page_of(first: LogIndex, flush: Option<Flush>) -> LogPage {
    let (records, checkpoint) = match flush {
        Some(flush) => (flush.entries, Some(flush.checkpoint)),
        None => (Vec::new(), None),
    };
    let mut bytes = 0;
    let fitting = records.iter().take(PAGE_ENTRIES_MAX).take_while(|record| {
        let is_first = bytes == 0;
        bytes += record.header_bytes().len() + record.payload.as_ref().map_or(0, |p| p.len());
        is_first || bytes <= PAGE_BYTES_MAX
    });
    let entries: Vec<_> = fitting.map(|record| record.to_entry()).collect();
    let checkpoint = checkpoint.filter(|_| entries.len() == records.len());
    LogPage {
        version: PROTOCOL_VERSION,
        first,
        entries: BoundedVec::new(entries).unwrap_or_default(),
        checkpoint,
    }
}
