//! Invariant 6, bit by bit.

use super::*;
use crate::clock::UnixMs;
use crate::ids::ServerId;
use crate::keys::FleetKeys;
use crate::rng::SeededRng;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const STREAM: StreamId = StreamId([9; 16]);

fn id(text: &str) -> ServerId {
    text.parse().unwrap()
}

fn fleet() -> FleetKeys {
    FleetKeys::generate(&SeededRng::new(7))
}

fn key(server: &str) -> ServerKey {
    fleet().server_key(&id(server), 1)
}

fn inbox(server: &str) -> Topic {
    Topic::Inbox(id(server))
}

fn open(opener: &mut Opener, topic: &Topic, payload: &[u8]) -> Result<Opened, OpenError> {
    open_at(opener, topic, payload, NOW)
}

fn open_at(opener: &mut Opener, topic: &Topic, payload: &[u8], now: UnixMs) -> Result<Opened, OpenError> {
    opener.open(topic, &[Purpose::Inbox], payload, now, |name| fleet().server_key_named(&id("alpha"), name))
}

#[test]
fn opens_once_with_what_was_sealed() {
    let mut sealer = Sealer::new(&key("alpha"), Purpose::Inbox, STREAM, &inbox("alpha"));
    let mut opener = Opener::new(4);
    let mut before = Vec::new();
    for body in [&b"one"[..], b"", b"three"] {
        let payload = sealer.seal(NOW, body).unwrap();
        let read = open(&mut opener, &inbox("alpha"), &payload).unwrap();
        assert_eq!((read.batch.as_slice(), read.issued_at, read.stream), (body, NOW, STREAM));
        before.push(payload);
        for payload in &before {
            assert_eq!(open(&mut opener, &inbox("alpha"), payload), Err(OpenError::Replayed));
        }
    }
}

#[test]
fn every_flipped_bit_fails_and_changes_nothing() {
    let mut sealer = Sealer::new(&key("alpha"), Purpose::Inbox, STREAM, &inbox("alpha"));
    let payload = sealer.seal(NOW, b"some batch").unwrap();
    let mut opener = Opener::new(4);
    for bit in 0..payload.len() * 8 {
        let mut altered = payload.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&mut opener, &inbox("alpha"), &altered).is_err(), "bit {bit}");
    }
    assert!(opener.streams.is_empty(), "a forgery left something behind");
    open(&mut opener, &inbox("alpha"), &payload).unwrap();
}

#[test]
fn every_truncation_fails() {
    let mut sealer = Sealer::new(&key("alpha"), Purpose::Inbox, STREAM, &inbox("alpha"));
    let payload = sealer.seal(NOW, b"some batch").unwrap();
    for len in 0..payload.len() {
        assert!(open(&mut Opener::new(1), &inbox("alpha"), &payload[..len]).is_err(), "{len} bytes");
    }
    let long = vec![0; limits::PAYLOAD_BYTES_MAX + 1];
    assert_eq!(open(&mut Opener::new(1), &inbox("alpha"), &long), Err(OpenError::Size(long.len())));
}

#[test]
fn redirected_to_another_topic_server_or_purpose_fails() {
    let payload =
        Sealer::new(&key("alpha"), Purpose::Inbox, STREAM, &inbox("alpha")).seal(NOW, b"x").unwrap();
    let mut opener = Opener::new(4);
    assert_eq!(open(&mut opener, &inbox("beta"), &payload), Err(OpenError::NotGenuine));
    let with_beta = opener.open(&inbox("alpha"), &[Purpose::Inbox], &payload, NOW, |_| Some(key("beta")));
    assert_eq!(with_beta, Err(OpenError::NotGenuine));
    let as_event = opener.open(&inbox("alpha"), &[Purpose::Events], &payload, NOW, |_| Some(key("alpha")));
    assert_eq!(as_event, Err(OpenError::Purpose));
    let revoked = opener.open(&inbox("alpha"), &[Purpose::Inbox], &payload, NOW, |_| None);
    assert_eq!(revoked, Err(OpenError::Key));
}

#[test]
fn the_clock_rule_is_symmetric_and_spares_wills() {
    let skew = limits::CLOCK_SKEW_MAX;
    let ms = std::time::Duration::from_millis(1);
    for (issued, fresh) in
        [(NOW + skew, true), (NOW + skew + ms, false), (NOW - skew, true), (NOW - skew - ms, false)]
    {
        let mut sealer = Sealer::new(&key("alpha"), Purpose::Inbox, STREAM, &inbox("alpha"));
        let payload = sealer.seal(issued, b"").unwrap();
        let opened = open(&mut Opener::new(1), &inbox("alpha"), &payload);
        match opened {
            Ok(_) => assert!(fresh),
            Err(OpenError::Stale { issued_at, .. }) => assert!(!fresh && issued_at == issued),
            Err(other) => panic!("{other}"),
        }
    }
    let topic = Topic::Status(id("alpha"));
    let mut sealer = Sealer::new(&key("alpha"), Purpose::Will, STREAM, &topic);
    let will = sealer.seal(UnixMs(0), b"bye").unwrap();
    let mut opener = Opener::new(1);
    let mut open_will =
        || opener.open(&topic, &[Purpose::Status, Purpose::Will], &will, NOW, |_| Some(key("alpha")));
    assert!(open_will().is_ok());
    assert_eq!(open_will(), Err(OpenError::Replayed), "once per stream");
    let second = sealer.seal(NOW, b"bye").unwrap();
    let second = opener.open(&topic, &[Purpose::Will], &second, NOW, |_| Some(key("alpha")));
    assert_eq!(second, Err(OpenError::Purpose), "only seq 0 is a will");
}

#[test]
fn streams_are_bounded_and_the_longest_idle_goes() {
    let topic = inbox("alpha");
    let mut opener = Opener::new(2);
    let mut sealers =
        [1, 2, 3].map(|n| Sealer::new(&key("alpha"), Purpose::Inbox, StreamId([n; 16]), &topic));
    let [first, second, again, third] = [0, 1, 0, 2].map(|n| sealers[n].seal(NOW, b"").unwrap());
    for payload in [&first, &second, &again, &third] {
        open(&mut opener, &topic, payload).unwrap();
    }
    assert_eq!(opener.streams.len(), 2);
    assert_eq!(open(&mut opener, &topic, &first), Err(OpenError::Replayed), "the one in use was kept");
    assert!(open(&mut opener, &topic, &second).is_ok(), "the longest idle one was forgotten");
}

#[test]
fn too_large_a_batch_is_a_named_error() {
    let mut sealer = Sealer::new(&key("alpha"), Purpose::Inbox, STREAM, &inbox("alpha"));
    let largest = vec![0; BATCH_BYTES_MAX];
    let payload = sealer.seal(NOW, &largest).unwrap();
    assert_eq!(payload.len(), limits::PAYLOAD_BYTES_MAX);
    assert_eq!(open(&mut Opener::new(1), &inbox("alpha"), &payload).unwrap().batch, largest);
    assert_eq!(
        sealer.seal(NOW, &[largest.as_slice(), b"x"].concat()),
        Err(SealError::TooLarge(BATCH_BYTES_MAX + 1))
    );
}
