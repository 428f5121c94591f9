//! The desk's own bounds, with a store that cannot answer while the test does not wait.

use std::net::Ipv4Addr;

use prometheus_client::registry::Registry;
use shared_msgs::clock::{SystemClock, UnixMs};
use shared_msgs::codes::Code;
use shared_msgs::keys::FleetKeys;
use shared_msgs::link::{self, BrokerAddr, LinkConfig};
use shared_msgs::rng::SystemRng;

use super::lookups::find_mover;
use super::*;
use crate::accounts::{AccountRow, Ban, NewAccount};
use crate::bus::HubSession;
use crate::queue::{Class, Line};

/// A desk whose link finds no broker.
async fn desk(dir: &std::path::Path) -> DeskTask {
    let (rng, clock): (Arc<dyn Rng>, Arc<dyn Clock>) =
        (Arc::new(SystemRng::new()), Arc::new(SystemClock::new()));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let path = dir.join("hub.sqlite");
    let store = Store::open(&path, &tasks, &stop, Arc::clone(&rng), Arc::clone(&clock)).await.unwrap();
    let fleet = Arc::new(FleetKeys::generate(&*rng));
    let keys = Arc::new(KeyRing::new(fleet, [], "hub-1".parse().unwrap(), &*rng));
    let nowhere = BrokerAddr { host: Ipv4Addr::LOCALHOST.to_string(), port: 1 };
    let config = LinkConfig::new(vec![nowhere], "hub-1".to_owned(), "hub-1".to_owned(), keys.hub_password());
    let session = HubSession::new(Arc::clone(&keys));
    let (link, events) =
        link::spawn(config, session, Arc::clone(&clock), Arc::clone(&rng), &tasks, stop).unwrap();
    DeskTask::new(DeskParts {
        store,
        keys,
        clock,
        rng,
        meters: Meters::register(&mut Registry::default()),
        servers_max: 4,
        settings: Settings::default(),
        tickets: Vec::new(),
        duplicates: Duplicate::default(),
        stored_ceiling: 0,
        link,
        events,
        heart: Heartbeat::default(),
        tasks,
        revoke: Box::new(|_, _| {}),
    })
    .1
}

fn ask(desk: &mut DeskTask, n: usize) -> (HandoverId, oneshot::Receiver<Result<Answered, Refused>>) {
    ask_as(desk, n, AccountRow::from_raw(i64::try_from(n).unwrap()))
}

fn ask_as(
    desk: &mut DeskTask,
    n: usize,
    account: AccountRow,
) -> (HandoverId, oneshot::Receiver<Result<Answered, Refused>>) {
    let handover = HandoverId((n as u128).to_be_bytes());
    let request = HandoverRequest::anywhere(account, String::new());
    let (answer, answered) = oneshot::channel();
    desk.on_ask(Ask::HandOver(request, handover, answer));
    (handover, answered)
}

async fn register(desk: &DeskTask, login: &str) -> AccountRow {
    let phc = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$tWFcYQmAOQ9hQLGBMXMxDh7V4vBhBd8n9n2eBMd1hZ0";
    let (login, display_name) = (login.parse().unwrap(), login.parse().unwrap());
    let new = NewAccount { login, display_name, phc: phc.parse().unwrap() };
    desk.parts.store.register(new).await.unwrap().row
}

fn ban(until: Option<UnixMs>) -> Ban {
    Ban { until, reason: "x".to_owned(), by: "grace".to_owned(), since: UnixMs(5) }
}

/// What the store said of the next request.
async fn next_of_request(desk: &mut DeskTask) -> LookedUp {
    loop {
        let looked_up = desk.looked_up.recv().await.unwrap();
        if !matches!(looked_up.input, Input::CeilingStored(_)) {
            return looked_up;
        }
    }
}

#[tokio::test]
async fn an_operators_ban_is_seen_at_the_second_look_until_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(dir.path()).await;
    let now = desk.parts.clock.now().unix;
    let hour = std::time::Duration::from_hours(1);
    let over = UnixMs(now.0 - 1);
    let cases = [("ada", None, false), ("bob", Some(now + hour), false), ("cid", Some(over), true)];
    for (n, (login, until, may_play)) in cases.into_iter().enumerate() {
        let account = register(&desk, login).await;
        desk.parts.store.ban(account, ban(until)).await.unwrap();
        let (handover, mut answered) = ask_as(&mut desk, n, account);
        let looked_up = next_of_request(&mut desk).await;
        assert_eq!(matches!(looked_up.input, Input::Ask { .. }), may_play, "{login}");
        if !may_play {
            desk.on_looked_up(looked_up);
            let why = answered.try_recv().unwrap().unwrap_err();
            assert_eq!(why, Refused { handover, why: NoPlace::Banned });
        }
        let mover = find_mover(&desk.parts.store, account, now).await.unwrap();
        assert_eq!(mover.may_play, may_play, "a game server moves {login}");
    }
}

