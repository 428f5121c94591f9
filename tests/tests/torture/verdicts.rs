//! Each rule of the verdicts, with a story that is just legal and one that is just not.

use hub_tests::torture::journal::{Entry, RunId, Who};
use hub_tests::torture::story::{Ending, Heard, Show, Story, Unanswered};
use hub_tests::torture::verdicts::{Cut, Deeds, Facts, Leg, Span, Verdict};
use shared_msgs::clock::Mono;

const HUB: RunId = RunId { who: Who::Hub, run: 1 };
const FIRST: RunId = RunId { who: Who::Server(0), run: 1 };
const SECOND: RunId = RunId { who: Who::Server(0), run: 2 };
const ELSEWHERE: RunId = RunId { who: Who::Server(1), run: 1 };
const EXPIRES: u64 = 100_000;

/// What happened around the story of handover `h`: asked at 100, shown from 200 to 300.
struct Case {
    entries: Vec<Entry>,
    deeds: Deeds,
    story: Story,
}

fn entry(by: RunId, event: &str, handover: &str, fence: &str) -> Entry {
    Entry {
        by,
        event: event.to_owned(),
        handover: handover.to_owned(),
        player: "p".to_owned(),
        fence: fence.to_owned(),
        server: String::new(),
    }
}

fn refused(code: &str) -> Heard {
    Heard::Refused { code: code.to_owned() }
}

fn gone() -> Heard {
    Heard::Gone("reset".to_owned())
}

fn welcome() -> Heard {
    Heard::Welcome { name: "ada".to_owned(), server: "server-0".to_owned(), session: "h".to_owned() }
}

fn show(began: u64, over: u64, heard: Heard) -> Show {
    Show { began: Mono(began), over: Mono(over), delayed: false, heard }
}

impl Case {
    /// A confirmed handover that the server holds with fence 5, heard of like this.
    fn heard(heard: Heard) -> Self {
        let mut deeds = Deeds::default();
        for run in [HUB, FIRST] {
            deeds.runs.insert(run, Span { ready: Some(Mono(10)), stopped: None });
        }
        let story = Story {
            login: "ada".to_owned(),
            handover: "h".to_owned(),
            server: 0,
            server_id: "server-0".to_owned(),
            confirmed: true,
            asked: Mono(100),
            expires: Mono(EXPIRES),
            shows: vec![show(200, 300, heard)],
            end: None,
        };
        Self { entries: Vec::new(), deeds, story }.held(FIRST, "h", "5.0.0")
    }

    fn held(mut self, by: RunId, handover: &str, fence: &str) -> Self {
        self.entries.push(entry(by, "grant.received", handover, fence));
        self.entries.push(entry(by, "grant.held", handover, fence));
        self
    }

    fn redeemed(mut self, by: RunId) -> Self {
        self.entries.push(entry(by, "token.redeemed", "h", ""));
        self
    }

    fn unheld(mut self) -> Self {
        self.entries.clear();
        self
    }

    fn unconfirmed(mut self) -> Self {
        self.story.confirmed = false;
        self
    }

    fn stopped(mut self, run: RunId, at: u64) -> Self {
        self.deeds.runs.entry(run).or_default().stopped = Some(Mono(at));
        self
    }

    fn cut(mut self, leg: Leg, from: u64, until: u64) -> Self {
        self.deeds.cuts.push(Cut { leg, from: Mono(from), until: Mono(until) });
        self
    }

    fn again(mut self, began: u64, over: u64, heard: Heard) -> Self {
        self.story.shows.push(show(began, over, heard));
        self
    }

    fn verdict(&self) -> Verdict {
        Facts::new(&self.entries, self.deeds.clone()).judge(&self.story)
    }

    fn end(&self, at: u64, heard: Heard) -> Option<String> {
        let end = Ending { began: Mono(200), at: Mono(at), heard };
        Facts::new(&self.entries, self.deeds.clone()).judge_end(&self.story, &end)
    }

