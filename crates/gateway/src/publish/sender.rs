//! Sending: each envelope until it is proved, finally refused, or out of time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tidings_envelope::api::{SendRequest, SendResponse, SendResult};
use tidings_envelope::{AckLevel, Lane, Target};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedVec, ErrorCode, EthereumAddress, NodeId, PicoDollars, ShardId};

use super::Outgoing;
use super::cost::Cost;
use super::lanes::{Delivery, Desk, LaneKey, Lanes};
use crate::network::Snapshot;

/// The pause after every node of a committee has been tried once.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A request whose envelopes have been looked at one by one.
#[derive(Debug)]
pub struct Prepared {
    level: AckLevel,
    /// Who pays for all of it.
    payer: EthereumAddress,
    /// What is to be sent, by place in the request.
    outgoing: Vec<(usize, Arc<Outgoing>)>,
    /// What each of them may cost, in the same order.
    costs: Vec<Cost>,
    /// What is refused already, by place in the request.
    refused: Vec<(usize, ErrorCode)>,
}

impl Prepared {
    /// What each envelope that is to be sent may cost, in the order of the request.
    #[must_use]
    pub fn costs(&self) -> &[Cost] {
        &self.costs
    }
}

/// Sends requests.
#[derive(Debug)]
pub struct Sender {
    desk: Arc<Desk>,
    lanes: Lanes,
    deadline: Duration,
    envelope_fee_max: Option<PicoDollars>,
}

/// What envelopes of one request have in common that share shard and lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Course {
    shard: ShardId,
    lane: Lane,
    level: AckLevel,
    payer: EthereumAddress,
}

impl Sender {
    /// A sender that tries each envelope for `deadline` and pays at most `envelope_fee_max` for
    /// one.
    #[must_use]
    pub fn new(desk: Arc<Desk>, deadline: Duration, envelope_fee_max: Option<PicoDollars>) -> Self {
        Self { lanes: Lanes::new(Arc::clone(&desk)), desk, deadline, envelope_fee_max }
    }

    /// Looks at every envelope of a request that `payer` is to pay for (GTW-004, GTW-021).
    ///
    /// # Errors
    /// [`ErrorCode::UnknownVersion`], or [`ErrorCode::NotReady`] before the registry is known.
    pub fn prepare(
        &self,
        request: SendRequest,
        payer: EthereumAddress,
    ) -> Result<Prepared, ErrorCode> {
        if request.version != PROTOCOL_VERSION {
            return Err(ErrorCode::UnknownVersion);
        }
        let snapshot = self.desk.network.snapshot().ok_or(ErrorCode::NotReady)?;
        let mut prepared = Prepared {
            level: request.level,
            payer,
            outgoing: Vec::new(),
            costs: Vec::new(),
            refused: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for (place, envelope) in request.envelopes.iter().enumerate() {
            let checked = Outgoing::check(envelope, payer);
            let checked = checked.and_then(|envelope| self.afford(envelope, &snapshot));
            let checked =
                checked.and_then(|envelope| Ok((Cost::of(place, &envelope, &snapshot)?, envelope)));
            match checked {
                Ok((cost, envelope)) if seen.insert(envelope.id) => {
                    let envelope = Outgoing { fee_max: cost.fee_max, ..envelope };
                    prepared.costs.push(cost);
                    prepared.outgoing.push((place, Arc::new(envelope)));
                }
                Ok(_) => prepared.refused.push((place, ErrorCode::Repeated)),
                Err(code) => prepared.refused.push((place, code)),
            }
        }
        Ok(prepared)
    }

    fn afford(&self, envelope: Outgoing, snapshot: &Snapshot) -> Result<Outgoing, ErrorCode> {
        let fee = envelope.fee(snapshot.tariff(snapshot.shard_of(&envelope.topic)), 1)?;
        match self.envelope_fee_max {
            Some(most) if fee > most => Err(ErrorCode::FeeAboveMaximum),
            _ => Ok(envelope),
        }
    }

    /// Sends what was prepared; one result per envelope of the request, in its order (GTW-010).
    pub async fn send(&self, prepared: Prepared) -> SendResponse {
        let Prepared { level, payer, outgoing, refused, .. } = prepared;
        let count = outgoing.len() + refused.len();
        let mut results = vec![SendResult::Refused { code: ErrorCode::Internal }; count];
        let mut enter = |place: usize, result| {
            if let Some(entry) = results.get_mut(place) {
                *entry = result;
            }
        };
        for (place, code) in refused {
            enter(place, SendResult::Refused { code });
        }
        let courses = self.courses(level, payer, outgoing).into_iter();
        let voyages = courses.map(|(course, pending)| Voyage::new(self, course, pending).run());
        for (place, result) in join_all(voyages).await.into_iter().flatten() {
            enter(place, result);
        }
        for result in &results {
            self.desk.metrics.sent(result);
        }
        let results = BoundedVec::new(results).unwrap_or_default();
        SendResponse { version: PROTOCOL_VERSION, results }
    }

    fn courses(
        &self,
        level: AckLevel,
        payer: EthereumAddress,
        outgoing: Vec<(usize, Arc<Outgoing>)>,
    ) -> BTreeMap<Course, Vec<(usize, Arc<Outgoing>)>> {
        let shard_count = self.desk.network.snapshot().map_or(1, |now| now.registry.shard_count);
        let mut courses = BTreeMap::<_, Vec<_>>::new();
        for (place, envelope) in outgoing {
            let (shard, lane) = (envelope.topic.shard(shard_count), envelope.lane);
            let course = Course { shard, lane, level, payer };
            courses.entry(course).or_default().push((place, envelope));
        }
        courses
    }
}

/// The attempts for the envelopes of one course.
struct Voyage<'a> {
    sender: &'a Sender,
    course: Course,
    until: Instant,
    /// Where each envelope stands in the request, the envelope, and why it is not done yet.
    pending: Vec<(usize, Arc<Outgoing>, ErrorCode)>,
    done: Vec<(usize, SendResult)>,
    tried: BTreeSet<NodeId>,
    /// Who refused an envelope for the payer's cap, by its place in the request.
    over_cap: BTreeMap<usize, BTreeSet<NodeId>>,
    /// The node that holds some of the envelopes but has not replicated them yet.
    holder: Option<NodeId>,
    /// Whether period and registry were already asked for again.
    has_refreshed: bool,
    pause: Duration,
}

