//! `GET /openapi.json`: the API, described by what serves it.
//!
//! Owns the form of the document; its facts are those of the table of routes, the tables of members, the kinds of problems and the limits.
//! Invariant: a status or code that a route can answer with stands in the document, and none that it cannot.

mod schemas;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::idempotency::{KEPT_FOR, KEY_CHARACTERS_MAX, KEY_CHARACTERS_MIN};
use super::members::{Form, LATENCIES, Member, Members, REGION, REGIONS};
use super::problem::Kind;
use super::queue::{WAIT_MS, WAIT_MS_MAX};
use super::routes::{Audience, Gives, NO_STORE, Route, Verb, clients};
use super::{BODY_BYTES_MAX, REQUEST_DEADLINE};

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// The API as an OpenAPI 3.1 document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in clients().filter(|route| route.audience != Audience::Operators) {
        let verb = match route.verb {
            Verb::Get | Verb::GetThatActs => "get",
            Verb::Post => "post",
            Verb::Delete => "delete",
        };
        let path = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        path[verb] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Handover hub",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
            "description": format!(
                "Accounts, logins and places on game servers. Every answer that is not a success is a problem document (RFC 9457): decide by \
                 its `code`. A path that is not listed gives 404 `not-found`, another method 405 `method-not-allowed` with `Allow`; `GET` \
                 answers `HEAD`, but for tickets. Bodies are objects of at most {BODY_BYTES_MAX} bytes; unknown members are refused, query parameters that are \
                 not listed are ignored. Every request is answered within {} s. Replies may gain members. What is no HTTP/1.1 at all gets a bare 400, a head \
                 of more than 16 KiB or 100 headers a bare 431, and the connection ends.",
                REQUEST_DEADLINE.as_secs()
            ),
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "clients", "description": "For games." },
            { "name": "everybody", "description": "For load balancers, too. What is for operators alone has a listener of its own." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "access": { "type": "http", "scheme": "bearer", "description": "`access_token` of a login." },
            },
            "parameters": { "IdempotencyKey": idempotency_key() },
            "responses": {
                "NotFound": refusal(&[Kind::NotFound]),
                "MethodNotAllowed": refusal(&[Kind::MethodNotAllowed]),
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let tag = if route.audience == Audience::Clients { "clients" } else { "everybody" };
    let mut operation = json!({
        "operationId": route.id,
        "tags": [tag],
        "summary": route.about,
        "description": route.details,
        "security": if route.has_bearer { json!([{ "access": [] }]) } else { json!([]) },
        "responses": responses(route),
    });
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<_> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if route.waits {
        parameters.push(json!({
            "name": WAIT_MS, "in": "query", "required": false,
            "description": "How long to wait for a place before the answer, in milliseconds.",
            "schema": { "type": "integer", "minimum": 0, "maximum": WAIT_MS_MAX, "default": 0 },
        }));
    }
    if route.is_idempotent {
        parameters.push(json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
    }
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    if let Some(asks) = &route.asks {
        operation["requestBody"] = json!({
            "required": asks.needed,
            "content": { "application/json": {
                "schema": request(asks.members),
                "example": schemas::request_example(route.path),
            }},
        });
    }
    operation
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": format!(
            "A fresh random text for each thing that is to be done once. The same request sent again with the same key within {} s gets \
             the same answer, with `Age`, and nothing is done twice; only successes are kept.",
            KEPT_FOR.as_secs()
        ),
        "schema": {
            "type": "string",
            "minLength": KEY_CHARACTERS_MIN,
            "maxLength": KEY_CHARACTERS_MAX,
            "pattern": "^[!-~]+$",
        },
    })
}

