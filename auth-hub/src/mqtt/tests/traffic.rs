//! Allowed packets: they arrive, once, in order, acknowledged.

use rumqttc::QoS;
use shared_msgs::limits::PAYLOAD_BYTES_MAX;
use shared_msgs::topics::{EVENTS_FILTER, STATUS_FILTER};

use super::raw::{self, Connect, Raw};
use super::{Client, HUB, TestBroker, events, inbox, status};

#[tokio::test]
async fn both_ways_and_to_nobody_else() {
    let broker = TestBroker::start().await;
    let (mut hub, mut alpha, mut beta) =
        (broker.hub().await, broker.server("alpha").await, broker.server("beta").await);
    alpha.publish(&status("alpha"), QoS::AtLeastOnce, b"s").await;
    alpha.publish(&events("alpha"), QoS::AtLeastOnce, b"e").await;
    assert_eq!(hub.message_on(&status("alpha")).await, b"s");
    assert_eq!(hub.message_on(&events("alpha")).await, b"e");
    hub.publish(&inbox("alpha"), QoS::AtLeastOnce, b"for alpha").await;
    hub.publish(&inbox("beta"), QoS::AtLeastOnce, b"for beta").await;
    assert_eq!(alpha.message_on(&inbox("alpha")).await, b"for alpha");
    assert_eq!(beta.message_on(&inbox("beta")).await, b"for beta");
}

#[tokio::test]
async fn the_hub_hears_its_own_canary() {
    let broker = TestBroker::start().await;
    let canary = "handover/v1/hubs/hub-1/canary";
    let mut hub = Client::connect(broker.private, HUB, HUB, None).await;
    hub.subscribe(canary, QoS::AtLeastOnce).await;
    hub.publish(canary, QoS::AtLeastOnce, b"1").await;
    assert_eq!(hub.message_on(canary).await, b"1");
}

#[tokio::test]
async fn the_largest_payload_passes() {
    let broker = TestBroker::start().await;
    let (mut hub, mut alpha) = (broker.hub().await, broker.server("alpha").await);
    let payload = vec![7; PAYLOAD_BYTES_MAX];
    alpha.publish(&events("alpha"), QoS::AtLeastOnce, &payload).await;
    assert_eq!(hub.message_on(&events("alpha")).await, payload);
}

/// More than the router hands over at a time (it then waits to be woken), and more than it leaves unacknowledged.
#[tokio::test]
async fn a_long_burst_arrives_whole_and_in_order() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let broker = TestBroker::start().await;
        let mut hub = broker.hub().await;
        let mut alpha = Client::connect(broker.public, "gs-alpha", "alpha", None).await;
        alpha.subscribe(&inbox("alpha"), qos).await;
        // What fits into the inbox' log, however late it is read.
        for n in 0..400_u32 {
            hub.post(&inbox("alpha"), QoS::AtLeastOnce, &n.to_be_bytes());
        }
        hub.acknowledged(400).await;
        for n in 0..400_u32 {
            assert_eq!(alpha.message_on(&inbox("alpha")).await, n.to_be_bytes());
        }
    }
}

#[tokio::test]
async fn foreign_filters_are_refused_each_for_itself() {
    let broker = TestBroker::start().await;
    let mut alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    let own = inbox("alpha");
    let filters = [
        (inbox("beta"), 1),
        (own.clone(), 1),
        (STATUS_FILTER.to_owned(), 0),
        (own.clone(), 2),
        (own.clone(), 0),
    ];
    let filters = filters.each_ref().map(|(filter, qos)| (filter.as_str(), *qos));
    alpha.send(&raw::subscribe(9, &filters)).await;
    alpha.expect(&raw::suback(9, &[0x80, 1, 0x80, 0x80, 0])).await;
    alpha.send(&raw::subscribe(10, &[("$share/g/handover/v1/servers/alpha/inbox", 1), ("$SYS/#", 0)])).await;
    alpha.expect(&raw::suback(10, &[0x80, 0x80])).await;
    assert_eq!(broker.handle.stats().acl_denied, 5);
    broker.hub().await.publish(&own, QoS::AtLeastOnce, b"still here").await;
    assert_eq!(alpha.packet().await, Some(raw::publish(&own, 1, false, 1, b"still here")));
    alpha.send(&raw::puback(1)).await;
    alpha.send(&raw::PINGREQ).await;
    alpha.expect(&raw::PINGRESP).await;
}

#[tokio::test]
async fn unsubscribing_is_answered_once_and_ends_the_flow() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let mut alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    let own = inbox("alpha");
    for round in 1..=3_u8 {
        let id = u16::from(round);
        alpha.send(&raw::subscribe(id, &[(&own, 0)])).await;
        alpha.expect(&raw::suback(id, &[0])).await;
        hub.publish(&own, QoS::AtLeastOnce, &[round]).await;
        assert_eq!(alpha.packet().await, Some(raw::publish(&own, 0, false, 0, &[round])));
        alpha.send(&raw::unsubscribe(id, &["never/known", &own, &own])).await;
        alpha.expect(&raw::frame(0xb0, &id.to_be_bytes())).await;
        // Behind this acknowledgement the router has forgotten the subscription.
        alpha.send(&raw::publish(events("alpha"), 1, false, 50 + id, b"x")).await;
        alpha.expect(&raw::puback(50 + id)).await;
        hub.publish(&own, QoS::AtLeastOnce, b"unheard").await;
    }
    alpha.send(&raw::PINGREQ).await;
    alpha.expect(&raw::PINGRESP).await;
}

#[tokio::test]
async fn a_resent_message_does_not_look_resent_to_others() {
    let broker = TestBroker::start().await;
    let mut hub = Raw::welcome(broker.private, &Connect::user(HUB, HUB)).await;
    hub.send(&raw::subscribe(1, &[(EVENTS_FILTER, 1)])).await;
    hub.expect(&raw::suback(1, &[1])).await;
    let mut alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    let mut again = raw::publish(events("alpha"), 1, false, 77, b"x");
    again[0] |= 0b1000;
    alpha.send(&again).await;
    alpha.expect(&raw::puback(77)).await;
    assert_eq!(hub.packet().await, Some(raw::publish(events("alpha"), 1, false, 1, b"x")));
}
