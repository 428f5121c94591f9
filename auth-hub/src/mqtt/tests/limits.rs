//! Time and number: silence, slowness, capacity, and the death of the router.

use std::time::Duration;

use rumqttc::QoS;
use tokio::time::Instant;

use super::raw::{self, Connect, Raw, WELCOME};
use super::{TestBroker, inbox, status, within};

#[tokio::test]
async fn silence_ends_a_connection_though_it_receives() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let will = Some((status("alpha"), b"gone".to_vec(), 1, false));
    let connect = Connect { keepalive: 1, will, ..Connect::server("alpha") };
    let mut alpha = Raw::welcome(broker.public, &connect).await;
    alpha.send(&raw::subscribe(1, &[(&inbox("alpha"), 0)])).await;
    alpha.expect(&raw::suback(1, &[0])).await;
    let begun = Instant::now();
    let mut received = 0;
    loop {
        hub.publish(&inbox("alpha"), QoS::AtLeastOnce, b"are you there?").await;
        let Some(packet) = alpha.packet().await else { break };
        assert_eq!(packet[0] >> 4, 3);
        received += 1;
    }
    let lasted = begun.elapsed();
    assert!(received > 10, "it did receive");
    assert!((Duration::from_millis(1400)..Duration::from_secs(5)).contains(&lasted), "{lasted:?}");
    assert_eq!(hub.message_on(&status("alpha")).await, b"gone");
    assert_eq!(broker.handle.stats().keepalive_expired, 1);
}

#[tokio::test]
async fn bytes_that_make_no_packet_are_silence() {
    let broker = TestBroker::start().await;
    let mut alpha = Raw::welcome(broker.public, &Connect { keepalive: 1, ..Connect::server("alpha") }).await;
    let begun = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for byte in raw::publish(status("alpha"), 0, false, 0, &vec![1; 60_000]).into_iter().take(300) {
        pace.tick().await;
        if broker.handle.stats().keepalive_expired > 0 || !alpha.try_send(&[byte]).await {
            break;
        }
    }
    alpha.closed().await;
    let lasted = begun.elapsed();
    assert!((Duration::from_millis(1400)..Duration::from_secs(5)).contains(&lasted), "{lasted:?}");
}

#[tokio::test]
async fn pings_keep_a_connection_for_longer_than_its_keepalive() {
    let broker = TestBroker::start().await;
    let mut alpha = Raw::welcome(broker.public, &Connect { keepalive: 1, ..Connect::server("alpha") }).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1800) {
        alpha.send(&raw::PINGREQ).await;
        alpha.expect(&raw::PINGRESP).await;
    }
    assert_eq!(broker.handle.stats().keepalive_expired, 0);
}

#[tokio::test]
async fn at_the_cap_newcomers_wait_until_somebody_leaves() {
    let broker = TestBroker::with(|config| {
        config.connections_max = 2;
        config.servers_max = 2;
    })
    .await;
    let alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    let mut beta = Raw::welcome(broker.public, &Connect::server("beta")).await;
    // The kernel takes the connection, the broker does not.
    let mut gamma = Raw::open(broker.public).await;
    gamma.send(&Connect::server("gamma").bytes()).await;
    // The hub's own door is outside the cap.
    let mut hub = broker.hub().await;
    beta.send(&raw::PINGREQ).await;
    beta.expect(&raw::PINGRESP).await;
    assert_eq!(broker.handle.stats().connected, 3);
    drop(alpha);
    gamma.expect(&WELCOME).await;
    drop(beta);
    gamma.send(&raw::publish(status("gamma"), 0, false, 0, b"in")).await;
    assert_eq!(hub.message_on(&status("gamma")).await, b"in");
    assert!(broker.handle.door().stats().full >= 1);
    broker.assert_alive().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_others_go_on() {
    let broker = TestBroker::with(|config| {
        config.write_timeout = Duration::from_millis(300);
        config.send_buffer_bytes = 4096;
    })
    .await;
    let mut hub = broker.hub().await;
    let will = Some((status("alpha"), b"gone".to_vec(), 1, false));
    let mut alpha = Raw::open_narrow(broker.public).await;
    alpha.send(&Connect { will, ..Connect::server("alpha") }.bytes()).await;
    alpha.expect(&WELCOME).await;
    alpha.send(&raw::subscribe(1, &[(&inbox("alpha"), 0)])).await;
    alpha.expect(&raw::suback(1, &[0])).await;
    let mut beta = broker.server("beta").await;
    let begun = Instant::now();
    while broker.handle.stats().slow_consumers == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        hub.publish(&inbox("alpha"), QoS::AtLeastOnce, &[0; 8192]).await;
        hub.publish(&inbox("beta"), QoS::AtLeastOnce, b"in time").await;
        assert_eq!(within(beta.message_on(&inbox("beta"))).await, b"in time");
    }
    assert_eq!(hub.message_on(&status("alpha")).await, b"gone");
    broker.assert_alive().await;
}

