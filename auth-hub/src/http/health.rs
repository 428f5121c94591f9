//! `/healthz`, `/readyz`, `/metrics`: for supervisors, load balancers and graphs.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::problem::{Kind, Problem};
use super::state::HttpState;

pub(super) async fn alive() -> impl IntoResponse {
    Json(json!({ "status": "alive" }))
}

pub(super) async fn ready(State(state): State<HttpState>) -> Response {
    let parts = state.parts();
    // Any read will do; this one looks at a single row.
    let store = tokio::time::timeout(state.deadlines().probe, parts.store.clock_ceiling());
    let desk = tokio::time::timeout(state.deadlines().probe, parts.desk.snapshot());
    let (store, desk) = tokio::join!(store, desk);
    let missing: Vec<_> = [
        ("store", !matches!(store, Ok(Ok(_)))),
        ("desk", desk.is_err()),
        ("link", !desk.is_ok_and(|snapshot| snapshot.link_up)),
        ("stopping", parts.stopping.is_cancelled()),
    ]
    .into_iter()
    .filter_map(|(name, is_missing)| is_missing.then_some(name))
    .collect();
    if missing.is_empty() {
        Json(json!({ "status": "ready" })).into_response()
    } else {
        Problem::because(Kind::NotReady, missing.join(", ")).into_response()
    }
}

pub(super) async fn metrics(State(state): State<HttpState>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match state.parts().metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TYPE)], text).into_response(),
        Err(err) => Problem::internal(&err).into_response(),
    }
}
