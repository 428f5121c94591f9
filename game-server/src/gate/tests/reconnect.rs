//! Players whose connection breaks: kept, back, replayed, ended, given up.

use super::*;

/// The credential in a welcome, and its slot.
fn way(out: &[Effect]) -> (String, SlotId) {
    let credential = out.iter().find_map(|effect| match effect {
        Effect::Verdict { verdict: Ok(welcome), .. } => {
            let reconnect = welcome.reconnect.as_ref()?;
            Some((reconnect.credential.expose().to_owned(), welcome.slot))
        }
        _ => None,
    });
    credential.unwrap_or_else(|| panic!("{out:?}"))
}

/// A player in game, and its credential.
fn entered(bench: &mut Bench, who: u8, n: u64) -> (Issued, String, SlotId) {
    let issued = bench.issue(who, n);
    bench.grant(&issued);
    let (credential, slot) = way(&bench.show(&issued));
    (issued, credential, slot)
}

fn lefts(out: &[Effect]) -> usize {
    out.iter().filter(|effect| matches!(effect, Effect::Send(ServerMessage::Left { .. }))).count()
}

#[test]
fn who_comes_back_goes_on_where_it_was_and_the_hub_hears_nothing() {
    let mut bench = Bench::new(1);
    let (issued, credential, slot) = entered(&mut bench, 1, 1);
    assert!(bench.handle(Input::Dropped(slot)).is_empty());
    assert_eq!((occupied(&bench), bench.gate.lost()), ((1, 0, 0), 1), "it keeps its slot");
    bench.pass(just_under(GRACE));
    let digest = bench.gate.ledger.digest();
    let out = bench.resume(&credential);
    let [Effect::Verdict { verdict: Ok(welcome), .. }] = &out[..] else { panic!("{out:?}") };
    let Grant { handover, player, fence, .. } = issued.grant;
    assert_eq!((welcome.handover, welcome.player, welcome.fence), (handover, player, fence));
    assert_eq!((welcome.resumes, welcome.name.as_str()), (Some(slot), "p1"));
    assert_ne!(welcome.slot, slot);
    assert_eq!((bench.gate.lost(), bench.gate.ledger.digest()), (0, digest));
    // What is still said of the older slot falls on nobody.
    for late in [Input::Dropped(slot), Input::Kept(slot), Input::Leave(slot)] {
        assert!(bench.handle(late).is_empty());
    }
    assert!(kicks(&bench.pass(GRACE * 2)).is_empty(), "the grace ran on");
    assert_eq!(lefts(&bench.handle(Input::Leave(welcome.slot))), 1);
    assert_eq!(refused(&bench.resume(&credential)), Code::ReconnectRefused, "it left");
}

#[test]
fn who_does_not_come_back_is_saved_and_gone() {
    let mut bench = Bench::new(1);
    let (_, credential, slot) = entered(&mut bench, 1, 1);
    bench.handle(Input::Dropped(slot));
    assert!(kicks(&bench.pass(just_under(GRACE))).is_empty());
    let out = bench.pass(ms(1));
    let save_by = bench.now.mono + limits::SAVE_TIME;
    assert_eq!(kicks(&out), [(slot, Code::ReconnectRefused, save_by)]);
    assert_eq!(occupied(&bench), (1, 0, 0), "nobody gets a slot whose player is being saved");
    assert_eq!(refused(&bench.resume(&credential)), Code::ReconnectRefused);
    assert_eq!(lefts(&bench.handle(Input::Leave(slot))), 1);
    assert_eq!(occupied(&bench), (0, 0, 0));
    assert!(bench.gate.ways.is_empty(), "nothing is kept of it");
}

#[test]
fn a_game_that_does_not_save_in_time_loses_the_lost_slot_all_the_same() {
    let mut bench = Bench::new(1);
    let (_, _, slot) = entered(&mut bench, 1, 1);
    bench.handle(Input::Dropped(slot));
    bench.pass(GRACE);
    let out = bench.pass(limits::SAVE_TIME);
    assert_eq!((voids(&out), lefts(&out)), (vec![slot], 1));
}

