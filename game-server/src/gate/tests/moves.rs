//! Moving a session: asked again until it is answered, answered once, and never at the cost of a session that stays.

use shared_msgs::moves::{Move, MoveAnswer};

use super::super::moves::IN_FLIGHT_MAX;
use super::*;

/// What went to the hub.
fn asked(out: &[Effect]) -> Vec<Move> {
    let asked = |effect: &Effect| match effect {
        Effect::Send(ServerMessage::Move(asked)) => Some((**asked).clone()),
        _ => None,
    };
    out.iter().filter_map(asked).collect()
}

type Answers = Vec<(SlotId, Result<(), Code>)>;

/// What the game heard.
fn moved(out: &[Effect]) -> Answers {
    let moved = |effect: &Effect| match effect {
        Effect::Moved { slot, answer } => Some((*slot, *answer)),
        _ => None,
    };
    out.iter().filter_map(moved).collect()
}

impl Bench {
    fn move_off(&mut self, slot: SlotId, luggage: &[u8]) -> Vec<Effect> {
        let luggage = Luggage::from(luggage.to_vec());
        self.handle(Input::Move { slot, target: MoveTarget::Anywhere, luggage })
    }

    fn answer_move(&mut self, asked: &Move, code: Option<Code>) -> Vec<Effect> {
        let (request, player) = (asked.request, asked.player);
        self.order(Order::MoveAnswer(MoveAnswer { request, player, code }))
    }
}

#[test]
fn a_move_is_asked_again_the_same_until_it_is_answered() {
    let mut bench = Bench::new(9);
    let (issued, slot) = bench.enter(1, 1);
    let first = asked(&bench.move_off(slot, b"hat"));
    let [first] = &first[..] else { panic!("{first:?}") };
    assert_eq!((first.player, first.fence), (issued.grant.player, issued.grant.fence));
    assert_eq!((&*first.luggage, first.within_ms), (&b"hat"[..], 14_000));
    assert!(asked(&bench.move_off(slot, b"coat")).is_empty(), "under way already");
    assert!(asked(&bench.pass(just_under(limits::RESEND_FIRST))).is_empty());
    let again = asked(&bench.pass(ms(1)));
    let stamp = again[0].stamp;
    assert_eq!(again, [Move { within_ms: 13_500, stamp, ..first.clone() }]);
    let again = asked(&bench.handle(Input::Link { up: true }));
    assert_eq!(again.len(), 1, "what was sent may have died with the link");
    let out = bench.answer_move(first, Some(Code::AllServersFull));
    assert_eq!(moved(&out), [(slot, Err(Code::AllServersFull))]);
    assert!(moved(&bench.answer_move(first, None)).is_empty(), "answered once");
    let out = bench.pass(Duration::from_mins(1));
    assert_eq!((asked(&out).len(), kicks(&out).len(), occupied(&bench)), (0, 0, (1, 0, 0)));
}

#[test]
fn without_an_answer_the_session_stays_and_says_so_in_time() {
    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    bench.move_off(slot, b"");
    let mut out = Vec::new();
    for _ in 0..150 {
        assert!(moved(&out).is_empty());
        out = bench.pass(ms(100));
    }
    assert_eq!(moved(&out), [(slot, Err(Code::HandoverTimedOut))]);
    assert_eq!(occupied(&bench), (1, 0, 0));
    assert!(asked(&bench.move_off(slot, b"")).len() == 1, "it may be asked anew");
}

#[test]
fn few_are_asked_at_a_time_and_the_others_have_their_turn() {
    let mut bench = Bench::new(100);
    let slots: Vec<_> = (0..40).map(|n| bench.enter(n, u64::from(n) + 1).1).collect();
    let first: Vec<_> = slots.iter().flat_map(|slot| asked(&bench.move_off(*slot, b"hat"))).collect();
    assert_eq!(first.len(), IN_FLIGHT_MAX);
    assert_eq!(asked(&bench.handle(Input::Link { up: true })).len(), IN_FLIGHT_MAX);
    let next = asked(&bench.answer_move(&first[0], Some(Code::HubBusy)));
    assert_eq!((next.len(), next[0].player), (1, player(32)));
    let out = bench.handle(Input::Leave(slots[39]));
    assert_eq!((moved(&out).len(), asked(&out).len()), (1, 0), "one that waited is gone");
    let out = bench.pass(limits::LOGIN_DEADLINE);
    assert_eq!(moved(&out).len(), 38, "those that had no turn too");
    assert_eq!(bench.gate.moves.len(), 0);
}

