//! The login queue at the desk: nobody passes its head, nothing is lost, nothing is given twice.

use std::time::Duration;

use shared_msgs::messages::{Order, ServerState};

use super::peer::Peer;
use super::rig::Rig;
use crate::accounts::AccountRow;
use crate::handover::NoPlace;
use crate::queue::{Standing, TicketId};

/// A server `a` of so many slots with as many players, accounts 1 and up.
pub(super) fn full(slots: u32) -> (Rig, Vec<shared_msgs::ids::TokenHash>) {
    let mut rig = Rig::queueing(&[("a", slots)]);
    let players = (1..=i64::from(slots)).map(|account| rig.play(account, "a")).collect();
    (rig, players)
}

#[test]
fn who_finds_all_full_waits_in_order_and_newcomers_behind_them() {
    let (mut rig, players) = full(2);
    let (first, second) = (rig.queue_up(11), rig.queue_up(12));
    assert_eq!((first.standing, first.position), (Standing::Waiting, 1));
    assert_eq!((second.position, second.wait), (2, None));
    rig.leaves("a", players[0]);
    assert_eq!(rig.standing(11, first.ticket), (Standing::Ready, 0));
    let newcomer = rig.queue_up(13);
    assert_eq!(newcomer.position, 3, "behind the one who is called, and the one who waits");
    assert_eq!(rig.standing(12, second.ticket).0, Standing::Waiting);
    let taken = rig.poll(11, first.ticket, 0);
    rig.run(0);
    assert_eq!(rig.placed(taken), "a");
    assert!(rig.confirmed(taken));
    assert_eq!(rig.void(11, first.ticket), NoPlace::TicketUnknown, "used up");
    assert_eq!(rig.tickets.len(), 2, "and off the disk");
}

#[test]
fn a_question_that_waits_is_answered_with_the_place() {
    let (mut rig, players) = full(1);
    let ticket = rig.queue_up(11).ticket;
    let waiting = rig.poll(11, ticket, 5_000);
    rig.run(1_000);
    rig.leaves("a", players[0]);
    assert_eq!(rig.placed(waiting), "a");
    let (mut rig, _) = full(1);
    let ticket = rig.queue_up(11).ticket;
    let waiting = rig.poll(11, ticket, 5_000);
    rig.run(4_999);
    assert!(!rig.queued.contains_key(&waiting));
    rig.run(1);
    assert_eq!(rig.ticket(waiting).standing, Standing::Waiting, "its time is up");
    let (old, new) = (rig.poll(11, ticket, 5_000), rig.poll(11, ticket, 5_000));
    assert!(rig.queued.contains_key(&old) && !rig.queued.contains_key(&new), "the newest question counts");
}

#[test]
fn who_does_not_come_for_its_slot_is_passed_over_and_keeps_its_turn() {
    let (mut rig, players) = full(1);
    let (first, second) = (rig.queue_up(11).ticket, rig.queue_up(12).ticket);
    rig.leaves("a", players[0]);
    rig.run_asking(28_000, &[(12, second)]);
    assert_eq!(rig.standing(12, second).0, Standing::Waiting, "kept for the first for 30 s");
    rig.run_asking(4_000, &[(12, second)]);
    assert_eq!(rig.standing(12, second).0, Standing::Ready);
    // Back in time: still before the other, but this slot is promised.
    let view = rig.standing(11, first);
    assert_eq!(view, (Standing::Waiting, 1));
    rig.leave_queue(12, second).unwrap();
    assert_eq!(rig.standing(11, first).0, Standing::Ready);
}

#[test]
fn a_ticket_whose_owner_is_not_heard_for_a_minute_leaves() {
    let (mut rig, players) = full(1);
    let (first, second) = (rig.queue_up(11).ticket, rig.queue_up(12).ticket);
    rig.run_asking(26_000, &[(12, second)]);
    rig.leaves("a", players[0]);
    assert_eq!(rig.standing(12, second).0, Standing::Ready, "who is away is passed over");
    rig.run_asking(36_000, &[(12, second)]);
    assert_eq!(rig.void(11, first), NoPlace::TicketUnknown);
    assert_eq!(rig.core.tickets(), 1);
}

