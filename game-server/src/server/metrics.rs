//! `GET /metrics` in Prometheus' text form.
//!
//! Owns names and help texts. Keeps no number: each scrape asks the game server. Knows no player and no token.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use shared_msgs::codes::Code;
use shared_msgs::net::Door;
use shared_msgs::net::meters::DoorMeters;
use shared_msgs::net::tls::ServerTls;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{GameServer, LinkState};

/// The game link's door, and its TLS if it has any.
pub(super) type WatchedDoor = (Arc<Door>, Option<Arc<ServerTls>>);

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
struct Standing(GameServer);

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let now = self.0.snapshot();
        let gauges = [
            ("players", "Players in game", now.occupancy.players),
            ("held", "Slots held for players who have not come yet", now.occupancy.held),
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

/// Answers scrapes until it is stopped.
pub(super) async fn serve(
    listener: TcpListener,
    game: GameServer,
    door: WatchedDoor,
    stop: CancellationToken,
) {
    let app = Router::new().route("/metrics", get(scrape)).with_state((game, door));
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(target: "handover", %error, "metrics.failed");
    }
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
