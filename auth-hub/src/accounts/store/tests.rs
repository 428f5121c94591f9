//! The store over a real file.

use std::collections::BTreeSet;

use shared_msgs::ids::{PlayerId, Realm, ServerId};

use super::super::fixture::{TestStore, new_account, other_phc, phc};
use super::super::{Ban, Owners, PlayerRow};
use super::*;

fn realm(name: &str) -> Realm {
    name.parse().unwrap()
}

#[tokio::test]
async fn an_account_is_found_as_it_was_made() {
    let test = TestStore::open().await;
    let made = test.store.register(new_account("Bob")).await.unwrap();
    assert_eq!(made.login.as_str(), "bob");
    assert_eq!(made.state, AccountState::Active);
    assert_eq!(test.store.by_login(&"BOB".parse().unwrap()).await.unwrap().as_ref(), Some(&made));
    assert_eq!(test.store.by_public(made.id).await.unwrap().as_ref(), Some(&made));
    assert_eq!(test.store.by_login(&"bobby".parse().unwrap()).await.unwrap(), None);
    assert_eq!(test.store.by_public(AccountId([0; 16])).await.unwrap(), None);
}

#[tokio::test]
async fn a_display_name_of_before_the_rules_is_shown_as_it_is() {
    let test = TestStore::open().await;
    let made = test.store.register(new_account("bob")).await.unwrap();
    for (stored, is_shown) in [("p\u{430}ypal  ", true), ("a\nb", false), ("", false)] {
        let set = test.store.writer.write(move |conn| {
            Box::pin(async move {
                let sql = "UPDATE accounts SET display_name = $1";
                changed(sqlx::query(sql).bind(stored).execute(conn).await)
            })
        });
        assert!(set.await.unwrap());
        let found = test.store.by_login(&made.login).await;
        let shown = found.map(|account| account.unwrap().display_name.as_str().to_owned());
        if is_shown {
            assert_eq!(shown.unwrap(), stored);
        } else {
            assert!(matches!(shown, Err(StoreError::Corrupt("display name"))), "{stored:?}: {shown:?}");
        }
    }
}

