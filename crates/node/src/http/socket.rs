//! `GET /v1/subscribe`: one task per subscriber moves frames between its WebSocket, storage and
//! the hub.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use tidings_envelope::api::{NodeFrame, SubscriberFrame, TopicPage};
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{ErrorCode, Wire};
use tokio::time::{Instant, timeout};

use super::config::SUBSCRIBER_FRAME_BYTES_MAX;
use super::guard::Caller;
use super::refusal::Refusal;
use super::subscriber::{Read, Subscriber};
use super::{Api, drained};

/// Entries of one read for a subscriber: small enough that one slow subscriber holds little.
const CATCH_UP_ENTRIES: usize = 256;

/// Bytes of one read for a subscriber; a single entry may be larger.
const CATCH_UP_BYTES: usize = 1 << 20;

/// Both buffers of a WebSocket stay at this, so that an idle subscriber costs little.
const BUFFER_BYTES: usize = 4 << 10;

/// A message over this cuts the connection; one that is merely over its limit is answered.
const CUT_OFF_BYTES: usize = 2 * SUBSCRIBER_FRAME_BYTES_MAX;

/// Upgrades to a WebSocket that carries `SubscriberFrame`s and `NodeFrame`s.
pub(super) async fn subscribe(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let upgrade = upgrade.map_err(Refusal::malformed)?;
    if *api.draining.borrow() {
        return Err(ErrorCode::ShuttingDown.into());
    }
    let upgrade = upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(CUT_OFF_BYTES)
        .max_frame_size(CUT_OFF_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let Caller { address, slot } = caller;
        Session::new(api, socket, address).run().await;
        drop(slot);
    }))
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The other side is gone, silent, or takes nothing off the wire.
    Gone,
    /// The other side is told this code first.
    Refused(ErrorCode),
}

type Reading = BoxFuture<'static, (Read, Result<TopicPage, ErrorCode>)>;

/// One open WebSocket.
struct Session {
    api: Arc<Api>,
    socket: WebSocket,
    address: IpAddr,
    subscriber: Subscriber,
    reading: Option<Reading>,
    sent_at: Instant,
    heard_at: Instant,
    is_pinged: bool,
    /// A message over the address's rate, and when it may be served; none is read meanwhile.
    held: Option<(Instant, Bytes)>,
}

impl Session {
    fn new(api: Arc<Api>, socket: WebSocket, address: IpAddr) -> Self {
        let subscriber = Subscriber::new(&api.hub);
        let now = Instant::now();
        Self {
            api,
            socket,
            address,
            subscriber,
            reading: None,
            sent_at: now,
            heard_at: now,
            is_pinged: false,
            held: None,
        }
    }

    async fn run(mut self) {
        let end = match self.converse().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if let End::Refused(code) = end {
            let frame = NodeFrame::Refused { topic: None, code };
            // Whether this arrives is up to the other side.
            if self.send(vec![frame.to_wire().into()]).await.is_ok() {
                let closing = self.socket.send(Message::Close(None));
                let _ = timeout(self.api.limits().write_timeout(), closing).await;
            }
        }
    }

