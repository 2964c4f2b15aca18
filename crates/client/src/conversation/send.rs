//! Sending: a message is queued, encrypted, given to the network, and shown as sent once enough
//! replicas have signed that they hold it.

use tidings_envelope::{ClientEnvelope, EnvelopeBody, Payload, WriteProof};
use tidings_mls::{Content, MessageId, SealContext, SealError};
use tidings_types::{ErrorCode, Wire};

use crate::conversation::Intent;
use crate::core::{Core, MESSAGE_DAYS, now};
use crate::error::{CallerError, ClientError};
use crate::event::Event;
use crate::store::{Delivery, MessageRow, NewMessage, OutboxItem, OutboxRow, Scope};
use crate::transport::{ROUNDS_MAX, backoff};
use crate::verify::Proven;
use crate::{ConversationId, Message, StoreError};

/// How many envelopes go to the gateway at once.
const SEND_MAX: usize = 128;

/// What emptying the outbox came to.
enum Flushed {
    /// What there was is sent, or given up.
    Done,
    /// Something waits still.
    Later(ErrorCode),
}

impl Core {
    /// Queues a message and sends what waits; the message as it stands then.
    pub(crate) async fn send(
        &self,
        id: ConversationId,
        content: &Content,
    ) -> Result<Message, ClientError> {
        self.check_open(id)?;
        let bytes = content.to_wire();
        let new = NewMessage {
            id: None,
            envelope: None,
            conversation: id,
            sender: self.own_inbox()?,
            installation: self.key.public_key(),
            epoch: 0,
            content: &bytes,
            sent_at: now(),
            delivery: Delivery::Queued,
        };
        let number = self.store().transact(|tx| tx.insert_message(&new))?;
        let number = number.ok_or(StoreError::Damaged("a message has no number"))?;
        if let Err(error) = self.flush_outbox().await {
            tracing::debug!(%error, "a message waits");
        }
        let row = self.store().view().message(number)?;
        Ok(Message::from_row(row.ok_or(StoreError::Damaged("a message is gone"))?)?)
    }

    /// Encrypts what is queued and sends what is encrypted, until nothing waits.
    ///
    /// # Errors
    /// When something waits still; it is tried again at the next call.
    pub(crate) async fn flush_outbox(&self) -> Result<(), ClientError> {
        let _turn = self.sending.lock().await;
        let mut refusals = 0;
        loop {
            let store_is_idle = {
                let store = self.store();
                store.view().queued_messages()?.is_empty() && store.view().outbox()?.is_empty()
            };
            if store_is_idle {
                return Ok(());
            }
            let context = self.seal_context(MESSAGE_DAYS).await?;
            self.seal_queued(&context).await?;
            match self.send_outbox(&context).await? {
                Flushed::Done => {}
                Flushed::Later(code) if refusals == ROUNDS_MAX => {
                    return Err(ClientError::Refused { code });
                }
                Flushed::Later(_) => {
                    refusals += 1;
                    tokio::time::sleep(backoff(refusals)).await;
                }
            }
        }
    }