impl<'a> Voyage<'a> {
    fn new(sender: &'a Sender, course: Course, pending: Vec<(usize, Arc<Outgoing>)>) -> Self {
        let pending = pending.into_iter();
        Self {
            sender,
            course,
            until: Instant::now() + sender.deadline,
            pending: pending.map(|(place, sent)| (place, sent, ErrorCode::Unreachable)).collect(),
            done: Vec::new(),
            tried: BTreeSet::new(),
            over_cap: BTreeMap::new(),
            holder: None,
            has_refreshed: false,
            pause: PAUSE_MIN,
        }
    }

    async fn run(mut self) -> Vec<(usize, SendResult)> {
        while !self.pending.is_empty() {
            let now = Instant::now();
            if now >= self.until {
                break;
            }
            let Some((carrier, snapshot)) = self.next_carrier() else {
                tokio::time::sleep(self.pause.min(self.until - now)).await;
                self.tried.clear();
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                continue;
            };
            let until = self.until.into();
            match tokio::time::timeout_at(until, self.attempt(carrier)).await {
                Ok(deliveries) => self.sort_out(carrier, &snapshot, deliveries).await,
                Err(_) => break,
            }
        }
        let late = self.pending.into_iter();
        self.done.extend(late.map(|(place, _, code)| (place, SendResult::Refused { code })));
        self.done
    }

    /// The holder first: asked again, it answers with the first receipt and stores nothing twice
    /// (GTW-009).
    fn next_carrier(&self) -> Option<(NodeId, Arc<Snapshot>)> {
        let network = &self.sender.desk.network;
        let snapshot = network.snapshot()?;
        let holder = self.holder.filter(|holder| !self.tried.contains(holder));
        let carrier = match holder {
            Some(holder) => Some(holder),
            None if self.holder.is_some() => None,
            None => network.choose(&snapshot, self.course.shard, &self.tried),
        };
        Some((carrier?, snapshot))
    }

