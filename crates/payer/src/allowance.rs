//! What a payer may still broadcast at one node, by the caps that the registry has of it.

use std::collections::BTreeMap;

use tidings_envelope::{EntryHeader, Registry};
use tidings_types::{
    EthereumAddress, Period, PicoDollars, PicoDollarsTotal, RegistryEpoch, ShardId,
};

use crate::caps::CapTable;

/// Of how many epochs caps are kept at hand for a shard: that in force, that of the period, and
/// those around a change.
const EPOCHS_KEPT: usize = 4;

/// What one envelope will be billed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// To whom.
    pub payer: EthereumAddress,
    /// For which shard.
    pub shard: ShardId,
    /// With which period.
    pub period: Period,
    /// How much.
    pub fee: PicoDollars,
}

impl Due {
    /// What an entry of a shard's log is billed as.
    #[must_use]
    pub fn of(header: &EntryHeader, shard: ShardId) -> Self {
        Self { payer: header.payer, shard, period: header.fee_period, fee: header.fee }
    }
}

/// What a node has taken from each payer, held against its part of the payer's cap (FEE-009).
///
/// Every member of a committee does so for itself, so that all of them together take no more than
/// reports may bill, wherever the payer writes. What is ordered has a part of its own (ORD-034).
#[derive(Debug, Clone, Default)]
pub struct Allowance {
    /// Made when they are asked for first: a snapshot has many payers, and most shards few changes.
    tables: BTreeMap<(ShardId, RegistryEpoch), CapTable>,
    taken: BTreeMap<(Period, ShardId, EthereumAddress), PicoDollarsTotal>,
}

impl Allowance {
    /// Whether the payer's part at one member of the committee has room for this.
    ///
    /// The cap is that of the snapshot in force, `latest`, and whether the payer is short of money
    /// goes by that of the period's epoch, as in reports (SET-026).
    #[must_use]
    pub fn has_room(&mut self, due: &Due, latest: &Registry, of_period: &Registry) -> bool {
        if self.table(of_period, due.shard).is_short(due.payer) {
            return false;
        }
        let table = self.table(latest, due.shard);
        let Some(part) = table.part(due.payer, due.period, table.members) else { return true };
        let taken = self.taken.get(&key(due)).copied().unwrap_or_default();
        taken.0.saturating_add(due.fee.0.into()) <= part.0.into()
    }

    fn table(&mut self, registry: &Registry, shard: ShardId) -> &CapTable {
        let wanted = (shard, registry.epoch);
        if !self.tables.contains_key(&wanted) {
            let of_shard = (shard, RegistryEpoch(0))..=(shard, RegistryEpoch(u64::MAX));
            let known: Vec<_> = self.tables.range(of_shard).map(|(known, _)| *known).collect();
            let surplus = (known.len() + 1).saturating_sub(EPOCHS_KEPT);
            for oldest in known.into_iter().take(surplus) {
                self.tables.remove(&oldest);
            }
        }
        self.tables.entry(wanted).or_insert_with(|| CapTable::new(registry, shard))
    }

    /// Notes that this was taken.
    pub fn take(&mut self, due: &Due) {
        let taken = self.taken.entry(key(due)).or_default();
        taken.0 = taken.0.saturating_add(due.fee.0.into());
    }

    /// Forgets what was taken in periods before `period`.
    pub fn forget(&mut self, period: Period) {
        let kept = (period, ShardId(0), EthereumAddress::default());
        if self.taken.first_key_value().is_some_and(|(oldest, _)| *oldest < kept) {
            self.taken = self.taken.split_off(&kept);
        }
    }
}

