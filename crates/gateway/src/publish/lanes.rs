//! Lanes: one task per node, target, level and payer, which signs batches and sends them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tidings_envelope::api::{PublishRequest, SendResult};
use tidings_envelope::{AckLevel, BatchHeader, Target};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedVec, ErrorCode, EthereumAddress, NodeId, PicoDollars, Wire};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::Outgoing;
use super::gather::{Batch, Gather, Next, Submission};
use super::verify::{Finding, Question, examine};
use crate::metrics::Metrics;
use crate::network::{CallError, Network, Snapshot};
use crate::session_key::SessionKeys;

/// Batches under way at once to one node, of all payers; enough to fill a slow link, and no flood.
const BATCHES_PER_NODE_MAX: usize = 64;

/// Submissions that may wait for a lane's task to look at them.
const INBOX_SUBMISSIONS_MAX: usize = 1_024;

/// What became of one envelope in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It is proved; the answer for the sender.
    Proved(Box<SendResult>),
    /// The node refused it.
    Refused(ErrorCode),
    /// The node did not answer, or not with the truth; another may.
    Failed,
}

/// What keeps envelopes together: who carries them, for whom, and how durable they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneKey {
    /// The node that is sent the batch.
    pub carrier: NodeId,
    /// Who may carry it, as the payer signs.
    pub target: Target,
    /// How durable the envelopes must be.
    pub level: AckLevel,
    /// Whose balance pays.
    pub payer: EthereumAddress,
}

/// What every lane needs.
#[derive(Debug)]
pub struct Desk {
    /// The network.
    pub network: Arc<Network>,
    /// Who can pay, and the registered key that signs for each.
    pub session_keys: SessionKeys,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Batches that may be under way to each node.
    pub ways: Ways,
}

/// How many more batches may be under way to each node, of all lanes together.
#[derive(Debug, Default)]
pub struct Ways(Mutex<BTreeMap<NodeId, Arc<Semaphore>>>);

impl Ways {
    /// Waits until another batch may go to a node; it has arrived when the answer is dropped.
    async fn enter(&self, node: NodeId) -> Option<OwnedSemaphorePermit> {
        let way = {
            let mut ways = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(BATCHES_PER_NODE_MAX));
            Arc::clone(ways.entry(node).or_insert_with(new))
        };
        way.acquire_owned().await.ok()
    }
}

/// All lanes; each is opened when it is first used.
#[derive(Debug)]
pub struct Lanes {
    desk: Arc<Desk>,
    open: Mutex<BTreeMap<LaneKey, mpsc::Sender<Submission<Answer>>>>,
}

/// Takes one delivery per envelope of the submission.
type Answer = oneshot::Sender<Vec<Delivery>>;

impl Lanes {
    /// No lanes yet.
    #[must_use]
    pub fn new(desk: Arc<Desk>) -> Self {
        Self { desk, open: Mutex::default() }
    }

    /// Sends envelopes, at most one full batch, and waits for what becomes of each, in order.
    pub async fn publish(&self, key: LaneKey, envelopes: Vec<Arc<Outgoing>>) -> Vec<Delivery> {
        let count = envelopes.len();
        let (sender, receiver) = oneshot::channel();
        let submission = Submission { envelopes, sender };
        if self.lane(key).try_send(submission).is_err() {
            return vec![Delivery::Refused(ErrorCode::Overloaded); count];
        }
        let answer = receiver.await;
        answer.unwrap_or_else(|_| vec![Delivery::Refused(ErrorCode::Internal); count])
    }

    fn lane(&self, key: LaneKey) -> mpsc::Sender<Submission<Answer>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = open.entry(key).or_insert_with(|| {
            let (sender, inbox) = mpsc::channel(INBOX_SUBMISSIONS_MAX);
            tokio::spawn(drive(Arc::clone(&self.desk), key, inbox));
            sender
        });
        lane.clone()
    }
}

