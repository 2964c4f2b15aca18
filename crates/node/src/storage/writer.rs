//! Group commit: write sets that wait together become durable together.

use std::sync::Arc;

use tidings_replica::store::WriteSet;
use tokio::sync::{mpsc, oneshot};

use super::{Storage, StorageError};

/// Sets that may wait; beyond this, whoever submits waits for space.
const QUEUE_SETS_MAX: usize = 1024;
/// Entries after which no further set joins a transaction: a fifth of a second at full speed.
const MERGED_ENTRIES_MAX: usize = 4096;
/// Bytes after which no further set joins a transaction.
const MERGED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A set was not written; it comes back, to be submitted again once there is hope.
///
/// Sets that were submitted after it and build on it fail too: submit them again in the same
/// order.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct WriteFailed {
    /// What was to be written.
    pub set: WriteSet,
    /// Why it was not; shared with the sets that were in the same transaction.
    pub error: Arc<StorageError>,
}

/// A set that has been submitted.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<(), WriteFailed>>);

impl Pending {
    /// Waits until the set is on disk.
    ///
    /// # Errors
    /// [`WriteFailed`] when nothing of it was written.
    pub async fn durable(self) -> Result<(), WriteFailed> {
        self.0.await.unwrap_or_else(|_| Err(closed(WriteSet::default())))
    }
}

/// A task that writes what is submitted, in order, as much as possible per transaction.
///
/// It ends once every clone is dropped and the queue is empty.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    set: WriteSet,
    answer: oneshot::Sender<Result<(), WriteFailed>>,
}

impl Writer {
    /// Starts the task on the current runtime.
    #[must_use]
    pub fn start(storage: Arc<Storage>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_SETS_MAX);
        tokio::spawn(run(storage, jobs));
        Self { queue }
    }

    /// Puts `set` in the queue, waiting for space there; it is written even if nobody waits.
    ///
    /// # Errors
    /// [`WriteFailed`] with [`StorageError::Closed`] when the task has ended.
    pub async fn submit(&self, set: WriteSet) -> Result<Pending, WriteFailed> {
        let (answer, pending) = oneshot::channel();
        match self.queue.send(Job { set, answer }).await {
            Ok(()) => Ok(Pending(pending)),
            Err(refused) => Err(closed(refused.0.set)),
        }
    }

    /// Writes `set` and waits until it is on disk.
    ///
    /// # Errors
    /// [`WriteFailed`] when nothing of it was written.
    pub async fn write(&self, set: WriteSet) -> Result<(), WriteFailed> {
        self.submit(set).await?.durable().await
    }
}

async fn run(storage: Arc<Storage>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let (mut entries, mut bytes) = weight(&first.set);
        let mut merged = vec![first];
        while entries < MERGED_ENTRIES_MAX && bytes < MERGED_BYTES_MAX {
            let Ok(job) = jobs.try_recv() else { break };
            let (more_entries, more_bytes) = weight(&job.set);
            (entries, bytes) = (entries + more_entries, bytes + more_bytes);
            merged.push(job);
        }
        let written = storage.write_all(merged.iter().map(|job| &job.set)).await;
        answer(merged, written.map_err(Arc::new));
    }
}

/// Answers every waiter; one that has gone does not matter.
fn answer(merged: Vec<Job>, written: Result<(), Arc<StorageError>>) {
    if let Err(error) = &written {
        tracing::error!(%error, sets = merged.len(), "a write failed");
    }
    for job in merged {
        let result = match &written {
            Ok(()) => Ok(()),
            Err(error) => Err(WriteFailed { set: job.set, error: Arc::clone(error) }),
        };
        drop(job.answer.send(result));
    }
}

/// Entries and bytes of a set, as far as they bound a transaction.
fn weight(set: &WriteSet) -> (usize, usize) {
    let entries = || set.flushes.iter().flat_map(|flush| &flush.entries);
    let payloads = entries().filter_map(|entry| entry.payload.as_ref());
    let bytes = payloads.map(|payload| payload.len()).sum::<usize>();
    let operations = set.decided.iter().map(|decided| decided.certified.block.operations.len());
    (entries().count() + operations.sum::<usize>(), bytes)
}

fn closed(set: WriteSet) -> WriteFailed {
    WriteFailed { set, error: Arc::new(StorageError::Closed) }
}
