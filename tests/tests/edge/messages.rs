//! Established clients with a genuine key that publish, subscribe and acknowledge what they may not.

use hub_tests::rogue::RogueServer;
use shared_msgs::clock::{Clock as _, SystemClock};
use shared_msgs::keys::Purpose;

use crate::raw::{self, PINGREQ, PINGRESP, Raw};
use crate::rig::{EVENTS, INBOX, MALLORY, Rig, STATUS, State, round_trip};

const FOREIGN_INBOX: &str = "handover/v1/servers/healthy/inbox";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_outside_the_rules_ends_its_connection() {
    let mut rig = Rig::start().await;
    let long_name = format!("handover/v1/servers/{}/status", "m".repeat(33));
    let topics: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("a slash", b"/".to_vec()),
        ("NUL alone", b"\0".to_vec()),
        ("NUL behind its own topic", [EVENTS.as_bytes(), b"\0"].concat()),
        ("NUL inside its own topic", EVENTS.replace("mallory", "mal\0lory").into()),
        ("a character of two bytes first", "é".into()),
        ("a character of four bytes first", "🦀/status".into()),
        ("full-width letters", EVENTS.replace("mallory", "ｍallory").into()),
        ("a byte order mark first", format!("\u{feff}{EVENTS}").into()),
        ("not UTF-8", vec![0xff, 0xfe]),
        ("not UTF-8 behind its own topic", [EVENTS.as_bytes(), &[0xc3]].concat()),
        ("a surrogate", vec![0xed, 0xa0, 0x80]),
        ("an overlong encoding", vec![0xc0, 0xaf]),
        ("as long as can be", vec![b'a'; 65_535]),
        ("levels without end", b"/".repeat(65_535)),
        ("a name too long", long_name.into()),
        ("upper case", EVENTS.to_uppercase().into()),
        ("a slash first", format!("/{EVENTS}").into()),
        ("a slash behind", format!("{EVENTS}/").into()),
        ("a space behind", format!("{EVENTS} ").into()),
        ("#", b"#".to_vec()),
        ("+", b"+".to_vec()),
        ("its own, then #", b"handover/v1/servers/mallory/#".to_vec()),
        ("everybody's status", b"handover/v1/servers/+/status".to_vec()),
        ("$SYS", b"$SYS/broker/uptime".to_vec()),
        ("$share with its own", format!("$share/g/{EVENTS}").into()),
        ("$share alone", b"$share".to_vec()),
        ("a newer protocol's", EVENTS.replace("v1", "v2").into()),
        ("its own inbox", INBOX.into()),
        ("somebody's inbox", FOREIGN_INBOX.into()),
        ("somebody's status", STATUS.replace("mallory", "healthy").into()),
        ("somebody's events", EVENTS.replace("mallory", "healthy").into()),
        ("a hub's canary", b"handover/v1/hubs/hub-1/canary".to_vec()),
    ];
    for (name, topic) in topics {
        for qos in 0..=2 {
            let case = format!("topic: {name}, QoS {qos}");
            ends(&rig, &raw::publish(&topic, qos, 7, b"x"), &case).await;
            rig.check(&case).await;
        }
    }
    for (case, packet) in [
        ("no payload", raw::publish(EVENTS, 1, 7, b"")),
        ("no payload, retained: deletes what was", with_flags(0x31, &raw::publish(EVENTS, 0, 0, b""))),
        ("retained", with_flags(0x31, &raw::publish(STATUS, 0, 0, b"x"))),
        ("retained, QoS 1", with_flags(0x33, &raw::publish(STATUS, 1, 7, b"x"))),
        ("QoS 2", raw::publish(STATUS, 2, 7, b"x")),
        ("QoS 2, duplicate", with_flags(0x3c, &raw::publish(STATUS, 2, 7, b"x"))),
        ("packet id 0", raw::publish(STATUS, 1, 0, b"x")),
        ("topic over the end", raw::frame(0x30, &[0xff, 0xff, b'a'])),
    ] {
        ends(&rig, &packet, case).await;
        rig.check(case).await;
    }
    rig.check_ready("after all of them").await;
}

fn with_flags(first: u8, packet: &[u8]) -> Vec<u8> {
    [&[first], &packet[1..]].concat()
}

