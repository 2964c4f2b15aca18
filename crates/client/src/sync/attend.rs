//! What commits that are not proved ask of us: to say that we followed or could not, and to go back
//! when nobody could (MLS-028 to MLS-030).

use tidings_mls::GroupStatus;

use crate::ConversationId;
use crate::core::{Core, Engine, LASTING_DAYS};
use crate::error::ClientError;
use crate::store::Scope;

/// A few statements may follow from one another in one turn.
const TURNS_MAX: u32 = 4;

impl Core {
    /// States what is due about a conversation's commits, restarts it if it is our turn, and gets
    /// us back in if we were ejected.
    pub(crate) async fn attend(
        &self,
        engine: &mut Engine,
        id: ConversationId,
    ) -> Result<(), ClientError> {
        for _ in 0..TURNS_MAX {
            if !self.speak(engine, id).await? {
                break;
            }
            self.pull_conversation(engine, id).await?;
        }
        let (_, group) = engine.group(id)?;
        match group.status() {
            GroupStatus::Ejected => self.ask_back(engine, id).await,
            GroupStatus::Active => self.make_sure(engine, id).await,
            GroupStatus::Removed | GroupStatus::Rejoining => Ok(()),
        }
    }

    /// Says the next thing that is due; false when there is none.
    async fn speak(&self, engine: &mut Engine, id: ConversationId) -> Result<bool, ClientError> {
        let (_, group) = engine.group(id)?;
        if group.open_topics().is_empty() {
            return Ok(false);
        }
        let now = self.nodes.period().await?;
        let context = self.seal_context(LASTING_DAYS).await?;
        let (installation, group) = engine.group(id)?;
        let mut envelope = group.testify(installation, now, &context)?;
        if envelope.is_none() {
            envelope = group.restart(installation, now, &context)?;
        }
        let Some(envelope) = envelope else { return Ok(false) };
        let delta = group.take_delta();
        let written: Result<(), ClientError> =
            self.store().transact(|tx| Ok(tx.apply_delta(Scope::Group(id), delta)?));
        self.reload_on_failure(engine, id, written)?;
        // Whatever becomes of it, the lane says; what is not heard of is said again.
        if let Err(error) = self.deliver(&envelope).await {
            tracing::debug!(%id, %error, "a statement is not ordered");
            return Ok(false);
        }
        Ok(true)
    }
}
