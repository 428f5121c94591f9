//! The link against a scripted peer: its connections. What it carries is in `traffic`.

mod peer;
mod tls;
mod traffic;

use peer::{FILTERS, Got, Link, PASSWORD, Peer, lane, soon, status};

use super::*;

#[tokio::test]
async fn up_comes_with_the_last_grant_and_not_before() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut conn = peer.accept().await;
    let fields: Vec<_> = conn.connect.fields.iter().map(|field| String::from_utf8_lossy(field)).collect();
    assert_eq!((fields[0].as_ref(), fields[3].as_ref(), fields[4].as_ref()), ("gs-alpha", "alpha", PASSWORD));
    assert_eq!(fields[1], status().to_string());
    assert_eq!(conn.connect.flags, 0b1100_1110, "user, password, will of QoS 1 not retained, clean session");
    assert_eq!(conn.connect.keep_alive_s, 5);
    let will = conn.connect.will().to_vec();

    conn.connack(0).await;
    let Got::Subscribe { id, filters } = conn.reader.next().await else { panic!("no SUBSCRIBE") };
    assert_eq!(filters, FILTERS);
    assert_eq!(link.sender.send(lane(0), vec![1]), Err(SendError::NotConnected));
    assert!(link.events.try_recv().is_err(), "not up before SUBACK");
    conn.write(&[&[0x90, 4], id.to_be_bytes().as_slice(), &[1, 0]].concat()).await;
    match link.event().await {
        LinkEvent::Up { stream, broker } => assert_eq!((stream.0.to_vec(), broker), (will, peer.addr.into())),
        other => panic!("{other:?}"),
    }
    assert_eq!(link.sender.send(lane(0), vec![1]), Ok(()));
}

#[tokio::test]
async fn every_attempt_has_a_stream_and_a_will_of_its_own_and_subscribes_anew() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut streams = std::collections::BTreeSet::new();
    for attempt in 0..3 {
        let mut conn = peer.accept().await;
        assert_eq!(conn.connect.fields[0], b"gs-alpha");
        assert!(streams.insert(conn.connect.will().to_vec()), "a stream twice");
        if attempt == 1 {
            // Gone before CONNACK.
            drop(conn);
        } else {
            conn.connack(0).await;
            conn.suback(&[1, 1]).await;
            assert_eq!(link.up().await.0.to_vec(), conn.connect.will());
            drop(conn);
        }
        assert!(matches!(link.down().await.0, LinkError::Lost(_)));
        assert_eq!(link.sender.send(lane(0), vec![1]), Err(SendError::NotConnected));
    }
}

#[tokio::test]
async fn nothing_of_one_connection_is_sent_on_the_next() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut conn = peer.accept_up().await;
    let old = link.up().await;
    for n in 0..20 {
        link.sender.send(lane(0), vec![n]).unwrap();
    }
    let flush = link.sender.flush();
    // Some are on the wire unacknowledged, some with rumqttc, some in the outbox.
    assert_eq!(conn.published().await.1, old);
    drop(conn);
    link.down().await;
    soon(flush).await;
    assert_eq!(link.sender.waiting(), 0);

    let mut conn = peer.accept_up().await;
    let new = link.up().await;
    link.sender.send(lane(0), b"new".to_vec()).unwrap();
    let (_, stream, batch) = conn.published().await;
    assert_eq!((stream, batch.as_slice()), (new, b"new".as_slice()));
    assert_ne!(new, old);
}

#[tokio::test]
async fn a_dead_broker_is_left_for_the_next_address() {
    let (dead, alive) = (Peer::bind(), Peer::bind());
    let dead_addr = dead.addr;
    drop(dead);
    let mut link = Link::to(&[dead_addr, alive.addr], |_| {});
    let (error, retry_in) = link.down().await;
    assert!(matches!(error, LinkError::Unreachable(_)), "{error}");
    assert!(retry_in <= crate::limits::RECONNECT_FIRST);
    let _conn = alive.accept_up().await;
    let LinkEvent::Up { broker, .. } = link.event().await else { panic!("not up") };
    assert_eq!(broker, alive.addr.into());
}

#[tokio::test]
async fn a_refused_subscription_is_named() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    let mut conn = peer.accept().await;
    conn.connack(0).await;
    conn.suback(&[1, 0x80]).await;
    let (error, retry_in) = link.down().await;
    assert_eq!(error, LinkError::SubscriptionRefused(FILTERS[1].to_owned()));
    assert!(retry_in >= crate::limits::RECONNECT_MAX / 2);
    let _conn = peer.accept_up().await;
    link.up().await;
}

