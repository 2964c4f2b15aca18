//! Look-ups in the ordered state, answered with proofs.

use tidings_envelope::api::{StateAnswer, StateQuery};
use tidings_envelope::{BlockHeader, Certificate, StateKey, StateLeaf, StateProof};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{BoundedBytes, BoundedVec, ErrorCode};

use crate::replica::Replica;

impl Replica {
    /// What a shard's state holds under a key after the last final block known here (API-030).
    ///
    /// # Errors
    /// [`ErrorCode::WrongShard`] when this node does not follow the shard,
    /// [`ErrorCode::Malformed`] for a single decision, [`ErrorCode::NotReady`] before the
    /// shard's first block.
    pub fn look_up(&self, query: &StateQuery) -> Result<StateAnswer, ErrorCode> {
        let lane = self.lanes.get(&query.shard).ok_or(ErrorCode::WrongShard)?;
        let branch = lane.state().prove(&query.key).ok_or(ErrorCode::Malformed)?;
        let (header, certificate) = lane.head().ok_or(ErrorCode::NotReady)?;
        let value = match (&query.key, &branch.leaf) {
            (StateKey::Inbox(inbox), StateLeaf::Digest(hash)) if query.known != Some(*hash) => {
                let state = lane.state().inbox(*inbox).ok_or(ErrorCode::Internal)?;
                Some(BoundedBytes::new(state.to_wire()).map_err(|_| ErrorCode::Internal)?)
            }
            _ => None,
        };
        let proof = StateProof {
            version: PROTOCOL_VERSION,
            key: query.key,
            branch,
            header: *header,
            certificate: self.trimmed(header, certificate),
        };
        Ok(StateAnswer { version: PROTOCOL_VERSION, proof, value })
    }

    /// The certificate with no more votes than are needed: readers check and carry each.
    fn trimmed(&self, header: &BlockHeader, certificate: &Certificate) -> Certificate {
        let registry = self.registries().at(header.registry_epoch);
        let Some(quorum) = registry.map(|it| it.certificate_quorum(header.shard)) else {
            return certificate.clone();
        };
        let votes = certificate.signatures.iter().take(quorum).copied().collect();
        let signatures = BoundedVec::new(votes).unwrap_or_default();
        Certificate { round: certificate.round, signatures }
    }
}
