//! The broker over real sockets: a good client (rumqttc) and a raw one that may send anything.

mod connect;
mod hostile;
mod limits;
pub(crate) mod raw;
mod traffic;
mod wills;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, Publish, QoS, SubscribeReasonCode,
};
use shared_msgs::ids::ServerId;
use shared_msgs::topics::{EVENTS_FILTER, STATUS_FILTER};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Authenticator, Broker, BrokerConfig, BrokerHandle, Denied, Principal};

pub(super) const HUB: &str = "hub-1";

/// Any wait that is over sooner when all is well.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("took too long")
}

/// Lets in `hub-1`, and every server by the password `pw-{id}` but `revoked`. Never looks at client ids: binding is the
/// edge's matter.
struct TestAuthenticator;

impl Authenticator for TestAuthenticator {
    fn authenticate(&self, _client_id: &str, user: &str, password: &[u8]) -> Result<Principal, Denied> {
        if password != format!("pw-{user}").as_bytes() {
            return Err(Denied::BadCredentials);
        }
        match user {
            HUB => Ok(Principal::Hub(HUB.parse().unwrap())),
            "revoked" => Err(Denied::NotAuthorized),
            // A sloppy authenticator: whoever says so is alpha.
            "alias" => Ok(Principal::Server(server("alpha"))),
            id => id.parse().map(Principal::Server).map_err(|_| Denied::BadCredentials),
        }
    }
}

pub(super) fn server(id: &str) -> ServerId {
    id.parse().unwrap()
}

pub(super) struct TestBroker {
    pub(super) public: SocketAddr,
    pub(super) private: SocketAddr,
    pub(super) handle: BrokerHandle,
    pub(super) tasks: TaskTracker,
    pub(super) soft: CancellationToken,
}

impl TestBroker {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut config = BrokerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            connections_max: 64,
            servers_max: 8,
            ..BrokerConfig::default()
        };
        change(&mut config);
        let broker = Broker::bind(config, Arc::new(TestAuthenticator)).await.unwrap();
        let (tasks, soft) = (TaskTracker::new(), CancellationToken::new());
        let (public, private, handle) = (broker.public_addr(), broker.private_addr(), broker.handle());
        broker.run(&tasks, soft.clone());
        Self { public, private, handle, tasks, soft }
    }

    pub(super) async fn hub(&self) -> Client {
        let mut hub = Client::connect(self.private, HUB, HUB, None).await;
        hub.subscribe(STATUS_FILTER, QoS::AtLeastOnce).await;
        hub.subscribe(EVENTS_FILTER, QoS::AtLeastOnce).await;
        hub
    }

    pub(super) async fn server(&self, id: &str) -> Client {
        self.server_with_will(id, None).await
    }

    pub(super) async fn server_with_will(&self, id: &str, will: Option<&str>) -> Client {
        let will = will.map(|will| LastWill::new(status(id), will, QoS::AtLeastOnce, false));
        let mut server = Client::connect(self.public, &format!("gs-{id}"), id, will).await;
        server.subscribe(&inbox(id), QoS::AtLeastOnce).await;
        server
    }

    /// A fresh pair still passes messages both ways.
    pub(super) async fn assert_alive(&self) {
        let mut server = self.server("healthy").await;
        let mut hub = Client::connect(self.private, HUB, HUB, None).await;
        hub.subscribe(EVENTS_FILTER, QoS::AtLeastOnce).await;
        server.publish(&events("healthy"), QoS::AtLeastOnce, b"up").await;
        assert_eq!(hub.message_on(&events("healthy")).await, b"up");
        hub.publish(&inbox("healthy"), QoS::AtLeastOnce, b"down").await;
        assert_eq!(server.message_on(&inbox("healthy")).await, b"down");
        assert!(self.handle.stats().router_alive);
    }

    pub(super) async fn stop(self) {
        self.soft.cancel();
        self.tasks.close();
        within(self.tasks.wait()).await;
    }
}

pub(super) fn status(id: &str) -> String {
    format!("handover/v1/servers/{id}/status")
}

pub(super) fn events(id: &str) -> String {
    format!("handover/v1/servers/{id}/events")
}

pub(super) fn inbox(id: &str) -> String {
    format!("handover/v1/servers/{id}/inbox")
}

/// A well-behaved client.
pub(super) struct Client {
    requests: AsyncClient,
    events: EventLoop,
    early: std::collections::VecDeque<Publish>,
}

impl Client {
    pub(super) async fn connect(to: SocketAddr, client_id: &str, user: &str, will: Option<LastWill>) -> Self {
        let mut options = MqttOptions::new(client_id, to.ip().to_string(), to.port());
        options.set_keep_alive(Duration::from_secs(30)).set_credentials(user, format!("pw-{user}"));
        options.set_max_packet_size(1 << 20, 1 << 20);
        if let Some(will) = will {
            options.set_last_will(will);
        }
        let (requests, events) = AsyncClient::new(options, 1024);
        let mut client = Self { requests, events, early: std::collections::VecDeque::new() };
        client.until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await;
        client
    }

    /// Polls until `wanted`; messages that come meanwhile are kept.
    async fn until<T>(&mut self, mut wanted: impl FnMut(&Packet) -> Option<T>) -> T {
        loop {
            let Event::Incoming(packet) = within(self.events.poll()).await.unwrap() else { continue };
            if let Packet::Publish(publish) = &packet {
                self.early.push_back(publish.clone());
            }
            if let Some(found) = wanted(&packet) {
                return found;
            }
        }
    }

    pub(super) async fn subscribe(&mut self, filter: &str, qos: QoS) {
        let granted = self.try_subscribe(filter, qos).await;
        assert_eq!(granted, SubscribeReasonCode::Success(qos), "{filter}");
    }

    pub(super) async fn try_subscribe(&mut self, filter: &str, qos: QoS) -> SubscribeReasonCode {
        self.requests.try_subscribe(filter, qos).unwrap();
        self.until(|packet| if let Packet::SubAck(ack) = packet { Some(ack.return_codes[0]) } else { None })
            .await
    }

    /// Publishes, and waits for the acknowledgement if there will be one.
    pub(super) async fn publish(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        self.requests.try_publish(topic, qos, false, payload).unwrap();
        if qos == QoS::AtLeastOnce {
            self.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
        }
    }

    /// Queues a message; a later wait sends it.
    pub(super) fn post(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        self.requests.try_publish(topic, qos, false, payload).unwrap();
    }

    /// Waits for this many acknowledgements.
    pub(super) async fn acknowledged(&mut self, mut messages: usize) {
        while messages > 0 {
            self.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
            messages -= 1;
        }
    }

    pub(super) async fn message(&mut self) -> (String, Vec<u8>) {
        while self.early.is_empty() {
            self.until(|packet| matches!(packet, Packet::Publish(_)).then_some(())).await;
        }
        let publish = self.early.pop_front().unwrap();
        (publish.topic, publish.payload.to_vec())
    }

    /// The next message, which must be on `topic`.
    pub(super) async fn message_on(&mut self, topic: &str) -> Vec<u8> {
        let (on, payload) = self.message().await;
        assert_eq!(on, topic);
        payload
    }

    /// Says DISCONNECT and waits for the end.
    pub(super) async fn disconnect(mut self) {
        self.requests.try_disconnect().unwrap();
        self.closed().await;
    }

    pub(super) async fn closed(&mut self) {
        while within(self.events.poll()).await.is_ok() {}
    }
}