#[test]
fn tickets_are_their_owners_and_one_each() {
    let (mut rig, _) = full(1);
    let ticket = rig.queue_up(11).ticket;
    assert_eq!(rig.void(12, ticket), NoPlace::TicketUnknown, "another's");
    assert_eq!(rig.leave_queue(12, ticket), Err(NoPlace::TicketUnknown));
    rig.queue_up(13);
    let again = rig.queue_up(11);
    assert_eq!((again.ticket, again.position), (ticket, 1), "asking again changes nothing");
    rig.peer("a").profile.region = "eu".into();
    let elsewhere = rig.ask_for(11, Some("a"));
    rig.run(0);
    let elsewhere = rig.ticket(elsewhere);
    assert_eq!(elsewhere.position, 2, "another wish is another ticket, behind who came before");
    assert_eq!(rig.void(11, ticket), NoPlace::TicketUnknown);
    assert_eq!(rig.tickets.len(), 2);
}

#[test]
fn a_server_that_drains_ends_the_wait_for_it_by_name() {
    // By its own word, and by an operator's before the server has heard of it.
    let say_so = |rig: &mut Rig| {
        rig.peer("a").state = ServerState::Draining;
        rig.run(2_000);
    };
    let order = |rig: &mut Rig| rig.drain("a", None).unwrap();
    for drain in [say_so as fn(&mut Rig), order] {
        let (mut rig, _) = full(1);
        let id = rig.ask_for(11, Some("a"));
        rig.run(0);
        let ticket = rig.ticket(id).ticket;
        drain(&mut rig);
        assert_eq!(rig.void(11, ticket), NoPlace::ServerDraining);
        assert_eq!((rig.core.tickets(), rig.tickets.len()), (0, 0));
    }
}

#[test]
fn priority_and_reconnect_go_first_and_nobody_starves() {
    let mut rig = Rig::queueing(&[("a", 1), ("b", 1)]);
    let player = rig.play(1, "a");
    rig.play(2, "b");
    let normal = rig.queue_up(11).ticket;
    rig.priorities.insert(AccountRow::from_raw(12));
    let priority = rig.queue_up(12);
    assert_eq!(priority.position, 1);
    // The server of account 2 dies; it is full elsewhere.
    let (from, gone) = (rig.peer("b").sender(), rig.peer("b").gone());
    rig.input(crate::handover::core::Input::Message { from, message: Box::new(gone) });
    rig.peers.remove(&"b".parse().unwrap());
    rig.run_asking(8_000, &[(11, normal), (12, priority.ticket)]);
    let reconnect = rig.queue_up(2);
    assert_eq!(reconnect.position, 1);
    let all = [(11, normal), (12, priority.ticket), (2, reconnect.ticket)];
    rig.run_asking(2_000, &all);
    assert_eq!(all.map(|(account, ticket)| rig.standing(account, ticket).1), [3, 2, 1]);
    // A priority that comes two minutes later has no start over who waited for them.
    rig.run_asking(112_000, &all);
    rig.priorities.insert(AccountRow::from_raw(13));
    assert_eq!(rig.queue_up(13).position, 4);
    rig.leaves("a", player);
    assert_eq!(rig.standing(2, reconnect.ticket).0, Standing::Ready);
}

#[test]
fn a_handover_that_fails_gives_the_ticket_its_turn_back() {
    let (mut rig, players) = full(1);
    let (first, second) = (rig.queue_up(11).ticket, rig.queue_up(12).ticket);
    rig.leaves("a", players[0]);
    rig.peer("a").refuses = Some(shared_msgs::codes::Code::ServerOverloaded);
    let poll = rig.poll(11, first, 0);
    rig.run(0);
    let view = rig.ticket(poll);
    assert_ne!(view.standing, Standing::Gathering { size: 0, here: 0 });
    rig.peer("a").refuses = None;
    rig.run(2_000);
    assert_eq!(rig.standing(12, second).0, Standing::Waiting, "it is not the second one's turn");
    let poll = rig.poll(11, first, 5_000);
    rig.run(5_000);
    assert_eq!(rig.placed(poll), "a");
}

