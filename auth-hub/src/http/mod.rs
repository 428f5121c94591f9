//! The HTTP edge: accounts, logins and handovers as JSON, and what an operator's probes ask.
//!
//! One file per resource; `edge` is around all of them, `serve` below. Owns status codes, problem documents and every bound
//! of a request; decides nothing about accounts, passwords or places. Invariants: every answer that is not a success is a problem document
//! (RFC 9457) with a stable code; no password, hash, token or row id reaches a log; every request ends within [`REQUEST_DEADLINE`].
//!
//! Log events: `login.verified`, `login.refused`, `login.answered` (target `handover`); `answer.repeated`, `answer.not_kept`, `answers.not_pruned`, `account.registered`, `password.upgraded`,
//! `password.upgrade_failed`, `http.request`, `http.failed`, `http.panicked`, `http.deadline`, `http.serving`, `http.stopped`, `overload.entered`, `overload.left` (target `http`).

mod admin;
mod edge;
mod entry;
mod extract;
mod fields;
mod handover;
mod health;
mod idempotency;
mod login;
mod members;
mod openapi;
mod presence;
mod pressure;
mod problem;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod queue;
mod register;
mod routes;
mod serve;
mod servers;
mod shed;
mod state;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;

pub use idempotency::{AnswerKeys, prune_answers};
pub use openapi::document;
pub use presence::Peer;
pub use pressure::watch_desk;
pub use problem::Kind as ProblemKind;
pub use serve::{HEAD_TIME, serve};
pub use shed::ShedLimits;
pub use state::{Answer, Handover, HttpParts, HttpSettings, HttpState, REQUEST_DEADLINE};

use problem::{Kind, Problem};
use routes::{Audience, Route};

/// Longest request body.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What clients may ask. Serve it with [`serve`], which tells it who is asking.
pub fn router(state: HttpState) -> Router {
    let routes = |route: &Route| matches!(route.audience, Audience::Clients | Audience::Everybody);
    finished(routes_for(&state, routes), state)
}

/// What operators may ask, on a listener that no client reaches.
pub fn operators_router(state: HttpState) -> Router {
    let routes = |route: &Route| matches!(route.audience, Audience::Operators | Audience::Everybody);
    finished(routes_for(&state, routes), state)
}

/// What operators may command, on a listener of its own, with its key.
pub fn admin_router(state: HttpState) -> Router {
    let commands = routes_that(|route| route.audience == Audience::Admin)
        .route_layer(from_fn_with_state(state.clone(), edge::bound_commands));
    let keyed = with_fallbacks(commands).layer(from_fn_with_state(state.clone(), admin::require_key));
    within_the_edge(keyed, state)
}

fn routes_that(has: impl Fn(&Route) -> bool) -> Router<HttpState> {
    let chosen = routes::all().filter(|route| has(route));
    chosen.fold(Router::new(), |router, route| router.route(route.path, route.service()))
}

fn routes_for(state: &HttpState, has: fn(&Route) -> bool) -> Router<HttpState> {
    let bounded = routes_that(|route| has(route) && route.class.is_some());
    // A router without routes takes no layer.
    let bounded = if bounded.has_routes() {
        bounded.route_layer(from_fn_with_state(state.clone(), edge::bound_requests))
    } else {
        bounded
    };
    routes_that(|route| has(route) && route.class.is_none()).merge(bounded)
}

fn finished(routes: Router<HttpState>, state: HttpState) -> Router {
    within_the_edge(with_fallbacks(routes), state)
}

fn with_fallbacks(routes: Router<HttpState>) -> Router<HttpState> {
    routes
        .method_not_allowed_fallback(routes::method_not_allowed)
        .fallback(async || Problem::new(Kind::NotFound))
}

fn within_the_edge(routes: Router<HttpState>, state: HttpState) -> Router {
    routes
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(state.clone(), edge::edge))
        .with_state(state)
}