/// Mallory says this, and is closed without a word.
async fn ends(rig: &Rig, packet: &[u8], case: &str) {
    let mut raw = rig.mallory(State::Connected).await;
    raw.try_send(packet).await;
    assert_eq!(raw.rest().await, b"", "{case}");
}

/// A filter that is not its own is refused, each for itself, and the connection goes on; nothing comes by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_filter_is_refused_and_brings_nothing() {
    let mut rig = Rig::start().await;
    let long = "a/".repeat(15_000);
    let filters = [
        "",
        "/",
        "#",
        "+",
        "+/+/+/+/+",
        "+/#",
        "#/inbox",
        "handover/#",
        "handover/v1/servers/+/inbox",
        "handover/v1/servers/#",
        "handover/v1/servers/+/status",
        "handover/v1/servers/+/events",
        "handover/v1/servers/mallory/+",
        "handover/v1/servers/mallory/status",
        FOREIGN_INBOX,
        "handover/v1/hubs/+/canary",
        "$SYS/#",
        "$SYS",
        "$share/g/handover/v1/servers/mallory/inbox",
        "$share/g/handover/v1/servers/+/inbox",
        "$share/",
        "$share",
        "$queue/handover/v1/servers/mallory/inbox",
        "handover/v1/servers/mal\0lory/inbox",
        "é",
        "🦀/#",
        &long,
    ];
    for filter in filters {
        let case: String = filter.chars().take(60).collect();
        let mut raw = rig.mallory(State::Connected).await;
        for qos in [0, 1, 2] {
            raw.send(&raw::subscribe(7, &[(filter, qos), (INBOX, 1), (filter, qos)])).await;
            raw.expect(&raw::suback(7, &[0x80, 1, 0x80])).await;
        }
        // Probes of the healthy pair pass meanwhile; none of it may come here.
        rig.check_besides(1, &case).await;
        raw.send(&raw::unsubscribe(8, filter)).await;
        raw.expect(&raw::ack(0xb0, 8)).await;
        raw.send(&PINGREQ).await;
        raw.expect(&PINGRESP).await;
        raw.half_close().await;
        assert_eq!(raw.rest().await, b"", "{case}");
        rig.check(&case).await;
    }
    let mut raw = rig.mallory(State::Connected).await;
    raw.send(&raw::subscribe(7, &[(INBOX, 2)])).await;
    raw.expect(&raw::suback(7, &[0x80])).await;
    drop(raw);
    rig.check_ready("after all of them").await;
}

/// A filter that is not UTF-8 is no filter, and a list without end is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_filters_that_is_none_ends_its_connection() {
    let mut rig = Rig::start().await;
    let bytes = |first, body: &[u8]| raw::frame(first, body);
    for (case, packet) in [
        ("SUBSCRIBE not UTF-8", bytes(0x82, &[0, 7, 0, 1, 0xff, 0])),
        ("SUBSCRIBE, packet id 0", raw::subscribe(0, &[(INBOX, 1)])),
        ("SUBSCRIBE to nothing", raw::subscribe(7, &[])),
        ("SUBSCRIBE, seventeen filters", raw::subscribe(7, &[(INBOX, 1); 17])),
        ("SUBSCRIBE, 64 KiB of filters", raw::subscribe(7, &vec![("", 0); 21_845])),
        ("UNSUBSCRIBE not UTF-8", bytes(0xa2, &[0, 7, 0, 1, 0xff])),
        ("UNSUBSCRIBE, packet id 0", raw::unsubscribe(0, INBOX)),
        ("UNSUBSCRIBE from nothing", bytes(0xa2, &[0, 7])),
        ("UNSUBSCRIBE, 64 KiB of filters", bytes(0xa2, &[&[0, 7][..], &vec![0; 65_534]].concat())),
    ] {
        ends(&rig, &packet, case).await;
        rig.check(case).await;
    }
}

/// What is made of the packet id of a message, by name.
type Spoilt<'a> = (&'a str, &'a dyn Fn(u16) -> Vec<u8>);

