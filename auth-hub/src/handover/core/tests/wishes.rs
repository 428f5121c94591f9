//! What operators ask of accounts: ends that hold however late something comes to light, where somebody is, why it ended as it did.

use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, HandoverId};
use shared_msgs::messages::{Order, ServerMessage};

use super::peer::Peer;
use super::rig::{Packet, Rig};
use crate::accounts::AccountRow;
use crate::fleet::Addressed;
use crate::handover::NoPlace;
use crate::handover::core::Input;
use crate::handover::operations::{EndReport, OperationError, Story};

impl Rig {
    /// As the desk does: the players first, from the store.
    pub(super) fn end(&mut self, account: i64, reason: Code) -> Result<EndReport, OperationError> {
        let account = AccountRow::from_raw(account);
        let known = self.players.iter().filter(|((of, _), _)| *of == account);
        let known = known.map(|((_, realm), player)| self.row(account, realm, *player)).collect();
        self.core.learn(known);
        let (report, effects) = self.core.end(account, reason, self.now);
        self.carry_out(effects);
        report
    }

    fn story_of(&self, account: i64, id: HandoverId) -> Story {
        let stories = self.core.explain(AccountRow::from_raw(account));
        stories.into_iter().find(|story| story.handover == id).expect("a story")
    }

    fn where_is(&self, account: i64) -> Vec<(String, bool, bool)> {
        let places = self.core.find(AccountRow::from_raw(account), &[], self.now);
        places.into_iter().map(|p| (p.server.to_string(), p.is_live, p.handover.is_some())).collect()
    }
}

fn events(story: &Story) -> Vec<&str> {
    story.steps.iter().map(|step| step.event).collect()
}

#[test]
fn an_end_takes_session_held_grant_and_all_in_line() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    // One more place is granted and answered without a yes; then two wait.
    rig.peer("b").is_silent = true;
    let running = rig.ask_for(1, Some("b"));
    let waiting = rig.ask_for(1, Some("c"));
    rig.run(100);
    let granted = rig.grants("b")[0].clone();
    let report = rig.end(1, Code::Kicked).unwrap();
    assert_eq!(report.refused, 2);
    assert_eq!(report.servers, ["a".parse().unwrap(), "b".parse().unwrap()]);
    assert_eq!((rig.why(running), rig.why(waiting)), (NoPlace::Kicked, NoPlace::Kicked));
    rig.run(0);
    assert_eq!(rig.grants("c").len(), 0, "who waited in line got a turn");
    let (_, to_a) = rig.ends("a")[0];
    let (_, to_b) = rig.ends("b")[0];
    assert!(to_a.below > granted.fence && to_a.below == to_b.below);
    assert_eq!((to_a.reason, to_b.reason), (Code::Kicked, Code::Kicked));
    assert_eq!(to_b.hashes, [granted.hash]);
    assert!(!rig.peer("a").entries.contains_key(&hash));
    // The grant comes late all the same.
    rig.peer("b").is_silent = false;
    let (boot, now) = (rig.peer("b").boot, rig.now);
    let answer = rig.peer("b").on_order(boot, &Order::Grant(granted), now);
    rig.from("b", answer);
    rig.run(5_000);
    assert_eq!(rig.peer("b").entries.len(), 0);
    // Kicked is not banned.
    let again = rig.ask(1);
    rig.run(0);
    assert!(rig.confirmed(again));
    rig.run(5_000);
    assert_eq!(rig.peers.values().map(|peer| peer.entries.len()).sum::<usize>(), 1);
    rig.assert_quiet();
}

#[test]
fn a_yes_that_crosses_the_end_lets_nobody_in() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.wire = Box::new(|packet| match packet {
        Packet::ToHub(_, ServerMessage::GrantReply { .. }) => vec![300],
        _ => vec![0],
    });
    let id = rig.ask(1);
    rig.run(100);
    assert_eq!(rig.peer("a").entries.len(), 1, "held, and its yes is on the way");
    rig.end(1, Code::Banned).unwrap();
    assert_eq!(rig.why(id), NoPlace::Banned);
    rig.run(1_000);
    assert_eq!(rig.peer("a").entries.len(), 0);
    rig.mend();
    rig.run(5_000);
    rig.assert_quiet();
}

/// A yes that tells of no change: the first one was lost, and the roster does not show the place yet.
#[test]
fn a_place_that_the_roster_does_not_show_yet_is_named() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.peer("a").saves_slowly = true;
    rig.wire = Box::new(|packet| match packet {
        Packet::ToHub(from, message) if from.server.as_str() == "b" => match message {
            ServerMessage::GrantReply { stamp, .. } if !stamp.is_change => vec![0],
            _ => vec![],
        },
        _ => vec![0],
    });
    let id = rig.ask_for(1, Some("b"));
    rig.run(600);
    assert!(rig.waits(id) && rig.where_is(1).len() == 1, "b has said yes, and only that");
    let hash = rig.grants("b")[0].hash;
    assert_eq!(rig.end(1, Code::Kicked).unwrap().servers.len(), 2);
    assert_eq!(rig.ends("b")[0].1.hashes, [hash]);
    rig.mend();
    let saved = rig.peer("a").save_all();
    rig.from("a", saved);
    rig.run(6_000);
    assert_eq!(rig.peers.values().map(|peer| peer.entries.len()).sum::<usize>(), 0);
    rig.assert_quiet();
}