#[tokio::test]
async fn refused_credentials_are_named_and_retried_without_hurry() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    for code in [4, 5] {
        peer.accept().await.connack(code).await;
        let (error, retry_in) = link.down().await;
        assert_eq!(error, LinkError::BadCredentials);
        assert!(!format!("{error} {error:?}").contains(PASSWORD));
        assert!((crate::limits::RECONNECT_MAX / 2..=crate::limits::RECONNECT_MAX).contains(&retry_in));
    }
    peer.accept().await.connack(3).await;
    assert!(matches!(link.down().await.0, LinkError::Refused(_)));
    let _conn = peer.accept_up().await;
    link.up().await;
}

#[tokio::test]
async fn a_peer_that_speaks_nonsense_is_a_protocol_error_without_its_bytes() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |_| {});
    // An echo of a CONNECT with our password, garbage, and an acknowledgement before its time.
    let body = [b"\0\x04MQTT\x04\xc2\0\x05\0\x01c\0\x05alpha\0\x0f".as_slice(), PASSWORD.as_bytes()].concat();
    let echo = [&[0x10, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
    for bytes in [echo.as_slice(), &[0xff; 8], &[0x40, 2, 0, 1]] {
        let mut conn = peer.accept().await;
        conn.write(bytes).await;
        let (error, _) = link.down().await;
        assert!(matches!(error, LinkError::Protocol(_)), "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn silence_is_noticed_in_every_state() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |config| {
        (config.keep_alive, config.connect_timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    });
    let no_connack = peer.accept().await;
    assert_eq!(link.down().await.0, LinkError::Timeout);
    let mut no_suback = peer.accept().await;
    no_suback.connack(0).await;
    assert_eq!(link.down().await.0, LinkError::Timeout);
    let mut silent = peer.accept_up().await;
    link.up().await;
    assert_eq!(link.down().await.0, LinkError::Silent);
    assert_eq!(silent.reader.next().await, Got::Ping);
    let _conn = peer.accept_up().await;
    link.up().await;
    drop((no_connack, no_suback));
}

#[tokio::test]
async fn a_broker_that_answers_pings_but_acknowledges_nothing_is_given_up() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |config| config.keep_alive = Duration::from_secs(1));
    let mut conn = peer.accept_up().await;
    link.up().await;
    link.sender.send(lane(0), b"a".to_vec()).unwrap();
    let talk = async {
        loop {
            match conn.reader.next().await {
                Got::Ping => conn.write(&[0xd0, 0]).await,
                Got::Publish { .. } => {}
                other => break other,
            }
        }
    };
    let (end, (error, _)) = tokio::join!(talk, link.down());
    assert_eq!((end, error), (Got::End, LinkError::Unacknowledged));
}

#[tokio::test]
async fn any_traffic_is_a_sign_of_life() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |config| config.keep_alive = Duration::from_secs(1));
    let mut conn = peer.accept_up().await;
    link.up().await;
    // Three keep-alives long; its pings stay unanswered, as they do behind a long backlog.
    let mut pace = tokio::time::interval(Duration::from_millis(250));
    for id in 1..=12 {
        pace.tick().await;
        conn.write(&peer::publish(&status().to_string(), id, b"x")).await;
        let event = link.event().await;
        assert!(matches!(event, LinkEvent::Message { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_given_up_though_the_event_loop_hangs() {
    let peer = Peer::bind();
    let mut link = Link::to(&[peer.addr], |config| {
        (config.keep_alive, config.outbox_bytes_max) = (Duration::from_secs(1), 64 << 20);
    });
    let conn = peer.accept_up().await;
    link.up().await;
    for n in 0..240 {
        link.sender.send(lane(n), vec![0; 48 * 1024]).unwrap();
    }
    let (error, _) = link.down().await;
    assert!(matches!(error, LinkError::Silent | LinkError::Timeout), "{error:?}");
    let _conn = peer.accept_up().await;
    link.up().await;
    drop(conn);
}

#[tokio::test]
async fn an_impossible_configuration_starts_nothing() {
    type Spoil = fn(&mut LinkConfig);
    let good = || {
        let broker = "127.0.0.1:1".parse().unwrap();
        LinkConfig::new(vec![broker], "c".to_owned(), "u".to_owned(), Zeroizing::new(PASSWORD.to_owned()))
    };
    assert_eq!(good().check(), Ok(()));
    assert!(!format!("{:?}", good()).contains("hunter2"));
    let cases: [(Spoil, LinkConfigError); 6] = [
        (|c| c.brokers.clear(), LinkConfigError::NoBroker),
        (|c| c.client_id.clear(), LinkConfigError::NoClientId),
        (|c| c.keep_alive = Duration::from_millis(1500), LinkConfigError::KeepAlive),
        (|c| c.keep_alive = Duration::ZERO, LinkConfigError::KeepAlive),
        (|c| c.connect_timeout = Duration::ZERO, LinkConfigError::ConnectTimeout),
        (|c| c.events_max = 0, LinkConfigError::NoRoom),
    ];
    for (spoil, expected) in cases {
        let mut config = good();
        spoil(&mut config);
        assert_eq!(config.check(), Err(expected));
    }
}
