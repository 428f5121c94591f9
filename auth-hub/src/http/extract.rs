//! Reading requests: bodies into [`Fields`], the bearer token.
//!
//! Knows JSON and headers, no resource. Invariants: a refusal names the member and what it should be, never what it was; a body has no
//! `Debug`; a text is moved out of it, not copied.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};
use shared_msgs::ids::{AccountId, ServerId};
use zeroize::Zeroizing;

use super::BODY_BYTES_MAX;
use super::problem::{Kind, Problem};
use super::serve::Peer;
use super::state::HttpState;

/// Longest region a client may ask for.
const REGION_BYTES_MAX: usize = 64;

/// The members of a JSON object. No body at all is an empty one.
pub(super) struct Fields(Map<String, Value>);

impl FromRequest<HttpState> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &HttpState) -> Result<Self, Problem> {
        let is_json = is_json(&request);
        let body = tokio::time::timeout(state.deadlines().body, Bytes::from_request(request, state)).await;
        let body = body.map_err(|_| Problem::new(Kind::RequestTimedOut))?.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
                Problem::because(Kind::BodyTooLarge, detail)
            } else {
                Problem::because(Kind::MalformedRequest, "the body ended early")
            }
        })?;
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        if !is_json {
            return Err(Problem::new(Kind::UnsupportedMediaType));
        }
        Self::read(&body)
    }
}

fn is_json(request: &Request) -> bool {
    let Some(value) = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

impl Fields {
    /// The members of a body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        // serde's own words may quote the body, and with it a password.
        serde_json::from_slice(body).map(Self).map_err(|err| {
            let detail = format!("not a JSON object, see line {}, column {}", err.line(), err.column());
            Problem::because(Kind::MalformedRequest, detail)
        })
    }

    /// A member that must be there.
    pub(super) fn text(&mut self, name: &'static str) -> Result<String, Problem> {
        self.optional_text(name)?.ok_or_else(|| invalid(name, "is missing"))
    }

    /// A member that may be missing or null.
    pub(super) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                wipe(other);
                Err(invalid(name, "must be a text"))
            }
        }
    }

    /// A member that is `default` when missing or null.
    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> Result<bool, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(invalid(name, "must be true or false")),
        }
    }

    /// Where the player wants to go.
    pub(super) fn wishes(&mut self) -> Result<Wishes, Problem> {
        let server = self.optional_text("server")?.map(|text| text.parse());
        let server = server.transpose().map_err(|_| invalid("server", "is not a server id"))?;
        let region = self.optional_text("region")?.filter(|region| !region.is_empty());
        if region.as_ref().is_some_and(|region| region.len() > REGION_BYTES_MAX) {
            return Err(Problem::because(
                Kind::InvalidRequest,
                format!("`region` has at most {REGION_BYTES_MAX} bytes"),
            ));
        }
        Ok(Wishes { server, region })
    }
}

impl Drop for Fields {
    /// What was not asked for may be a password all the same.
    fn drop(&mut self) {
        std::mem::take(&mut self.0).into_iter().for_each(|(_, value)| wipe(value));
    }
}

fn wipe(value: Value) {
    if let Value::String(text) = value {
        drop(Zeroizing::new(text));
    }
}

fn invalid(name: &'static str, what: &'static str) -> Problem {
    Problem::because(Kind::InvalidRequest, format!("`{name}` {what}"))
}

/// Where a player wants to go.
pub(super) struct Wishes {
    pub(super) server: Option<ServerId>,
    pub(super) region: Option<String>,
}

/// Whom the request's access token names.
pub(super) struct Bearer(pub(super) AccountId);

impl FromRequestParts<HttpState> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::new(Kind::AccessTokenInvalid));
        }
        Ok(Self(state.parts().access.verify(token.trim(), state.unix())?))
    }
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
