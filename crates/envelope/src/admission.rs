//! From bytes to an envelope that a node may append: each step consumes the last.

use rand_core::CryptoRngCore;
use tidings_types::constants::{
    FEE_PERIODS_BEFORE_EXPIRY_MAX, NOT_AFTER_PERIODS_AHEAD_MAX, PROTOCOL_VERSION,
    RETENTION_DAYS_MAX, RETENTION_DAYS_MIN,
};
use tidings_types::ed25519::{Statement, verify_batch};
use tidings_types::{
    BoundedVec, EnvelopeId, ErrorCode, Hash, NetworkId, NodeId, Period, Wire, mutant,
};

use crate::registry::Registry;
use crate::{
    ClientEnvelope, EntryHeader, Lane, LogId, PayerBatch, PayerEnvelope, RegistryHistory, Target,
    Topic, TopicKind, WriteProof,
};

/// What a node knows when it decides on an envelope.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionContext<'a> {
    /// The network that signatures must bind.
    pub network: NetworkId,
    /// The registry's snapshots, the current one being the latest.
    pub registries: &'a RegistryHistory,
    /// The current period.
    pub period: Period,
    /// The node that decides.
    pub node: NodeId,
}

impl<'a> AdmissionContext<'a> {
    /// The snapshot by which a batch is judged: that of the epoch that it names (TOP-009), which
    /// is the current one or the one before (ENV-008).
    ///
    /// # Errors
    /// [`ErrorCode::RegistryEpochWrong`] when it names another epoch, or one unknown here.
    pub fn registry_of(&self, batch: &PayerBatch) -> Result<&'a Registry, ErrorCode> {
        let (current, named) = (self.registries.latest().epoch, batch.header.registry_epoch);
        let registry = match (current.minus(1)..=current).contains(&named) {
            true => self.registries.at(named),
            false => None,
        };
        registry.map(|registry| &**registry).ok_or(ErrorCode::RegistryEpochWrong)
    }
}

/// An envelope that decodes and follows every rule that needs no key and no context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedEnvelope {
    id: EnvelopeId,
    envelope: ClientEnvelope,
}

/// An envelope whose write proof verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEnvelope {
    id: EnvelopeId,
    envelope: ClientEnvelope,
}

/// An envelope that its payer signed for and that is on time here and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedEnvelope {
    id: EnvelopeId,
    envelope: PayerEnvelope,
}

impl ParsedEnvelope {
    /// Decodes `bytes` and applies the rules of [`ParsedEnvelope::check`].
    ///
    /// # Errors
    /// [`ErrorCode::UnknownVersion`] before anything else, [`ErrorCode::Malformed`] when the
    /// bytes are not canonical, and what [`ParsedEnvelope::check`] refuses.
    pub fn parse(bytes: &[u8]) -> Result<Self, ErrorCode> {
        match bytes.first_chunk::<2>().map(|version| u16::from_be_bytes(*version)) {
            None => return Err(ErrorCode::Malformed),
            Some(version) if version != PROTOCOL_VERSION => return Err(ErrorCode::UnknownVersion),
            Some(_) => {}
        }
        Self::check(ClientEnvelope::from_wire(bytes).map_err(|_| ErrorCode::Malformed)?)
    }

    /// Applies the rules that need neither key nor context.
    ///
    /// # Errors
    /// The code of the first rule broken: version (ENV-001), lane (TOP-001), retention
    /// (ENV-005), position (ENV-004), kind of proof (ENV-002), topic id (TOP-006).
    pub fn check(envelope: ClientEnvelope) -> Result<Self, ErrorCode> {
        let body = &envelope.body;
        if body.version != PROTOCOL_VERSION {
            return Err(ErrorCode::UnknownVersion);
        }
        if !body.topic.allows(body.lane) {
            return Err(ErrorCode::LaneNotAllowed);
        }
        if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&body.retention_days) {
            return Err(ErrorCode::RetentionOutOfRange);
        }
        let may_expect = body.lane == Lane::Ordered && body.topic.kind == TopicKind::Group;
        let may_depend = body.lane == Lane::Broadcast;
        if (body.expected_position.is_some() && !may_expect)
            || (body.depends_on.is_some() && !may_depend)
        {
            return Err(ErrorCode::PositionMisplaced);
        }
        check_proof_kind(&body.topic, &envelope.proof)?;
        Ok(Self { id: body.id(), envelope })
    }

    /// The envelope's id.
    #[must_use]
    pub fn id(&self) -> EnvelopeId {
        self.id
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &ClientEnvelope {
        &self.envelope
    }
}

