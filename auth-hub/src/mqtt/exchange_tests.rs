//! The packet rules without a broker.

use rumqttd::protocol::{PingReq, PubAckReason};
use shared_msgs::topics::{EVENTS_FILTER, STATUS_FILTER};

use super::*;
use crate::mqtt::tests::raw;

const OWN_EVENTS: &str = "handover/v1/servers/alpha/events";
const OWN_INBOX: &str = "handover/v1/servers/alpha/inbox";

fn server() -> Exchange {
    Exchange::new(Principal::Server("alpha".parse().unwrap()))
}

fn hub() -> Exchange {
    Exchange::new(Principal::Hub("hub-1".parse().unwrap()))
}

fn packet(bytes: &[u8]) -> Packet {
    codec::read(&mut BytesMut::from(bytes)).unwrap().unwrap()
}

fn send(exchange: &mut Exchange, bytes: &[u8]) -> Result<Step, Close> {
    exchange.client_sent(packet(bytes))
}

fn deliver(exchange: &mut Exchange, bytes: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    exchange.router_sent(packet(bytes), Instant::now(), &mut out).unwrap();
    out.to_vec()
}

fn ack(id: u16) -> Packet {
    Packet::PubAck(PubAck { pkid: id, reason: PubAckReason::Success }, None)
}

fn reason(result: Result<Step, Close>) -> CloseReason {
    result.unwrap_err().reason
}

#[test]
fn an_allowed_publish_goes_to_the_router_whole_and_alone() {
    for qos in [0, 1] {
        let bytes = raw::publish(OWN_EVENTS, qos, false, 3, b"payload");
        let step = send(&mut server(), &bytes).unwrap();
        assert_eq!(step, Step { route: Some(packet(&bytes)), ..Step::default() });
    }
}

#[test]
fn denied_publishes_close_and_only_a_known_topic_is_named() {
    let foreign = "handover/v1/servers/beta/events";
    let close = send(&mut server(), &raw::publish(foreign, 1, false, 1, b"x")).unwrap_err();
    assert_eq!((close.reason, close.topic), (CloseReason::PublishDenied, Some(foreign.parse().unwrap())));
    let close = send(&mut server(), &raw::publish("é", 1, false, 1, b"x")).unwrap_err();
    assert_eq!((close.reason, close.topic), (CloseReason::PublishDenied, None));
    for bytes in [
        raw::publish(OWN_EVENTS, 2, false, 1, b"x"),
        raw::publish(OWN_EVENTS, 1, true, 1, b"x"),
        raw::publish(OWN_EVENTS, 1, false, 1, b""),
        raw::publish(OWN_EVENTS, 1, false, 1, &vec![0; PAYLOAD_BYTES_MAX + 1]),
    ] {
        assert_eq!(reason(send(&mut server(), &bytes)), CloseReason::PublishDenied);
    }
    assert!(send(&mut server(), &raw::publish(OWN_EVENTS, 1, false, 1, &vec![0; PAYLOAD_BYTES_MAX])).is_ok());
}

#[test]
fn acknowledgements_must_come_in_the_order_of_the_messages() {
    let mut server = server();
    assert_eq!(reason(server.client_sent(ack(1))), CloseReason::ProtocolViolation);
    for id in [1, 2, 3] {
        let bytes = raw::publish(OWN_INBOX, 1, false, id, b"x");
        assert_eq!(deliver(&mut server, &bytes), bytes);
    }
    let unasked = raw::publish(OWN_INBOX, 0, false, 0, b"x");
    assert_eq!(deliver(&mut server, &unasked), unasked);
    for id in [1, 2] {
        let step = server.client_sent(ack(id)).unwrap();
        assert_eq!(step, Step { route: Some(ack(id)), ..Step::default() });
        assert!(server.unacked_since().is_some());
    }
    assert_eq!(reason(server.client_sent(ack(2))), CloseReason::ProtocolViolation);
}

