//! `GET /metrics` in Prometheus' text form.
//!
//! Owns names and help texts. Keeps no number: each scrape asks the game server. Knows no player and no token.

use std::fmt;

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
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{GameServer, LinkState};

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
        let redeemed = ConstCounter::new(self.0.redeemed());
        let help = "Tokens redeemed";
        redeemed.encode(encoder.encode_descriptor("redeemed", help, None, MetricType::Counter)?)?;
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
pub(super) async fn serve(listener: TcpListener, game: GameServer, stop: CancellationToken) {
    let app = Router::new().route("/metrics", get(scrape)).with_state(game);
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(target: "handover", %error, "metrics.failed");
    }
}

async fn scrape(State(game): State<GameServer>) -> impl IntoResponse {
    let mut registry = Registry::with_prefix("game_server");
    registry.register_collector(Box::new(Standing(game)));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut out, &registry);
    ([(CONTENT_TYPE, TEXT)], out)
}
