//! One connection from its first byte to its last: CONNECT, takeover, router link, the packet loop, the will.
//!
//! Generic over the stream, so that TLS can come between. Invariants: reading and writing never wait for each other; each
//! wait has an end; in the end the will goes out before the link closes, the link before the socket, the socket before the seat.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttd::protocol::Packet;
use shared_msgs::limited;
use shared_msgs::net::{TurnedAway, Visitor};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::select;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::auth::{Authenticator, Principal};
use super::codec;
use super::config::BrokerConfig;
use super::connect::{self, Admitted, Refused, Side, Will};
use super::exchange::{Close, Exchange};
use super::registry::{Registry, Seat};
use super::router::{FromRouter, Link, RouterGone, RouterHandle};
use super::stats::{CloseReason, Counters, count};

/// Read at a time.
const READ_BYTES: usize = 8 * 1024;
/// Gathered for one write; beyond it neither the router nor the client is listened to until the client has read.
const WRITE_BYTES: usize = 64 * 1024;
/// The log shows no more of a text that a peer chose.
const LOGGED_CHARS_MAX: usize = 64;

/// What all connections share.
pub(crate) struct Edge {
    pub(crate) config: BrokerConfig,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) router: RouterHandle,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Counters,
}

/// Serves a connection to its end.
pub(crate) async fn serve<S>(edge: Arc<Edge>, io: S, side: Side, visitor: Visitor, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(io);
    let mut wire = Wire { read, write, inbox: BytesMut::new(), out: BytesMut::new(), unflushed: false };
    match open(&edge, &mut wire, side, &visitor, &stop).await {
        Ok(opened) => established(&edge, wire, opened, &stop).await,
        Err((refused, client_id)) => {
            let client_id: String = client_id.chars().take(LOGGED_CHARS_MAX).collect();
            // It heard what it came to hear.
            if refused != Refused::Probe {
                count(&edge.counters.refused);
            }
            if refused == Refused::Timeout {
                visitor.turned_away(TurnedAway::Silent);
            }
            limited!(info, target: "mqtt", ?client_id, reason = refused.as_str(), "mqtt.refused");
            if let Some(answer) = refused.answer() {
                // Best effort: the peer has nothing coming if it does not read.
                let _ = timeout(edge.config.write_timeout, wire.answer(answer)).await;
            }
        }
    }
}

struct Wire<S> {
    read: ReadHalf<S>,
    write: WriteHalf<S>,
    inbox: BytesMut,
    out: BytesMut,
    /// TLS may hold on to what it was given.
    unflushed: bool,
}

/// Writes some of `out`, and flushes once that was the last of it. Cancel-safe.
async fn push<W: AsyncWrite + Unpin>(
    write: &mut W,
    out: &mut BytesMut,
    unflushed: &mut bool,
) -> std::io::Result<()> {
    if !out.is_empty() {
        *unflushed = true;
        if write.write_buf(out).await? == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
    }
    if out.is_empty() {
        write.flush().await?;
        *unflushed = false;
    }
    Ok(())
}

struct Opened {
    admitted: Admitted,
    seat: Seat,
    link: Link,
}

impl<S: AsyncRead + AsyncWrite> Wire<S> {
    /// The first packet, whatever it is.
    async fn first(&mut self) -> Result<Packet, Refused> {
        loop {
            self.inbox.reserve(READ_BYTES);
            let read = self.read.read_buf(&mut self.inbox).await;
            if !matches!(read, Ok(1..)) {
                return Err(Refused::Lost);
            }
            if self.inbox[0] != CONNECT_BYTE {
                return Err(Refused::Malformed);
            }
            if let Some(packet) = codec::read(&mut self.inbox).map_err(connect::unreadable)? {
                return Ok(packet);
            }
        }
    }

    /// Writes one last packet.
    async fn answer(&mut self, packet: Packet) -> std::io::Result<()> {
        if codec::write(packet, &mut self.out).is_ok() {
            self.write.write_all_buf(&mut self.out).await?;
        }
        self.write.shutdown().await
    }
}

const CONNECT_BYTE: u8 = 0x10;

