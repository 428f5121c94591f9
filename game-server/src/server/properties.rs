//! What holds for any bytes a client sends on the game link. For this crate's tests and `tests/fuzz` only.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use shared_msgs::frames::{self, ClientFrame, FrameError, Hello, LENGTH_BYTES};
use shared_msgs::limits;
use tokio::io::{AsyncRead, ReadBuf};

use super::frame_io::{FrameReader, ReadError};

/// A stream whose bytes come in these pieces, with a wait between each two.
struct Pieces<'a> {
    pieces: VecDeque<&'a [u8]>,
    waited: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.waited = !self.waited;
        if self.waited {
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(out.remaining().min(piece.len())..).unwrap_or_default();
            out.put_slice(piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// All frames, and why there is no next one. Every read is given up and begun again wherever it waits.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<ClientFrame>, String) {
    let mut reader = FrameReader::new(Pieces { pieces: pieces.collect(), waited: false });
    let mut frames = Vec::new();
    loop {
        let next = pin!(reader.next()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(reader.held_bytes() <= 4 * limits::FRAME_BYTES_MAX, "{} bytes held", reader.held_bytes());
        match next {
            Poll::Pending => {}
            Poll::Ready(Ok(frame)) => frames.push(frame),
            Poll::Ready(Err(ReadError::Closed)) => return (frames, String::new()),
            Poll::Ready(Err(error)) => return (frames, error.to_string()),
        }
    }
}

/// The same, by the protocol's words alone.
fn expected(mut bytes: &[u8]) -> (Vec<ClientFrame>, String) {
    let mut out = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() {
        let frame = match frames::frame_length(*prefix) {
            Ok(len) if rest.len() < len => break,
            Ok(len) => {
                bytes = &rest[len..];
                frames::decode(&rest[..len])
            }
            Err(error) => Err(error),
        };
        match frame {
            Ok(frame) => out.push(frame),
            Err(FrameError::UnknownTag(_)) => {}
            Err(error) => return (out, error.to_string()),
        }
    }
    (out, String::new())
}

/// A client's whole life on the wire.
///
/// # Panics
/// Never: its frames are within their limits.
pub fn seeds() -> Vec<Vec<u8>> {
    let hello = Hello { version: 1, token: "t".repeat(76), build: "1.2".into(), app_data: vec![0; 700] };
    let newer = [0, 0, 0, 3, 9, 1, 2];
    let life = [ClientFrame::Hello(hello), ClientFrame::App(vec![7; 3000]), ClientFrame::Leave];
    let life = life.map(|frame| frames::encode(&frame).expect("within its limits"));
    vec![[life[0].as_slice(), &newer, &life[1], &life[2]].concat()]
}

/// The same frames come out however the bytes are cut into pieces, and never is more held than frames are long.
///
/// # Panics
/// When it does not hold.
pub fn stream(bytes: &[u8]) {
    let expected = expected(bytes);
    let odd = usize::from(bytes.first().copied().unwrap_or_default()) + 1;
    for size in [1, odd, 1024, usize::MAX] {
        assert!(read(bytes.chunks(size)) == expected, "in pieces of {size}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::altered::altered;

    proptest! {
        #[test]
        fn streams(bytes in altered(seeds())) {
            stream(&bytes);
        }
    }
}
