//! A no makes the hub try the next server inside the same request.

use shared_msgs::codes::Code;

use super::rig::Rig;
use crate::handover::NoPlace;

#[test]
fn a_refusal_leads_to_the_next_server_within_the_request() {
    for code in [Code::ServerFull, Code::ServerDraining, Code::ServerStarting, Code::ServerBusy] {
        let mut rig = Rig::with(&[("a", 10), ("b", 5)]);
        rig.peer("a").refuses = Some(code);
        let id = rig.ask(1);
        rig.run(0);
        assert_eq!(rig.placed(id), "b", "{code}");
        assert_eq!(rig.grants("a").len(), 1);
        assert_eq!(rig.ends("a").len(), 0, "a refused grant needs no end");
        rig.assert_quiet();
    }
}

#[test]
fn when_every_server_has_refused_all_are_full() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.peer("a").refuses = Some(Code::ServerFull);
    rig.peer("b").refuses = Some(Code::ServerDraining);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.why(id), NoPlace::AllServersFull);
    assert_eq!((rig.grants("a").len(), rig.grants("b").len()), (1, 1));
    rig.assert_quiet();
}

#[test]
fn who_was_refused_for_another_reason_is_not_told_that_all_is_full() {
    for code in [Code::FenceTooFarAhead, Code::ServerBusy, Code::Superseded] {
        let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
        rig.peer("a").refuses = Some(code);
        rig.peer("b").refuses = Some(Code::ServerFull);
        let (any, chosen) = (rig.ask(1), rig.ask_for(2, Some("a")));
        rig.run(0);
        assert_eq!((rig.why(any), rig.why(chosen)), (NoPlace::HubBusy, NoPlace::HubBusy), "{code}");
    }
}

#[test]
fn a_refusal_after_an_unconfirmed_answer_only_closes_the_grant() {
    let mut rig = Rig::with(&[("a", 10), ("b", 5)]);
    rig.peer("a").is_silent = true;
    let id = rig.ask(1);
    rig.run(300);
    assert!(!rig.confirmed(id));
    rig.peer("a").is_silent = false;
    rig.peer("a").refuses = Some(Code::ServerFull);
    rig.run(1_000);
    assert_eq!((rig.grants("b").len(), rig.refusals), (0, 1));
    rig.assert_quiet();
}

#[test]
fn a_yes_taken_back_before_the_answer_is_a_no() {
    let mut rig = Rig::with(&[("a", 10), ("b", 5), ("c", 1)]);
    rig.play(1, "c");
    rig.peer("c").saves_slowly = true;
    let id = rig.ask(1);
    rig.run(0);
    let grant = rig.grants("a")[0].clone();
    assert!(rig.waits(id));
    let end = shared_msgs::messages::End {
        player: grant.player,
        below: shared_msgs::ids::Fence::ZERO,
        hashes: vec![grant.hash],
        reason: Code::ServerDraining,
        save_within_ms: 0,
    };
    let boot = rig.peer("a").boot;
    let now = rig.now;
    let told = rig.peer("a").on_order(boot, &shared_msgs::messages::Order::End(end), now);
    rig.from("a", told);
    rig.run(0);
    assert_eq!(rig.grants("b").len(), 1);
}

#[test]
fn verdicts_of_strangers_and_of_other_boots_change_nothing() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.peer("a").is_silent = true;
    let id = rig.ask_for(1, Some("a"));
    rig.run(0);
    let grant = rig.grants("a")[0].clone();
    for (server, boot) in [("b", 1), ("a", 0), ("a", 9)] {
        let mut stamp = rig.peer(server).stamp(false);
        stamp.boot.started.0 = boot;
        let verdict = shared_msgs::messages::Verdict::Held;
        let (handover, hash, player, fence) = (id, grant.hash, grant.player, grant.fence);
        let reply = shared_msgs::messages::ServerMessage::GrantReply {
            stamp,
            handover,
            hash,
            player,
            fence,
            verdict,
        };
        rig.from(server, [reply]);
        rig.run(0);
        assert!(rig.waits(id));
        assert_eq!(rig.core.ledger.len(), 1);
    }
}

#[test]
fn who_loses_its_party_to_a_failing_store_leaves_nothing_on_disk() {
    let mut rig = Rig::queueing(&[("a", 5)]);
    let first = rig.ask_as(11, 7, 2);
    rig.run(0);
    let ticket = rig.ticket(first).ticket;
    assert_eq!(rig.tickets.len(), 1);
    rig.store_works = false;
    let second = rig.ask_as(12, 7, 2);
    rig.run(0);
    assert_eq!((rig.why(second), rig.core.tickets()), (NoPlace::HubBusy, 0));
    assert_eq!(rig.void(11, ticket), NoPlace::PartyBroken);
    rig.store_works = true;
    rig.run(61_000);
    assert!(rig.tickets.is_empty(), "the first one's ticket is dropped as soon as the store takes it");
}