    /// Greets (API-008) and then serves whatever happens next, until something ends it.
    async fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        let hello = NodeFrame::Hello {
            version: PROTOCOL_VERSION,
            network: self.api.backend.network(),
            period: self.api.backend.period(),
        };
        self.send(vec![hello.to_wire().into()]).await?;
        let mut draining = self.api.draining.clone();
        loop {
            self.start_read();
            let alarm = self.next_alarm();
            let is_listening = self.held.is_none();
            tokio::select! {
                () = drained(&mut draining) => {
                    return Err(End::Refused(ErrorCode::ShuttingDown));
                }
                message = self.socket.next(), if is_listening => match message {
                    Some(Ok(message)) => self.heard(message).await?,
                    Some(Err(_)) | None => return Err(End::Gone),
                },
                () = self.subscriber.filled() => {
                    let frames = self.subscriber.live(self.subscriber.waiting());
                    let behind = self.subscriber.take_fallen_behind();
                    self.api.metrics.fallen_behind.add(behind);
                    self.send(frames).await?;
                }
                (read, result) = outcome(&mut self.reading) => {
                    self.reading = None;
                    self.finish_read(&read, result).await?;
                }
                () = tokio::time::sleep_until(alarm) => self.alarm().await?,
            }
        }
    }

    /// Starts the next read from storage, unless one is under way.
    fn start_read(&mut self) {
        if self.reading.is_some() {
            return;
        }
        let Some(read) = self.subscriber.next_read() else { return };
        let api = self.api.clone();
        self.reading = Some(Box::pin(async move {
            let Ok(_turn) = api.catch_up_reads.acquire().await else {
                return (read, Err(ErrorCode::ShuttingDown));
            };
            let cursor = read.cursor.clone();
            let page = api.backend.topic_page(read.topic, cursor, CATCH_UP_ENTRIES, CATCH_UP_BYTES);
            let result = page.await;
            (read, result)
        }));
    }

    async fn finish_read(
        &mut self,
        read: &Read,
        result: Result<TopicPage, ErrorCode>,
    ) -> Result<(), End> {
        let frames = match result {
            Ok(page) => self.subscriber.page(read, page),
            Err(code) => {
                self.api.metrics.failed(code);
                self.subscriber.failed(read, code).into_iter().collect()
            }
        };
        self.send(frames).await
    }

    async fn heard(&mut self, message: Message) -> Result<(), End> {
        self.heard_at = Instant::now();
        self.is_pinged = false;
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            // The WebSocket itself answers pings.
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Gone),
            Message::Text(_) => return Err(End::Refused(ErrorCode::Malformed)),
        };
        if bytes.len() > SUBSCRIBER_FRAME_BYTES_MAX {
            return Err(End::Refused(ErrorCode::TooLarge));
        }
        self.serve(bytes).await
    }

    /// Serves a message, or holds it back until the address's rate allows it (API-014).
    async fn serve(&mut self, bytes: Bytes) -> Result<(), End> {
        let now = Instant::now();
        if let Err(wait) = self.api.rates.take(self.address, now) {
            self.held = Some((now + wait, bytes));
            return Ok(());
        }
        let frame =
            SubscriberFrame::from_wire(&bytes).map_err(|_| End::Refused(ErrorCode::Malformed))?;
        match frame {
            SubscriberFrame::Subscribe(subscriptions) => {
                let mut refusals: Vec<Bytes> = Vec::new();
                for subscription in subscriptions.iter() {
                    let topic = subscription.topic;
                    let added = self.api.backend.serves(topic);
                    if let Err(code) = added.and_then(|()| self.subscriber.add(subscription)) {
                        let refusal = NodeFrame::Refused { topic: Some(topic), code };
                        refusals.push(refusal.to_wire().into());
                    }
                }
                self.send(refusals).await
            }
            SubscriberFrame::Unsubscribe(topics) => {
                topics.iter().for_each(|topic| self.subscriber.remove(topic));
                Ok(())
            }
        }
    }

    /// When to look at the clock next.
    fn next_alarm(&self) -> Instant {
        let limits = self.api.limits();
        let patience = match self.is_pinged {
            true => limits.subscriber_silence(),
            false => limits.subscriber_silence() / 2,
        };
        let alarm = (self.sent_at + limits.heartbeat()).min(self.heard_at + patience);
        self.held.as_ref().map_or(alarm, |(until, _)| alarm.min(*until))
    }

    /// Serves what was held back, sends the heartbeat that is due, pings the silent, gives up the gone.
    async fn alarm(&mut self) -> Result<(), End> {
        let (now, limits) = (Instant::now(), *self.api.limits());
        if let Some((_, bytes)) = self.held.take_if(|(until, _)| *until <= now) {
            self.serve(bytes).await?;
        }
        let silence = now.duration_since(self.heard_at);
        if silence >= limits.subscriber_silence() {
            return Err(End::Gone);
        }
        if silence >= limits.subscriber_silence() / 2 && !self.is_pinged {
            self.is_pinged = true;
            self.write(Message::Ping(Bytes::new())).await?;
            self.flush().await?;
        }
        if now.duration_since(self.sent_at) >= limits.heartbeat() {
            let heartbeat = NodeFrame::Heartbeat { period: self.api.backend.period() };
            self.send(vec![heartbeat.to_wire().into()]).await?;
        }
        Ok(())
    }

    async fn send(&mut self, frames: Vec<Bytes>) -> Result<(), End> {
        if frames.is_empty() {
            return Ok(());
        }
        for frame in frames {
            self.write(Message::Binary(frame)).await?;
        }
        self.flush().await?;
        self.sent_at = Instant::now();
        Ok(())
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        let writing = timeout(self.api.limits().write_timeout(), self.socket.feed(message));
        writing.await.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
    }

    async fn flush(&mut self) -> Result<(), End> {
        let flushing = timeout(self.api.limits().write_timeout(), self.socket.flush());
        flushing.await.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
    }
}

/// The read under way, or for ever nothing.
async fn outcome(reading: &mut Option<Reading>) -> (Read, Result<TopicPage, ErrorCode>) {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
