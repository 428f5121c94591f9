//! `GET /servers`: the fleet, as clients may see it, and the message of the day.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::state::HttpState;
use crate::fleet::ServerSummary;

#[derive(Serialize)]
pub(super) struct ServersReply {
    servers: Vec<ServerSummary>,
    message: Option<String>,
}

pub(super) async fn list(State(state): State<HttpState>) -> Json<ServersReply> {
    let servers = state.parts().desk.snapshot().await.servers;
    Json(ServersReply { servers, message: state.rules().message.clone() })
}
