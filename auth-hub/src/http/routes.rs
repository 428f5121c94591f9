//! Every route: its path, its handler, and all that the API's document says of it.
//!
//! Knows the resources by name. Invariant: the router, the labels of metrics and the document are made of this one table.

mod admin;
mod queue;

use axum::http::{HeaderValue, Uri, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};

use super::members::{self, Members};
use super::openapi;
use super::problem::{Kind, Problem};
use super::shed::Class;
use super::state::HttpState;
use super::{edge, handover, health, login, register, servers};
use crate::handover::NoPlace;

/// The method of a route; `Get` answers `HEAD` as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    /// Changes something: whoever wants the head of its answer alone would have taken what the body says, and lost it.
    GetThatActs,
    Post,
    Delete,
}

impl Verb {
    /// As `Allow` says it.
    const fn allows(self) -> &'static str {
        match self {
            Self::Get => "GET,HEAD",
            Self::GetThatActs => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Clients,
    /// On both listeners.
    Everybody,
    /// On the operators' listener only.
    Operators,
    /// On the admin API's listener only, with its key.
    Admin,
}

/// A body that is asked for.
#[derive(Debug)]
pub(super) struct Asks {
    pub(super) members: Members,
    /// Whether a member must be there, and so a body.
    pub(super) needed: bool,
}

/// What a success is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// JSON after the schema of this name.
    Json(&'static str),
    /// A text of this media type.
    Text(&'static str),
    /// No body.
    Nothing,
}

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) verb: Verb,
    handler: fn() -> MethodRouter<HttpState>,
    pub(super) audience: Audience,
    /// What it counts as among the requests that run at one time. Probes do not: a hub that is busy must still be seen.
    pub(super) class: Option<Class>,
    /// Its name in the document, for generated clients.
    pub(super) id: &'static str,
    pub(super) about: &'static str,
    pub(super) details: &'static str,
    /// Whether it wants an access token.
    pub(super) has_bearer: bool,
    /// Whether `Idempotency-Key` is read, by what its handler does through [`super::idempotency::once`].
    pub(super) is_idempotent: bool,
    pub(super) asks: Option<Asks>,
    pub(super) status: u16,
    pub(super) gives: Gives,
    /// What 202 gives, where it may put one into the queue.
    pub(super) queued: Option<&'static str>,
    /// Whether it reads how long to wait.
    pub(super) waits: bool,
    /// The `Cache-Control` of a success. Nothing else is ever kept.
    pub(super) caching: &'static str,
    /// What it is refused for, beside what [`Route::problems`] adds.
    own_problems: &'static [Kind],
}

pub(super) const LOG_IN: &str = "/auth/login";
pub(super) const HAND_OVER: &str = "/handover";

/// Answers hold tokens, and few of them stay true.
pub(super) const NO_STORE: &str = "no-store";
/// The same for everybody, and no older than half a beat of the servers.
const FOR_A_SECOND: &str = "public, max-age=1";

const ON_ALL: &[Kind] = &[Kind::HubBusy, Kind::Internal];
const ON_BODIES: &[Kind] = &[
    Kind::MalformedRequest,
    Kind::InvalidRequest,
    Kind::BodyTooLarge,
    Kind::UnsupportedMediaType,
    Kind::RequestTimedOut,
];
/// A body where none belongs.
const ON_GETS: &[Kind] = &[Kind::InvalidRequest];
const ON_KEYS: &[Kind] = &[Kind::InvalidRequest, Kind::IdempotencyKeyReused, Kind::RequestInProgress];
const ON_HANDOVERS: &[Kind] = &[
    Kind::Banned,
    Kind::Maintenance,
    Kind::ClientTooOld,
    Kind::TooManyAttempts,
    Kind::NoPlace(NoPlace::NoServerOnline),
    Kind::NoPlace(NoPlace::AllServersFull),
    Kind::NoPlace(NoPlace::ServerUnknown),
    Kind::NoPlace(NoPlace::ServerFull),
    Kind::NoPlace(NoPlace::ServerDraining),
    Kind::NoPlace(NoPlace::TimedOut),
    Kind::NoPlace(NoPlace::DuplicateLogin),
    Kind::NoPlace(NoPlace::Kicked),
    Kind::NoPlace(NoPlace::PartyIncomplete),
    Kind::NoPlace(NoPlace::PartyBroken),
    Kind::NoPlace(NoPlace::PartyMismatch),
];
impl Route {
    /// What answers on its path.
    pub(super) fn service(&self) -> MethodRouter<HttpState> {
        match self.verb {
            Verb::Get | Verb::Delete => (self.handler)().route_layer(from_fn(edge::without_body)),
            Verb::GetThatActs => {
                (self.handler)().head(method_not_allowed).route_layer(from_fn(edge::without_body))
            }
            Verb::Post => (self.handler)(),
        }
    }

