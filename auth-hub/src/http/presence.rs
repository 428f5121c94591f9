//! What a connection does with its place, and how long it may make us wait.
//!
//! Knows bytes, and of a request only whether it runs. Invariants: a client that does not read is closed; a connection is a guest while a
//! request of its own runs, whose body has come, and until its answer is out or would have to wait for the client; else it is a stranger
//! that goes when its place is needed.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use shared_msgs::net::{TurnedAway, Visitor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A client that takes none of an answer for this long is gone.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// What a stranger has to come to an end once we stop.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who asks.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address that connected, or for whom a proxy of ours did.
    pub client: IpAddr,
    pub(super) presence: Option<Arc<Presence>>,
}

/// What a connection does with its place.
#[derive(Debug)]
pub(super) struct Presence {
    visitor: Visitor,
    /// Requests under way: one, for HTTP/1.1 has no more.
    running: AtomicUsize,
    is_guest: AtomicBool,
    /// It has not asked for anything yet, or began to since its last answer: an idle client that was served owes nothing. For a counter
    /// only: the rest of a segment that held a whole request is not noticed.
    owes: AtomicBool,
}

impl Presence {
    pub(super) fn of(visitor: Visitor) -> Self {
        Self {
            visitor,
            running: AtomicUsize::new(0),
            is_guest: AtomicBool::new(false),
            owes: AtomicBool::new(true),
        }
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// An answer is out, or waits for the client and for nobody else.
    fn our_part_is_done(&self) {
        if !self.is_running() && self.is_guest.swap(false, Ordering::Relaxed) {
            self.visitor.idle();
        }
    }

    fn heard(&self) {
        self.owes.store(true, Ordering::Relaxed);
    }

    fn answered(&self) {
        if !self.is_running() {
            self.owes.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn owes_a_request(&self) -> bool {
        self.owes.load(Ordering::Relaxed)
    }

    /// Ends [`LAST_WORDS`] after it was called, but not while the connection is a guest's: that has deadlines of its own.
    pub(super) async fn last_words(&self) {
        loop {
            tokio::time::sleep(LAST_WORDS).await;
            if !self.is_guest.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl Peer {
    /// Somebody; [`super::serve`] makes the real ones.
    pub fn new(client: IpAddr) -> Self {
        Self { client, presence: None }
    }

    /// It began a request and did not go on.
    pub(super) fn fell_silent(&self) {
        if let Some(presence) = &self.presence {
            presence.visitor.turned_away(TurnedAway::Silent);
        }
    }

    /// A request runs until what this returns is dropped.
    pub(super) fn begin_request(&self) -> Running<'_> {
        let presence = self.presence.as_deref();
        if let Some(Presence { visitor, running, is_guest, .. }) = presence {
            // One that had to go just now is about to be dropped, and this request with it.
            let _ = visitor.introduced();
            is_guest.store(true, Ordering::Relaxed);
            running.fetch_add(1, Ordering::Relaxed);
        }
        Running(presence)
    }
}

pub(super) struct Running<'a>(Option<&'a Presence>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(presence) = self.0 {
            presence.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A stream whose writes end, one way or the other. It knows when an answer is out.
pub(super) struct Impatient<S> {
    stream: S,
    presence: Option<Arc<Presence>>,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
    /// Since the last flush.
    has_written: bool,
}

impl<S> Impatient<S> {
    pub(super) fn new(stream: S, presence: Option<Arc<Presence>>) -> Self {
        Self { stream, presence, patience: None, has_written: false }
    }

    fn patient<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.patience = None;
            return polled;
        }
        if let Some(presence) = &self.presence {
            presence.our_part_is_done();
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_TIME)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(presence) = self.presence.as_ref().filter(|_| buf.filled().len() > before) {
            presence.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.has_written |= polled.is_ready();
        self.patient(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.has_written |= polled.is_ready();
        self.patient(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if let (Poll::Ready(Ok(())), Some(presence)) = (&polled, &self.presence) {
            presence.our_part_is_done();
            // Flushed without words, as now and then, it is no answer.
            if self.has_written {
                presence.answered();
            }
        }
        self.has_written &= polled.is_pending();
        self.patient(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.patient(polled, cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_ends_and_one_that_goes_on_does_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Impatient::new(near, None);
        let started = Instant::now();
        for _ in 0..4 {
            near.write_all(&[0; 64]).await.unwrap();
            let read = async {
                tokio::time::advance(WRITE_TIME.mul_f32(0.9)).await;
                far.read_exact(&mut [0; 64]).await
            };
            let (more, read) = tokio::join!(near.write_all(&[0; 64]), read);
            more.unwrap();
            read.unwrap();
            far.read_exact(&mut [0; 64]).await.unwrap();
        }
        assert!(started.elapsed() > WRITE_TIME * 3);
        near.write_all(&[0; 64]).await.unwrap();
        assert_eq!(near.write_all(&[0; 1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
