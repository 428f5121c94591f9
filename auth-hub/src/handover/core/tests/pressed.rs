//! Servers under pressure get fewer players, then none; who finds no other waits, and nobody is lost.

use shared_msgs::ids::HandoverId;

use super::rig::Rig;
use crate::handover::NoPlace;

fn says_load(rig: &mut Rig, server: &str, percent: u8) {
    rig.peer(server).load_percent = percent;
    let status = rig.peer(server).status();
    rig.from(server, [status]);
    rig.run(0);
}

fn state(rig: &Rig, server: &str) -> &'static str {
    let servers = rig.core.summaries(rig.now);
    servers.iter().find(|one| one.id.as_str() == server).unwrap().state
}

#[test]
fn a_herd_is_let_in_as_fast_as_the_server_answers_and_in_its_order() {
    let mut rig = Rig::with(&[("a", 1_000)]);
    rig.wire = Box::new(|_| vec![20]);
    let ids: Vec<HandoverId> = (0..300).map(|account| rig.ask(account)).collect();
    // Ten round trips of 40 ms or so, and not the half second after which each looks again by itself.
    for _ in 0..24 {
        assert!(rig.core.ledger.count(&"a".parse().unwrap()) <= 64, "more than the inbox holds");
        rig.run(20);
    }
    let sent: Vec<_> = rig.grants("a").iter().map(|grant| grant.handover).collect();
    assert!(sent == ids, "each once, the first one first");
    assert!(ids.iter().all(|id| rig.confirmed(*id)));
    assert_eq!(state(&rig, "a"), "online");
    rig.run(100_000);
    rig.assert_quiet();
}

#[test]
fn a_server_that_answers_slowly_gets_fewer_and_the_others_more() {
    let mut rig = Rig::with(&[("a", 10_000), ("b", 100)]);
    rig.peer("a").is_silent = true;
    for account in 0..40 {
        rig.ask(account);
        rig.run(0);
    }
    assert_eq!(
        (rig.grants("a").len(), rig.grants("b").len()),
        (16, 24),
        "a is emptier, and strained from 16 on"
    );
    assert_eq!((state(&rig, "a"), state(&rig, "b")), ("degraded", "online"));
}

#[test]
fn who_finds_only_overloaded_servers_waits_until_its_deadline_and_no_longer() {
    let mut rig = Rig::with(&[("a", 1_000)]);
    rig.peer("a").is_silent = true;
    let ids: Vec<_> = (0..65).map(|account| rig.ask(account)).collect();
    rig.run(14_999);
    assert_eq!(rig.grants("a").iter().map(|grant| grant.handover).filter(|id| *id == ids[64]).count(), 0);
    assert!(rig.waits(ids[64]), "neither sent nor refused");
    rig.run(1);
    assert_eq!(rig.why(ids[64]), NoPlace::HubBusy);
    assert!(rig.core.pressed.is_empty());
}

#[test]
fn who_waits_goes_where_room_comes_first() {
    let mut rig = Rig::with(&[("a", 1_000)]);
    rig.peer("a").is_silent = true;
    let ids: Vec<_> = (0..70).map(|account| rig.ask(account)).collect();
    rig.run(1_000);
    let elsewhere = rig.ask_for(70, Some("a"));
    rig.start(super::peer::Peer::new("b", "r", 10, 1));
    rig.run(600);
    assert!(ids[64..].iter().all(|id| rig.placed(*id) == "b"), "a new server takes them");
    assert!(rig.waits(elsewhere), "who named a waits for a");
    rig.peer("a").is_silent = false;
    rig.run(2_000);
    assert_eq!(rig.placed(elsewhere), "a", "and goes when its grants are answered");
}

#[test]
fn load_takes_a_server_out_in_steps_and_brings_it_back_in_steps() {
    let mut rig = Rig::with(&[("a", 1_000), ("b", 10)]);
    rig.play(100, "b");
    let mut account = 0;
    let mut goes = |rig: &mut Rig| {
        account += 1;
        let id = rig.ask(account);
        rig.run(0);
        rig.placed(id).to_owned()
    };
    let loads = [
        (89, "online", "a"),
        (90, "degraded", "b"),
        (75, "degraded", "b"),
        (74, "online", "a"),
        (100, "degraded", "b"),
        (89, "degraded", "b"),
        (74, "online", "a"),
    ];
    for (percent, expected, server) in loads {
        says_load(&mut rig, "a", percent);
        assert_eq!((state(&rig, "a"), &*goes(&mut rig)), (expected, server), "{percent}");
    }
}

#[test]
fn a_load_that_falls_lets_in_who_waits() {
    let mut rig = Rig::with(&[("a", 10)]);
    says_load(&mut rig, "a", 100);
    let id = rig.ask(1);
    rig.run(3_000);
    assert!(rig.waits(id), "overloaded, not full");
    says_load(&mut rig, "a", 90);
    rig.run(500);
    assert!(rig.waits(id), "not yet below");
    says_load(&mut rig, "a", 89);
    rig.run(500);
    assert_eq!(rig.placed(id), "a", "strained, and the only one");
    says_load(&mut rig, "a", 100);
    let full = rig.ask(2);
    rig.peer("a").max = 1;
    says_load(&mut rig, "a", 100);
    rig.run(500);
    assert_eq!(rig.why(full), NoPlace::AllServersFull, "no room, overloaded or not");
}
