//! Which code has which status, title and advice.
//!
//! Invariant: every match names every kind, so that a new one cannot be forgotten.

use axum::http::StatusCode;

use crate::handover::NoPlace;

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
    /// Nobody new gets in for now.
    Maintenance,
    /// The client is older than an operator allows.
    ClientTooOld,
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
    /// Not the admin key.
    AdminKeyInvalid,
    /// An operator named an account that there is not.
    AccountUnknown,
    /// An operator named a game server that is not there now.
    ServerOffline,
    /// A fault of the hub's own.
    Internal,
    /// The handover came to nothing.
    NoPlace(NoPlace),
}

impl Kind {
    /// Every one of them.
    pub const ALL: [Self; 41] = [
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
        Self::Maintenance,
        Self::ClientTooOld,
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
        Self::AdminKeyInvalid,
        Self::AccountUnknown,
        Self::ServerOffline,
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
        Self::NoPlace(NoPlace::DuplicateLogin),
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
            Self::Maintenance => "maintenance",
            Self::ClientTooOld => "client-too-old",
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
            Self::AdminKeyInvalid => "admin-key-invalid",
            Self::AccountUnknown => "account-unknown",
            Self::ServerOffline => "server-offline",
            Self::Internal => "internal",
            Self::NoPlace(why) => why.code(),
        }
    }

    /// Whether players' clients can meet it; the others are for operators.
    pub const fn is_for_clients(self) -> bool {
        !matches!(self, Self::NotReady | Self::AdminKeyInvalid | Self::AccountUnknown | Self::ServerOffline)
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
            Self::NotFound | Self::AccountUnknown => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidCredentials
            | Self::AccessTokenInvalid
            | Self::AccessTokenExpired
            | Self::AdminKeyInvalid => StatusCode::UNAUTHORIZED,
            Self::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            // Not 426: that asks for another protocol, and would have to name it.
            Self::Banned | Self::ClientTooOld | Self::RegistrationClosed => StatusCode::FORBIDDEN,
            Self::LoginTaken | Self::ServerOffline | Self::RequestInProgress => StatusCode::CONFLICT,
            Self::HubBusy | Self::NotReady | Self::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
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
                | NoPlace::Kicked
                | NoPlace::DuplicateLogin => StatusCode::CONFLICT,
                NoPlace::Banned => StatusCode::FORBIDDEN,
                NoPlace::ServerUnknown | NoPlace::TicketUnknown => StatusCode::NOT_FOUND,
                NoPlace::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            },
        }
    }

    /// For people; the same for every problem of this kind.
    pub(in crate::http) const fn title(self) -> &'static str {
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
            Self::Banned => "This account may not play",
            Self::Maintenance => "The game is under maintenance",
            Self::ClientTooOld => "This client is too old",
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
            Self::AdminKeyInvalid => "The admin key is missing or wrong",
            Self::AccountUnknown => "There is no such account",
            Self::ServerOffline => "This game server is not online",
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
                NoPlace::DuplicateLogin => "This account is in game already",
            },
        }
    }

    /// Whether it says when to come back.
    pub(in crate::http) const fn may_retry(self) -> bool {
        match self {
            Self::TooManyAttempts | Self::RequestInProgress | Self::HubBusy | Self::Maintenance => true,
            Self::NoPlace(why) => why.retry_after().is_some(),
            _ => false,
        }
    }

    /// What RFC 9110 wants with a 401.
    pub(in crate::http) const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::AccessTokenInvalid => Some("Bearer error=\"invalid_token\""),
            Self::AccessTokenExpired => Some("Bearer error=\"invalid_token\", error_description=\"expired\""),
            Self::InvalidCredentials | Self::AdminKeyInvalid => Some("Bearer"),
            _ => None,
        }
    }
}
