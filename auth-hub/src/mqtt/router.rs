//! The router thread and its links.
//!
//! Knows the traps of rumqttd's router; knows no clients, topics or rights. Invariants: a [`Link`] unregisters by exactly
//! one `Packet::Disconnect`, sent from its drop; no link wakes the router after that, nor without having been unscheduled
//! (either would end the router thread); the router holds no will.
//!
//! rumqttd has no way to end a router: its thread stays parked until the process exits.

use std::collections::HashMap;
use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, Publish};
use rumqttd::{Notification, Router, RouterConfig, SegmentConfig};
use shared_msgs::topics::{EVENTS_FILTER, STATUS_FILTER};
use tokio::sync::{Semaphore, oneshot};

use super::broker::PRIVATE_CONNECTIONS_MAX;
use super::config::BrokerConfig;
use super::stats::count;

/// Links being opened at a time: each holds a thread until the router answers.
const OPENINGS_MAX: usize = 4;
/// What one log keeps for a subscriber that lags: whole segments, the newest of them still filling.
const SEGMENTS: usize = 4;
/// A segment of an inbox or canary, one message more than fits. Behind the hundred messages that are on their way to a server, so much
/// waits for it three times over; kept small, for there is one log for each server, and a message takes three times its size in it.
const SEGMENT_BYTES: usize = 4 * 1024;
/// Of each server, in a segment of the fleet's statuses: half a dozen of them.
const STATUS_BYTES_PER_SERVER: usize = 2 * 1024;
/// Of each server, in a segment of the fleet's events: roster pages after the hub's restart.
const EVENTS_BYTES_PER_SERVER: usize = 16 * 1024;
/// The least that a shared segment holds.
const SHARED_SEGMENT_BYTES_MIN: usize = 1024 * 1024;
/// Packets for the router that a link keeps room for while it has none.
const KEPT_PACKETS: usize = 16;
/// Messages the router hands over at a time to a QoS 0 subscriber.
const OUTGOING_MAX: u64 = 100;

/// The router thread is gone, or would not have us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the router is gone")]
pub(crate) struct RouterGone;

type Open = dyn Fn(&str) -> Result<Link, RouterGone> + Send + Sync;

/// Opens links to one router thread.
#[derive(Clone)]
pub(crate) struct RouterHandle {
    open: Arc<Open>,
    openings: Arc<Semaphore>,
    links: Arc<AtomicU64>,
}

/// Sizes the router. What it is given here it takes at its word: a segment under 1 KiB would panic.
fn router_config(config: &BrokerConfig) -> RouterConfig {
    let shared = |per_server: usize| SegmentConfig {
        max_segment_size: config.servers_max.saturating_mul(per_server).max(SHARED_SEGMENT_BYTES_MIN),
        max_segment_count: SEGMENTS,
    };
    RouterConfig {
        // One more for the sentinel.
        max_connections: config.connections_max + PRIVATE_CONNECTIONS_MAX + 1,
        max_outgoing_packet_count: OUTGOING_MAX,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        custom_segment: Some(HashMap::from([
            (STATUS_FILTER.to_owned(), shared(STATUS_BYTES_PER_SERVER)),
            (EVENTS_FILTER.to_owned(), shared(EVENTS_BYTES_PER_SERVER)),
        ])),
        ..RouterConfig::default()
    }
}

impl RouterHandle {
    /// Starts the router thread.
    pub(crate) fn spawn(config: &BrokerConfig) -> Self {
        let events = Router::new(0, router_config(config)).spawn();
        let links = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&links);
        let open = move |client_id: &str| {
            let (tx, rx, _connack) =
                LinkBuilder::new(client_id, events.clone()).build().map_err(|_| RouterGone)?;
            count(&counted);
            Ok(Link { tx, rx, links: Arc::clone(&counted) })
        };
        Self { open: Arc::new(open), openings: Arc::new(Semaphore::new(OPENINGS_MAX)), links }
    }

    /// Links that are open now.
    pub(crate) fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed)
    }

    /// Registers `client_id`. A link that comes too late for its caller unregisters itself.
    ///
    /// `build()` blocks until the router answers, for ever if the router dies at the wrong moment. Hence a thread of its
    /// own, not one of the runtime's, which would wait for it at the end; and as many as there are permits.
    pub(crate) async fn open(&self, client_id: &str) -> Result<Link, RouterGone> {
        let opening = Arc::clone(&self.openings).acquire_owned().await.map_err(|_| RouterGone)?;
        let (open, client_id) = (Arc::clone(&self.open), client_id.to_owned());
        let (reply, opened) = oneshot::channel();
        let build = move || {
            // With nobody left to take it, the link is dropped here.
            let _ = reply.send(open(&client_id));
            drop(opening);
        };
        thread::Builder::new().name("mqtt-link".to_owned()).spawn(build).map_err(|_| RouterGone)?;
        opened.await.unwrap_or(Err(RouterGone))
    }
}

/// What a link hands out.
#[expect(
    clippy::large_enum_variant,
    reason = "made, matched and gone; a box for each message would cost more"
)]
pub(crate) enum FromRouter {
    /// For the client.
    Packet(Packet),
    /// The router stopped serving this link; [`Link::wake`] is owed, once.
    Unscheduled,
    /// A wake-up without news.
    Nothing,
}

/// One registration with the router.
pub(crate) struct Link {
    tx: LinkTx,
    rx: LinkRx,
    links: Arc<AtomicU64>,
}

