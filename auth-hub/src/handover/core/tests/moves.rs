//! Players that a game server moves: the place first, then yes, then the end, then whoever comes gets that place and no other.

use shared_msgs::codes::Code;
use shared_msgs::ids::TokenHash;
use shared_msgs::limits;
use shared_msgs::messages::{EntryKind, Order, ServerMessage, ServerState};
use shared_msgs::moves::{Luggage, Move, MoveTarget};

use super::peer::Peer;
use super::rig::{Packet, Rig};
use crate::accounts::AccountRow;

pub(super) const HAT: &[u8] = b"hat";

pub(super) fn to(server: &str) -> MoveTarget {
    MoveTarget::Server(server.parse().unwrap())
}

impl Rig {
    /// What `server` would send to have the session of this hash moved.
    pub(super) fn wish(
        &mut self,
        server: &str,
        hash: TokenHash,
        request: u64,
        target: MoveTarget,
    ) -> ServerMessage {
        let peer = self.peer(server);
        let (_, _, entry) = peer.entries[&hash];
        let (player, fence, luggage) = (entry.player, entry.fence, Luggage::from(HAT.to_vec()));
        let stamp = peer.stamp(false);
        let within_ms = 14_000;
        ServerMessage::Move(Box::new(Move { stamp, request, player, fence, target, luggage, within_ms }))
    }

    pub(super) fn move_off(&mut self, server: &str, hash: TokenHash, target: MoveTarget) {
        let wish = self.wish(server, hash, 1, target);
        self.from(server, [wish]);
    }

    /// The hub's answers to a server: `None` for yes.
    pub(super) fn move_answers(&mut self, server: &str) -> Vec<Option<Code>> {
        self.peer(server).move_answers.iter().map(|answer| answer.code).collect()
    }

    /// Whoever comes for account 1: where it is sent, and what it finds there.
    pub(super) fn fetch(&mut self, wanted: Option<&str>) -> (String, Luggage) {
        let id = self.ask_for(1, wanted);
        self.run(100);
        let server = self.placed(id).to_owned();
        let placed = self.answer(id).unwrap().as_ref().unwrap().clone();
        let of_it = |grant: &&&shared_msgs::messages::Grant| grant.handover == placed.handover;
        let grants = self.grants(&server);
        let grant = (*grants.iter().rfind(of_it).expect("a grant of this handover")).clone();
        assert!(self.redeem(&server, grant.hash), "the place is gone");
        self.run(0);
        (server, grant.luggage)
    }
}

#[test]
fn the_place_comes_first_then_yes_then_the_end_and_the_client_gets_that_place_once() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    rig.peer("a").saves_slowly = true;
    rig.peer("b").is_silent = true;
    rig.move_off("a", hash, to("b"));
    rig.run(300);
    assert_eq!((rig.move_answers("a").len(), rig.ends("a").len()), (0, 0), "before there is a place");
    rig.peer("b").is_silent = false;
    rig.run(500);
    let of_a = rig.sent.iter().filter(|(_, to, ..)| to.as_str() == "a");
    let last: Vec<_> = of_a.map(|(.., order)| order.clone()).rev().take(2).collect();
    assert!(matches!(&last[1], Order::MoveAnswer(answer) if answer.code.is_none()), "{last:?}");
    assert!(matches!(&last[0], Order::End(end) if end.reason == Code::Moved), "{last:?}");
    let id = rig.ask(1);
    rig.run(100);
    assert!(rig.waits(id), "answered before the older session was over");
    let saved = rig.peer("a").save_all();
    rig.from("a", saved);
    rig.run(0);
    assert_eq!(rig.placed(id), "b");
    let grant = rig.grants("b").last().copied().unwrap().clone();
    assert_eq!(rig.answer(id).unwrap().as_ref().unwrap().handover, grant.handover);
    assert_eq!(&*grant.luggage, HAT);
    assert!(rig.redeem("b", grant.hash));
    rig.run(0);
    let (_, luggage) = rig.fetch(Some("c"));
    assert!(luggage.is_empty(), "the luggage was given out before");
    rig.run(5_000);
    rig.assert_quiet();
}

