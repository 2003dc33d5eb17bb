//! Use cases 9 to 13: data plans, billing cycles, traffic.

use serde_json::json;

use crate::fleet::Fleet;

pub(crate) fn plans_are_added_once_and_searched(fleet: &Fleet) {
    let all = &fleet.operator;
    for name in ["basic", "premium"] {
        all.post("/plans", json!({ "name": name })).is(201);
    }
    all.post("/plans", json!({ "name": "basic" })).refuses(409, "conflicting_entity");
    all.post("/plans", json!({ "name": "a b" })).refuses(400, "invalid_entity");
    assert_eq!(all.ids("/plans?regex=prem", "name"), ["premium"]);
    assert_eq!(all.ids("/plans", "name"), ["basic", "premium"]);
}

pub(crate) fn cycles_are_added_once_and_listed_between_two_moments(fleet: &Fleet) {
    let all = &fleet.operator;
    all.post("/plans", json!({ "name": "basic" })).is(201);
    let add = |plan: &str, start: &str, pool: serde_json::Value| {
        all.post(&format!("/plans/{plan}/cycles"), json!({ "start": start, "pool": pool }))
    };
    for month in 1..=4 {
        let made = add("basic", &format!("2030-0{month}-01T00:00:00Z"), json!(1000)).is(201).json();
        assert_eq!(made["used"], 0);
    }
    add("basic", "2030-01-01T01:00:00+01:00", json!(1)).refuses(409, "conflicting_entity");
    add("none", "2030-01-01T00:00:00Z", json!(1)).refuses(404, "missing_plan");
    for pool in [json!(-1), json!(1.5), json!("1"), json!(18_446_744_073_709_551_615_u64)] {
        add("basic", "2031-01-01T00:00:00Z", pool).refuses(400, "invalid_entity");
    }
    add("basic", "yesterday", json!(1)).refuses(400, "invalid_entity");
    let between = |from: &str, to: &str| {
        all.ids(&format!("/plans/basic/cycles?from={from}&to={to}"), "start")
    };
    let found = between("2030-02-01T00:00:00Z", "2030-03-01T00:00:00Z");
    assert_eq!(found, ["2030-02-01T00:00:00.000Z", "2030-03-01T00:00:00.000Z"]);
    assert_eq!(between("2030-02-01T00:00:00.001Z", "2030-02-28T23:59:59Z"), Vec::<String>::new());
    assert_eq!(all.ids("/plans/basic/cycles", "start").len(), 4);
    all.get("/plans/none/cycles").refuses(404, "missing_plan");
}

pub(crate) fn traffic_is_counted_in_the_cycle_of_its_time(fleet: &Fleet) {
    let all = &fleet.operator;
    let nothing = json!({ "plan": null, "start": null, "pool": null, "used": null });
    let count = |id: &str, bytes: u64, at: &str| {
        all.post(&format!("/devices/{id}/traffic"), json!({ "bytes": bytes, "at": at }))
    };
    all.add_device("V1");
    assert_eq!(count("V1", 5, "2030-01-15T00:00:00Z").is(200).json(), nothing, "no plan");
    all.post("/plans", json!({ "name": "basic" })).is(201);
    all.json("PUT", "/devices/V1/plan", json!({ "plan": "basic" })).is(200);
    assert_eq!(count("V1", 5, "2030-01-15T00:00:00Z").is(200).json(), nothing, "no cycle");
    for month in ["01", "02"] {
        let start = format!("2030-{month}-01T00:00:00Z");
        all.post("/plans/basic/cycles", json!({ "start": start, "pool": 100 })).is(201);
    }
    assert_eq!(count("V1", 5, "2029-12-31T23:59:59Z").is(200).json(), nothing, "before the first");
    let first = count("V1", 7, "2030-01-31T23:59:59.999Z").is(200).json();
    let expected =
        json!({ "plan": "basic", "start": "2030-01-01T00:00:00.000Z", "pool": 100, "used": 7 });
    assert_eq!(first, expected);
    assert_eq!(count("V1", 9, "2030-02-01T00:00:00Z").json()["used"], 9);
    count("V9", 1, "2030-02-01T00:00:00Z").refuses(404, "missing_device");
    all.post("/devices/V1/traffic", json!({ "bytes": -1 })).refuses(400, "invalid_entity");
    std::thread::scope(|scope| {
        for _ in 0..10 {
            let client = all.clone();
            scope.spawn(move || {
                for _ in 0..10 {
                    let body = json!({ "bytes": 1, "at": "2030-02-02T00:00:00Z" });
                    client.post("/devices/V1/traffic", body).is(200);
                }
            });
        }
    });
    assert_eq!(all.get("/plans/basic/cycles").json()["items"][1]["used"], 109);
}
