//! A hub, a healthy pair to be kept healthy (a genuine game server and the hub itself), and somebody with a genuine key and no manners.

use std::net::SocketAddr;
use std::time::Duration;

use auth_hub::config::Config;
use hub_tests::hub::TestHub;
use hub_tests::rogue::RogueServer;
use hub_tests::server::Home;
use shared_msgs::ids::ServerId;
use shared_msgs::keys::{Purpose, ServerKey};

use crate::raw::{Connect, DISCONNECT, PINGREQ, PINGRESP, Raw, subscribe};

/// Whose key the bad clients hold.
pub(crate) const MALLORY: &str = "mallory";
/// What mallory may publish on and subscribe to.
pub(crate) const STATUS: &str = "handover/v1/servers/mallory/status";
pub(crate) const EVENTS: &str = "handover/v1/servers/mallory/events";
pub(crate) const INBOX: &str = "handover/v1/servers/mallory/inbox";

/// How far a client has come when it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    Connected,
    Subscribed,
    Disconnected,
}

impl State {
    pub(crate) const ALL: [Self; 4] = [Self::Fresh, Self::Connected, Self::Subscribed, Self::Disconnected];
}

/// The MQTT password of a server, as its operator derives it.
pub(crate) fn password(home: &dyn Home, id: &str) -> String {
    let id: ServerId = id.parse().unwrap();
    let key: ServerKey = home.key_line(&id).unwrap().parse().unwrap();
    key.mqtt_password().to_string()
}

/// A server's own CONNECT.
pub(crate) fn connect(home: &dyn Home, id: &str) -> Connect {
    Connect::new(&format!("gs-{id}"), id, &password(home, id))
}

/// See the module.
pub(crate) struct Rig {
    pub(crate) hub: TestHub,
    /// Mallory's.
    pub(crate) connect: Connect,
    healthy: RogueServer,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let hub = TestHub::start_with(change).await.unwrap();
        let healthy = RogueServer::connect(&hub, &"healthy".parse().unwrap()).await.unwrap();
        let connect = connect(&hub, MALLORY);
        hub.ready().await.unwrap();
        let mut rig = Self { hub, connect, healthy };
        rig.check("at the start").await;
        rig
    }

    pub(crate) fn to(&self) -> SocketAddr {
        self.hub.mqtt_addr()
    }

    /// Mallory, as far as `state`.
    pub(crate) async fn mallory(&self, state: State) -> Raw {
        if state == State::Fresh {
            return Raw::open(self.to()).await;
        }
        let mut raw = Raw::welcome(self.to(), &self.connect).await;
        match state {
            State::Fresh | State::Connected => {}
            State::Subscribed => {
                raw.send(&subscribe(1, &[(INBOX, 1)])).await;
                raw.expect(&[0x90, 3, 0, 1, 1]).await;
            }
            State::Disconnected => raw.send(&DISCONNECT).await,
        }
        raw
    }

    /// The hub still does its work: a status of a boot unheard of arrives, and its probe comes back. Nothing is left of who misbehaved: no
    /// connection, no link of the router. The hub's own link is the one it began with.
    pub(crate) async fn check(&mut self, case: &str) {
        self.check_besides(0, case).await;
    }

    /// As [`Rig::check`], while `others` are still connected.
    pub(crate) async fn check_besides(&mut self, others: u64, case: &str) {
        let settled = async {
            loop {
                round_trip(&mut self.healthy).await.unwrap_or_else(|error| panic!("{case}: {error:#}"));
                let stats = self.hub.broker_stats();
                assert!(stats.router_alive, "{case}");
                // One more that watches the router. Who closed first may have been faster than the edge.
                if (stats.connections, stats.router_links) == (2 + others, 3 + others) {
                    return;
                }
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(20), settled).await;
        assert!(settled.is_ok(), "{case}: never settles, {:?}", self.hub.broker_stats());
    }

    /// The healthy pair alone: the others are still at it.
    pub(crate) async fn pulse(&mut self, case: &str) {
        round_trip(&mut self.healthy).await.unwrap_or_else(|error| panic!("{case}: {error:#}"));
    }

    /// Also by what operators look at. For once per test: it takes a while.
    pub(crate) async fn check_ready(&mut self, case: &str) {
        self.check(case).await;
        self.hub.ready().await.unwrap_or_else(|error| panic!("{case}: {error:#}"));
        let fresh = connect(&self.hub, "newcomer");
        let mut newcomer = Raw::welcome(self.to(), &fresh).await;
        newcomer.send(&PINGREQ).await;
        newcomer.expect(&PINGRESP).await;
        newcomer.send(&DISCONNECT).await;
        assert_eq!(newcomer.rest().await, b"", "{case}");
        self.check(case).await;
    }
}

/// One message to the hub's core and one back.
pub(crate) async fn round_trip(server: &mut RogueServer) -> anyhow::Result<()> {
    server.reborn();
    server.say(Purpose::Status, &server.status(None)).await?;
    // It names the new boot, so it is no earlier beat's.
    server.probe().await.map(drop)
}
