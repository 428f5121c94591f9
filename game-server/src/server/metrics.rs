//! `GET /metrics` in Prometheus' text form.
//!
//! Owns names and help texts. Keeps no number: each scrape asks the game server. Knows no player and no token. Invariant: no scrape, however
//! slow, outlives its time or the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use shared_msgs::codes::Code;
use shared_msgs::net::meters::DoorMeters;
use shared_msgs::net::tls::ServerTls;
use shared_msgs::net::{Door, DoorConfig, Listener, TurnedAway, Visitor};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{GameServer, LinkState};

/// The game link's door, and its TLS if it has any.
pub(super) type WatchedDoor = (Arc<Door>, Option<Arc<ServerTls>>);

/// Scrapes at one time.
const CONNECTIONS_MAX: usize = 16;
/// A scrape, from its connection to its last byte.
const SCRAPE_TIME: Duration = Duration::from_secs(10);

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
struct Standing(GameServer);

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let now = self.0.snapshot();
        let gauges = [
            ("players", "Players in game", now.occupancy.players),
            ("held", "Slots held for players who have not come yet", now.occupancy.held),
            ("lost", "Players whose connection broke and who may come back", now.lost),
            ("parked", "Clients that wait for their grants", now.occupancy.parked),
            ("max_players", "Slots in all", now.occupancy.max_players),
            ("link_up", "Whether the hub can be heard", u32::from(now.link == LinkState::Up)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::from(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let waiting = ConstGauge::new(i64::try_from(self.0.messages_waiting()).unwrap_or(i64::MAX));
        let help = "Messages to the hub that are not sent yet";
        waiting.encode(encoder.encode_descriptor("link_waiting", help, None, MetricType::Gauge)?)?;
        let counters = [
            (
                "link_refused_full",
                "Messages not taken because the link's outbox was full",
                self.0.messages_refused(),
            ),
            ("redeemed", "Tokens redeemed", self.0.redeemed()),
            ("resumed", "Players who came back after their connection broke", self.0.resumed()),
            (
                "log_lines_limited",
                "Log lines not written because strangers caused too many",
                shared_msgs::log_limit::dropped(),
            ),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let help = "Clients refused, by code";
        let mut refused = encoder.encode_descriptor("refused", help, None, MetricType::Counter)?;
        for code in Code::ALL {
            let label = [("code", code.as_str())];
            ConstCounter::new(self.0.refused(code)).encode(refused.encode_family(&label)?)?;
        }
        Ok(())
    }
}

/// Where to listen for scrapes: whoever comes is a stranger, so the next one is never kept waiting.
pub(super) fn listener(socket: TcpListener) -> Listener {
    let door = Door::new(DoorConfig {
        name: "metrics",
        connections_max: CONNECTIONS_MAX,
        per_address_max: CONNECTIONS_MAX,
        exempt: Vec::new(),
        handshake_timeout: SCRAPE_TIME,
    });
    Listener { socket, door, tls: None }
}

/// Answers scrapes until it is stopped, one a connection.
pub(super) async fn serve(listener: Listener, game: GameServer, door: WatchedDoor, stop: CancellationToken) {
    let app = Router::new().route("/metrics", get(scrape)).with_state((game, door));
    // Its own: what it waits for at the end is scrapes.
    let scrapes = TaskTracker::new();
    let stopping = stop.clone();
    let answer = move |wire, _, visitor: Visitor| {
        let service = TowerToHyperService::new(app.clone());
        let answered = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(wire), service);
        let stopping = stopping.clone();
        async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                // What went wrong with a scrape, its client knows best.
                answered = timeout(SCRAPE_TIME, answered) => if answered.is_err() {
                    visitor.turned_away(TurnedAway::Silent);
                },
            }
        }
    };
    listener.run(scrapes.clone(), stop, answer).await;
    scrapes.close();
    scrapes.wait().await;
}

async fn scrape(State((game, door)): State<(GameServer, WatchedDoor)>) -> impl IntoResponse {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(DoorMeters::new("game_server_", vec![door])));
    let registry_of_game = registry.sub_registry_with_prefix("game_server");
    registry_of_game.register_collector(Box::new(Standing(game)));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut out, &registry);
    ([(CONTENT_TYPE, TEXT)], out)
}
