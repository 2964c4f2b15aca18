//! Usage reports: what a committee attests of a shard's periods, for a contract to settle.

use alloy_sol_types::sol;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::node_key::{NodeKey, NodeSignature, NodeSignatureInvalid, digest};
use tidings_types::{
    EthereumAddress, Hash, NetworkId, NodeId, Period, PicoDollarsTotal, RegistryEpoch,
    ReportDigest, ShardId,
};
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

mod eip712 {
    //! The EIP-712 type, named as wallets and contracts see it.
    super::sol! {
        struct UsageReport {
            uint16 shard;
            uint64 first;
            uint64 last;
            uint64 epoch;
            bytes32 previous;
            bytes32 ranges;
            bytes32 usage;
            bytes32 earnings;
            bytes32 measurements;
            uint128 billed;
        }
    }
}

/// What payers owe and nodes earned on one shard.
///
/// Everything under the roots `usage` and `earnings` is a sum since the shard began, so that one
/// claim of the difference settles any number of periods (SET-001).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct UsageReport {
    /// The version of this structure.
    pub version: u16,
    /// Which shard.
    pub shard: ShardId,
    /// The first period that it adds.
    pub first: Period,
    /// The last period that it adds.
    pub last: Period,
    /// Whose committee attests.
    pub epoch: RegistryEpoch,
    /// Digest of the shard's report before; zeros for the first.
    pub previous: ReportDigest,
    /// Hash of the pinned log ranges and blocks that it is computed from.
    pub ranges: Hash,
    /// Root over what each payer was billed.
    pub usage: Hash,
    /// Root over what each node earned.
    pub earnings: Hash,
    /// Root over what peers measured of each node in these periods.
    pub measurements: Hash,
    /// What all payers were billed.
    pub billed: PicoDollarsTotal,
}

impl UsageReport {
    /// The EIP-712 digest that members sign and the contract keeps (SET-002).
    #[must_use]
    pub fn digest(&self, network: NetworkId) -> ReportDigest {
        let statement = eip712::UsageReport {
            shard: self.shard.0,
            first: self.first.0,
            last: self.last.0,
            epoch: self.epoch.0,
            previous: self.previous.0.into(),
            ranges: self.ranges.into(),
            usage: self.usage.into(),
            earnings: self.earnings.into(),
            measurements: self.measurements.into(),
            billed: self.billed.0,
        };
        ReportDigest(digest(&statement, network))
    }

    /// The first field in which `other` differs, if any.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
        let fields = [
            ("version", self.version == other.version),
            ("shard", self.shard == other.shard),
            ("first", self.first == other.first),
            ("last", self.last == other.last),
            ("epoch", self.epoch == other.epoch),
            ("previous", self.previous == other.previous),
            ("ranges", self.ranges == other.ranges),
            ("usage", self.usage == other.usage),
            ("earnings", self.earnings == other.earnings),
            ("measurements", self.measurements == other.measurements),
            ("billed", self.billed == other.billed),
        ];
        fields.iter().find(|(_, is_equal)| !is_equal).map(|(name, _)| *name)
    }

    /// Whether this follows `before`, the shard's last report, or none (SET-003).
    #[must_use]
    pub fn follows(&self, before: Option<&Self>, network: NetworkId) -> bool {
        let is_range = self.version == PROTOCOL_VERSION && self.first <= self.last;
        let is_next = match before {
            None => self.first == Period(1) && self.previous == ReportDigest::default(),
            Some(before) => {
                self.shard == before.shard
                    && self.first == before.last.plus(1)
                    && self.previous == before.digest(network)
                    && self.epoch >= before.epoch
                    && self.billed >= before.billed
            }
        };
        is_range && is_next
    }
}

/// A committee member's word that it computed a report itself and came to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SignedAttestation {
    /// Who attests.
    pub node: NodeId,
    /// By the node's registered key, over the report's digest.
    pub signature: NodeSignature,
}

impl SignedAttestation {
    /// Attests the report with this digest as `node`.
    #[must_use]
    pub fn sign(node: NodeId, report: ReportDigest, key: &NodeKey) -> Self {
        Self { node, signature: key.sign(report.as_bytes()) }
    }

    /// Checks that `signer` attested the report with this digest (SET-002).
    ///
    /// # Errors
    /// [`NodeSignatureInvalid`] otherwise.
    pub fn verify(
        &self,
        report: ReportDigest,
        signer: EthereumAddress,
    ) -> Result<(), NodeSignatureInvalid> {
        self.signature.verify(report.as_bytes(), signer)
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::Wire;

    use super::*;

    const NETWORK: NetworkId = NetworkId([9; 32]);

    fn first() -> UsageReport {
        UsageReport {
            version: PROTOCOL_VERSION,
            shard: ShardId(0),
            first: Period(1),
            last: Period(3),
            epoch: RegistryEpoch(1),
            previous: ReportDigest::default(),
            ranges: [1; 32],
            usage: [2; 32],
            earnings: [3; 32],
            measurements: [4; 32],
            billed: PicoDollarsTotal(5),
        }
    }

    fn second() -> UsageReport {
        let previous = first().digest(NETWORK);
        UsageReport { first: Period(4), last: Period(4), previous, ..first() }
    }

    fn check_refused(change: impl FnOnce(&mut UsageReport)) {
        let mut report = second();
        change(&mut report);
        assert!(!report.follows(Some(&first()), NETWORK), "{report:?}");
    }

    #[test]
    fn reports_follow_each_other_without_gap_or_overlap() {
        // covers: SET-003
        assert!(first().follows(None, NETWORK));
        assert!(second().follows(Some(&first()), NETWORK));
        assert!(!second().follows(None, NETWORK));
        assert!(!first().follows(Some(&first()), NETWORK));
        check_refused(|report| report.first = Period(3));
        check_refused(|report| report.first = Period(5));
        check_refused(|report| report.last = Period(3));
        check_refused(|report| report.previous = ReportDigest::default());
        check_refused(|report| report.shard = ShardId(1));
        check_refused(|report| report.epoch = RegistryEpoch(0));
        check_refused(|report| report.billed = PicoDollarsTotal(4));
        check_refused(|report| report.version = 2);
    }

    #[test]
    fn attestations_bind_network_and_report() {
        // covers: SET-002
        let key = NodeKey::from_secret(&[1; 32]).unwrap();
        let digest = first().digest(NETWORK);
        let signed = SignedAttestation::sign(NodeId(1), digest, &key);
        assert!(signed.verify(digest, key.address()).is_ok());
        assert!(signed.verify(second().digest(NETWORK), key.address()).is_err());
        assert!(signed.verify(first().digest(NetworkId([8; 32])), key.address()).is_err());
        assert_eq!(UsageReport::from_wire(&first().to_wire()), Ok(first()));
    }
}
