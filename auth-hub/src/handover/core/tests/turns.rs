//! A called ticket and its handover: the place is told until its owner has it, and a ticket is spent on nothing less.

use shared_msgs::limits;

use super::queue::full;
use super::rig::Rig;
use crate::handover::{HandoverRequest, NoPlace};
use crate::queue::{Standing, TicketId};

/// Account 1 plays on `a`; it waits for `b`, whose one slot account 2 leaves.
fn waits_elsewhere() -> (Rig, TicketId) {
    let mut rig = Rig::queueing(&[("a", 1), ("b", 1)]);
    rig.play(1, "a");
    let other = rig.play(2, "b");
    let id = rig.ask_for(1, Some("b"));
    rig.run(0);
    let ticket = rig.ticket(id).ticket;
    rig.peer("b").is_silent = true;
    rig.leaves("b", other);
    (rig, ticket)
}

#[test]
fn a_look_neither_answers_the_wish_for_a_place_nor_loses_it() {
    let (mut rig, players) = full(1);
    let ticket = rig.queue_up(11).ticket;
    let waiting = rig.poll(11, ticket, 5_000);
    assert_eq!(rig.standing(11, ticket), (Standing::Waiting, 1));
    assert!(!rig.queued.contains_key(&waiting), "it waits on");
    rig.leaves("a", players[0]);
    assert_eq!(rig.placed(waiting), "a");
    // While its handover runs.
    let (mut rig, players) = full(1);
    let ticket = rig.queue_up(11).ticket;
    rig.leaves("a", players[0]);
    let taken = rig.poll(11, ticket, 0);
    assert_eq!(rig.peek(11, ticket).unwrap().standing, Standing::Ready);
    rig.run(0);
    assert_eq!(rig.placed(taken), "a");
}

#[test]
fn a_place_whose_answer_is_lost_is_told_again_to_the_tickets_owner() {
    let (mut rig, players) = full(1);
    let ticket = rig.queue_up(11).ticket;
    rig.leaves("a", players[0]);
    let first = rig.poll(11, ticket, 0);
    rig.run(0);
    let again = rig.poll(11, ticket, 0);
    let token = |rig: &Rig, id| rig.answer(id).unwrap().as_ref().unwrap().token.expose().to_owned();
    assert_eq!(token(&rig, first), token(&rig, again));
    let stolen = rig.poll(12, ticket, 0);
    assert_eq!(rig.why(stolen), NoPlace::TicketUnknown);
    assert_eq!(rig.void(11, ticket), NoPlace::TicketUnknown, "who only looks has no use for it");
    // Something newer of the account counts.
    let newer = rig.ask(11);
    rig.run(0);
    assert_eq!(rig.placed(newer), "a");
    let late = rig.poll(11, ticket, 0);
    assert_eq!(rig.why(late), NoPlace::TicketUnknown);
}

#[test]
fn a_place_is_told_again_for_a_minute() {
    let (mut rig, players) = full(1);
    let ticket = rig.queue_up(11).ticket;
    rig.leaves("a", players[0]);
    rig.poll(11, ticket, 0);
    rig.run(59_999);
    let again = rig.poll(11, ticket, 0);
    assert_eq!(rig.placed(again), "a");
    rig.run(1);
    let late = rig.poll(11, ticket, 0);
    assert_eq!(rig.why(late), NoPlace::TicketUnknown);
}

#[test]
fn who_gives_its_ticket_back_while_its_handover_runs_keeps_its_session() {
    let (mut rig, ticket) = waits_elsewhere();
    let taken = rig.poll(1, ticket, 0);
    rig.run(0);
    assert!(rig.waits(taken));
    rig.leave_queue(1, ticket).unwrap();
    assert_eq!(rig.why(taken), NoPlace::TicketUnknown);
    rig.peer("b").is_silent = false;
    rig.run(10_000);
    assert_eq!(rig.ends("a").len(), 0, "nobody is ended for a place that nobody wants");
    assert_eq!(rig.peer("b").occupancy().held, 0, "and none is held");
    rig.assert_quiet();
}

#[test]
fn a_login_behind_the_handover_of_a_ticket_that_is_given_back_has_its_own_turn() {
    let (mut rig, players) = full(1);
    let ticket = rig.queue_up(11).ticket;
    rig.leaves("a", players[0]);
    // The slot is still kept while it is looked up who the player is there.
    rig.store_answers = false;
    let taken = rig.poll(11, ticket, 0);
    let login = rig.ask(11);
    rig.leave_queue(11, ticket).unwrap();
    assert_eq!(rig.why(taken), NoPlace::TicketUnknown);
    rig.store_answers = true;
    rig.run(15_000);
    assert_eq!(rig.placed(login), "a");
}

#[test]
fn a_ticket_is_not_spent_on_a_place_that_its_server_has_not_confirmed() {
    let (mut rig, players) = full(1);
    let ticket = rig.queue_up(11).ticket;
    rig.leaves("a", players[0]);
    rig.peer("a").is_silent = true;
    let taken = rig.poll(11, ticket, 0);
    rig.run(u64::try_from(limits::LEASE.as_millis()).unwrap() - 1);
    assert!(rig.waits(taken) && !rig.queued.contains_key(&taken));
    rig.run(1);
    assert_eq!(rig.ticket(taken).standing, Standing::Waiting, "it has its old place");
    rig.peer("a").is_silent = false;
    rig.run(2_000);
    let taken = rig.poll(11, ticket, 5_000);
    rig.run(5_000);
    assert!(rig.confirmed(taken));
}

#[test]
fn tickets_wait_for_what_the_hub_that_restarts_would_give_them() {
    let mut rig = Rig::queueing(&[("a", 1), ("b", 1)]);
    for server in ["a", "b"] {
        rig.peer(server).profile.region = server.to_owned();
    }
    rig.run(2_000);
    rig.play(1, "a");
    let on_b = rig.play(2, "b");
    let ask = |account| HandoverRequest {
        regions: vec!["a".to_owned()],
        ..HandoverRequest::anywhere(crate::accounts::AccountRow::from_raw(account), "Ann".into())
    };
    let bound = rig.ask_with(ask(11));
    let free = rig.ask(12);
    rig.run(0);
    let (bound, free) = (rig.ticket(bound).ticket, rig.ticket(free).ticket);
    rig.settings.placement.region_fallback = false;
    rig.restart_hub();
    rig.run(2_000);
    let _ = (rig.peek(11, bound), rig.peek(12, free));
    rig.leaves("b", on_b);
    assert_eq!(rig.standing(11, bound).0, Standing::Waiting, "not there any more");
    assert_eq!(rig.standing(12, free).0, Standing::Ready, "nor does it stand in another's way");
}
