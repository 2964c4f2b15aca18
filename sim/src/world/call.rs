//! Clients' calls: a request to a node, its answer, and what is lost on either way.

use std::sync::Arc;

use tidings_envelope::api::{PublishRequest, PublishResponse};
use tidings_replica::{RequestId, prepare_publish};
use tidings_types::{ErrorCode, NodeId, Wire};

use super::{Event, World};
use crate::crowd::Wants;
use crate::randomness::Draw;
use crate::setup::Seat;

/// How long a client waits for an answer, in milliseconds; longer than a node does.
const PATIENCE_MS: u64 = 8_000;

/// A call under way.
#[derive(Debug, Clone)]
pub struct Call {
    /// Where to.
    pub seat: Seat,
    /// What is asked.
    pub request: Arc<PublishRequest>,
    /// Whose call it is: an author's, or one that nobody waits for.
    pub author: Option<usize>,
    /// Whether it is a false envelope and then a good one.
    pub mixes: bool,
}

/// What a client hears.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The node's answer.
    Response(Box<PublishResponse>),
    /// The node refuses the request as a whole.
    Refused(ErrorCode),
    /// Nothing: the connection broke, or the time was up.
    Lost,
}

impl World {
    /// Sends a request to a node.
    pub(super) fn call(
        &mut self,
        node: NodeId,
        request: PublishRequest,
        author: Option<usize>,
        mixes: bool,
    ) {
        let twins = self.seats_of(node);
        let Some(seat) = self.call_rng.pick(&twins).copied() else { return };
        let call = self.next_call;
        self.next_call += 1;
        self.calls.insert(call, Call { seat, request: Arc::new(request), author, mixes });
        let delay_us = self.client_delay_us();
        let is_lost = self.call_rng.chance(self.scenario.weather.lost_calls_permille);
        if !is_lost {
            self.queue.push(self.now.plus_us(delay_us), Event::Request(call));
        }
        self.queue.push(self.now.plus_ms(PATIENCE_MS), Event::Late(call));
    }

    /// A request is at its node.
    pub(super) fn request(&mut self, number: u64) {
        let Some(call) = self.calls.get(&number).cloned() else { return };
        let ids: Vec<u8> = call.request.ids.iter().flat_map(|id| id.0).collect();
        let line = || format!("to {}: {} envelopes", call.seat, call.request.ids.len());
        self.trace.note(self.now, "request", &ids, line);
        let Some(process) = self.hosts.get_mut(&call.seat).and_then(|host| host.process_mut())
        else {
            return self.answer(number, Answer::Lost);
        };
        let generation = process.generation;
        let admission = process.replica.admission();
        let congestion = process.replica.congestion();
        match prepare_publish(&call.request, &admission, &congestion, &mut process.rng) {
            Err(code) => self.answer(number, Answer::Refused(code)),
            Ok(prepared) => {
                let id = RequestId(process.next_request);
                process.next_request += 1;
                process.calls.insert(id, number);
                self.stir(call.seat);
                self.input(call.seat, generation, |replica, now| {
                    replica.publish(id, prepared, now);
                });
            }
        }
    }

    /// A node answers a request.
    pub(super) fn reply(&mut self, seat: Seat, request: RequestId, response: PublishResponse) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let call = host.process_mut().and_then(|process| process.calls.remove(&request));
        let Some(call) = call else { return };
        match host.habits.answer(response, &mut self.cheat_rng) {
            Some(response) => self.answer(call, Answer::Response(Box::new(response))),
            None => self.coverage.count("answers withheld"),
        }
    }

    fn answer(&mut self, call: u64, answer: Answer) {
        let delay_us = self.client_delay_us();
        let is_lost = self.call_rng.chance(self.scenario.weather.lost_calls_permille);
        if is_lost && matches!(answer, Answer::Response(_)) {
            self.coverage.count("answers lost on the way");
            return;
        }
        self.queue.push(self.now.plus_us(delay_us), Event::Answered(call, answer));
    }

    /// The process that a call was made to is gone.
    pub(super) fn break_call(&mut self, call: u64) {
        self.answer(call, Answer::Lost);
    }

    /// A client hears of its call, or gives it up.
    pub(super) fn answered(&mut self, number: u64, answer: Answer) {
        let Some(call) = self.calls.remove(&number) else { return };
        let (line, bytes) = match &answer {
            Answer::Response(response) => (format!("{:?}", response.results), response.to_wire()),
            Answer::Refused(code) => (format!("refused: {code}"), code.to_wire()),
            Answer::Lost => ("lost".to_owned(), Vec::new()),
        };
        self.trace.note(self.now, "answer", &bytes, || format!("from {}: {line}", call.seat));
        let Some(author) = call.author else {
            let by = call.seat.node;
            let check = self.crowd.judge_trick(&self.ledger, by, call.mixes, &answer);
            return self.check(check);
        };
        let heard = self.crowd.hear(author, &call, &answer, &self.setup);
        let heard = match heard {
            Ok(heard) => heard,
            Err(lie) => {
                self.coverage.count("lies that clients caught");
                let check = self.crowd.judge_lie(&self.ledger, call.seat.node, &lie);
                self.check(check);
                None
            }
        };
        if let Some(heard) = heard {
            let check = self.learn(&heard);
            self.check(check);
        }
        let wait_us = self.crowd.pause_us(author);
        self.queue.push(self.now.plus_us(wait_us), Event::Author(author));
    }

    /// An author goes on: begins with the next thing, or tries again.
    pub(super) fn author(&mut self, author: usize) {
        let nodes = self.crowd.candidates(author);
        let mut periods = nodes.iter().filter_map(|node| {
            let process = self.process(*self.seats_of(*node).first()?)?;
            Some((*node, process.replica.period()))
        });
        // The period is what the node that is asked says; a client takes the highest it heard.
        let period = periods.next().map(|(_, period)| period);
        match self.crowd.go_on(author, period, &mut self.ledger, &self.setup) {
            Some(Wants::Call { node, request }) => {
                self.coverage.count("calls");
                self.call(node, request, Some(author), false);
            }
            Some(Wants::Later { ms }) => {
                self.queue.push(self.now.plus_ms(ms), Event::Author(author));
            }
            None => {}
        }
    }

    fn client_delay_us(&mut self) -> u64 {
        let (least, most) = self.scenario.weather.delay_us;
        self.call_rng.between(least..=most)
    }
}
