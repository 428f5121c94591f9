//! The pool with cheap hashes and gates in its threads.

use std::sync::mpsc;

use shared_msgs::clock::SystemClock;
use shared_msgs::rng::SystemRng;

use super::super::fixture::{phc, within};
use super::*;

fn cheap() -> Cost {
    Cost::new(16, 1, 1).unwrap()
}

fn pool_of(threads: usize, queue_checks_max: usize, cost: Cost) -> (PasswordPool, CancellationToken) {
    let process = CancellationToken::new();
    let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let config = PoolConfig {
        threads: threads.try_into().unwrap(),
        queue_checks_max: queue_checks_max.try_into().unwrap(),
        cost,
        ..PoolConfig::default()
    };
    (PasswordPool::start(config, &process, &rng, &clock).unwrap(), process)
}

fn password(text: &str) -> Password {
    Password::attempt(text.to_owned()).unwrap()
}

/// Occupies one thread until the sender is dropped or used.
fn block(pool: &PasswordPool) -> mpsc::Sender<()> {
    let (running, runs) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let gate = move || {
        running.send(()).unwrap();
        let _ = released.recv();
    };
    pool.shared.push(Task::Run(Box::new(gate))).unwrap();
    runs.recv().unwrap();
    release
}

#[tokio::test]
async fn right_wrong_and_unknown() {
    let (pool, _) = pool_of(2, 8, cheap());
    let phc = pool.hash(password("correct horse")).await.unwrap();
    assert!(phc.expose().starts_with("$argon2id$v=19$m=16,t=1,p=1$"), "{}", phc.expose());
    let ok = Verified { ok: true, upgraded: None };
    let not_ok = Verified { ok: false, upgraded: None };
    assert_eq!(pool.verify(password("correct horse"), Some(phc.clone())).await, Ok(ok));
    assert_eq!(pool.verify(password("Correct horse"), Some(phc.clone())).await, Ok(not_ok.clone()));
    assert_eq!(pool.verify(password(""), Some(phc.clone())).await, Ok(not_ok.clone()));
    assert_eq!(pool.verify(password("correct horse"), None).await, Ok(not_ok));
    let again = pool.hash(password("correct horse")).await.unwrap();
    assert_ne!(again, phc, "salts are fresh");
}

/// Both answers and costs: the decoy has the same parameters, and exactly one hash is computed for either.
#[tokio::test]
async fn an_unknown_account_costs_what_a_wrong_password_does() {
    let (pool, _) = pool_of(1, 8, cheap());
    let phc = pool.hash(password("correct horse")).await.unwrap();
    let mut costs = Vec::new();
    for against in [Some(phc), None] {
        let before = pool.gauges().hashes;
        pool.verify(password("wrong wrong"), against).await.unwrap();
        costs.push(pool.gauges().hashes - before);
    }
    assert_eq!(costs, [1, 1]);
}

#[tokio::test]
async fn hashes_of_other_parameters_verify_and_weaker_ones_are_upgraded() {
    let (pool, _) = pool_of(1, 8, Cost::new(64, 2, 1).unwrap());
    let (weak_pool, _) = pool_of(1, 8, cheap());
    let (strong_pool, _) = pool_of(1, 8, Cost::new(1024, 2, 2).unwrap());

    let weak = weak_pool.hash(password("correct horse")).await.unwrap();
    let verified = pool.verify(password("correct horse"), Some(weak.clone())).await.unwrap();
    let upgraded = verified.upgraded.unwrap();
    assert!(upgraded.expose().starts_with("$argon2id$v=19$m=64,t=2,p=1$"));
    let settled = pool.verify(password("correct horse"), Some(upgraded)).await.unwrap();
    assert_eq!(settled, Verified { ok: true, upgraded: None });
    let wrong = pool.verify(password("wrong wrong"), Some(weak)).await.unwrap();
    assert_eq!(wrong, Verified { ok: false, upgraded: None }, "a wrong password upgrades nothing");

    // More memory than the thread's own, and more lanes: verified, and left as it is.
    let strong = strong_pool.hash(password("correct horse")).await.unwrap();
    let verified = pool.verify(password("correct horse"), Some(strong)).await.unwrap();
    assert_eq!(verified, Verified { ok: true, upgraded: None });
}

/// Computed with the C implementation of argon2, so that what we read is the standard and not only our own writing.
#[tokio::test]
async fn what_another_implementation_made_verifies() {
    let (pool, _) = pool_of(1, 8, cheap());
    for (head, hash) in [
        ("$argon2id$v=19$m=64,t=3,p=2", "Ja+CnHG1QJ4zHxfh3iSUWz3gSGhzP0DYHKhwJ8sa7S0"),
        ("$argon2id$v=16$m=256,t=2,p=4", "gF5DqePAXd9qsrv2V6E5Rcx13t+bW3ZH"),
        ("$argon2i$v=19$m=64,t=3,p=1", "GRBsh7FJTTzsMpetv5Ux3q9Z9pPGILRq87T8vglu9II"),
        ("$argon2i$v=16$m=64,t=3,p=1", "eQje2KKrDZ7l8jPEPsPoTX/SnEtpTke2GZKBAthvgwU"),
        ("$argon2i$m=64,t=3,p=1", "eQje2KKrDZ7l8jPEPsPoTX/SnEtpTke2GZKBAthvgwU"),
    ] {
        let phc: Phc = format!("{head}$c2FsdHNhbHRzYWx0c2FsdA${hash}").parse().unwrap();
        let right = pool.verify(password("correct horse"), Some(phc.clone())).await.unwrap();
        assert!(right.ok, "{head}");
        assert!(!pool.verify(password("correct horsf"), Some(phc)).await.unwrap().ok, "{head}");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_serves_who_waits() {
    let (pool, _) = pool_of(2, 3, cheap());
    let gates = [block(&pool), block(&pool)];
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (reply, answer) = oneshot::channel();
            pool.shared.push(Task::Verify { password: password("x"), phc: None, reply }).unwrap();
            answer
        })
        .collect();
    assert_eq!(pool.gauges(), Gauges { queued: 3, queue_max: 3, in_flight: 2, hashes: 0, memory_bytes: 0 });
    let refused = within(pool.verify(password("x"), None)).await;
    assert_eq!(refused, Err(PoolError::Busy { retry_after: RETRY_AFTER_MIN }));
    assert!(matches!(within(pool.hash(password("xxxxxxxx"))).await, Err(PoolError::Busy { .. })));
    drop(gates);
    for answer in waiting {
        assert!(!answer.await.unwrap().unwrap().ok);
    }
    assert_eq!(pool.gauges().hashes, 3);
}

