//! Payloads that are not what they seem: altered, repeated, sent elsewhere, out of their time, or of a newer kind.

use hub_tests::client::GameClient;
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::rogue::{self, Heard, RogueHub, RogueServer, within};
use hub_tests::server::{TestServer, fresh_id};
use shared_msgs::codec;
use shared_msgs::keys::Purpose;
use shared_msgs::limits;
use shared_msgs::messages::{Grant, Order, ServerMessage, SkewNotice, Verdict};
use shared_msgs::topics::Topic;

/// Every byte changed, one at a time: all of its bits, its lowest and its highest.
fn altered(genuine: &[u8]) -> Vec<Vec<u8>> {
    let flip = |at: usize, mask: u8| {
        let mut payload = genuine.to_vec();
        payload[at] ^= mask;
        payload
    };
    (0..genuine.len()).flat_map(|at| [0xff, 0x01, 0x80].map(|mask| flip(at, mask))).collect()
}

/// A message of a version to come, one of a kind to come, and one of a kind we know.
fn with_newer(known: &[u8]) -> Vec<u8> {
    let newer_version = [0, 4, limits::MSG_VERSION + 1, 1, 2, 3];
    let newer_kind = [0, 3, limits::MSG_VERSION, 99, 7];
    [newer_version.as_slice(), &newer_kind, known].concat()
}

