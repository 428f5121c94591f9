//! Bans that the hub has forgotten: they are in the store, and end whatever shows a player of theirs.

use shared_msgs::codes::Code;
use shared_msgs::messages::Order;

use super::rig::{Packet, Rig};
use crate::accounts::{AccountRow, Owners, PlayerRow};
use crate::handover::NoPlace;
use crate::handover::core::Input;

impl Rig {
    /// As an operator does: the store first, then what runs.
    fn ban(&mut self, account: i64) {
        self.banned.insert(AccountRow::from_raw(account));
        self.end(account, Code::Banned).unwrap();
    }

    fn rows(&self, account: i64) -> Vec<PlayerRow> {
        let account = AccountRow::from_raw(account);
        let of = self.players.iter().filter(|((row, _), _)| *row == account);
        of.map(|((_, realm), player)| self.row(account, realm, *player)).collect()
    }

    fn is_ended_as_banned(&mut self, server: &str) {
        assert_eq!(self.peer(server).entries.len(), 0, "plays on");
        assert_eq!(self.ends(server).last().unwrap().1.reason, Code::Banned);
        self.assert_quiet();
    }
}

#[test]
fn a_server_that_was_cut_off_over_ban_and_restart_ends_the_session_when_it_is_back() {
    for is_looked_for in [false, true] {
        let mut rig = Rig::with(&[("a", 10)]);
        rig.play(1, "a");
        rig.cut_off("a");
        rig.run(7_000);
        rig.ban(1);
        rig.restart_hub();
        rig.run(20_000);
        if is_looked_for {
            // An operator asks where the player is: that says nothing of a ban.
            let rows = rig.rows(1);
            assert_eq!(rig.core.find(AccountRow::from_raw(1), &rows, rig.now), []);
        }
        rig.mend();
        rig.run(4_000);
        rig.is_ended_as_banned("a");
    }
}

#[test]
fn an_end_that_died_with_its_hub_is_given_again_and_not_only_to_sessions() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.ask_for(2, Some("b"));
    rig.run(0);
    rig.wire = Box::new(|packet| match packet {
        Packet::ToServer(to) if matches!(to.order, Order::End(_)) => vec![],
        _ => vec![0],
    });
    rig.ban(1);
    rig.ban(2);
    rig.run(1_000);
    assert_eq!((rig.peer("a").entries.len(), rig.peer("b").entries.len()), (1, 1));
    rig.restart_hub();
    rig.mend();
    rig.run(6_000);
    rig.is_ended_as_banned("a");
    rig.is_ended_as_banned("b");
}

#[test]
fn without_a_stored_fence_the_ban_is_asked_for_again() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.play(1, "a");
    rig.banned.insert(AccountRow::from_raw(1));
    rig.store_answers = false;
    rig.restart_hub();
    rig.run(3_000);
    let is_owners = |packet: &Packet| matches!(packet, Packet::Stored(Input::Owners { .. }));
    let found = rig.flying.iter().find(|(_, packet)| is_owners(packet)).map(|(key, _)| *key);
    let Some(Packet::Stored(found)) = rig.flying.remove(&found.unwrap()) else { panic!() };
    rig.input(found);
    assert_eq!((rig.ends("a").len(), rig.peer("a").entries.len()), (0, 1), "no fence to end it below");
    rig.store_answers = true;
    rig.run(5_000);
    rig.is_ended_as_banned("a");
}

#[test]
fn who_came_in_after_a_ban_was_lifted_is_not_ended_by_a_late_word_of_it() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.play(1, "a");
    rig.ban(1);
    rig.run(1_000);
    rig.banned.clear();
    rig.play(1, "a");
    let players = rig.rows(1);
    let asked = players.iter().map(|row| row.player).collect();
    let found = Some(Owners { players, banned: [AccountRow::from_raw(1)].into() });
    rig.input(Input::Owners { asked, found });
    rig.run(5_000);
    assert_eq!(rig.peer("a").entries.len(), 1);
}

#[test]
fn a_login_under_way_when_the_ban_comes_to_light_is_refused() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.banned.insert(AccountRow::from_raw(1));
    rig.restart_hub();
    rig.peer("b").is_silent = true;
    let id = rig.ask_for(1, Some("b"));
    rig.run(100);
    let players = rig.rows(1);
    let asked = players.iter().map(|row| row.player).collect();
    rig.input(Input::Owners { asked, found: Some(Owners { players, banned: rig.banned.clone() }) });
    assert_eq!(rig.why(id), NoPlace::Banned);
    rig.run(5_000);
    assert_eq!(rig.peers.values().map(|peer| peer.entries.len()).sum::<usize>(), 0);
}