#[test]
fn without_a_place_the_session_is_not_touched_and_the_server_hears_why() {
    let cases = [
        ("b", Some(Code::ServerFull), Code::ServerFull),
        ("b", Some(Code::Superseded), Code::HubBusy),
        ("nowhere", None, Code::ServerUnknown),
        ("a", None, Code::ServerUnknown),
        ("d", None, Code::ServerDraining),
    ];
    for (target, refuses, code) in cases {
        let mut rig = Rig::with(&[("a", 10), ("b", 10), ("d", 10)]);
        rig.peer("b").refuses = refuses;
        rig.peer("d").state = ServerState::Draining;
        let hash = rig.play(1, "a");
        rig.run(2_500);
        rig.move_off("a", hash, to(target));
        rig.run(20_000);
        assert_eq!(rig.move_answers("a"), [Some(code)], "{target}");
        assert!(rig.peer("a").entries.contains_key(&hash) && rig.ends("a").is_empty());
        rig.assert_quiet();
    }
}

#[test]
fn a_banned_player_and_one_the_store_cannot_name_stay() {
    for (is_banned, code) in [(true, Code::Banned), (false, Code::HubBusy)] {
        let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
        let hash = rig.play(1, "a");
        rig.store_works = is_banned;
        rig.banned.insert(AccountRow::from_raw(1));
        rig.move_off("a", hash, MoveTarget::Anywhere);
        rig.run(100);
        assert_eq!(rig.move_answers("a"), [Some(code)]);
        assert_eq!((rig.grants("b").len(), rig.ends("a").len()), (0, 0));
    }
}

#[test]
fn a_wish_with_a_choice_tries_the_next_server_and_never_its_own() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    rig.peer("b").profile.region = "eu".into();
    rig.run(2_500);
    rig.peer("b").refuses = Some(Code::ServerFull);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, MoveTarget::Regions(vec!["eu".into()]));
    rig.run(100);
    assert_eq!((rig.move_answers("a"), rig.grants("b").len()), (vec![None], 1));
    assert_eq!(rig.fetch(None), ("c".to_owned(), Luggage::from(HAT.to_vec())));
}

#[test]
fn a_request_is_answered_the_same_however_often_it_comes() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    let wish = rig.wish("a", hash, 7, to("b"));
    rig.from("a", [wish.clone(), wish.clone(), wish.clone()]);
    rig.run(100);
    assert_eq!((rig.move_answers("a"), rig.grants("b").len()), (vec![None], 1), "under way once");
    rig.from("a", [wish.clone()]);
    rig.run(100);
    assert_eq!((rig.move_answers("a"), rig.grants("b").len()), (vec![None, None], 1));
    assert_eq!(rig.fetch(None).0, "b");
    rig.from("a", [wish]);
    rig.run(100);
    assert_eq!(rig.peer("b").entries.len(), 1, "moved again");
}

#[test]
fn only_the_very_session_that_the_server_hosts_moves() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    let wish = rig.wish("a", hash, 1, MoveTarget::Anywhere);
    rig.from("b", [wish.clone()]);
    let ServerMessage::Move(mut lower) = wish.clone() else { panic!() };
    lower.fence.hlc -= 1;
    let ServerMessage::Move(mut older) = wish else { panic!() };
    older.stamp.boot.started.0 += 1;
    rig.from("a", [ServerMessage::Move(lower), ServerMessage::Move(older)]);
    rig.run(5_000);
    assert_eq!(rig.moves_ignored, 3);
    assert_eq!((rig.grants("c").len(), rig.grants("b").len(), rig.ends("a").len()), (0, 0, 0));
    assert_eq!((rig.move_answers("a"), rig.move_answers("b")), (vec![], vec![]));
}