#[test]
fn a_connection_that_only_the_client_knows_to_be_broken_is_taken_over() {
    let mut bench = Bench::new(1);
    let (_, first, _) = entered(&mut bench, 1, 1);
    let (second, slot) = way(&bench.resume(&first));
    assert_ne!(first, second);
    bench.handle(Input::Kept(slot));
    assert_eq!(refused(&bench.resume(&first)), Code::ReconnectRefused, "it is spent");
    way(&bench.resume(&second));
}

#[test]
fn a_lost_answer_locks_nobody_out() {
    let mut bench = Bench::new(1);
    let (_, first, slot) = entered(&mut bench, 1, 1);
    bench.handle(Input::Dropped(slot));
    let (lost, slot) = way(&bench.resume(&first));
    bench.handle(Input::Dropped(slot));
    // The client knows of the first one only.
    let (second, slot) = way(&bench.resume(&first));
    assert_eq!(refused(&bench.resume(&lost)), Code::ReconnectRefused, "two are good at most");
    bench.handle(Input::Dropped(slot));
    // Using the newer one says that it came, too.
    let (third, slot) = way(&bench.resume(&second));
    assert_eq!(refused(&bench.resume(&first)), Code::ReconnectRefused);
    way(&bench.resume(&second));
    assert_eq!(refused(&bench.resume(&third)), Code::ReconnectRefused);
    assert!(bench.handle(Input::Leave(slot)).is_empty());
}

#[test]
fn a_bad_attempt_changes_nothing_for_the_player() {
    let mut bench = Bench::new(2);
    let (_, credential, slot) = entered(&mut bench, 1, 1);
    let (_, other, _) = entered(&mut bench, 2, 2);
    bench.handle(Input::Dropped(slot));
    bench.pass(GRACE / 2);
    // The name of one with the secret of the other: both are genuine alone.
    let mixed = format!("{}{}", &credential[..24], &other[24..]);
    for bad in ["", "x", &credential[..65], &credential.replace(&credential[40..44], "AAAA"), &mixed] {
        assert_eq!(refused(&bench.resume(bad)), Code::ReconnectRefused, "{bad}");
    }
    assert_eq!((occupied(&bench), bench.gate.lost()), ((2, 0, 0), 1));
    assert!(kicks(&bench.pass(just_under(GRACE / 2))).is_empty(), "its time was shortened");
    assert_eq!(way(&bench.resume(&credential)).1, SlotId(2));
}

#[test]
fn a_session_told_to_end_does_not_come_back_and_its_player_hears_why() {
    let mut bench = Bench::new(2);
    let (_, credential, slot) = entered(&mut bench, 1, 1);
    bench.handle(Input::Dropped(slot));
    assert_eq!(kicks(&bench.end(1, fence(2), &[])).len(), 1, "at once, not at the end of its grace");
    assert_eq!(refused(&bench.resume(&credential)), Code::Superseded, "while it saves");
    let out = bench.handle(Input::Leave(slot));
    assert_eq!((ended(&out), lefts(&out)), (1, 1));
    // `reconnect-refused` would send it to the hub, to end the session that ended it.
    bench.pass(just_under(GRACE));
    assert_eq!(refused(&bench.resume(&credential)), Code::Superseded);
    bench.pass(ms(1));
    assert_eq!(refused(&bench.resume(&credential)), Code::ReconnectRefused);
    assert!(bench.gate.ways.is_empty());
}

#[test]
fn the_same_player_logged_in_anew_takes_the_lost_slot_as_soon_as_it_is_saved() {
    let mut bench = Bench::new(1);
    let (_, _, slot) = entered(&mut bench, 1, 1);
    bench.handle(Input::Dropped(slot));
    let newer = bench.issue(1, 2);
    assert_eq!(replies(&bench.grant(&newer)), [(Verdict::Held, true)]);
    assert!(is_parked(&bench.show(&newer)));
    bench.end(1, fence(2), &[]);
    let out = bench.handle(Input::Leave(slot));
    assert_ne!(welcomed(&out), slot);
    assert_eq!(occupied(&bench), (1, 0, 0));
}