#[test]
fn a_restart_keeps_the_order_and_for_ten_seconds_the_slots() {
    let (mut rig, players) = full(2);
    let (first, second) = (rig.queue_up(11).ticket, rig.queue_up(12).ticket);
    rig.restart_hub();
    rig.run(2_000);
    rig.leaves("a", players[0]);
    let newcomer = rig.queue_up(13);
    assert_eq!(newcomer.position, 3, "the first one's slot is kept already");
    assert_eq!(rig.standing(12, second), (Standing::Waiting, 2));
    assert_eq!(rig.standing(11, first).0, Standing::Ready);
    let taken = rig.poll(11, first, 0);
    rig.run(0);
    assert_eq!(rig.placed(taken), "a");
    rig.leaves("a", players[1]);
    assert_eq!(rig.standing(12, second).0, Standing::Ready);

    // Again, and nobody comes back.
    rig.restart_hub();
    rig.run(2_000);
    let other = rig.queue_up(14);
    assert_eq!(other.standing, Standing::Waiting);
    rig.run_asking(7_900, &[(14, other.ticket)]);
    assert_eq!(rig.standing(14, other.ticket).0, Standing::Waiting, "the slot is kept for ticket holders");
    rig.run_asking(300, &[(14, other.ticket)]);
    assert_eq!(rig.standing(14, other.ticket).0, Standing::Ready);
}

#[test]
fn a_ticket_that_was_used_given_back_or_replaced_is_void_after_a_restart() {
    let (mut rig, players) = full(2);
    let (used, given) = (rig.queue_up(11).ticket, rig.queue_up(12).ticket);
    rig.leaves("a", players[0]);
    rig.poll(11, used, 0);
    rig.leave_queue(12, given).unwrap();
    rig.run(0);
    rig.restart_hub();
    rig.run(1_000);
    assert_eq!([rig.void(11, used), rig.void(12, given)], [NoPlace::TicketUnknown; 2]);
}

#[test]
fn a_ticket_that_cannot_be_stored_is_not_issued() {
    let (mut rig, _) = full(1);
    rig.store_works = false;
    let id = rig.ask(11);
    rig.run(0);
    assert_eq!((rig.why(id), rig.core.tickets()), (NoPlace::HubBusy, 0));
    rig.store_works = true;
    let ticket = rig.queue_up(11).ticket;
    rig.store_works = false;
    rig.leave_queue(11, ticket).unwrap();
    rig.run(0);
    assert_eq!(rig.tickets.len(), 1);
    rig.store_works = true;
    rig.run(61_000);
    assert!(rig.tickets.is_empty(), "dropped as soon as the store takes it");
}

#[test]
fn the_cap_refuses_by_name() {
    let mut rig = Rig::cold(1);
    rig.settings.queue = Some(crate::queue::QueueSettings { tickets_max: 2, ..Default::default() });
    rig.restart_hub();
    rig.run(2_500);
    rig.start(Peer::new("a", "r", 1, 1));
    rig.run(0);
    rig.play(1, "a");
    rig.queue_up(11);
    rig.queue_up(12);
    let (any, named) = (rig.ask(13), rig.ask_for(14, Some("a")));
    rig.run(0);
    assert_eq!([rig.why(any), rig.why(named)], [NoPlace::AllServersFull, NoPlace::ServerFull]);
    assert!(rig.why(any).retry_after().is_some());
}

