//! Drains, their undoing, and words to players: said until they are followed, and to whoever comes back.

use std::time::Duration;

use shared_msgs::ids::ServerId;
use shared_msgs::limits;
use shared_msgs::messages::{Order, ServerMessage, ServerState};

use super::peer::Peer;
use super::rig::{Packet, Rig};
use crate::handover::NoPlace;
use crate::handover::operations::OperationError;

fn id(server: &str) -> ServerId {
    server.parse().unwrap()
}

impl Rig {
    pub(super) fn drain(&mut self, server: &str, within_s: Option<u64>) -> Result<(), OperationError> {
        let (answer, effects) = self.core.drain(&id(server), within_s.map(Duration::from_secs), self.now);
        self.carry_out(effects);
        answer
    }

    fn undrain(&mut self, server: &str) -> Result<(), OperationError> {
        let (answer, effects) = self.core.undrain(&id(server), self.now);
        self.carry_out(effects);
        answer
    }

    fn broadcast(&mut self, text: &str, server: Option<&str>) -> Result<usize, OperationError> {
        let server = server.map(id);
        let (answer, effects) = self.core.broadcast(text, server.as_ref(), self.now);
        self.carry_out(effects);
        answer
    }

    fn report(&self, server: &str) -> (&'static str, bool, Option<u64>) {
        let servers = self.core.servers(self.now);
        let of = servers.iter().find(|report| report.server == id(server)).unwrap();
        (of.state, of.is_drain_ordered, of.drain_until.map(|until| until.0))
    }
}

#[test]
fn nobody_is_placed_from_the_moment_of_the_order_though_the_server_has_not_heard_it() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.cut_off("a");
    rig.drain("a", Some(60)).unwrap();
    assert_eq!(rig.report("a"), ("draining", true, Some(rig.now.unix.0 + 60_000)));
    let wanted = rig.ask_for(1, Some("a"));
    rig.run(0);
    assert_eq!(rig.why(wanted), NoPlace::ServerDraining);
    let other = rig.ask(2);
    rig.run(0);
    assert_eq!(rig.placed(other), "b");
    rig.mend();
    rig.run(1_000);
    assert_eq!(rig.peer("a").drains.len(), 1);
    assert!(rig.peer("a").drains[0] <= 59_500, "the time that has passed counts: {:?}", rig.peer("a").drains);
    let sent = rig.count("a", |order| matches!(order, Order::Drain { .. }));
    rig.run(30_000);
    assert_eq!(rig.count("a", |order| matches!(order, Order::Drain { .. })), sent, "said on and on");
}

#[test]
fn a_drain_is_said_again_on_a_new_connection_and_to_every_new_boot_until_it_is_taken_back() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.drain("a", None).unwrap();
    rig.run(0);
    assert_eq!(rig.peer("a").drains, [0]);
    rig.start(Peer::new("a", "r", 10, 2));
    rig.run(0);
    assert_eq!(rig.peer("a").drains, [0], "a new boot drains again");
    let wanted = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.why(wanted), NoPlace::NoServerOnline);
    // Forgotten altogether, and back.
    let mut peer = rig.peers.remove(&id("a")).unwrap();
    rig.run(11 * 60_000);
    assert_eq!(rig.core.servers(rig.now), []);
    rig.drain("a", Some(5)).expect("its drain stands");
    (peer.state, peer.next_beat) = (ServerState::Online, rig.now.mono);
    rig.peers.insert(id("a"), peer);
    rig.run(6_000);
    assert_eq!(rig.peer("a").drains.len(), 2);
    rig.undrain("a").unwrap();
    rig.run(0);
    assert_eq!((rig.peer("a").undrains, rig.report("a")), (1, ("online", false, None)));
    let wanted = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(wanted), "a");
    rig.start(Peer::new("a", "r", 10, 3));
    rig.run(1_000);
    assert!(rig.peer("a").drains.is_empty(), "taken back for good");
}

#[test]
fn a_server_that_takes_players_again_behind_our_back_is_told_once_more() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.drain("a", None).unwrap();
    rig.run(0);
    rig.peer("a").state = ServerState::Online;
    rig.run(3_000);
    assert_eq!((rig.peer("a").drains.len(), rig.peer("a").state), (2, ServerState::Draining));
}

#[test]
fn a_server_that_drained_already_is_told_the_limit_more_than_once() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.peer("a").state = ServerState::Draining;
    rig.run(2_000);
    rig.drain("a", Some(60)).unwrap();
    rig.run(20_000);
    assert_eq!(rig.peer("a").drains.len(), 3, "its state alone does not say that it has heard");
    rig.drain("a", Some(600)).unwrap();
    let until = rig.report("a").2.unwrap();
    assert!(until <= rig.now.unix.0 + 40_000, "a server keeps to the earlier limit");
}

#[test]
fn an_undrain_is_said_until_it_is_followed_and_given_up_for_a_server_that_stops() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.drain("a", None).unwrap();
    rig.run(0);
    rig.wire = Box::new(|packet| match packet {
        Packet::ToServer(order) if order.order == Order::Undrain => vec![],
        _ => vec![0],
    });
    rig.undrain("a").unwrap();
    rig.run(3_000);
    assert_eq!((rig.peer("a").undrains, rig.report("a").0), (0, "draining"));
    rig.run(60_000);
    let sent = rig.count("a", |order| *order == Order::Undrain);
    assert!((5..15).contains(&sent), "{sent}");
    rig.mend();
    rig.run(30_000);
    assert_eq!((rig.peer("a").undrains, rig.core.timers.next().is_some()), (0, true));
    rig.undrain("a").expect("whoever ordered it");
    rig.run(0);
    assert_eq!(rig.report("a").0, "online");
}