/// Everything up to, but without, the CONNACK. An error names the client id as far as it is known.
async fn open<S: AsyncRead + AsyncWrite>(
    edge: &Edge,
    wire: &mut Wire<S>,
    side: Side,
    visitor: &Visitor,
    stop: &CancellationToken,
) -> Result<Opened, (Refused, String)> {
    let unnamed = |refused| (refused, String::new());
    let first = select! {
        () = stop.cancelled() => Err(Refused::Stopping),
        first = timeout(edge.config.connect_timeout, wire.first()) => first.unwrap_or(Err(Refused::Timeout)),
    };
    let first = first.map_err(unnamed)?;
    let client_id =
        if let Packet::Connect(connect, ..) = &first { connect.client_id.clone() } else { String::new() };
    let named = |refused| (refused, client_id.clone());
    let admitted =
        connect::admit(first, side, edge.config.keepalive_max, &*edge.authenticator).map_err(named)?;
    if !visitor.introduced() {
        return Err(named(Refused::CrowdedOut));
    }
    let mut seat = edge.registry.claim(&admitted.client_id, admitted.generation);
    seat.predecessor_gone().await;
    if seat.is_evicted() {
        return Err(named(Refused::TakenOver));
    }
    let link = timeout(edge.config.connect_timeout, edge.router.open(&admitted.client_id)).await;
    let link = link.unwrap_or(Err(RouterGone)).map_err(|RouterGone| named(Refused::RouterGone))?;
    Ok(Opened { admitted, seat, link })
}

async fn established<S>(edge: &Edge, wire: Wire<S>, opened: Opened, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite,
{
    let Opened { admitted, mut seat, link } = opened;
    let Admitted { principal, client_id, keepalive, will, .. } = admitted;
    let server_id = principal.server_id().map(tracing::field::display);
    edge.counters.opened();
    info!(target: "mqtt", client_id, server_id, will = will.is_some(), "mqtt.connected");
    let now = Instant::now();
    let mut session = Session {
        edge,
        wire,
        link,
        exchange: Exchange::new(principal.clone()),
        silence_max: keepalive + keepalive / 2,
        heard: now,
        flush_by: None,
        principal: &principal,
    };
    let close = session.run(&mut seat, stop).await;

    let Session { mut link, wire, .. } = session;
    if let Some(will) = will.filter(|_| close.reason.leaves_will()) {
        leave(edge, &mut link, will, &principal);
    }
    drop(link);
    edge.counters.closed(close.reason);
    if close.reason == CloseReason::PublishDenied {
        let topic = close.topic.as_ref().map(tracing::field::display);
        info!(target: "mqtt", client_id, server_id, action = "publish", detail = close.detail, topic, "mqtt.acl_denied");
    }
    if close.reason == CloseReason::TakenOver {
        info!(target: "mqtt", client_id, server_id, "mqtt.taken_over");
    }
    info!(target: "mqtt", client_id, server_id, reason = close.reason.as_str(), detail = close.detail, "mqtt.closed");
    drop(wire);
    drop(seat);
}

/// Publishes the will as its owner's last message, behind all that the connection had sent.
fn leave(edge: &Edge, link: &mut Link, will: Will, principal: &Principal) {
    let server_id = principal.server_id().map(tracing::field::display);
    if link.publish(will.topic, will.payload).is_ok() {
        count(&edge.counters.wills_published);
        info!(target: "mqtt", server_id, "mqtt.will_published");
    } else {
        error!(target: "mqtt", server_id, "mqtt.will_lost");
    }
}

struct Session<'a, S> {
    edge: &'a Edge,
    principal: &'a Principal,
    wire: Wire<S>,
    link: Link,
    exchange: Exchange,
    silence_max: Duration,
    /// When the last whole packet came in.
    heard: Instant,
    /// When the bytes that wait must be gone, if any wait.
    flush_by: Option<Instant>,
}

fn close(reason: CloseReason, detail: &'static str) -> Close {
    Close { reason, detail, topic: None }
}

fn router_gone(RouterGone: RouterGone) -> Close {
    close(CloseReason::RouterGone, "link")
}

