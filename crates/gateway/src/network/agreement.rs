//! Which registry to believe: one that enough nodes hold alike, so that a few cannot make one up.

use tidings_envelope::Registry;
use tidings_types::NetworkId;

/// How many of `voters` must answer alike, so that one of them is honest when fewer than a third
/// are not: f + 1 of 3f + 1.
#[must_use]
pub fn quorum(voters: usize) -> usize {
    voters.saturating_sub(1) / 3 + 1
}

/// The newest usable registry that `needed` of the answers agree on (GTW-008).
///
/// One that belongs to another network, contradicts itself, or is not newer than `current` is not
/// usable.
#[must_use]
pub fn agreed(
    answers: &[Registry],
    needed: usize,
    network: NetworkId,
    current: Option<&Registry>,
) -> Option<Registry> {
    let usable = answers.iter().filter(|answer| {
        let newer = current.is_none_or(|current| answer.epoch > current.epoch);
        newer && answer.network_id() == network && answer.validate().is_ok()
    });
    let supported = usable.filter(|candidate| {
        let votes = answers.iter().filter(|answer| answer == candidate).count();
        votes >= needed
    });
    supported.max_by_key(|registry| registry.epoch).cloned()
}

#[cfg(test)]
mod tests {
    use tidings_envelope::registry::{FeeSchedule, NodeRecord};
    use tidings_types::ed25519::PublicKey;
    use tidings_types::{EthereumAddress, Genesis, NodeId, RegistryEpoch};

    use super::*;

    fn registry(epoch: u64, salt: u8, weight: u32) -> Registry {
        let node = NodeRecord {
            id: NodeId(1),
            name: "one".into(),
            signing: EthereumAddress([1; 20]),
            transport: PublicKey([1; 32]),
            quic: String::new(),
            http: String::new(),
            weight,
            active: true,
        };
        Registry {
            genesis: Genesis::without_chain([salt; 32].into()),
            epoch: RegistryEpoch(epoch),
            shard_count: 1,
            replication_factor: 1,
            period_ms: 10_000,
            mailbox_buckets: 1,
            nodes: vec![node],
            payers: Vec::new(),
            edges: Vec::new(),
            fees: FeeSchedule::default(),
        }
    }

    fn check(answers: &[Registry], needed: usize, current: Option<u64>, expected: Option<u64>) {
        let network = registry(0, 1, 1).network_id();
        let current = current.map(|epoch| registry(epoch, 1, 1));
        let found = agreed(answers, needed, network, current.as_ref());
        assert_eq!(found.map(|registry| registry.epoch.0), expected);
    }

    #[test]
    fn a_quorum_holds_an_honest_node() {
        let found = [1, 2, 3, 4, 7, 8].map(quorum);
        assert_eq!(found, [1, 1, 1, 2, 3, 3]);
    }

    #[test]
    fn one_liar_makes_no_registry() {
        // covers: GTW-008
        let (honest, forged) = (registry(2, 1, 1), registry(9, 1, 7));
        check(&[honest.clone(), forged.clone(), honest.clone()], 2, None, Some(2));
        check(&[honest.clone(), forged.clone()], 2, None, None);
        check(std::slice::from_ref(&forged), 1, None, Some(9));
        check(&[honest.clone(), honest.clone()], 2, Some(2), None);
        check(&[honest.clone(), honest], 2, Some(1), Some(2));
    }

    #[test]
    fn other_networks_and_contradictions_are_not_usable() {
        // covers: GTW-008
        check(&[registry(2, 9, 1)], 1, None, None);
        let mut broken = registry(2, 1, 1);
        broken.period_ms = 0;
        check(&[broken], 1, None, None);
    }
}
