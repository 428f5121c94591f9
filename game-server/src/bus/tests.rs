//! Both halves of the bus against a hub's keys.

use super::*;
use crate::testing::{START, key};
use shared_msgs::keys::FleetKeys;
use shared_msgs::messages::Order;
use shared_msgs::rng::SeededRng;

const NOW: Now = Now { mono: Mono(5_000), unix: UnixMs(START) };
const BOOT: BootId = BootId { started: UnixMs(START), random: 1 };

fn stream(n: u8) -> StreamId {
    StreamId([n; 16])
}

fn sealer(key: &ServerKey, purpose: Purpose, n: u8) -> Sealer {
    Sealer::new(key, purpose, stream(n), &Topic::Inbox(key.server().clone()))
}

fn drain() -> Vec<u8> {
    codec::encode(&HubMessage::Order { boot: BOOT, order: Order::Drain { within_ms: 0 } }).unwrap()
}

fn inbox() -> (Inbox, Topic) {
    (Inbox::new(key()), Topic::Inbox(key().server().clone()))
}

fn open_at_hub(opener: &mut Opener, topic: &Topic, allowed: Purpose, payload: &[u8]) -> Vec<ServerMessage> {
    let payload = opener.open(topic, &[allowed], payload, NOW.unix, |_| Some(key())).unwrap();
    codec::decode(&payload.batch).unwrap().messages
}

#[test]
fn each_connection_has_its_own_will_and_sealers_that_the_hub_can_open() {
    let mut session = BusSession::new(key(), BOOT);
    let status = Topic::Status(key().server().clone());
    let lane = Lane { topic: status.clone(), purpose: Purpose::Status };
    assert_eq!(session.seal(&lane, b"", NOW.unix), Err(SessionError::NoKey(status.clone())), "no stream yet");
    let mut opener = Opener::new(8);
    let gone = ServerMessage::Gone { boot: BOOT };
    let mut payloads = Vec::new();
    for n in [1, 2] {
        let opening = session.begin(stream(n), NOW.unix);
        assert_eq!(opening.subscriptions, ["handover/v1/servers/alpha/inbox"]);
        let (topic, will) = opening.will.unwrap();
        assert_eq!(
            (&topic, open_at_hub(&mut opener, &topic, Purpose::Will, &will)),
            (&status, vec![gone.clone()])
        );
        let batch = codec::encode(&gone).unwrap();
        for _ in 0..2 {
            let payload = session.seal(&lane, &batch, NOW.unix).unwrap();
            assert_eq!(
                open_at_hub(&mut opener, &status, Purpose::Status, &payload),
                std::slice::from_ref(&gone)
            );
            assert_eq!(payload[8..24], [n; 16], "sealed for this connection's stream");
            payloads.push(payload);
        }
    }
    payloads.sort();
    payloads.dedup();
    assert_eq!(payloads.len(), 4, "no nonce is used twice");
}

#[test]
fn orders_open_once_on_our_inbox_under_our_key() {
    let (mut inbox, topic) = inbox();
    let payload = sealer(&key(), Purpose::Inbox, 1).seal(NOW.unix, &drain()).unwrap();
    let elsewhere = Topic::Inbox("beta".parse().unwrap());
    assert!(inbox.receive(&elsewhere, &payload, NOW).messages.is_empty());
    assert_eq!(inbox.receive(&topic, &payload, NOW).messages.len(), 1);
    assert!(inbox.receive(&topic, &payload, NOW).messages.is_empty(), "replayed");
    let fleet = FleetKeys::generate(&SeededRng::new(1));
    for other in [fleet.server_key(key().server(), 2), fleet.server_key(&"beta".parse().unwrap(), 1)] {
        let forged = Sealer::new(&other, Purpose::Inbox, stream(3), &topic).seal(NOW.unix, &drain()).unwrap();
        assert!(inbox.receive(&topic, &forged, NOW).messages.is_empty());
    }
    let status = sealer(&key(), Purpose::Status, 1).seal(NOW.unix, &drain()).unwrap();
    assert!(inbox.receive(&topic, &status, NOW).messages.is_empty(), "another purpose");
}

#[test]
fn a_hub_whose_clock_is_off_is_told_so_once_a_second() {
    let (mut inbox, topic) = inbox();
    let late = NOW.unix - (limits::CLOCK_SKEW_MAX + Duration::from_millis(1));
    let mut hub = sealer(&key(), Purpose::Inbox, 1);
    let mut receive = |at: Now, hub: &mut Sealer| {
        let received = inbox.receive(&topic, &hub.seal(late, &drain()).unwrap(), at);
        assert!(received.messages.is_empty(), "too old to be followed");
        received.skew
    };
    let notice = Some(SkewNotice::Clocks { ours: NOW.unix, yours: late });
    assert_eq!(receive(NOW, &mut hub), notice);
    assert_eq!(receive(NOW, &mut hub), None);
    assert_eq!(receive(NOW, &mut sealer(&key(), Purpose::Inbox, 2)), notice, "each stream by itself");
    assert_eq!(receive(Now { mono: NOW.mono + SKEW_NOTICE_GAP, ..NOW }, &mut hub), notice);
}

#[test]
fn a_complaint_about_our_clock_is_never_answered() {
    let (mut inbox, topic) = inbox();
    let notice = codec::encode(&SkewNotice::Clocks { ours: UnixMs(1), yours: UnixMs(2) }).unwrap();
    let payload = sealer(&key(), Purpose::SkewToServer, 1).seal(UnixMs(1), &notice).unwrap();
    let received = inbox.receive(&topic, &payload, NOW);
    assert!(received.messages.is_empty() && received.skew.is_none());
}