fn check_proof_kind(topic: &Topic, proof: &WriteProof) -> Result<(), ErrorCode> {
    match (topic.kind, proof) {
        (TopicKind::Group | TopicKind::Keys, WriteProof::Key { key, .. }) => {
            if topic.keyed_by(key) { Ok(()) } else { Err(ErrorCode::TopicKeyMismatch) }
        }
        // TOP-006.
        (TopicKind::Mailbox, WriteProof::FeeStamp) => {
            let prefix_is_zero = topic.id.0.iter().take(28).all(|byte| *byte == 0);
            if prefix_is_zero { Ok(()) } else { Err(ErrorCode::TopicInvalid) }
        }
        (TopicKind::Mailbox, _) => Err(ErrorCode::StampInvalid),
        (TopicKind::Identity, WriteProof::SelfAuthenticating) => Ok(()),
        // Whose key it is, the registry says.
        (TopicKind::Xmtp, WriteProof::Key { .. }) => Ok(()),
        _ => Err(ErrorCode::WriteProofInvalid),
    }
}

/// Checks the write proofs of many envelopes at once (ENV-002); one answer for each, in order.
pub fn verify_all(
    parsed: Vec<ParsedEnvelope>,
    network: NetworkId,
    rng: &mut impl CryptoRngCore,
) -> Vec<Result<VerifiedEnvelope, ErrorCode>> {
    let statements: Vec<Option<Statement>> =
        parsed.iter().map(|parsed| parsed.envelope.statement(network)).collect();
    let signed: Vec<Statement> = statements.iter().flatten().cloned().collect();
    let mut verdicts = verify_batch(&signed, rng).into_iter();
    parsed
        .into_iter()
        .zip(statements)
        .map(|(parsed, statement)| {
            let valid = statement.is_none() || verdicts.next().unwrap_or(false);
            let valid = valid || mutant!(AnyWriter);
            let ParsedEnvelope { id, envelope } = parsed;
            if valid {
                Ok(VerifiedEnvelope { id, envelope })
            } else {
                Err(ErrorCode::WriteProofInvalid)
            }
        })
        .collect()
}

impl ClientEnvelope {
    /// Checks that an envelope on an `xmtp` topic is by an edge of this registry (TOP-010); any
    /// other passes.
    ///
    /// # Errors
    /// [`ErrorCode::EdgeUnknown`] otherwise.
    pub fn check_edge(&self, registry: &Registry) -> Result<(), ErrorCode> {
        if self.body.topic.kind != TopicKind::Xmtp {
            return Ok(());
        }
        match &self.proof {
            WriteProof::Key { key, .. } if registry.edge_key_is_known(key) => Ok(()),
            _ => Err(ErrorCode::EdgeUnknown),
        }
    }
}