#[test]
fn a_login_elsewhere_wins_over_a_prepared_place() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    let (server, luggage) = rig.fetch(Some("c"));
    assert_eq!((server.as_str(), luggage.is_empty()), ("c", true));
    rig.run(5_000);
    assert_eq!((rig.peer("b").entries.len(), rig.peer("c").entries.len()), (0, 1));
    assert!(rig.core.moves.prepared.is_empty());
    rig.assert_quiet();
}

#[test]
fn a_place_that_was_outrun_is_not_given_out_though_its_server_hears_of_nothing() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    rig.wire = Box::new(|packet| match packet {
        Packet::ToServer(to) if to.server.as_str() == "b" && matches!(to.order, Order::End(_)) => vec![],
        _ => vec![0],
    });
    let outrun = rig.grants("b")[0].handover;
    let id = rig.ask_for(1, Some("c"));
    rig.run(7_000);
    assert_eq!(rig.placed(id), "c");
    assert!(rig.core.moves.prepared.is_empty());
    let id = rig.ask(1);
    rig.run(7_000);
    assert_ne!(rig.answer(id).unwrap().as_ref().unwrap().handover, outrun);
}

#[test]
fn a_place_is_prepared_only_after_its_servers_yes_though_nothing_older_lives() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    rig.peer("b").is_silent = true;
    rig.move_off("a", hash, to("b"));
    rig.run(300);
    let left = rig.peer("a").leave(hash);
    rig.from("a", left);
    rig.run(1_000);
    assert_eq!((rig.core.moves.prepared.len(), rig.move_answers("a").len()), (0, 0));
    rig.peer("b").is_silent = false;
    rig.run(2_000);
    assert_eq!((rig.core.moves.prepared.len(), rig.move_answers("a")), (1, vec![None]));
}

#[test]
fn a_login_elsewhere_that_comes_to_nothing_leaves_the_prepared_place() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    rig.peer("c").refuses = Some(Code::ServerFull);
    let id = rig.ask_for(1, Some("c"));
    rig.run(100);
    assert!(rig.answer(id).unwrap().is_err());
    assert_eq!(rig.fetch(Some("b")), ("b".to_owned(), Luggage::from(HAT.to_vec())));
}

#[test]
fn a_target_that_dies_after_its_yes_is_replaced_with_the_luggage_where_the_wish_allows() {
    for while_saving in [true, false] {
        let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
        let hash = rig.play(1, "a");
        rig.peer("a").saves_slowly = while_saving;
        rig.move_off("a", hash, MoveTarget::Anywhere);
        rig.run(100);
        assert_eq!((rig.grants("b").len(), rig.move_answers("a").len()), (1, 1));
        let gone = rig.peer("b").gone();
        rig.from("b", [gone]);
        rig.run(100);
        let saved = rig.peer("a").save_all();
        rig.from("a", saved);
        rig.run(100);
        assert_eq!(rig.fetch(None), ("c".to_owned(), Luggage::from(HAT.to_vec())), "{while_saving}");
        rig.run(7_000);
        assert_eq!(rig.peer("b").entries.len(), 0);
        rig.assert_quiet();
    }
}

#[test]
fn a_named_target_that_comes_back_as_a_new_boot_gets_the_luggage_again() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    let gone = rig.peer("b").gone();
    rig.from("b", [gone]);
    rig.run(100);
    rig.start(Peer::new("b", "r", 10, 2));
    rig.run(200);
    assert_eq!(rig.grants("b").len(), 2);
    assert_eq!(rig.fetch(None), ("b".to_owned(), Luggage::from(HAT.to_vec())));
}

#[test]
fn a_named_target_that_is_lost_loses_the_luggage_and_the_client_gets_another_place() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    rig.peers.remove(&"b".parse().unwrap());
    rig.run(9_000);
    assert!(rig.core.moves.prepared.is_empty());
    let (server, luggage) = rig.fetch(None);
    assert!(server != "b" && luggage.is_empty());
}

