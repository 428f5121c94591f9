//! What replies hold, as schemas, and an example of each.
//!
//! Knows the replies' members, no route. Invariant: what is always there is required; tests hold each against the answers of a hub.

use serde_json::{Map, Value, json};

use crate::fleet::{HIGH_FROM_PERCENT, MEDIUM_FROM_PERCENT};
use crate::http::problem::Kind;

fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

fn id(about: &str) -> Value {
    json!({ "type": "string", "format": "uuid", "description": about })
}

fn number(about: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": about })
}

fn of(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn list(items: &Value, about: &str) -> Value {
    json!({ "type": "array", "items": items, "description": about })
}

/// All of these are always there.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let required: Vec<_> = members.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    let properties: Map<_, _> = members.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

fn problem() -> Value {
    let mut codes: Vec<_> =
        Kind::ALL.iter().filter(|kind| kind.is_for_clients()).map(|kind| kind.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    let mut problem = object([
        ("type", json!({ "const": "about:blank" })),
        ("title", text("For people; the same for every problem of this code.")),
        ("status", json!({ "type": "integer", "description": "As in the status line." })),
        ("code", json!({ "enum": codes, "description": "What to decide by." })),
    ]);
    for (name, schema) in [
        ("detail", text("For people.")),
        ("retry_after_s", json!({ "type": "integer", "minimum": 1, "description": "Wait this long first." })),
        ("handover_id", id("The attempt that failed; for support.")),
        ("access_token", text("The password was right, there was no place: go on with `POST /handover`.")),
        ("access_token_expires_in_s", number("How long it is good for.")),
        (
            "banned_until_ms",
            number("When a ban ends, in milliseconds since 1970; missing where it does not."),
        ),
    ] {
        problem["properties"][name] = schema;
    }
    problem
}

fn population() -> Value {
    let about = format!(
        "Slots in use: `low` below {MEDIUM_FROM_PERCENT} %, `medium` below {HIGH_FROM_PERCENT} %, `high` while one is free, then `full`."
    );
    json!({ "enum": ["low", "medium", "high", "full"], "description": about })
}

fn queue() -> Value {
    let wait = object([
        ("low_s", number("At least, most likely, in seconds.")),
        ("high_s", number("At most, most likely, in seconds.")),
    ]);
    let party = object([("here", number("Members that have come.")), ("size", number("Of how many."))]);
    let or_null =
        |schema: &Value, about: &str| json!({ "oneOf": [schema, { "type": "null" }], "description": about });
    object([
        ("ticket", text("For `GET /queue/{ticket}`. Of no use without the access token of its owner.")),
        (
            "state",
            json!({
                "enum": ["waiting", "gathering", "ready"],
                "description": "`gathering`: the party is not complete. `ready`: a slot is kept; `GET /queue/{ticket}` at once.",
            }),
        ),
        ("position", number("1 is the next; 0 for who gathers or is ready.")),
        (
            "estimated_wait",
            or_null(&wait, "From how fast others were let in; `null` while that is not known."),
        ),
        ("party", or_null(&party, "While it gathers.")),
        (
            "ask_again_ms",
            number(
                "Ask again after this; who is not heard for 25 s is passed over, and leaves after a minute.",
            ),
        ),
    ])
}

fn message() -> Value {
    json!({ "type": ["string", "null"], "description": "The message of the day, for players to read; null where there is none." })
}

/// Every schema that the document refers to.
pub(super) fn all() -> Value {
    let endpoint = object([
        ("transport", text("`tcp` is the game link; others are a game's own.")),
        ("address", text("`host:port`, an IPv6 host in brackets.")),
    ]);
    let server = object([
        ("id", text("As the operator named it.")),
        ("name", text("For people.")),
        ("region", text("May be empty.")),
    ]);
    let summary = object([
        ("id", text("As the operator named it.")),
        ("name", text("For people.")),
        ("region", text("May be empty.")),
        ("build", text("May be empty.")),
        ("state", json!({ "enum": ["online", "degraded", "draining", "starting", "offline"] })),
        (
            "labels",
            list(&json!({ "type": "string" }), "What it can be chosen by: `labels` of a login or handover."),
        ),
        ("message", text("One line for players, of the moment. May be empty.")),
        ("population", population()),
        ("players", number("In game.")),
        ("max_players", number("Slots in all.")),
    ]);
    let login = object([
        ("account_id", id("Of the account; the same for ever.")),
        ("display_name", text("What other players see.")),
        ("access_token", text("For `POST /handover`. Secret, opaque.")),
        ("access_token_expires_in_s", number("How long it is good for.")),
        ("message", message()),
        ("handover", json!({ "oneOf": [of("HandoverReply"), { "type": "null" }] })),
        ("queue", json!({ "oneOf": [of("QueueReply"), { "type": "null" }] })),
    ]);
    let handover = object([
        ("handover_id", id("Of this attempt and of the session it leads to; for support.")),
        ("server", of("Server")),
        (
            "endpoints",
            json!({ "type": "array", "minItems": 1, "items": of("Endpoint"), "description": "The preferred one first." }),
        ),
        ("token", text("Shown once, to that server. Secret.")),
        ("expires_at_ms", number("When the token ends, in milliseconds since 1970.")),
        ("expires_in_ms", number("How long the token is good for.")),
        (
            "confirmed",
            json!({ "type": "boolean", "description": "Whether the server has said yes; if not, it may make the client wait." }),
        ),
    ]);
    json!({
        "RegisterReply": object([
            ("account_id", id("Of the account; the same for ever.")),
            ("login", text("What one types to log in.")),
            ("display_name", text("What other players see, normalised.")),
        ]),
        "LoginReply": login,
        "HandoverReply": handover,
        "QueueReply": queue(),
        "Server": server,
        "Endpoint": endpoint,
        "ServersReply": object([
            ("servers", list(&of("ServerSummary"), "In the order of their ids.")),
            ("message", message()),
        ]),
        "ServerSummary": summary,
        "Alive": object([("status", json!({ "const": "alive" }))]),
        "Document": { "type": "object", "required": ["openapi"], "properties": { "openapi": { "const": "3.1.0" } } },
        "Problem": problem(),
    })
}

fn place() -> Value {
    json!({
        "handover_id": "48484848-4848-4848-8848-484848484848",
        "server": { "id": "alpha", "name": "Alpha", "region": "eu" },
        "endpoints": [{ "transport": "tcp", "address": "play.example.org:7000" }],
        "token": "AQAAAZt23AeQAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh_6kQm896pEWLzle9WH_32H",
        "expires_at_ms": 1_767_225_690_000_u64,
        "expires_in_ms": 89_700,
        "confirmed": true,
    })
}

/// A body that a route takes.
pub(super) fn request_example(path: &str) -> Value {
    match path {
        "/auth/register" => json!({ "login": "ada", "password": "correct horse", "display_name": "Ada" }),
        "/auth/login" => {
            json!({ "login": "ada", "password": "correct horse", "region": "eu", "build": "1.12.3" })
        }
        _ => json!({ "server": "alpha" }),
    }
}

/// A reply of this schema, where there is one to show.
pub(super) fn reply_example(name: &str) -> Option<Value> {
    let account = "0b0f7b9e-5a0c-4d55-9a3e-1c2d3e4f5a6b";
    Some(match name {
        "RegisterReply" => json!({ "account_id": account, "login": "ada", "display_name": "Ada" }),
        "LoginReply" => json!({
            "account_id": account,
            "display_name": "Ada",
            "access_token": "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJhdXRoLWh1YiJ9.c2lnbmF0dXJl",
            "access_token_expires_in_s": 900,
            "message": "The harvest festival begins on Friday.",
            "handover": place(),
            "queue": null,
        }),
        "HandoverReply" => place(),
        "QueueReply" => json!({
            "ticket": "NmIhcTH4sQ9pVeT1o0mRZC2vXy5bL8uKgW3dJ7aEfDkPzS6tHnqBxUwMrYcGjIvO4l0Aoe9Kp1s5",
            "state": "waiting",
            "position": 17,
            "estimated_wait": { "low_s": 20, "high_s": 95 },
            "party": null,
            "ask_again_ms": 2000,
        }),
        "ServersReply" => json!({ "servers": [{
            "id": "alpha", "name": "Alpha", "region": "eu", "build": "1.2.3", "state": "online", "labels": ["pvp", "mode=ranked"],
            "message": "Season 2 starts at 20:00", "population": "low", "players": 41, "max_players": 300,
        }], "message": null }),
        "Alive" => json!({ "status": "alive" }),
        _ => return None,
    })
}
