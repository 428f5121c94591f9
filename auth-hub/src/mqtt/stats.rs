//! Why connections end, and the counters.
//!
//! Invariant: a connection is counted before its socket closes, so whoever saw it close finds it counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why an established connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client said DISCONNECT: the only end that takes the will back.
    Disconnected,
    /// The socket closed or failed.
    Lost,
    /// A newer connection of the same client.
    TakenOver,
    /// [`super::BrokerHandle::disconnect`].
    Evicted,
    /// The broker stops; wills are kept back, for the hub that would hear them stops too.
    Stopping,
    /// Nothing heard for 1.5 times the keepalive.
    KeepaliveExpired,
    /// Did not read, or did not acknowledge, within the write timeout.
    SlowConsumer,
    /// Bytes that are not MQTT 3.1.1, or a packet no client may send.
    ProtocolViolation,
    /// Well-formed, but outside the protocol's subset or the client's rights.
    PublishDenied,
    /// The router thread is dead, or refused the link.
    RouterGone,
}

impl CloseReason {
    /// The name in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Lost => "lost",
            Self::TakenOver => "taken-over",
            Self::Evicted => "evicted",
            Self::Stopping => "stopping",
            Self::KeepaliveExpired => "keepalive-expired",
            Self::SlowConsumer => "slow-consumer",
            Self::ProtocolViolation => "protocol-violation",
            Self::PublishDenied => "publish-denied",
            Self::RouterGone => "router-gone",
        }
    }

    /// Is the will due?
    pub(crate) fn leaves_will(self) -> bool {
        match self {
            Self::Disconnected | Self::Stopping => false,
            Self::Lost
            | Self::TakenOver
            | Self::Evicted
            | Self::KeepaliveExpired
            | Self::SlowConsumer
            | Self::ProtocolViolation
            | Self::PublishDenied
            | Self::RouterGone => true,
        }
    }
}

/// A reading of the broker's counters. All but `connections`, `router_links` and `router_alive` only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Authenticated connections now, the hub's own included.
    pub connections: u64,
    /// Registrations with the router now: one for each connection, and one that watches it.
    pub router_links: u64,
    /// Connections that got their CONNACK.
    pub connected: u64,
    /// Sockets turned away before that: CONNECT late, malformed or refused.
    pub refused: u64,
    /// Connections ended because the same client connected anew.
    pub takeovers: u64,
    /// Publishes and subscriptions outside the rules.
    pub acl_denied: u64,
    /// Wills published.
    pub wills_published: u64,
    /// Connections ended for silence.
    pub keepalive_expired: u64,
    /// Connections ended because the client did not read or acknowledge.
    pub slow_consumers: u64,
    /// Connections ended for bytes or packets that no client may send.
    pub protocol_violations: u64,
    /// False once the router thread is known to be dead.
    pub router_alive: bool,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) takeovers: AtomicU64,
    pub(crate) acl_denied: AtomicU64,
    pub(crate) wills_published: AtomicU64,
    pub(crate) keepalive_expired: AtomicU64,
    pub(crate) slow_consumers: AtomicU64,
    pub(crate) protocol_violations: AtomicU64,
    pub(crate) router_dead: AtomicBool,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn opened(&self) {
        count(&self.connected);
        count(&self.connections);
    }

    pub(crate) fn closed(&self, reason: CloseReason) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        match reason {
            CloseReason::TakenOver => count(&self.takeovers),
            CloseReason::KeepaliveExpired => count(&self.keepalive_expired),
            CloseReason::SlowConsumer => count(&self.slow_consumers),
            CloseReason::ProtocolViolation => count(&self.protocol_violations),
            CloseReason::PublishDenied => count(&self.acl_denied),
            CloseReason::RouterGone => self.router_dead.store(true, Ordering::Relaxed),
            CloseReason::Disconnected | CloseReason::Lost | CloseReason::Evicted | CloseReason::Stopping => {}
        }
    }

    pub(crate) fn read(&self, router_links: u64) -> BrokerStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BrokerStats {
            connections: of(&self.connections),
            router_links,
            connected: of(&self.connected),
            refused: of(&self.refused),
            takeovers: of(&self.takeovers),
            acl_denied: of(&self.acl_denied),
            wills_published: of(&self.wills_published),
            keepalive_expired: of(&self.keepalive_expired),
            slow_consumers: of(&self.slow_consumers),
            protocol_violations: of(&self.protocol_violations),
            router_alive: !self.router_dead.load(Ordering::Relaxed),
        }
    }
}
