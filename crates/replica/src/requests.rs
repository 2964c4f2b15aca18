//! Publish requests that wait for their envelopes to become durable.

use std::collections::BTreeMap;

use tidings_envelope::api::{AcknowledgedCheckpoint, PublishResponse, PublishResult};
use tidings_envelope::{AckLevel, EntryHeader, MerklePath, OrderedReceipt};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedVec, ErrorCode};

use crate::effect::RequestId;

/// One envelope of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiter {
    pub(crate) request: RequestId,
    pub(crate) item: usize,
}

/// An envelope's fate.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    Stored { header: EntryHeader, path: MerklePath, covered: AcknowledgedCheckpoint },
    Ordered(Box<OrderedReceipt>),
    Refused(ErrorCode),
}

#[derive(Debug)]
struct Request {
    level: AckLevel,
    deadline_ms: u64,
    fates: Vec<Option<Fate>>,
    /// What to answer for an item whose fate is open at the deadline.
    when_late: Vec<ErrorCode>,
    open: usize,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    waiting: BTreeMap<RequestId, Request>,
}

impl Requests {
    pub(crate) fn open(
        &mut self,
        id: RequestId,
        level: AckLevel,
        when_late: Vec<ErrorCode>,
        deadline_ms: u64,
    ) {
        let open = when_late.len();
        let fates = vec![None; open];
        self.waiting.insert(id, Request { level, deadline_ms, fates, when_late, open });
    }

    pub(crate) fn level(&self, id: RequestId) -> Option<AckLevel> {
        self.waiting.get(&id).map(|request| request.level)
    }

    /// Settles one envelope; answers the response when it was the last.
    pub(crate) fn settle(&mut self, waiter: Waiter, fate: Fate) -> Option<PublishResponse> {
        let request = self.waiting.get_mut(&waiter.request)?;
        let slot = request.fates.get_mut(waiter.item)?;
        if slot.is_none() {
            *slot = Some(fate);
            request.open = request.open.saturating_sub(1);
        }
        if request.open > 0 {
            return None;
        }
        self.waiting.remove(&waiter.request).map(Request::respond)
    }

    /// Answers a request without envelopes, which nothing would ever settle.
    pub(crate) fn close_if_empty(&mut self, id: RequestId) -> Option<PublishResponse> {
        let is_empty = self.waiting.get(&id).is_some_and(|request| request.open == 0);
        if is_empty { self.waiting.remove(&id).map(Request::respond) } else { None }
    }

    /// Answers every request, or those whose deadline has passed; open items get their late code
    /// or `instead`.
    pub(crate) fn expire(
        &mut self,
        now_ms: u64,
        instead: Option<ErrorCode>,
    ) -> Vec<(RequestId, PublishResponse)> {
        let due = |request: &Request| instead.is_some() || request.deadline_ms <= now_ms;
        let ids: Vec<RequestId> =
            self.waiting.iter().filter(|(_, request)| due(request)).map(|(id, _)| *id).collect();
        let mut answered = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(mut request) = self.waiting.remove(&id) {
                for (fate, late) in request.fates.iter_mut().zip(&request.when_late) {
                    fate.get_or_insert(Fate::Refused(instead.unwrap_or(*late)));
                }
                answered.push((id, request.respond()));
            }
        }
        answered
    }

    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.waiting.values().map(|request| request.deadline_ms).min()
    }
}

impl Request {
    /// Puts the fates into a response that names each checkpoint once.
    fn respond(self) -> PublishResponse {
        let mut checkpoints: Vec<AcknowledgedCheckpoint> = Vec::new();
        let mut results = Vec::with_capacity(self.fates.len());
        for fate in self.fates {
            results.push(match fate {
                None => PublishResult::Refused { code: ErrorCode::Internal },
                Some(Fate::Refused(code)) => PublishResult::Refused { code },
                Some(Fate::Ordered(receipt)) => PublishResult::Ordered(*receipt),
                Some(Fate::Stored { header, path, covered }) => {
                    let known = checkpoints.iter().position(|known| *known == covered);
                    let place = known.unwrap_or_else(|| {
                        checkpoints.push(covered);
                        checkpoints.len() - 1
                    });
                    let checkpoint = u16::try_from(place).unwrap_or(u16::MAX);
                    PublishResult::Stored { header, path, checkpoint }
                }
            });
        }
        PublishResponse {
            version: PROTOCOL_VERSION,
            checkpoints: BoundedVec::new(checkpoints).unwrap_or_default(),
            results: BoundedVec::new(results).unwrap_or_default(),
        }
    }
}
