//! The routes of tickets.

use axum::routing::{delete, get};

use super::{Audience, Gives, NO_STORE, Route, Verb};
use crate::handover::NoPlace;
use crate::http::problem::Kind;
use crate::http::queue;
use crate::http::shed::Class;

const ON_TICKETS: &[Kind] = &[
    Kind::AccessTokenInvalid,
    Kind::AccessTokenExpired,
    Kind::Banned,
    Kind::Maintenance,
    Kind::NoPlace(NoPlace::TicketUnknown),
    Kind::NoPlace(NoPlace::PartyIncomplete),
    Kind::NoPlace(NoPlace::PartyBroken),
    Kind::NoPlace(NoPlace::ServerDraining),
    Kind::NoPlace(NoPlace::Kicked),
];

pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/queue/{ticket}",
        verb: Verb::GetThatActs,
        handler: || get(queue::poll),
        audience: Audience::Clients,
        class: Some(Class::Handover),
        is_idempotent: false,
        id: "askTicket",
        about: "Ask how a ticket stands, and take the place when its turn has come",
        details: "200 is the place; the ticket is used up. 202 says to ask again. Whose handover fails after all keeps its ticket and its \
                  turn.",
        has_bearer: true,
        asks: None,
        status: 200,
        gives: Gives::Json("HandoverReply"),
        queued: Some("QueueReply"),
        waits: true,
        caching: NO_STORE,
        own_problems: ON_TICKETS,
    },
    Route {
        path: "/queue/{ticket}/events",
        verb: Verb::GetThatActs,
        handler: || get(queue::events),
        audience: Audience::Clients,
        class: Some(Class::Handover),
        is_idempotent: false,
        id: "followTicket",
        about: "Follow a ticket's position",
        details: "Server-sent events: `position` with a QueueReply when something has changed, at most one a second; `ready` likewise when a \
                  slot is kept: take it by `GET /queue/{ticket}`; `gone` with a problem, as the last. A newer stream of the ticket ends the \
                  older. Ends after ten minutes or with the access token: open it again. A connection that waits gives way to newcomers when all places are taken.",
        has_bearer: true,
        asks: None,
        status: 200,
        gives: Gives::Text("text/event-stream"),
        queued: None,
        waits: false,
        caching: NO_STORE,
        own_problems: ON_TICKETS,
    },
    Route {
        path: "/queue/{ticket}",
        verb: Verb::Delete,
        handler: || delete(queue::leave),
        audience: Audience::Clients,
        class: Some(Class::Handover),
        is_idempotent: false,
        id: "giveTicketBack",
        about: "Leave the queue",
        details: "A party breaks up with it.",
        has_bearer: true,
        asks: None,
        status: 204,
        gives: Gives::Nothing,
        queued: None,
        waits: false,
        caching: NO_STORE,
        own_problems: &[
            Kind::AccessTokenInvalid,
            Kind::AccessTokenExpired,
            Kind::NoPlace(NoPlace::TicketUnknown),
        ],
    },
];
