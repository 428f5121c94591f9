//! Clients: early, late, twice, forged, too many, gone.

use super::*;

#[test]
fn a_client_after_its_grant_is_in_at_once() {
    let mut bench = Bench::new(4);
    let issued = bench.issue(1, 1);
    let out = bench.grant(&issued);
    assert_eq!(replies(&out), [(Verdict::Held, true)]);
    assert_eq!(occupied(&bench), (0, 1, 0));
    let out = bench.show(&issued);
    let Some(Effect::Verdict { verdict: Ok(welcome), .. }) =
        out.iter().find(|e| matches!(e, Effect::Verdict { .. }))
    else {
        panic!("{out:?}")
    };
    let Grant { handover, player, fence, name, luggage, .. } = issued.grant;
    let reconnect = welcome.reconnect.clone();
    assert_eq!(reconnect.as_ref().map(|way| way.within), Some(GRACE));
    let slot = welcome.slot;
    let expected = Welcome { slot, handover, player, fence, name, luggage, resumes: None, reconnect };
    assert_eq!(welcome, &expected);
    assert!(!out.iter().any(|e| matches!(e, Effect::Delayed { .. })));
    assert_eq!(occupied(&bench), (1, 0, 0));
    assert_eq!(bench.gate.deadlines.len(), 1, "its mark's: a grant that was used expires no more");
}

#[test]
fn a_client_before_its_grant_waits_and_is_in_with_it() {
    let mut bench = Bench::new(4);
    let issued = bench.issue(1, 1);
    assert!(is_parked(&bench.show(&issued)));
    assert_eq!(occupied(&bench), (0, 0, 1), "a parked client takes no slot");
    bench.pass(ms(9_999));
    let out = bench.grant(&issued);
    assert_eq!(replies(&out), [(Verdict::Held, true)]);
    welcomed(&out);
    assert_eq!(occupied(&bench), (1, 0, 0));
}

#[test]
fn a_grant_at_the_very_deadline_comes_too_late_for_the_client_but_not_for_the_token() {
    let mut bench = Bench::new(4);
    let issued = bench.issue(1, 1);
    bench.show(&issued);
    bench.now = Now { mono: bench.now.mono + limits::PARK_TIME, unix: bench.now.unix + limits::PARK_TIME };
    let out = bench.grant(&issued);
    assert_eq!(refused(&out), Code::HandoverTimedOut);
    assert_eq!(replies(&out), [(Verdict::Held, true)]);
    welcomed(&bench.show(&issued));
}

#[test]
fn a_parked_client_waits_no_longer_than_its_token_lives() {
    let mut bench = Bench::new(4);
    let issued = bench.issue(1, 1);
    bench.pass(LIFE.saturating_sub(ms(500)));
    bench.show(&issued);
    assert!(verdicts(&bench.pass(ms(499))).is_empty());
    assert_eq!(refused(&bench.pass(ms(1))), Code::HandoverTimedOut);
}

#[test]
fn a_thousand_clients_with_one_token_get_one_welcome_and_a_thousand_verdicts() {
    let mut bench = Bench::new(4);
    let issued = bench.issue(1, 1);
    let mut all = Vec::new();
    for n in 0..1_000 {
        if n == 500 {
            all.extend(verdicts(&bench.grant(&issued)));
        }
        all.extend(verdicts(&bench.show(&issued)));
        assert!(occupied(&bench).2 <= 1, "one parked client per token");
    }
    let welcomes: Vec<_> = all.iter().filter(|(_, verdict)| verdict.is_ok()).map(|(n, _)| *n).collect();
    assert_eq!(welcomes, [500], "the newest that waited");
    for (n, verdict) in &all {
        match n.cmp(&500) {
            std::cmp::Ordering::Less => assert_eq!(*verdict, Err(Code::ConnectedElsewhere)),
            std::cmp::Ordering::Equal => assert!(verdict.is_ok()),
            std::cmp::Ordering::Greater => assert_eq!(*verdict, Err(Code::TokenSpent)),
        }
    }
    all.sort_by_key(|(n, _)| *n);
    assert!(all.iter().map(|(n, _)| *n).eq(1..=1_000), "exactly one verdict each");
}

#[test]
fn a_token_is_spent_for_good_even_when_its_session_outlives_the_mark() {
    let mut bench = Bench::new(4);
    let (issued, slot) = bench.enter(1, 1);
    assert_eq!(refused(&bench.show(&issued)), Code::TokenSpent);
    bench.pass(limits::CLOSED_LIFE);
    assert_eq!(bench.gate.marks.len(), 0);
    // Our clock is set back, so that the token looks alive again.
    bench.now.unix = UnixMs(START);
    assert_eq!(refused(&bench.show(&issued)), Code::TokenSpent);
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Redeemed, false)]);
    bench.handle(Input::Leave(slot));
}