#[test]
fn a_drain_lets_players_come_back_to_finish_until_it_ends_them() {
    let mut bench = Bench::new(1);
    let (_, first, slot) = entered(&mut bench, 1, 1);
    bench.handle(Input::Dropped(slot));
    bench.handle(Input::Drain { within: Some(ms(10_000)) });
    let (second, slot) = way(&bench.resume(&first));
    bench.handle(Input::Dropped(slot));
    assert_eq!(kicks(&bench.pass(ms(6_000))).len(), 1, "not at the end of its grace");
    assert_eq!(refused(&bench.resume(&second)), Code::ServerDraining);
    bench.handle(Input::Leave(slot));
    assert_eq!(occupied(&bench), (0, 0, 0));
}

#[test]
fn without_a_grace_nobody_comes_back_and_a_lost_session_ends_at_once() {
    let mut bench = Bench::with(1, |config| config.reconnect_grace = Duration::ZERO);
    let issued = bench.issue(1, 1);
    bench.grant(&issued);
    let out = bench.show(&issued);
    let Some(Effect::Verdict { verdict: Ok(welcome), .. }) = out.last() else { panic!("{out:?}") };
    assert_eq!(welcome.reconnect, None);
    let slot = welcome.slot;
    assert_eq!(kicks(&bench.handle(Input::Dropped(slot))).len(), 1);
    bench.handle(Input::Leave(slot));
    assert!(bench.gate.ways.is_empty());
}

#[test]
fn what_is_kept_of_ended_sessions_is_bounded() {
    let mut bench = Bench::new(2);
    for n in 1..=5 {
        let (_, credential, slot) = entered(&mut bench, 1, n);
        bench.end(1, fence(n + 1), &[]);
        bench.handle(Input::Leave(slot));
        let told = refused(&bench.resume(&credential));
        assert_eq!(told, if n <= 2 { Code::Superseded } else { Code::ReconnectRefused }, "{n}");
    }
}

#[test]
fn a_move_goes_on_with_a_session_that_comes_back() {
    let mut bench = Bench::new(1);
    let (_, credential, slot) = entered(&mut bench, 1, 1);
    let luggage = Luggage::from(b"hat".to_vec());
    bench.handle(Input::Move { slot, target: MoveTarget::Anywhere, luggage });
    bench.handle(Input::Dropped(slot));
    let (_, back) = way(&bench.resume(&credential));
    let out = bench.pass(limits::RESEND_FIRST);
    assert!(
        matches!(&out[..], [Effect::Send(ServerMessage::Move(asked))] if asked.request == 0),
        "asked again in the name of the slot that is there: {out:?}"
    );
    // Nobody hears of it: at its time the session stays.
    let out = bench.pass(limits::LOGIN_DEADLINE);
    let answers = out.iter().filter_map(|effect| match effect {
        Effect::Moved { slot, answer } => Some((*slot, *answer)),
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), [(back, Err(Code::HandoverTimedOut))]);
    assert_eq!((bench.gate.moves.len(), occupied(&bench)), (0, (1, 0, 0)));
}

#[test]
fn who_comes_back_to_a_session_that_moves_is_told_so() {
    let mut bench = Bench::new(1);
    let (issued, credential, slot) = entered(&mut bench, 1, 1);
    bench.handle(Input::Dropped(slot));
    let end = End {
        player: issued.grant.player,
        below: Fence { hlc: issued.grant.fence.hlc + 1, ..issued.grant.fence },
        hashes: Vec::new(),
        reason: Code::Moved,
        save_within_ms: 5_000,
    };
    bench.order(Order::End(end));
    assert_eq!(refused(&bench.resume(&credential)), Code::Moved, "the next handover leads there");
}
