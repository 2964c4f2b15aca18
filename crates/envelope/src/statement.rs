//! What a committee's members say of each period: which logs they hold, how their peers served,
//! and that they came to the same usage report.

use alloy_sol_types::sol;
use tidings_types::constants::{COMMITTEE_MEMBERS_MAX, PROTOCOL_VERSION, STATEMENT_LOGS_MAX};
use tidings_types::node_key::{NodeKey, NodeSignature, NodeSignatureInvalid, digest};
use tidings_types::{
    BoundedVec, EthereumAddress, Hash, NetworkId, NodeId, Period, ShardId, Wire, labelled_hash,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::{LogId, Registry, SignedAttestation, SignedCheckpoint, UsageReport};

mod eip712 {
    //! The EIP-712 type, named as wallets see it.
    super::sol! {
        struct PeriodStatement {
            uint32 node;
            uint16 shard;
            uint64 period;
            bytes32 content;
        }
    }
}

const PERMILLE: u32 = 1_000;

/// How well a node serves.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
)]
pub struct Service {
    /// Attempts that reached it, in thousandths.
    pub reachability_permille: u32,
    /// How long it took to acknowledge, in milliseconds.
    pub acknowledgement_ms: u32,
    /// Checkpoints that came when due, in thousandths.
    pub cadence_permille: u32,
    /// Asked-for ranges that it served, in thousandths.
    pub served_permille: u32,
}

impl Service {
    fn is_possible(&self) -> bool {
        let parts = [self.reachability_permille, self.cadence_permille, self.served_permille];
        parts.iter().all(|part| *part <= PERMILLE)
    }
}

/// What one member measured of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PeerService {
    /// Which member.
    pub node: NodeId,
    /// How it served.
    pub service: Service,
}

/// What a member says once in each period (SET-023).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PeriodStatement {
    /// The version of this structure.
    pub version: u16,
    /// Who says it.
    pub node: NodeId,
    /// Of which shard.
    pub shard: ShardId,
    /// In which period.
    pub period: Period,
    /// The newest checkpoints whose entries the member holds, of logs that grew since it last
    /// said so, by rising log; its word is its acknowledgement.
    pub held: BoundedVec<SignedCheckpoint, STATEMENT_LOGS_MAX>,
    /// What it measured of the other members and of who is on trial, by rising number.
    pub measured: BoundedVec<PeerService, COMMITTEE_MEMBERS_MAX>,
    /// The bytes of payloads that it took since its last statement, on both lanes.
    pub taken: u64,
    /// By the member's registered key.
    pub signature: NodeSignature,
}

impl PeriodStatement {
    /// The statement of `node`, signed.
    #[must_use]
    pub fn sign(
        (node, shard, period): (NodeId, ShardId, Period),
        held: BoundedVec<SignedCheckpoint, STATEMENT_LOGS_MAX>,
        measured: BoundedVec<PeerService, COMMITTEE_MEMBERS_MAX>,
        taken: u64,
        key: &NodeKey,
        network: NetworkId,
    ) -> Self {
        let (version, signature) = (PROTOCOL_VERSION, NodeSignature([0; 64]));
        let mut statement = Self { version, node, shard, period, held, measured, taken, signature };
        statement.signature = key.sign(&statement.digest(network));
        statement
    }

    /// Whether it says nothing that cannot be (SET-023): a known version, logs of its shard and
    /// other members in rising order, and parts of no more than a whole.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let logs: Vec<LogId> = self.held.iter().map(|held| held.checkpoint.log).collect();
        let peers: Vec<NodeId> = self.measured.iter().map(|peer| peer.node).collect();
        self.version == PROTOCOL_VERSION
            && logs.iter().all(|log| log.shard == self.shard)
            && logs.is_sorted_by(|one, next| one < next)
            && peers.iter().all(|peer| *peer != self.node)
            && peers.is_sorted_by(|one, next| one < next)
            && self.measured.iter().all(|peer| peer.service.is_possible())
    }

    /// Checks that a member signed, and that the originators signed what it holds (SET-023), each
    /// log by the key that `signer_of` names.
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise, or when the member or a key is not known.
    pub fn verify(
        &self,
        network: NetworkId,
        registry: &Registry,
        signer_of: impl Fn(LogId) -> Option<EthereumAddress>,
    ) -> Result<(), NodeSignatureInvalid> {
        let member = registry.node(self.node).ok_or(NodeSignatureInvalid)?;
        self.signature.verify(&self.digest(network), member.signing)?;
        for held in self.held.iter() {
            let signer = signer_of(held.checkpoint.log).ok_or(NodeSignatureInvalid)?;
            held.verify(network, signer)?;
        }
        Ok(())
    }

    fn digest(&self, network: NetworkId) -> Hash {
        let parts = [self.held.to_wire(), self.measured.to_wire(), self.taken.to_wire()];
        let content = labelled_hash("period statement", &parts.each_ref().map(Vec::as_slice));
        let statement = eip712::PeriodStatement {
            node: self.node.0,
            shard: self.shard.0,
            period: self.period.0,
            content: content.into(),
        };
        digest(&statement, network)
    }
}

/// A member's word that it came to the same report, with the report (SET-024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct ReportAttestation {
    /// What is attested.
    pub report: UsageReport,
    /// Who attests, by its registered key over the report's digest.
    pub attestation: SignedAttestation,
}

impl ReportAttestation {
    /// `node` attests `report`.
    #[must_use]
    pub fn sign(node: NodeId, report: UsageReport, key: &NodeKey, network: NetworkId) -> Self {
        let attestation = SignedAttestation::sign(node, report.digest(network), key);
        Self { report, attestation }
    }