fn sealed_grant(hub: &mut RogueHub, server: &TestServer, grant: &Grant) -> anyhow::Result<Vec<u8>> {
    let now = hub.now();
    let batch = rogue::batch(server.game().boot(), &[Order::Grant(grant.clone())])?;
    hub.seal(server.id(), now, &batch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_altered_in_any_byte_changes_nothing_at_a_server() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(1).await?;
    let mark = log().mark();
    let (token, grant) = hub.grant(&server, hub.player(), hub.fence(1), limits::TOKEN_LIFE);
    let genuine = sealed_grant(&mut hub, &server, &grant)?;
    let forged = altered(&genuine);
    for payload in &forged {
        hub.deliver(server.id(), payload).await?;
    }
    for len in [1, 31, genuine.len() - 1] {
        hub.deliver(server.id(), &genuine[..len]).await?;
    }
    // What the server receives is in order: with this one it has seen them all.
    hub.deliver(server.id(), &genuine).await?;
    assert_eq!(hub.reply(&server, grant.hash).await?.1, Verdict::Held);
    assert_eq!(server.count(mark, "envelope.refused"), forged.len() + 3);
    assert_eq!(server.count(mark, "grant.received"), 1);
    assert_eq!(server.count(mark, "messages.skipped") + server.count(mark, "clock.skewed"), 0);
    let (_client, outcome) = GameClient::enter(&server.addr(), token.expose()).await?;
    assert_eq!(outcome.code(), "welcome");
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_repeated_redirected_or_stale_changes_nothing_at_a_server() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(4).await?;
    let other = hub.server(4).await?;
    let mark = log().mark();
    let (_, grant) = hub.grant(&server, hub.player(), hub.fence(1), limits::TOKEN_LIFE);
    let genuine = sealed_grant(&mut hub, &server, &grant)?;
    hub.deliver(other.id(), &genuine).await?;
    hub.deliver(server.id(), &genuine).await?;
    hub.deliver(server.id(), &genuine).await?;
    hub.deliver(server.id(), &genuine).await?;
    assert_eq!(hub.reply(&server, grant.hash).await?.1, Verdict::Held);
    // Far from the server's clock either way: refused, and complained of.
    let (_, late) = hub.grant(&server, hub.player(), hub.fence(2), limits::TOKEN_LIFE);
    let (_, early) = hub.grant(&other, hub.player(), hub.fence(3), limits::TOKEN_LIFE);
    let off = limits::CLOCK_SKEW_MAX + std::time::Duration::from_secs(5);
    for (at, to, grant) in [(hub.now() - off, &server, &late), (hub.now() + off, &other, &early)] {
        let batch = rogue::batch(to.game().boot(), &[Order::Grant(grant.clone())])?;
        let payload = hub.seal(to.id(), at, &batch)?;
        hub.deliver(to.id(), &payload).await?;
        let SkewNotice::Clocks { yours, .. } = hub.complaint(to.id()).await?;
        assert_eq!(yours, at);
        // Once seen it is spent.
        hub.deliver(to.id(), &payload).await?;
        let (_, fresh) = hub.grant(to, hub.player(), hub.fence(4), limits::TOKEN_LIFE);
        assert_eq!(hub.granted(to, &fresh).await?.1, Verdict::Held);
        assert_eq!(to.count(mark, "clock.skewed"), 1);
    }
    // The first two of the repeated and the stale one; the redirected and the stale one.
    assert_eq!(server.count(mark, "envelope.refused"), 3);
    assert_eq!(other.count(mark, "envelope.refused"), 2);
    assert_eq!(server.count(mark, "grant.received"), 2);
    assert_eq!(other.count(mark, "grant.received"), 1);
    server.stands(0, 2, 0).await;
    other.stands(0, 1, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_skips_what_is_newer_and_counts_it() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(1).await?;
    let mark = log().mark();
    let (_, grant) = hub.grant(&server, hub.player(), hub.fence(1), limits::TOKEN_LIFE);
    let known = rogue::batch(server.game().boot(), &[Order::Grant(grant.clone())])?;
    let now = hub.now();
    let payload = hub.seal(server.id(), now, &with_newer(&known))?;
    hub.deliver(server.id(), &payload).await?;
    assert_eq!(hub.reply(&server, grant.hash).await?.1, Verdict::Held);
    let skipped = server.saw(mark, "messages.skipped").await;
    assert_eq!((skipped.field("unknown"), skipped.field("malformed")), ("2", "0"));
    // An order for another boot opens all the same, and is ignored.
    let boot = shared_msgs::ids::BootId { random: 0, ..server.game().boot() };
    let (_, other) = hub.grant(&server, hub.player(), hub.fence(2), limits::TOKEN_LIFE);
    let payload = hub.seal(server.id(), now, &rogue::batch(boot, &[Order::Grant(other)])?)?;
    hub.deliver(server.id(), &payload).await?;
    server.saw(mark, "order.ignored").await;
    assert_eq!(server.count(mark, "grant.received"), 1);
    server.stands(0, 1, 0).await;
    Ok(())
}

/// A hub that hears its broker: what is published before is acknowledged and lost, and a rogue says everything once.
async fn listening_hub() -> anyhow::Result<TestHub> {
    let mark = log().mark();
    let hub = TestHub::start().await?;
    let listening = log().wait(mark, "mqtt.listening", &[("public", &hub.mqtt_addr().to_string())]).await;
    log().wait(mark, "link.up", &[("broker", listening.field("private"))]).await;
    Ok(hub)
}

/// One of the hub's counters.
async fn counter(hub: &TestHub, name: &str) -> anyhow::Result<u64> {
    hub.metric(&format!("{name}_total")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_altered_in_any_byte_changes_nothing_at_the_hub() -> anyhow::Result<()> {
    let hub = listening_hub().await?;
    let mut server = RogueServer::connect(&hub, &fresh_id("rogue")).await?;
    let mark = log().mark();
    let name = server.id().to_string();
    let id = [("server_id", name.as_str())];
    let topic = server.topic(Purpose::Status);
    let now = server.now();
    let genuine = server.seal(Purpose::Status, now, &codec::encode(&server.status(None))?)?;
    let forged = altered(&genuine);
    for payload in &forged {
        server.publish(&topic, payload).await?;
    }
    server.publish(&topic, &genuine).await?;
    let probe = server.probe().await?;
    assert_eq!(log().since(mark, "payload.refused", &id).len(), forged.len());
    assert_eq!(log().since(mark, "server.heard", &id).len(), 1);
    assert_eq!(counter(&hub, "hub_payloads_refused").await?, forged.len() as u64);
    server.say(Purpose::Status, &server.status(Some(probe))).await?;
    log().wait(mark, "server.eligible", &id).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_repeated_redirected_or_stale_changes_nothing_at_the_hub() -> anyhow::Result<()> {
    let hub = listening_hub().await?;
    let mut server = RogueServer::connect(&hub, &fresh_id("rogue")).await?;
    let other = RogueServer::connect(&hub, &fresh_id("rogue")).await?;
    let mark = log().mark();
    let (name, others) = (server.id().to_string(), other.id().to_string());
    let refused = |of: &str| log().since(mark, "payload.refused", &[("server_id", of)]).len();
    let now = server.now();
    let genuine = server.seal(Purpose::Status, now, &codec::encode(&server.status(None))?)?;
    // Neither is a status an event, nor one server's another's.
    server.publish(&Topic::Events(server.id().clone()), &genuine).await?;
    other.publish(&other.topic(Purpose::Status), &genuine).await?;
    log().wait(mark, "payload.refused", &[("server_id", &others)]).await;
    let topic = server.topic(Purpose::Status);
    for _ in 0..3 {
        server.publish(&topic, &genuine).await?;
    }
    server.probe().await?;
    // Far from the hub's clock: it says so, in an envelope that we can open.
    let off = limits::CLOCK_SKEW_MAX + std::time::Duration::from_secs(5);
    let at = server.now() - off;
    let stale = server.seal(Purpose::Status, at, &codec::encode(&server.status(None))?)?;
    server.publish(&topic, &stale).await?;
    let complaint = async {
        loop {
            let complaint = server.hear().await?.into_iter().find_map(|heard| match heard {
                Heard::Complaint(SkewNotice::Clocks { yours, .. }) => Some(yours),
                Heard::Order(..) => None,
            });
            if let Some(yours) = complaint {
                return anyhow::Ok(yours);
            }
        }
    };
    let yours = within("the complaint", complaint).await??;
    assert_eq!(yours, at);
    assert_eq!(log().since(mark, "clock.skewed", &[("server_id", &name)]).len(), 1);
    assert_eq!(refused(&name), 3, "as an event, and twice too often");
    assert_eq!(refused(&others), 1);
    assert!(log().since(mark, "server.heard", &[("server_id", &others)]).is_empty());
    assert_eq!(log().since(mark, "server.heard", &[("server_id", &name)]).len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_altered_in_any_byte_confirms_nothing_at_the_hub() -> anyhow::Result<()> {
    let hub = listening_hub().await?;
    let mut server = RogueServer::connect(&hub, &fresh_id("rogue")).await?;
    let mark = log().mark();
    let name = server.id().to_string();
    server.say(Purpose::Status, &server.status(None)).await?;
    let probe = server.probe().await?;
    server.say(Purpose::Status, &server.status(Some(probe))).await?;
    log().wait(mark, "server.eligible", &[("server_id", &name)]).await;
    hub.register("ada").await?;
    let answer = async {
        let grant = server.grant().await?;
        let topic = server.topic(Purpose::Events);
        let now = server.now();
        let genuine = server.seal(Purpose::Events, now, &codec::encode(&server.yes(&grant))?)?;
        let forged = altered(&genuine);
        for payload in &forged {
            server.publish(&topic, payload).await?;
        }
        let id = [("server_id", name.as_str())];
        log().wait_count(mark, forged.len(), "payload.refused", &id).await;
        assert!(log().since(mark, "grant.accepted", &id).is_empty());
        server.publish(&topic, &genuine).await?;
        log().wait(mark, "grant.accepted", &id).await;
        server.publish(&topic, &genuine).await?;
        log().wait_count(mark, forged.len() + 1, "payload.refused", &id).await;
        anyhow::Ok(grant)
    };
    let (ticket, grant) = tokio::join!(hub.ticket("ada", None), answer);
    assert_eq!(ticket?.handover_id, grant?.handover.to_string());
    assert_eq!(log().since(mark, "grant.accepted", &[("server_id", &name)]).len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_skips_what_is_newer_and_counts_it() -> anyhow::Result<()> {
    let hub = listening_hub().await?;
    let mut server = RogueServer::connect(&hub, &fresh_id("rogue")).await?;
    let mark = log().mark();
    let name = server.id().to_string();
    let now = server.now();
    let batch = with_newer(&codec::encode(&server.status(None))?);
    let payload = server.seal(Purpose::Status, now, &batch)?;
    server.publish(&server.topic(Purpose::Status), &payload).await?;
    let probe = server.probe().await?;
    assert_eq!(counter(&hub, "hub_messages_unknown").await?, 2);
    assert_eq!(counter(&hub, "hub_payloads_refused").await?, 0);
    // A message under another purpose's key is refused, whatever it says.
    let ServerMessage::Status(mut draining) = server.status(None) else { panic!("a status") };
    draining.state = shared_msgs::messages::ServerState::Draining;
    server.say(Purpose::Events, &ServerMessage::Status(draining)).await?;
    server.say(Purpose::Status, &server.status(Some(probe))).await?;
    log().wait(mark, "server.eligible", &[("server_id", &name)]).await;
    assert_eq!(counter(&hub, "hub_payloads_refused").await?, 1);
    let (_, servers) = hub.client().get("/servers").await?;
    assert!(servers.contains(&name) && servers.contains("online"), "{servers}");
    Ok(())
}