    /// All that it can be refused for.
    pub(super) fn problems(&self) -> impl Iterator<Item = Kind> {
        let hands_over = self.verb == Verb::Post && self.queued.is_some();
        let lists = [
            (true, self.own_problems),
            (hands_over, ON_HANDOVERS),
            (self.asks.is_some(), ON_BODIES),
            (self.verb != Verb::Post, ON_GETS),
            (self.is_idempotent, ON_KEYS),
            (true, ON_ALL),
        ];
        lists.into_iter().filter(|(applies, _)| *applies).flat_map(|(_, kinds)| kinds.iter().copied())
    }
}

/// All but the admin API.
pub(super) fn clients() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(queue::ROUTES)
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    clients().chain(admin::ROUTES)
}

/// What belongs to neither of the files beside this one.
const ROUTES: &[Route] = &[
    Route {
        path: "/auth/register",
        verb: Verb::Post,
        handler: || post(register::register),
        audience: Audience::Clients,
        class: Some(Class::Registration),
        id: "register",
        about: "Make an account",
        details: "Anybody may, if the operator allows it.",
        has_bearer: false,
        is_idempotent: false,
        asks: Some(Asks { members: members::REGISTER, needed: true }),
        status: 201,
        gives: Gives::Json("RegisterReply"),
        queued: None,
        waits: false,
        caching: NO_STORE,
        own_problems: &[
            Kind::RegistrationClosed,
            Kind::LoginTaken,
            Kind::InvalidLogin,
            Kind::InvalidPassword,
            Kind::InvalidDisplayName,
            Kind::TooManyAttempts,
        ],
    },
    Route {
        path: LOG_IN,
        verb: Verb::Post,
        handler: || post(login::login),
        audience: Audience::Clients,
        class: Some(Class::Login),
        id: "login",
        about: "Log in and, in the same round trip, get a place on a game server",
        details: "May take up to 15 s when game servers do not answer. When the password was right and there is no place, the problem holds \
                  an access token to go on with.",
        has_bearer: false,
        is_idempotent: true,
        asks: Some(Asks { members: members::LOG_IN, needed: true }),
        status: 200,
        gives: Gives::Json("LoginReply"),
        queued: Some("LoginReply"),
        waits: false,
        caching: NO_STORE,
        own_problems: &[Kind::InvalidCredentials],
    },
    Route {
        path: HAND_OVER,
        verb: Verb::Post,
        handler: || post(handover::hand_over),
        audience: Audience::Clients,
        class: Some(Class::Handover),
        id: "handOver",
        about: "Get a new place: to reconnect, to move, or after a refusal that says so",
        details: "An older session of the same account is ended when the new server has said yes.",
        has_bearer: true,
        is_idempotent: true,
        asks: Some(Asks { members: members::HAND_OVER, needed: false }),
        status: 200,
        gives: Gives::Json("HandoverReply"),
        queued: Some("QueueReply"),
        waits: false,
        caching: NO_STORE,
        own_problems: &[Kind::AccessTokenInvalid, Kind::AccessTokenExpired],
    },
    Route {
        path: "/servers",
        verb: Verb::Get,
        handler: || get(servers::list),
        audience: Audience::Clients,
        class: Some(Class::List),
        id: "listServers",
        about: "List the game servers",
        details: "As they last described themselves. `population` is of players in game and slots held for those on their way. The \
                  answer may be kept for a second.",
        has_bearer: false,
        is_idempotent: false,
        asks: None,
        status: 200,
        gives: Gives::Json("ServersReply"),
        queued: None,
        waits: false,
        caching: FOR_A_SECOND,
        own_problems: &[],
    },
    Route {
        path: "/openapi.json",
        verb: Verb::Get,
        handler: || get(openapi::show),
        audience: Audience::Clients,
        class: Some(Class::List),
        id: "describe",
        about: "This document",
        details: "OpenAPI 3.1.",
        has_bearer: false,
        is_idempotent: false,
        asks: None,
        status: 200,
        gives: Gives::Json("Document"),
        queued: None,
        waits: false,
        caching: NO_STORE,
        own_problems: &[],
    },
    Route {
        path: "/healthz",
        verb: Verb::Get,
        handler: || get(health::alive),
        audience: Audience::Everybody,
        class: None,
        id: "isAlive",
        about: "Whether the process answers",
        details: "Asks no other part of the hub.",
        has_bearer: false,
        is_idempotent: false,
        asks: None,
        status: 200,
        gives: Gives::Json("Alive"),
        queued: None,
        waits: false,
        caching: NO_STORE,
        own_problems: &[],
    },
    Route {
        path: "/readyz",
        verb: Verb::Get,
        handler: || get(health::ready),
        audience: Audience::Operators,
        class: None,
        id: "isReady",
        about: "Whether the hub takes logins",
        details: "If not, `detail` names the parts that are missing: `store`, `desk`, `link`, `stopping`.",
        has_bearer: false,
        is_idempotent: false,
        asks: None,
        status: 200,
        gives: Gives::Json("Ready"),
        queued: None,
        waits: false,
        caching: NO_STORE,
        own_problems: &[Kind::NotReady],
    },
    Route {
        path: "/metrics",
        verb: Verb::Get,
        handler: || get(health::metrics),
        audience: Audience::Operators,
        class: None,
        id: "metrics",
        about: "Numbers for graphs",
        details: "OpenMetrics.",
        has_bearer: false,
        is_idempotent: false,
        asks: None,
        status: 200,
        gives: Gives::Text("application/openmetrics-text"),
        queued: None,
        waits: false,
        caching: NO_STORE,
        own_problems: &[],
    },
];

