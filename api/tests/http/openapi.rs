use std::collections::HashSet;
use std::path::Path;

use reelmill_api::document;
use serde_json::Value;

use crate::fixture::Service;

#[test]
fn the_document_is_what_was_promised() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openapi.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("REELMILL_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == golden,
        "the document differs from {}: REELMILL_BLESS=1 writes it anew",
        path.display()
    );
}

#[test]
fn every_route_is_described_to_the_end() {
    let document = document();
    let mut names = HashSet::new();
    let mut references = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(!path.contains('*'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            let answers = operation["responses"].as_object().unwrap();
            for status in ["500", "503"] {
                assert!(answers.contains_key(status), "{method} {path} {status}");
            }
            for (status, answer) in answers {
                let is_problem = !answer["content"]["application/problem+json"].is_null();
                let is_error = status.starts_with(['4', '5']);
                assert_eq!(is_problem, is_error, "{method} {path} {status}");
            }
            collect(operation, &mut references);
        }
    }
    collect(&document["components"], &mut references);
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
}

/// Every `$ref` in a value.
fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(
                fields
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn a_service_without_keys_asks_for_none_in_its_document() {
    let service = Service::start().await;
    let served = service.json("/openapi.json").await;
    assert!(served["paths"]["/v1/jobs"]["get"].get("security").is_none());
    assert_eq!(
        served["paths"].as_object().unwrap().len(),
        document()["paths"].as_object().unwrap().len()
    );
}
