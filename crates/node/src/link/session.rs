//! One connection's life: hello both ways, then control frames and data streams until it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tidings_replica::wire::ControlFrame;
use tidings_types::constants::PROTOCOL_VERSION;
use tidings_types::{NodeId, Wire};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::link::events::LinkEvent;
use crate::link::frame::{self, CONTROL_FRAME_BYTES_MAX, ReadError};
use crate::link::peers::{Link, is_registered};
use crate::link::{LinkFault, Shared, stream, tls};

/// Control frames leave before what waits on data streams, which have priority 0.
const CONTROL_PRIORITY: i32 = 1;

/// The discriminant of [`ControlFrame::Hello`], after which its version stands in any version.
const HELLO: u8 = 1;

/// What a connection is used for from its handshake to its end; says whether it became a link.
pub(crate) async fn run(shared: &Arc<Shared>, connection: Connection, peer: NodeId) -> bool {
    let Some(key) = tls::peer_key(&connection) else {
        shared.close(&connection, LinkFault::Unregistered);
        return false;
    };
    let patience = Duration::from_millis(shared.limits.handshake_timeout_ms);
    let greeting = tokio::time::timeout(patience, greet(shared, &connection)).await;
    let (sending, receiving) = match greeting.unwrap_or(Err(LinkFault::Silent.into())) {
        Ok(streams) => streams,
        Err(ReadError::Fault(fault)) => {
            shared.close(&connection, fault);
            return false;
        }
        Err(ReadError::Lost) => return false,
    };
    let turn = shared.peers.turn(peer).await;
    let queue_bytes_max = shared.limits.control_queue_bytes_max;
    let (link, queue) = Link::new(peer, key, connection.clone(), queue_bytes_max);
    if !shared.peers.install(&turn, &link) {
        shared.close(&connection, LinkFault::Replaced);
        return false;
    }
    // The registry may have changed since the handshake, before the link could be found (REP-008).
    if !is_registered(&shared.registry.borrow(), peer, &key) {
        shared.peers.remove(&turn);
        shared.close(&connection, LinkFault::Unregistered);
        return false;
    }
    shared.counters.link_is_up();
    tracing::debug!(%peer, "link up");
    if shared.events.control(LinkEvent::Up(peer), 0).await.is_ok() {
        converse(shared, &link, sending, queue, receiving).await;
    } else {
        shared.close(&connection, LinkFault::ShuttingDown);
    }
    shared.peers.remove(&turn);
    shared.counters.link_is_down();
    tracing::debug!(%peer, reason = ?connection.close_reason(), "link down");
    // Without a consumer there is nobody to tell.
    let _ = shared.events.control(LinkEvent::Down(peer), 0).await;
    true
}

/// Opens the control streams and exchanges hellos (REP-002).
async fn greet(
    shared: &Shared,
    connection: &Connection,
) -> Result<(SendStream, RecvStream), ReadError> {
    let hello = ControlFrame::Hello { version: PROTOCOL_VERSION, network: shared.network };
    let hello = frame::encode(&hello, CONTROL_FRAME_BYTES_MAX).ok_or(LinkFault::Internal)?;
    let mut sending = connection.open_uni().await.map_err(|_| ReadError::Lost)?;
    sending.set_priority(CONTROL_PRIORITY).map_err(|_| ReadError::Lost)?;
    sending.write_chunk(hello).await.map_err(|_| ReadError::Lost)?;
    let mut receiving = connection.accept_uni().await.map_err(|_| ReadError::Lost)?;
    let body = frame::read(&mut receiving, CONTROL_FRAME_BYTES_MAX).await?;
    check_hello(shared, &body.ok_or(LinkFault::Malformed)?)?;
    Ok((sending, receiving))
}

/// Checks the peer's first frame (REP-002).
///
/// The version is read before the rest, which another version may lay out in another way.
fn check_hello(shared: &Shared, body: &[u8]) -> Result<(), LinkFault> {
    let [HELLO, high, low, ..] = *body else {
        return Err(LinkFault::Malformed);
    };
    if u16::from_be_bytes([high, low]) != PROTOCOL_VERSION {
        return Err(LinkFault::UnknownVersion);
    }
    match ControlFrame::from_wire(body) {
        Ok(ControlFrame::Hello { network, .. }) if network == shared.network => Ok(()),
        Ok(ControlFrame::Hello { .. }) => Err(LinkFault::WrongNetwork),
        _ => Err(LinkFault::Malformed),
    }
}

/// Runs the link's tasks until one of them or the connection ends.
async fn converse(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    sending: SendStream,
    queue: mpsc::Receiver<Bytes>,
    receiving: RecvStream,
) {
    let mut tasks = JoinSet::new();
    tasks.spawn(write_control(shared.clone(), link.clone(), sending, queue));
    tasks.spawn(read_control(shared.clone(), link.peer, receiving));
    tasks.spawn(stream::serve_all(shared.clone(), link.connection.clone()));
    let fault = tokio::select! {
        _ = link.connection.closed() => None,
        Some(ended) = tasks.join_next() => Some(ended.unwrap_or(LinkFault::Internal)),
    };
    if let Some(fault) = fault {
        shared.close(&link.connection, fault);
    }
    tasks.shutdown().await;
}

/// Writes queued control frames until the stream breaks.
async fn write_control(
    shared: Arc<Shared>,
    link: Arc<Link>,
    mut stream: SendStream,
    mut queue: mpsc::Receiver<Bytes>,
) -> LinkFault {
    while let Some(frame) = queue.recv().await {
        let length = frame.len();
        if stream.write_chunk(frame).await.is_err() {
            break;
        }
        link.written(length);
        shared.counters.control_out();
    }
    LinkFault::Malformed
}

/// Passes control frames on until the stream ends, which it must not while the link is up.
async fn read_control(shared: Arc<Shared>, peer: NodeId, mut stream: RecvStream) -> LinkFault {
    loop {
        let body = match frame::read(&mut stream, CONTROL_FRAME_BYTES_MAX).await {
            Ok(Some(body)) => body,
            Ok(None) | Err(ReadError::Lost) => return LinkFault::Malformed,
            Err(ReadError::Fault(fault)) => return fault,
        };
        let event = match ControlFrame::from_wire(&body) {
            // A second hello is out of place (REP-012).
            Err(_) | Ok(ControlFrame::Hello { .. }) => return LinkFault::Malformed,
            Ok(frame) => LinkEvent::Control(peer, frame),
        };
        shared.counters.control_in();
        if shared.events.control(event, body.len()).await.is_err() {
            return LinkFault::ShuttingDown;
        }
    }
}
