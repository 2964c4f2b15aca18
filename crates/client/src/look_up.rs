//! Look-ups in the ordered state: proofs are checked, compared, and gone by the newest.

use std::sync::{Arc, MutexGuard, PoisonError};

use rand::Rng;
use rand::rngs::OsRng;
use tidings_envelope::api::{StateAnswer, StateQuery};
use tidings_envelope::{Registry, StateContent, StateKey, StateProof, StateProofInvalid};
use tidings_types::constants::LOOK_UP_PERIODS_BEHIND_MAX;
use tidings_types::{Hash, Height, Period, RegistryEpoch, ShardId, Wire};

use crate::core::Core;
use crate::error::{ClientError, VerifyFailure};
use crate::event::Event;
use crate::heads::Heads;
use crate::transport::{NodeAddress, ROUNDS_MAX, backoff, worse};

/// One look-up in this many is put to a second replica, besides the first of all (API-033).
const COMPARED_ONE_IN: u32 = 8;

/// What a shard's ordered state is proved to hold under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// What is under the key.
    pub content: StateContent,
    /// The proof, which anybody can verify.
    pub proof: StateProof,
    /// The value whose hash the proof carries, unless it was known.
    pub(crate) value: Option<Vec<u8>>,
}

impl Proved {
    /// The block after which it is so.
    #[must_use]
    pub fn height(&self) -> Height {
        self.proof.header.height
    }

    /// The period of that block.
    #[must_use]
    pub fn period(&self) -> Period {
        self.proof.header.period
    }
}

/// What is asked for, and how sure the asker wants to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LookUp {
    pub(crate) shard: ShardId,
    pub(crate) key: StateKey,
    /// The hash of the value that is known already.
    pub(crate) known: Option<Hash>,
    /// How many replicas have to prove it; the newest block counts.
    pub(crate) witnesses: usize,
}

impl LookUp {
    /// A look-up by somebody who believes any one replica's proof.
    pub(crate) fn new(shard: ShardId, key: StateKey) -> Self {
        Self { shard, key, known: None, witnesses: 1 }
    }
}

impl Core {
    /// What is under a key, by the newest block that the replicas asked have shown.
    ///
    /// One replica is enough for something that is there and recent; what is absent, or old, is
    /// believed of f+1 (API-032).
    pub(crate) async fn look_up(&self, look_up: LookUp) -> Result<Proved, ClientError> {
        let found = self.look_up_anywhere(look_up).await;
        let changed = self.heads().take_changed();
        if let Some(bytes) = changed {
            self.store().transact(|tx| tx.put_heads(&bytes))?;
        }
        if let Err(ClientError::Unverified(VerifyFailure::Forked { shard, height })) = &found {
            self.events.tell(&Event::Forked { shard: *shard, height: *height });
        }
        found
    }

    async fn look_up_anywhere(&self, look_up: LookUp) -> Result<Proved, ClientError> {
        let wished = if self.compares() { 2 } else { 1 };
        let mut failure = None;
        for round in 0..ROUNDS_MAX {
            tokio::time::sleep(backoff(round)).await;
            let (mut newest, mut answered): (Option<Proved>, usize) = (None, 0);
            for node in self.nodes.candidates(look_up.shard) {
                if newest.as_ref().is_some_and(|it| answered >= self.needed(it, look_up, wished)) {
                    break;
                }
                match self.ask_for_proof(&node, look_up).await {
                    Ok(proved) => {
                        answered += 1;
                        let is_newer =
                            newest.as_ref().is_none_or(|it| it.height() < proved.height());
                        newest = if is_newer { Some(proved) } else { newest };
                    }
                    Err(error @ ClientError::Unverified(VerifyFailure::Forked { .. })) => {
                        return Err(error);
                    }
                    Err(error) => failure = Some(worse(failure, error)),
                }
            }
            // A comparison that nobody answers is none.
            if let Some(newest) = newest.filter(|it| answered >= self.needed(it, look_up, 1)) {
                return Ok(newest);
            }
            if failure.as_ref().is_some_and(|failure| !failure.may_pass()) {
                break;
            }
        }
        Err(failure.unwrap_or_else(|| ClientError::Unreachable {
            reason: "too few replicas answered to be sure".to_owned(),
        }))
    }

    /// How many replicas have to answer before the newest proof so far is believed.
    fn needed(&self, newest: &Proved, look_up: LookUp, wished: usize) -> usize {
        let heard = self.nodes.last_period();
        let is_behind = newest.period().plus(LOOK_UP_PERIODS_BEHIND_MAX) < heard;
        let is_doubtful = is_behind || newest.content == StateContent::Absent;
        let quorum = self.nodes.registry().durability_quorum(look_up.shard);
        let needed = if is_doubtful { quorum } else { 1 };
        needed.max(look_up.witnesses).max(wished)
    }

    /// Whether this look-up is put to a second replica.
    fn compares(&self) -> bool {
        let is_first = !self.has_compared.swap(true, std::sync::atomic::Ordering::Relaxed);
        is_first || OsRng.gen_ratio(1, COMPARED_ONE_IN)
    }

    async fn ask_for_proof(
        &self,
        node: &NodeAddress,
        look_up: LookUp,
    ) -> Result<Proved, ClientError> {
        let LookUp { shard, key, known, .. } = look_up;
        let query = StateQuery { known, ..StateQuery::new(shard, key) };
        let answer: StateAnswer = self.nodes.post(node, "v1/state", query.to_wire()).await?;
        let registries = self.nodes.registries();
        let mut verified = self.verifier(&registries).state(&query, &answer);
        if let Err(VerifyFailure::State(StateProofInvalid::Epoch(epoch))) = verified {
            self.learn_registry(epoch).await?;
            let registries = self.nodes.registries();
            verified = self.verifier(&registries).state(&query, &answer);
        }
        // An honest replica may be a block behind; anything else is asked last for a while.
        if verified.as_ref().is_err_and(|it| !matches!(it, VerifyFailure::StateStale { .. })) {
            self.nodes.note_trouble(node.id);
        }
        Ok(verified?)
    }

    /// Finds the registry of an epoch that is not known: a newer one at the gateway, and an
    /// earlier one where f+1 replicas have the same.
    async fn learn_registry(&self, epoch: RegistryEpoch) -> Result<(), ClientError> {
        let latest = self.nodes.registry();
        if epoch > latest.epoch {
            self.refresh_registry().await?;
        }
        let latest = self.nodes.registry();
        if epoch >= latest.epoch {
            return Ok(());
        }
        let path = format!("v1/registry?epoch={epoch}");
        let mut shown: Vec<(Registry, usize)> = Vec::new();
        for node in self.nodes.candidates(ShardId(0)) {
            let Ok(registry) = self.nodes.json::<Registry>(&node, &path).await else { continue };
            match shown.iter_mut().find(|(known, _)| *known == registry) {
                Some((_, count)) => *count += 1,
                None => shown.push((registry, 1)),
            }
        }
        let quorum = latest.durability_quorum(ShardId(0));
        let agreed = shown.into_iter().find(|(it, count)| it.epoch == epoch && *count >= quorum);
        if let Some((registry, _)) = agreed {
            self.nodes.insert_registry(Arc::new(registry))?;
            self.save_registries()?;
        }
        Ok(())
    }

    /// The newest blocks seen.
    pub(crate) fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