/// What answers a method that the path does not take. The library's own `Allow` would name `HEAD` wherever it names `GET`.
pub(super) async fn method_not_allowed(uri: Uri) -> Response {
    let on_path = all().filter(|route| fits(route.path, uri.path()));
    let allowed: Vec<_> = on_path.map(|route| route.verb.allows()).collect();
    let mut response = Problem::new(Kind::MethodNotAllowed).into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed.join(",")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn at(path: &str) -> Option<&'static Route> {
    all().find(|route| fits(route.path, path))
}

/// Whether a path is of this form: a part in braces stands for any one part.
fn fits(form: &str, path: &str) -> bool {
    let (mut parts, mut forms) = (path.split('/'), form.split('/'));
    loop {
        match (forms.next(), parts.next()) {
            (None, None) => return true,
            (Some(form), Some(part)) if form == part || (form.starts_with('{') && !part.is_empty()) => {}
            _ => return false,
        }
    }
}

/// The metric label of a path: bounded, whatever clients ask for.
pub(super) fn label_of(path: &str) -> &'static str {
    at(path).map_or("other", |route| route.path)
}

/// The `Cache-Control` of a success on this path.
pub(super) fn caching_of(path: &str) -> &'static str {
    at(path).map_or(NO_STORE, |route| route.caching)
}

/// What a request for this path counts as.
pub(super) fn class_of(path: &str) -> Option<Class> {
    at(path).and_then(|route| route.class)
}
