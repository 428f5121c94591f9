//! Problem documents (RFC 9457): the one form of every answer that is not a success.
//!
//! Owns which code has which status, title and advice. Knows no request. Invariant: nothing that a client sent, and no secret but the
//! access token that is the client's own, stands in one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared_msgs::ids::HandoverId;
use shared_msgs::limited;

use crate::accounts::admin::AdminError;
use crate::accounts::{PoolError, StoreError};
use crate::handover::{NoPlace, Refused};
use crate::sessions::{AccessError, AccessToken};

/// When to come back if nobody knows better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What went wrong, by its stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Not JSON, or no object.
    MalformedRequest,
    /// A member is missing or not what it should be.
    InvalidRequest,
    /// The body is too long.
    BodyTooLarge,
    /// The body is not declared to be JSON.
    UnsupportedMediaType,
    /// The body did not come in time.
    RequestTimedOut,
    /// There is no such path.
    NotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// No such account, or not its password: one answer for both.
    InvalidCredentials,
    /// Throttled.
    TooManyAttempts,
    /// The account may not play.
    Banned,
    /// Nobody may register here.
    RegistrationClosed,
    /// Another account has this login name.
    LoginTaken,
    /// Not a login name.
    InvalidLogin,
    /// Not a password that may be set.
    InvalidPassword,
    /// Not a display name.
    InvalidDisplayName,
    /// No access token, or not a genuine one.
    AccessTokenInvalid,
    /// The access token's time is over.
    AccessTokenExpired,
    /// Another request has this idempotency key.
    IdempotencyKeyReused,
    /// The request of this idempotency key has no answer yet.
    RequestInProgress,
    /// Some bound is reached, and nothing was done; or the request took too long.
    HubBusy,
    /// Some part of the hub is not up.
    NotReady,
    /// A fault of the hub's own.
    Internal,
    /// The handover came to nothing.
    NoPlace(NoPlace),
}

