//! Clients that come in numbers, leave badly, or take and never give: takeovers, crowds at the cap, resets, and those who never read.

use std::sync::Arc;
use std::time::Duration;

use hub_tests::rogue::RogueServer;
use shared_msgs::net::TurnedAway;
use tokio::task::JoinSet;

use crate::raw::{self, Connect, DISCONNECT, PINGREQ, PINGRESP, Raw, within};
use crate::rig::{self, EVENTS, INBOX, MALLORY, Rig, STATUS, State, round_trip};

/// The ways to leave.
const LEAVINGS: usize = 6;

async fn leave(mut raw: Raw, way: usize) {
    match way % LEAVINGS {
        0 => drop(raw),
        1 => raw.reset(),
        2 => {
            raw.try_send(&DISCONNECT).await;
        }
        3 => raw.half_close().await,
        4 => {
            raw.try_send(&raw::ack(0x40, 9_999)).await;
        }
        _ => {
            // Half a packet, and gone.
            raw.try_send(&raw::publish(EVENTS, 1, 1, &[0; 1_000])[..500]).await;
            raw.reset();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_in_whatever_way_leaves_nothing_behind() {
    let mut rig = Rig::start().await;
    for state in State::ALL {
        for way in 0..LEAVINGS {
            let case = format!("way {way} when {state:?}");
            let raw = rig.mallory(state).await;
            leave(raw, way).await;
            rig.check(&case).await;
        }
    }
    // Gone before they were accepted, or just after.
    for _ in 0..500 {
        Raw::open(rig.to()).await.reset();
    }
    rig.check_ready("after all of them").await;
}

/// The same client, again and again and at the same time: one is in at a time, and in the end nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_takeovers_harms_nobody_else() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 60;
    let mut rig = Rig::start().await;
    let will = Some((STATUS.to_owned(), b"gone".to_vec(), 1, false));
    let (to, connect) = (rig.to(), Arc::new(Connect { will, ..rig.connect.clone() }.bytes()));
    let mut storm = JoinSet::new();
    for n in 0..CLIENTS {
        let connect = Arc::clone(&connect);
        storm.spawn(async move {
            let mut welcome = 0;
            for round in 0..ROUNDS {
                let mut raw = Raw::saying(to, &connect).await;
                if (n + round) % 3 > 0 {
                    // Taken over before its turn it is closed in silence; otherwise it has been in.
                    if raw.packet().await.is_none() {
                        continue;
                    }
                    welcome += 1;
                    raw.try_send(&raw::subscribe(1, &[(INBOX, 1)])).await;
                }
                leave(raw, n + round).await;
            }
            welcome
        });
    }
    let mut welcome = 0;
    while let Some(of_one) = storm.join_next().await {
        welcome += of_one.unwrap();
        rig.pulse("during the storm").await;
    }
    rig.check_ready("after the storm").await;
    let stats = rig.hub.broker_stats();
    assert!(welcome > 0 && stats.connected > welcome, "{stats:?}");
    // Nobody is counted as out who was not in.
    assert!(stats.takeovers < stats.connected && stats.wills_published < stats.connected, "{stats:?}");
    // The last one stays.
    let mut last = rig.mallory(State::Subscribed).await;
    last.send(&PINGREQ).await;
    last.expect(&PINGRESP).await;
}

/// Past the cap each newcomer takes the place of a mute one; who is in stays in, and who shows a key is in at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_past_the_cap_keeps_nobody_out() {
    const CAP: usize = 32;
    let mut rig = Rig::with(|config| {
        config.mqtt.connections_max = CAP;
        config.mqtt.servers_max = 8;
    })
    .await;
    let mut crowd = Vec::new();
    for _ in 0..CAP + CAP / 2 {
        crowd.push(Raw::open(rig.to()).await);
    }
    let mut newcomer = Raw::saying(rig.to(), &rig.connect.bytes()).await;
    rig.pulse("at the cap").await;
    newcomer.expect(&raw::WELCOME).await;
    rig.check_besides(1, "the crowd is still there").await;
    let door = rig.hub.broker_door();
    assert_eq!((door.strangers, door.guests), (CAP as u64 - 2, 2), "{door:?}");
    assert!(door.turned_away(TurnedAway::CrowdedOut) >= (CAP / 2) as u64, "{door:?}");
    drop(newcomer);
    for mut raw in crowd {
        assert_eq!(raw.rest().await, b"");
    }
    rig.check_ready("the crowd has left").await;
    // All places are there again.
    let mut all = Vec::new();
    for n in 1..CAP {
        all.push(Raw::welcome(rig.to(), &rig::connect(&rig.hub, &format!("place-{n}"))).await);
    }
    rig.check_besides(CAP as u64 - 1, "full of honest clients").await;
}

/// They ask and never read the answers, until the edge takes no more of them; ten seconds later they are out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_is_stopped_and_sent_away() {
    // What the kernel and the edge may hold of one such client: both sides' buffers, and what waits in the edge.
    const TAKEN_MAX: usize = 16 << 20;
    let mut rig = Rig::start().await;
    let begun = tokio::time::Instant::now();
    let questions = [
        ("pings", PINGREQ.to_vec()),
        ("messages", raw::publish(EVENTS.replace(MALLORY, "never-1"), 1, 7, b"x")),
    ];
    let mut floods = JoinSet::new();
    for (n, (what, question)) in questions.into_iter().enumerate() {
        let connect = rig::connect(&rig.hub, &format!("never-{n}"));
        let mut raw = Raw::open_narrow(rig.to()).await;
        raw.send(&connect.bytes()).await;
        raw.expect(&raw::WELCOME).await;
        floods.spawn(async move {
            let chunk = question.repeat(65_536 / question.len());
            let mut taken = 0;
            // From where the last write ended: a packet torn in two would be another fault.
            while let Some(more) = raw.push(&chunk[taken % chunk.len()..]).await {
                taken += more;
                assert!(taken < TAKEN_MAX, "{what}: it takes more and more");
            }
            (what, taken)
        });
    }
    // And one that does not acknowledge what the hub sends it.
    let mut heard = RogueServer::connect(&rig.hub, &MALLORY.parse().unwrap()).await.unwrap();
    round_trip(&mut heard).await.unwrap();
    drop(heard);
    rig.pulse("before the silent one").await;
    let mut silent = rig.mallory(State::Subscribed).await;
    assert!(raw::message(&within(silent.packet()).await.unwrap()).is_some());
    let mut gone = 0;
    while gone < 2 {
        tokio::select! {
            flood = floods.join_next() => {
                let (what, taken) = flood.unwrap().unwrap();
                println!("{what}: {taken} bytes taken, sent away after {:?}", begun.elapsed());
                gone += 1;
            }
            () = rig.pulse("during the floods") => {}
        }
    }
    silent.rest().await;
    rig.check_ready("once they are gone").await;
    let stats = rig.hub.broker_stats();
    assert_eq!(stats.slow_consumers, 3, "{stats:?}");
    assert!(stats.keepalive_expired == 0 && stats.protocol_violations == 0, "{stats:?}");
}

/// A server whose subscriptions are refused for ever is told so; it cannot fill the hub's log with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_again_and_again_is_sent_away() {
    let mut rig = Rig::start().await;
    let mut raw = rig.mallory(State::Connected).await;
    let refused = async {
        let mut refused = 0;
        loop {
            raw.try_send(&raw::subscribe(7, &[("#", 0); 16])).await;
            let Some(answer) = raw.packet().await else { return refused };
            assert_eq!(answer, raw::suback(7, &[0x80; 16]));
            refused += 16;
        }
    };
    let refused =
        tokio::time::timeout(Duration::from_secs(10), refused).await.expect("it is never sent away");
    assert_eq!(refused, 64);
    assert_eq!(rig.hub.broker_stats().protocol_violations, 1);
    rig.check_ready("after it").await;
}
