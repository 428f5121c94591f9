//! Bad packets end their own connection; a healthy pair goes on.

use std::sync::Arc;

use rumqttc::QoS;
use shared_msgs::limits::PAYLOAD_BYTES_MAX;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::raw::{self, Connect, Raw};
use super::{TestBroker, events, inbox, status, within};

#[tokio::test]
async fn each_bad_packet_ends_its_connection_and_no_other() {
    let broker = TestBroker::start().await;
    let own = events("alpha");
    let denied = [
        ("multi-byte first character", raw::publish("é", 0, false, 0, b"x")),
        ("multi-byte first character, QoS 1", raw::publish("é/b", 1, false, 1, b"x")),
        ("topic not UTF-8", raw::publish([0xff, 0xfe], 0, false, 0, b"x")),
        ("empty topic", raw::publish("", 0, false, 0, b"x")),
        ("$SYS", raw::publish("$SYS/broker", 0, false, 0, b"x")),
        ("$share", raw::publish("$share/g/a", 0, false, 0, b"x")),
        ("wildcard topic", raw::publish("handover/v1/servers/+/events", 0, false, 0, b"x")),
        ("foreign status", raw::publish(status("beta"), 1, false, 1, b"x")),
        ("foreign inbox", raw::publish(inbox("beta"), 1, false, 1, b"x")),
        ("own inbox", raw::publish(inbox("alpha"), 1, false, 1, b"x")),
        ("canary", raw::publish("handover/v1/hubs/hub-1/canary", 0, false, 0, b"x")),
        ("QoS 2", raw::publish(&own, 2, false, 1, b"x")),
        ("retained", raw::publish(&own, 0, true, 0, b"x")),
        ("empty payload", raw::publish(&own, 0, false, 0, b"")),
        ("payload too large", raw::publish(&own, 1, false, 1, &vec![0; PAYLOAD_BYTES_MAX + 1])),
    ];
    let malformed = [
        ("frame too large", raw::publish(&own, 1, false, 1, &vec![0; PAYLOAD_BYTES_MAX + 1024])),
        ("packet id zero", raw::publish(&own, 1, false, 0, b"x")),
        ("QoS 3", raw::frame(0x36, &raw::text(&own))),
        ("topic longer than its packet", raw::frame(0x30, &[0xff, 0xff, b'a'])),
        ("stray PUBACK", raw::puback(1)),
        ("short PUBACK", raw::frame(0x40, &[1])),
        ("PUBREC", raw::frame(0x50, &[0, 1])),
        ("PUBREL", raw::frame(0x62, &[0, 1])),
        ("PUBCOMP", raw::frame(0x70, &[0, 1])),
        ("CONNECT again", Connect::server("alpha").bytes()),
        ("CONNACK", raw::WELCOME.to_vec()),
        ("SUBACK", raw::suback(1, &[0])),
        ("UNSUBACK", raw::frame(0xb0, &[0, 1])),
        ("PINGRESP", raw::PINGRESP.to_vec()),
        ("type 0", vec![0, 0]),
        ("type 15", vec![0xf0, 0]),
        ("SUBSCRIBE without filters", raw::subscribe(1, &[])),
        ("SUBSCRIBE with id zero", raw::subscribe(0, &[("a", 0)])),
        ("SUBSCRIBE with QoS 3", raw::subscribe(1, &[("a", 3)])),
        ("SUBSCRIBE cut short", raw::frame(0x82, &[0, 1, 0, 9, b'a'])),
        ("SUBSCRIBE without end", raw::subscribe(1, &[("a", 0); 17])),
        ("UNSUBSCRIBE without filters", raw::unsubscribe(1, &[])),
        ("UNSUBSCRIBE cut short", raw::frame(0xa2, &[0])),
        ("UNSUBSCRIBE not UTF-8", raw::frame(0xa2, &[0, 1, 0, 1, 0xff])),
        ("DISCONNECT with a body", raw::frame(0xe0, &[0])),
        ("endless length", vec![0x30, 0xff, 0xff, 0xff, 0xff, 1]),
    ];
    let counts = (denied.len() as u64, malformed.len() as u64);
    for (name, bytes) in denied.into_iter().chain(malformed) {
        let mut alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
        // The rest of a frame that is refused from its header need not arrive.
        alpha.try_send(&bytes).await;
        assert_eq!(alpha.drained().await, b"", "{name}");
        // Behind its closing nothing of it is left.
        let stats = broker.handle.stats();
        assert!(stats.router_alive, "{name}");
        assert_eq!(stats.connections, 0, "{name}");
    }
    let stats = broker.handle.stats();
    assert_eq!((stats.acl_denied, stats.protocol_violations), counts);
    broker.assert_alive().await;
}

