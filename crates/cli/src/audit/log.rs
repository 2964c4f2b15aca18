//! Following one log from its first entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use rand::rngs::OsRng;
use tidings_envelope::{
    Evidence, InclusionProof, LogEntry, LogId, RegistryHistory, SignedCheckpoint, Topic,
};
use tidings_payer::{Verdict as EntryVerdict, VerdictContext, judge};
use tidings_tlog::{FollowError, Follower, TopicHead, conflicting_entries};
use tidings_types::{BoundedVec, EthereumAddress, Hash, LogSize, NetworkId, merkle};

use super::Verdict;
use super::lane::LaneAudit;
use super::source::Source;

/// Entries that wait for a checkpoint: one flush at most, which is bounded in bytes.
const WAITING_ENTRIES_MAX: usize = 65_536;

/// One log and what was found in it.
pub struct LogAudit {
    follower: Follower,
    topics: BTreeMap<Topic, TopicHead>,
    /// Of a flush that is larger than a page.
    waiting: Vec<LogEntry>,
    /// The leaves of what was read, and the checkpoint that covers all of them.
    leaves: Vec<Hash>,
    covered_by: Option<SignedCheckpoint>,
    /// What was found.
    pub verdict: Verdict,
}

impl LogAudit {
    /// A log of which nothing is read yet.
    pub fn new(id: LogId) -> Self {
        Self {
            follower: Follower::new(id),
            topics: BTreeMap::new(),
            waiting: Vec::new(),
            leaves: Vec::new(),
            covered_by: None,
            verdict: Verdict::default(),
        }
    }

