//! Below the router: HTTP/1.1 on accepted connections.
//!
//! Knows sockets and heads, no resource. Invariants: a request's head is there within [`HEAD_TIME`] of the connection's start or of the
//! last answer, however it trickles; whom a proxy speaks for is believed of our proxies only.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use shared_msgs::limited;
use shared_msgs::net::{Listener, TurnedAway, Visitor, Wire};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, info};

use super::presence::{Impatient, Peer, Presence};

/// The time for a request's line and headers, and for an idle connection to say something.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
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
    let presence = Arc::new(Presence::of(visitor.clone()));
    let peer = Peer { client: addr.ip(), presence: Some(Arc::clone(&presence)) };
    let stream = Impatient::new(wire, Some(Arc::clone(&presence)));
    let service = router.map_request(move |mut request: Request<_>| {
        let client = proxies.as_deref().and_then(|proxies| {
            let client = forwarded_for(request.headers(), proxies);
            if client.is_none() {
                limited!(warn, target: "http", proxy = %peer.client, "http.forwarded_for_missing");
            }
            client
        });
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
            tokio::select! {
                done = served => done,
                () = presence.last_words() => return,
            }
        }
    };
    if let Err(error) = done {
        if did_not_read(&error) || (error.is_timeout() && presence.owes_a_request()) {
            visitor.turned_away(TurnedAway::Silent);
        }
        debug!(target: "http", %error, "http.connection_ended");
    }
}

/// The last address in `X-Forwarded-For` that is no proxy of ours: what stands before it anybody can have made up.
fn forwarded_for(headers: &HeaderMap, proxies: &[IpAddr]) -> Option<IpAddr> {
    let values = headers.get_all("x-forwarded-for").iter().rev();
    let mut addresses = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    addresses.find_map(|text| match address(text.trim()) {
        Some(address) if proxies.contains(&address.to_canonical()) => None,
        // What is no address ends the search: nothing before it can be told from made up.
        parsed => Some(parsed),
    })?
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let alone = bracketed.unwrap_or(text).parse();
    alone.ok().or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
}

fn did_not_read(error: &hyper::Error) -> bool {
    let written = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    written.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(of(&["192.0.2.7:51234, 10.0.0.2:80"]).as_deref(), Some("192.0.2.7"));
        assert_eq!(of(&["[2001:db8::1]:443"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&["[2001:db8::1]"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&["10.0.0.1"]), None);
        assert_eq!(of(&[]), None);
    }
}
