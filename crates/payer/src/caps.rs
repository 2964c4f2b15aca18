//! What payers may be billed for one shard, as a snapshot of the registry has it (SET-026).

use std::collections::HashMap;

use tidings_envelope::Registry;
use tidings_envelope::registry::{CapRecord, PayerRecord, cap_part};
use tidings_types::{EthereumAddress, Period, PicoDollars, RegistryEpoch, ShardId};

/// A snapshot's payers with their caps for one shard, by address: a payer is looked up for each
/// entry, and nothing lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CapTable {
    /// The snapshot's.
    pub(crate) epoch: RegistryEpoch,
    payers: HashMap<EthereumAddress, Limit>,
    /// How many members have a part of each cap, beside their lane.
    pub(crate) members: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    /// None where there is no limit.
    cap: Option<CapRecord>,
    is_short: bool,
}

impl Limit {
    fn of(payer: &PayerRecord, shard: ShardId) -> Self {
        Self { cap: payer.caps_for(shard), is_short: payer.is_short }
    }
}

impl CapTable {
    pub(crate) fn new(registry: &Registry, shard: ShardId) -> Self {
        let payers = registry.payers.iter();
        Self {
            epoch: registry.epoch,
            payers: payers.map(|payer| (payer.address, Limit::of(payer, shard))).collect(),
            members: registry.committee(shard).len() as u64,
        }
    }

    /// Whether the snapshot has a payer.
    pub(crate) fn has(&self, payer: EthereumAddress) -> bool {
        self.payers.contains_key(&payer)
    }

    /// The most that a payer may be billed for `period`; none where there is no limit, and nothing
    /// for whoever is not in the snapshot.
    pub(crate) fn cap(&self, payer: EthereumAddress, period: Period) -> Option<PicoDollars> {
        let Some(known) = self.payers.get(&payer) else { return Some(PicoDollars(0)) };
        known.cap.map(|cap| cap.at(period))
    }

    /// The part of it that each of so many members of a committee has for what it takes in, and all
    /// of them together for what they order (FEE-009, ORD-034).
    pub(crate) fn part(
        &self,
        payer: EthereumAddress,
        period: Period,
        members: u64,
    ) -> Option<PicoDollars> {
        self.cap(payer, period).map(|cap| cap_part(cap, members))
    }

    /// Whether too little is left of a payer's balance.
    pub(crate) fn is_short(&self, payer: EthereumAddress) -> bool {
        self.payers.get(&payer).is_some_and(|limit| limit.is_short)
    }
}
