//! The API's document: valid, complete, true of a live hub, and the same as in `docs/`.
//!
//! `UPDATE_API=1 cargo test -p hub-tests --test openapi` renews `docs/openapi.json` and `docs/API.md`.

#![cfg(test)]

mod form;
mod live;
mod page;

use std::path::{Path, PathBuf};

use serde_json::Value;

const RENEW: &str = "UPDATE_API=1 cargo test -p hub-tests --test openapi";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs")
}

/// Path, method and what the document says of them.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, of)| (path.as_str(), method.as_str(), of))
    })
}

/// A schema with what it refers to, which may hold nothing that it does not name.
fn strict(document: &Value, schema: &Value) -> jsonschema::Validator {
    fn close(schema: &mut Value) {
        if schema["type"] == "object" && schema.get("properties").is_some() {
            schema["additionalProperties"] = false.into();
        }
        match schema {
            Value::Object(members) => members.values_mut().for_each(close),
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    for of in schema["components"]["schemas"].as_object_mut().unwrap().iter_mut() {
        // The document itself is only hinted at.
        if of.0 != "Document" {
            close(of.1);
        }
    }
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

#[track_caller]
fn fits(validator: &jsonschema::Validator, value: &Value, what: &str) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|err| format!("{} at {}", err, err.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {value}\n  {}", errors.join("\n  "));
}
