//! Getting a commit ordered: one winner per position, and the loser tries again.

use rand::rngs::OsRng;
use tidings_envelope::{ClientEnvelope, Topic};
use tidings_mls::{Changes, OutgoingWelcome, PendingCommit};
use tidings_types::{ErrorCode, Position};

use crate::ConversationId;
use crate::conversation::Intent;
use crate::core::{Core, Engine, LASTING_DAYS};
use crate::error::{ClientError, GroupError};
use crate::store::{PendingCommitRow, Scope};
use crate::transport::{ROUNDS_MAX, backoff};
use crate::verify::Proven;

/// How often a change is made anew because another commit came first: as often as the largest
/// race that is to be survived, and as many again.
const ATTEMPTS_MAX: u32 = 128;

/// How the lane decided.
enum Decision {
    /// The commit took the position.
    Applied(Position),
    /// Another one did.
    Lost,
}

impl Core {
    /// Brings a conversation to what `intent` wants, whoever else changes it meanwhile.
    pub(crate) async fn change(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        intent: &Intent,
    ) -> Result<(), ClientError> {
        let (mut wished_in, mut mismatches) = (None, 0);
        for _ in 0..ATTEMPTS_MAX {
            self.pull_conversation(engine, id).await?;
            self.settle(engine, id).await?;
            self.check_active(id)?;
            let Some(changes) = self.changes(engine, id, intent).await? else { return Ok(()) };
            let pending = match self.prepare(engine, id, changes).await {
                // Somebody else pays now, and nothing was stored: the next attempt names them.
                Err(ClientError::Refused { code: ErrorCode::PayerMismatch })
                    if mismatches < ROUNDS_MAX =>
                {
                    mismatches += 1;
                    tokio::time::sleep(backoff(mismatches)).await;
                    continue;
                }
                pending => pending?,
            };
            self.payers.sealed(pending.envelope.body.id());
            match self.submit_commit(&pending.envelope).await {
                Ok(decision @ Decision::Applied(_)) => self.act_on(engine, id, decision).await?,
                Ok(Decision::Lost) => {
                    self.act_on(engine, id, Decision::Lost).await?;
                    self.wish_for(engine, id, intent, &mut wished_in).await?;
                }
                Err(error) => self.act_on_refusal(engine, id, &pending.envelope, error).await?,
            }
            // What others changed after ours is theirs to change: two who each made theirs anew
            // because of the other would never come to an end.
            if engine.applied == Some(pending.envelope.body.id()) {
                return Ok(());
            }
        }
        Err(GroupError::Raced { attempts: ATTEMPTS_MAX }.into())
    }

    /// Leaves to the winner of the next race what we lost in this one, once per epoch; we go on
    /// trying (MLS-031).
    async fn wish_for(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        intent: &Intent,
        wished_in: &mut Option<u64>,
    ) -> Result<(), ClientError> {
        self.pull_conversation(engine, id).await?;
        let (_, group) = engine.group(id)?;
        let epoch = group.epoch();
        let Some(wish) = intent.wish(&group.settings()).filter(|_| *wished_in != Some(epoch))
        else {
            return Ok(());
        };
        *wished_in = Some(epoch);
        let context = self.seal_context(LASTING_DAYS).await?;
        let (installation, group) = engine.group(id)?;
        let Ok(envelope) = group.wish(installation, wish, &context) else { return Ok(()) };
        if let Err(error) = self.deliver(&envelope).await {
            tracing::debug!(%id, %error, "a wish is not ordered");
        }
        Ok(())
    }

    /// Finds out what became of a commit that was submitted before a crash or a lost connection.
    pub(crate) async fn settle(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        let Some(row) = self.store().view().pending_commit(id)? else {
            // A call that was dropped half way leaves a commit in memory that went nowhere.
            let (_, group) = engine.group(id)?;
            return match group.pending_commit() {
                Some(_) => engine.load_group(&self.store(), id),
                None => Ok(()),
            };
        };
        match self.submit_commit(&row.envelope).await {
            Ok(decision) => self.act_on(engine, id, decision).await,
            Err(error) => self.act_on_refusal(engine, id, &row.envelope, error).await,
        }
    }

    async fn act_on(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        decision: Decision,
    ) -> Result<(), ClientError> {
        if engine.rejoins.contains_key(&id) {
            let decided = match decision {
                Decision::Applied(position) => Some(position),
                Decision::Lost => None,
            };
            return Box::pin(self.settle_rejoin(engine, id, decided)).await;
        }
        match decision {
            Decision::Applied(position) => self.await_own_commit(engine, id, position).await,
            Decision::Lost => self.forget_commit(engine, id),
        }
    }