/// The schema of a body, from the table that reads it.
fn request(members: Members) -> Value {
    let properties: Map<_, _> =
        members.iter().map(|member| (member.name.to_owned(), member_schema(member))).collect();
    let needed: Vec<_> = members.iter().filter(|member| member.needed).map(|member| member.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !needed.is_empty() {
        schema["required"] = json!(needed);
    }
    if members.iter().any(|member| member.name == REGIONS.name) {
        // One of the three; of each, an empty one counts as missing.
        let region = json!({ "type": "string", "minLength": 1 });
        let regions = json!({ "type": "array", "minItems": 1 });
        let latencies = json!({ "type": "object", "minProperties": 1 });
        let both = |one: &Member, first: &Value, other: &Member, second: &Value| json!({ "properties": { one.name: first, other.name: second }, "required": [one.name, other.name] });
        schema["not"] = json!({ "anyOf": [
            both(&REGION, &region, &REGIONS, &regions),
            both(&REGION, &region, &LATENCIES, &latencies),
            both(&REGIONS, &regions, &LATENCIES, &latencies),
        ]});
    }
    schema
}

/// JSON Schema counts characters, the hub bytes: what is said in characters never forbids what the hub takes, and bytes are told apart.
fn member_schema(member: &Member) -> Value {
    let named = match member.form {
        Form::Text { .. } => "string",
        Form::Flag { .. } => "boolean",
        Form::Texts { .. } => "array",
        Form::Number { .. } => "integer",
        Form::Numbers { .. } => "object",
    };
    let mut schema = json!({ "description": member.about });
    schema["type"] = if member.needed { json!(named) } else { json!([named, "null"]) };
    match member.form {
        Form::Flag { default } => schema["default"] = json!(default),
        Form::Number { min, max } => {
            schema["minimum"] = json!(min);
            schema["maximum"] = json!(max);
        }
        Form::Texts { items_max, bytes_max, pattern } => {
            schema["maxItems"] = json!(items_max);
            schema["items"] =
                json!({ "type": "string", "minLength": 1, "maxLength": bytes_max, "x-bytes-max": bytes_max });
            if let Some(pattern) = pattern {
                schema["items"]["pattern"] = json!(pattern);
            }
        }
        Form::Numbers { items_max, name_bytes_max, max } => {
            schema["maxProperties"] = json!(items_max);
            schema["propertyNames"] = json!({ "maxLength": name_bytes_max, "x-bytes-max": name_bytes_max });
            schema["additionalProperties"] = json!({ "type": "integer", "minimum": 0, "maximum": max });
        }
        Form::Text { bytes_min, bytes_max, pattern } => {
            if let Some(pattern) = pattern {
                // Only ASCII: a character is a byte.
                schema["pattern"] = json!(pattern);
                schema["minLength"] = json!(bytes_min);
            } else if bytes_min > 0 {
                schema["minLength"] = json!(bytes_min.div_ceil(char::MAX.len_utf8()));
                schema["x-bytes-min"] = json!(bytes_min);
            }
            if bytes_max < usize::MAX {
                schema["maxLength"] = json!(bytes_max);
                schema["x-bytes-max"] = json!(bytes_max);
            }
        }
    }
    schema
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::from_iter([(route.status.to_string(), success(DONE, route, route.gives))]);
    if let Some(schema) = route.queued {
        let about = "No slot is free: here is a ticket.";
        responses.insert("202".to_owned(), success(about, route, Gives::Json(schema)));
    }
    let mut by_status = BTreeMap::<u16, Vec<Kind>>::new();
    for kind in route.problems() {
        by_status.entry(kind.status().as_u16()).or_default().push(kind);
    }
    for (status, kinds) in by_status {
        responses.insert(status.to_string(), refusal(&kinds));
    }
    Value::Object(responses)
}

/// What is said of a success that is not for later.
const DONE: &str = "Done.";

fn success(about: &str, route: &Route, gives: Gives) -> Value {
    let mut success = json!({
        "description": about,
        "headers": { "Cache-Control": { "schema": { "const": route.caching } } },
    });
    if route.is_idempotent && about == DONE {
        success["headers"]["Age"] = json!({
            "description": "Seconds since the first answer; only where it is given again.",
            "required": false,
            "schema": { "type": "integer", "minimum": 0 },
        });
    }
    match gives {
        Gives::Json(name) => {
            let example = schemas::reply_example(name).map(|value| json!({ "usual": { "value": value } }));
            success["content"] = json!({ "application/json": {
                "schema": { "$ref": format!("#/components/schemas/{name}") },
                "examples": example.unwrap_or(json!({})),
            }});
        }
        Gives::Text(media) => success["content"] = json!({ media: { "schema": { "type": "string" } } }),
        Gives::Nothing => {}
    }
    success
}

/// The answer of one status, for any of these kinds.
fn refusal(kinds: &[Kind]) -> Value {
    // Two kinds may share a code.
    let titles: BTreeMap<_, _> = kinds.iter().map(|kind| (kind.code(), kind.title())).collect();
    let status = kinds.first().map(|kind| kind.status().as_u16());
    let told: Vec<_> = titles.iter().map(|(code, title)| format!("`{code}`: {title}")).collect();
    let codes: Vec<_> = titles.keys().collect();
    let mut headers = json!({ "Cache-Control": { "schema": { "const": NO_STORE } } });
    let mut required = Vec::new();
    if kinds.iter().any(|kind| kind.may_retry()) {
        let always = kinds.iter().all(|kind| kind.may_retry());
        headers["Retry-After"] = json!({
            "description": "Whole seconds to wait; the same as `retry_after_s`.",
            "required": always,
            "schema": { "type": "integer", "minimum": 1 },
        });
        if always {
            required.push("retry_after_s");
        }
    }
    if kinds.iter().any(|kind| kind.challenge().is_some()) {
        headers["WWW-Authenticate"] = json!({ "required": true, "schema": { "type": "string" } });
    }
    if kinds.contains(&Kind::MethodNotAllowed) {
        headers["Allow"] = json!({ "required": true, "schema": { "type": "string" } });
    }
    json!({
        "description": told.join("; "),
        "headers": headers,
        "content": { "application/problem+json": { "schema": {
            "allOf": [{ "$ref": "#/components/schemas/Problem" }],
            "properties": { "status": { "const": status }, "code": { "enum": codes } },
            "required": required,
        }}},
    })
}