#[test]
fn the_oldest_message_tells_since_when_an_answer_is_due() {
    let (mut server, first) = (server(), Instant::now());
    assert_eq!(server.unacked_since(), None);
    for (id, wait) in [(1, 0), (2, 5)] {
        let message = packet(&raw::publish(OWN_INBOX, 1, false, id, b"x"));
        let at = first + std::time::Duration::from_secs(wait);
        server.router_sent(message, at, &mut BytesMut::new()).unwrap();
    }
    assert_eq!(server.unacked_since(), Some(first));
    server.client_sent(ack(1)).unwrap();
    assert_eq!(server.unacked_since(), Some(first + std::time::Duration::from_secs(5)));
}

#[test]
fn reading_stops_while_the_router_owes_answers() {
    let mut server = server();
    let bytes = raw::publish(OWN_EVENTS, 1, false, 1, b"x");
    for _ in 0..UNACKED_IN_MAX {
        assert!(server.may_read());
        send(&mut server, &bytes).unwrap();
    }
    assert!(!server.may_read());
    assert_eq!(deliver(&mut server, &raw::puback(1)), raw::puback(1));
    assert!(server.may_read());
}

#[test]
fn codes_stand_where_their_filters_stood() {
    let mut hub = hub();
    let filters = [("#", 0), (STATUS_FILTER, 1), ("$share/g/a", 1), (EVENTS_FILTER, 0), (EVENTS_FILTER, 2)];
    let step = send(&mut hub, &raw::subscribe(7, &filters)).unwrap();
    assert_eq!(step.route, Some(packet(&raw::subscribe(7, &[(STATUS_FILTER, 1), (EVENTS_FILTER, 0)]))));
    assert_eq!(
        (step.reply, step.refused),
        (None, vec!["#".into(), "$share/g/a".into(), EVENTS_FILTER.into()])
    );
    assert_eq!(deliver(&mut hub, &raw::suback(7, &[1, 0])), raw::suback(7, &[0x80, 1, 0x80, 0, 0x80]));
}

#[test]
fn a_subscribe_with_nothing_allowed_never_reaches_the_router() {
    let step = send(&mut server(), &raw::subscribe(8, &[(STATUS_FILTER, 0), ("é", 1)])).unwrap();
    assert_eq!(step.route, None);
    assert_eq!(step.reply, Some(packet(&raw::suback(8, &[0x80, 0x80]))));
}

#[test]
fn a_client_that_is_refused_for_ever_is_closed() {
    let mut exchange = server();
    for _ in 0..4 {
        assert!(send(&mut exchange, &raw::subscribe(1, &[("#", 0); 16])).unwrap().reply.is_some());
    }
    let own = raw::subscribe(2, &[(OWN_INBOX, 1)]);
    assert!(send(&mut exchange, &own).unwrap().route.is_some(), "what it may is still granted");
    assert_eq!(reason(send(&mut exchange, &raw::subscribe(1, &[("#", 0)]))), CloseReason::ProtocolViolation);
}

#[test]
fn unsubscribing_is_answered_once_and_routes_what_was_subscribed() {
    let mut server = server();
    send(&mut server, &raw::subscribe(1, &[(OWN_INBOX, 1), (OWN_INBOX, 0)])).unwrap();
    let step = send(&mut server, &raw::unsubscribe(2, &["x", OWN_INBOX, OWN_INBOX])).unwrap();
    assert_eq!(step.route, Some(packet(&raw::unsubscribe(2, &[OWN_INBOX]))));
    assert!(matches!(step.reply, Some(Packet::UnsubAck(UnsubAck { pkid: 2, .. }, None))));
    let step = send(&mut server, &raw::unsubscribe(3, &[OWN_INBOX])).unwrap();
    assert_eq!(step.route, None);
    assert!(step.reply.is_some());
    let routers = Packet::UnsubAck(UnsubAck { pkid: 2, reasons: vec![] }, None);
    let mut out = BytesMut::new();
    server.router_sent(routers, Instant::now(), &mut out).unwrap();
    assert_eq!(&out[..], b"");
}

#[test]
fn pings_are_ours_and_goodbye_is_the_one_graceful_end() {
    let mut server = server();
    let step = server.client_sent(Packet::PingReq(PingReq)).unwrap();
    assert_eq!(step, Step { reply: Some(Packet::PingResp(PingResp)), ..Step::default() });
    let close = send(&mut server, &raw::DISCONNECT).unwrap_err();
    assert!(!close.reason.leaves_will());
}
