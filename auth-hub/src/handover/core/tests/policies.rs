//! Policies and regions at work: whatever they prefer, nobody goes where nobody may.

use proptest::prelude::*;
use shared_msgs::messages::ServerState;

use super::peer::Peer;
use super::rig::Rig;
use crate::fleet::{Placement, Policy, Population};
use crate::handover::NoPlace;
use crate::handover::core::Input;

const ACCOUNTS: i64 = 8;

/// A warm hub with servers `(id, slots, region)`.
fn in_regions(servers: &[(&str, u32, &str)]) -> Rig {
    let mut rig = Rig::with(&[]);
    for (id, max, region) in servers {
        let mut peer = Peer::new(id, "r", *max, 1);
        peer.profile.region = (*region).into();
        rig.start(peer);
    }
    rig.run(0);
    rig
}

/// Where they are sent, one after the other; `-` for nowhere.
fn sent(rig: &mut Rig, accounts: std::ops::Range<i64>, regions: &[&str]) -> Vec<String> {
    let one = |account| {
        let id = rig.ask_in(account, None, regions);
        rig.run(0);
        if rig.answers[&id].1.is_ok() { rig.placed(id).to_owned() } else { "-".to_owned() }
    };
    accounts.map(one).collect()
}

#[test]
fn a_slot_held_for_somebody_on_the_way_makes_a_server_fuller() {
    let mut rig = Rig::with(&[("a", 2)]);
    let mut levels = Vec::new();
    for account in 1..4 {
        let summary = &rig.core.summaries(rig.now)[0];
        levels.push((summary.players, summary.population));
        sent(&mut rig, account..account + 1, &[]);
    }
    assert_eq!(levels, [(0, Population::Low), (0, Population::Medium), (0, Population::Full)]);
}

#[test]
fn packed_fills_one_server_before_the_next() {
    let mut rig = Rig::with(&[("a", 2), ("b", 3)]);
    rig.core.placement.policy = Policy::Packed;
    assert_eq!(sent(&mut rig, 1..7, &[]), ["a", "a", "b", "b", "b", "-"]);
}

#[test]
fn the_first_region_with_room_gets_the_player_and_any_other_comes_after_all_of_them() {
    let mut rig = in_regions(&[("far", 9, "us"), ("near", 2, "eu-west"), ("wide", 2, "eu")]);
    let got = sent(&mut rig, 1..6, &["eu-west", "eu"]);
    assert_eq!(got, ["near", "near", "wide", "wide", "far"]);
}

#[test]
fn without_fallback_nobody_leaves_the_regions_they_asked_for() {
    let mut rig = in_regions(&[("far", 9, "us"), ("near", 1, "eu")]);
    rig.core.placement.region_fallback = false;
    assert_eq!(sent(&mut rig, 1..3, &["eu"]), ["near", "-"]);
    let id = rig.ask_in(3, None, &["eu"]);
    assert_eq!(rig.why(id), NoPlace::AllServersFull);
    let id = rig.ask_in(3, None, &["asia", "oceania"]);
    assert_eq!(rig.why(id), NoPlace::NoServerOnline, "in no region of these");
    assert_eq!(sent(&mut rig, 3..4, &[]), ["far"], "who asks for none goes anywhere");
    let id = rig.ask_in(4, Some("far"), &["eu"]);
    rig.run(0);
    assert_eq!(rig.placed(id), "far", "who names a server is asked for no region");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Is(ServerState),
    /// Online, and its connection died just now.
    Suspect,
}

fn kinds() -> impl Strategy<Value = Kind> {
    use ServerState::{Degraded, Draining, Online, Starting};
    prop_oneof![
        4 => Just(Kind::Is(Online)),
        3 => Just(Kind::Is(Degraded)),
        1 => Just(Kind::Is(Draining)),
        1 => Just(Kind::Is(Starting)),
        1 => Just(Kind::Suspect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nobody_goes_to_a_full_draining_or_suspect_server_and_to_a_degraded_one_last(
        fleet in prop::collection::vec((kinds(), 0..4_u32), 1..6),
        policy in prop_oneof![Just(Policy::LeastLoaded), Just(Policy::Packed), Just(Policy::Weighted)],
        seed: u64,
    ) {
        let mut rig = Rig::new(seed);
        rig.core.placement = Placement { policy, ..Placement::default() };
        rig.run(2_500);
        let ids = ["a", "b", "c", "d", "e"];
        for (id, (_, max)) in ids.iter().zip(&fleet) {
            rig.start(Peer::new(id, "r", *max, 1));
        }
        rig.run(0);
        for (id, (kind, _)) in ids.iter().zip(&fleet) {
            if let Kind::Is(state) = kind {
                rig.peer(id).state = *state;
                let status = rig.peer(id).status();
                rig.from(id, [status]);
                rig.run(0);
            } else {
                let (from, gone) = (rig.peer(id).sender(), rig.peer(id).gone());
                rig.input(Input::Message { from, message: Box::new(gone) });
            }
        }
        let mut free: Vec<_> = fleet.iter().map(|(_, max)| *max).collect();
        for account in 1..=ACCOUNTS {
            let id = rig.ask(account);
            rig.run(0);
            let room = |state, free: &[u32]| {
                let mut servers = fleet.iter().zip(free);
                servers.any(|((kind, _), free)| *kind == Kind::Is(state) && *free > 0)
            };
            let expected = [ServerState::Online, ServerState::Degraded].into_iter().find(|state| room(*state, &free));
            match (expected, rig.answers[&id].1.is_ok()) {
                (Some(state), true) => {
                    let at = ids.iter().position(|id_at| rig.placed(id) == *id_at).unwrap();
                    prop_assert_eq!(fleet[at].0, Kind::Is(state));
                    prop_assert!(free[at] > 0, "{} is full", ids[at]);
                    free[at] -= 1;
                }
                (None, false) => {}
                (expected, was_placed) => prop_assert!(false, "{expected:?}, placed: {was_placed}"),
            }
        }
        rig.assert_quiet();
    }
}
