//! Frames on a stream: a length of four bytes, big-endian, then that many bytes (REP-012).

use bytes::Bytes;
use quinn::{ReadExactError, RecvStream};
use tidings_types::Wire;
use tidings_types::constants::{BLOCK_BYTES_MAX, ENVELOPE_PAYLOAD_BYTES_MAX, FEED_FRAME_BYTES_MAX};

use crate::link::LinkFault;

/// The longest control frame: the largest block, and 1 MiB for what frames it.
pub(crate) const CONTROL_FRAME_BYTES_MAX: usize = BLOCK_BYTES_MAX + ENVELOPE_PAYLOAD_BYTES_MAX;

/// The longest request on a data stream; a request is under 20 bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = 64;

/// What is reserved for a frame before any of it came; a peer pays for more with bytes.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// The length field's own length.
const LENGTH_BYTES: usize = 4;

const _: () = assert!(CONTROL_FRAME_BYTES_MAX <= FEED_FRAME_BYTES_MAX);

/// Why no frame came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// The peer broke the framing.
    #[error(transparent)]
    Fault(#[from] LinkFault),
    /// Stream or connection ended in the midst.
    #[error("the stream was lost")]
    Lost,
}

/// The frame with its length, ready to be sent; `None` when it is over `bytes_max`.
pub(crate) fn encode(frame: &impl Wire, bytes_max: usize) -> Option<Bytes> {
    let body = frame.to_wire();
    if body.len() > bytes_max {
        return None;
    }
    let length = u32::try_from(body.len()).ok()?;
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes.into())
}

/// The next frame's body, or `None` where the stream ends between frames.
///
/// # Errors
/// [`ReadError::Fault`] when the frame is longer than `bytes_max` or cut short (REP-012);
/// [`ReadError::Lost`] when stream or connection broke.
pub(crate) async fn read(
    stream: &mut RecvStream,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, ReadError> {
    let mut prefix = [0; LENGTH_BYTES];
    match stream.read_exact(&mut prefix).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(LinkFault::Malformed.into()),
        Err(ReadExactError::ReadError(_)) => return Err(ReadError::Lost),
    }
    let length = usize::try_from(u32::from_be_bytes(prefix)).map_err(|_| LinkFault::TooLarge)?;
    if length > bytes_max {
        return Err(LinkFault::TooLarge.into());
    }
    let mut body = Vec::with_capacity(length.min(RESERVED_BYTES_MAX));
    while body.len() < length {
        match stream.read_chunk(length - body.len(), true).await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk.bytes),
            Ok(None) => return Err(LinkFault::Malformed.into()),
            Err(_) => return Err(ReadError::Lost),
        }
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_their_length_and_their_limit() {
        // covers: REP-012
        let frame = 0x0102_0304u32;
        assert_eq!(encode(&frame, 4).unwrap().as_ref(), [0, 0, 0, 4, 1, 2, 3, 4]);
        assert_eq!(encode(&frame, 3), None);
    }
}