#[test]
fn garbage_and_tokens_for_elsewhere_or_an_earlier_boot_are_never_parked() {
    let mut bench = Bench::new(4);
    let earlier = BootId { started: UnixMs(START - 1), random: 5 };
    let expires = bench.now.unix + LIFE;
    for tag in [tag_for("beta", BOOT), tag_for("alpha", earlier)] {
        let (token, _) = tag.mint(expires, &bench.rng);
        assert_eq!(refused(&bench.arrive(token.expose())), Code::TokenNotGenuine);
    }
    for text in ["", "x", &"A".repeat(76), &"é".repeat(5_000)] {
        assert_eq!(refused(&bench.arrive(text)), Code::TokenNotGenuine);
    }
    let (old, _) = tag_for("alpha", BOOT).mint(bench.now.unix, &bench.rng);
    assert_eq!(refused(&bench.arrive(old.expose())), Code::TokenExpired);
    assert_eq!(bench.gate.deadlines.len(), 0);
}

#[test]
fn at_the_parked_bound_newcomers_are_refused_but_a_replacement_is_not() {
    let mut bench = Bench::with(4, |config| config.parked_max = 2);
    let all = [bench.issue(1, 1), bench.issue(2, 2), bench.issue(3, 3)];
    bench.show(&all[0]);
    bench.show(&all[1]);
    assert_eq!(refused(&bench.show(&all[2])), Code::ServerBusy);
    assert_eq!(verdicts(&bench.show(&all[0])), [(1, Err(Code::ConnectedElsewhere))]);
    assert_eq!(occupied(&bench), (0, 0, 2));
    assert_eq!(bench.gate.deadlines.len(), 2, "no deadline of a replaced client is left behind");
}

#[test]
fn an_abandoned_ticket_gets_no_verdict_and_leaves_the_token_good() {
    let mut bench = Bench::new(4);
    let issued = bench.issue(1, 1);
    bench.show(&issued);
    bench.handle(Input::Abandon(Ticket(1)));
    assert_eq!((occupied(&bench), bench.gate.deadlines.len()), ((0, 0, 0), 0));
    assert!(verdicts(&bench.pass(limits::PARK_TIME)).is_empty());
    assert!(verdicts(&bench.grant(&issued)).is_empty());
    welcomed(&bench.show(&issued));
}

#[test]
fn an_abandon_behind_a_welcome_or_of_a_stranger_changes_nothing() {
    let mut bench = Bench::new(4);
    let (_, slot) = bench.enter(1, 1);
    assert_eq!(bench.handle(Input::Abandon(Ticket(1))), []);
    assert_eq!(bench.handle(Input::Abandon(Ticket(99))), []);
    assert_eq!(occupied(&bench), (1, 0, 0));
    bench.handle(Input::Leave(slot));
    assert_eq!(bench.handle(Input::Leave(slot)), [], "freed once");
    assert_eq!(occupied(&bench), (0, 0, 0));
}

#[test]
fn a_starting_server_takes_nobody() {
    let mut bench = Bench::with(4, |config| config.state = ServerState::Starting);
    let issued = bench.issue(1, 1);
    assert_eq!(refused(&bench.show(&issued)), Code::ServerStarting);
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Refused(Code::ServerStarting), false)]);
    bench.handle(Input::SetState(ServerState::Online));
    assert_eq!(refused(&bench.show(&issued)), Code::ServerStarting, "the hash was closed with that word");
    bench.enter(1, 2);
}

#[test]
fn a_player_whose_older_session_is_still_here_waits_for_it_to_leave() {
    let mut bench = Bench::new(1);
    let (_, older) = bench.enter(1, 1);
    let issued = bench.issue(1, 2);
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Held, true)]);
    assert_eq!(occupied(&bench), (1, 0, 0), "the grant takes over the player's own slot");
    assert!(is_parked(&bench.show(&issued)));
    let out = bench.handle(Input::Leave(older));
    let newer = welcomed(&out);
    assert_ne!(newer, older);
    assert_eq!(occupied(&bench), (1, 0, 0));
}

#[test]
fn a_player_who_outwaits_the_park_time_behind_the_older_session_can_come_again() {
    let mut bench = Bench::new(1);
    let (_, older) = bench.enter(1, 1);
    let issued = bench.issue(1, 2);
    bench.grant(&issued);
    bench.show(&issued);
    assert_eq!(refused(&bench.pass(limits::PARK_TIME)), Code::HandoverTimedOut);
    bench.handle(Input::Leave(older));
    welcomed(&bench.show(&issued));
}

#[test]
fn a_grant_that_the_cache_lost_is_refused_by_name() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.grant(&issued);
    bench.gate.ledger.lose_from_cache(issued.grant.hash);
    bench.tickets += 1;
    let arrive = Input::Arrive { ticket: Ticket(1), token: issued.token.expose().to_owned() };
    let out = bench.gate.handle(arrive, bench.now);
    assert_eq!(refused(&out), Code::Cancelled);
    assert_eq!(replies(&out), [(Verdict::Refused(Code::Cancelled), true)]);
    assert_eq!(occupied(&bench), (0, 0, 0));
}
