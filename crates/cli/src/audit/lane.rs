//! Re-executing one shard's blocks from the first.

use std::sync::Arc;

use anyhow::Result;
use tidings_envelope::{
    CertifiedBlock, CongestionHistory, DecidedOperation, Evidence, LogId, Operation, Outcome,
    RegistryHistory,
};
use tidings_order::{LaneContext, LaneState};
use tidings_types::{EthereumAddress, NetworkId, ShardId};

use super::Verdict;
use super::source::Source;

/// One shard's ordered lane and what was found in it.
pub struct LaneAudit {
    shard: ShardId,
    state: LaneState,
    /// What the lane has recorded against nodes, one piece for each offence (EVD-006).
    pub evidence: Vec<Evidence>,
    /// What was found.
    pub verdict: Verdict,
}

impl LaneAudit {
    /// The key under which a log is signed, by what was read of the lane (ORD-033).
    pub fn signer(&self, log: LogId, registries: &RegistryHistory) -> Option<EthereumAddress> {
        self.state.signers(registries).of_log(log)
    }

    /// A lane of which nothing is read yet.
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            state: LaneState::default(),
            evidence: Vec::new(),
            verdict: Verdict::default(),
        }
    }

    /// Reads to the last block.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn advance(
        &mut self,
        source: &Source,
        registries: &RegistryHistory,
        network: NetworkId,
    ) -> Result<()> {
        while self.verdict.fault.is_none() {
            let page = source.blocks(self.shard, self.state.height().plus(1)).await?;
            if page.blocks.is_empty() {
                return Ok(());
            }
            for block in page.blocks.into_vec() {
                if let Err(fault) = self.take(&block, registries, network) {
                    let height = block.block.header.height;
                    self.verdict.fault = Some(format!("block {height}: {fault}"));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The shard's congestion factors, as far as the lane was read (FEE-010).
    pub fn congestion(&self) -> &Arc<CongestionHistory> {
        self.state.congestion()
    }

    /// Takes a block if it is certified and executing it gives the same result.
    fn take(
        &mut self,
        certified: &CertifiedBlock,
        registries: &RegistryHistory,
        network: NetworkId,
    ) -> Result<(), String> {
        let block = &certified.block;
        let epoch = block.header.registry_epoch;
        let registry = registries
            .at(epoch)
            .ok_or_else(|| format!("the registry of epoch {epoch} is not at hand"))?;
        certified
            .certificate
            .verify(&block.header, network, registry)
            .map_err(|_| "its certificate does not verify".to_owned())?;
        let context = LaneContext { network, registries, shard: self.shard };
        let staged = self.state.check(block, |_| false, context);
        let staged = staged.map_err(|error| error.to_string())?;
        self.state.commit(staged);
        self.evidence.extend(block.operations.iter().filter_map(recorded).cloned());
        self.verdict.verified += 1;
        Ok(())
    }
}

/// The evidence that an operation has put on record.
fn recorded(decided: &DecidedOperation) -> Option<&Evidence> {
    match (&decided.operation, &decided.outcome) {
        (Operation::Evidence(evidence), Outcome::Applied { .. }) => Some(evidence),
        _ => None,
    }
}