#[test]
fn lines_of_servers_and_regions_take_what_they_asked_for() {
    let mut rig = Rig::queueing(&[("a", 1), ("b", 1)]);
    let (on_a, on_b) = (rig.play(1, "a"), rig.play(2, "b"));
    let only_b = rig.ask_for(11, Some("b"));
    rig.run(0);
    let only_b = rig.ticket(only_b).ticket;
    let any = rig.queue_up(12);
    assert_eq!(any.position, 2, "the other one may take what it could have");
    rig.leaves("a", on_a);
    assert_eq!(rig.standing(12, any.ticket).0, Standing::Ready, "a's slot is of no use to who wants b");
    rig.leaves("b", on_b);
    assert_eq!(rig.standing(11, only_b).0, Standing::Ready);
}

/// Two thousand for a hundred slots: a hundred in, the others in order, none lost.
#[test]
fn a_rush_is_queued_in_order_and_none_is_lost() {
    let mut rig = Rig::queueing(&[("a", 40), ("b", 60)]);
    let asks: Vec<_> = (1..=2_000).map(|account| (account, rig.ask(account))).collect();
    rig.run(0);
    let (placed, queued): (Vec<_>, Vec<_>) =
        asks.iter().partition(|(_, id)| rig.answers.get(id).is_some_and(|(_, answer)| answer.is_ok()));
    assert_eq!((placed.len(), queued.len()), (100, 1_900));
    let positions: Vec<u32> = queued.iter().map(|(_, id)| rig.ticket(*id).position).collect();
    assert!(positions.iter().copied().eq(1..=1_900), "in the order in which they came");
    // Everybody in game leaves, one every ten milliseconds, and so does who comes in.
    let mut waiting: Vec<(i64, TicketId)> =
        queued.iter().map(|(account, id)| (*account, rig.ticket(*id).ticket)).collect();
    let mut came_in = Vec::new();
    while !waiting.is_empty() {
        let hashes: Vec<_> = ["a", "b"]
            .into_iter()
            .flat_map(|server| {
                let grants = rig.grants(server);
                grants.iter().map(|grant| (server, grant.hash)).collect::<Vec<_>>()
            })
            .collect();
        rig.sent.retain(|(.., order)| !matches!(order, Order::Grant(_)));
        for (server, hash) in hashes {
            assert!(rig.redeem(server, hash));
            rig.leaves(server, hash);
        }
        let asked: Vec<_> = waiting
            .iter()
            .map(|(account, ticket)| (*account, *ticket, rig.poll(*account, *ticket, 0)))
            .collect();
        rig.run(10);
        let before = waiting.len();
        waiting.clear();
        for (account, ticket, id) in asked {
            match rig.answers.get(&id) {
                Some((_, answer)) => {
                    assert!(answer.is_ok(), "{answer:?}");
                    came_in.push(account);
                }
                None => waiting.push((account, ticket)),
            }
        }
        assert!(waiting.len() < before, "nobody came in");
    }
    let order: Vec<i64> = queued.iter().map(|(account, _)| *account).collect();
    assert_eq!(came_in, order, "in their order, none twice");
    assert_eq!((rig.core.tickets(), rig.tickets.len()), (0, 0));
}

#[test]
fn what_is_told_of_the_wait_comes_from_who_was_let_in() {
    let (mut rig, mut players) = full(1);
    let mut tickets: Vec<_> = (11..40).map(|account| (account, rig.queue_up(account).ticket)).collect();
    for _ in 0..8 {
        rig.run_asking(10_000, &tickets);
        rig.leaves("a", players.pop().unwrap());
        let (account, ticket) = tickets.remove(0);
        let poll = rig.poll(account, ticket, 0);
        rig.run(0);
        assert_eq!(rig.placed(poll), "a");
        let hash = rig.grants("a").last().unwrap().hash;
        assert!(rig.redeem("a", hash));
        players.push(hash);
    }
    rig.run(2_000);
    let (account, ticket) = tickets[9];
    let view = rig.peek(account, ticket).unwrap();
    let wait = view.wait.unwrap();
    assert_eq!(view.position, 10);
    assert!(wait.low_s < 100 && 100 < wait.high_s && wait.high_s < 300, "{wait:?}");
    assert!(view.ask_again >= Duration::from_secs(2));
}
