//! Frames over any byte stream.
//!
//! Owns the bytes that have come and are no frame yet. Knows no handshake. Invariants: it never holds more than one frame's worth of
//! bytes; reading is cancel-safe, no byte is lost to a read that was given up; a write that stalls is an error.

use std::io;
use std::time::Duration;

use shared_msgs::frames::{self, ClientFrame, FrameError, LENGTH_BYTES, ServerFrame};
use shared_msgs::limits;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A client that takes nothing for this long is gone.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest frame, with its length.
const BUFFER_BYTES: usize = LENGTH_BYTES + limits::FRAME_BYTES_MAX;

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the client closed")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Reads a client's frames.
pub(super) struct FrameReader<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: Vec::new() }
    }

    /// What it holds in memory.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The next frame that we know. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<ClientFrame, ReadError> {
        loop {
            while let Some(body) = self.take_body()? {
                match frames::decode(&body) {
                    Ok(frame) => return Ok(frame),
                    // Of a newer client: skip it.
                    Err(FrameError::UnknownTag(_)) => {}
                    Err(error @ (FrameError::Length(_) | FrameError::Malformed)) => return Err(error.into()),
                }
            }
            self.fill().await?;
        }
    }

    /// Waits until the client is gone, or has sent more than one may send before being let in. Cancel-safe; keeps what comes.
    pub(super) async fn gone(&mut self) -> ReadError {
        loop {
            if self.buffer.len() >= BUFFER_BYTES {
                return FrameError::Malformed.into();
            }
            if let Err(error) = self.fill().await {
                return error;
            }
        }
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        let room = BUFFER_BYTES.saturating_sub(self.buffer.len());
        let mut chunk = [0; 1024];
        let most = room.min(chunk.len());
        match self.from.read(&mut chunk[..most]).await? {
            0 => Err(ReadError::Closed),
            n => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    fn take_body(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let len = frames::frame_length(*prefix)?;
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let body = body.to_vec();
        self.buffer.drain(..LENGTH_BYTES + len);
        Ok(Some(body))
    }
}

/// Writes one frame, or fails.
pub(super) async fn write<W: AsyncWrite + Unpin>(to: &mut W, frame: &ServerFrame) -> io::Result<()> {
    let bytes = frames::encode(frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let written = async {
        to.write_all(&bytes).await?;
        to.flush().await
    };
    in_time(written).await
}

/// Says goodbye; TLS has words for that, which somebody has to read.
pub(super) async fn close<W: AsyncWrite + Unpin>(to: &mut W) -> io::Result<()> {
    in_time(to.shutdown()).await
}

async fn in_time(written: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match tokio::time::timeout(WRITE_TIMEOUT, written).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    /// Takes nothing, and never says goodbye.
    struct Deaf;

    impl AsyncWrite for Deaf {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn last_words_that_nobody_hears_end_in_time() {
        let goodbye = tokio::time::timeout(WRITE_TIMEOUT * 2, close(&mut Deaf)).await;
        assert_eq!(goodbye.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
