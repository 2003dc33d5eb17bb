//! The OpenAPI document is checked in, so that a change of the interface is a change that somebody reads.

use serde_json::Value;

#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let now = freshen_fleet::api::document().to_pretty_json().unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    let how = "cargo run -p freshen-fleet -- openapi > fleet/openapi.json";
    assert!(now == checked_in, "the interface has changed; if that is meant: {how}");
}

#[test]
fn every_operation_says_what_it_is_and_refuses_in_one_form() {
    let document: Value = serde_json::to_value(freshen_fleet::api::document()).unwrap();
    assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path}");
            if path.starts_with("/api/") {
                let refuses = &operation["responses"]["default"]["content"];
                assert!(refuses["application/problem+json"].is_object(), "{method} {path}");
            }
        }
    }
}
