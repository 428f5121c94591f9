//! The journal's bounds, and what it says of stories that ended in each way.

use super::*;

const NOW: UnixMs = UnixMs(1_000);

fn id(n: u64) -> HandoverId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    HandoverId(bytes)
}

fn hash(n: u64) -> TokenHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    TokenHash(bytes)
}

fn account(n: u64) -> AccountRow {
    AccountRow::from_raw(i64::try_from(n).unwrap())
}

/// A story with these steps, all at server `a`.
fn told(steps: &[(&'static str, Option<&'static str>)]) -> String {
    let mut journal = Journal::default();
    journal.open(account(1), id(1), NOW);
    for (event, code) in steps {
        journal.step(id(1), event, Some(&"a".parse().unwrap()), *code, NOW);
    }
    journal.superseded(id(1), id(2));
    journal.explain(account(1)).remove(0).outcome
}

#[test]
fn each_end_is_told_in_plain_words() {
    let answered = ("handover.answered", None);
    let joined = ("session.began", None);
    let by = id(2);
    for (steps, outcome) in [
        (vec![("handover.asked", None)], "under way".to_owned()),
        (vec![("grant.refused", Some("server-full"))], "under way".to_owned()),
        (
            vec![("handover.refused", Some("all-servers-full"))],
            "came to nothing: all-servers-full".to_owned(),
        ),
        (vec![answered], "told to go to a, and not come there yet".to_owned()),
        (
            vec![answered, ("grant.refused", Some("token-expired"))],
            "sent to a, and nobody came with the token in time".to_owned(),
        ),
        (
            vec![answered, ("grant.refused", Some("kicked"))],
            "sent to a, and the place was taken back: kicked".to_owned(),
        ),
        (vec![answered, joined, ("end.sent", Some("kicked"))], "in game on a".to_owned()),
        (vec![answered, joined, ("session.over", None)], "played on a and left".to_owned()),
        (
            vec![answered, joined, ("session.over", Some("superseded"))],
            format!("played on a until a newer login took over, handover {by}"),
        ),
        (
            vec![answered, joined, ("session.over", Some("banned"))],
            "played on a until the account was shut out".to_owned(),
        ),
    ] {
        assert_eq!(told(&steps), outcome, "{steps:?}");
    }
}

#[test]
fn the_oldest_steps_stories_and_tokens_go_first() {
    let mut journal = Journal::default();
    let many = u64::try_from(STORIES_MAX).unwrap() + 1;
    for n in 0..many {
        journal.open(account(1), id(n), NOW);
        journal.granted(id(n), hash(n));
    }
    for n in 0..40 {
        journal.step(id(many - 1), "grant.sent", None, None, UnixMs(NOW.0 + n));
    }
    let stories = journal.explain(account(1));
    assert_eq!((stories.len(), stories[0].handover, stories[0].steps.len()), (10, id(many - 1), STEPS_MAX));
    assert_eq!((stories[0].steps[0].at, stories[9].handover), (UnixMs(NOW.0 + 8), id(1)));
    assert_eq!((journal.handover_of(&hash(0)), journal.handover_of(&hash(1))), (None, Some(id(1))));
    journal.step(id(0), "grant.sent", None, None, NOW);
    for n in 100..120 {
        journal.granted(id(1), hash(n));
    }
    assert_eq!((journal.handover_of(&hash(111)), journal.handover_of(&hash(112))), (None, Some(id(1))));
    assert_eq!((journal.accounts.len(), journal.hashes.len()), (STORIES_MAX, STORIES_MAX - 1 + HASHES_MAX));
}

#[test]
fn the_longest_unused_account_makes_room_and_leaves_nothing_behind() {
    let mut journal = Journal::default();
    let max = u64::try_from(ACCOUNTS_MAX).unwrap();
    for n in 0..max {
        journal.open(account(n), id(n), NOW);
        journal.granted(id(n), hash(n));
    }
    journal.open(account(0), id(max), NOW);
    journal.open(account(max), id(max + 1), NOW);
    assert_eq!((journal.explain(account(0)).len(), journal.explain(account(1)).len()), (2, 0));
    assert_eq!(journal.handover_of(&hash(1)), None);
    assert_eq!((journal.pages.len(), journal.by_use.len()), (ACCOUNTS_MAX, ACCOUNTS_MAX));
    assert_eq!((journal.accounts.len(), journal.hashes.len()), (ACCOUNTS_MAX + 1, ACCOUNTS_MAX - 1));
}

#[test]
fn many_stories_of_each_account_are_bounded_too() {
    let mut journal = Journal::default();
    let mut n = 0;
    for _ in 0..STORIES_MAX {
        for of in 0..7_000 {
            journal.open(account(of), id(n), NOW);
            n += 1;
        }
    }
    assert!(journal.accounts.len() <= ALL_STORIES_MAX);
    assert_eq!(journal.explain(account(6_999)).len(), STORIES_MAX, "the one used last is whole");
}
