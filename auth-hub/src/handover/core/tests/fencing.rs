//! Fences only grow, stay below what is stored, and are not dragged into the future.

use shared_msgs::clock::UnixMs;
use shared_msgs::ids::TokenHash;
use shared_msgs::limits;
use shared_msgs::messages::ServerMessage;

use super::rig::Rig;
use crate::handover::NoPlace;

/// A session of `account` on `server` whose fence is so far ahead of our clock.
fn stranger(rig: &mut Rig, account: i64, server: &str, ahead_ms: u64) {
    let (player, unix) = (rig.player(account, "r"), rig.now.unix.0);
    let fence = shared_msgs::ids::Fence { hlc: (unix + ahead_ms) << 16, hub: 3 };
    let kind = shared_msgs::messages::EntryKind::Live;
    let entry = shared_msgs::messages::RosterEntry { hash: TokenHash([7; 32]), player, fence, kind };
    let peer = rig.peer(server);
    peer.entries.insert(entry.hash, (shared_msgs::ids::HandoverId([0; 16]), UnixMs(u64::MAX), entry));
    peer.rev += 1;
    let joined = ServerMessage::Joined { stamp: peer.stamp(true), entry };
    rig.from(server, [joined]);
    rig.run(0);
}

#[test]
fn fences_of_an_account_grow_also_over_restarts_and_a_clock_that_steps_back() {
    let mut rig = Rig::with(&[("a", 10)]);
    let mut fences = Vec::new();
    for step in 0..6 {
        let id = rig.ask(1);
        rig.run(100);
        assert!(rig.confirmed(id));
        fences.push(rig.grants("a").last().unwrap().fence);
        if step % 2 == 0 {
            rig.restart_hub();
        }
        rig.now.unix = UnixMs(rig.now.unix.0 - 3_000);
        rig.run(2_500);
    }
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
}

#[test]
fn a_grants_fence_is_above_every_fence_of_the_account_seen_in_a_roster() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    stranger(&mut rig, 1, "a", 300_000);
    let seen = rig.peer("a").entries[&TokenHash([7; 32])].2.fence;
    let id = rig.ask_for(1, Some("b"));
    rig.run(0);
    assert!(rig.confirmed(id), "the first login after it was told to come again");
    assert!(rig.grants("b")[0].fence > seen);
    assert_eq!(rig.peer("a").entries.len(), 0);
}

#[test]
fn a_fence_from_too_far_ahead_is_ignored() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let ms = |of: std::time::Duration| u64::try_from(of.as_millis()).unwrap();
    let far = ms(limits::FENCE_AHEAD_MAX) - 2 * ms(limits::CLOCK_SKEW_MAX) + 5_000;
    stranger(&mut rig, 1, "a", far);
    let seen = rig.peer("a").entries[&TokenHash([7; 32])].2.fence;
    let id = rig.ask_for(1, Some("b"));
    rig.run(0);
    assert!(rig.answer(id).unwrap().is_ok());
    let grant = rig.grants("b")[0].clone();
    assert!(grant.fence.unix() <= rig.now.unix + limits::STATUS_BEAT, "dragged into the future");
    let hash = grant.hash;
    assert!(rig.redeem("b", hash));
    rig.run(5_000);
    assert_eq!(rig.peer("b").entries.len(), 1, "ended for a fence that cannot be");
    // Once it can be true, the next login goes above it, as soon as the store has followed.
    rig.run(15_000);
    let before = rig.grants("b").len();
    rig.ask_for(1, Some("b"));
    rig.run(0);
    let id = rig.ask_for(1, Some("b"));
    rig.run(0);
    assert!(rig.confirmed(id));
    assert!(rig.grants("b")[before..].iter().all(|grant| grant.fence > seen));
}

#[test]
fn a_store_that_takes_no_ceiling_makes_the_hub_busy_and_then_it_recovers() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.store_works = false;
    rig.run(40_000);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.why(id), NoPlace::HubBusy);
    let asked = rig.ceilings_asked;
    rig.run(10_000);
    assert!(rig.ceilings_asked - asked <= 25, "the store is hammered: {}", rig.ceilings_asked - asked);
    rig.store_works = true;
    rig.run(2_100);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}
