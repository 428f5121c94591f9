//! Wills, takeover, eviction.

use std::sync::Arc;

use rumqttc::QoS;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::raw::{self, Connect, Raw, WELCOME};
use super::{TestBroker, events, server, status};

fn with_will(id: &str, will: &str) -> Connect {
    Connect { will: Some((status(id), will.as_bytes().to_vec(), 1, false)), ..Connect::server(id) }
}

#[tokio::test]
async fn a_lost_connection_leaves_its_will_behind_its_last_message() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let mut alpha = Raw::welcome(broker.public, &with_will("alpha", "gone")).await;
    alpha.send(&raw::publish(status("alpha"), 0, false, 0, b"here")).await;
    drop(alpha);
    assert_eq!(hub.message_on(&status("alpha")).await, b"here");
    assert_eq!(hub.message_on(&status("alpha")).await, b"gone");
    assert_eq!(broker.handle.stats().wills_published, 1);
}

#[tokio::test]
async fn a_disconnect_takes_the_will_back() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    broker.server_with_will("alpha", Some("gone")).await.disconnect().await;
    broker.server("beta").await.publish(&events("beta"), QoS::AtLeastOnce, b"next").await;
    assert_eq!(hub.message_on(&events("beta")).await, b"next");
    assert_eq!(broker.handle.stats().wills_published, 0);
}

#[tokio::test]
async fn a_client_that_is_thrown_out_leaves_its_will() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let mut alpha = Raw::welcome(broker.public, &with_will("alpha", "gone")).await;
    alpha.send(&raw::puback(1)).await;
    alpha.closed().await;
    assert_eq!(hub.message_on(&status("alpha")).await, b"gone");
}

#[tokio::test]
async fn a_takeover_publishes_the_old_will_and_keeps_the_new() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let mut old = Raw::welcome(broker.public, &with_will("alpha", "old")).await;
    let mut new = Raw::welcome(broker.public, &with_will("alpha", "new")).await;
    new.send(&raw::publish(status("alpha"), 1, false, 5, b"I am new")).await;
    new.expect(&raw::puback(5)).await;
    old.closed().await;
    assert_eq!(hub.message_on(&status("alpha")).await, b"old");
    assert_eq!(hub.message_on(&status("alpha")).await, b"I am new");
    assert_eq!(broker.handle.stats().takeovers, 1);
    drop(new);
    assert_eq!(hub.message_on(&status("alpha")).await, b"new");
    broker.assert_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_come_at_once_one_stays_and_each_that_was_in_leaves_its_will() {
    const CROWD: usize = 40;
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let start = Arc::new(tokio::sync::Barrier::new(CROWD));
    let mut crowd = JoinSet::new();
    let (came_in, mut came) = mpsc::unbounded_channel();
    for n in 0..CROWD {
        let (start, public, came_in) = (Arc::clone(&start), broker.public, came_in.clone());
        crowd.spawn(async move {
            start.wait().await;
            let mut raw = Raw::open(public).await;
            raw.send(&with_will("alpha", &n.to_string()).bytes()).await;
            let was_in = raw.packet().await.is_some_and(|packet| packet == WELCOME);
            if was_in {
                came_in.send(n).unwrap();
            }
            raw.closed().await;
            (n, was_in)
        });
    }
    let mut were_in = Vec::new();
    let mut out = Vec::new();
    while crowd.len() > 1 {
        let (n, was_in) = super::within(crowd.join_next()).await.unwrap().unwrap();
        out.push(n);
        if was_in {
            were_in.push(n.to_string());
        }
    }
    // The last one has its turn when all others are gone; only then is it in.
    while out.contains(&super::within(came.recv()).await.unwrap()) {}
    assert!(broker.handle.disconnect(&server("alpha")), "one stayed");
    let (n, was_in) = super::within(crowd.join_next()).await.unwrap().unwrap();
    assert!(was_in, "the one that stayed was in");
    were_in.push(n.to_string());
    let mut wills = Vec::new();
    for _ in &were_in {
        wills.push(String::from_utf8(hub.message_on(&status("alpha")).await).unwrap());
    }
    wills.sort();
    were_in.sort();
    assert_eq!(wills, were_in);
    let stats = broker.handle.stats();
    assert_eq!(stats.wills_published, were_in.len() as u64);
    assert_eq!((stats.takeovers, stats.connections), (were_in.len() as u64 - 1, 1));
    assert_eq!(stats.connected + stats.refused, CROWD as u64 + 1);
    broker.assert_alive().await;
}

#[tokio::test]
async fn a_server_can_be_disconnected_and_come_back() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let mut alpha = Raw::welcome(broker.public, &with_will("alpha", "gone")).await;
    let mut beta = Raw::welcome(broker.public, &with_will("beta", "gone")).await;
    assert!(broker.handle.disconnect(&server("alpha")));
    assert!(!broker.handle.disconnect(&server("nobody")));
    alpha.closed().await;
    assert_eq!(hub.message_on(&status("alpha")).await, b"gone");
    let mut again = Raw::welcome(broker.public, &with_will("alpha", "gone")).await;
    for raw in [&mut again, &mut beta] {
        raw.send(&raw::PINGREQ).await;
        raw.expect(&raw::PINGRESP).await;
    }
}

#[tokio::test]
async fn a_stopping_broker_keeps_the_wills_back() {
    let broker = TestBroker::start().await;
    let mut alpha = Raw::welcome(broker.public, &with_will("alpha", "gone")).await;
    let handle = broker.handle.clone();
    broker.stop().await;
    alpha.closed().await;
    let stats = handle.stats();
    assert_eq!((stats.wills_published, stats.connections), (0, 0));
    assert!(stats.router_alive);
}
