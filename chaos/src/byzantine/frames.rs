//! Frames on a stream: four bytes of length, then the body (REP-012).

use anyhow::{Result, ensure};
use quinn::{ReadExactError, RecvStream, SendStream};

/// Longer than any frame of an honest node.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The next frame's body, or none where the stream ends.
///
/// # Errors
/// When the stream breaks, or ends within a frame.
pub(super) async fn read(stream: &mut RecvStream) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let length = usize::try_from(u32::from_be_bytes(length))?;
    ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

/// Writes a frame.
///
/// # Errors
/// When the stream breaks.
pub(super) async fn write(stream: &mut SendStream, body: &[u8]) -> Result<()> {
    let mut frame = u32::try_from(body.len())?.to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    Ok(stream.write_all(&frame).await?)
}