#[test]
fn an_end_is_owed_to_a_server_that_is_cut_off_until_it_is_back() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.play(1, "a");
    rig.cut_off("a");
    rig.run(7_000);
    assert_eq!(rig.end(1, Code::Banned).unwrap().servers, ["a".parse().unwrap()]);
    rig.run(30_000);
    assert_eq!(rig.peer("a").entries.len(), 1);
    rig.mend();
    rig.run(4_000);
    assert_eq!(rig.peer("a").entries.len(), 0);
    rig.assert_quiet();
}

#[test]
fn a_session_that_comes_to_light_after_its_server_was_forgotten_is_ended_too() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.cut_off("a");
    rig.run(7_000);
    rig.end(1, Code::Banned).unwrap();
    rig.run(11 * 60_000);
    assert!(rig.core.fleet.get(&"a".parse().unwrap()).is_none(), "not forgotten yet");
    rig.mend();
    rig.run(6_000);
    assert_eq!(rig.peer("a").entries.len(), 0);
    assert_eq!(rig.ends("a").last().unwrap().1.reason, Code::Banned);
    rig.assert_quiet();
}

#[test]
fn a_newer_login_is_not_touched_by_an_older_end_and_its_own_end_is_superseded() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.cut_off("a");
    rig.run(7_000);
    rig.end(1, Code::Kicked).unwrap();
    let newer = rig.ask_for(1, Some("b"));
    rig.run(0);
    let hash = rig.grants("b")[0].hash;
    assert!(rig.confirmed(newer) && rig.redeem("b", hash));
    rig.mend();
    rig.run(6_000);
    assert_eq!((rig.peer("a").entries.len(), rig.peer("b").entries.len()), (0, 1));
    rig.assert_quiet();
}

#[test]
fn without_a_stored_ceiling_nothing_is_ended_and_nothing_changes() {
    let mut rig = Rig::with(&[("a", 10)]);
    let hash = rig.play(1, "a");
    rig.store_works = false;
    rig.run(60_000);
    assert_eq!(rig.end(1, Code::Banned), Err(OperationError::Store));
    rig.run(1_000);
    assert!(rig.peer("a").entries.contains_key(&hash));
    assert_eq!(rig.ends("a").len(), 0);
    rig.store_works = true;
    rig.run(1_000);
    rig.end(1, Code::Banned).unwrap();
    rig.run(0);
    assert_eq!(rig.peer("a").entries.len(), 0);
}

#[test]
fn an_account_shut_out_while_it_was_looked_up_is_refused_by_name() {
    let mut rig = Rig::with(&[("a", 10)]);
    let (handover, account) = (HandoverId::random(&*rig.rng), AccountRow::from_raw(1));
    rig.asked.insert(handover, rig.now.mono);
    rig.input(Input::Barred { handover, account, why: NoPlace::Banned });
    assert_eq!(rig.why(handover), NoPlace::Banned);
    assert_eq!(rig.story_of(1, handover).outcome, "came to nothing: banned");
    rig.assert_quiet();
}

#[test]
fn an_account_is_found_where_it_is_live_held_or_on_its_way_and_not_where_nothing_is_heard() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    assert_eq!(rig.where_is(1), []);
    rig.play(1, "a");
    assert_eq!(rig.where_is(1), [("a".to_owned(), true, true)]);
    rig.peer("b").is_silent = true;
    rig.ask_for(1, Some("b"));
    rig.run(0);
    assert_eq!(rig.where_is(1), [("a".to_owned(), true, true), ("b".to_owned(), false, true)]);
    rig.end(1, Code::Kicked).unwrap();
    rig.run(0);
    assert_eq!(rig.where_is(1), []);
    rig.play(2, "a");
    rig.cut_off("a");
    rig.run(7_000);
    assert_eq!(rig.where_is(2), [], "its lease is over");
}