    /// Checks that the node's registered key attested the report (SET-002).
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise, or when the node is not registered.
    pub fn verify(
        &self,
        network: NetworkId,
        registry: &Registry,
    ) -> Result<(), NodeSignatureInvalid> {
        let node = registry.node(self.attestation.node).ok_or(NodeSignatureInvalid)?;
        self.attestation.verify(self.report.digest(network), node.signing)
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::{Incarnation, LogSize};

    use super::*;
    use crate::Checkpoint;
    use crate::registry::tests::registry;

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn key(number: u8) -> NodeKey {
        NodeKey::from_secret(&[number; 32]).unwrap()
    }

    fn committee() -> Registry {
        let mut registry = registry(4, 1, 4);
        for (number, node) in (1u8..).zip(&mut registry.nodes) {
            node.signing = key(number).address();
        }
        registry
    }

    fn held(node: u32, incarnation: u32, signer: u8) -> SignedCheckpoint {
        let incarnation = Incarnation(incarnation);
        let log = LogId { node: NodeId(node), shard: ShardId(0), incarnation };
        Checkpoint::new(log, LogSize(7), [1; 32], Period(3)).sign(&key(signer), NETWORK)
    }

    fn measured(node: u32, permille: u32) -> PeerService {
        let service = Service {
            reachability_permille: permille,
            acknowledgement_ms: 5,
            cadence_permille: 1_000,
            served_permille: 1_000,
        };
        PeerService { node: NodeId(node), service }
    }

    fn statement(held: Vec<SignedCheckpoint>, measured: Vec<PeerService>) -> PeriodStatement {
        let (held, measured) = (held.try_into().unwrap(), measured.try_into().unwrap());
        let about = (NodeId(2), ShardId(0), Period(3));
        PeriodStatement::sign(about, held, measured, 11, &key(2), NETWORK)
    }

    #[test]
    fn statements_bind_everything_that_they_say() {
        // covers: SET-023
        let registry = committee();
        let good = statement(vec![held(1, 1, 1), held(2, 1, 2)], vec![measured(1, 900)]);
        assert!(good.is_well_formed());
        let signer_of = |log: LogId| Some(registry.node(log.node)?.signing);
        assert_eq!(good.verify(NETWORK, &registry, signer_of), Ok(()));
        assert!(good.verify(NETWORK, &registry, |_| None).is_err(), "logs that nobody opened");
        assert_eq!(PeriodStatement::from_wire(&good.to_wire()), Ok(good.clone()));
        assert!(good.verify(NetworkId([8; 32]), &registry, signer_of).is_err());
        let changed = [
            PeriodStatement { period: Period(4), ..good.clone() },
            PeriodStatement { node: NodeId(1), ..good.clone() },
            PeriodStatement { shard: ShardId(1), ..good.clone() },
            PeriodStatement { held: BoundedVec::default(), ..good.clone() },
            PeriodStatement { measured: BoundedVec::default(), ..good.clone() },
            PeriodStatement { taken: 12, ..good.clone() },
            PeriodStatement { node: NodeId(9), ..good },
        ];
        for changed in changed {
            assert!(changed.verify(NETWORK, &registry, signer_of).is_err(), "{changed:?}");
        }
        // What it holds must have been signed by who wrote it.
        let forged = statement(vec![held(1, 1, 3)], Vec::new());
        assert!(forged.verify(NETWORK, &registry, signer_of).is_err());
    }

    #[test]
    fn what_cannot_be_is_not_well_formed() {
        // covers: SET-023
        let orders = [
            statement(vec![held(2, 1, 2), held(1, 1, 1)], Vec::new()),
            statement(vec![held(1, 1, 1), held(1, 1, 1)], Vec::new()),
            statement(Vec::new(), vec![measured(3, 1), measured(1, 1)]),
            statement(Vec::new(), vec![measured(1, 1), measured(1, 1)]),
            statement(Vec::new(), vec![measured(2, 1)]),
            statement(Vec::new(), vec![measured(1, 1_001)]),
        ];
        for statement in orders {
            assert!(!statement.is_well_formed(), "{statement:?}");
        }
        let other = PeriodStatement { shard: ShardId(1), ..statement(vec![held(1, 1, 1)], vec![]) };
        assert!(!other.is_well_formed());
        let unknown = PeriodStatement { version: 2, ..statement(Vec::new(), Vec::new()) };
        assert!(!unknown.is_well_formed());
    }

    #[test]
    fn attestations_come_with_their_report() {
        // covers: SET-024
        let registry = committee();
        let report = UsageReport {
            version: PROTOCOL_VERSION,
            shard: ShardId(0),
            first: Period(1),
            last: Period(1),
            epoch: tidings_types::RegistryEpoch(1),
            previous: tidings_types::ReportDigest::default(),
            ranges: [1; 32],
            usage: [2; 32],
            earnings: [3; 32],
            measurements: [4; 32],
            billed: tidings_types::PicoDollarsTotal(5),
        };
        let good = ReportAttestation::sign(NodeId(1), report, &key(1), NETWORK);
        assert_eq!(good.verify(NETWORK, &registry), Ok(()));
        assert_eq!(ReportAttestation::from_wire(&good.to_wire()), Ok(good));
        let mut other = good;
        other.report.billed.0 += 1;
        assert!(other.verify(NETWORK, &registry).is_err());
        assert!(
            ReportAttestation::sign(NodeId(1), report, &key(2), NETWORK)
                .verify(NETWORK, &registry)
                .is_err()
        );
    }
}
