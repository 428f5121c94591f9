//! What a session that was overtaken can still do to its player's record: nothing.

use std::sync::Arc;
use std::time::Duration;

use hub_tests::client::{ClientError, GameClient};
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::proxy::Way;
use hub_tests::saving::{Mine, Overtaken, Records};
use hub_tests::server::TestServer;
use shared_msgs::ids::{Fence, PlayerId};
use shared_msgs::limits;

use crate::sessions::enter;

/// Two servers of one realm, and the records they share.
struct Realm {
    hub: TestHub,
    records: Arc<Records>,
    servers: [TestServer; 2],
    worlds: [Arc<Mine>; 2],
}

impl Realm {
    async fn start() -> anyhow::Result<Self> {
        let hub = TestHub::start().await?;
        let records = Arc::new(Records::default());
        let worlds = [Mine::new(Arc::clone(&records)), Mine::new(Arc::clone(&records))];
        let start = async |world: &Arc<Mine>| {
            TestServer::builder(&hub).world(Arc::<Mine>::clone(world)).start().await
        };
        let servers = [start(&worlds[0]).await?, start(&worlds[1]).await?];
        hub.register("ada").await?;
        Ok(Self { hub, records, servers, worlds })
    }

    async fn enter(&self, at: usize) -> anyhow::Result<GameClient> {
        enter(&self.hub.ticket("ada", Some(self.servers[at].id())).await?).await
    }

    /// Of the one player there is.
    fn gold(&self) -> u64 {
        self.records.all()[0].1.gold
    }
}

async fn says(client: &mut GameClient, words: &[&str]) -> Result<String, ClientError> {
    let mut answer = String::new();
    for word in words {
        answer = String::from_utf8_lossy(&client.ask(word.as_bytes()).await?).into_owned();
    }
    Ok(answer)
}

#[test]
fn a_record_belongs_to_the_newest_session_that_loaded_it() {
    let (records, ada) = (Records::default(), PlayerId([1; 16]));
    let [older, newer] = [1, 2].map(|hlc| Fence { hlc, hub: 0 });
    assert_eq!(records.load(ada, older).map(|record| record.gold), Ok(0));
    assert_eq!(records.save(ada, older, 5), Ok(()));
    // It is loading that shuts the older one out, not the first save.
    assert_eq!(records.load(ada, newer).map(|record| record.gold), Ok(5));
    let overtaken = Overtaken { ours: older, theirs: newer };
    assert_eq!(records.save(ada, older, 9), Err(overtaken));
    assert_eq!(records.load(ada, older), Err(overtaken));
    assert_eq!(records.save(ada, newer, 6), Ok(()));
    assert_eq!(records.load(ada, newer).map(|record| record.gold), Ok(6), "it may load again");
}

/// A move: the older session's save comes before the newer one loads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_who_moves_takes_everything_along() -> anyhow::Result<()> {
    let realm = Realm::start().await?;
    let mut older = realm.enter(0).await?;
    assert_eq!(says(&mut older, &["dig", "dig"]).await?, "2");
    let mut newer = realm.enter(1).await?;
    assert_eq!(older.ended().await?.code(), "superseded");
    assert_eq!(says(&mut newer, &["look"]).await?, "2");
    assert_eq!(realm.worlds[0].last_words(), [Ok(())]);
    Ok(())
}

/// The older server neither hears the hub nor is heard, and plays on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_behind_a_partition_plays_on_and_saves_nothing_over_the_newer_one() -> anyhow::Result<()> {
    let realm = Realm::start().await?;
    let [a, b] = &realm.servers;
    let mut older = realm.enter(0).await?;
    assert_eq!(says(&mut older, &["dig", "dig", "save", "dig"]).await?, "3");
    let mark = log().mark();
    a.proxy().hold(Way::Up);
    a.proxy().hold(Way::Down);
    // Nobody can say that the older session is over. The login waits for it no longer than the lease of its server.
    let bound = limits::LEASE + limits::STATUS_BEAT + Duration::from_secs(3);
    let mut newer = tokio::time::timeout(bound, realm.enter(1)).await??;
    assert_eq!(a.count(mark, "end.received"), 0, "it was told");
    assert_eq!(says(&mut newer, &["look"]).await?, "2", "as it was last saved");
    // Both play; only one of them for something that lasts.
    assert_eq!(says(&mut older, &["dig", "dig"]).await?, "5");
    assert_eq!(says(&mut newer, &["dig", "dig", "dig", "dig", "dig"]).await?, "7");
    assert_eq!(says(&mut older, &["save"]).await?, "overtaken");
    assert_eq!(says(&mut newer, &["save"]).await?, "7");
    assert_eq!(realm.gold(), 7);

    a.proxy().release(Way::Up);
    a.proxy().release(Way::Down);
    assert_eq!(older.ended().await?.code(), "superseded");
    a.stands(0, 0, 0).await;
    b.stands(1, 0, 0).await;
    let [Err(Overtaken { ours, theirs })] = realm.worlds[0].last_words()[..] else {
        panic!("{:?}", realm.worlds[0].last_words())
    };
    assert!(ours < theirs, "the higher fence won");
    assert_eq!(realm.gold(), 7, "its last words changed the record");
    assert_eq!(says(&mut newer, &["dig", "save"]).await?, "8", "who was there is still there");
    Ok(())
}

/// A process that is gone holds nobody up, whatever it has not said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_server_costs_what_was_not_saved_and_no_wait_beyond_its_lease() -> anyhow::Result<()> {
    let realm = Realm::start().await?;
    let [a, b] = &realm.servers;
    let mut older = realm.enter(0).await?;
    assert_eq!(says(&mut older, &["dig", "save", "dig"]).await?, "2");
    let mark = log().mark();
    a.isolate();
    a.saw(mark, "server.suspect").await;
    let bound = limits::LEASE + limits::STATUS_BEAT + Duration::from_secs(3);
    let mut newer = tokio::time::timeout(bound, realm.enter(1)).await??;
    assert_eq!(says(&mut newer, &["dig", "save"]).await?, "2");
    b.stands(1, 0, 0).await;
    Ok(())
}

/// A broken connection is no end: nothing is loaded again, so nothing is lost that was not saved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_still_carries_what_was_not_saved() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let records = Arc::new(Records::default());
    let world = Mine::new(Arc::clone(&records));
    let server = TestServer::builder(&hub)
        .world(Arc::<Mine>::clone(&world))
        .reconnect_grace_ms(60_000)
        .start()
        .await?;
    hub.register("ada").await?;
    let ticket = hub.ticket("ada", None).await?;
    let mut client = enter(&ticket).await?;
    assert_eq!(says(&mut client, &["dig", "dig"]).await?, "2");
    let credential = client.way_back().map(|(credential, _)| credential.to_owned()).unwrap();
    let mark = log().mark();
    drop(client);
    server.saw(mark, "session.lost").await;
    let (mut back, outcome) = GameClient::come_back(ticket.tcp()?, &credential).await?;
    assert_eq!(outcome.code(), "welcome");
    assert_eq!(says(&mut back, &["dig", "save"]).await?, "3");
    assert!(world.last_words().is_empty());
    Ok(())
}
