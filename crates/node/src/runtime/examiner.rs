//! Judges incoming entries on a thread of its own, in the order in which they came.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tidings_envelope::{LogId, RegistryHistory};
use tidings_replica::wire::FeedFlush;
use tidings_replica::{CongestionByShard, ExaminedFlush, examine_flush};
use tidings_types::NodeId;
use tokio::sync::mpsc;

/// A stretch of a log to be judged.
pub(super) struct Job {
    pub(super) from: NodeId,
    pub(super) flush: FeedFlush,
    pub(super) registries: Arc<RegistryHistory>,
    pub(super) congestion: CongestionByShard,
}

/// A stretch of a log whose entries are judged.
pub(super) struct Examined {
    pub(super) from: NodeId,
    pub(super) log: LogId,
    /// Absent when judging failed by a bug of ours; the stretch is then asked for again.
    pub(super) flush: Option<ExaminedFlush>,
}

/// Starts the thread; it ends when the sender is dropped.
pub(super) fn start(
    mut jobs: mpsc::UnboundedReceiver<Job>,
    examined: mpsc::UnboundedSender<Examined>,
) -> std::io::Result<()> {
    let work = move || {
        let mut rng = rand::thread_rng();
        while let Some(Job { from, flush, registries, congestion }) = jobs.blocking_recv() {
            let (log, network) = (flush.checkpoint.checkpoint.log, registries.network());
            let examine = || examine_flush(flush, network, &registries, &congestion, &mut rng);
            // One peer's input must not end the examination of everybody's.
            let flush = catch_unwind(AssertUnwindSafe(examine)).ok();
            if examined.send(Examined { from, log, flush }).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("examiner".into()).spawn(work).map(drop)
}
