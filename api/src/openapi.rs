//! The description of every route, made from the routes themselves.

use std::collections::HashMap;

use axum::http::Method;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;

use crate::auth::Scope;
use crate::problem::ProblemBody;

/// What a route wants of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// A key with this scope.
    Key(Scope),
}

/// What every route of the service wants, by its template and method.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs(HashMap<String, HashMap<Method, Need>>);

impl Needs {
    /// Reads them from the document as the routes wrote it. What says nothing wants the scope
    /// `admin`, so that nothing is open by oversight.
    pub(crate) fn of(document: &Value) -> Self {
        let mut needs = Self::default();
        for (path, method, operation) in operations(document) {
            let Ok(method) = Method::from_bytes(method.to_ascii_uppercase().as_bytes()) else {
                continue;
            };
            let of_path = needs.0.entry(path.to_owned()).or_default();
            of_path.insert(method, need(operation));
        }
        needs
    }

    /// What a request wants. A method that the route does not have is refused by the router, which
    /// needs no key for that.
    pub(crate) fn get(&self, path: &str, method: &Method) -> Need {
        let Some(of_path) = self.0.get(path) else {
            return Need::Key(Scope::Admin);
        };
        let found = of_path.get(method);
        // The router answers HEAD where there is a GET.
        let found = found.or_else(|| of_path.get(&Method::GET).filter(|_| method == Method::HEAD));
        found.copied().unwrap_or(Need::Nothing)
    }
}

fn need(operation: &Value) -> Need {
    let requirements = operation.get("security").and_then(Value::as_array);
    let Some(first) = requirements.and_then(|all| all.first()) else {
        return Need::Key(Scope::Admin);
    };
    let Some(scopes) = first.get("key").and_then(Value::as_array) else {
        return match first.as_object().is_some_and(Map::is_empty) {
            true => Need::Nothing,
            false => Need::Key(Scope::Admin),
        };
    };
    let word = scopes.first().and_then(Value::as_str);
    let scope = Scope::ALL
        .into_iter()
        .find(|scope| Some(scope.as_str()) == word);
    Need::Key(scope.unwrap_or(Scope::Admin))
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document.get("paths").and_then(Value::as_object);
    paths.into_iter().flatten().flat_map(|(path, item)| {
        let item = item.as_object().into_iter().flatten();
        item.filter(|(_, operation)| operation.get("responses").is_some())
            .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// The OpenAPI document of the service.
#[must_use]
pub fn document() -> Value {
    finished(written())
}

/// The document as the routes wrote it.
pub(crate) fn written() -> Value {
    let (_, written) = crate::routes::all().split_for_parts();
    as_json(&written)
}

pub(crate) fn as_json(document: &utoipa::openapi::OpenApi) -> Value {
    match serde_json::to_value(document) {
        Ok(value) => value,
        Err(error) => {
            tracing::error!(%error, "cannot write the OpenAPI document");
            json!({})
        }
    }
}

/// Adds what is the same for all routes: who they are, the keys, the answers of the layers around
/// them, and the form of every error.
pub(crate) fn finished(mut document: Value) -> Value {
    document["info"] = json!({
        "title": "reelmill",
        "description": "Uploads become jobs, jobs become proven renditions. Errors are \
            `application/problem+json` with a stable `code`.",
        "version": env!("CARGO_PKG_VERSION"),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["components"]["schemas"]["Problem"] = json!(ProblemBody::schema());
    document["components"]["securitySchemes"] = json!({
        "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    });
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else {
        return document;
    };
    let mut finished = Map::new();
    for (path, mut item) in std::mem::take(paths) {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if operation.get("responses").is_some() {
                finish(method, operation);
            }
        }
        // The router's way to write a parameter that may hold slashes.
        finished.insert(path.replace("{*", "{"), item);
    }
    *paths = finished;
    document
}

fn finish(method: &str, operation: &mut Value) {
    let needs_key = matches!(need(operation), Need::Key(_));
    let mut answer = |status: &str, description: &str| {
        if operation["responses"].get(status).is_none() {
            operation["responses"][status] = json!({"description": description});
        }
    };
    answer("500", "The service failed; its log says why");
    answer(
        "503",
        "`too-busy`, or the service cannot reach its storage: come again",
    );
    answer("507", "`disk-full`: the service has no space left");
    if needs_key {
        answer("401", "`key-missing` or `key-unknown`");
        answer(
            "403",
            "`key-scope`: the key lacks the scope; `origin-refused`: from a page of another origin",
        );
        let scopes = operation["security"][0]["key"].clone();
        operation["security"] = json!([{"key": scopes}, {"bearer": scopes}]);
    }
    let answers = operation["responses"].as_object_mut();
    for (status, answer) in answers.into_iter().flatten() {
        if status.starts_with(['4', '5']) && answer.get("content").is_none() {
            answer["content"] = json!({"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
            }});
        }
    }
    // One handler of both methods has one name, and each operation needs its own.
    if method == "head"
        && let Some(id) = operation.get("operationId").and_then(Value::as_str)
    {
        operation["operationId"] = Value::from(id.replacen("get", "head", 1));
    }
}

/// The document for a service without keys, which must not ask for any.
pub(crate) fn without_keys(mut document: Value) -> Value {
    if let Some(components) = document
        .get_mut("components")
        .and_then(Value::as_object_mut)
    {
        components.remove("securitySchemes");
    }
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for item in paths.into_iter().flat_map(|paths| paths.values_mut()) {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                operation.remove("security");
            }
        }
    }
    document
}
