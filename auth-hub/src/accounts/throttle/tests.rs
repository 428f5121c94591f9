//! The throttle against a naive count of what it allowed.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use shared_msgs::rng::SeededRng;

use super::*;

const NAME: Bucket = Bucket { burst: 3, refill: Duration::from_secs(10), keys_max: 100 };
const ADDRESS: Bucket = Bucket { burst: 5, refill: Duration::from_secs(1), keys_max: 100 };

fn throttle(name: Bucket, address: Bucket) -> Throttle {
    Throttle::new(ThrottleConfig { name, address }, &SeededRng::new(1))
}

fn login(n: u8) -> LoginName {
    format!("user{n}").parse().unwrap()
}

fn v4(n: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, n).into()
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at its many calls")]
fn denied_ms(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Denied { retry_after } => u64::try_from(retry_after.as_millis()).unwrap(),
        Verdict::Allowed(_) => panic!("allowed"),
    }
}

fn allowed(verdict: Verdict) -> Attempt {
    match verdict {
        Verdict::Allowed(attempt) => attempt,
        Verdict::Denied { retry_after } => panic!("denied for {retry_after:?}"),
    }
}

#[test]
fn a_name_has_its_burst_then_one_per_refill_from_wherever_it_is_tried() {
    let mut throttle = throttle(NAME, ADDRESS);
    for from in 0..3 {
        allowed(throttle.attempt(&login(1), v4(from), Mono(1000)));
    }
    assert_eq!(denied_ms(throttle.attempt(&login(1), v4(9), Mono(1000))), 10_000);
    assert_eq!(denied_ms(throttle.attempt(&login(1), v4(9), Mono(10_999))), 1);
    allowed(throttle.attempt(&login(2), v4(9), Mono(10_999)));
    allowed(throttle.attempt(&login(1), v4(9), Mono(11_000)));
    assert_eq!(denied_ms(throttle.attempt(&login(1), v4(9), Mono(11_000))), 10_000);
}

#[test]
fn an_address_is_one_ipv4_or_one_ipv6_network_of_64_bits() {
    let name = Bucket { burst: 100, ..NAME };
    let v6 = |net: u16, host: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host));
    for (same, other) in [
        ([v4(1); 6], v4(2)),
        ([1, 2, 3, 4, 5, 6].map(|host| v6(1, host)), v6(2, 1)),
        ([v4(1), Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into(), v4(1), v4(1), v4(1), v4(1)], v6(0, 0)),
    ] {
        let mut throttle = throttle(name, ADDRESS);
        for from in &same[..5] {
            allowed(throttle.attempt(&login(1), *from, Mono(0)));
        }
        assert_eq!(denied_ms(throttle.attempt(&login(1), same[5], Mono(0))), 1000);
        allowed(throttle.attempt(&login(1), other, Mono(0)));
    }
}

#[test]
fn a_denial_costs_neither_name_nor_address() {
    let mut throttle = throttle(NAME, ADDRESS);
    for _ in 0..3 {
        allowed(throttle.attempt(&login(1), v4(1), Mono(0)));
    }
    for _ in 0..50 {
        denied_ms(throttle.attempt(&login(1), v4(1), Mono(0))); // the name says no
    }
    allowed(throttle.attempt(&login(2), v4(1), Mono(0)));
    allowed(throttle.attempt(&login(2), v4(1), Mono(0)));
    for _ in 0..50 {
        denied_ms(throttle.attempt(&login(2), v4(1), Mono(0))); // the address says no
    }
    allowed(throttle.attempt(&login(2), v4(2), Mono(0)));
}

#[test]
fn success_gives_the_name_its_attempt_back_but_not_the_address() {
    let mut throttle = throttle(NAME, ADDRESS);
    for _ in 0..5 {
        let attempt = allowed(throttle.attempt(&login(1), v4(1), Mono(0)));
        throttle.succeeded(attempt);
    }
    assert_eq!(denied_ms(throttle.attempt(&login(1), v4(1), Mono(0))), 1000);
    // The name is as it was before; and one attempt given back is one, however late.
    allowed(throttle.attempt(&login(1), v4(2), Mono(0)));
    allowed(throttle.attempt(&login(1), v4(2), Mono(0)));
    let right = allowed(throttle.attempt(&login(1), v4(2), Mono(0)));
    assert_eq!(denied_ms(throttle.attempt(&login(1), v4(2), Mono(500))), 9500);
    throttle.succeeded(right);
    allowed(throttle.attempt(&login(1), v4(2), Mono(500)));
    assert_eq!(denied_ms(throttle.attempt(&login(1), v4(2), Mono(500))), 9500);
}

