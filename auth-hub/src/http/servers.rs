//! `GET /servers`: the fleet, as clients may see it.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::state::HttpState;
use crate::fleet::ServerSummary;

#[derive(Serialize)]
pub(super) struct ServersReply {
    servers: Vec<ServerSummary>,
}

pub(super) async fn list(State(state): State<HttpState>) -> Json<ServersReply> {
    Json(ServersReply { servers: state.parts().desk.snapshot().await.servers })
}
