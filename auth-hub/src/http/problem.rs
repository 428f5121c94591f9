//! Problem documents (RFC 9457): the one form of every answer that is not a success.
//!
//! Owns their members; `kind` says which code has which status, title and advice. Knows no request. Invariant: nothing that a client sent, and no secret but the
//! access token that is the client's own, stands in one.

mod kind;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared_msgs::clock::UnixMs;
use shared_msgs::ids::HandoverId;
use shared_msgs::limited;

use crate::accounts::admin::AdminError;
use crate::accounts::{Ban, PoolError, StoreError};
use crate::handover::operations::OperationError;
use crate::handover::{NoPlace, Refused};
use crate::sessions::{AccessError, AccessToken};

pub use kind::Kind;

/// When to come back if nobody knows better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Nobody knows when maintenance ends; this spreads those who wait for it.
const MAINTENANCE_RETRY_AFTER: Duration = Duration::from_mins(1);

/// One problem, on its way to a client.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    handover: Option<HandoverId>,
    access: Option<Arc<AccessToken>>,
    banned_until: Option<UnixMs>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handover_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_expires_in_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    banned_until_ms: Option<u64>,
}

impl Problem {
    pub(super) const fn new(kind: Kind) -> Self {
        Self { kind, detail: None, retry_after: None, handover: None, access: None, banned_until: None }
    }

    /// `detail` is for people, and never repeats what the client sent.
    pub(super) fn because(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(kind) }
    }

    pub(super) fn retry(kind: Kind, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(kind) }
    }

    /// Its owner has shown the password: they may know why, and until when.
    pub(super) fn banned(ban: &Ban) -> Self {
        Self { banned_until: ban.until, ..Self::because(Kind::Banned, ban.reason.clone()) }
    }

    pub(super) fn maintenance(message: &str) -> Self {
        let problem = Self::because(Kind::Maintenance, message.to_owned());
        Self { retry_after: Some(MAINTENANCE_RETRY_AFTER), ..problem }
    }

    pub(super) fn busy() -> Self {
        Self::retry(Kind::HubBusy, RETRY_AFTER)
    }

    /// A fault of our own: the log has it all, the client nothing of it.
    pub(super) fn internal(err: &dyn std::error::Error) -> Self {
        let cause = err.source().map(tracing::field::display);
        limited!(error, target: "http", error = %err, cause, "http.failed");
        Self::new(Kind::Internal)
    }

    /// With words for people.
    pub(super) fn with_detail(self, detail: &'static str) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// With another advice when to come back.
    pub(super) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// The client keeps what it has earned, so that trying again costs no password check.
    pub(super) fn with_access(self, access: Arc<AccessToken>) -> Self {
        Self { access: Some(access), ..self }
    }

    pub(super) fn of_handover(self, handover: HandoverId) -> Self {
        Self { handover: Some(handover), ..self }
    }

    /// What people are told.
    #[cfg(any(test, fuzzing))]
    pub(super) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    pub(super) const fn handover(&self) -> Option<HandoverId> {
        self.handover
    }
}

impl From<NoPlace> for Problem {
    fn from(why: NoPlace) -> Self {
        Self { retry_after: why.retry_after(), ..Self::new(Kind::NoPlace(why)) }
    }
}

impl From<Refused> for Problem {
    fn from(Refused { handover, why }: Refused) -> Self {
        Self { handover: Some(handover), ..Self::from(why) }
    }
}

impl From<StoreError> for Problem {
    fn from(err: StoreError) -> Self {
        match err {
            StoreError::NameTaken => Self::new(Kind::LoginTaken),
            StoreError::Busy => Self::busy(),
            // Each handler looks for its account first; one that goes meanwhile is a fault like the others.
            StoreError::UnknownAccount
            | StoreError::Write(_)
            | StoreError::Range
            | StoreError::Corrupt(_)
            | StoreError::Database(_) => Self::internal(&err),
        }
    }
}

impl From<PoolError> for Problem {
    fn from(err: PoolError) -> Self {
        match err {
            PoolError::Busy { retry_after } => Self::retry(Kind::HubBusy, retry_after),
            PoolError::Closed => Self::busy(),
            PoolError::Hash => Self::internal(&err),
        }
    }
}

impl From<AdminError> for Problem {
    fn from(err: AdminError) -> Self {
        match err {
            AdminError::Store(err) => err.into(),
            AdminError::Pool(err) => err.into(),
        }
    }
}

impl From<OperationError> for Problem {
    fn from(err: OperationError) -> Self {
        match err {
            OperationError::ServerUnknown => Self::new(Kind::NoPlace(NoPlace::ServerUnknown)),
            OperationError::ServerOffline => Self::new(Kind::ServerOffline),
            OperationError::Busy => Self::busy(),
            OperationError::Store => Self::internal(&err),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(err: AccessError) -> Self {
        Self::new(match err {
            AccessError::Invalid => Kind::AccessTokenInvalid,
            AccessError::Expired => Kind::AccessTokenExpired,
        })
    }
}

/// Whole seconds, never too early and never zero.
fn whole_seconds(of: Duration) -> u64 {
    of.as_secs().saturating_add(u64::from(of.subsec_nanos() > 0)).max(1)
}

impl Problem {
    /// As it is sent.
    pub(super) fn document(&self) -> impl Serialize + '_ {
        Document {
            r#type: "about:blank",
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            code: self.kind.code(),
            detail: self.detail.as_deref(),
            retry_after_s: self.retry_after.map(whole_seconds),
            handover_id: self.handover.map(|id| id.to_string()),
            access_token: self.access.as_ref().map(|access| access.expose()),
            access_token_expires_in_s: self.access.as_ref().map(|access| access.life.as_secs()),
            banned_until_ms: self.banned_until.map(|until| until.0),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after_s = self.retry_after.map(whole_seconds);
        let mut response = (self.kind.status(), axum::Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.kind.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