    async fn seal_queued(&self, context: &SealContext) -> Result<(), ClientError> {
        let queued = self.store().view().queued_messages()?;
        for row in queued {
            match self.seal(&row, context).await {
                Ok(()) => {}
                Err(ClientError::Group(error)) => self.fail(&row, &error.to_string())?,
                Err(ClientError::Caller(error)) => self.fail(&row, &error.to_string())?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Encrypts one message; ratchet, message and outbox change together.
    async fn seal(&self, row: &MessageRow, context: &SealContext) -> Result<(), ClientError> {
        let id = row.conversation;
        let mut engine = self.engine.lock().await;
        self.check_active(id)?;
        let content = Content::from_wire(&row.content)
            .map_err(|_| StoreError::Damaged("a queued message is not readable"))?;
        let (installation, group) = engine.group(id)?;
        let sealed = group.send(installation, content.clone(), row.sent_at, context);
        let sealed = match sealed {
            // Somebody asked to leave, and what we say is not for them any more.
            Err(SealError::LeavePending) => {
                self.change(&mut engine, id, &Intent::LetGo).await?;
                let (installation, group) = engine.group(id)?;
                group.send(installation, content, row.sent_at, context)?
            }
            sealed => sealed?,
        };
        let (_, group) = engine.group(id)?;
        let delta = group.take_delta();
        let envelope = Box::new(sealed.envelope);
        let written: Result<(), ClientError> = self.store().transact(|tx| {
            tx.apply_delta(Scope::Group(id), delta)?;
            let (message, epoch) = (sealed.message.id.0, sealed.message.epoch);
            tx.set_message_sealed(row.number, message, envelope.body.id(), epoch)?;
            self.payers.sealed(envelope.body.id());
            tx.push_outbox(&OutboxItem::Message { message: row.number, envelope })?;
            Ok(())
        });
        self.reload_on_failure(&mut engine, id, written)?;
        self.tell_delivery(row.conversation, row.number, Delivery::Sending);
        Ok(())
    }

    async fn send_outbox(&self, context: &SealContext) -> Result<Flushed, ClientError> {
        let rows = self.store().view().outbox()?;
        let mut flushed = Flushed::Done;
        for chunk in rows.chunks(SEND_MAX) {
            let envelopes: Vec<ClientEnvelope> = chunk
                .iter()
                .map(|row| to_envelope(&row.item, context))
                .collect::<Result<_, _>>()?;
            let outcomes = self.deliver_all(&envelopes).await?;
            for ((row, envelope), outcome) in chunk.iter().zip(&envelopes).zip(outcomes) {
                match self.settle_sent(row, envelope, outcome).await? {
                    Flushed::Done => {}
                    later => flushed = later,
                }
            }
        }
        Ok(flushed)
    }

    /// Acts on what became of one envelope of the outbox.
    async fn settle_sent(
        &self,
        row: &OutboxRow,
        envelope: &ClientEnvelope,
        outcome: Result<Proven, ErrorCode>,
    ) -> Result<Flushed, ClientError> {
        let message = match &row.item {
            OutboxItem::Message { message, .. } => Some(*message),
            OutboxItem::Stamped { .. } => None,
        };
        let delivery = match outcome {
            Ok(_) => Delivery::Sent,
            Err(code @ (ErrorCode::EnvelopeExpired | ErrorCode::NotAfterTooFar)) => {
                self.nodes.reset_period(self.gateway.status().await?.period);
                return self.renew(row, message, envelope, code).await;
            }
            // Nobody was given it, as the gateway has it, and the next one names who pays now.
            Err(code @ ErrorCode::PayerMismatch) => {
                return self.renew(row, message, envelope, code).await;
            }
            // What is wrong with the envelope stays wrong, and a quota is the user's to deal with.
            Err(code) if code.peer_at_fault() || is_over_quota(code) => {
                Delivery::Failed { reason: code.to_string() }
            }
            Err(code) => return Ok(Flushed::Later(code)),
        };
        if delivery != Delivery::Sent {
            self.withdraw(message).await?;
        }
        self.finish_sending(row, message, &delivery)?;
        Ok(Flushed::Done)
    }

    /// Has the conversation forget an encrypted form of a message that nobody will ever see.
    async fn withdraw(&self, message: Option<u64>) -> Result<(), ClientError> {
        let Some(number) = message else { return Ok(()) };
        let Some(row) = self.store().view().message(number)? else { return Ok(()) };
        let (id, Some(message)) = (row.conversation, row.id) else { return Ok(()) };
        let mut engine = self.engine.lock().await;
        // Who is out of the group by now sends nothing after it.
        let Ok((_, group)) = engine.group(id) else { return Ok(()) };
        group.withdraw(MessageId(message));
        let delta = group.take_delta();
        let written = self.store().transact(|tx| tx.apply_delta(Scope::Group(id), delta));
        self.reload_on_failure(&mut engine, id, written.map_err(ClientError::from))
    }

    /// An envelope is refused for its expiry or its payer, but may have been stored earlier: the
    /// topic says. Otherwise the message is encrypted once more.
    async fn renew(
        &self,
        row: &OutboxRow,
        message: Option<u64>,
        envelope: &ClientEnvelope,
        code: ErrorCode,
    ) -> Result<Flushed, ClientError> {
        // Stamped payloads are put into a fresh envelope each time.
        let Some(number) = message else { return Ok(Flushed::Later(code)) };
        let conversation = self.store().view().message(number)?.map(|row| row.conversation);
        if let Some(id) = conversation {
            let mut engine = self.engine.lock().await;
            self.pull_conversation(&mut engine, id).await?;
        }
        if self.store().view().is_seen(envelope.body.id())? {
            self.finish_sending(row, message, &Delivery::Sent)?;
            return Ok(Flushed::Done);
        }
        self.withdraw(message).await?;
        self.finish_sending(row, message, &Delivery::Queued)?;
        Ok(Flushed::Later(code))
    }

    fn finish_sending(
        &self,
        row: &OutboxRow,
        message: Option<u64>,
        delivery: &Delivery,
    ) -> Result<(), ClientError> {
        let conversation = self.store().transact(|tx| -> Result<_, StoreError> {
            tx.remove_outbox(row.number)?;
            let Some(number) = message else { return Ok(None) };
            tx.set_delivery(number, delivery)?;
            Ok(tx.view().message(number)?.map(|row| (row.conversation, number)))
        })?;
        if let Some((conversation, number)) = conversation {
            self.tell_delivery(conversation, number, delivery.clone());
        }
        Ok(())
    }

    fn fail(&self, row: &MessageRow, reason: &str) -> Result<(), ClientError> {
        let delivery = Delivery::Failed { reason: reason.to_owned() };
        self.store().transact(|tx| tx.set_delivery(row.number, &delivery))?;
        self.tell_delivery(row.conversation, row.number, delivery);
        Ok(())
    }

    fn tell_delivery(&self, conversation: ConversationId, number: u64, delivery: Delivery) {
        self.events.tell(&Event::Delivery { conversation, number, delivery });
    }
}

fn is_over_quota(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::QuotaExceeded | ErrorCode::PayerOverCap | ErrorCode::InsufficientFunds
    )
}

/// What goes on the wire; a stamped payload gets a fresh expiry each time.
fn to_envelope(item: &OutboxItem, context: &SealContext) -> Result<ClientEnvelope, ClientError> {
    match item {
        OutboxItem::Message { envelope, .. } => Ok(envelope.as_ref().clone()),
        OutboxItem::Stamped { topic, payload } => {
            let length_bytes = payload.len();
            let payload =
                Payload::new(payload.clone()).map_err(|_| CallerError::TooLong { length_bytes })?;
            let body = EnvelopeBody {
                retention_days: context.retention_days,
                ..EnvelopeBody::broadcast(*topic, context.payer, context.not_after, payload)
            };
            Ok(ClientEnvelope { body, proof: WriteProof::FeeStamp })
        }
    }
}
