//! What a row of the table means, and how an answer ages.

use serde_json::json;

use super::*;

const REQUEST: Digest = [1; 32];

fn at(ms: u64) -> UnixMs {
    UnixMs(1_000_000 + ms)
}

fn row(sealed: Option<&[u8]>) -> Kept {
    Kept { request: REQUEST, claimed: at(0), ends: at(60_000), sealed: sealed.map(<[u8]>::to_vec) }
}

#[test]
fn an_answer_counts_until_it_ends_and_a_claim_for_as_long_as_a_handover_may_take() {
    let of = |sealed, now: u64| standing(Some(row(sealed)), &REQUEST, UnixMs(now));
    assert_eq!(standing(None, &REQUEST, at(0)), Standing::Free);
    let answered = Standing::Answered(vec![7]);
    for (ms, expected) in [(0, answered.clone()), (59_999, answered), (60_000, Standing::Free)] {
        assert_eq!(of(Some(&[7]), at(ms).0), expected, "{ms}");
    }
    for (ms, expected) in [(0, Standing::Queued), (59_999, Standing::Queued), (60_000, Standing::Free)] {
        assert_eq!(of(Some(&[]), at(ms).0), expected, "{ms}");
    }
    let left = |ms| Standing::UnderWay(Duration::from_millis(ms));
    for (ms, expected) in [(0, left(15_000)), (14_999, left(1)), (15_000, Standing::Free)] {
        assert_eq!(of(None, at(ms).0), expected, "{ms}");
    }
    // The clock was set back.
    assert_eq!(of(Some(&[7]), at(0).0 - 1), Standing::Free);
    assert_eq!(of(None, at(0).0 - 1), Standing::Free);
}

#[test]
fn a_key_means_one_request_for_as_long_as_it_counts() {
    for sealed in [None, Some(&[][..]), Some(&[7][..])] {
        assert_eq!(standing(Some(row(sealed)), &[2; 32], at(1)), Standing::Reused);
        assert_eq!(standing(Some(row(sealed)), &[2; 32], at(60_000)), Standing::Free);
    }
}

#[test]
fn what_is_left_of_a_life_is_less_by_the_answers_age() {
    let at_age = |reply: Value, ms: u64| {
        let body = serde_json::to_vec(&reply).unwrap().into();
        let said = aged(&Opened { answered: at(0), body }, at(ms)).unwrap();
        (serde_json::from_slice::<Value>(&said.body).unwrap(), said.age.unwrap())
    };
    let login = |place_ms: u64, access_s: u64| {
        let handover = json!({ "token": "t", "expires_at_ms": 9, "expires_in_ms": place_ms });
        json!({ "access_token_expires_in_s": access_s, "handover": handover })
    };
    assert_eq!(at_age(login(90_000, 900), 1_500), (login(88_500, 898), Duration::from_millis(1_500)));
    assert_eq!(at_age(login(1_000, 1), 5_000).0, login(0, 0));
    let none = json!({ "access_token_expires_in_s": 900, "handover": null });
    assert_eq!(at_age(none.clone(), 0).0, none);
    assert_eq!(at_age(json!({ "expires_in_ms": 10 }), 3).0, json!({ "expires_in_ms": 7 }));
    // A clock that was set back ages nothing.
    let opened = Opened { answered: at(5), body: Bytes::from_static(b"{\"expires_in_ms\":10}") };
    assert_eq!(aged(&opened, at(0)).unwrap().age, Some(Duration::ZERO));
}