fn without_undrains(packet: &Packet) -> Vec<u64> {
    match packet {
        Packet::ToServer(order) if order.order == Order::Undrain => vec![],
        _ => vec![0],
    }
}

#[test]
fn a_word_from_before_the_drain_does_not_pass_for_its_undoing() {
    let mut rig = Rig::with(&[("a", 10)]);
    let before = rig.peer("a").status();
    rig.drain("a", None).unwrap();
    rig.run(100);
    rig.wire = Box::new(without_undrains);
    rig.undrain("a").unwrap();
    rig.from("a", [before]);
    rig.run(100);
    rig.mend();
    rig.run(1_000);
    assert_eq!((rig.peer("a").undrains, rig.report("a").0), (1, "online"));
    rig.run(10_000);
    assert_eq!(rig.count("a", |order| *order == Order::Undrain), 2, "followed, and said no more");
}

#[test]
fn an_undrain_that_is_followed_at_once_is_said_once() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.drain("a", None).unwrap();
    rig.run(100);
    rig.undrain("a").unwrap();
    rig.run(10_000);
    assert_eq!((rig.peer("a").undrains, rig.report("a").0), (1, "online"));
}

/// Whether it was last heard before the order, or behind it and still draining.
#[test]
fn an_undrain_waits_for_a_server_that_is_cut_off() {
    for is_heard in [false, true] {
        let mut rig = Rig::with(&[("a", 10)]);
        rig.drain("a", None).unwrap();
        rig.run(0);
        if is_heard {
            rig.wire = Box::new(without_undrains);
            rig.undrain("a").unwrap();
            rig.run(10_000);
        }
        rig.cut_off("a");
        if !is_heard {
            rig.undrain("a").unwrap();
        }
        rig.run(90_000);
        assert_eq!(rig.peer("a").undrains, 0);
        rig.mend();
        rig.run(5_000);
        assert_eq!((rig.peer("a").undrains, rig.report("a").0), (1, "online"), "{is_heard}");
        let sent = rig.count("a", |order| *order == Order::Undrain);
        rig.run(10_000);
        assert_eq!(rig.count("a", |order| *order == Order::Undrain), sent);
    }
}

#[test]
fn wishes_for_servers_that_are_not_there_say_so() {
    let mut rig = Rig::with(&[("a", 10)]);
    assert_eq!(rig.drain("x", None), Err(OperationError::ServerUnknown));
    assert_eq!(rig.undrain("x"), Err(OperationError::ServerUnknown));
    assert_eq!(rig.broadcast("hi", Some("x")), Err(OperationError::ServerUnknown));
    rig.cut_off("a");
    rig.run(7_000);
    assert_eq!(rig.undrain("a"), Err(OperationError::ServerOffline));
    assert_eq!(rig.broadcast("hi", Some("a")), Err(OperationError::ServerOffline));
    assert_eq!(rig.broadcast("hi", None), Ok(0));
    rig.drain("a", None).expect("it is remembered");
    rig.mend();
    rig.run(3_000);
    assert_eq!(rig.peer("a").drains, [0]);
}

#[test]
fn a_notice_reaches_every_server_and_is_said_again_until_answered_or_old() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.wire = Box::new(|packet| match packet {
        Packet::ToServer(order)
            if order.server.as_str() == "b" && matches!(order.order, Order::Notice { .. }) =>
        {
            vec![]
        }
        Packet::ToHub(from, ServerMessage::Noticed { .. }) if from.server.as_str() == "a" => vec![1_200],
        _ => vec![0],
    });
    assert_eq!(rig.broadcast("Restart at ten.", None), Ok(2));
    rig.run(1_300);
    let ids: std::collections::BTreeSet<_> = rig.peer("a").notices.iter().map(|(id, _)| *id).collect();
    assert_eq!((ids.len(), rig.peer("a").notices.len()), (1, 2), "one notice, said twice");
    assert_eq!(rig.peer("a").notices[0].1, "Restart at ten.");
    rig.run(28_000);
    let to_b = rig.count("b", |order| matches!(order, Order::Notice { .. }));
    assert!(to_b > 5, "{to_b}");
    rig.run(1_000);
    rig.mend();
    rig.reconnect("b");
    rig.run(60_000);
    assert_eq!(rig.peer("b").notices, [], "an old word");
    assert_eq!(rig.count("a", |order| matches!(order, Order::Notice { .. })), 2);
}

#[test]
fn a_notice_that_is_too_long_is_cut_between_letters() {
    let mut rig = Rig::with(&[("a", 10)]);
    let text = "é".repeat(limits::NOTICE_BYTES_MAX);
    assert_eq!(rig.broadcast(&format!("x{text}"), Some("a")), Ok(1));
    rig.run(0);
    assert_eq!(rig.peer("a").notices[0].1.len(), limits::NOTICE_BYTES_MAX - 1);
}