/// Runs one lane until nobody can submit any more and everything is answered.
async fn drive(desk: Arc<Desk>, key: LaneKey, mut inbox: mpsc::Receiver<Submission<Answer>>) {
    let mut gather = Gather::default();
    let mut flights = JoinSet::new();
    let mut is_open = true;
    while is_open || !gather.is_idle() {
        let wake = match gather.next(Instant::now()) {
            Next::Send(batch) => {
                flights.spawn(fly(Arc::clone(&desk), key, batch));
                continue;
            }
            Next::Wait(until) => Some(until),
            Next::Rest => None,
        };
        tokio::select! {
            submission = inbox.recv(), if is_open => {
                is_open = submission.is_some();
                let mut arrived = submission;
                // Everything that is there already goes into the same batch.
                while let Some(submission) = arrived {
                    accept(&mut gather, submission);
                    arrived = inbox.try_recv().ok();
                }
            }
            Some(flown) = flights.join_next() => {
                gather.finished();
                if let Err(error) = flown {
                    tracing::error!(%error, "a batch was given up");
                }
            }
            () = until(wake) => {}
        }
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

fn accept(gather: &mut Gather<Answer>, submission: Submission<Answer>) {
    if let Err(refused) = gather.push(submission, Instant::now()) {
        let count = refused.envelopes.len();
        // The sender may have gone; then nobody is to be told.
        let _ = refused.sender.send(vec![Delivery::Refused(ErrorCode::Overloaded); count]);
    }
}

/// Signs one batch, sends it, and tells every sender what became of its share.
async fn fly(desk: Arc<Desk>, key: LaneKey, batch: Batch<Answer>) {
    let _way = desk.ways.enter(key.carrier).await;
    // What nobody waits for any more was given up, and would be billed all the same.
    if batch.shares.iter().all(|(sender, _)| sender.is_closed()) {
        return;
    }
    let deliveries = desk.attempt(key, &batch.envelopes).await;
    for (sender, places) in batch.shares {
        let share = places.iter().filter_map(|place| deliveries.get(*place).cloned());
        // The sender may have gone; then nobody is to be told.
        let _ = sender.send(share.collect());
    }
}

impl Desk {
    /// One attempt at one node; one delivery per envelope.
    async fn attempt(&self, key: LaneKey, envelopes: &[Arc<Outgoing>]) -> Vec<Delivery> {
        let all = |delivery| vec![delivery; envelopes.len()];
        let Some(snapshot) = self.network.snapshot() else {
            return all(Delivery::Refused(ErrorCode::NotReady));
        };
        let Some(base) = snapshot.http(key.carrier) else { return all(Delivery::Failed) };
        let request = match self.sign(key, envelopes, &snapshot) {
            Ok(request) => request,
            Err(code) => return all(Delivery::Refused(code)),
        };
        self.metrics.batch_sent(envelopes.len());
        let sent = Instant::now();
        let body = Bytes::from(request.to_wire());
        let answer = self.network.client().publish(base, body).await;
        self.metrics.publish_duration.observe(sent.elapsed());
        match answer {
            Ok(answer) => {
                let question = Question {
                    network: self.network.id(),
                    snapshot: &snapshot,
                    level: key.level,
                    target: key.target,
                    envelopes,
                };
                let mut findings = examine(&question, &answer);
                if findings.iter().any(|finding| matches!(finding, Finding::Lied(_))) {
                    // The committee may have changed: then the truth looks like a lie.
                    self.network.refresh_registry().await;
                    if let Some(newer) = self.network.snapshot() {
                        let question = Question { snapshot: &newer, ..question };
                        findings = examine(&question, &answer);
                    }
                }
                findings.into_iter().map(|finding| self.deliver(key.carrier, finding)).collect()
            }
            Err(CallError::Refused(code)) => all(self.deliver(key.carrier, Finding::Refused(code))),
            Err(error @ CallError::Unreachable(_)) => {
                tracing::warn!(node = %key.carrier, %error, "a batch failed");
                self.network.failed(key.carrier);
                self.metrics.failed_batches.increment();
                all(Delivery::Failed)
            }
            Err(error @ CallError::Nonsense(_)) => {
                tracing::warn!(node = %key.carrier, %error, "a batch was answered with nonsense");
                self.network.lied(key.carrier);
                self.metrics.lies.increment();
                all(Delivery::Failed)
            }
        }
    }

    fn deliver(&self, carrier: NodeId, finding: Finding) -> Delivery {
        match finding {
            Finding::Proved(result) => Delivery::Proved(result),
            // Envelope and batch are of one payer here, and the sender would take the envelope for
            // one that nobody was given.
            Finding::Refused(ErrorCode::PayerMismatch) => {
                tracing::warn!(node = %carrier, "the node finds another payer than was signed");
                self.network.lied(carrier);
                self.metrics.lies.increment();
                Delivery::Failed
            }
            Finding::Refused(code) => Delivery::Refused(code),
            Finding::Lied(lie) => {
                tracing::warn!(node = %carrier, %lie, "a receipt does not verify");
                self.network.lied(carrier);
                self.metrics.lies.increment();
                Delivery::Failed
            }
        }
    }

    /// Signs for the envelopes: for this target, this registry epoch, the next period at the
    /// latest, and the dearest envelope's fee (GTW-005).
    fn sign(
        &self,
        key: LaneKey,
        envelopes: &[Arc<Outgoing>],
        snapshot: &Snapshot,
    ) -> Result<PublishRequest, ErrorCode> {
        let session_key = self.session_keys.get(&key.payer).ok_or(ErrorCode::PayerUnknown)?;
        let period = self.network.period_of(key.carrier).ok_or(ErrorCode::NotReady)?;
        let ids: Vec<_> = envelopes.iter().map(|envelope| envelope.id).collect();
        let header = BatchHeader {
            version: PROTOCOL_VERSION,
            payer: key.payer,
            session_key: session_key.public_key(),
            target: key.target,
            registry_epoch: snapshot.registry.epoch,
            not_after: period.plus(1),
            max_fee: dearest(envelopes, snapshot)?,
            count: u32::try_from(ids.len()).map_err(|_| ErrorCode::TooLarge)?,
            root: BatchHeader::root_of(&ids),
        };
        let bytes = envelopes.iter().map(|envelope| envelope.bytes.clone()).collect();
        Ok(PublishRequest {
            version: PROTOCOL_VERSION,
            level: key.level,
            batch: header.sign(session_key, self.network.id()),
            ids: BoundedVec::new(ids).map_err(|_| ErrorCode::TooLarge)?,
            envelopes: BoundedVec::new(bytes).map_err(|_| ErrorCode::TooLarge)?,
        })
    }
}

fn dearest(envelopes: &[Arc<Outgoing>], snapshot: &Snapshot) -> Result<PicoDollars, ErrorCode> {
    let mut dearest = PicoDollars(0);
    for envelope in envelopes {
        let tariff = snapshot.tariff(snapshot.shard_of(&envelope.topic));
        dearest = dearest.max(envelope.fee(tariff, envelopes.len())?);
    }
    Ok(dearest)
}
