//! What an operator may do, from the making of an account to its end.

use std::sync::Arc;

use shared_msgs::clock::{Clock, SystemClock};
use shared_msgs::rng::{Rng, SystemRng};

use super::super::fixture::TestStore;
use super::super::passwords::PoolConfig;
use super::super::phc::Cost;
use super::*;

fn pool(test: &TestStore) -> PasswordPool {
    let rng: Arc<dyn Rng> = Arc::new(SystemRng::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let config = PoolConfig { cost: Cost::new(16, 1, 1).unwrap(), ..PoolConfig::default() };
    PasswordPool::start(config, &test.process, &rng, &clock).unwrap()
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned()).unwrap()
}

#[tokio::test]
async fn an_account_is_added_changed_and_disabled() {
    let test = TestStore::open().await;
    let (store, pool) = (&test.store, pool(&test));
    let bob: LoginName = "bob".parse().unwrap();
    let display = || "Bob".parse::<DisplayName>().unwrap();
    let opens = async |text: &str| {
        let phc = find(store, &bob).await.unwrap().phc;
        pool.verify(password(text), Some(phc)).await.unwrap().ok
    };

    let made = add(store, &pool, bob.clone(), display(), password("first password")).await.unwrap();
    assert_eq!(find(store, &bob).await.unwrap(), made);
    assert!(opens("first password").await);

    let hashes = pool.gauges().hashes;
    let again = add(store, &pool, bob.clone(), display(), password("other password")).await;
    assert!(matches!(again, Err(AdminError::Store(StoreError::NameTaken))));
    assert_eq!(pool.gauges().hashes, hashes, "a taken name costs no hash");

    set_password(store, &pool, &bob, password("second password")).await.unwrap();
    assert!(opens("second password").await);
    assert!(!opens("first password").await);

    set_state(store, &bob, AccountState::Disabled).await.unwrap();
    assert_eq!(find(store, &bob).await.unwrap().state, AccountState::Disabled);

    let nobody: LoginName = "nobody".parse().unwrap();
    for refused in [
        set_state(store, &nobody, AccountState::Active).await,
        set_password(store, &pool, &nobody, password("some password")).await,
        find(store, &nobody).await.map(drop),
    ] {
        assert!(matches!(refused, Err(AdminError::Store(StoreError::UnknownAccount))));
    }
}