/// More piles up than the router hands over at a time: it stops serving the client until it is woken.
#[tokio::test]
async fn a_client_that_reads_late_gets_all_of_it() {
    // A little over two hundred are on their way, and the inbox' log holds the rest.
    const MESSAGES: u16 = 225;
    let broker = TestBroker::with(|config| config.send_buffer_bytes = 4096).await;
    let mut hub = broker.hub().await;
    let mut alpha = Raw::open_narrow(broker.public).await;
    alpha.send(&Connect::server("alpha").bytes()).await;
    alpha.expect(&WELCOME).await;
    alpha.send(&raw::subscribe(1, &[(&inbox("alpha"), 0)])).await;
    alpha.expect(&raw::suback(1, &[0])).await;
    let payload = |n: u16| n.to_be_bytes().repeat(250);
    for n in 0..MESSAGES {
        hub.publish(&inbox("alpha"), QoS::AtLeastOnce, &payload(n)).await;
    }
    for n in 0..MESSAGES {
        assert_eq!(alpha.packet().await, Some(raw::publish(inbox("alpha"), 0, false, 0, &payload(n))));
    }
}

#[tokio::test]
async fn a_client_that_never_acknowledges_is_closed() {
    let broker = TestBroker::with(|config| config.write_timeout = Duration::from_millis(200)).await;
    let mut hub = broker.hub().await;
    let mut alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    alpha.send(&raw::subscribe(1, &[(&inbox("alpha"), 1)])).await;
    alpha.expect(&raw::suback(1, &[1])).await;
    hub.publish(&inbox("alpha"), QoS::AtLeastOnce, b"x").await;
    alpha.expect(&raw::publish(inbox("alpha"), 1, false, 1, b"x")).await;
    alpha.closed().await;
    assert_eq!(broker.handle.stats().slow_consumers, 1);
}

/// It writes and writes and never reads its acknowledgements: it is stopped, not collected.
#[tokio::test]
async fn a_publisher_that_never_reads_is_closed() {
    let broker = TestBroker::with(|config| {
        config.write_timeout = Duration::from_millis(300);
        config.send_buffer_bytes = 4096;
    })
    .await;
    let mut alpha = Raw::open_narrow(broker.public).await;
    alpha.send(&Connect::server("alpha").bytes()).await;
    alpha.expect(&WELCOME).await;
    let many: Vec<u8> = (0..1000).flat_map(|_| raw::publish(status("alpha"), 1, false, 1, b"x")).collect();
    let begun = Instant::now();
    while alpha.try_send(&many).await && broker.handle.stats().slow_consumers == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    alpha.drained().await;
    assert_eq!(broker.handle.stats().slow_consumers, 1);
    broker.assert_alive().await;
}

#[tokio::test]
async fn a_dead_router_ends_the_broker() {
    let broker = TestBroker::start().await;
    let mut alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    broker.handle.edge.router.kill().await;
    within(broker.soft.cancelled()).await;
    assert!(!broker.handle.stats().router_alive);
    alpha.closed().await;
    broker.stop().await;
}