impl<S: AsyncRead + AsyncWrite> Session<'_, S> {
    /// The packet loop, from the CONNACK on.
    async fn run(&mut self, seat: &mut Seat, stop: &CancellationToken) -> Close {
        self.reply(connect::welcome());
        // At once: whoever is in knows it, even if a newer connection has come by now. A fresh socket takes four bytes.
        let Wire { write, out, unflushed, .. } = &mut self.wire;
        let welcomed = timeout(self.edge.config.write_timeout, push(write, out, unflushed)).await;
        // Packets may have come right behind the CONNECT.
        let timed_out = || Err(std::io::ErrorKind::TimedOut.into());
        let mut went = self.wrote(&welcomed.unwrap_or_else(|_| timed_out())).and_then(|()| self.digest());
        loop {
            if let Err(close) = went {
                return close;
            }
            let deadline = self.deadline();
            let flushed = self.wire.out.is_empty() && !self.wire.unflushed;
            let may_read = self.exchange.may_read() && self.wire.out.len() < WRITE_BYTES;
            if may_read {
                self.wire.inbox.reserve(READ_BYTES);
            }
            let Wire { read, write, inbox, out, unflushed } = &mut self.wire;
            went = select! {
                reason = seat.evicted() => Err(close(reason, "told to go")),
                () = stop.cancelled() => Err(close(CloseReason::Stopping, "shutdown")),
                () = sleep_until(deadline) => self.overdue(Instant::now()),
                next = self.link.next(), if flushed => self.gather(next).await,
                written = push(write, out, unflushed), if !flushed => self.wrote(&written),
                read = read.read_buf(inbox), if may_read => self.received(&read),
            };
        }
    }

    fn deadline(&self) -> Instant {
        let acknowledged_by =
            self.exchange.unacked_since().map(|since| since + self.edge.config.write_timeout);
        let consumed_by = self.flush_by.into_iter().chain(acknowledged_by).min();
        consumed_by.into_iter().fold(self.heard + self.silence_max, Instant::min)
    }

    /// What a passed deadline means. None may have: an answer can have come with it.
    fn overdue(&self, now: Instant) -> Result<(), Close> {
        if now >= self.heard + self.silence_max {
            return Err(close(CloseReason::KeepaliveExpired, "silence"));
        }
        if self.flush_by.is_some_and(|by| now >= by) {
            return Err(close(CloseReason::SlowConsumer, "does not read"));
        }
        match self.exchange.unacked_since() {
            Some(since) if now >= since + self.edge.config.write_timeout => {
                Err(close(CloseReason::SlowConsumer, "does not acknowledge"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes what the router has for the client, up to a write's worth.
    async fn gather(&mut self, first: Result<FromRouter, RouterGone>) -> Result<(), Close> {
        let now = Instant::now();
        let mut unscheduled = false;
        let mut next = Some(first);
        while let Some(from) = next {
            match from.map_err(router_gone)? {
                FromRouter::Packet(packet) => self.exchange.router_sent(packet, now, &mut self.wire.out)?,
                FromRouter::Unscheduled => unscheduled = true,
                FromRouter::Nothing => {}
            }
            next = if self.wire.out.len() < WRITE_BYTES { self.link.try_next() } else { None };
        }
        self.must_flush();
        if unscheduled {
            self.link.wake().await.map_err(router_gone)?;
        }
        Ok(())
    }

    fn reply(&mut self, packet: Packet) {
        // Our own packets, all of them encodable.
        let _ = codec::write(packet, &mut self.wire.out);
        self.must_flush();
    }

    fn must_flush(&mut self) {
        if !self.wire.out.is_empty() && self.flush_by.is_none() {
            self.flush_by = Some(Instant::now() + self.edge.config.write_timeout);
        }
    }

    fn wrote(&mut self, written: &std::io::Result<()>) -> Result<(), Close> {
        if written.is_err() {
            return Err(close(CloseReason::Lost, "write"));
        }
        if self.wire.out.is_empty() && !self.wire.unflushed {
            self.flush_by = None;
        }
        Ok(())
    }

    fn received(&mut self, read: &std::io::Result<usize>) -> Result<(), Close> {
        match read {
            Ok(0) => return Err(close(CloseReason::Lost, "end of stream")),
            Ok(_) => {}
            Err(_) => return Err(close(CloseReason::Lost, "read")),
        }
        self.digest()
    }

    /// Hands on each whole packet in the inbox. What came before a bad one was good.
    fn digest(&mut self) -> Result<(), Close> {
        let mut routed = Vec::new();
        let outcome = loop {
            let step = match codec::read(&mut self.wire.inbox) {
                Ok(Some(packet)) => self.exchange.client_sent(packet),
                Ok(None) => break Ok(()),
                Err(_) => break Err(close(CloseReason::ProtocolViolation, "malformed")),
            };
            self.heard = Instant::now();
            match step {
                Ok(step) => {
                    routed.extend(step.route);
                    self.refuse(&step.refused);
                    if let Some(reply) = step.reply {
                        self.reply(reply);
                    }
                }
                Err(close) => break Err(close),
            }
        };
        self.link.send(routed).map_err(router_gone)?;
        outcome
    }

    fn refuse(&self, filters: &[String]) {
        for filter in filters {
            count(&self.edge.counters.acl_denied);
            let filter: String = filter.chars().take(LOGGED_CHARS_MAX).collect();
            let server_id = self.principal.server_id().map(tracing::field::display);
            info!(target: "mqtt", server_id, action = "subscribe", ?filter, "mqtt.acl_denied");
        }
    }
}
