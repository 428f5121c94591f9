//! `docs/API.md`, written from the document alone.

use std::fmt::Write as _;

use serde_json::Value;

use super::{RENEW, operations};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `string, or null` and what bounds it.
fn type_of(schema: &Value) -> String {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    if let Some(only) = schema.get("const") {
        return format!("`{only}`");
    }
    if let Some(any) = schema["enum"].as_array() {
        return any.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
    }
    let mut of = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        one => text(one).to_owned(),
    };
    if schema["type"] == "array" {
        let _ = write!(of, " of {}", type_of(&schema["items"]));
    } else if let (Some(items), Some(max)) = (schema.get("items"), schema.get("maxItems")) {
        let _ = write!(of, ", up to {max} of {}", type_of(items));
    }
    let mut bound = |name: &str, words: &str| {
        if let Some(value) = schema.get(name) {
            let _ = write!(of, ", {words} {value}");
        }
    };
    bound("x-bytes-min", "bytes from");
    if schema.get("x-bytes-min").is_none() {
        bound("minLength", "bytes from");
    }
    bound("x-bytes-max", "bytes up to");
    bound("minimum", "from");
    bound("maximum", "up to");
    bound("default", "default");
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(of, ", `{pattern}`");
    }
    of
}

fn members(out: &mut String, schema: &Value) {
    out.push_str("| member | type | |\n|---|---|---|\n");
    let required = schema["required"].as_array();
    for (name, member) in schema["properties"].as_object().unwrap() {
        let optional =
            if required.is_some_and(|all| all.iter().any(|one| one == name)) { "" } else { "optional. " };
        let _ =
            writeln!(out, "| `{name}` | {} | {optional}{} |", type_of(member), text(&member["description"]));
    }
    out.push('\n');
}

fn example(out: &mut String, value: &Value) {
    let _ = write!(out, "```json\n{}\n```\n\n", serde_json::to_string_pretty(value).unwrap());
}

/// The page.
pub(super) fn render(document: &Value) -> String {
    let mut out = format!(
        "# HTTP API\n\nWritten from the document that the hub serves at `GET /openapi.json`; the same is in `docs/openapi.json`. Renewed by\n\
         `{RENEW}`. What it all means: `docs/PROTOCOL.md`.\n\n{}\n\n",
        text(&document["info"]["description"])
    );
    for (path, method, operation) in operations(document) {
        let tag = text(&operation["tags"][0]);
        let _ = write!(
            out,
            "## {} {path}\n\n{}. {} For {tag}.",
            method.to_uppercase(),
            text(&operation["summary"]),
            text(&operation["description"])
        );
        if operation["security"].as_array().is_some_and(|all| !all.is_empty()) {
            out.push_str(" `Authorization: Bearer` access token.");
        }
        out.push_str("\n\n");
        for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            if parameter["in"] == "query" {
                let (name, schema) = (text(&parameter["name"]), type_of(&parameter["schema"]));
                let _ = write!(out, "`?{name}=` ({schema}): {}\n\n", text(&parameter["description"]));
            }
        }
        if let Some(body) = operation.get("requestBody") {
            let body = &body["content"]["application/json"];
            members(&mut out, &body["schema"]);
            example(&mut out, &body["example"]);
        }
        out.push_str("| status | |\n|---|---|\n");
        let mut usual = None;
        for (status, response) in operation["responses"].as_object().unwrap() {
            let content = response.get("content").and_then(Value::as_object);
            let Some((media, content)) = content.and_then(|content| content.iter().next()) else {
                let _ = writeln!(out, "| {status} | {} |", text(&response["description"]));
                continue;
            };
            let what = if media == "application/problem+json" {
                let retries = response["headers"].get("Retry-After");
                format!(
                    "{}{}",
                    text(&response["description"]),
                    if retries.is_some() { "; `Retry-After`" } else { "" }
                )
            } else {
                usual = usual.or(content.get("examples").and_then(|all| all["usual"].get("value")));
                format!("`{media}`: {}. {}", type_of(&content["schema"]), text(&response["description"]))
            };
            let _ = writeln!(out, "| {status} | {what} |");
        }
        out.push('\n');
        if let Some(usual) = usual {
            example(&mut out, usual);
        }
    }
    out.push_str("## Schemas\n\n");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let _ = write!(out, "### {name}\n\n");
        members(&mut out, schema);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
