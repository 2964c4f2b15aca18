//! What processes send each other, and how it looks as bytes.

use std::sync::Arc;

use tidings_replica::wire::{ControlFrame, FeedFrame, FeedRequest};
use tidings_types::Wire;

/// The stream of control frames; feeds have streams of their own.
pub const CONTROL: u64 = 0;

/// A message on one stream of a link.
#[expect(
    clippy::large_enum_variant,
    reason = "values are few and short-lived; a box would cost every caller"
)]
#[derive(Debug, Clone)]
pub enum Message {
    /// On the control stream.
    Control(ControlFrame),
    /// The first message on a feed's stream, by its subscriber.
    Open(FeedRequest),
    /// A frame of the feed.
    Feed(Arc<FeedFrame>),
    /// The server ends the feed.
    End,
    /// The subscriber wants no more.
    Cancel,
    /// Bytes that are no message.
    Malformed,
}

impl Message {
    /// The kind, for the trace.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Control(_) => "control",
            Self::Open(_) => "open",
            Self::Feed(_) => "feed",
            Self::End => "end",
            Self::Cancel => "cancel",
            Self::Malformed => "malformed",
        }
    }

    /// The bytes on the wire, or for a frame of a feed what stands for them.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Control(frame) => frame.to_wire(),
            Self::Open(request) => request.to_wire(),
            Self::Feed(frame) => match &**frame {
                FeedFrame::Flush(flush) => flush.checkpoint.to_wire(),
                FeedFrame::Block(certified) => {
                    [certified.block.header.to_wire(), certified.certificate.to_wire()].concat()
                }
            },
            Self::End | Self::Cancel | Self::Malformed => Vec::new(),
        }
    }

    /// The message after a way over the wire: what does not decode is malformed.
    #[must_use]
    pub fn decoded(kind: &Self, bytes: &[u8]) -> Self {
        let decoded = match kind {
            Self::Control(_) => ControlFrame::from_wire(bytes).map(Self::Control),
            Self::Open(_) => FeedRequest::from_wire(bytes).map(Self::Open),
            Self::Feed(_) => FeedFrame::from_wire(bytes).map(|it| Self::Feed(Arc::new(it))),
            other => Ok(other.clone()),
        };
        decoded.unwrap_or(Self::Malformed)
    }

    /// How it reads in a trace.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Control(frame) => format!("{frame:?}"),
            Self::Open(request) => format!("{request:?}"),
            Self::Feed(frame) => match &**frame {
                FeedFrame::Flush(flush) => {
                    let checkpoint = &flush.checkpoint.checkpoint;
                    let count = flush.entries.len();
                    format!("{count} entries of log {} to {}", checkpoint.log, checkpoint.size)
                }
                FeedFrame::Block(certified) => {
                    let header = &certified.block.header;
                    format!("block {} of shard {}", header.height, header.shard)
                }
            },
            Self::End | Self::Cancel | Self::Malformed => String::new(),
        }
    }
}
