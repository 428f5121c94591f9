//! Players go back where they were, and wishes about latencies and labels are kept.

use super::peer::Peer;
use super::rig::Rig;
use crate::accounts::AccountRow;
use crate::handover::{HandoverRequest, NoPlace};

fn sticky(servers: &[(&str, u32)]) -> Rig {
    let mut rig = Rig::with(servers);
    rig.core.placement.sticky = true;
    rig
}

/// Anywhere, with this changed.
fn request(account: i64, change: impl FnOnce(&mut HandoverRequest)) -> HandoverRequest {
    let mut request = HandoverRequest::anywhere(AccountRow::from_raw(account), "Ann".into());
    change(&mut request);
    request
}

/// Asks so, and gives where it led.
fn led(rig: &mut Rig, request: HandoverRequest) -> Result<String, NoPlace> {
    let id = rig.ask_with(request);
    rig.run(0);
    match rig.answer(id).expect("answered at once") {
        Ok(placed) => Ok(placed.server.to_string()),
        Err(refused) => Err(refused.why),
    }
}

fn leave(rig: &mut Rig, server: &str, hash: shared_msgs::ids::TokenHash) {
    let left = rig.peer(server).leave(hash);
    rig.from(server, left);
    rig.run(0);
}

#[test]
fn a_player_goes_back_where_they_were_last_unless_they_do_not_care() {
    let mut rig = sticky(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "b");
    leave(&mut rig, "b", hash);
    rig.play(2, "b");
    assert_eq!(led(&mut rig, request(1, |_| ())).unwrap(), "b", "though a is emptier");
    assert_eq!(led(&mut rig, request(1, |r| r.is_sticky = false)).unwrap(), "a");
    assert_eq!(led(&mut rig, request(1, |r| r.server = Some("a".parse().unwrap()))).unwrap(), "a");
    rig.core.placement.sticky = false;
    assert_eq!(led(&mut rig, request(2, |_| ())).unwrap(), "a", "the operator does not care");
}

#[test]
fn the_last_server_is_stored_when_it_changes_and_outlives_the_hub() {
    let mut rig = sticky(&[("a", 10), ("b", 10)]);
    for _ in 0..2 {
        let hash = rig.play(1, "b");
        leave(&mut rig, "b", hash);
    }
    rig.play(2, "b");
    assert_eq!(rig.last_servers_stored, 2, "once for each");
    rig.restart_hub();
    rig.core.placement.sticky = true;
    rig.run(3_000);
    assert_eq!(led(&mut rig, request(1, |_| ())).unwrap(), "b");
    assert_eq!(rig.last_servers_stored, 2, "the hub that came back has learnt it from the store");
    rig.play_after_lease(1, "a");
    assert_eq!(rig.last_servers_stored, 3);
    assert_eq!(led(&mut rig, request(1, |_| ())).unwrap(), "a");
}

#[test]
fn where_nobody_may_go_the_last_server_is_no_place_either() {
    let mut rig = sticky(&[("a", 10), ("b", 1)]);
    let hash = rig.play(1, "b");
    leave(&mut rig, "b", hash);
    rig.play(2, "b");
    assert_eq!(led(&mut rig, request(1, |_| ())).unwrap(), "a", "b is full");
    let gone = rig.peer("b").gone();
    rig.from("b", [gone]);
    rig.run(0);
    assert_eq!(led(&mut rig, request(2, |_| ())).unwrap(), "a", "b is not heard");
}

#[test]
fn a_second_realm_has_a_last_server_of_its_own() {
    let mut rig = sticky(&[("a", 10), ("b", 10)]);
    rig.start(Peer::new("c", "other", 10, 1));
    rig.run(0);
    let hash = rig.play(1, "c");
    leave(&mut rig, "c", hash);
    assert_eq!(led(&mut rig, request(1, |_| ())).unwrap(), "c");
    let hash = rig.play(1, "b");
    leave(&mut rig, "b", hash);
    rig.play(2, "c");
    assert_eq!(led(&mut rig, request(1, |_| ())).unwrap(), "b", "of two, the policy's");
}

#[test]
fn the_nearest_regions_with_room_come_first_and_near_ones_are_equals() {
    let mut rig = sticky(&[]);
    for (id, max, region) in [("far", 9, "us"), ("near", 2, "eu"), ("near-too", 9, "eu-west"), ("odd", 9, "")]
    {
        let mut peer = Peer::new(id, "r", max, 1);
        peer.profile.region = region.into();
        rig.start(peer);
    }
    rig.run(0);
    let figures = [("us", 110), ("eu", 25), ("eu-west", 23), ("mars", 1)];
    let latencies: Vec<_> = figures.iter().map(|(region, ms)| ((*region).to_owned(), *ms)).collect();
    let mut goes = |account| led(&mut rig, request(account, |r| r.latencies = latencies.clone())).unwrap();
    let got: Vec<_> = (1..4).map(&mut goes).collect();
    assert_eq!(got, ["near", "near-too", "near-too"], "the emptier of two as near");
    for account in 4..12 {
        goes(account);
    }
    let got: Vec<_> = (12..21).map(&mut goes).collect();
    assert_eq!(got.iter().filter(|server| *server == "far").count(), 9, "then the farther one: {got:?}");
    assert_eq!(goes(21), "odd", "and the one without a figure");
}

#[test]
fn only_servers_with_every_label_will_do() {
    let mut rig = sticky(&[("plain", 9)]);
    for (id, labels) in [("pvp", &["pvp"][..]), ("ranked", &["mode=ranked", "pvp"])] {
        let mut peer = Peer::new(id, "r", 1, 1);
        peer.profile.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        rig.start(peer);
    }
    rig.run(0);
    let with = |account, labels: &[&str]| {
        request(account, |r| r.labels = labels.iter().map(|label| (*label).to_owned()).collect())
    };
    assert_eq!(led(&mut rig, with(1, &["pvp", "mode=ranked"])).unwrap(), "ranked");
    assert_eq!(led(&mut rig, with(2, &["pvp"])).unwrap(), "pvp");
    assert_eq!(led(&mut rig, with(3, &["pvp"])), Err(NoPlace::AllServersFull), "plain has room");
    assert_eq!(led(&mut rig, with(3, &["pve"])), Err(NoPlace::ServerUnknown), "waiting does not help");
    assert_eq!(led(&mut rig, with(3, &[])).unwrap(), "plain");
    let named = HandoverRequest { server: Some("plain".parse().unwrap()), ..with(4, &["pvp"]) };
    assert_eq!(led(&mut rig, named), Err(NoPlace::ServerUnknown), "named, and not of this kind");
    rig.peers.remove(&"ranked".parse().unwrap());
    rig.run(7_000);
    let offline = with(5, &["mode=ranked"]);
    assert_eq!(led(&mut rig, offline), Err(NoPlace::NoServerOnline), "it may come back");
}