    fn unanswered(&self, asked: u64, failed: u64) -> Option<String> {
        let (asked, failed) = (Mono(asked), Mono(failed));
        let ask = Unanswered { login: "ada".to_owned(), asked, failed, error: String::new() };
        Facts::new(&self.entries, self.deeds.clone()).judge_unanswered(&ask)
    }

    fn is_lost(&self) -> bool {
        matches!(self.verdict(), Verdict::Lost(_))
    }

    fn is_excused(&self) -> bool {
        matches!(self.verdict(), Verdict::Excused(_))
    }

    fn is_doubled(&self) -> bool {
        matches!(self.verdict(), Verdict::Doubled(_))
    }
}

#[test]
fn one_welcome_is_all_that_is_promised() {
    assert_eq!(Case::heard(welcome()).redeemed(FIRST).verdict(), Verdict::Welcomed);
    let twice = Case::heard(welcome()).redeemed(FIRST).again(400, 410, refused("token-spent"));
    assert_eq!(twice.verdict(), Verdict::Welcomed);
}

#[test]
fn two_welcomes_are_one_too_many_on_any_run() {
    assert!(Case::heard(welcome()).again(400, 410, welcome()).is_doubled());
    assert!(Case::heard(welcome()).redeemed(FIRST).redeemed(SECOND).is_doubled());
    // Nobody heard the second, and it was a redemption all the same.
    assert!(Case::heard(gone()).redeemed(FIRST).redeemed(FIRST).stopped(FIRST, 250).is_doubled());
}

#[test]
fn a_welcome_is_for_who_it_was_meant_for() {
    let foreign = [("bob", "server-0", "h"), ("ada", "server-1", "h"), ("ada", "server-0", "other")];
    for (name, server, session) in foreign {
        let (name, server, session) = (name.to_owned(), server.to_owned(), session.to_owned());
        assert!(Case::heard(Heard::Welcome { name, server, session }).is_doubled());
    }
}

#[test]
fn confirmed_means_that_the_server_has_said_yes() {
    assert!(Case::heard(welcome()).unheld().is_lost());
    // Not even the server's death makes that true.
    assert!(Case::heard(gone()).unheld().stopped(FIRST, 250).is_lost());
    assert_eq!(Case::heard(welcome()).unheld().unconfirmed().verdict(), Verdict::Welcomed);
}

#[test]
fn a_confirmed_client_is_refused_for_a_newer_handover_only() {
    let newer = Case::heard(refused("superseded")).held(FIRST, "newer", "5.1.0");
    assert_eq!(newer.verdict(), Verdict::Refused("superseded".to_owned()));
    assert!(Case::heard(refused("superseded")).held(FIRST, "older", "4.9.0").is_lost());
    for code in ["server-full", "token-not-genuine", "server-draining", "cancelled", "handover-timed-out"] {
        assert!(Case::heard(refused(code)).is_lost(), "{code}");
        let unconfirmed = Case::heard(refused(code)).unconfirmed().verdict();
        assert_eq!(unconfirmed, Verdict::Refused(code.to_owned()));
    }
}

#[test]
fn no_token_is_spent_without_a_welcome() {
    assert!(Case::heard(refused("token-spent")).is_lost());
    assert!(Case::heard(refused("token-spent")).unconfirmed().is_lost());
}

#[test]
fn silence_is_a_loss_confirmed_or_not() {
    assert!(Case::heard(gone()).is_lost());
    assert!(Case::heard(gone()).unconfirmed().is_lost());
}

#[test]
fn a_stop_of_the_run_that_held_the_grant_excuses_and_no_other() {
    assert!(Case::heard(gone()).stopped(FIRST, 300).is_excused());
    assert!(Case::heard(gone()).stopped(FIRST, 301).is_lost());
    assert!(Case::heard(gone()).stopped(HUB, 250).is_lost());
    // Held by the next run, and the client came once it was ready.
    let mut case = Case::heard(refused("token-not-genuine")).unheld().stopped(FIRST, 50);
    case.deeds.runs.insert(SECOND, Span { ready: Some(Mono(90)), stopped: None });
    let case = case.held(SECOND, "h", "5.0.0");
    assert!(case.is_lost());
    // Before that, its clients were not yet led to it.
    let mut early = case;
    early.deeds.runs.insert(SECOND, Span { ready: Some(Mono(200)), stopped: None });
    assert!(early.is_excused());
}

