//! Lost roster changes are noticed and asked for, once at a time; until then the server gets nobody.

use shared_msgs::messages::{Order, ServerMessage};

use super::rig::{Packet, Rig};
use crate::handover::NoPlace;

fn is_request(order: &Order) -> bool {
    matches!(order, Order::Roster { .. })
}

fn lose(rig: &mut Rig, which: fn(&ServerMessage) -> bool) {
    rig.wire = Box::new(move |packet| match packet {
        Packet::ToHub(_, message) if which(message) => vec![],
        _ => vec![0],
    });
}

fn is_joined(message: &ServerMessage) -> bool {
    matches!(message, ServerMessage::Joined { .. })
}

fn hold_one(rig: &mut Rig, account: i64) -> shared_msgs::ids::TokenHash {
    let id = rig.ask(account);
    rig.run(0);
    assert!(rig.confirmed(id));
    rig.grants("a").last().unwrap().hash
}

/// The hub's roster of a is a's.
fn assert_same(rig: &mut Rig) {
    let mut ours: Vec<_> =
        rig.core.fleet.get(&"a".parse().unwrap()).unwrap().roster.entries().copied().collect();
    let mut theirs = rig.peer("a").roster();
    ours.sort_by_key(|e| e.hash);
    theirs.sort_by_key(|e| e.hash);
    assert_eq!(ours, theirs);
}

#[test]
fn a_gap_in_the_numbers_is_asked_for_at_once_and_keeps_the_server_out_meanwhile() {
    let mut rig = Rig::with(&[("a", 10)]);
    let (one, two) = (hold_one(&mut rig, 1), hold_one(&mut rig, 2));
    lose(&mut rig, is_joined);
    assert!(rig.redeem("a", one));
    rig.run(0);
    lose(&mut rig, |message| matches!(message, ServerMessage::RosterPage { .. }));
    assert!(rig.redeem("a", two));
    rig.run(0);
    assert_eq!(rig.count("a", is_request), 1);
    let id = rig.ask(3);
    assert_eq!(rig.why(id), NoPlace::NoServerOnline);
    rig.run(1_900);
    assert_eq!(rig.count("a", is_request), 1, "one at a time");
    rig.mend();
    rig.run(200);
    assert_eq!(rig.count("a", is_request), 2, "and again when no answer came");
    assert_same(&mut rig);
    let id = rig.ask(3);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}

#[test]
fn a_lost_last_change_is_noticed_by_the_next_status_and_its_grace() {
    let mut rig = Rig::with(&[("a", 10)]);
    let one = hold_one(&mut rig, 1);
    lose(&mut rig, is_joined);
    assert!(rig.redeem("a", one));
    // The probe of the next beat brings the status; half a second later the change counts as lost.
    rig.run(1_999);
    assert_eq!(rig.count("a", is_request), 0, "it may still be on its way");
    rig.run(1);
    assert_eq!(rig.count("a", is_request), 1);
    assert_same(&mut rig);
}

#[test]
fn changes_that_were_only_late_cost_no_request() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.wire = Box::new(|packet| match packet {
        Packet::ToHub(_, ServerMessage::GrantReply { .. }) => vec![100],
        _ => vec![0],
    });
    for account in 0..5 {
        rig.ask(account);
        rig.run(50);
        let status = rig.peer("a").status();
        rig.from("a", [status]);
        rig.run(1_950);
    }
    assert_eq!(rig.count("a", is_request), 0);
    assert_same(&mut rig);
}

#[test]
fn a_digest_that_differs_at_the_same_revision_is_asked_for_at_once() {
    let mut rig = Rig::with(&[("a", 10)]);
    let one = hold_one(&mut rig, 1);
    rig.peer("a").entries.remove(&one);
    let status = rig.peer("a").status();
    rig.from("a", [status]);
    rig.run(0);
    assert_eq!(rig.count("a", is_request), 1);
    assert_same(&mut rig);
}

#[test]
fn after_a_reconnect_nothing_is_still_on_its_way() {
    let mut rig = Rig::with(&[("a", 10)]);
    let one = hold_one(&mut rig, 1);
    lose(&mut rig, is_joined);
    assert!(rig.redeem("a", one));
    rig.run(0);
    rig.reconnect("a");
    rig.run(0);
    assert_eq!(rig.count("a", is_request), 1);
    assert_same(&mut rig);
}

#[test]
fn pages_of_other_requests_and_revisions_are_ignored() {
    let mut rig = Rig::with(&[("a", 10)]);
    hold_one(&mut rig, 1);
    hold_one(&mut rig, 2);
    rig.peer("a").page_entries = 1;
    lose(&mut rig, |message| matches!(message, ServerMessage::RosterPage { .. }));
    rig.restart_hub();
    rig.run(2_000);
    rig.mend();
    let request = *rig.peer("a").rosters_asked.last().unwrap();
    let (old, stamp) = (rig.peer("a").stamp(false), rig.peer("a").stamp(false));
    let page =
        |stamp, request, page| ServerMessage::RosterPage { stamp, request, page, pages: 2, entries: vec![] };
    let mut earlier = old;
    earlier.rev -= 1;
    let mixed = [page(stamp, request - 1, 0), page(stamp, request, 0), page(earlier, request, 1)];
    rig.from("a", mixed);
    rig.from("a", [page(stamp, request + 1, 1)]);
    rig.run(0);
    let view = rig.core.fleet.get(&"a".parse().unwrap()).unwrap();
    assert!(!view.roster.is_known());
    rig.run(2_500);
    assert_same(&mut rig);
}

#[test]
fn a_roster_as_of_before_a_change_does_not_undo_it() {
    let mut rig = Rig::with(&[("a", 10)]);
    let one = hold_one(&mut rig, 1);
    lose(&mut rig, |message| matches!(message, ServerMessage::RosterPage { .. }));
    rig.restart_roster("a");
    rig.run(0);
    rig.mend();
    let request = *rig.peer("a").rosters_asked.last().unwrap();
    let (stamp, entries) = (rig.peer("a").stamp(false), rig.peer("a").roster());
    assert!(rig.redeem("a", one));
    rig.from("a", [ServerMessage::RosterPage { stamp, request, page: 0, pages: 1, entries }]);
    rig.run(0);
    assert!(!rig.core.fleet.get(&"a".parse().unwrap()).unwrap().roster.is_known());
    rig.run(2_500);
    assert_same(&mut rig);
}

#[test]
fn a_roster_larger_than_any_server_may_have_is_not_collected() {
    let mut rig = Rig::with(&[("a", 10)]);
    hold_one(&mut rig, 1);
    lose(&mut rig, |message| matches!(message, ServerMessage::RosterPage { .. }));
    rig.restart_hub();
    rig.run(2_000);
    let request = *rig.peer("a").rosters_asked.last().unwrap();
    let stamp = rig.peer("a").stamp(false);
    let page = ServerMessage::RosterPage { stamp, request, page: 0, pages: u16::MAX, entries: vec![] };
    rig.mend();
    rig.from("a", [page]);
    rig.run(0);
    assert_eq!(rig.core.fleet.get(&"a".parse().unwrap()).unwrap().roster.pages_collected(), 0);
}
