//! Use cases 14 to 22 and 26, 27: filters, their links, components; and the aliases of the first design.

use serde_json::json;

use crate::fleet::Fleet;

pub(crate) fn filters_are_added_once_and_wrong_ones_are_told_where(fleet: &Fleet) {
    let all = &fleet.operator;
    let add = |label: &str, expression: &str| {
        all.post("/filters", json!({ "label": label, "expression": expression }))
    };
    add("golfs", "vin_matches \"^WVW\"").is(201);
    add("golfs", "TRUE").refuses(409, "conflicting_entity");
    let wrong = add("broken", "TRUE AND ( vin_matches").refuses(400, "invalid_entity");
    assert!(wrong["column"].as_u64().unwrap() > 10, "{wrong}");
    for expression in ["", "TRUE junk", "has_package \"a\"", "vin_matches \"(\"", "true"] {
        add("broken", expression).refuses(400, "invalid_entity");
    }
    let long = format!("vin_matches \"{}\"", "x".repeat(70_000));
    add("broken", &long).refuses(400, "invalid_entity");
    let deep = format!("{}TRUE{}", "(".repeat(10_000), ")".repeat(10_000));
    add("broken", &deep).refuses(400, "invalid_entity");
    for label in ["", "x", "a b", "..", &"x".repeat(101)] {
        add(label, "TRUE").refuses(400, "invalid_entity");
    }
    add("ab", "NOT NOT TRUE").is(201);
    assert_eq!(all.ids("/filters?regex=^g", "label"), ["golfs"]);
    assert_eq!(all.ids("/filters", "label"), ["ab", "golfs"]);
    let one = all.get("/filters/golfs").is(200);
    assert_eq!(
        (one.header("etag"), &one.json()["expression"]),
        ("\"1\"", &json!("vin_matches \"^WVW\""))
    );
    let edit = |matches: &str| {
        let headers = [("content-type", "application/json"), ("if-match", matches)];
        all.send("PUT", "/filters/golfs", &headers, Some(br#"{"expression":"FALSE"}"#))
    };
    assert_eq!(edit("\"1\"").is(200).header("etag"), "\"2\"");
    edit("\"1\"").refuses(412, "stale");
    all.json("PUT", "/filters/none", json!({ "expression": "TRUE" }))
        .refuses(404, "missing_filter");
}

pub(crate) fn an_expression_is_tried_and_counted(fleet: &Fleet) {
    let all = &fleet.viewer;
    fleet.operator.add_device("WVW1");
    fleet.operator.add_device("BMW1");
    let tried = |expression: &str| {
        all.post("/filters:validate", json!({ "expression": expression, "count": true }))
    };
    let valid = tried("vin_matches \"WVW\"  OR(FALSE)").is(200).json();
    assert_eq!(valid["count"], 1);
    assert_eq!(valid["expression"], "vin_matches \"WVW\" OR FALSE");
    assert_eq!(tried("TRUE").json()["count"], 2);
    assert!(
        all.post("/filters:validate", json!({ "expression": "TRUE" })).json()["count"].is_null()
    );
    tried("vin_matches").refuses(400, "invalid_entity");
    // What blows up elsewhere is linear here.
    assert_eq!(tried("vin_matches \"(a*)*(a*)*b$\"").is(200).json()["count"], 0);
}

pub(crate) fn filters_are_linked_to_packages_and_taken_away(fleet: &Fleet) {
    let all = &fleet.operator;
    for label in ["red", "blue"] {
        all.post("/filters", json!({ "label": label, "expression": "TRUE" })).is(201);
    }
    for version in ["1", "2"] {
        all.json("PUT", &format!("/packages/nav/{version}"), json!({})).is(201);
        all.put(&format!("/packages/nav/{version}/filters/red")).is(204);
    }
    all.put("/packages/nav/1/filters/red").is(204);
    all.put("/packages/nav/1/filters/none").refuses(404, "missing_filter");
    all.put("/packages/nav/9/filters/red").refuses(404, "missing_package");
    all.put("/packages/nav/1/filters/blue").is(204);
    assert_eq!(all.ids("/filters/red/packages", "version"), ["1", "2"]);
    assert_eq!(all.get("/packages/nav/1/filters").json()["items"], json!(["blue", "red"]));
    all.get("/filters/none/packages").refuses(404, "missing_filter");
    all.get("/packages/nav/9/filters").refuses(404, "missing_package");
    all.delete("/packages/nav/1/filters/red").is(204);
    all.delete("/packages/nav/1/filters/red").refuses(404, "package_filter_not_found");
    // The link of the other package with the same filter is still there.
    assert_eq!(all.ids("/filters/red/packages", "version"), ["2"]);
    all.delete("/filters/red").is(204);
    all.delete("/filters/red").refuses(404, "missing_filter");
    assert_eq!(all.get("/packages/nav/2/filters").json()["items"], json!([]));
}

pub(crate) fn components_are_added_searched_and_taken_away(fleet: &Fleet) {
    let all = &fleet.operator;
    let add =
        |part: &str| all.post("/components", json!({ "part": part, "description": "a part" }));
    for part in ["P-1", "P-2", "Q_1"] {
        add(part).is(201);
    }
    add("P-1").refuses(409, "conflicting_entity");
    for part in ["", "a b", "a/b", "..", &"x".repeat(65)] {
        add(part).refuses(400, "invalid_entity");
    }
    assert_eq!(all.ids("/components?regex=^P", "part"), ["P-1", "P-2"]);
    all.get("/components?regex=%28").refuses(400, "invalid_entity");
    all.add_device("V1");
    all.put("/devices/V1/components/P-1").is(204);
    assert_eq!(all.ids("/components/P-1/devices", "id"), ["V1"]);
    assert_eq!(all.ids("/components/P-2/devices", "id"), Vec::<String>::new());
    all.get("/components/P-9/devices").refuses(404, "missing_component");
    all.delete("/components/P-1").refuses(409, "component_is_installed");
    all.delete("/components/P-2").is(204);
    all.delete("/components/P-2").refuses(404, "missing_component");
}

pub(crate) fn the_old_words_do_the_same(fleet: &Fleet) {
    let all = &fleet.operator;
    all.put("/resolver/vehicles/V1").is(204);
    all.put("/resolver/vehicles/V1").is(204);
    all.put("/resolver/vehicles/V2").is(204);
    assert_eq!(all.get("/devices").json()["total"], 2);
    assert_eq!(all.get("/resolver/vehicles?regex=2").json(), json!([{ "vin": "V2" }]));
    all.json("PUT", "/resolver/packages/nav/1", json!({ "vendor": "Acme" })).is(200);
    all.get("/packages/nav/1").is(200);
    let filter = json!({ "name": "one", "expression": "vin_matches \"1\"" });
    assert_eq!(all.post("/resolver/filters", filter.clone()).is(200).json(), filter);
    all.post("/resolver/filters", filter.clone()).refuses(409, "conflicting_entity");
    assert_eq!(all.get("/resolver/filters").json(), json!([filter]));
    assert_eq!(all.post("/resolver/validate/filter", filter).is(200).json(), "OK");
    let wrong = json!({ "name": "two", "expression": "x" });
    all.post("/resolver/validate/filter", wrong).refuses(400, "invalid_entity");
    all.send("PUT", "/packages/nav/1/files/nav", &[], Some(b"x")).is(201);
    all.put("/packages/nav/1/filters/one").is(204);
    let resolved = all.get("/resolver/resolve/nav/1").is(200).json();
    assert_eq!(resolved, json!([["V1", [{ "name": "nav", "version": "1" }]]]));
    all.get("/resolver/resolve/nav/9").refuses(404, "missing_package");
    all.delete("/resolver/vehicles/V1").is(200);
    all.delete("/resolver/vehicles/V1").refuses(404, "missing_device");
}