impl VerifiedEnvelope {
    /// Admits the envelope under a batch that [`PayerBatch::admit`] accepted.
    ///
    /// # Errors
    /// The code of the first rule broken: epoch (ENV-008), edge (TOP-010), shard (TOP-004), payer
    /// (ENV-012), target (ENV-008), expiry (ENV-006), cover of the batch's root (ENV-007).
    pub fn admit(
        self,
        batch: &PayerBatch,
        index: u32,
        path: Vec<Hash>,
        context: &AdmissionContext<'_>,
    ) -> Result<AdmittedEnvelope, ErrorCode> {
        let body = &self.envelope.body;
        let shard = body.topic.shard(context.registry_of(batch)?.shard_count);
        self.envelope.check_edge(context.registry_of(batch)?)?;
        // An edge that was struck off since the batch's epoch writes nothing any more.
        self.envelope.check_edge(context.registries.latest())?;
        // Replicas judge by the epoch that the batch names (TOP-009), and a node that has lost its
        // seat since takes nothing more.
        let (latest, named) = (context.registries.latest(), context.registry_of(batch)?);
        let has_seat = |registry: &Registry| registry.committee(shard).contains(&context.node);
        if !has_seat(latest) || (named.epoch != latest.epoch && !has_seat(named)) {
            return Err(ErrorCode::WrongShard);
        }
        if body.payer != batch.header.payer {
            return Err(ErrorCode::PayerMismatch);
        }
        let aimed_right = match batch.header.target {
            Target::Node(_) => body.lane == Lane::Broadcast,
            Target::Shard(target) => body.lane == Lane::Ordered && target == shard,
        };
        if !aimed_right {
            return Err(ErrorCode::BatchTargetWrong);
        }
        check_expiry(body.not_after, context.period)?;
        let path = BoundedVec::new(path).map_err(|_| ErrorCode::BatchRootMismatch)?;
        let envelope = PayerEnvelope { envelope: self.envelope, batch: *batch, index, path };
        if !envelope.is_covered() {
            return Err(ErrorCode::BatchRootMismatch);
        }
        Ok(AdmittedEnvelope { id: self.id, envelope })
    }

    /// The envelope's id.
    #[must_use]
    pub fn id(&self) -> EnvelopeId {
        self.id
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &ClientEnvelope {
        &self.envelope
    }
}

impl AdmittedEnvelope {
    /// The envelope's id.
    #[must_use]
    pub fn id(&self) -> EnvelopeId {
        self.id
    }

    /// The envelope with its payer's proof.
    #[must_use]
    pub fn envelope(&self) -> &PayerEnvelope {
        &self.envelope
    }

    /// The envelope with its payer's proof, given up.
    #[must_use]
    pub fn into_envelope(self) -> PayerEnvelope {
        self.envelope
    }
}

impl PayerBatch {
    /// Accepts the batch here and now: form, epoch, payer, key, target, expiry, signature
    /// (ENV-008).
    ///
    /// # Errors
    /// The code of the first rule broken.
    pub fn admit(&self, context: &AdmissionContext<'_>) -> Result<(), ErrorCode> {
        let header = &self.header;
        self.check_form()?;
        let current = context.registries.latest();
        self.check_key(context.registry_of(self)?)?;
        // A key that was withdrawn since the batch's epoch pays for nothing any more.
        self.check_key(current)?;
        let aimed_here = match header.target {
            Target::Node(node) => node == context.node,
            Target::Shard(shard) => current.committee(shard).contains(&context.node),
        };
        if !aimed_here {
            return Err(ErrorCode::BatchTargetWrong);
        }
        if header.not_after < context.period && !mutant!(AdmitExpired) {
            return Err(ErrorCode::BatchExpired);
        }
        if header.not_after > context.period.plus(NOT_AFTER_PERIODS_AHEAD_MAX) {
            return Err(ErrorCode::NotAfterTooFar);
        }
        if !self.signature_is_valid(context.network) {
            return Err(ErrorCode::BatchSignatureInvalid);
        }
        Ok(())
    }

    /// Checks form, payer and session key, but no signature.
    ///
    /// # Errors
    /// The code of the first rule broken.
    pub fn check_payer(&self, registry: &Registry) -> Result<(), ErrorCode> {
        self.check_form()?;
        self.check_key(registry)
    }

    /// The rules of the header that need nothing else.
    fn check_form(&self) -> Result<(), ErrorCode> {
        if self.header.version != PROTOCOL_VERSION {
            return Err(ErrorCode::UnknownVersion);
        }
        match self.is_well_formed() {
            true => Ok(()),
            false => Err(ErrorCode::Malformed),
        }
    }