#[tokio::test]
async fn a_taken_name_is_refused_whatever_its_case() {
    let test = TestStore::open().await;
    let first = test.store.register(new_account("bob")).await.unwrap();
    let mut second = new_account("BoB");
    second.phc = other_phc();
    assert!(matches!(test.store.register(second).await, Err(StoreError::NameTaken)));
    assert_eq!(test.store.by_login(&first.login).await.unwrap(), Some(first), "the first is untouched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_race_for_a_name_one_gets_it() {
    let test = TestStore::open().await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = test.store.clone();
        racers.spawn(async move { store.register(new_account("bob")).await });
    }
    let results = racers.join_all().await;
    let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    let lost = results.iter().filter(|result| matches!(result, Err(StoreError::NameTaken))).count();
    assert_eq!((won.len(), lost), (1, 49));
    assert_eq!(test.store.by_login(&won[0].login).await.unwrap().as_ref(), Some(won[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_races_for_a_player_id_gets_the_same_one() {
    let test = TestStore::open().await;
    let row = test.store.register(new_account("bob")).await.unwrap().row;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = test.store.clone();
        racers.spawn(async move { store.player_in(row, &realm("eu")).await.unwrap() });
    }
    let mut ids = racers.join_all().await;
    let eu = ids[0];
    ids.retain(|id| *id != eu);
    assert_eq!(ids, []);
    assert_eq!(test.store.players_of(row).await.unwrap(), [row_of(row, "eu", eu)]);
}

fn row_of(account: AccountRow, in_realm: &str, player: PlayerId) -> PlayerRow {
    PlayerRow { account, realm: realm(in_realm), player, last_server: None }
}

#[tokio::test]
async fn the_last_server_is_kept_and_the_later_one_counts() {
    let test = TestStore::open().await;
    let bob = test.store.register(new_account("bob")).await.unwrap().row;
    let (eu, us) = (
        test.store.player_in(bob, &realm("eu")).await.unwrap(),
        test.store.player_in(bob, &realm("us")).await.unwrap(),
    );
    let at = |server: &str| server.parse().unwrap();
    let lasts = vec![(eu, at("alpha")), (PlayerId([0xee; 16]), at("alpha")), (eu, at("beta"))];
    test.store.set_last_servers(lasts).await.unwrap();
    let after_cut = TestStore::open_in(test.copy_files()).await;
    let expected =
        [PlayerRow { last_server: Some(at("beta")), ..row_of(bob, "eu", eu) }, row_of(bob, "us", us)];
    assert_eq!(after_cut.store.players_of(bob).await.unwrap(), expected);
    let owners = after_cut.store.owners(&[eu], UnixMs(0)).await.unwrap();
    assert_eq!(owners.players, expected[..1], "a hub that starts learns it with the roster");
}

fn ban(until: Option<u64>) -> Ban {
    Ban { until: until.map(UnixMs), reason: "x".to_owned(), by: "grace".to_owned(), since: UnixMs(5) }
}

#[tokio::test]
async fn who_may_play_is_asked_together_with_the_players() {
    let test = TestStore::open().await;
    let bob = test.store.register(new_account("bob")).await.unwrap().row;
    let asked = async |at: u64| test.store.players_who_may_play(bob, UnixMs(at)).await.unwrap();
    assert_eq!(asked(0).await, Some(vec![]));
    let [us, eu] = ["us", "eu"].map(realm);
    let (in_us, in_eu) =
        (test.store.player_in(bob, &us).await.unwrap(), test.store.player_in(bob, &eu).await.unwrap());
    let of = |realm, player| PlayerRow { account: bob, realm, player, last_server: None };
    let all = Some(vec![of(eu, in_eu), of(us, in_us)]);
    assert_eq!(asked(0).await, all);
    test.store.ban(bob, ban(Some(1_000))).await.unwrap();
    assert_eq!((asked(999).await, asked(1_000).await), (None, all.clone()), "until its time is over");
    test.store.ban(bob, ban(None)).await.unwrap();
    assert_eq!(asked(u64::MAX).await, None);
    test.store.unban(bob).await.unwrap();
    assert_eq!(asked(6).await, all);
    for state in [AccountState::Banned, AccountState::Disabled] {
        test.store.set_state(bob, state).await.unwrap();
        assert_eq!(asked(0).await, None, "{state:?}");
    }
    let nobody = test.store.players_who_may_play(AccountRow::from_raw(999), UnixMs(0)).await;
    assert_eq!(nobody.unwrap(), None);
}

fn of(players: impl Into<Vec<PlayerRow>>, banned: impl Into<BTreeSet<AccountRow>>) -> Owners {
    Owners { players: players.into(), banned: banned.into() }
}

#[tokio::test]
async fn who_owns_players_is_said_together_with_who_of_them_is_banned_now() {
    let test = TestStore::open().await;
    let mut rows = Vec::new();
    for login in ["ada", "bob", "cid", "dan", "eve"] {
        let account = test.store.register(new_account(login)).await.unwrap().row;
        let player = test.store.player_in(account, &realm("eu")).await.unwrap();
        rows.push(row_of(account, "eu", player));
    }
    let [ada, bob, cid, dan, eve] = rows.iter().map(|row| row.account).collect::<Vec<_>>()[..] else {
        panic!()
    };
    test.store.ban(ada, ban(None)).await.unwrap();
    test.store.ban(bob, ban(Some(1_000))).await.unwrap();
    test.store.set_state(cid, AccountState::Banned).await.unwrap();
    // Whose account is disabled plays on where they are.
    test.store.set_state(dan, AccountState::Disabled).await.unwrap();
    test.store.ban(eve, ban(None)).await.unwrap();
    test.store.unban(eve).await.unwrap();
    let asked: Vec<_> = rows.iter().map(|row| row.player).collect();
    rows.sort_by_key(|row| row.player);
    let before = test.store.owners(&asked, UnixMs(999)).await.unwrap();
    assert_eq!(before, of(rows.clone(), [ada, bob, cid]));
    let after = test.store.owners(&asked, UnixMs(1_000)).await.unwrap();
    assert_eq!(after, of(rows, [ada, cid]));
}

#[tokio::test]
async fn players_belong_to_one_account_and_realm() {
    let test = TestStore::open().await;
    let bob = test.store.register(new_account("bob")).await.unwrap().row;
    let eve = test.store.register(new_account("eve")).await.unwrap().row;
    let us = test.store.player_in(bob, &realm("us")).await.unwrap();
    let eu = test.store.player_in(bob, &realm("eu")).await.unwrap();
    let eves = test.store.player_in(eve, &realm("eu")).await.unwrap();
    assert_eq!(test.store.player_in(bob, &realm("eu")).await.unwrap(), eu, "made once");
    assert_eq!(test.store.players_of(bob).await.unwrap(), [row_of(bob, "eu", eu), row_of(bob, "us", us)]);

    let unknown = PlayerId([0xee; 16]);
    let mut expected = [row_of(bob, "us", us), row_of(bob, "eu", eu), row_of(eve, "eu", eves)];
    expected.sort_by_key(|row| row.player);
    let owners = async |players: &[PlayerId]| test.store.owners(players, UnixMs(0)).await.unwrap();
    assert_eq!(owners(&[us, eves, unknown, eu, us]).await, of(expected, []));
    assert_eq!(owners(&[]).await, Owners::default());
    // More than one query's worth, and the known one in the last.
    let mut many: Vec<_> = (0..1100_u128).map(|n| PlayerId(n.to_be_bytes())).collect();
    many.push(eu);
    assert_eq!(owners(&many).await, of([row_of(bob, "eu", eu)], []));

    let nobody = AccountRow::from_raw(999);
    assert!(matches!(test.store.player_in(nobody, &realm("eu")).await, Err(StoreError::UnknownAccount)));
}

#[tokio::test]
async fn what_was_acknowledged_is_on_disk() {
    let test = TestStore::open().await;
    let bob = test.store.register(new_account("bob")).await.unwrap();
    let player = test.store.player_in(bob.row, &realm("eu")).await.unwrap();
    test.store.raise_clock_ceiling(77).await.unwrap();
    // The first store stays open, so nothing is checkpointed for the second's sake.
    let after_cut = TestStore::open_in(test.copy_files()).await;
    assert_eq!(after_cut.store.by_login(&bob.login).await.unwrap(), Some(bob.clone()));
    assert_eq!(after_cut.store.player_in(bob.row, &realm("eu")).await.unwrap(), player);
    assert_eq!(after_cut.store.clock_ceiling().await.unwrap(), 77);

    let TestStore { dir, store, process } = test;
    store.close().await;
    assert!(!process.is_cancelled());
    assert!(matches!(store.register(new_account("eve")).await, Err(StoreError::Write(WriteError::Closed))));
    let reopened = TestStore::open_in(dir).await;
    assert_eq!(reopened.store.by_login(&bob.login).await.unwrap(), Some(bob));
}

#[tokio::test]
async fn pages_follow_one_another() {
    let test = TestStore::open().await;
    for n in 0..7 {
        test.store.register(new_account(&format!("user{n}"))).await.unwrap();
    }
    let mut seen = Vec::new();
    for expected in [3, 3, 1, 0] {
        let page = test.store.list(seen.last(), 3).await.unwrap();
        assert_eq!(page.len(), expected);
        seen.extend(page.into_iter().map(|account| account.login));
    }
    let names: Vec<_> = seen.iter().map(LoginName::as_str).collect();
    assert_eq!(names, ["user0", "user1", "user2", "user3", "user4", "user5", "user6"]);
}

#[tokio::test]
async fn state_and_hash_change_and_an_upgrade_never_undoes_a_change() {
    let test = TestStore::open().await;
    let bob = test.store.register(new_account("bob")).await.unwrap();
    let stored = async || test.store.by_public(bob.id).await.unwrap().unwrap();

    test.store.set_state(bob.row, AccountState::Banned).await.unwrap();
    assert_eq!(stored().await.state, AccountState::Banned);

    assert!(test.store.upgrade_phc(bob.row, phc(), other_phc()).await.unwrap());
    assert_eq!(stored().await.phc, other_phc());
    assert!(!test.store.upgrade_phc(bob.row, phc(), phc()).await.unwrap(), "no longer stands there");
    assert_eq!(stored().await.phc, other_phc());
    test.store.set_phc(bob.row, phc()).await.unwrap();
    assert_eq!(stored().await.phc, phc());

    let nobody = AccountRow::from_raw(999);
    let state = test.store.set_state(nobody, AccountState::Active).await;
    assert!(matches!(state, Err(StoreError::UnknownAccount)));
    assert!(matches!(test.store.set_phc(nobody, phc()).await, Err(StoreError::UnknownAccount)));
}

#[tokio::test]
async fn ceiling_and_generations_only_rise() {
    let test = TestStore::open().await;
    assert_eq!(test.store.clock_ceiling().await.unwrap(), 0);
    for (to, stands) in [(5, 5), (3, 5), (9, 9), (i64::MAX as u64, i64::MAX as u64)] {
        assert_eq!(test.store.raise_clock_ceiling(to).await.unwrap(), stands);
        assert_eq!(test.store.clock_ceiling().await.unwrap(), stands);
    }
    assert!(matches!(test.store.raise_clock_ceiling(1 << 63).await, Err(StoreError::Range)));

    let (a, b): (ServerId, ServerId) = ("a".parse().unwrap(), "b".parse().unwrap());
    assert_eq!(test.store.lowest_generations().await.unwrap(), []);
    assert_eq!(test.store.raise_lowest_generation(&b, u32::MAX).await.unwrap(), u32::MAX);
    assert_eq!(test.store.raise_lowest_generation(&a, 2).await.unwrap(), 2);
    assert_eq!(test.store.raise_lowest_generation(&a, 1).await.unwrap(), 2);
    assert_eq!(test.store.lowest_generations().await.unwrap(), [(a, 2), (b, u32::MAX)]);
}
