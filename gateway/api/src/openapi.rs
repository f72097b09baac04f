//! The API as an OpenAPI 3.1 document, made of the types themselves: what is not in them is not in it.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{Reply, Request};

/// Verbs that are spoken in lines only: a connection that becomes a phone's, secrets that are never text, and what cannot be taken back. A
/// program that only follows the document has erased a gateway: it repeated the name that the status had told it.
pub const LINES_ONLY: [&str; 4] = ["attach", "back_up_network", "restore_network", "factory_reset"];

/// The document. `docs/openapi.json` is a copy of it, and a test compares the two.
#[must_use]
pub fn openapi() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let requests = variants(generator.root_schema_for::<Request>().to_value());
    let replies = variants(generator.root_schema_for::<Reply>().to_value());
    let mut paths = Map::new();
    for (verb, mut body) in requests {
        if LINES_ONLY.contains(&verb.as_str()) {
            continue;
        }
        let described = take(&mut body, "description");
        let described = described.as_str().unwrap_or_default();
        let reply = replies.iter().find(|(name, _)| *name == answered_by(described)).map(|(_, reply)| reply);
        if let Some(properties) = body.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove("verb");
        }
        if let Some(required) = body.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name != "verb");
        }
        paths.insert(format!("/v1/{verb}"), json!({ "post": operation(&verb, described, body, reply) }));
    }
    let schemas = generator.take_definitions(true);
    let mut schemas: Map<String, Value> = schemas.into_iter().collect();
    schemas.insert("Refusal".into(), refusal());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Cardea, control API of a gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            "description": "HTTP/1.1 over the daemon's Unix socket (`curl --unix-socket /run/cardea/api.sock …`); its file's \
                            permissions are the access control. The command line and the local page ask the same \
                            requests. One verb is one POST.",
        },
        "servers": [{ "url": "http://cardea", "description": "Any host name does: the socket decides." }],
        "security": [],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// Whether there is a request of this name.
#[must_use]
pub fn is_verb(name: &str) -> bool {
    static VERBS: LazyLock<Vec<String>> = LazyLock::new(|| {
        variants(schemars::schema_for!(Request).to_value()).into_iter().map(|(verb, _)| verb).collect()
    });
    VERBS.iter().any(|verb| verb == name)
}

fn operation(verb: &str, described: &str, body: Value, reply: Option<&Value>) -> Value {
    let whole = body.get("required").and_then(Value::as_array).is_some_and(|required| !required.is_empty());
    let good = json!({
        "type": "object",
        "properties": { "status": { "const": "ok" }, "data": reply },
        "required": ["status", "data"],
        "additionalProperties": false,
    });
    let refused = |why: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Refusal" });
        json!({ "description": why, "content": { "application/json": { "schema": schema } } })
    };
    json!({
        "operationId": verb,
        "summary": plain(described),
        "requestBody": { "required": whole, "content": { "application/json": { "schema": body } } },
        "responses": {
            "200": { "description": "Done.", "content": { "application/json": { "schema": good } } },
            "400": refused("The body is not what this verb takes."),
            "409": refused("The daemon will not, or cannot now; it says why, and what to do."),
            "413": refused("The body is too long."),
            "415": refused("The body is not JSON."),
        },
    })
}

fn refusal() -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": { "const": "error" },
            "error": { "type": "string", "description": "What is wrong and what to do, for the operator." },
        },
        "required": ["status", "error"],
        "additionalProperties": false,
    })
}

/// An enum's variants by the names that they have in JSON.
fn variants(mut of: Value) -> Vec<(String, Value)> {
    let Value::Array(all) = take(&mut of, "oneOf") else { return Vec::new() };
    all.into_iter().filter_map(|one| Some((name(&one)?, one))).collect()
}

/// The tag of a tagged variant, the only member of another one, or the word that it is.
fn name(variant: &Value) -> Option<String> {
    let word = |value: &Value| value.get("const").and_then(Value::as_str).map(str::to_owned);
    let members = variant.get("properties").and_then(Value::as_object);
    let tag = members.and_then(|members| word(members.get("verb")?));
    let only = || members.filter(|members| members.len() == 1).and_then(|m| m.keys().next().cloned());
    tag.or_else(only).or_else(|| word(variant))
}

/// Which reply the description of a request names; `done` where it names none.
fn answered_by(described: &str) -> String {
    let named = described.split("Reply::").nth(1).unwrap_or("Done");
    let mut snake = String::new();
    for c in named.chars().take_while(char::is_ascii_alphanumeric) {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Without what is for readers of the code.
fn plain(described: &str) -> String {
    let sentence = described.split(" Answered by").next().unwrap_or_default();
    sentence.split(" [`").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn take(of: &mut Value, key: &str) -> Value {
    of.as_object_mut().and_then(|members| members.remove(key)).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `CARDEA_UPDATE=1` writes it anew.
    #[test]
    fn the_document_in_docs_is_the_one_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let made = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
        if std::env::var_os("CARDEA_UPDATE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "docs/openapi.json is of another API: run this test with CARDEA_UPDATE=1");
    }

    #[test]
    fn every_verb_is_a_path_with_a_reply_and_every_path_is_a_verb() {
        let document = openapi();
        let paths = document["paths"].as_object().unwrap();
        let verbs = variants(schemars::schema_for!(Request).to_value());
        assert!(verbs.len() > 10, "{}", verbs.len());
        for (verb, _) in &verbs {
            assert_eq!(
                paths.contains_key(&format!("/v1/{verb}")),
                !LINES_ONLY.contains(&verb.as_str()),
                "{verb}"
            );
        }
        assert_eq!(paths.len(), verbs.len() - LINES_ONLY.len());
        for (path, operation) in paths {
            let good = &operation["post"]["responses"]["200"]["content"]["application/json"]["schema"];
            assert!(
                !good["properties"]["data"].is_null(),
                "{path}: which reply? Its description names none that exists"
            );
            let described = operation["post"]["summary"].as_str().unwrap();
            assert!(described.len() > 10 && !described.contains("Reply"), "{path}: {described}");
        }
    }

    /// What a schema says, the code reads; what the code says, the schema knows.
    #[test]
    fn each_reference_leads_somewhere_and_each_reply_is_some_verbs() {
        let document = openapi();
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(!document["components"]["schemas"][name].is_null(), "{name}");
        }
        for (reply, _) in variants(schemars::schema_for!(Reply).to_value()) {
            let lines_only = ["attached", "backup", "restored"].contains(&reply.as_str());
            let member = format!("\"required\":[\"{reply}\"]");
            let word = format!("\"const\":\"{reply}\"");
            assert_eq!(text.contains(&member) || text.contains(&word), !lines_only, "{reply}");
        }
    }
}
