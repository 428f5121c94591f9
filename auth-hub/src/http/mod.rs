//! The HTTP edge: accounts, logins and handovers as JSON, and what an operator's probes ask.
//!
//! One file per resource; `edge` is around all of them, `serve` below. Owns status codes, problem documents and every bound
//! of a request; decides nothing about accounts, passwords or places. Invariants: every answer that is not a success is a problem document
//! (RFC 9457) with a stable code; no password, hash, token or row id reaches a log; every request ends within [`REQUEST_DEADLINE`].
//!
//! Log events: `login.verified`, `login.refused`, `login.answered` (target `handover`); `answer.repeated`, `answer.not_kept`, `account.registered`, `password.upgraded`,
//! `password.upgrade_failed`, `http.request`, `http.failed`, `http.panicked`, `http.deadline`, `http.serving`, `http.stopped`, `overload.entered`, `overload.left` (target `http`).

mod edge;
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

pub use idempotency::AnswerKeys;
pub use openapi::document;
pub use presence::Peer;
pub use pressure::watch_desk;
pub use problem::Kind as ProblemKind;
pub use serve::{HEAD_TIME, serve};
pub use shed::ShedLimits;
pub use state::{Answer, Handover, HttpParts, HttpSettings, HttpState, REQUEST_DEADLINE};

use problem::{Kind, Problem};
use routes::{Audience, ROUTES};

/// Longest request body.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What clients may ask. Serve it with [`serve`], which tells it who is asking.
pub fn router(state: HttpState) -> Router {
    routes_for(state, |audience| audience != Audience::Operators)
}

/// What operators may ask, on a listener that no client reaches.
pub fn operators_router(state: HttpState) -> Router {
    routes_for(state, |audience| audience != Audience::Clients)
}

fn routes_for(state: HttpState, has: fn(Audience) -> bool) -> Router {
    let routes = |is_bounded: bool| {
        let chosen =
            ROUTES.iter().filter(move |route| has(route.audience) && route.class.is_some() == is_bounded);
        chosen.fold(Router::new(), |router, route| router.route(route.path, route.service()))
    };
    let bounded = routes(true);
    // A router without routes takes no layer.
    let bounded = if bounded.has_routes() {
        bounded.route_layer(from_fn_with_state(state.clone(), edge::bound_requests))
    } else {
        bounded
    };
    routes(false)
        .merge(bounded)
        .method_not_allowed_fallback(async || Problem::new(Kind::MethodNotAllowed))
        .fallback(async || Problem::new(Kind::NotFound))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(state.clone(), edge::edge))
        .with_state(state)
}
