//! What holds for any bytes sent to the broker's edge. For this crate's tests and `tests/fuzz` only.
//!
//! Plays the connection's loop without sockets: CONNECT, then each packet through [`Exchange`], with a router that answers all it gets.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttd::protocol::{
    Connect, Disconnect, DisconnectReasonCode, Filter, LastWill, Login, Packet, PingReq, PubAck,
    PubAckReason, Publish, QoS, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode, Unsubscribe,
};
use shared_msgs::limits::PAYLOAD_BYTES_MAX;
use shared_msgs::topics::{EVENTS_FILTER, STATUS_FILTER, Topic};
use tokio::time::Instant;

use super::auth::{Authenticator, Denied, Principal};
use super::codec::{self, FRAME_BYTES_MAX};
use super::connect::{self, Side};
use super::exchange::{Exchange, Step};

const CANARY: &str = "handover/v1/hubs/hub-1/canary";

/// Knows one server and one hub, each by its name as password.
struct Door;

impl Authenticator for Door {
    fn authenticate(&self, _: &str, user: &str, password: &[u8]) -> Result<Principal, Denied> {
        match (user, password) {
            ("alpha", b"alpha") => Ok(Principal::Server("alpha".parse().expect("a name"))),
            ("hub-1", b"hub-1") => Ok(Principal::Hub("hub-1".parse().expect("a name"))),
            _ => Err(Denied::BadCredentials),
        }
    }
}

/// One connection, and what it came to.
struct Played {
    side: Side,
    inbox: BytesMut,
    inside: Option<(Principal, Exchange)>,
    /// Filters the router was asked for.
    filters: BTreeSet<String>,
    /// Packet ids of deliveries: the next to be made, and the next to be acknowledged.
    deliveries: (u16, u16),
    /// All that happened, as text: what must not depend on how the bytes came.
    story: Vec<String>,
}

impl Played {
    fn new(side: Side) -> Self {
        let inbox = BytesMut::new();
        Self { side, inbox, inside: None, filters: BTreeSet::new(), deliveries: (1, 1), story: Vec::new() }
    }