impl Link {
    /// Hands packets over as one event.
    ///
    /// rumqttd's `send` is async in name only: it never waits except, on its thread, for a router that is behind.
    pub(crate) fn send(&mut self, packets: impl IntoIterator<Item = Packet>) -> Result<(), RouterGone> {
        self.trim();
        let mut packets = packets.into_iter().peekable();
        while let Some(packet) = packets.next() {
            if packets.peek().is_some() {
                self.tx.buffer().push_back(packet);
                continue;
            }
            let sent = pin!(self.tx.send(packet)).poll(&mut Context::from_waker(Waker::noop()));
            return match sent {
                Poll::Ready(Ok(_)) => Ok(()),
                Poll::Ready(Err(_)) | Poll::Pending => Err(RouterGone),
            };
        }
        Ok(())
    }

    /// The router swaps the buffers of all links with one another, so that each would in time be as large as the largest burst needed.
    fn trim(&mut self) {
        let mut buffer = self.tx.buffer();
        if buffer.is_empty() && buffer.capacity() > KEPT_PACKETS {
            buffer.shrink_to(KEPT_PACKETS);
        }
    }

    /// Publishes for the link's owner, at QoS 0: the quality a subscriber gets is its own subscription's.
    pub(crate) fn publish(&mut self, topic: Bytes, payload: Bytes) -> Result<(), RouterGone> {
        self.send([Packet::Publish(Publish::new(topic, payload, false), None)])
    }

    /// The next thing from the router. Dropped before it is ready, it loses nothing.
    pub(crate) async fn next(&mut self) -> Result<FromRouter, RouterGone> {
        match self.rx.next().await {
            Ok(None) => Ok(FromRouter::Nothing),
            Ok(Some(Notification::Unschedule)) => Ok(FromRouter::Unscheduled),
            Ok(Some(notification)) => {
                let packet: Option<Packet> = notification.into();
                Ok(packet.map_or(FromRouter::Nothing, FromRouter::Packet))
            }
            Err(_) => Err(RouterGone),
        }
    }

    /// Like [`Self::next`], without waiting.
    pub(crate) fn try_next(&mut self) -> Option<Result<FromRouter, RouterGone>> {
        match pin!(self.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    /// Answers [`FromRouter::Unscheduled`]. Must run to its end: a wake given up half-way might be sent twice.
    pub(crate) async fn wake(&self) -> Result<(), RouterGone> {
        self.rx.wake().await.map_err(|_| RouterGone)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let goodbye = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        // A router that is gone holds nothing of ours.
        let _ = self.send([Packet::Disconnect(goodbye, None)]);
        self.links.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl RouterHandle {
    /// Kills the router thread the way its worst trap does: a wake for a connection that never was.
    pub(crate) async fn kill(&self) {
        let mut link = self.open("victim").await.unwrap();
        let goodbye = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        link.send([Packet::Disconnect(goodbye, None)]).unwrap();
        let _ = link.wake().await;
        while link.next().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> BrokerConfig {
        BrokerConfig { connections_max: 2, servers_max: 2, ..BrokerConfig::default() }
    }

    #[test]
    fn shared_logs_grow_with_the_fleet_and_inboxes_do_not() {
        let of = |servers_max| {
            let config = router_config(&BrokerConfig { servers_max, ..BrokerConfig::default() });
            let shared = config.custom_segment.unwrap();
            (
                config.max_segment_size,
                shared[STATUS_FILTER].max_segment_size,
                shared[EVENTS_FILTER].max_segment_size,
            )
        };
        assert_eq!(of(1), (SEGMENT_BYTES, SHARED_SEGMENT_BYTES_MIN, SHARED_SEGMENT_BYTES_MIN));
        assert_eq!(of(1000), (SEGMENT_BYTES, 2_048_000, 16_384_000));
    }

    #[tokio::test]
    async fn a_dropped_link_gives_its_place_back() {
        let router = RouterHandle::spawn(&small());
        let places = 2 + PRIVATE_CONNECTIONS_MAX + 1;
        let mut links = Vec::new();
        for n in 0..places {
            links.push(router.open(&format!("c{n}")).await.unwrap());
        }
        assert!(router.open("one-too-many").await.is_err());
        assert_eq!(router.links(), places as u64);
        drop(links.pop());
        drop(router.open("another").await.unwrap());
        assert_eq!(router.links(), places as u64 - 1);
        let mut again = router.open(&format!("c{}", places - 1)).await.unwrap();
        assert_eq!(again.publish(Bytes::from_static(b"a"), Bytes::from_static(b"b")), Ok(()));
    }

    /// One link's burst goes through the buffers of all: none of them stays that large.
    #[tokio::test]
    async fn a_burst_leaves_no_large_buffers_behind() {
        let config = BrokerConfig { connections_max: 16, servers_max: 2, ..BrokerConfig::default() };
        let router = RouterHandle::spawn(&config);
        let publish =
            || Packet::Publish(Publish::new(Bytes::from_static(b"a"), Bytes::from_static(b"b"), false), None);
        let mut links = Vec::new();
        for n in 0..16 {
            links.push(router.open(&format!("c{n}")).await.unwrap());
        }
        for _ in 0..4 {
            links[0].send((0..1_000).map(|_| publish())).unwrap();
            for link in &mut links {
                link.send([publish()]).unwrap();
            }
        }
        for link in &mut links {
            while !link.tx.buffer().is_empty() {
                tokio::task::yield_now().await;
            }
            link.trim();
            assert!(link.tx.buffer().capacity() <= 2 * KEPT_PACKETS);
        }
    }

    #[tokio::test]
    async fn every_link_notices_a_dead_router() {
        let router = RouterHandle::spawn(&small());
        let mut link = router.open("witness").await.unwrap();
        router.kill().await;
        while link.next().await.is_ok() {}
        // The dying thread lets go of its links before it lets go of its channel.
        while link.publish(Bytes::from_static(b"a"), Bytes::from_static(b"b")).is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(router.open("late").await.is_err());
    }
}
