//! Storage: transactions of write sets, which end, fail, or are cut off.

use tidings_envelope::Operation;
use tidings_replica::WriteTicket;
use tidings_replica::store::WriteSet;

use super::{Event, World};
use crate::ledger::Invariant;
use crate::randomness::Draw;
use crate::setup::Seat;

/// How many sets one transaction takes, as in the node.
const MERGED_SETS_MAX: usize = 256;

/// How long the node waits before it tries a failed transaction again.
const RETRY_MS: u64 = 250;

impl World {
    pub(super) fn persist(&mut self, seat: Seat, ticket: WriteTicket, set: WriteSet) {
        self.note_periods(seat, &set);
        let host = self.hosts.get_mut(&seat);
        let Some(process) = host.and_then(|host| host.process_mut()) else { return };
        process.queued.push_back((ticket, set));
        if process.writing.sets.is_empty() {
            self.begin_transaction(seat);
        }
    }

    /// A correct node has decided on blocks; periods that they begin must be due.
    fn note_periods(&mut self, seat: Seat, set: &WriteSet) {
        if !self.ledger.is_correct(seat.node) {
            return;
        }
        let period_ms = self.setup.registry.period_ms;
        for decided in &set.decided {
            let block = &decided.certified.block;
            let begins = block.operations.iter().any(|it| {
                matches!(it.operation, Operation::PeriodMarker(_)) && it.outcome.is_applied()
            });
            if begins {
                let (shard, period) = (block.header.shard, block.header.period);
                let check = self.ledger.chain.begins(shard, period, self.now, period_ms);
                self.check(check);
            }
        }
    }

    /// Takes everything that waits into one transaction.
    fn begin_transaction(&mut self, seat: Seat) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let duration_us = self.scenario.weather.sync_us;
        let duration_us =
            host.disk_rng.between(duration_us.0..=duration_us.1) + host.slow_ms * 1_000;
        let Some(process) = host.process_mut() else { return };
        let count = process.queued.len().min(MERGED_SETS_MAX);
        if count == 0 {
            return;
        }
        let batch: Vec<(WriteTicket, WriteSet)> = process.queued.drain(..count).collect();
        process.writing.ticket = batch.last().map(|(ticket, _)| *ticket);
        process.writing.sets = batch.into_iter().map(|(_, set)| set).collect();
        let generation = process.generation;
        self.queue.push(self.now.plus_us(duration_us), Event::Written { seat, generation });
    }

    /// A transaction has ended, one way or the other.
    pub(super) fn written(&mut self, seat: Seat, generation: u32) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let (fails, lands) = (host.failing > 0, host.failures_land);
        let Some(process) = host.process_mut() else { return };
        if process.generation != generation {
            return;
        }
        if fails {
            self.coverage.count("failed transactions");
            if lands {
                let sets = process.writing.sets.clone();
                self.commit(seat, &sets);
            }
            self.trace.note(self.now, "failed", &[], || format!("{seat}"));
            let at = self.now.plus_ms(RETRY_MS);
            self.queue.push(at, Event::WriteAgain { seat, generation });
            self.input(seat, generation, |replica, now| replica.storage_failed(now));
            return;
        }
        let sets = std::mem::take(&mut process.writing.sets);
        let ticket = process.writing.ticket.take();
        self.commit(seat, &sets);
        let text = || format!("{seat}: {} sets", sets.len());
        self.trace.note(self.now, "written", &(sets.len() as u64).to_be_bytes(), text);
        self.begin_transaction(seat);
        if let Some(ticket) = ticket {
            self.stir(seat);
            self.input(seat, generation, |replica, now| replica.persisted(ticket, now));
        }
    }

    pub(super) fn write_again(&mut self, seat: Seat, generation: u32) {
        let Some(host) = self.hosts.get_mut(&seat) else { return };
        let duration_us = self.scenario.weather.sync_us;
        let duration_us =
            host.disk_rng.between(duration_us.0..=duration_us.1) + host.slow_ms * 1_000;
        self.queue.push(self.now.plus_us(duration_us), Event::Written { seat, generation });
    }

    /// Sets are on the disk, whether or not the process is told.
    pub(super) fn commit(&mut self, seat: Seat, sets: &[WriteSet]) {
        for set in sets {
            let Some(host) = self.hosts.get_mut(&seat) else { return };
            let written = host.disk.write(set);
            let is_byzantine = self.ledger.byzantine.contains(&seat.node);
            if is_byzantine {
                continue;
            }
            if let Err(error) = written {
                let what = format!("node {} can never write what it must: {error}", seat.node);
                return self.check(Err((Invariant::NoWedge, what)));
            }
            let check = self.ledger.wrote(seat.node, set);
            self.check(check);
        }
    }
}