    /// Takes the next bytes; false once the connection has ended.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        self.inbox.extend_from_slice(bytes);
        loop {
            if self.inside.is_none() && self.inbox.first().is_some_and(|first| *first != 0x10) {
                return self.ended("not a CONNECT");
            }
            match codec::read(&mut self.inbox) {
                Ok(Some(packet)) => {
                    if !self.packet(packet) {
                        return false;
                    }
                }
                Ok(None) => {
                    assert!(self.inbox.len() <= FRAME_BYTES_MAX + 5, "waits for more than a frame");
                    return true;
                }
                Err(error) => return self.ended(error),
            }
        }
    }

    fn ended(&mut self, why: impl std::fmt::Debug) -> bool {
        self.story.push(format!("{why:?}"));
        false
    }

    fn packet(&mut self, packet: Packet) -> bool {
        same_again(&packet);
        let Some((principal, exchange)) = &mut self.inside else {
            return match connect::admit(packet, self.side, Duration::from_mins(1), &Door) {
                Err(refused) => self.ended(refused),
                Ok(admitted) => {
                    let is_own_side = matches!(
                        (self.side, &admitted.principal),
                        (Side::Public, Principal::Server(_)) | (Side::Private, Principal::Hub(_))
                    );
                    assert!(is_own_side && admitted.client_id == admitted.principal.client_id());
                    assert!((1..=60).contains(&admitted.keepalive.as_secs()));
                    if let Some(will) = &admitted.will {
                        assert_eq!(&will.topic[..], b"handover/v1/servers/alpha/status");
                        assert!((1..=PAYLOAD_BYTES_MAX).contains(&will.payload.len()));
                    }
                    self.story.push(format!("{admitted:?}"));
                    self.inside = Some((admitted.principal.clone(), Exchange::new(admitted.principal)));
                    true
                }
            };
        };
        let (principal, step) = (principal.clone(), exchange.client_sent(packet));
        match step {
            Err(close) => self.ended(close),
            Ok(step) => {
                self.story.push(format!("{step:?}"));
                self.route(&principal, step);
                true
            }
        }
    }

    /// Checks what goes on, and answers as a router would: at once.
    fn route(&mut self, principal: &Principal, Step { route, reply, .. }: Step) {
        if let Some(reply) = reply {
            codec::write(reply, &mut BytesMut::new()).expect("our own packets can be written");
        }
        let Some(packet) = route else { return };
        same_again(&packet);
        let answers = match packet {
            Packet::Publish(publish, None) => {
                assert!(is_own(principal, &publish.topic) && !publish.retain);
                assert!((1..=PAYLOAD_BYTES_MAX).contains(&publish.payload.len()));
                let wire = publish.serialize();
                assert!(matches!(wire[0], 0x30 | 0x32), "more than QoS 1, or a duplicate: {:x}", wire[0]);
                let pkid = u16::from_be_bytes([wire[1], wire[2]]);
                if wire[0] == 0x32 {
                    vec![Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success }, None)]
                } else {
                    vec![]
                }
            }
            Packet::Subscribe(Subscribe { pkid, filters }, None) => {
                assert!(pkid != 0 && !filters.is_empty());
                assert!(filters.iter().all(|f| is_heard(principal, &f.path) && f.qos != QoS::ExactlyOnce));
                let return_codes = filters.iter().map(|f| SubscribeReasonCode::Success(f.qos)).collect();
                self.filters.extend(filters.into_iter().map(|f| f.path));
                // What it has subscribed to comes at once, to be acknowledged in order.
                let id = self.deliveries.0;
                self.deliveries.0 += 1;
                vec![Packet::SubAck(SubAck { pkid, return_codes }, None), publish(CANARY, id)]
            }
            Packet::Unsubscribe(Unsubscribe { pkid, filters }, None) => {
                assert!(pkid != 0 && !filters.is_empty());
                assert!(filters.iter().all(|f| self.filters.remove(f)), "unsubscribed from what it had not");
                vec![]
            }
            Packet::PubAck(ack, None) => {
                assert_eq!(ack.pkid, self.deliveries.1, "acknowledged out of order");
                self.deliveries.1 += 1;
                vec![]
            }
            other => panic!("routed {other:?}"),
        };
        let Some((_, exchange)) = &mut self.inside else { return };
        for answer in answers {
            let mut out = BytesMut::new();
            exchange.router_sent(answer, Instant::now(), &mut out).expect("the router answers well");
            let packet = codec::read(&mut out);
            assert!(matches!(packet, Ok(Some(_))) && out.is_empty(), "the client cannot read {packet:?}");
            self.story.push(format!("{packet:?}"));
        }
    }
}

/// May the principal publish there? By the protocol's words, not the edge's.
fn is_own(principal: &Principal, topic: &[u8]) -> bool {
    let text = std::str::from_utf8(topic).expect("a topic is a text");
    match principal {
        Principal::Server(_) => {
            matches!(text, "handover/v1/servers/alpha/status" | "handover/v1/servers/alpha/events")
        }
        Principal::Hub(_) => text == CANARY || matches!(text.parse(), Ok(Topic::Inbox(_))),
    }
}

/// May the principal subscribe to it?
fn is_heard(principal: &Principal, filter: &str) -> bool {
    match principal {
        Principal::Server(_) => filter == "handover/v1/servers/alpha/inbox",
        Principal::Hub(_) => [STATUS_FILTER, EVENTS_FILTER, CANARY].contains(&filter),
    }
}

/// What was read can be written, and is then read as the same.
fn same_again(packet: &Packet) {
    let mut out = BytesMut::new();
    codec::write(packet.clone(), &mut out).expect("what was read can be written");
    assert_eq!(codec::read(&mut out).as_ref(), Ok(&Some(packet.clone())));
    assert!(out.is_empty());
}

/// Whatever comes in, and in whatever pieces, on either listener: only what the router survives and the principal may do gets through.
///
/// # Panics
/// When it does not hold.
pub fn stream(bytes: &[u8]) {
    let odd = usize::from(bytes.last().copied().unwrap_or_default()) + 1;
    for side in [Side::Public, Side::Private] {
        let story = |size: usize| {
            let mut played = Played::new(side);
            let _ = bytes.chunks(size).all(|piece| played.hear(piece));
            played.story
        };
        let whole = story(usize::MAX);
        // Byte by byte takes its time, and shows nothing new once a payload is long.
        let smallest = if bytes.len() > 4096 { odd } else { 1 };
        for size in [odd, smallest] {
            assert_eq!(story(size), whole, "in pieces of {size}");
        }
    }
}

fn publish(topic: &str, id: u16) -> Packet {
    publish_with(0x32, topic, id, b"payload")
}

