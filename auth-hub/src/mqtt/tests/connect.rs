//! CONNECT: who gets in, and what the others are told.

use std::time::Duration;

use super::raw::{self, Connect, Raw, WELCOME};
use super::{HUB, TestBroker, status, within};

#[tokio::test]
async fn servers_come_in_by_the_public_door_and_the_hub_by_its_own() {
    let broker = TestBroker::start().await;
    let mut server = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    let mut hub = Raw::welcome(broker.private, &Connect::user(HUB, HUB)).await;
    let stats = broker.handle.stats();
    assert_eq!((stats.connections, stats.connected, stats.refused), (2, 2, 0));
    broker.stop().await;
    server.closed().await;
    hub.closed().await;
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let broker = TestBroker::start().await;
    let alpha = || Connect::server("alpha");
    let will = |topic: &str, payload: &[u8], qos, retain| Connect {
        will: Some((topic.to_owned(), payload.to_vec(), qos, retain)),
        ..alpha()
    };
    let wrong_password = Some(("alpha".to_owned(), "pw-beta".to_owned()));
    let own = status("alpha");
    let cases = [
        ("version 5", Connect { level: 5, ..alpha() }, 1),
        ("foreign client id", Connect::user("gs-beta", "alpha"), 2),
        ("a probe's client id", Connect::user("gs-alpha?check", "alpha"), 2),
        ("no client id", Connect::user("", "alpha"), 2),
        ("user of another name", Connect::user("gs-alpha", "alias"), 2),
        ("wrong password", Connect { login: wrong_password, ..alpha() }, 4),
        ("unknown user", Connect::user("gs-A", "A"), 4),
        ("no login", Connect { login: None, ..alpha() }, 4),
        ("revoked", Connect::server("revoked"), 5),
        ("hub at the public door", Connect::user(HUB, HUB), 5),
        ("persistent session", Connect { clean: false, ..alpha() }, 5),
        ("no keepalive", Connect { keepalive: 0, ..alpha() }, 5),
        ("long keepalive", Connect { keepalive: 61, ..alpha() }, 5),
        ("will on a foreign status", will(&status("beta"), b"x", 0, false), 5),
        ("will on events", will("handover/v1/servers/alpha/events", b"x", 0, false), 5),
        ("will on a topic that is none", will("é", b"x", 0, false), 5),
        ("retained will", will(&own, b"x", 1, true), 5),
        ("QoS 2 will", will(&own, b"x", 2, false), 5),
        ("empty will", will(&own, b"", 1, false), 5),
    ];
    let count = u64::try_from(cases.len()).unwrap();
    for (name, connect, code) in cases {
        let mut raw = Raw::open(broker.public).await;
        raw.send(&connect.bytes()).await;
        assert_eq!(raw.packet().await, Some(raw::refusal(code)), "{name}");
        raw.closed().await;
    }
    // The probe has asked, and was told.
    assert_eq!(broker.handle.stats().refused, count - 1);
    let mut server = Raw::open(broker.private).await;
    server.send(&alpha().bytes()).await;
    assert_eq!(server.packet().await, Some(raw::refusal(5)), "server at the private door");
    broker.assert_alive().await;
}

#[tokio::test]
async fn what_is_no_connect_is_closed_without_a_word() {
    let broker = TestBroker::start().await;
    let mut wrong_name = Connect::server("alpha").bytes();
    wrong_name[4] = b'X';
    let tls_hello = [0x16, 3, 1, 2, 0, 1, 0];
    let http = b"GET / HTTP/1.1\r\n\r\n";
    let endless = [0x10, 0xff, 0xff, 0xff, 0xff, 0xff];
    let too_large = [0x10, 0xff, 0xff, 0x7f];
    let not_utf8 = raw::frame(0x10, &[0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 30, 0, 1, 0xff]);
    let cases: [&[u8]; 8] =
        [&wrong_name, &tls_hello, http, &endless, &too_large, &not_utf8, &raw::PINGREQ, &[0x10, 0]];
    for bytes in cases {
        let mut raw = Raw::open(broker.public).await;
        raw.send(bytes).await;
        raw.closed().await;
    }
    assert_eq!(broker.handle.stats().refused, 8);
    broker.assert_alive().await;
}

#[tokio::test]
async fn a_peer_without_a_whole_connect_is_sent_away() {
    let broker = TestBroker::with(|config| config.connect_timeout = Duration::from_millis(100)).await;
    let mut silent = Raw::open(broker.public).await;
    let mut slow = Raw::open(broker.public).await;
    let connect = Connect::server("alpha").bytes();
    slow.send(&connect[..connect.len() - 1]).await;
    silent.closed().await;
    slow.closed().await;
    assert_eq!(broker.handle.stats().refused, 2);
}

#[tokio::test]
async fn a_connect_in_pieces_with_packets_behind_it_is_one_connect() {
    let broker = TestBroker::start().await;
    let mut bytes = Connect::server("alpha").bytes();
    bytes.extend(raw::PINGREQ);
    let mut raw = Raw::open(broker.public).await;
    for byte in bytes {
        raw.send(&[byte]).await;
    }
    raw.expect(&WELCOME).await;
    raw.expect(&raw::PINGRESP).await;
}

#[tokio::test]
async fn a_stopping_broker_lets_nobody_in_and_ends() {
    let broker = TestBroker::start().await;
    let mut undecided = Raw::open(broker.public).await;
    let mut served = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    let public = broker.public;
    broker.stop().await;
    served.closed().await;
    // Accepted before the stop, it is told; still in the backlog, it is cut off.
    assert!([raw::refusal(3), vec![]].contains(&undecided.drained().await));
    assert!(within(tokio::net::TcpStream::connect(public)).await.is_err());
}
