//! What payers may be billed for one shard, as a snapshot of the registry has it (SET-026).

use std::collections::HashMap;

use tidings_envelope::Registry;
use tidings_envelope::registry::{CapRecord, PayerRecord};
use tidings_types::{EthereumAddress, Period, PicoDollars, ShardId};

/// A snapshot's payers with their caps for one shard, by address: a payer is looked up for each
/// entry, and nothing lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CapTable {
    payers: HashMap<EthereumAddress, Limit>,
    /// How many nodes share each cap among them.
    members: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    /// None where there is no limit.
    cap: Option<CapRecord>,
    is_short: bool,
}

impl Limit {
    fn of(payer: &PayerRecord, shard: ShardId) -> Self {
        let of_shard = |caps: &Vec<CapRecord>| caps.iter().find(|cap| cap.shard == shard).copied();
        let nothing = PicoDollars(0);
        let none = CapRecord { shard, before: nothing, from: Period(0), amount: nothing };
        let cap = payer.caps.as_ref().map(|caps| of_shard(caps).unwrap_or(none));
        Self { cap, is_short: payer.is_short }
    }
}

impl CapTable {
    pub(crate) fn new(registry: &Registry, shard: ShardId) -> Self {
        let payers = registry.payers.iter();
        Self {
            payers: payers.map(|payer| (payer.address, Limit::of(payer, shard))).collect(),
            members: registry.committee(shard).len() as u64,
        }
    }

    /// The same, divided among no more than so many.
    pub(crate) fn among(self, members: u64) -> Self {
        Self { members: self.members.min(members), ..self }
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

    /// The part of it that each member of the committee takes (FEE-009).
    pub(crate) fn part(&self, payer: EthereumAddress, period: Period) -> Option<PicoDollars> {
        let cap = self.cap(payer, period)?;
        Some(PicoDollars(cap.0.checked_div(self.members).unwrap_or_default()))
    }

    /// Whether too little is left of a payer's balance.
    pub(crate) fn is_short(&self, payer: EthereumAddress) -> bool {
        self.payers.get(&payer).is_some_and(|limit| limit.is_short)
    }
}
