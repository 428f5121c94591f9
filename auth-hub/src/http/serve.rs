//! Below the router: HTTP/1.1 on accepted connections.
//!
//! Knows places and bytes, and of a request only whether it runs. Invariants: a request's head is there within [`HEAD_TIME`] of the
//! connection's start or of the last answer, however it trickles; a client that does not read is closed; a connection is a guest
//! while a request of its own runs, whose body has come, and else a stranger that goes when its place is needed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use shared_msgs::net::{Listener, TurnedAway, Visitor, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, info};

/// The time for a request's line and headers, and for an idle connection to say something.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// A client that takes none of an answer for this long is gone.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// All of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 100;

/// Serves until `soft`, then finishes the requests that run and closes.
///
/// What comes from one of the `proxies` is asked by whom its `X-Forwarded-For` names last.
pub async fn serve(listener: Listener, router: Router, proxies: Arc<[IpAddr]>, soft: CancellationToken) {
    // Its own: what it waits for at the end is connections.
    let connections = TaskTracker::new();
    let name = listener.door.name();
    info!(target: "http", listener = name, "http.serving");
    let stopping = soft.clone();
    let serve = move |wire, addr: SocketAddr, visitor| {
        let proxies = proxies.contains(&addr.ip().to_canonical()).then(|| Arc::clone(&proxies));
        connection(wire, addr, proxies, visitor, router.clone(), stopping.clone())
    };
    listener.run(connections.clone(), soft, serve).await;
    connections.close();
    connections.wait().await;
    info!(target: "http", listener = name, "http.stopped");
}

async fn connection(
    wire: Wire,
    addr: SocketAddr,
    proxies: Option<Arc<[IpAddr]>>,
    visitor: Visitor,
    router: Router,
    soft: CancellationToken,
) {
    let peer = Peer { client: addr.ip(), presence: Some(Arc::new(Presence::of(visitor.clone()))) };
    let stream = Impatient::new(wire, peer.presence.clone());
    let service = router.map_request(move |mut request: Request<_>| {
        let client = proxies.as_deref().and_then(|proxies| forwarded_for(request.headers(), proxies));
        let peer = Peer { client: client.unwrap_or(peer.client), ..peer.clone() };
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut served = pin!(served);
    let done = tokio::select! {
        done = &mut served => done,
        () = soft.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = done {
        if is_silence(&error) {
            visitor.turned_away(TurnedAway::Silent);
        }
        debug!(target: "http", %error, "the connection ended");
    }
}

/// The last address in `X-Forwarded-For` that is no proxy of ours: what stands before it anybody can have made up.
fn forwarded_for(headers: &HeaderMap, proxies: &[IpAddr]) -> Option<IpAddr> {
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let mut addresses = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    addresses.find_map(|text| match text.trim().parse::<IpAddr>() {
        Ok(address) if proxies.contains(&address.to_canonical()) => None,
        // What is no address ends the search: nothing before it can be told from made up.
        parsed => Some(parsed.ok()),
    })?
}

fn is_silence(error: &hyper::Error) -> bool {
    let written = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    error.is_timeout() || written.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address that connected, or for whom a proxy of ours did.
    pub client: IpAddr,
    presence: Option<Arc<Presence>>,
}

/// What a connection does with its place.
#[derive(Debug)]
struct Presence {
    visitor: Visitor,
    /// Requests under way: one, for HTTP/1.1 has no more.
    running: AtomicUsize,
    is_guest: AtomicBool,
}

impl Presence {
    fn of(visitor: Visitor) -> Self {
        Self { visitor, running: AtomicUsize::new(0), is_guest: AtomicBool::new(false) }
    }

    /// All that was to be written is written.
    fn flushed(&self) {
        if self.running.load(Ordering::Relaxed) == 0 && self.is_guest.swap(false, Ordering::Relaxed) {
            self.visitor.idle();
        }
    }
}

impl Peer {
    /// Somebody; [`serve`] makes the real ones.
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
        if let Some(Presence { visitor, running, is_guest }) = presence {
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
struct Impatient<S> {
    stream: S,
    presence: Option<Arc<Presence>>,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, presence: Option<Arc<Presence>>) -> Self {
        Self { stream, presence, patience: None }
    }

    fn patient<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.patience = None;
            return polled;
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
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
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if let (Poll::Ready(Ok(())), Some(presence)) = (&polled, &self.presence) {
            presence.flushed();
        }
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

    #[test]
    fn a_proxy_is_asked_for_whom_and_nobody_else_is_believed() {
        let proxies: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            forwarded_for(&headers, &proxies).map(|address| address.to_string())
        };
        assert_eq!(of(&["192.0.2.7"]).as_deref(), Some("192.0.2.7"));
        assert_eq!(of(&["6.6.6.6, 192.0.2.7, 10.0.0.2"]).as_deref(), Some("192.0.2.7"));
        assert_eq!(of(&["6.6.6.6", "2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&["192.0.2.7, nonsense, 10.0.0.2"]), None);
        assert_eq!(of(&["10.0.0.1"]), None);
        assert_eq!(of(&[]), None);
    }

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