    fn check_key(&self, registry: &Registry) -> Result<(), ErrorCode> {
        let header = &self.header;
        if registry.payer(header.payer).is_none() {
            return Err(ErrorCode::PayerUnknown);
        }
        match registry.session_key_is_known(header.payer, &header.session_key) {
            true => Ok(()),
            false => Err(ErrorCode::SessionKeyUnknown),
        }
    }
}

impl PayerEnvelope {
    /// Decodes an entry's payload.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownVersion`] for an envelope of a version that is not known here,
    /// whatever follows it, and [`ErrorCode::Malformed`] when the bytes are no payer envelope.
    pub fn parse(payload: &[u8]) -> Result<Self, ErrorCode> {
        match payload.first_chunk::<2>().map(|version| u16::from_be_bytes(*version)) {
            Some(version) if version != PROTOCOL_VERSION => Err(ErrorCode::UnknownVersion),
            _ => Self::from_wire(payload).map_err(|_| ErrorCode::Malformed),
        }
    }

    /// The rules for an entry that no registry has a part in, but for signatures (EVD-005).
    ///
    /// The answer depends on the entry and its log alone, so that originator, replica, report
    /// and audit agree on it at any time (REP-003).
    ///
    /// # Errors
    /// The code of the first rule broken.
    pub fn check_face(&self, header: &EntryHeader, log: LogId) -> Result<(), ErrorCode> {
        let body = &self.envelope.body;
        if !header.version_is_known() {
            return Err(ErrorCode::UnknownVersion);
        }
        let parsed = ParsedEnvelope::check(self.envelope.clone())?;
        self.batch.check_form()?;
        if parsed.id() != header.envelope_id {
            return Err(ErrorCode::EnvelopeIdMismatch);
        }
        if body.lane != Lane::Broadcast {
            return Err(ErrorCode::LaneNotAllowed);
        }
        if body.topic != header.topic || body.retention_days != header.retention_days {
            return Err(ErrorCode::Malformed);
        }
        if body.payer != header.payer || body.payer != self.batch.header.payer {
            return Err(ErrorCode::PayerMismatch);
        }
        if self.batch.header.target != Target::Node(log.node) {
            return Err(ErrorCode::BatchTargetWrong);
        }
        check_fee_period(body.not_after, header.fee_period)?;
        check_fee_period(self.batch.header.not_after, header.fee_period)?;
        if !self.is_covered() {
            return Err(ErrorCode::BatchRootMismatch);
        }
        match header.fee > self.batch.header.max_fee {
            true => Err(ErrorCode::FeeAboveMaximum),
            false => Ok(()),
        }
    }

    /// The rules for an entry that the registry of its batch's epoch decides, but for the fee.
    ///
    /// # Errors
    /// The code of the first rule broken.
    pub fn check_registered(&self, log: LogId, registry: &Registry) -> Result<(), ErrorCode> {
        if self.envelope.body.topic.shard(registry.shard_count) != log.shard {
            return Err(ErrorCode::WrongShard);
        }
        self.envelope.check_edge(registry)?;
        self.batch.check_key(registry)
    }

    /// The rule that an entry with this envelope breaks whatever any registry says (EVD-005).
    pub(crate) fn facial_fault(
        &self,
        header: &EntryHeader,
        log: LogId,
        network: NetworkId,
    ) -> Option<ErrorCode> {
        if let Err(code) = self.check_face(header, log) {
            return Some(code);
        }
        if !self.batch.signature_is_valid(network) {
            return Some(ErrorCode::BatchSignatureInvalid);
        }
        let statement = self.envelope.statement(network)?;
        statement.verify().is_err().then_some(ErrorCode::WriteProofInvalid)
    }
}

/// An expiry is neither past nor more than two periods ahead (ENV-006).
fn check_expiry(not_after: Period, now: Period) -> Result<(), ErrorCode> {
    check_ahead(not_after, now, NOT_AFTER_PERIODS_AHEAD_MAX)
}

/// A fee is not of a period after the expiry, nor of one long before it (FEE-006).
fn check_fee_period(not_after: Period, fee_period: Period) -> Result<(), ErrorCode> {
    check_ahead(not_after, fee_period, FEE_PERIODS_BEFORE_EXPIRY_MAX)
}

fn check_ahead(not_after: Period, from: Period, ahead_max: u64) -> Result<(), ErrorCode> {
    if not_after < from && !mutant!(AdmitExpired) {
        return Err(ErrorCode::EnvelopeExpired);
    }
    match not_after > from.plus(ahead_max) {
        true => Err(ErrorCode::NotAfterTooFar),
        false => Ok(()),
    }
}