#[test]
fn an_end_says_what_the_answer_would_have_said() {
    for (reason, answer) in [(Code::Moved, Ok(())), (Code::Kicked, Err(Code::Kicked))] {
        let mut bench = Bench::new(9);
        let (_, slot) = bench.enter(1, 1);
        bench.move_off(slot, b"hat");
        let end = End { player: player(1), below: fence(5), hashes: vec![], reason, save_within_ms: 4_000 };
        let out = bench.order(Order::End(end));
        assert_eq!((moved(&out), kicks(&out).len()), (vec![(slot, answer)], 1));
        assert_eq!(moved(&bench.move_off(slot, b"")), [(slot, Err(reason))], "it ends");
        assert!(asked(&bench.pass(ms(500))).is_empty());
    }
}

impl Bench {
    /// The newest place of the player is another, says a hub that knows of no move. Gives what the session was told.
    fn supersede(&mut self) -> (Answers, Vec<Code>) {
        let reason = Code::Superseded;
        let end = End { player: player(1), below: fence(5), hashes: vec![], reason, save_within_ms: 4_000 };
        let out = self.order(Order::End(end));
        let kicked = out.iter().filter_map(|effect| match effect {
            Effect::Kick { reason, .. } => Some(*reason),
            _ => None,
        });
        (moved(&out), kicked.collect())
    }
}

/// The place that was got for it is nobody's: the hub that knew its token is no more.
#[test]
fn a_move_that_its_hub_did_not_survive_ends_the_session_as_one_that_comes_back() {
    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    bench.move_off(slot, b"hat");
    assert_eq!(bench.supersede(), (vec![(slot, Ok(()))], vec![Code::Moved]));

    // The yes had come, and the end was lost with the hub.
    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    let asked = asked(&bench.move_off(slot, b"hat"));
    bench.answer_move(&asked[0], None);
    bench.pass(just_under(limits::TOKEN_LIFE));
    assert_eq!(bench.supersede(), (vec![], vec![Code::Moved]));
    bench.handle(Input::Leave(slot));
    assert_eq!(bench.gate.moves.promised().count(), 0);
}

#[test]
fn a_session_that_does_not_move_is_told_of_the_newer_login() {
    let superseded = vec![Code::Superseded];
    // It asked for nothing; it was refused; the place that was promised is long over; it had no turn to ask.
    let mut bench = Bench::new(100);
    bench.enter(1, 1);
    assert_eq!(bench.supersede(), (vec![], superseded.clone()));

    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    let refused = asked(&bench.move_off(slot, b"hat"));
    bench.answer_move(&refused[0], Some(Code::Superseded));
    assert_eq!(bench.supersede(), (vec![], superseded.clone()));

    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    let promised = asked(&bench.move_off(slot, b"hat"));
    bench.answer_move(&promised[0], None);
    bench.pass(limits::TOKEN_LIFE);
    assert_eq!(bench.supersede(), (vec![], superseded.clone()));

    let mut bench = Bench::new(100);
    for n in 2..=33 {
        let (_, slot) = bench.enter(n, n.into());
        bench.move_off(slot, b"");
    }
    let (_, slot) = bench.enter(1, 1);
    assert!(asked(&bench.move_off(slot, b"hat")).is_empty(), "it waits for its turn");
    assert_eq!(bench.supersede(), (vec![(slot, Err(Code::Superseded))], superseded));
}

#[test]
fn a_session_that_is_gone_does_not_move() {
    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    bench.move_off(slot, b"hat");
    let over = [(slot, Err(Code::ServerClosed))];
    assert_eq!(moved(&bench.handle(Input::Leave(slot))), over);
    assert_eq!(moved(&bench.move_off(slot, b"hat")), over);
    assert_eq!(bench.gate.moves.len(), 0);
}

#[test]
fn luggage_that_waits_is_bounded_both_ways() {
    let mut bench = Bench::with(9, |config| config.luggage_bytes_max = 5);
    let (_, one) = bench.enter(1, 1);
    let (_, two) = bench.enter(2, 2);
    bench.move_off(one, b"hat");
    assert_eq!(moved(&bench.move_off(two, b"hat")), [(two, Err(Code::ServerOverloaded))]);
    assert!(moved(&bench.move_off(two, b"")).is_empty());
    let [mut first, mut second] = [bench.issue(3, 3), bench.issue(4, 4)];
    (first.grant.luggage, second.grant.luggage) = (b"boots".to_vec().into(), b"x".to_vec().into());
    assert_eq!(replies(&bench.grant(&first)), [(Verdict::Held, true)]);
    let refused = Verdict::Refused(Code::ServerOverloaded);
    assert_eq!(replies(&bench.grant(&second)), [(refused, false)]);
    let out = bench.show(&first);
    let welcome = out.iter().find_map(|effect| match effect {
        Effect::Verdict { verdict, .. } => verdict.as_ref().ok(),
        _ => None,
    });
    assert_eq!(&*welcome.unwrap().luggage, b"boots");
    let mut third = bench.issue(5, 5);
    third.grant.luggage = b"boots".to_vec().into();
    assert_eq!(replies(&bench.grant(&third)), [(Verdict::Held, true)], "room again");
}
