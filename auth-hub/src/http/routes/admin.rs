//! The routes of the admin API. `docs/ADMIN.md` describes what they do; `auth-hub admin` asks them.
//!
//! Invariant: every one of them is behind the admin key, and none changes anything by `GET`.

use axum::routing::{get, post};

use super::{Asks, Audience, Gives, NO_STORE, Route, Verb};
use crate::handover::NoPlace;
use crate::http::admin::{audit, members, players, rules, servers};
use crate::http::members::Members;
use crate::http::problem::Kind;
use crate::http::state::HttpState;

const ON_ADMIN: &[Kind] = &[
    Kind::AdminKeyInvalid,
    Kind::TooManyAttempts,
    Kind::AccountUnknown,
    Kind::NoPlace(NoPlace::ServerUnknown),
    Kind::ServerOffline,
];

const fn route(
    path: &'static str,
    handler: fn() -> axum::routing::MethodRouter<HttpState>,
    id: &'static str,
    about: &'static str,
    asks: Option<Members>,
) -> Route {
    Route {
        path,
        verb: if asks.is_some() { Verb::Post } else { Verb::Get },
        handler,
        audience: Audience::Admin,
        // Its bound is the admin API's own.
        class: None,
        is_idempotent: false,
        id,
        about,
        details: "",
        has_bearer: true,
        asks: match asks {
            Some(members) => Some(Asks { members, needed: true }),
            None => None,
        },
        status: 200,
        gives: Gives::Json("Admin"),
        queued: None,
        waits: false,
        caching: NO_STORE,
        own_problems: ON_ADMIN,
    }
}

pub(super) const ROUTES: &[Route] = &[
    route("/admin/servers", || get(servers::list), "adminServers", "List the game servers", None),
    route(
        "/admin/drain",
        || post(servers::drain),
        "adminDrain",
        "Let a server run empty",
        Some(members::DRAIN),
    ),
    route(
        "/admin/undrain",
        || post(servers::undrain),
        "adminUndrain",
        "Take a drain back",
        Some(members::ON_SERVER),
    ),
    route(
        "/admin/revoke-key",
        || post(servers::revoke_key),
        "adminRevokeKey",
        "Believe a server's old keys no more",
        Some(members::REVOKE),
    ),
    route(
        "/admin/broadcast",
        || post(servers::broadcast),
        "adminBroadcast",
        "Say something to players in game",
        Some(members::BROADCAST),
    ),
    route("/admin/find", || post(players::find), "adminFind", "Look for accounts", Some(members::FIND)),
    route(
        "/admin/where",
        || post(players::whereabouts),
        "adminWhere",
        "Where an account plays",
        Some(members::OF_PLAYER),
    ),
    route(
        "/admin/explain",
        || post(players::explain),
        "adminExplain",
        "An account's last handovers",
        Some(members::OF_PLAYER),
    ),
    route("/admin/kick", || post(players::kick), "adminKick", "End what an account has", Some(members::KICK)),
    route("/admin/ban", || post(players::ban), "adminBan", "Shut an account out", Some(members::BAN)),
    route(
        "/admin/unban",
        || post(players::unban),
        "adminUnban",
        "Let an account in again",
        Some(members::KICK),
    ),
    route("/admin/rules", || get(rules::show), "adminRules", "What holds for everybody", None),
    route(
        "/admin/maintenance",
        || post(rules::maintenance),
        "adminMaintenance",
        "Begin or end maintenance",
        Some(members::MAINTENANCE),
    ),
    route(
        "/admin/min-build",
        || post(rules::least_build),
        "adminMinBuild",
        "Set the least build",
        Some(members::LEAST_BUILD),
    ),
    route(
        "/admin/message",
        || post(rules::message),
        "adminMessage",
        "Set the message of the day",
        Some(members::SAY),
    ),
    route("/admin/audit", || post(audit::list), "adminAudit", "What operators did", Some(members::AUDIT)),
];