fn key(due: &Due) -> (Period, ShardId, EthereumAddress) {
    (due.period, due.shard, due.payer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_envelope::registry::{CapRecord, FeeSchedule, NodeRecord, PayerRecord};
    use tidings_types::ed25519::PublicKey;
    use tidings_types::{Genesis, NodeId};

    use super::*;

    const PAYER: EthereumAddress = EthereumAddress([7; 20]);
    const SHARD: ShardId = ShardId(3);

    fn due(period: u64, fee: u64) -> Due {
        Due { payer: PAYER, shard: SHARD, period: Period(period), fee: PicoDollars(fee) }
    }

    /// A snapshot of one payer, for which each of so many members has a part of `cap`.
    fn registry(epoch: u64, members: u8, cap: Option<u64>) -> Registry {
        let node = |id: u8| NodeRecord {
            id: NodeId(id.into()),
            name: String::new(),
            signing: EthereumAddress([id; 20]),
            transport: PublicKey([id; 32]),
            quic: String::new(),
            http: String::new(),
            weight: 1,
            active: true,
        };
        let caps = cap.map(|amount| {
            let (before, from) = (PicoDollars(0), Period(1));
            vec![CapRecord { shard: SHARD, before, from, amount: PicoDollars(amount) }]
        });
        Registry {
            genesis: Genesis::without_chain([1; 32].into()),
            epoch: RegistryEpoch(epoch),
            shard_count: 4,
            replication_factor: members.into(),
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: (1..=members).map(node).collect(),
            payers: vec![PayerRecord { caps, ..PayerRecord::unlimited(PAYER, Vec::new()) }],
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        }
    }

    fn has_room(allowance: &mut Allowance, due: &Due, registry: &Registry) -> bool {
        allowance.has_room(due, registry, registry)
    }

    #[test]
    fn each_period_has_its_own_room() {
        // covers: FEE-009
        let (mut allowance, registry) = (Allowance::default(), registry(1, 4, Some(80)));
        allowance.take(&due(1, 16));
        assert!(!has_room(&mut allowance, &due(1, 1), &registry), "what was taken counts");
        assert!(has_room(&mut allowance, &due(2, 16), &registry), "each period has its own");
        assert!(!has_room(&mut allowance, &due(2, 17), &registry));
        let elsewhere = Due { shard: ShardId(0), ..due(2, 1) };
        assert!(!has_room(&mut allowance, &elsewhere, &registry), "another shard");
        let other = Due { payer: EthereumAddress([8; 20]), ..due(2, 1) };
        assert!(!has_room(&mut allowance, &other, &registry), "another payer");
    }

    #[test]
    fn nobody_is_held_to_caps_where_there_are_none() {
        let mut allowance = Allowance::default();
        assert!(has_room(&mut allowance, &due(1, u64::MAX), &registry(1, 4, None)));
    }

    #[test]
    fn caps_are_of_the_snapshot_in_force_and_want_of_money_of_the_periods() {
        // covers: FEE-009
        // covers: SET-026
        let mut allowance = Allowance::default();
        let [before, now] = [(1, 50), (2, 100)].map(|(epoch, cap)| registry(epoch, 4, Some(cap)));
        assert!(allowance.has_room(&due(5, 20), &now, &before));
        let mut short = before;
        short.epoch = RegistryEpoch(3);
        short.payers[0].is_short = true;
        assert!(!allowance.has_room(&due(5, 1), &now, &short));
        assert!(allowance.has_room(&due(5, 10), &short, &now), "of a period that is not over");
        // However many epochs there are, few are kept.
        for epoch in 4..20 {
            let newer = registry(epoch, 4, Some(50));
            assert!(allowance.has_room(&due(5, 10), &newer, &now), "in epoch {epoch}");
        }
        assert!(allowance.tables.len() <= EPOCHS_KEPT);
    }

    #[test]
    fn old_periods_are_forgotten() {
        let (mut allowance, registry) = (Allowance::default(), registry(1, 4, Some(50)));
        [5, 6, 7].iter().for_each(|period| allowance.take(&due(*period, 10)));
        allowance.forget(Period(7));
        assert_eq!(allowance.taken.len(), 1);
        assert!(!has_room(&mut allowance, &due(7, 1), &registry));
    }

    proptest! {
        #[test]
        fn all_members_together_take_no_more_than_the_cap(
            cap in 0..10_000u64,
            members in 1..8u8,
            asked in proptest::collection::vec((0..8usize, 1..500u64), 0..200),
        ) {
            // covers: FEE-009
            let registry = registry(1, members, Some(cap));
            let mut nodes = vec![Allowance::default(); members.into()];
            let mut taken = 0;
            for (node, fee) in asked {
                let node = &mut nodes[node % usize::from(members)];
                if has_room(node, &due(1, fee), &registry) {
                    node.take(&due(1, fee));
                    taken += fee;
                }
            }
            let members = u64::from(members);
            prop_assert!(taken <= cap / (members + 1) * members, "the lane's part is left");
        }
    }
}