    /// A refusal does not say whether the lane had applied the commit earlier; the lane does.
    ///
    /// Answers once the commit is known to be applied or lost, if the refusal says no more than
    /// that it was decided, that it is late, or that somebody else pays.
    async fn act_on_refusal(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        envelope: &ClientEnvelope,
        error: ClientError,
    ) -> Result<(), ClientError> {
        let ClientError::Refused { code } = error else { return Err(error) };
        if code.retryable() {
            return Err(error);
        }
        if engine.rejoins.contains_key(&id) {
            // Whether it was ordered before does not matter: another way in replaces it.
            return Box::pin(self.settle_rejoin(engine, id, None)).await;
        }
        if code == ErrorCode::PayerMismatch {
            // Nobody was given it, as the gateway has it, and the next one names who pays now.
            self.pull_conversation(engine, id).await?;
            let is_pending = self.store().view().pending_commit(id)?.is_some();
            return if is_pending { self.forget_commit(engine, id) } else { Ok(()) };
        }
        let is_late = code == ErrorCode::EnvelopeExpired;
        let may_be_ordered = self.nodes.period().await? <= envelope.body.not_after.plus(1);
        self.pull_conversation(engine, id).await?;
        if self.store().view().pending_commit(id)?.is_some() {
            // Until its expiry is past everywhere, a lane may still apply what was refused now:
            // an earlier attempt may wait there.
            if may_be_ordered {
                let unavailable = ClientError::Refused { code: ErrorCode::OrderingUnavailable };
                return Err(if is_late { unavailable } else { error });
            }
            self.forget_commit(engine, id)?;
        }
        match is_late || code == ErrorCode::Repeated {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// Makes a commit, stores its welcome on the network, and itself with the ratchet's delta.
    async fn prepare(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        changes: Changes,
    ) -> Result<PendingCommit, ClientError> {
        let context = self.seal_context(LASTING_DAYS).await?;
        let (installation, group) = engine.group(id)?;
        let pending = group.commit(installation, changes, &context, &mut OsRng)?;
        let pointers = match &pending.welcome {
            Some(welcome) => self.pointers(id, welcome, &context)?,
            None => Vec::new(),
        };
        // A blob without a commit harms nobody; a commit without its blob leaves people out.
        if let Some(welcome) = &pending.welcome
            && let Err(error) = self.deliver(&welcome.blob).await
        {
            engine.load_group(&self.store(), id)?;
            return Err(error);
        }
        let (_, group) = engine.group(id)?;
        let delta = group.take_delta();
        let row =
            PendingCommitRow { conversation: id, envelope: pending.envelope.clone(), pointers };
        let written: Result<(), ClientError> = self.store().transact(|tx| {
            tx.apply_delta(Scope::Group(id), delta)?;
            Ok(tx.put_pending_commit(&row)?)
        });
        if let Err(error) = written {
            engine.load_group(&self.store(), id)?;
            return Err(error);
        }
        Ok(pending)
    }

    fn pointers(
        &self,
        id: ConversationId,
        welcome: &OutgoingWelcome,
        context: &tidings_mls::SealContext,
    ) -> Result<Vec<(Topic, Vec<u8>)>, ClientError> {
        let (group, buckets) = (tidings_mls::GroupId(id.0), self.mailbox_buckets());
        let mut pointers = Vec::new();
        for invitee in &welcome.invitees {
            let envelope =
                welcome.reference.point(group, invitee, buckets, context, self.network)?;
            pointers.push((envelope.body.topic, envelope.body.payload.into_vec()));
        }
        Ok(pointers)
    }

    async fn submit_commit(&self, envelope: &ClientEnvelope) -> Result<Decision, ClientError> {
        match self.deliver_again(envelope).await {
            Ok(Proven::Applied(position)) => Ok(Decision::Applied(position)),
            Ok(Proven::Conflict) | Err(ClientError::Refused { code: ErrorCode::Conflict }) => {
                Ok(Decision::Lost)
            }
            Ok(Proven::Stored) => Err(crate::error::VerifyFailure::Misplaced.into()),
            Err(error) => Err(error),
        }
    }

    /// Reads the lane until our own commit has been processed like anybody's.
    async fn await_own_commit(
        &self,
        engine: &mut Engine,
        id: ConversationId,
        position: Position,
    ) -> Result<(), ClientError> {
        for round in 0..=ROUNDS_MAX {
            tokio::time::sleep(backoff(round)).await;
            self.pull_conversation(engine, id).await?;
            if self.store().view().pending_commit(id)?.is_none() {
                return Ok(());
            }
        }
        tracing::warn!(%id, %position, "no replica serves a commit that is certified");
        Err(ClientError::Refused { code: ErrorCode::ReplicationPending })
    }

    /// Forgets a commit that cannot be ordered any more.
    fn forget_commit(&self, engine: &mut Engine, id: ConversationId) -> Result<(), ClientError> {
        let (_, group) = engine.group(id)?;
        group.commit_lost();
        let delta = group.take_delta();
        let written: Result<(), ClientError> = self.store().transact(|tx| {
            tx.apply_delta(Scope::Group(id), delta)?;
            Ok(tx.remove_pending_commit(id)?)
        });
        if written.is_err() {
            engine.load_group(&self.store(), id)?;
        }
        written
    }
}
