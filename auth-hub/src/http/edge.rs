//! Around every request: its deadline, its body, its bound, its panic, its numbers.
//!
//! Knows no resource. Invariants: whatever a handler does, the client gets an answer, and a failure is a problem document; a request whose
//! body is still to come takes nothing from others: its connection is a stranger's, and it is not one of the requests that are counted.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{ConnectInfo, FromRequest as _, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use shared_msgs::limited;
use tracing::debug;

use super::BODY_BYTES_MAX;
use super::presence::Peer;
use super::pressure::Held;
use super::problem::{Kind, Problem};
use super::routes;
use super::shed::Class;
use super::state::HttpState;

/// The outermost layer.
pub(super) async fn edge(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let route = routes::label_of(request.uri().path());
    let caching = routes::caching_of(request.uri().path());
    let peer = peer_of(&request).filter(|_| request.body().is_end_stream());
    let _busy = peer.as_ref().map(Peer::begin_request);
    let started = state.mono();
    let answered = tokio::time::timeout(state.deadlines().request, caught(next.run(request))).await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        // What it panicked with may hold anything: the hook has printed it, here it is dropped.
        Ok(Err(_panic)) => {
            limited!(error, target: "http", route, "http.panicked");
            Problem::new(Kind::Internal).into_response()
        }
        Err(_elapsed) => {
            limited!(warn, target: "http", route, "http.deadline");
            Problem::busy().into_response()
        }
    };
    let caching = if response.status().is_success() { caching } else { routes::NO_STORE };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    let status = response.status().as_u16();
    let ms = state.ms_since(started);
    debug!(target: "http", route, status, ms, "http.request");
    state.parts().metrics.request(route, status);
    response
}

/// Around routes that read no body: one is refused, rather than left to whoever reads the connection next.
pub(super) async fn without_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    Problem::because(Kind::InvalidRequest, "a request of this method has no body").into_response()
}

pub(super) fn peer_of(request: &Request) -> Option<Peer> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|peer| peer.0.clone())
}

/// Around the API: the whole body first; then what exceeds the bound is refused at once.
pub(super) async fn bound_requests(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    // A route without a class is not bounded, and does not come here.
    let class = routes::class_of(request.uri().path()).unwrap_or(Class::List);
    let enter = |request: &mut Request| {
        let held = Held::new(state.enter(class)?);
        request.extensions_mut().insert(held.clone());
        Ok(held)
    };
    within(&state, enter, request, next).await
}

/// The same for the admin API, with a bound of its own: operators get in when a crowd fills the other.
pub(super) async fn bound_commands(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let enter = |_: &mut Request| state.commands().try_acquire().map_err(|_| Problem::busy());
    within(&state, enter, request, next).await
}

async fn within<P>(
    state: &HttpState,
    enter: impl FnOnce(&mut Request) -> Result<P, Problem>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return bounded(enter, request, next).await;
    }
    let peer = peer_of(&request);
    match whole(state, request).await {
        Ok(request) => {
            let _busy = peer.as_ref().map(Peer::begin_request);
            bounded(enter, request, next).await
        }
        Err(problem) => {
            if let (Kind::RequestTimedOut, Some(peer)) = (problem.kind, &peer) {
                peer.fell_silent();
            }
            problem.into_response()
        }
    }
}

/// The request with all of its body.
async fn whole(state: &HttpState, request: Request) -> Result<Request, Problem> {
    // Said in front, it is not waited for.
    if request.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let body = tokio::time::timeout(state.deadlines().body, Bytes::from_request(request, state)).await;
    let body = body.map_err(|_| Problem::new(Kind::RequestTimedOut))?.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            too_large()
        } else {
            Problem::because(Kind::MalformedRequest, "the body ended early")
        }
    })?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn too_large() -> Problem {
    Problem::because(Kind::BodyTooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes"))
}

async fn bounded<P>(
    enter: impl FnOnce(&mut Request) -> Result<P, Problem>,
    mut request: Request,
    next: Next,
) -> Response {
    match enter(&mut request) {
        Ok(_permit) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Runs a future; its panic becomes an error.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    std::future::poll_fn(move |cx| {
        // After a panic the future is only dropped; what handlers share recovers from poison.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    })
    .await
}