#[tokio::test]
async fn acknowledgements_out_of_order_end_the_connection() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let mut alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    alpha.send(&raw::subscribe(1, &[(&inbox("alpha"), 1)])).await;
    alpha.expect(&raw::suback(1, &[1])).await;
    for payload in [b"1", b"2"] {
        hub.publish(&inbox("alpha"), QoS::AtLeastOnce, payload).await;
    }
    alpha.expect(&raw::publish(inbox("alpha"), 1, false, 1, b"1")).await;
    alpha.expect(&raw::publish(inbox("alpha"), 1, false, 2, b"2")).await;
    alpha.send(&raw::puback(2)).await;
    alpha.closed().await;
    assert_eq!(broker.handle.stats().protocol_violations, 1);
    broker.assert_alive().await;
}

#[tokio::test]
async fn what_came_before_a_bad_packet_is_passed_on() {
    let broker = TestBroker::start().await;
    let mut hub = broker.hub().await;
    let mut alpha = Raw::welcome(broker.public, &Connect::server("alpha")).await;
    let mut bytes = raw::publish(events("alpha"), 0, false, 0, b"good");
    bytes.extend(raw::publish(events("beta"), 0, false, 0, b"bad"));
    bytes.extend(raw::publish(events("alpha"), 0, false, 0, b"late"));
    alpha.send(&bytes).await;
    alpha.closed().await;
    assert_eq!(hub.message_on(&events("alpha")).await, b"good");
    broker.server("beta").await.publish(&events("beta"), QoS::AtLeastOnce, b"next").await;
    assert_eq!(hub.message_on(&events("beta")).await, b"next");
}

/// Subscribers leave in every way while the hub floods their inboxes: the router must survive each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_router_survives_leavers_under_a_flood() {
    const LEAVERS: usize = 8;
    const ROUNDS: usize = 12;
    let broker = Arc::new(TestBroker::with(|config| config.servers_max = 16).await);
    let ready = Arc::new(Barrier::new(LEAVERS + 1));
    let mut leavers = JoinSet::new();
    for n in 0..LEAVERS {
        let (broker, ready) = (Arc::clone(&broker), Arc::clone(&ready));
        leavers.spawn(async move {
            let id = format!("leaver-{n}");
            let mut raw = Raw::welcome(broker.public, &Connect::server(&id)).await;
            ready.wait().await;
            for round in 0..ROUNDS {
                let qos = u8::try_from(round % 2).unwrap();
                raw.send(&raw::subscribe(1, &[(&inbox(&id), qos)])).await;
                // The SUBACK, and then some of the flood.
                for _ in 0..=(round * 40) % 300 {
                    let Some(packet) = raw.packet().await else { break };
                    if packet[0] & 0xf6 == 0x32 && round % 3 != 0 {
                        let topic = usize::from(packet[3]);
                        let id = u16::from_be_bytes([packet[4 + topic], packet[5 + topic]]);
                        if !raw.try_send(&raw::puback(id)).await {
                            break;
                        }
                    }
                    if round % 3 == 0 && packet[0] & 0xf0 == 0x30 && qos == 1 {
                        break;
                    }
                }
                match (n + round) % 5 {
                    0 => assert!(raw.try_send(&raw::DISCONNECT).await),
                    1 => assert!(raw.try_send(&raw::puback(9999)).await),
                    2 => assert!(raw.try_send(&raw::unsubscribe(2, &[&inbox(&id)])).await),
                    3 => {}
                    _ => {
                        broker.handle.disconnect(&super::server(&id));
                    }
                }
                raw = Raw::welcome(broker.public, &Connect::server(&id)).await;
            }
        });
    }
    let mut hub = broker.hub().await;
    ready.wait().await;
    let flood = async {
        loop {
            for n in 0..LEAVERS {
                for _ in 0..20 {
                    hub.post(&inbox(&format!("leaver-{n}")), QoS::AtLeastOnce, &[0; 64]);
                }
            }
            hub.acknowledged(LEAVERS * 20).await;
        }
    };
    tokio::select! {
        () = flood => {}
        all = within(async { while let Some(left) = leavers.join_next().await { left.unwrap(); } }) => all,
    }
    broker.assert_alive().await;
    let stats = broker.handle.stats();
    assert_eq!(stats.connected, (LEAVERS * (ROUNDS + 1) + 3) as u64);
}