fn publish_with(first: u8, topic: &str, id: u16, payload: &[u8]) -> Packet {
    // rumqttd's own form: flags, packet id, topic with its length, payload.
    let head =
        [&[first][..], &id.to_be_bytes(), &u16::try_from(topic.len()).expect("short").to_be_bytes()].concat();
    Packet::Publish(Publish::deserialize(Bytes::from([&head, topic.as_bytes(), payload].concat())), None)
}

/// Whole connections, of a server, of a hub and of one with a will; then packets that must not get through, each behind a CONNECT.
pub fn seeds() -> Vec<Vec<u8>> {
    let connect = |user: &str, client_id: &str, will| {
        let connect = Connect { keep_alive: 30, client_id: client_id.into(), clean_session: true };
        let login = Login { username: user.into(), password: user.into() };
        Packet::Connect(connect, None, will, None, Some(login))
    };
    let filter = |path: &str| Filter {
        path: path.into(),
        qos: QoS::AtLeastOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::OnEverySubscribe,
    };
    let subscribe = |filters: &[&str]| {
        Packet::Subscribe(
            Subscribe { pkid: 7, filters: filters.iter().map(|path| filter(path)).collect() },
            None,
        )
    };
    let ack = |pkid| Packet::PubAck(PubAck { pkid, reason: PubAckReason::Success }, None);
    let will = LastWill {
        topic: "handover/v1/servers/alpha/status".into(),
        message: "gone".into(),
        qos: QoS::AtLeastOnce,
        retain: false,
    };
    let inbox = "handover/v1/servers/alpha/inbox";
    let server = vec![
        connect("alpha", "gs-alpha", None),
        subscribe(&[inbox]),
        publish("handover/v1/servers/alpha/status", 1),
        ack(1),
        Packet::PingReq(PingReq),
        publish("handover/v1/servers/alpha/events", 2),
        Packet::Unsubscribe(Unsubscribe { pkid: 8, filters: vec![inbox.into()] }, None),
        Packet::Disconnect(Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection }, None),
    ];
    let hub = vec![
        connect("hub-1", "hub-1", None),
        subscribe(&[STATUS_FILTER, EVENTS_FILTER, CANARY]),
        publish(inbox, 1),
        ack(1),
        publish(CANARY, 2),
    ];
    let with_will =
        vec![connect("alpha", "gs-alpha", Some(will)), publish("handover/v1/servers/alpha/events", 1)];
    let events = "handover/v1/servers/alpha/events";
    let spoilt = [
        publish_with(0x3a, events, 1, b"a duplicate, which does get through"),
        publish_with(0x33, events, 1, b"retained"),
        publish_with(0x34, events, 1, b"QoS 2"),
        publish_with(0x30, events, 0, b""),
        publish_with(0x30, events, 0, &vec![0; PAYLOAD_BYTES_MAX + 1]),
        publish_with(0x30, "handover/v1/servers/beta/events", 0, b"another's"),
        publish_with(0x30, "\u{e9}", 0, b"no topic of ours"),
        subscribe(&["#", "$share/g/a", STATUS_FILTER]),
        ack(1),
    ];
    let spoilt = spoilt.map(|packet| vec![connect("alpha", "gs-alpha", None), packet]);
    [server, hub, with_will].into_iter().chain(spoilt).map(bytes_of).collect()
}

fn bytes_of(packets: Vec<Packet>) -> Vec<u8> {
    let mut out = BytesMut::new();
    for packet in packets {
        codec::write(packet, &mut out).expect("packets we made");
    }
    out.to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::altered::altered;

    #[test]
    fn every_seed_as_it_is() {
        for bytes in &seeds() {
            stream(bytes);
        }
    }

    proptest! {
        #[test]
        fn streams(bytes in altered(seeds())) {
            stream(&bytes);
        }
    }

    /// The seeds reach what they are for: else the properties would hold of nothing.
    #[test]
    fn each_seed_is_let_in_and_lives_to_its_end() {
        for (seed, side) in seeds().iter().zip([Side::Public, Side::Private, Side::Public]) {
            let mut played = Played::new(side);
            let lives_on = played.hear(seed);
            assert_eq!(lives_on, seed.last() != Some(&0), "{:?}", played.story);
            assert!(played.inbox.is_empty() && played.story[0].contains("Admitted"), "{:?}", played.story);
        }
    }
}
