//! Below the router: accepting, bounding and timing out connections.
//!
//! Knows sockets, no HTTP but whether a request is running. Invariants: at most `connections_max` connections, each keeping its permit
//! until it is gone; one on which no request begins for [`IDLE_TIME`] to twice that is closed, however it trickles.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, trace};

/// How long a connection may go without a request.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Serves until `soft`, then finishes the requests that run and closes.
pub async fn serve(listener: TcpListener, connections_max: usize, router: Router, soft: CancellationToken) {
    let listener = Bounded {
        listener,
        permits: Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS))),
    };
    info!(target: "http", "http.serving");
    let service = router.into_make_service_with_connect_info::<Peer>();
    // An accept that fails is tried again inside; this never returns an error.
    let _ = axum::serve(listener, service).with_graceful_shutdown(soft.cancelled_owned()).await;
    info!(target: "http", "http.stopped");
}

struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Never closed, so there is always a permit to come.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        // The pause after a failed accept (no descriptors) is axum's: one second.
        let (stream, addr) = Listener::accept(&mut self.listener).await;
        if let Err(err) = stream.set_nodelay(true) {
            trace!(target: "http", %err, "no TCP_NODELAY");
        }
        (Connection::new(stream, IDLE_TIME, permit), addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Requests of one connection.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicU64,
    running: AtomicUsize,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address that connected.
    pub addr: SocketAddr,
    activity: Arc<Activity>,
}

impl Peer {
    /// Somebody at `addr`; [`serve`] makes the real ones.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, activity: Arc::default() }
    }

    /// A request runs until what this returns is dropped.
    pub(super) fn begin_request(&self) -> Running<'_> {
        self.activity.begun.fetch_add(1, Ordering::Relaxed);
        self.activity.running.fetch_add(1, Ordering::Relaxed);
        Running(&self.activity)
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self { addr: *stream.remote_addr(), activity: Arc::clone(&stream.io().activity) }
    }
}

pub(super) struct Running<'a>(&'a Activity);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that loses its patience.
struct Connection {
    stream: TcpStream,
    activity: Arc<Activity>,
    /// `begun` when patience was last renewed.
    seen: u64,
    idle: Duration,
    patience: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: TcpStream, idle: Duration, permit: Option<OwnedSemaphorePermit>) -> Self {
        let patience = Box::pin(tokio::time::sleep(idle));
        Self { stream, activity: Arc::default(), seen: 0, idle, patience, _permit: permit }
    }

    /// An error once patience is over.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.patience.as_mut().poll(cx));
            let begun = self.activity.begun.load(Ordering::Relaxed);
            if begun == self.seen && self.activity.running.load(Ordering::Relaxed) == 0 {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.seen = begun;
            let again = Instant::now() + self.idle;
            self.patience.as_mut().reset(again);
        }
    }

    /// What the socket says, or that patience is over while it says nothing.
    fn patient<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        // Patience is asked even when there are bytes: a trickle must not keep a connection.
        match self.poll_patience(cx) {
            Poll::Ready(over) => Poll::Ready(Err(over)),
            Poll::Pending => polled,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.patient(polled, cx)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.patient(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.patient(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const IDLE: Duration = Duration::from_millis(40);

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (Connection::new(stream, IDLE, None), client)
    }

    #[tokio::test]
    async fn silence_ends_a_connection() {
        let (mut connection, _client) = pair().await;
        let started = Instant::now();
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= IDLE);
    }

    #[tokio::test]
    async fn a_trickle_without_a_request_ends_too() {
        let (mut connection, mut client) = pair().await;
        let err = loop {
            // There is always something to read.
            client.write_all(b"G").await.unwrap();
            if let Err(err) = connection.read_u8().await {
                break err;
            }
        };
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_request_renews_patience_while_it_runs() {
        let (mut connection, _client) = pair().await;
        let peer = Peer { addr: ([127, 0, 0, 1], 1).into(), activity: Arc::clone(&connection.activity) };
        let running = peer.begin_request();
        let read = tokio::time::timeout(IDLE * 4, connection.read_u8()).await;
        assert!(read.is_err(), "still waiting: {read:?}");
        drop(running);
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn each_request_buys_time() {
        let (mut connection, mut client) = pair().await;
        let peer = Peer { addr: ([127, 0, 0, 1], 1).into(), activity: Arc::clone(&connection.activity) };
        let started = Instant::now();
        while started.elapsed() < IDLE * 4 {
            drop(peer.begin_request());
            client.write_all(b"G").await.unwrap();
            connection.read_u8().await.unwrap();
        }
    }
}