/// It may be of an account that may not play.
#[tokio::test]
async fn a_request_whose_account_the_store_cannot_look_at_is_refused_as_busy() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(dir.path()).await;
    let account = register(&desk, "ada").await;
    desk.parts.store.close().await;
    let (handover, mut answered) = ask_as(&mut desk, 1, account);
    let looked_up = next_of_request(&mut desk).await;
    desk.on_looked_up(looked_up);
    assert_eq!(answered.try_recv().unwrap().unwrap_err(), Refused { handover, why: NoPlace::HubBusy });
    assert!(desk.looking_up.is_empty() && desk.waiting.is_empty());
}

#[tokio::test]
async fn a_request_that_waits_for_the_store_is_ended_with_its_account_and_gets_no_second_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(dir.path()).await;
    desk.feed(Input::CeilingStored(Some(u64::MAX)));
    let ((handover, mut answered), (_, mut other)) = (ask(&mut desk, 1), ask(&mut desk, 2));
    let (to, mut report) = oneshot::channel();
    let account = AccountRow::from_raw(1);
    desk.on_wish(wishes::Wish::End(account, Vec::new(), Code::Kicked, to));
    assert_eq!(report.try_recv().unwrap().unwrap().refused, 1);
    assert_eq!(answered.try_recv().unwrap().unwrap_err(), Refused { handover, why: NoPlace::Kicked });
    // The fence clock's ceiling may come in between.
    let mut players_looked_up = 0;
    while players_looked_up < 2 {
        let looked_up = desk.looked_up.recv().await.unwrap();
        players_looked_up += usize::from(!matches!(looked_up.input, Input::CeilingStored(_)));
        desk.on_looked_up(looked_up);
    }
    let stories = desk.core.explain(account);
    assert_eq!((stories.len(), stories[0].outcome.as_str()), (1, "came to nothing: kicked"));
    // The store has no such account, so it may not play.
    assert_eq!(other.try_recv().unwrap().unwrap_err().why, NoPlace::Banned);
    assert!(desk.looking_up.is_empty() && desk.waiting.is_empty());
}

#[tokio::test]
async fn who_cannot_be_looked_up_is_refused_at_once_and_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(dir.path()).await;
    // Nothing else runs on this thread until we wait: none of them has its answer from the store.
    let mut waiting: Vec<_> = (0..LOOKUPS_MAX).map(|n| ask(&mut desk, n).1).collect();
    assert!(waiting.iter_mut().all(|answered| answered.try_recv().is_err()));
    let (handover, mut answered) = ask(&mut desk, LOOKUPS_MAX);
    assert_eq!(answered.try_recv().unwrap().unwrap_err(), Refused { handover, why: NoPlace::HubBusy });
    assert_eq!(desk.waiting.len(), LOOKUPS_MAX);

    // What the store has said, but the core has not heard, still counts.
    let first = desk.looked_up.recv().await.unwrap();
    assert!(ask(&mut desk, LOOKUPS_MAX).1.try_recv().is_ok());
    desk.on_looked_up(first);
    assert!(ask(&mut desk, LOOKUPS_MAX).1.try_recv().is_err(), "there is room for one");
    assert!(ask(&mut desk, LOOKUPS_MAX + 1).1.try_recv().is_ok(), "and for no more");
}

/// A runtime of several threads runs the newest of a task's tasks first.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_tickets_is_stored_in_the_order_of_the_core() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = desk(dir.path()).await;
    let (ada, bob) = (register(&desk, "ada").await, register(&desk, "bob").await);
    for round in 0..50_u8 {
        let row = |account, n: u8| TicketRow {
            ticket: TicketId([n; 16]),
            account,
            arrived_us: n.into(),
            class: Class::Normal,
            line: Line::Anywhere,
            regions: Vec::new(),
            party: None,
        };
        let [gone, older, newer] = [3, 4, 5].map(|n| 4 * round + n);
        let effects = vec![
            Effect::SaveTicket(row(ada, gone)),
            Effect::DropTickets(vec![TicketId([gone; 16])]),
            Effect::SaveTicket(row(bob, older)),
            Effect::SaveTicket(row(bob, newer)),
        ];
        // On a worker, as the desk's own task is.
        let tasks = desk.parts.tasks.clone();
        let turn = tasks.spawn(async move {
            desk.carry_out(effects);
            for _ in 0..4 {
                desk.looked_up.recv().await.unwrap();
            }
            desk
        });
        desk = turn.await.unwrap();
        let stored: Vec<_> = desk.parts.store.tickets().await.unwrap();
        let stored: Vec<_> = stored.iter().map(|row| (row.account, row.ticket)).collect();
        assert_eq!(stored, [(bob, [newer; 16])], "round {round}");
    }
}
