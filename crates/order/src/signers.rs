//! Under which keys a shard's logs are signed, whatever keys their nodes have by now.

use tidings_envelope::{Evidence, LogId, Registry, RegistryHistory};
use tidings_types::{EthereumAddress, Incarnation, NodeId, RegistryEpoch};

use crate::LaneState;

/// The keys of a shard's logs, as its ordered state has them (ORD-033).
///
/// What is answered for a log that was opened stays so for ever.
#[derive(Debug, Clone, Copy)]
pub struct Signers<'a> {
    state: &'a LaneState,
    registries: &'a RegistryHistory,
}

impl LaneState {
    /// The keys of the shard's logs.
    #[must_use]
    pub fn signers<'a>(&'a self, registries: &'a RegistryHistory) -> Signers<'a> {
        Signers { state: self, registries }
    }
}

impl Signers<'_> {
    /// The key under which a log is signed; none for a log that was not opened.
    #[must_use]
    pub fn of_log(&self, log: LogId) -> Option<EthereumAddress> {
        let (opened, _) = self.state.incarnation(log.node);
        let exists = Incarnation(1) <= log.incarnation && log.incarnation <= opened;
        exists.then(|| self.of_incarnation(log.node, log.incarnation)).flatten()
    }

    /// The key from which that of the next incarnation is told apart.
    pub(crate) fn of_incarnation(
        &self,
        node: NodeId,
        incarnation: Incarnation,
    ) -> Option<EthereumAddress> {
        let noted = self.state.signer_epochs(node, incarnation).next();
        self.at(noted.unwrap_or(RegistryEpoch::FIRST), node)
    }

    /// The keys under which evidence may be signed: that of its log, or, where it is about no log,
    /// each under which its node opened one, and the one in `registry`.
    #[must_use]
    pub fn of_evidence(&self, evidence: &Evidence, registry: &Registry) -> Vec<EthereumAddress> {
        if let Some(log) = evidence.log() {
            return self.of_log(log).into_iter().collect();
        }
        let node = evidence.accused();
        let noted = self.state.signer_epochs(node, Incarnation(u32::MAX));
        let opened = noted.chain([RegistryEpoch::FIRST]).filter_map(|epoch| self.at(epoch, node));
        registry.node(node).map(|record| record.signing).into_iter().chain(opened).collect()
    }

    fn at(&self, epoch: RegistryEpoch, node: NodeId) -> Option<EthereumAddress> {
        let record = self.registries.at(epoch)?.node(node);
        record.map(|record| record.signing)
    }
}