#[test]
fn a_story_goes_on_to_its_end_after_the_client_was_answered() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let first = rig.ask_for(1, Some("a"));
    rig.run(0);
    assert_eq!(rig.story_of(1, first).outcome, "told to go to a, and not come there yet");
    let hash = rig.grants("a")[0].hash;
    rig.redeem("a", hash);
    rig.run(0);
    assert_eq!(rig.story_of(1, first).outcome, "in game on a");
    let second = rig.ask_for(1, Some("b"));
    rig.run(0);
    let story = rig.story_of(1, first);
    assert_eq!(story.outcome, format!("played on a until a newer login took over, handover {second}"));
    assert_eq!(
        events(&story),
        [
            "handover.asked",
            "handover.placed",
            "grant.sent",
            "grant.accepted",
            "handover.answered",
            "session.began",
            "end.sent",
            "session.over"
        ]
    );
    assert_eq!(story.steps.last().unwrap().code, Some("superseded"));
    assert_eq!(story.steps.last().unwrap().server, Some("a".parse().unwrap()));
    // Nobody comes to b.
    rig.run(100_000);
    assert_eq!(rig.story_of(1, second).outcome, "sent to b, and nobody came with the token in time");
    let third = rig.ask_for(1, Some("nowhere"));
    assert_eq!(rig.story_of(1, third).outcome, "came to nothing: server-unknown");
    let order: Vec<_> = rig.core.explain(AccountRow::from_raw(1)).iter().map(|s| s.handover).collect();
    assert_eq!(order, [third, second, first]);
}

#[test]
fn a_session_that_an_operator_ends_says_so_and_so_does_a_place_not_taken_yet() {
    let mut rig = Rig::with(&[("a", 10)]);
    let held = rig.ask(1);
    rig.run(0);
    rig.end(1, Code::Banned).unwrap();
    rig.run(0);
    assert_eq!(rig.story_of(1, held).outcome, "sent to a, and the place was taken back: banned");
    let live = rig.ask(2);
    rig.run(0);
    let hash = rig.grants("a").last().unwrap().hash;
    rig.redeem("a", hash);
    rig.run(0);
    rig.end(2, Code::Kicked).unwrap();
    rig.run(0);
    assert_eq!(rig.story_of(2, live).outcome, "played on a until an operator ended the session");
}

#[test]
fn a_server_whose_key_is_revoked_is_left_at_once_and_comes_back_under_a_new_one() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(7, "b");
    rig.peer("a").is_silent = true;
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.grants("a").len(), 1, "a is emptier");
    let effects = rig.core.revoke(&"a".parse().unwrap(), 2, rig.now);
    // What it says under the old key does not open any more.
    rig.cut_off("a");
    rig.carry_out(effects);
    rig.run(0);
    assert_eq!(rig.placed(id), "b", "the attempt moved on");
    let wanted = rig.ask_for(2, Some("a"));
    rig.run(0);
    assert_eq!(rig.why(wanted), NoPlace::NoServerOnline);
    assert_eq!(rig.core.servers(rig.now)[0].state, "offline");
    let effects = rig.core.revoke(&"b".parse().unwrap(), 1, rig.now);
    rig.carry_out(effects);
    assert_eq!(rig.core.servers(rig.now)[1].state, "online", "b has no key below 1");
    rig.mend();
    let mut fresh = Peer::new("a", "r", 10, 2);
    fresh.generation = 2;
    rig.start(fresh);
    rig.run(0);
    let again = rig.ask_for(2, Some("a"));
    rig.run(0);
    assert_eq!(rig.placed(again), "a");
}

/// However orders are lost, repeated or late: below the end nothing of the account is left.
#[test]
fn an_end_holds_on_a_wire_that_does_its_worst() {
    for seed in 0..60 {
        let mut rig = Rig::new(seed);
        rig.run(2_500);
        for id in ["a", "b"] {
            rig.start(Peer::new(id, "r", 10, 1));
        }
        rig.run(0);
        let dice = std::sync::Arc::clone(&rig.rng);
        rig.trusts_wills = false;
        rig.wire = Box::new(move |packet| {
            let [lost, late, twice] = [0, 1, 2].map(|_| u64::from_be_bytes(dice.array()) % 100);
            match packet {
                Packet::ToServer(Addressed { order: Order::Probe { .. }, .. })
                | Packet::ToHub(_, ServerMessage::Status(_)) => vec![late % 20],
                _ if lost < 30 => vec![],
                _ if twice < 30 => vec![late * 5, late * 9],
                _ => vec![late * 5],
            }
        });
        let id = rig.ask(1);
        rig.run(seed * 37);
        for server in ["a", "b"] {
            for hash in rig.grants(server).iter().map(|grant| grant.hash).collect::<Vec<_>>() {
                rig.redeem(server, hash);
            }
        }
        rig.run(seed % 7 * 50);
        rig.end(1, Code::Banned).unwrap();
        let floor = [rig.ends("a"), rig.ends("b")].concat().iter().map(|(_, end)| end.below).max();
        assert!(!rig.waits(id), "seed {seed}");
        rig.run(10_000);
        rig.mend();
        rig.run(20_000);
        let left: usize = rig.peers.values().map(|peer| peer.entries.len()).sum();
        assert_eq!(left, 0, "seed {seed}, floor {:?}", floor.unwrap_or(Fence::ZERO));
        rig.assert_quiet();
    }
}
