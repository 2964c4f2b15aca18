//! How much of each payer's money the lane may still spend in a period.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use tidings_envelope::registry::cap_part;
use tidings_envelope::{
    Operation, Outcome, PayerEnvelope, Registry, StateKey, Tariff, UNCONGESTED_PERMILLE,
};
use tidings_types::{EthereumAddress, Period, PicoDollars, ShardId};

use crate::LaneState;
use crate::execute::LaneContext;
use crate::state::StateValue;

/// The part of payers' caps that is for what their shard's lane orders (ORD-034).
///
/// All members know what was ordered, so that they share it; each has a part of its own for the
/// entries that it takes in.
#[derive(Debug)]
pub(crate) struct Purses<'a> {
    state: &'a LaneState,
    shard: ShardId,
    /// The one that the block is of.
    registry: &'a Registry,
    /// The one that the period is held to (ENV-013), if it is known here.
    of_period: Option<&'a Registry>,
    period: Period,
    /// Among how many members caps are divided, once it is asked for.
    members: OnceCell<u64>,
    /// What is left, of whose was asked for; none where there is no limit.
    left: BTreeMap<EthereumAddress, Option<u128>>,
}

impl LaneState {
    /// The purses for `period`, which the next block, of `registry`'s epoch, is in.
    pub(crate) fn purses<'a>(
        &'a self,
        context: LaneContext<'a>,
        registry: &'a Registry,
        period: Period,
    ) -> Purses<'a> {
        let epoch = self.congestion().epoch(period);
        let of_period = epoch.and_then(|epoch| context.registries.at(epoch));
        Purses {
            state: self,
            shard: context.shard,
            registry,
            of_period: of_period.map(|known| &**known),
            period,
            members: OnceCell::new(),
            left: BTreeMap::new(),
        }
    }

    /// What a payer owes for the operations of the current period, where caps limit it.
    pub(crate) fn operation_fees(&self, payer: EthereumAddress) -> PicoDollars {
        match self.value(&StateKey::OperationFees(payer)) {
            Some(StateValue::Fees(fees)) => *fees,
            _ => PicoDollars(0),
        }
    }
}

impl Purses<'_> {
    /// Sets aside what an operation costs at most, if as much is left of its payer's.
    pub(crate) fn take(&mut self, operation: &Operation) -> bool {
        let Operation::Envelope(envelope) = operation else { return true };
        let payer = envelope.envelope.body.payer;
        let Some(left) = self.left_of(payer) else { return true };
        let fee = self.fee_at_most(envelope).map(|fee| u128::from(fee.0));
        let Some(left) = fee.and_then(|fee| left.checked_sub(fee)) else { return false };
        self.left.insert(payer, Some(left));
        true
    }

    /// Sets aside for a payer what its waiting operations cost.
    pub(crate) fn plan(&mut self, payer: EthereumAddress, fees: u128) {
        let left = self.left_of(payer).map(|left| left.saturating_sub(fees));
        self.left.insert(payer, left);
    }

    /// Whether an operation alone would fit.
    pub(crate) fn fits(&self, operation: &Operation) -> bool {
        let Operation::Envelope(envelope) = operation else { return true };
        let Some(left) = self.left_at_first(envelope.envelope.body.payer) else { return true };
        self.fee_at_most(envelope).is_some_and(|fee| u128::from(fee.0) <= left)
    }

    /// What an operation costs if it takes effect; none when it fits no amount.
    pub(crate) fn fee_at_most(&self, envelope: &PayerEnvelope) -> Option<PicoDollars> {
        let fee = tariff(self.state, self.registry, self.period).operation_fee(envelope)?;
        Some(fee.min(envelope.batch.header.max_fee))
    }

    /// Whether it is known here who is short of money in the period: without that nobody with a cap
    /// has anything left.
    pub(crate) fn are_known(&self) -> bool {
        self.of_period.is_some()
    }

    fn left_of(&mut self, payer: EthereumAddress) -> Option<u128> {
        if let Some(left) = self.left.get(&payer) {
            return *left;
        }
        let left = self.left_at_first(payer);
        self.left.insert(payer, left);
        left
    }

    /// The most that a payer's operations of the period may still cost; none where there is no
    /// limit.
    fn left_at_first(&self, payer: EthereumAddress) -> Option<u128> {
        let cap = self.registry.payer(payer)?.cap(self.shard, self.period)?;
        let of_period = self.of_period.and_then(|registry| registry.payer(payer));
        if !self.are_known() || of_period.is_some_and(|record| record.is_short) {
            return Some(0);
        }
        let spent = match self.period == self.state.period() {
            true => self.state.operation_fees(payer),
            false => PicoDollars(0),
        };
        Some(cap_part(cap, self.members()).0.saturating_sub(spent.0).into())
    }

    fn members(&self) -> u64 {
        *self.members.get_or_init(|| self.registry.committee(self.shard).len() as u64)
    }
}

/// What a decided operation takes from its payer's purse; none where there is no limit.
pub(crate) fn spent(
    envelope: &PayerEnvelope,
    outcome: Outcome,
    (state, registry, shard, period): (&LaneState, &Registry, ShardId, Period),
) -> Option<PicoDollars> {
    registry.payer(envelope.envelope.body.payer)?.caps_for(shard)?;
    tariff(state, registry, period).decided_fee(envelope, outcome)
}

fn tariff<'a>(state: &LaneState, registry: &'a Registry, period: Period) -> Tariff<'a> {
    let congestion_permille = state.congestion().permille(period).unwrap_or(UNCONGESTED_PERMILLE);
    Tariff { schedule: &registry.fees, congestion_permille }
}