#[test]
fn a_full_table_forgets_only_who_owes_nothing() {
    let mut throttle = throttle(Bucket { keys_max: 2, ..NAME }, ADDRESS);
    allowed(throttle.attempt(&login(1), v4(1), Mono(0)));
    allowed(throttle.attempt(&login(1), v4(1), Mono(0)));
    allowed(throttle.attempt(&login(2), v4(1), Mono(5000)));
    // 2 owes nothing from 15 s on, 1 from 20 s on: until then a third is refused, and the two known ones are not.
    assert_eq!(denied_ms(throttle.attempt(&login(3), v4(2), Mono(6000))), 9000);
    allowed(throttle.attempt(&login(1), v4(2), Mono(6000)));
    allowed(throttle.attempt(&login(3), v4(2), Mono(15_000)));
    assert_eq!(throttle.remembered().0, 2);
    assert_eq!(denied_ms(throttle.attempt(&login(2), v4(2), Mono(15_000))), 10_000);
}

#[test]
fn no_name_is_kept() {
    let mut throttle = throttle(NAME, ADDRESS);
    let attempt = throttle.attempt(&login(1), v4(1), Mono(0));
    assert!(!format!("{throttle:?} {attempt:?}").contains("user"));
    let twin = Throttle::new(ThrottleConfig::default(), &SeededRng::new(2));
    assert_ne!(twin.name_key(&login(1)), throttle.name_key(&login(1)), "the hash is keyed");
}

proptest! {
    /// Invariant 9, and with it that the tables are bounded and the advice is exact.
    #[test]
    fn attempts_allowed_never_pass_the_limit(
        steps in proptest::collection::vec((0_u8..4, 0_u8..4, 0_u64..1000, 0_u8..4), 1..300),
        burst in 1_u32..4,
        keys_max in 1_usize..5,
    ) {
        let name = Bucket { burst, refill: Duration::from_secs(3), keys_max };
        let address = Bucket { burst: burst * 2, refill: Duration::from_millis(500), keys_max };
        let mut throttle = throttle(name, address);
        let mut now = Mono(0);
        // Per key: when an attempt was allowed (1) or given back (-1).
        let mut by_name: HashMap<u8, Vec<(u64, i64)>> = HashMap::new();
        let mut by_address: HashMap<u8, Vec<(u64, i64)>> = HashMap::new();
        let mut checking = Vec::new();
        for (who, from, pause_ms, fate) in steps {
            now = Mono(now.0 + pause_ms);
            // A check that ends well some time after it began, and after others.
            if fate == 0 && !checking.is_empty() {
                let (who, attempt) = checking.remove(usize::from(from) % checking.len());
                throttle.succeeded(attempt);
                by_name.entry(who).or_default().push((now.0, -1));
            }
            match throttle.attempt(&login(who), v4(from), now) {
                Verdict::Allowed(attempt) => {
                    by_address.entry(from).or_default().push((now.0, 1));
                    by_name.entry(who).or_default().push((now.0, 1));
                    if fate != 1 {
                        checking.push((who, attempt));
                    }
                }
                Verdict::Denied { retry_after } => {
                    prop_assert!(!retry_after.is_zero());
                    let early = Mono((now + retry_after).0 - 1);
                    if early > now {
                        let verdict = throttle.attempt(&login(who), v4(from), early);
                        let denied = matches!(verdict, Verdict::Denied { .. });
                        prop_assert!(denied, "the advice was too late");
                    }
                }
            }
            let (names, addresses) = throttle.remembered();
            prop_assert!(names <= keys_max && addresses <= keys_max);
            prop_assert_eq!((throttle.names.by_time.len(), throttle.addresses.by_time.len()), (names, addresses));
        }
        for (bucket, tried) in [(name, by_name), (address, by_address)] {
            let refill_ms = u64::try_from(bucket.refill.as_millis()).unwrap();
            for events in tried.values() {
                for (i, (start, _)) in events.iter().enumerate() {
                    let mut spent = 0;
                    for (end, change) in &events[i..] {
                        spent += change;
                        let limit = u64::from(bucket.burst) + (end - start) / refill_ms;
                        prop_assert!(spent <= i64::try_from(limit).unwrap());
                    }
                }
            }
        }
    }
}
