//! Data streams: the feeds that this node serves, and those that it follows (REP-007).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use quinn::{Connection, RecvStream, SendStream};
use tidings_replica::wire::{FeedFrame, FeedRequest};
use tidings_types::Wire;
use tidings_types::constants::FEED_FRAME_BYTES_MAX;
use tokio::task::JoinSet;

use crate::link::events::LinkEvent;
use crate::link::frame::{self, REQUEST_BYTES_MAX, ReadError};
use crate::link::peers::Link;
use crate::link::{LinkFault, Shared};

/// Serves every stream that the peer opens, until the connection ends or the peer is at fault.
pub(crate) async fn serve_all(shared: Arc<Shared>, connection: Connection) -> LinkFault {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((sending, receiving)) => {
                    streams.spawn(serve(shared.clone(), sending, receiving));
                }
                Err(_) => return LinkFault::ShuttingDown,
            },
            Some(ended) = streams.join_next() => match ended {
                Ok(Ok(()) | Err(ReadError::Lost)) => {}
                Ok(Err(ReadError::Fault(fault))) => return fault,
                Err(_) => return LinkFault::Internal,
            },
        }
    }
}

/// Answers one request with its feed, until the peer stops it or the source fails.
async fn serve(
    shared: Arc<Shared>,
    mut sending: SendStream,
    mut receiving: RecvStream,
) -> Result<(), ReadError> {
    let Some(body) = frame::read(&mut receiving, REQUEST_BYTES_MAX).await? else {
        return Ok(());
    };
    let request = FeedRequest::from_wire(&body).map_err(|_| LinkFault::Malformed)?;
    let mut reader = shared.feeds.open(request);
    let mut stopped = pin!(sending.stopped());
    loop {
        let frame = tokio::select! {
            frame = reader.frame() => frame,
            _ = &mut stopped => return Ok(()),
        };
        let Ok(frame) = frame else { break };
        let length = frame.len();
        sending.write_chunk(frame).await.map_err(|_| ReadError::Lost)?;
        shared.counters.feed_out(length);
    }
    // The end tells the peer to ask elsewhere, or again.
    sending.finish().map_err(|_| ReadError::Lost)
}

/// Follows a feed until the peer ends it; passes its frames on as fast as they are taken.
pub(crate) async fn follow(
    shared: Arc<Shared>,
    link: Arc<Link>,
    request: FeedRequest,
    live: Arc<AtomicBool>,
) {
    match receive(&shared, &link, request, &live).await {
        Ok(()) | Err(ReadError::Lost) => {
            link.follow_ended(&request.into(), &live);
            let ended = LinkEvent::FeedEnded { from: link.peer, request };
            // Without a consumer there is nobody to tell.
            let _ = shared.events.feed(ended, 0, &live).await;
        }
        Err(ReadError::Fault(fault)) => shared.close(&link.connection, fault),
    }
}

async fn receive(
    shared: &Shared,
    link: &Link,
    request: FeedRequest,
    live: &Arc<AtomicBool>,
) -> Result<(), ReadError> {
    let opened = link.connection.open_bi().await;
    let (mut sending, mut receiving) = opened.map_err(|_| ReadError::Lost)?;
    let body = frame::encode(&request, REQUEST_BYTES_MAX).ok_or(LinkFault::Internal)?;
    sending.write_chunk(body).await.map_err(|_| ReadError::Lost)?;
    sending.finish().map_err(|_| ReadError::Lost)?;
    while let Some(body) = frame::read(&mut receiving, FEED_FRAME_BYTES_MAX).await? {
        let frame = FeedFrame::from_wire(&body).map_err(|_| LinkFault::Malformed)?;
        if !answers(&request, &frame) {
            return Err(LinkFault::Malformed.into());
        }
        shared.counters.feed_in(body.len());
        let event = LinkEvent::Feed { from: link.peer, request, frame };
        shared.events.feed(event, body.len(), live).await.map_err(|_| ReadError::Lost)?;
    }
    Ok(())
}

/// Whether the frame is of the kind, and of the log or shard, that was asked for (REP-007).
fn answers(request: &FeedRequest, frame: &FeedFrame) -> bool {
    match (request, frame) {
        (FeedRequest::Log { log, .. }, FeedFrame::Flush(flush)) => {
            flush.checkpoint.checkpoint.log == *log && !flush.entries.is_empty()
        }
        (FeedRequest::Blocks { shard, .. }, FeedFrame::Block(certified)) => {
            certified.block.header.shard == *shard
        }
        _ => false,
    }
}