#[test]
fn what_was_held_elsewhere_before_counts_for_nothing() {
    let elsewhere = |heard| Case::heard(heard).unheld().held(ELSEWHERE, "h", "4.0.0");
    assert!(elsewhere(welcome()).is_lost(), "confirmed by another server");
    let excused = elsewhere(gone()).unconfirmed().stopped(FIRST, 250);
    assert!(excused.is_excused());
    let mut case = elsewhere(gone()).unconfirmed();
    case.deeds.runs.insert(ELSEWHERE, Span { ready: Some(Mono(10)), stopped: Some(Mono(250)) });
    assert!(case.is_lost(), "the other server's death is no excuse");
}

#[test]
fn a_cut_of_the_clients_own_leg_during_a_show_excuses() {
    let leg = Leg::Game(0);
    assert!(Case::heard(gone()).cut(leg, 150, 200).is_excused());
    assert!(Case::heard(gone()).cut(leg, 300, 400).is_excused());
    assert!(Case::heard(gone()).cut(leg, 150, 199).is_lost());
    assert!(Case::heard(gone()).cut(leg, 301, 400).is_lost());
    assert!(Case::heard(gone()).cut(Leg::Game(1), 150, 400).is_lost());
    assert!(Case::heard(gone()).cut(Leg::Http, 150, 400).is_lost());
    // The welcome was lost on its way, then the token was spent.
    let spent = Case::heard(gone()).redeemed(FIRST).again(400, 410, refused("token-spent"));
    assert!(spent.cut(leg, 250, 250).is_excused());
}

#[test]
fn who_comes_late_may_be_refused() {
    let at = |began: u64| {
        let mut case = Case::heard(refused("token-expired"));
        case.story.shows = vec![show(began, began + 5, refused("token-expired"))];
        case
    };
    assert!(at(EXPIRES - 30_000).is_lost());
    assert!(at(EXPIRES - 29_999).is_excused());
}

#[test]
fn who_does_not_come_is_owed_nothing() {
    let mut case = Case::heard(gone());
    case.story.shows.clear();
    assert_eq!(case.verdict(), Verdict::Unshown);
}

#[test]
fn a_session_ends_for_a_reason() {
    let case = || Case::heard(welcome()).redeemed(FIRST);
    assert!(case().end(900, refused("superseded")).is_some());
    assert_eq!(case().held(SECOND, "newer", "6.0.0").end(900, refused("superseded")), None);
    assert!(case().end(900, gone()).is_some());
    assert_eq!(case().stopped(FIRST, 900).end(900, gone()), None);
    assert!(case().stopped(FIRST, 901).end(900, gone()).is_some());
    assert_eq!(case().cut(Leg::Game(0), 500, 500).end(900, gone()), None);
    assert_eq!(case().cut(Leg::Game(0), 200, 200).end(900, gone()), None, "felt later");
    assert!(case().cut(Leg::Game(0), 100, 199).end(900, gone()).is_some());
    assert_eq!(case().stopped(FIRST, 500).end(900, refused("server-draining")), None);
    assert!(case().end(900, refused("server-draining")).is_some());
    assert!(case().end(900, refused("kicked")).is_some());
}

#[test]
fn the_hub_answers_unless_it_or_the_way_to_it_was_disturbed() {
    let case = || Case::heard(welcome());
    assert!(case().unanswered(100, 200).is_some());
    assert_eq!(case().stopped(HUB, 150).unanswered(100, 200), None);
    assert_eq!(case().stopped(HUB, 50).unanswered(100, 200), None, "away all the time");
    assert!(case().stopped(HUB, 201).unanswered(100, 200).is_some());
    assert_eq!(case().unanswered(10, 20), None, "not ready before it was asked");
    assert!(case().unanswered(11, 20).is_some());
    assert_eq!(case().cut(Leg::Http, 150, 160).unanswered(100, 200), None);
    assert!(case().cut(Leg::Game(0), 150, 160).unanswered(100, 200).is_some());
}
