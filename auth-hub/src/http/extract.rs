//! Reading requests: the body as it came, the bearer token, who asks.
//!
//! Knows headers, no resource. Invariants: a header that counts stands there once; nothing of a request is repeated in a refusal.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use shared_msgs::clock::UnixMs;
use shared_msgs::ids::AccountId;

use super::presence::Peer;
use super::problem::{Kind, Problem};
use super::state::HttpState;

/// A body that says it is JSON, or none.
pub(super) struct Body(pub(super) Bytes);

impl FromRequest<HttpState> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &HttpState) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        // All of it is here: the edge has waited for it.
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|_| Problem::because(Kind::MalformedRequest, "the body ended early"))?;
        if !body.is_empty() && !is_json {
            return Err(Problem::new(Kind::UnsupportedMediaType));
        }
        Ok(Self(body))
    }
}

/// The text of a header that stands there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = only(headers, header::CONTENT_TYPE).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// What the request's access token says.
pub(super) struct Bearer {
    /// Whom it names.
    pub(super) account: AccountId,
    /// From when on it is worth nothing.
    pub(super) until: UnixMs,
}

impl FromRequestParts<HttpState> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or_else(|| Problem::new(Kind::AccessTokenInvalid))?;
        let (account, until) = state.parts().access.verify_until(token, state.unix())?;
        Ok(Self { account, until })
    }
}

/// What stands behind `Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Where the request comes from.
pub(super) struct FromAddress(pub(super) IpAddr);

impl FromRequestParts<HttpState> for FromAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &HttpState) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>();
        peer.map(|peer| Self(peer.0.client)).ok_or_else(|| Problem::new(Kind::Internal))
    }
}