#[test]
fn the_advice_grows_with_the_queue_and_is_bounded() {
    let (pool, _) = pool_of(1, 4, cheap());
    let _gate = block(&pool);
    for _ in 0..4 {
        pool.shared.push(Task::Run(Box::new(|| {}))).unwrap();
    }
    for (task_ms, advice) in
        [(0, RETRY_AFTER_MIN), (1500, Duration::from_secs(6)), (u64::MAX, RETRY_AFTER_MAX)]
    {
        pool.shared.lock().task_ms = task_ms;
        let refused = pool.shared.push(Task::Run(Box::new(|| {})));
        assert_eq!(refused, Err(PoolError::Busy { retry_after: advice }));
    }
}

#[tokio::test]
async fn a_check_whose_caller_left_is_not_made() {
    let (pool, _) = pool_of(1, 8, cheap());
    let gate = block(&pool);
    let (reply, answer) = oneshot::channel();
    pool.shared.push(Task::Verify { password: password("x"), phc: None, reply }).unwrap();
    drop(answer);
    drop(gate);
    pool.verify(password("x"), None).await.unwrap();
    let memory_bytes = cheap().memory_bytes();
    assert_eq!(pool.gauges(), Gauges { queued: 0, queue_max: 8, in_flight: 0, hashes: 1, memory_bytes });
}

/// Two threads at one time, each as often as it likes, and never more than two memories.
#[tokio::test]
async fn memory_is_taken_for_the_first_hash_and_given_back_after_the_last() {
    let process = CancellationToken::new();
    let (rng, clock): (Arc<dyn Rng>, Arc<dyn Clock>) =
        (Arc::new(SystemRng::new()), Arc::new(SystemClock::new()));
    let config = PoolConfig {
        threads: 2.try_into().unwrap(),
        cost: cheap(),
        cool_after: Duration::from_millis(20),
        ..PoolConfig::default()
    };
    let pool = PasswordPool::start(config, &process, &rng, &clock).unwrap();
    assert_eq!(pool.gauges().memory_bytes, 0, "nothing before the first");
    for round in 0..3 {
        let phc = pool.hash(password("correct horse")).await.unwrap();
        let (one, other) = tokio::join!(
            pool.verify(password("correct horse"), Some(phc.clone())),
            pool.verify(password("wrong wrong"), Some(phc))
        );
        assert!(one.unwrap().ok && !other.unwrap().ok, "round {round}");
        assert!(pool.gauges().memory_bytes <= 2 * cheap().memory_bytes());
        let cold = async {
            while pool.gauges().memory_bytes > 0 {
                tokio::task::yield_now().await;
            }
        };
        within(cold).await;
        assert_eq!(pool.gauges().hashes, 3 * (round + 1));
    }
    assert!(!process.is_cancelled(), "to cool is not to die");
}

/// As long as there is more to do nobody cools: the next hash finds its memory as the last one left it.
#[test]
fn only_who_waited_in_vain_cools() {
    let config = PoolConfig { cool_after: Duration::ZERO, ..PoolConfig::default() };
    let shared = Shared { state: Mutex::default(), wake: Condvar::new(), config };
    shared.push(Task::Run(Box::new(|| {}))).unwrap();
    assert!(matches!(shared.take(true), Next::Perform(_)));
    assert!(matches!(shared.take(true), Next::Cool));
    shared.close();
    assert!(matches!(shared.take(true), Next::End));
}

#[tokio::test]
async fn dropping_the_pool_ends_its_threads_and_refuses_who_waits() {
    let (mut pool, process) = pool_of(2, 8, cheap());
    let threads = std::mem::take(&mut pool.threads);
    assert_eq!(threads.len(), 2);
    let gates = [block(&pool), block(&pool)];
    let (reply, answer) = oneshot::channel();
    pool.shared.push(Task::Verify { password: password("x"), phc: Some(phc()), reply }).unwrap();
    drop(pool);
    assert!(within(answer).await.is_err());
    drop(gates);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(!process.is_cancelled(), "ending is not dying");
}

#[tokio::test]
async fn a_thread_that_dies_takes_pool_and_process_down() {
    let (pool, process) = pool_of(2, 8, cheap());
    pool.shared.push(Task::Run(Box::new(|| panic!("a bug in a check")))).unwrap();
    within(process.cancelled()).await;
    assert_eq!(pool.verify(password("x"), None).await, Err(PoolError::Closed));
}