impl Kind {
    /// Every one of them.
    pub const ALL: [Self; 35] = [
        Self::MalformedRequest,
        Self::InvalidRequest,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::RequestTimedOut,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::InvalidCredentials,
        Self::TooManyAttempts,
        Self::Banned,
        Self::RegistrationClosed,
        Self::LoginTaken,
        Self::InvalidLogin,
        Self::InvalidPassword,
        Self::InvalidDisplayName,
        Self::AccessTokenInvalid,
        Self::AccessTokenExpired,
        Self::IdempotencyKeyReused,
        Self::RequestInProgress,
        Self::HubBusy,
        Self::NotReady,
        Self::Internal,
        Self::NoPlace(NoPlace::NoServerOnline),
        Self::NoPlace(NoPlace::AllServersFull),
        Self::NoPlace(NoPlace::ServerUnknown),
        Self::NoPlace(NoPlace::ServerFull),
        Self::NoPlace(NoPlace::ServerDraining),
        Self::NoPlace(NoPlace::HubBusy),
        Self::NoPlace(NoPlace::TimedOut),
        Self::NoPlace(NoPlace::TicketUnknown),
        Self::NoPlace(NoPlace::PartyIncomplete),
        Self::NoPlace(NoPlace::PartyBroken),
        Self::NoPlace(NoPlace::PartyMismatch),
        Self::NoPlace(NoPlace::Kicked),
        Self::NoPlace(NoPlace::Banned),
    ];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed-request",
            Self::InvalidRequest => "invalid-request",
            Self::BodyTooLarge => "body-too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::RequestTimedOut => "request-timed-out",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::InvalidCredentials => "invalid-credentials",
            Self::TooManyAttempts => "too-many-attempts",
            Self::Banned => "banned",
            Self::RegistrationClosed => "registration-closed",
            Self::LoginTaken => "login-taken",
            Self::InvalidLogin => "invalid-login",
            Self::InvalidPassword => "invalid-password",
            Self::InvalidDisplayName => "invalid-display-name",
            Self::AccessTokenInvalid => "access-token-invalid",
            Self::AccessTokenExpired => "access-token-expired",
            Self::IdempotencyKeyReused => "idempotency-key-reused",
            Self::RequestInProgress => "request-in-progress",
            Self::HubBusy => NoPlace::HubBusy.code(),
            Self::NotReady => "not-ready",
            Self::Internal => "internal",
            Self::NoPlace(why) => why.code(),
        }
    }

    /// The status it is answered with.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest => StatusCode::BAD_REQUEST,
            Self::InvalidRequest
            | Self::InvalidLogin
            | Self::InvalidPassword
            | Self::InvalidDisplayName
            | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidCredentials | Self::AccessTokenInvalid | Self::AccessTokenExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            Self::Banned | Self::RegistrationClosed => StatusCode::FORBIDDEN,
            Self::LoginTaken | Self::RequestInProgress => StatusCode::CONFLICT,
            Self::HubBusy | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoPlace(why) => match why {
                NoPlace::NoServerOnline | NoPlace::AllServersFull | NoPlace::HubBusy => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                NoPlace::ServerFull
                | NoPlace::ServerDraining
                | NoPlace::PartyIncomplete
                | NoPlace::PartyBroken
                | NoPlace::PartyMismatch
                | NoPlace::Kicked => StatusCode::CONFLICT,
                NoPlace::Banned => StatusCode::FORBIDDEN,
                NoPlace::ServerUnknown | NoPlace::TicketUnknown => StatusCode::NOT_FOUND,
                NoPlace::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            },
        }
    }

    /// For people; the same for every problem of this kind.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The body is not a JSON object",
            Self::InvalidRequest => "The request is not valid",
            Self::BodyTooLarge => "The body is too long",
            Self::UnsupportedMediaType => "The body must be application/json",
            Self::RequestTimedOut => "The body did not arrive in time",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "Not with this method",
            Self::InvalidCredentials => "Login name or password is wrong",
            Self::TooManyAttempts => "Too many attempts",
            Self::Banned | Self::NoPlace(NoPlace::Banned) => "This account may not play",
            Self::RegistrationClosed => "Registration is closed",
            Self::LoginTaken => "The login name is taken",
            Self::InvalidLogin => "Not a valid login name",
            Self::InvalidPassword => "Not a valid password",
            Self::InvalidDisplayName => "Not a valid display name",
            Self::AccessTokenInvalid => "The access token is missing or not genuine",
            Self::AccessTokenExpired => "The access token has expired",
            Self::IdempotencyKeyReused => "The idempotency key was used for another request",
            Self::RequestInProgress => "The first request of this idempotency key is still under way",
            Self::HubBusy | Self::NoPlace(NoPlace::HubBusy) => "The hub is busy",
            Self::NotReady => "The hub is not ready",
            Self::Internal => "Something went wrong in the hub",
            Self::NoPlace(why) => match why {
                NoPlace::NoServerOnline => "No game server is online",
                NoPlace::AllServersFull => "All game servers are full",
                NoPlace::ServerUnknown => "There is no such game server",
                NoPlace::ServerFull => "This game server is full",
                NoPlace::ServerDraining => "This game server takes nobody new",
                NoPlace::HubBusy => "The hub is busy",
                NoPlace::TimedOut => "No game server answered in time",
                NoPlace::TicketUnknown => "There is no such ticket",
                NoPlace::PartyIncomplete => "The party did not come together",
                NoPlace::PartyBroken => "The party broke up",
                NoPlace::PartyMismatch => "This is another party",
                NoPlace::Kicked => "An operator has ended this",
                NoPlace::Banned => "This account may not play",
            },
        }
    }

    /// Whether it says when to come back.
    pub(super) const fn may_retry(self) -> bool {
        match self {
            Self::TooManyAttempts | Self::RequestInProgress | Self::HubBusy => true,
            Self::NoPlace(why) => why.retry_after().is_some(),
            _ => false,
        }
    }

    /// What RFC 9110 wants with a 401.
    pub(super) const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::AccessTokenInvalid => Some("Bearer error=\"invalid_token\""),
            Self::AccessTokenExpired => Some("Bearer error=\"invalid_token\", error_description=\"expired\""),
            Self::InvalidCredentials => Some("Bearer"),
            _ => None,
        }
    }
}

/// One problem, on its way to a client.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    handover: Option<HandoverId>,
    access: Option<Arc<AccessToken>>,
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
}

impl Problem {
    pub(super) const fn new(kind: Kind) -> Self {
        Self { kind, detail: None, retry_after: None, handover: None, access: None }
    }

    /// `detail` is for people, and never repeats what the client sent.
    pub(super) fn because(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(kind) }
    }

    pub(super) fn retry(kind: Kind, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(kind) }
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

    /// The client keeps what it has earned, so that trying again costs no password check.
    pub(super) fn with_access(self, access: Arc<AccessToken>) -> Self {
        Self { access: Some(access), ..self }
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

impl From<Refused> for Problem {
    fn from(Refused { handover, why }: Refused) -> Self {
        Self { retry_after: why.retry_after(), handover: Some(handover), ..Self::new(Kind::NoPlace(why)) }
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
