//! Placement only where a server is fresh, its roster known, and it is willing.

use shared_msgs::ids::{Fence, StreamId};
use shared_msgs::messages::{Order, ServerMessage, ServerState};

use super::peer::Peer;
use super::rig::{Packet, Rig};
use crate::fleet::Sender;
use crate::handover::NoPlace;
use crate::handover::core::Input;

fn is_probe(packet: &Packet) -> bool {
    matches!(packet, Packet::ToServer(order) if matches!(order.order, Order::Probe { .. }))
}

#[test]
fn a_login_is_placed_and_confirmed_in_one_round_trip() {
    let mut rig = Rig::with(&[("a", 10)]);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
    assert!(rig.confirmed(id));
    rig.run(60_000);
    assert_eq!(rig.grants("a").len(), 1, "an answered grant was sent again");
}

#[test]
fn nobody_is_placed_before_the_first_echo() {
    let mut rig = Rig::with(&[]);
    rig.wire = Box::new(|packet| if is_probe(packet) { vec![] } else { vec![0] });
    rig.start(Peer::new("a", "r", 10, 1));
    rig.run(1_000);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.why(id), NoPlace::NoServerOnline);
    rig.wire = Box::new(|_| vec![0]);
    rig.run(2_000);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}

#[test]
fn a_will_stops_placement_until_the_next_fresh_status() {
    let mut rig = Rig::with(&[("a", 10)]);
    // The will overtakes the echo of a probe that was sent before it.
    rig.wire = Box::new(|packet| if matches!(packet, Packet::ToHub(..)) { vec![50] } else { vec![0] });
    rig.run(1_500);
    let (from, gone) = (rig.peer("a").sender(), Box::new(rig.peer("a").gone()));
    rig.input(Input::Message { from, message: gone });
    rig.run(100);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.why(id), NoPlace::NoServerOnline, "the echo of a probe from before the will counted");
    rig.mend();
    rig.reconnect("a");
    rig.run(0);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}

#[test]
fn a_will_of_an_older_stream_is_ignored() {
    let mut rig = Rig::with(&[("a", 10)]);
    let (from, gone, late) = (rig.peer("a").sender(), rig.peer("a").gone(), rig.peer("a").status());
    rig.reconnect("a");
    rig.run(0);
    for message in [late, gone] {
        rig.input(Input::Message { from: from.clone(), message: Box::new(message) });
        assert_eq!(rig.core.summaries(rig.now)[0].state, "online");
    }
}

#[test]
fn a_late_first_word_of_an_older_connection_does_not_take_the_living_ones_place() {
    let mut rig = Rig::with(&[("a", 10)]);
    let late = rig.peer("a").status();
    rig.play(1, "a");
    let (living, gone) = (rig.peer("a").sender(), rig.peer("a").gone());
    let flapped = Sender { stream: StreamId([7; 16]), ..living.clone() };
    rig.input(Input::Message { from: flapped, message: Box::new(late) });
    rig.input(Input::Message { from: living, message: Box::new(gone) });
    assert_eq!(rig.core.summaries(rig.now)[0].state, "offline", "its will was not believed");
}

#[test]
fn two_missed_beats_stop_placement_and_the_next_one_restores_it() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.run(2_000);
    rig.wire = Box::new(|packet| if matches!(packet, Packet::ToHub(..)) { vec![] } else { vec![0] });
    rig.run(4_900);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.why(id), NoPlace::NoServerOnline);
    assert_eq!(rig.core.lease_ends(), 0, "only suspect yet");
    rig.run(5_000);
    assert_eq!(rig.core.lease_ends(), 1);
    rig.wire = Box::new(|_| vec![0]);
    rig.run(2_000);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
    assert_eq!(rig.core.lease_ends(), 1, "a lease ends once");
}

#[test]
fn a_backlog_of_old_statuses_revives_nobody() {
    let mut rig = Rig::with(&[]);
    rig.wire = Box::new(|packet| if matches!(packet, Packet::ToHub(..)) { vec![6_000] } else { vec![0] });
    rig.start(Peer::new("a", "r", 10, 1));
    for _ in 0..20 {
        rig.run(997);
        let id = rig.ask(1);
        assert_eq!(rig.why(id), NoPlace::NoServerOnline, "every echo is as old as a lease");
    }
    assert_eq!(rig.core.lease_ends(), 1, "a lease that was not renewed ends once");
}

