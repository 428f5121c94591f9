//! It is OpenAPI 3.1, complete, with examples that are true to it, and changes only on purpose.

use std::collections::BTreeSet;
use std::fs;

use auth_hub::http::{ProblemKind, document};
use serde_json::{Value, json};

use super::{RENEW, docs, fits, operations, page, strict};

fn refs<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            out.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| refs(value, out));
        }
        Value::Array(items) => items.iter().for_each(|value| refs(value, out)),
        _ => {}
    }
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

#[test]
fn it_is_an_openapi_document() {
    let document = document();
    let known = ["openapi", "jsonSchemaDialect", "info", "servers", "tags", "paths", "components"];
    let members: BTreeSet<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(known));
    assert_eq!(document["openapi"], "3.1.0");
    assert!(is_text(&document["info"]["title"]) && is_text(&document["info"]["version"]));
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(path.starts_with('/') && !path.contains(['?', '#']), "{at}");
        assert!(["get", "post", "delete"].contains(&method), "{at}");
        let parameters = operation.get("parameters").and_then(Value::as_array);
        let in_path = parameters.into_iter().flatten().filter(|parameter| parameter["in"] == "path");
        let named: Vec<_> =
            in_path.map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap())).collect();
        let braced: Vec<_> = path.split('/').filter(|part| part.starts_with('{')).collect();
        assert_eq!(named, braced, "{at}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}: its id is another's");
        assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)), "{at}");
        assert!(is_text(&operation["summary"]) && is_text(&operation["description"]), "{at}");
        for security in operation["security"].as_array().unwrap() {
            for scheme in security.as_object().unwrap().keys() {
                assert!(document["components"]["securitySchemes"].get(scheme).is_some(), "{at}: {scheme}");
            }
        }
        assert_eq!(operation.get("requestBody").is_some(), method == "post", "{at}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!((200..600).contains(&status.parse::<u16>().unwrap()), "{at} {status}");
            assert!(is_text(&response["description"]), "{at} {status}");
            assert_eq!(contents(response).count(), usize::from(status != "204"), "{at} {status}");
            assert!(response["headers"].as_object().unwrap().values().all(|of| of.get("schema").is_some()));
        }
    }
    let mut all = Vec::new();
    refs(&document, &mut all);
    for to in &all {
        assert!(document.pointer(to.strip_prefix('#').unwrap()).is_some(), "{to} is not there");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(all.iter().any(|to| to.ends_with(&format!("/{name}"))), "nothing refers to {name}");
    }
}

/// What a body or an answer may hold, by media type.
fn contents(of: &Value) -> impl Iterator<Item = &Value> {
    of.get("content").and_then(Value::as_object).into_iter().flat_map(|content| content.values())
}

fn schemas(document: &Value) -> Vec<(String, Value)> {
    let named = document["components"]["schemas"].as_object().unwrap();
    let mut all: Vec<_> = named.iter().map(|(name, schema)| (name.clone(), schema.clone())).collect();
    for (path, method, operation) in operations(document) {
        let bodies = operation.get("requestBody").into_iter();
        for body in bodies.chain(operation["responses"].as_object().unwrap().values()) {
            for content in contents(body) {
                all.push((format!("{method} {path}"), content["schema"].clone()));
            }
        }
    }
    all
}

#[test]
fn its_schemas_are_schemas() {
    for (name, schema) in schemas(&document()) {
        assert!(jsonschema::draft202012::meta::is_valid(&schema), "{name}: {schema}");
    }
    assert!(!jsonschema::draft202012::meta::is_valid(&json!({ "type": "text" })));
}

#[test]
fn its_examples_are_true_to_it() {
    let document = document();
    let mut shown = 0;
    for (path, _, operation) in operations(&document) {
        let bodies = operation.get("requestBody").into_iter();
        for body in bodies.chain(operation["responses"].as_object().unwrap().values()) {
            for content in contents(body) {
                let validator = strict(&document, &content["schema"]);
                let examples = content.get("examples").and_then(|examples| examples.get("usual"));
                let examples =
                    examples.map(|usual| &usual["value"]).into_iter().chain(content.get("example"));
                for example in examples {
                    fits(&validator, example, path);
                    shown += 1;
                }
            }
        }
    }
    assert_eq!(shown, 12, "three requests and nine replies");
}

#[test]
fn one_region_and_several_exclude_each_other_as_they_do_in_the_hub() {
    let document = document();
    let body = &document["paths"]["/handover"]["post"]["requestBody"]["content"]["application/json"];
    let validator = strict(&document, &body["schema"]);
    for (body, is_taken) in [
        (json!({ "region": "eu", "regions": ["eu"] }), false),
        (json!({ "region": "", "regions": ["eu"] }), true),
        (json!({ "region": "eu", "regions": [] }), true),
        (json!({ "region": null, "regions": ["eu"] }), true),
        (json!({ "regions": [""] }), false),
        (json!({ "regions": vec!["eu"; 8] }), true),
        (json!({ "regions": vec!["eu"; 9] }), false),
    ] {
        assert_eq!(validator.is_valid(&body), is_taken, "{body}");
    }
}

#[test]
fn every_problem_is_somewhere() {
    let document = document();
    let mut told = BTreeSet::new();
    let operations = operations(&document).map(|(_, _, operation)| &operation["responses"]);
    for responses in operations.chain([&document["components"]["responses"]]) {
        for response in responses.as_object().unwrap().values() {
            let schema = &response["content"]["application/problem+json"]["schema"];
            let status = schema["properties"]["status"]["const"].as_u64();
            for code in schema["properties"]["code"]["enum"].as_array().into_iter().flatten() {
                told.insert((status.unwrap(), code.as_str().unwrap().to_owned()));
            }
        }
    }
    // What operators are told, they are told on their own listeners.
    let kinds = ProblemKind::ALL.iter().filter(|kind| kind.is_for_clients());
    let all: BTreeSet<_> =
        kinds.map(|kind| (u64::from(kind.status().as_u16()), kind.code().to_owned())).collect();
    assert_eq!(told, all);
    let codes: BTreeSet<_> =
        all.into_iter().map(|(_, code)| Value::from(code)).map(|code| code.to_string()).collect();
    let shown =
        document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    assert_eq!(shown.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), codes);
}

#[test]
fn it_changes_only_on_purpose() {
    let (document, file, rendered) = (document(), docs().join("openapi.json"), docs().join("API.md"));
    let page = page::render(&document);
    if std::env::var_os("UPDATE_API").is_some() {
        fs::write(&file, serde_json::to_string_pretty(&document).unwrap() + "\n").unwrap();
        fs::write(&rendered, &page).unwrap();
    }
    let kept: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert!(kept == document, "docs/openapi.json is not what the hub says; if it should be: {RENEW}");
    let shown = fs::read_to_string(rendered).unwrap();
    assert!(shown == page, "docs/API.md is stale; renew it: {RENEW}");
}