#[test]
fn a_target_that_drains_gives_the_place_on() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, MoveTarget::Anywhere);
    rig.run(100);
    let peer = rig.peer("b");
    peer.state = ServerState::Draining;
    let held = *peer.entries.keys().next().unwrap();
    let refused = peer.close_held(held, Code::ServerDraining);
    rig.from("b", refused);
    rig.run(100);
    assert_eq!(rig.fetch(None), ("c".to_owned(), Luggage::from(HAT.to_vec())));
}

#[test]
fn the_old_server_may_die_while_it_saves() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    rig.peer("a").saves_slowly = true;
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    rig.peers.remove(&"a".parse().unwrap());
    rig.run(8_000);
    assert_eq!(rig.fetch(None), ("b".to_owned(), Luggage::from(HAT.to_vec())));
}

#[test]
fn nobody_comes_and_the_slot_is_freed_in_time() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, to("b"));
    rig.run(55_000);
    assert_eq!(rig.peer("b").entries.len(), 1);
    rig.run(10_000);
    assert_eq!((rig.peer("b").entries.len(), rig.core.moves.prepared.len()), (0, 0));
    assert!(rig.fetch(None).1.is_empty());
    rig.run(70_000);
    rig.assert_quiet();
    assert_eq!(rig.core.moves.luggage_bytes(), 0);
}

#[test]
fn a_hub_that_restarts_forgets_the_place_and_the_client_gets_another() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    rig.restart_hub();
    rig.run(5_000);
    let (_, luggage) = rig.fetch(None);
    assert!(luggage.is_empty());
    rig.run(5_000);
    let live = |peer: &Peer| peer.roster().iter().filter(|entry| entry.kind == EntryKind::Live).count();
    assert_eq!(rig.peers.values().map(live).sum::<usize>(), 1);
}

#[test]
fn a_move_is_over_in_the_time_that_its_server_gives_it() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    rig.peer("b").is_silent = true;
    let ServerMessage::Move(mut asked) = rig.wish("a", hash, 1, to("b")) else { panic!() };
    asked.within_ms = 1_500;
    rig.from("a", [ServerMessage::Move(asked)]);
    rig.run(1_499);
    assert_eq!(rig.move_answers("a"), []);
    rig.run(1);
    assert_eq!(rig.move_answers("a"), [Some(Code::HandoverTimedOut)]);
    assert!(rig.ends("a").is_empty());
}

#[test]
fn luggage_in_all_is_bounded_and_what_is_over_is_counted_no_more() {
    let mut rig = Rig::with(&[("a", 5_000), ("b", 5_000)]);
    let hashes: Vec<_> = (1..=4).map(|account| rig.play(account, "a")).collect();
    let most = limits::LUGGAGE_BYTES_TOTAL_MAX / 2;
    let mut wishes: Vec<_> = (0..).zip(&hashes).map(|(n, hash)| rig.wish("a", *hash, n, to("b"))).collect();
    // More than a message can carry, so that three make the bound.
    for wish in &mut wishes {
        let ServerMessage::Move(asked) = wish else { panic!() };
        asked.luggage = vec![7; most].into();
    }
    let last = wishes.pop().unwrap();
    rig.wire = Box::new(|packet| match packet {
        Packet::ToServer(to) if to.server.as_str() == "b" => vec![50],
        _ => vec![0],
    });
    rig.from("a", wishes);
    rig.run(0);
    assert_eq!(rig.move_answers("a"), [Some(Code::HubBusy)]);
    rig.run(65_000);
    assert_eq!(rig.core.moves.luggage_bytes(), 0);
    rig.from("a", [last]);
    rig.run(200);
    assert_eq!(rig.move_answers("a").last(), Some(&None));
}