#[test]
fn a_lower_boot_during_the_lease_of_the_newer_is_told_superseded_and_changes_nothing() {
    let mut rig = Rig::with(&[]);
    rig.start(Peer::new("a", "r", 10, 7));
    rig.run(0);
    let mut ghost = Peer::new("a", "elsewhere", 99, 6);
    ghost.stream = shared_msgs::ids::StreamId([9; 16]);
    for message in [ghost.status(), ghost.gone(), ghost.status()] {
        rig.fly(Packet::ToHub(ghost.sender(), message));
        rig.run(0);
    }
    let newer = rig.peers[&ghost.id].boot;
    let told = |rig: &Rig| {
        let told = rig.sent.iter().filter(|(_, _, _, order)| *order == Order::Superseded { by: newer });
        told.map(|(_, _, boot, _)| *boot).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&rig),
        [ghost.boot],
        "once the newer one has answered a probe sent after the older was heard"
    );
    assert_eq!(rig.core.summaries(rig.now)[0].max_players, 10);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}

#[test]
fn a_living_lower_boot_is_not_told_to_stop_for_a_dead_newer_one() {
    let mut rig = Rig::with(&[]);
    rig.start(Peer::new("a", "r", 10, 7));
    rig.run(0);
    // It crashed; restarted at once by a clock that was set back, it looks like the older one.
    rig.peers.clear();
    rig.start(Peer::new("a", "r", 10, 6));
    rig.run(5_000);
    assert!(!rig.sent.iter().any(|(_, _, _, order)| matches!(order, Order::Superseded { .. })));
    rig.run(9_000);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}

#[test]
fn a_lower_boot_takes_over_when_the_newer_ones_lease_is_over() {
    let mut rig = Rig::with(&[]);
    rig.start(Peer::new("a", "r", 10, 7));
    rig.run(0);
    rig.peers.clear();
    rig.run(9_000);
    rig.start(Peer::new("a", "r", 10, 6));
    rig.run(0);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}

#[test]
fn a_new_boot_ends_its_open_grants_and_the_handover_goes_on_within_the_request() {
    let mut rig = Rig::with(&[("a", 10), ("b", 5)]);
    rig.peer("a").is_silent = true;
    let id = rig.ask(1);
    rig.run(100);
    assert!(rig.waits(id));
    rig.start(Peer::new("a", "r", 10, 2));
    rig.run(0);
    assert_eq!(rig.placed(id), "b");
    assert_eq!(rig.core.ledger.count(&"a".parse().unwrap()), 0);
    assert_eq!(rig.ends("a").len(), 0, "nothing is owed to a boot that is gone");
    rig.run(10_000);
    rig.assert_quiet();
}

#[test]
fn no_server_and_full_servers_are_told_apart() {
    let mut rig = Rig::with(&[]);
    let id = rig.ask(1);
    assert_eq!(rig.why(id), NoPlace::NoServerOnline);
    let id = rig.ask_for(1, Some("nowhere"));
    assert_eq!(rig.why(id), NoPlace::ServerUnknown);
    rig.start(Peer::new("a", "r", 0, 1));
    rig.run(0);
    let id = rig.ask(1);
    assert_eq!(rig.why(id), NoPlace::AllServersFull);
    let id = rig.ask_for(1, Some("a"));
    assert_eq!(rig.why(id), NoPlace::ServerFull);
}

#[test]
fn the_region_asked_for_is_where_a_player_goes() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    for (server, region) in [("a", "east"), ("b", "west")] {
        rig.peer(server).profile.region = region.into();
        let status = rig.peer(server).status();
        rig.from(server, [status]);
    }
    rig.run(0);
    for (account, region, server) in [(1, "west", "b"), (2, "west", "b"), (3, "east", "a")] {
        let id = rig.ask_in(account, None, &[region]);
        rig.run(0);
        assert_eq!(rig.placed(id), server);
    }
}

#[test]
fn a_server_that_takes_nobody_gets_nobody() {
    for (state, why) in
        [(ServerState::Starting, NoPlace::NoServerOnline), (ServerState::Draining, NoPlace::ServerDraining)]
    {
        let mut rig = Rig::with(&[("a", 10)]);
        rig.peer("a").state = state;
        let status = rig.peer("a").status();
        rig.from("a", [status]);
        rig.run(0);
        let id = rig.ask(1);
        assert_eq!(rig.why(id), NoPlace::NoServerOnline);
        let id = rig.ask_for(1, Some("a"));
        assert_eq!(rig.why(id), why);
    }
}

#[test]
fn an_event_of_a_server_that_never_sent_a_status_makes_no_server() {
    let mut rig = Rig::with(&[]);
    let peer = Peer::new("a", "r", 10, 1);
    let (stamp, player) = (peer.stamp(false), rig.player(1, "r"));
    let ended = ServerMessage::Ended { stamp, player, below: Fence::ZERO, hashes: vec![] };
    rig.fly(Packet::ToHub(peer.sender(), ended));
    rig.run(0);
    assert!(rig.core.summaries(rig.now).is_empty());
}