    /// Reads to the end of the log; evidence against its originator, if there is any. `lane` is
    /// that of its shard, read on where entries are of a period that it has not come to yet.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn advance(
        &mut self,
        source: &Source,
        (lane, of_lane): (&mut LaneAudit, &Source),
        registries: &RegistryHistory,
        network: NetworkId,
    ) -> Result<Option<Evidence>> {
        let id = self.follower.log();
        if lane.signer(id, registries).is_none() {
            lane.advance(of_lane, registries, network).await?;
        }
        let Some(signer) = lane.signer(id, registries) else {
            // Another node may be ahead of the one whose lane is read: the next look goes on.
            if std::ptr::eq(source, of_lane) && lane.verdict.fault.is_none() {
                self.fault("its incarnation was never opened");
            }
            return Ok(None);
        };
        while self.verdict.fault.is_none() {
            let waiting = u64::try_from(self.waiting.len())?;
            let page = source.log_page(id, self.follower.size().plus(waiting)).await?;
            if page.entries.is_empty() {
                return self.check_newest(source, network, signer).await;
            }
            let before = self.waiting.len();
            self.waiting.extend(page.entries.into_vec());
            if self.waiting.len() > WAITING_ENTRIES_MAX {
                self.fault("it goes on without a checkpoint");
            }
            if let Some(checkpoint) = page.checkpoint {
                let newest = self.waiting.iter().map(|entry| entry.header.fee_period).max();
                if newest.is_some_and(|newest| newest > lane.congestion().settled()) {
                    lane.advance(of_lane, registries, network).await?;
                }
                let congestion = Arc::clone(lane.congestion());
                // Another node may be ahead of the one whose lane is read: the next look goes on.
                let is_ahead = newest.is_some_and(|newest| newest > congestion.settled());
                if is_ahead && !std::ptr::eq(source, of_lane) {
                    self.waiting.truncate(before);
                    return Ok(None);
                }
                let context =
                    VerdictContext { network, log: id, registries, congestion: &congestion };
                if let Some(evidence) = self.take(&checkpoint, &context, signer) {
                    return Ok(Some(evidence));
                }
            }
        }
        Ok(None)
    }

    /// Checks that the newest checkpoint goes on from what was read.
    async fn check_newest(
        &mut self,
        source: &Source,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<Option<Evidence>> {
        let id = self.follower.log();
        if !self.waiting.is_empty() {
            self.fault("its last entries are under no checkpoint");
            return Ok(None);
        }
        let newest = source.checkpoint(id).await?;
        let (old, new) = (self.follower.size(), newest.checkpoint.size);
        let proof = match old.0 > 0 && old < new {
            true => source.consistency(id, old, new).await?,
            false => Vec::new(),
        };
        Ok(self.extend(&[], &newest, &proof, network, signer))
    }

    /// Takes the waiting entries if the checkpoint covers them and each is valid.
    fn take(
        &mut self,
        checkpoint: &SignedCheckpoint,
        context: &VerdictContext<'_>,
        signer: EthereumAddress,
    ) -> Option<Evidence> {
        let entries = std::mem::take(&mut self.waiting);
        let evidence = self.extend(&entries, checkpoint, &[], context.network, signer);
        if self.verdict.fault.is_some() {
            return evidence;
        }
        for (entry, verdict) in entries.iter().zip(judge(&entries, context, &mut OsRng)) {
            let header = &entry.header;
            let fault = match verdict {
                EntryVerdict::Valid | EntryVerdict::Pruned => None,
                EntryVerdict::Invalid(code) => Some(format!("is invalid: {code}")),
                EntryVerdict::Unjudged(missing) => {
                    Some(format!("needs {missing}, which is not at hand"))
                }
            };
            if let Some(fault) = fault {
                self.fault(&format!("entry {} {fault}", header.index));
                return None;
            }
            let head = self.topics.entry(header.topic).or_default();
            match head.advance(header) {
                Ok(next) => *head = next,
                Err(broken) => {
                    self.fault(&format!("entry {}: {broken}", header.index));
                    return None;
                }
            }
            self.verdict.verified += 1;
            self.verdict.pruned += u64::from(verdict == EntryVerdict::Pruned);
        }
        None
    }

    fn extend(
        &mut self,
        entries: &[LogEntry],
        checkpoint: &SignedCheckpoint,
        proof: &[Hash],
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Option<Evidence> {
        let headers: Vec<_> = entries.iter().map(|entry| entry.header).collect();
        match self.follower.extend(&headers, checkpoint, proof, network, signer) {
            Ok(follower) => {
                self.follower = follower;
                self.leaves.extend(headers.iter().map(|header| header.hash().0));
                if checkpoint.checkpoint.size.0 == self.leaves.len() as u64 {
                    self.covered_by = Some(*checkpoint);
                }
                None
            }
            Err(error) => {
                self.fault(&error.to_string());
                match error {
                    FollowError::Conflict(evidence) => Some(*evidence),
                    _ => None,
                }
            }
        }
    }

    /// Evidence that the originator signed one history for the node behind `mine` and another for
    /// the one behind `theirs`, of which `other` is what was read there.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn compare(
        &self,
        mine: &Source,
        other: &Self,
        theirs: &Source,
        network: NetworkId,
        signer: EthereumAddress,
    ) -> Result<Option<Evidence>> {
        let mut pairs = self.leaves.iter().zip(&other.leaves);
        let Some(place) = pairs.position(|(one, two)| one != two) else { return Ok(None) };
        let (one, two) = (self.prove(mine, place).await?, other.prove(theirs, place).await?);
        let both = one.zip(two);
        Ok(both.and_then(|(one, two)| conflicting_entries(one, two, network, signer)))
    }

    async fn prove(&self, source: &Source, place: usize) -> Result<Option<InclusionProof>> {
        let Some(checkpoint) = self.covered_by else { return Ok(None) };
        let size = usize::try_from(checkpoint.checkpoint.size.0)?;
        let Some(leaves) = self.leaves.get(..size).filter(|_| place < size) else {
            return Ok(None);
        };
        let page = source.log_page(self.follower.log(), LogSize(place as u64)).await?;
        let Some(entry) = page.entries.first() else { return Ok(None) };
        let path = BoundedVec::new(merkle::path(leaves, place))?;
        Ok(Some(InclusionProof { header: entry.header, path, checkpoint }))
    }

    fn fault(&mut self, what: &str) {
        self.verdict.fault.get_or_insert_with(|| what.to_owned());
    }
}