    async fn attempt(&self, carrier: NodeId) -> Vec<Delivery> {
        let target = match self.course.lane {
            Lane::Broadcast => Target::Node(carrier),
            Lane::Ordered => Target::Shard(self.course.shard),
        };
        let Course { level, payer, .. } = self.course;
        let key = LaneKey { carrier, target, level, payer };
        let envelopes = self.pending.iter().map(|(_, envelope, _)| Arc::clone(envelope));
        self.sender.lanes.publish(key, envelopes.collect()).await
    }

    /// Takes what became of the pending envelopes, and keeps those that are to be tried again.
    async fn sort_out(&mut self, carrier: NodeId, at: &Snapshot, deliveries: Vec<Delivery>) {
        let mut deliveries = deliveries.into_iter();
        let (mut is_stale, mut is_dearer, mut has_failed) = (false, false, false);
        let has_refreshed = self.has_refreshed;
        self.holder = None;
        for (place, envelope, before) in std::mem::take(&mut self.pending) {
            let code = match deliveries.next().unwrap_or(Delivery::Failed) {
                Delivery::Proved(result) => {
                    self.done.push((place, *result));
                    continue;
                }
                Delivery::Failed => {
                    has_failed = true;
                    before
                }
                Delivery::Refused(code) if is_out_of_date(code) && !has_refreshed => {
                    is_stale = true;
                    is_dearer |= code == ErrorCode::FeeAboveMaximum;
                    code
                }
                // Each member has a part of the payer's cap (FEE-009), and of the part for what is
                // ordered (ORD-034) one member alone may say anything.
                Delivery::Refused(code @ ErrorCode::PayerOverCap)
                    if !self.is_last_to_refuse(place, carrier, at) =>
                {
                    code
                }
                Delivery::Refused(code) if code.retryable() => {
                    if code == ErrorCode::ReplicationPending {
                        self.holder = Some(carrier);
                    }
                    code
                }
                Delivery::Refused(code) => {
                    self.done.push((place, SendResult::Refused { code }));
                    continue;
                }
            };
            self.pending.push((place, envelope, code));
        }
        if has_failed {
            self.holder = None;
        }
        if is_stale {
            self.refresh(carrier, at, is_dearer).await;
            self.refuse_dearer();
        } else if !self.pending.is_empty() {
            self.tried.insert(carrier);
            self.sender.desk.metrics.retries.increment();
        }
    }

    /// Refuses what costs more by now than was set aside for it: whoever asks again learns the new
    /// price first.
    fn refuse_dearer(&mut self) {
        let Some(snapshot) = self.sender.desk.network.snapshot() else { return };
        let tariff = snapshot.tariff(self.course.shard);
        let (done, code) = (&mut self.done, ErrorCode::FeeAboveMaximum);
        self.pending.retain(|(place, envelope, _)| {
            let is_too_dear = envelope.fee(tariff, 1).is_ok_and(|fee| fee > envelope.fee_max);
            done.extend(is_too_dear.then_some((*place, SendResult::Refused { code })));
            !is_too_dear
        });
    }

    /// Notes that a node refused an envelope for the payer's cap; whether every member of the
    /// committee has by now.
    fn is_last_to_refuse(&mut self, place: usize, carrier: NodeId, at: &Snapshot) -> bool {
        let refused = self.over_cap.entry(place).or_default();
        refused.insert(carrier);
        at.committee(self.course.shard).iter().all(|member| refused.contains(member))
    }

    /// Asks for period and registry again, once, after a node found a batch out of date (GTW-009);
    /// and every node for how busy its shards are, where one says that they became dearer.
    async fn refresh(&mut self, carrier: NodeId, at: &Snapshot, is_dearer: bool) {
        self.has_refreshed = true;
        let network = &self.sender.desk.network;
        let epoch = match is_dearer {
            true => network.probe_all(at).await,
            false => network.probe(at, carrier).await,
        };
        if epoch.is_some_and(|epoch| epoch != at.registry.epoch) {
            network.refresh_registry().await;
        }
    }
}

/// Whether a refusal may come from facts that have changed since the gateway learnt them.
fn is_out_of_date(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::EnvelopeExpired
            | ErrorCode::NotAfterTooFar
            | ErrorCode::BatchExpired
            | ErrorCode::RegistryEpochWrong
            | ErrorCode::BatchTargetWrong
            | ErrorCode::WrongShard
            | ErrorCode::FeeAboveMaximum
            | ErrorCode::PayerUnknown
            | ErrorCode::SessionKeyUnknown
    )
}