/// The acknowledgement of the message it was sent, and what a bad client might send in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_of_anything_but_the_next_message_end_the_connection() {
    let mut rig = Rig::start().await;
    // The hub must know mallory to send it anything: it speaks once as an honest server does.
    let mut honest = RogueServer::connect(&rig.hub, &MALLORY.parse().unwrap()).await.unwrap();
    round_trip(&mut honest).await.unwrap();
    drop(honest);
    rig.check("mallory has left").await;
    let with = |id: u16, first: u8| raw::ack(first, id);
    let cases: [Spoilt; 9] = [
        ("stray", &|id| with(id + 1, 0x40)),
        ("id 0", &|_| with(0, 0x40)),
        ("twice", &|id| [with(id, 0x40), with(id, 0x40)].concat()),
        ("two, out of order", &|id| [with(id + 1, 0x40), with(id, 0x40)].concat()),
        ("PUBREC", &|id| with(id, 0x50)),
        ("PUBREL", &|id| with(id, 0x62)),
        ("PUBCOMP", &|id| with(id, 0x70)),
        ("PUBREC behind the right one", &|id| [with(id, 0x40), with(id, 0x50)].concat()),
        ("of 4 bytes", &|id| raw::frame(0x40, &[&id.to_be_bytes()[..], &[0, 0]].concat())),
    ];
    // The hub probes whoever it has heard at each beat: all cases wait for the same one, each under a server of its own.
    let mut waiting = Vec::new();
    for (n, (case, spoilt)) in cases.into_iter().enumerate() {
        let id = format!("mallory-{n}");
        let mut heard = RogueServer::connect(&rig.hub, &id.parse().unwrap()).await.unwrap();
        round_trip(&mut heard).await.unwrap();
        drop(heard);
        let inbox = INBOX.replace(MALLORY, &id);
        let mut raw = Raw::welcome(rig.to(), &crate::rig::connect(&rig.hub, &id)).await;
        raw.send(&raw::subscribe(1, &[(&inbox, 1)])).await;
        raw.expect(&raw::suback(1, &[1])).await;
        waiting.push((case, spoilt, raw, inbox));
    }
    for (case, spoilt, mut raw, inbox) in waiting {
        let probe = raw.packet().await.unwrap();
        let (topic, id, _) = raw::message(&probe).expect(case);
        assert_eq!(topic, inbox.as_bytes());
        let violations = rig.hub.broker_stats().protocol_violations;
        raw.send(&spoilt(id)).await;
        assert_eq!(raw.rest().await, b"", "{case}");
        assert_eq!(rig.hub.broker_stats().protocol_violations, violations + 1, "{case}");
    }
    rig.check_ready("after all of them").await;
}

/// Subscribing again and again changes nothing: one message, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_taken_a_thousand_times_brings_a_message_once() {
    let mut rig = Rig::start().await;
    let mut honest = RogueServer::connect(&rig.hub, &MALLORY.parse().unwrap()).await.unwrap();
    round_trip(&mut honest).await.unwrap();
    let now = SystemClock::new().now().unix;
    honest.reborn();
    let batch = shared_msgs::codec::encode(&honest.status(None)).unwrap();
    honest.reconnected();
    let status = honest.seal(Purpose::Status, now, &batch).unwrap();
    drop(honest);
    rig.check("mallory has left").await;
    let mut raw = rig.mallory(State::Connected).await;
    let mut heard = Vec::new();
    for id in 1..=1_000 {
        raw.send(&raw::subscribe(id, &[(INBOX, 0), (INBOX, 0)])).await;
        raw.expect_besides(&raw::suback(id, &[0, 0]), &mut heard).await;
        if id % 2 == 0 {
            raw.send(&raw::unsubscribe(id, INBOX)).await;
            raw.expect_besides(&raw::ack(0xb0, id), &mut heard).await;
        }
    }
    raw.send(&raw::subscribe(1, &[(INBOX, 0)])).await;
    raw.expect_besides(&raw::suback(1, &[0]), &mut heard).await;
    // A boot unheard of is probed at once; the last beat's probe may come as well.
    let before = heard.len();
    raw.send(&raw::publish(STATUS, 0, 0, &status)).await;
    while heard.len() == before {
        heard.push(raw.packet().await.unwrap());
    }
    rig.check_besides(1, "while subscribed").await;
    raw.send(&PINGREQ).await;
    raw.expect_besides(&PINGRESP, &mut heard).await;
    for (n, packet) in heard.iter().enumerate() {
        // Two envelopes are never the same: this one came twice.
        assert!(raw::message(packet).is_some() && !heard[..n].contains(packet), "{packet:?}");
    }
    drop(raw);
    rig.check_ready("at the end").await;
}
