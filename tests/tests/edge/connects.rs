//! CONNECTs that do not get in: somebody else's name, a wrong password, another protocol, a will that is not one's own.

use std::time::Duration;

use hub_tests::server::Home as _;
use shared_msgs::keys::ServerKey;

use crate::raw::{self, Connect, PINGREQ, PINGRESP, Raw};
use crate::rig::{EVENTS, INBOX, Rig, STATUS, State, password};

/// Nobody is told more than a code; what is no CONNECT is not answered at all.
async fn refused(rig: &mut Rig, case: &str, bytes: &[u8], code: Option<u8>) {
    let before = rig.hub.broker_stats();
    let mut raw = Raw::open(rig.to()).await;
    raw.try_send(bytes).await;
    raw.half_close().await;
    assert_eq!(raw.rest().await, code.map_or_else(Vec::new, raw::refusal), "{case}");
    rig.check(case).await;
    let after = rig.hub.broker_stats();
    assert_eq!((after.refused, after.connected), (before.refused + 1, before.connected), "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_who_they_say_is_told_a_code_and_no_more() {
    let mut rig = Rig::start().await;
    let mallory = password(&rig.hub, "mallory");
    let healthy = password(&rig.hub, "healthy");
    let key: ServerKey = rig.hub.key_line(&"mallory".parse().unwrap()).unwrap().parse().unwrap();
    let secret = mallory.rsplit('.').next().unwrap();
    let new = Connect::new;
    let long = "m".repeat(65_000);
    let of = |password: &str| new("gs-mallory", "mallory", password);
    // Client id, user, password: each wrong in its own way.
    let cases: Vec<(&str, Connect, u8)> = vec![
        ("no client id", new("", "mallory", &mallory), 2),
        ("client id without gs-", new("mallory", "mallory", &mallory), 2),
        ("somebody's client id", new("gs-healthy", "mallory", &mallory), 2),
        ("the router's own client id", new("edge.sentinel", "mallory", &mallory), 2),
        ("the client id of a hub", new("hub-1", "mallory", &mallory), 2),
        ("client id in upper case", new("GS-MALLORY", "mallory", &mallory), 2),
        ("client id and NUL", new("gs-mallory\0", "mallory", &mallory), 2),
        ("client id of 65,000 bytes", new(&long, "mallory", &mallory), 2),
        ("client id with wildcards", new("gs-+/#", "mallory", &mallory), 2),
        ("somebody's user", new("gs-mallory", "healthy", &mallory), 4),
        ("somebody's user and client id", new("gs-healthy", "healthy", &mallory), 4),
        ("somebody's password", of(&healthy), 4),
        ("user in upper case", new("gs-mallory", "MALLORY", &mallory), 4),
        ("user and NUL", new("gs-mallory", "mallory\0", &mallory), 4),
        ("user of 33 letters", new("gs-mallory", &"m".repeat(33), &mallory), 4),
        ("user of 65,000 letters", new("gs-mallory", &long, ""), 4),
        ("empty user", new("gs-mallory", "", &mallory), 4),
        ("a hub", new("hub-1", "hub-1", &mallory), 4),
        ("no password", Connect { password: None, ..of("") }, 4),
        ("no user, no password", Connect { user: None, password: None, ..of("") }, 4),
        ("empty password", of(""), 4),
        ("the key itself", of(&key.to_line()), 4),
        ("the secret alone", of(secret), 4),
        ("a key of an epoch to come", of(&format!("2.1.{secret}")), 4),
        ("a key of another generation", of(&format!("1.2.{secret}")), 4),
        ("a generation over all bounds", of(&format!("1.4294967296.{secret}")), 4),
        ("a number with a sign", of(&format!("+1.1.{secret}")), 4),
        ("a number with a zero before it", of(&format!("01.1.{secret}")), 4),
        ("dots", of(&".".repeat(100)), 4),
        ("password cut short", of(&mallory[..mallory.len() - 1]), 4),
        ("password and more", of(&format!("{mallory}A")), 4),
        ("password and NUL", of(&format!("{mallory}\0")), 4),
        ("password of 65,000 bytes", of(&long), 4),
    ];
    for (case, connect, code) in cases {
        refused(&mut rig, case, &connect.bytes(), Some(code)).await;
    }
    for (case, connect) in [
        ("client id not UTF-8", Connect { client_id: vec![0xff], ..of(&mallory) }),
        ("user not UTF-8", Connect { user: Some(vec![0xff]), ..of(&mallory) }),
        ("password not UTF-8", Connect { password: Some(vec![0xff]), ..of(&mallory) }),
        ("password without user", Connect { user: None, ..of(&mallory) }),
    ] {
        refused(&mut rig, case, &connect.bytes(), None).await;
    }
    rig.check_ready("after all of them").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_or_flag_does_not_get_in() {
    let mut rig = Rig::start().await;
    let right = rig.connect.clone();
    let named = |protocol: &str, level| Connect { protocol: protocol.into(), level, ..right.clone() };
    let flagged = |more_flags| Connect { more_flags, ..right.clone() };
    let kept = |keepalive| Connect { keepalive, ..right.clone() };
    let cases: Vec<(&str, Connect, Option<u8>)> = vec![
        ("MQTT 3.1", named("MQIsdp", 3), None),
        ("MQTT 3.1 under the newer name", named("MQTT", 3), Some(1)),
        ("MQTT 3.1.1 under the older name", named("MQIsdp", 4), None),
        ("MQTT 5", named("MQTT", 5), Some(1)),
        ("level 0", named("MQTT", 0), Some(1)),
        ("a bridge's level", named("MQTT", 0x84), Some(1)),
        ("level 255", named("MQTT", 255), Some(1)),
        ("another name", named("AMQP", 4), None),
        ("the name in lower case", named("mqtt", 4), None),
        ("no name", named("", 4), None),
        ("the name and NUL", named("MQTT\0", 4), None),
        ("the reserved flag", flagged(0x03), None),
        ("will QoS without will", flagged(0x0a), None),
        ("will retained without will", flagged(0x22), None),
        ("will QoS 3 without will", flagged(0x1a), None),
        ("a session to be kept", flagged(0x00), Some(5)),
        ("no keep-alive", kept(0), Some(5)),
        ("a keep-alive of 61 s", kept(61), Some(5)),
        ("the longest keep-alive there is", kept(u16::MAX), Some(5)),
    ];
    for (case, connect, code) in cases {
        refused(&mut rig, case, &connect.bytes(), code).await;
    }
    let mqtt5 = [&right.bytes()[2..8], &[5, 2, 0, 60, 5, 0x11, 0xff, 0xff, 0xff, 0xff, 0, 0]].concat();
    refused(&mut rig, "MQTT 5 with properties", &raw::frame(0x10, &mqtt5), Some(1)).await;
    for (case, bytes) in [
        ("HTTP", &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..]),
        ("TLS", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        ("a proxy's header", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
        ("zeroes", &[0; 4_096]),
        ("an empty CONNECT", &[0x10, 0]),
    ] {
        refused(&mut rig, case, bytes, None).await;
    }
    rig.check_ready("after all of them").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_that_is_not_ones_own_does_not_get_in() {
    let mut rig = Rig::start().await;
    let right = rig.connect.clone();
    let wills: [(&str, &str, usize, u8, bool); 16] = [
        ("on somebody's status", "handover/v1/servers/healthy/status", 1, 1, false),
        ("on its own events", EVENTS, 1, 1, false),
        ("on its own inbox", INBOX, 1, 1, false),
        ("on somebody's inbox", "handover/v1/servers/healthy/inbox", 1, 1, false),
        ("on a canary", "handover/v1/hubs/hub-1/canary", 1, 1, false),
        ("on every status", "handover/v1/servers/+/status", 1, 1, false),
        ("on #", "#", 1, 1, false),
        ("on $SYS", "$SYS/broker", 1, 1, false),
        ("on $share", "$share/g/handover/v1/servers/mallory/status", 1, 1, false),
        ("on a topic with NUL", "handover/v1/servers/mallory/status\0", 1, 1, false),
        ("on no topic", "", 1, 1, false),
        ("on a topic that begins with é", "é", 1, 1, false),
        ("of QoS 2", STATUS, 1, 2, false),
        ("retained", STATUS, 1, 0, true),
        ("retained, of QoS 2", STATUS, 1, 2, true),
        ("empty", STATUS, 0, 1, false),
    ];
    for (case, topic, bytes, qos, retain) in wills {
        let will = Some((topic.to_owned(), vec![b'x'; bytes], qos, retain));
        refused(&mut rig, case, &Connect { will, ..right.clone() }.bytes(), Some(5)).await;
    }
    let odd = Connect { will: Some((STATUS.to_owned(), vec![b'x'], 3, false)), ..right.clone() };
    refused(&mut rig, "of QoS 3", &odd.bytes(), None).await;
    let wills = rig.hub.broker_stats().wills_published;
    assert_eq!(wills, 0);
    // The largest payload there is: what it says is nonsense to the hub, and it says it once.
    let largest = Connect { will: Some((STATUS.to_owned(), vec![b'x'; 65_535], 1, false)), ..right };
    Raw::welcome(rig.to(), &largest).await.reset();
    rig.check_ready("after all of them").await;
    assert_eq!(rig.hub.broker_stats().wills_published, 1);
}

/// A CONNECT in any pieces is a CONNECT, and what waits behind it is heard after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_in_two_pieces_is_one_wherever_it_is_cut() {
    let mut rig = Rig::start().await;
    let bytes = [&rig.connect.bytes()[..], &PINGREQ].concat();
    for cut in 1..bytes.len() {
        let mut raw = Raw::saying(rig.to(), &bytes[..cut]).await;
        raw.send(&bytes[cut..]).await;
        raw.expect(&raw::WELCOME).await;
        raw.expect(&PINGRESP).await;
        raw.half_close().await;
        assert_eq!(raw.rest().await, b"", "cut at {cut}");
        rig.check(&format!("cut at {cut}")).await;
    }
}

/// Mute before CONNECT: five seconds. Mute after it: one and a half times the keep-alive it promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mute_are_sent_away() {
    let mut rig = Rig::start().await;
    let begun = tokio::time::Instant::now();
    let mut silent = rig.mallory(State::Fresh).await;
    let bytes = rig.connect.bytes();
    let mut unfinished = Raw::saying(rig.to(), &bytes[..bytes.len() - 1]).await;
    let mut connected = Raw::welcome(rig.to(), &Connect { keepalive: 1, ..rig.connect.clone() }).await;
    rig.check_besides(1, "while they are mute").await;
    assert_eq!(connected.rest().await, b"");
    let connected = begun.elapsed();
    assert_eq!((silent.rest().await, unfinished.rest().await), (Vec::new(), Vec::new()));
    let opened = begun.elapsed();
    // Never early; late only as far as a busy machine is.
    assert!((Duration::from_millis(1_490)..Duration::from_secs(4)).contains(&connected), "{connected:?}");
    assert!((Duration::from_millis(4_990)..Duration::from_secs(9)).contains(&opened), "{opened:?}");
    rig.check_ready("once they are gone").await;
    let stats = rig.hub.broker_stats();
    assert_eq!((stats.keepalive_expired, stats.refused), (1, 2));
}
