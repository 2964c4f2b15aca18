//! Sending through the gateway until it is proved what became of an envelope, and who pays for it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tidings_envelope::api::SendResult;
use tidings_envelope::{AckLevel, ClientEnvelope};
use tidings_mls::SealContext;
use tidings_types::{EnvelopeId, ErrorCode, EthereumAddress};

use crate::core::Core;
use crate::error::{ClientError, VerifyFailure};
use crate::transport::{ROUNDS_MAX, Sent, backoff};
use crate::verify::Proven;

/// Who pays for us, and which envelopes nobody was given yet.
#[derive(Debug, Default)]
pub(crate) struct Payers {
    /// What the gateway said last, and when.
    told: Mutex<Option<(EthereumAddress, Instant)>>,
    /// Sealed in this run and never tried.
    untried: Mutex<BTreeSet<EnvelopeId>>,
}

impl Payers {
    /// Notes that an envelope was sealed just now.
    pub(crate) fn sealed(&self, id: EnvelopeId) {
        self.untried().insert(id);
    }

    /// Whether an envelope may have been tried before; from now on it has.
    fn may_be_tried(&self, id: EnvelopeId) -> bool {
        !self.untried().remove(&id)
    }

    fn untried(&self) -> MutexGuard<'_, BTreeSet<EnvelopeId>> {
        self.untried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Option<(EthereumAddress, Instant)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Who pays for us: as last heard when that is fresh, else as the gateway says (GTW-021).
    pub(crate) async fn payer(&self) -> Result<EthereumAddress, ClientError> {
        let fresh_for = u128::from(self.nodes.registry().period_ms / 2);
        let told = *self.payers.told();
        if let Some((payer, at)) = told
            && at.elapsed().as_millis() < fresh_for
        {
            return Ok(payer);
        }
        let payer = self.gateway.status().await?.payer;
        *self.payers.told() = Some((payer, Instant::now()));
        Ok(payer)
    }

    /// Sends an envelope that was sealed just now until it is proved to be stored on f+1 disks, or
    /// decided on.
    pub(crate) async fn deliver(&self, envelope: &ClientEnvelope) -> Result<Proven, ClientError> {
        self.payers.sealed(envelope.body.id());
        self.deliver_again(envelope).await
    }

    /// The same for an envelope that may have been tried before.
    ///
    /// It keeps its id, so sending it again never stores it twice.
    pub(crate) async fn deliver_again(
        &self,
        envelope: &ClientEnvelope,
    ) -> Result<Proven, ClientError> {
        let mut refusal = ErrorCode::Unreachable;
        for round in 0..ROUNDS_MAX {
            tokio::time::sleep(backoff(round)).await;
            let results = self.deliver_all(std::slice::from_ref(envelope)).await?;
            match results.into_iter().next() {
                Some(Ok(proven)) => return Ok(proven),
                Some(Err(code)) if code.retryable() => refusal = code,
                Some(Err(code)) => return Err(ClientError::Refused { code }),
                None => return Err(VerifyFailure::Misplaced.into()),
            }
        }
        Err(ClientError::Refused { code: refusal })
    }

    /// Seals an envelope and delivers it; once more if somebody else pays by now.
    pub(crate) async fn deliver_sealed(
        &self,
        retention_days: u16,
        seal: impl Fn(&SealContext) -> ClientEnvelope,
    ) -> Result<Proven, ClientError> {
        let envelope = seal(&self.seal_context(retention_days).await?);
        match self.deliver(&envelope).await {
            Err(ClientError::Refused { code: ErrorCode::PayerMismatch }) => {
                let envelope = seal(&self.seal_context(retention_days).await?);
                self.deliver(&envelope).await
            }
            delivered => delivered,
        }
    }

    /// Sends envelopes once; one verified outcome each, in order.
    ///
    /// An outcome is [`ErrorCode::PayerMismatch`] only where nobody was given the envelope before,
    /// so that another can take its place.
    pub(crate) async fn deliver_all(
        &self,
        envelopes: &[ClientEnvelope],
    ) -> Result<Vec<Result<Proven, ErrorCode>>, ClientError> {
        let level = AckLevel::Replicated;
        let may_be_tried: Vec<bool> =
            envelopes.iter().map(|it| self.payers.may_be_tried(it.body.id())).collect();
        let Sent { results, is_repeated } = self.gateway.send(level, envelopes.to_vec()).await?;
        let mut outcomes = match self.verify_sent(envelopes, level, results.clone()) {
            Ok(outcomes) => outcomes,
            Err(_) => {
                // A node may have joined since the registry was read.
                self.refresh_registry().await?;
                self.verify_sent(envelopes, level, results)?
            }
        };
        let all = outcomes.iter_mut().zip(envelopes).zip(may_be_tried);
        for ((outcome, envelope), may_be_tried) in all {
            let Err(code @ ErrorCode::PayerMismatch) = outcome else { continue };
            // Somebody else pays from now on: whoever seals next asks who.
            *self.payers.told() = None;
            if may_be_tried || is_repeated {
                *code = self.unsure(envelope).await;
            }
        }
        Ok(outcomes)
    }

    /// What is known of an envelope that is refused now and may wait where it was tried before:
    /// nothing, until nobody takes it any more.
    async fn unsure(&self, envelope: &ClientEnvelope) -> ErrorCode {
        let now = self.nodes.period().await.unwrap_or_else(|_| self.nodes.last_period());
        match now > envelope.body.not_after.plus(1) {
            true => ErrorCode::EnvelopeExpired,
            false => ErrorCode::Unreachable,
        }
    }

    fn verify_sent(
        &self,
        envelopes: &[ClientEnvelope],
        level: AckLevel,
        results: Vec<SendResult>,
    ) -> Result<Vec<Result<Proven, ErrorCode>>, VerifyFailure> {
        let registries = self.nodes.registries();
        let verifier = self.verifier(&registries);
        let pairs = envelopes.iter().zip(results);
        pairs.map(|(envelope, result)| verifier.sent(envelope, level, result)).collect()
    }
}
