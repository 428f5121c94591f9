//! Parties in the login queue: together, to one server, or not at all.

use super::queue::full;
use super::rig::Rig;
use crate::handover::NoPlace;
use crate::queue::Standing;

#[test]
fn a_party_waits_for_all_its_slots_on_one_server() {
    let mut rig = Rig::queueing(&[("a", 3), ("b", 3)]);
    let on_a: Vec<_> = (1..=3).map(|account| rig.play(account, "a")).collect();
    let on_b: Vec<_> = (4..=6).map(|account| rig.play(account, "b")).collect();
    let views = [21, 22, 23].map(|account| {
        let id = rig.ask_as(account, 9, 3);
        rig.run(0);
        rig.ticket(id)
    });
    assert_eq!(views[0].standing, Standing::Gathering { size: 3, here: 1 });
    assert_eq!((views[2].standing, views[2].position), (Standing::Waiting, 1));
    let party = [(21, views[0].ticket), (22, views[1].ticket), (23, views[2].ticket)];
    let after = rig.queue_up(31);
    assert_eq!(after.position, 4, "behind three");
    rig.leaves("a", on_a[0]);
    assert_eq!(rig.standing(31, after.ticket).0, Standing::Waiting, "slots of a gather for the party");
    rig.leaves("b", on_b[0]);
    assert_eq!(rig.standing(31, after.ticket).0, Standing::Ready, "those of b do not");
    rig.leaves("a", on_a[1]);
    assert_eq!(rig.standing(21, party[0].1).0, Standing::Waiting, "two of three");
    let newcomer = rig.queue_up(32);
    assert_eq!(newcomer.standing, Standing::Waiting, "nor a newcomer");
    rig.leaves("a", on_a[2]);
    let placed = party.map(|(account, ticket)| rig.poll(account, ticket, 0));
    rig.run(0);
    assert_eq!(placed.map(|id| rig.placed(id).to_owned()), ["a", "a", "a"]);
}

#[test]
fn one_of_a_party_that_was_called_may_log_in_anew() {
    let (mut rig, players) = full(2);
    let party = [21, 22].map(|account| rig.ask_as(account, 9, 2));
    rig.run(0);
    let tickets = party.map(|id| rig.ticket(id).ticket);
    for player in players {
        rig.leaves("a", player);
    }
    assert_eq!(rig.standing(21, tickets[0]), (Standing::Ready, 0));
    let again = [21, 22].map(|account| rig.ask_as(account, 9, 2));
    rig.run(0);
    assert_eq!(again.map(|id| rig.placed(id).to_owned()), ["a", "a"], "its slot was kept");
}

#[test]
fn a_party_with_room_for_it_is_in_at_once() {
    let mut rig = Rig::queueing(&[("a", 2), ("b", 3)]);
    let first = [21, 22].map(|account| rig.ask_as(account, 9, 3));
    rig.run(0);
    let waiting: Vec<_> =
        first.iter().zip([21, 22]).map(|(id, account)| (account, rig.ticket(*id).ticket)).collect();
    let waiting = waiting.into_iter().map(|(account, ticket)| rig.poll(account, ticket, 5_000));
    let waiting: Vec<_> = waiting.collect();
    let last = rig.ask_as(23, 9, 3);
    rig.run(0);
    for id in waiting.into_iter().chain([last]) {
        assert_eq!(rig.placed(id), "b");
    }
}

#[test]
fn a_party_that_does_not_come_together_or_breaks_up_is_told_so() {
    let (mut rig, _) = full(3);
    let too_large = rig.ask_as(21, 9, 4);
    rig.run(0);
    assert_eq!(rig.why(too_large), NoPlace::ServerUnknown, "no server has four slots");
    let id = rig.ask_as(21, 9, 2);
    rig.run(0);
    let alone = rig.ticket(id).ticket;
    rig.run_asking(60_000, &[(21, alone)]);
    assert_eq!(rig.void(21, alone), NoPlace::PartyIncomplete);

    let asks = [21, 22].map(|account| rig.ask_as(account, 8, 2));
    rig.run(0);
    let [one, two] = asks.map(|id| rig.ticket(id).ticket);
    let third = rig.ask_as(23, 8, 2);
    rig.run(0);
    assert_eq!(rig.why(third), NoPlace::PartyMismatch, "it is complete");
    rig.leave_queue(21, one).unwrap();
    assert_eq!(rig.void(22, two), NoPlace::PartyBroken);
    assert_eq!((rig.core.tickets(), rig.tickets.len()), (0, 0));
    let other_size = [rig.ask_as(21, 7, 2), rig.ask_as(22, 7, 3)];
    rig.run(0);
    assert_eq!(rig.why(other_size[1]), NoPlace::PartyMismatch);
}
