//! Use cases 1 to 5 and 23 to 28: devices, and what is on them.

use serde_json::json;

use crate::fleet::Fleet;

pub(crate) fn a_device_is_added_once_and_found_at_once(fleet: &Fleet) {
    let new = json!({ "id": "WVW 1/ä", "reconnect_interval_s": 60, "tags": ["b", "a", "a"],
        "attributes": { "colour": "red", "doors": 5 } });
    let added = fleet.operator.post("/devices", new.clone()).is(201);
    assert_eq!(added.header("location"), "/api/v1/devices/WVW%201%2F%C3%A4");
    assert_eq!(added.header("etag"), "\"1\"");
    let shown = fleet.viewer.get("/devices/WVW%201%2F%C3%A4").is(200).json();
    assert_eq!(shown["tags"], json!(["a", "b"]));
    assert_eq!(shown, added.json());
    for filter in
        ["vin_matches \"^WVW\"", "tag \"a\"", "attr \"colour\" = \"red\"", "attr \"doors\" = \"5\""]
    {
        let body = json!({ "expression": filter, "count": true });
        let count = fleet.viewer.post("/filters:validate", body).is(200).json();
        assert_eq!(count["count"], 1, "{filter}");
    }
    fleet.operator.post("/devices", new).refuses(409, "conflicting_entity");
    assert_eq!(fleet.viewer.get("/devices").json()["total"], 1);
    fleet
        .operator
        .post("/devices", json!({ "id": "V2", "plan": "none" }))
        .refuses(404, "missing_plan");
}

pub(crate) fn ids_are_checked_at_the_border(fleet: &Fleet) {
    for (length, status) in [(0, 400), (1, 201), (64, 201), (65, 400)] {
        let new = json!({ "id": "x".repeat(length) });
        let answer = fleet.operator.post("/devices", new).is(status);
        assert_eq!(answer.status, status);
    }
    for id in [".", "..", "a\0b", "a\nb", "\u{1b}[2J"] {
        fleet.operator.post("/devices", json!({ "id": id })).refuses(400, "invalid_entity");
    }
    // A path of a device that could be one of a file system is a device's own affair.
    fleet.operator.add_device("../etc/passwd");
    fleet.viewer.get("/devices/..%2Fetc%2Fpasswd").is(200);
    for path in ["/devices/%FF", "/devices/%00", "/devices/%2E%2E", "/devices/V%0A"] {
        let answer = fleet.viewer.get(path);
        assert!((400..=404).contains(&answer.status), "{path} {}", answer.status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
    }
    let many = json!({ "id": "V", "reconnect_interval_s": -1 });
    fleet.operator.post("/devices", many).refuses(400, "invalid_entity");
    let large = json!({ "id": "V", "reconnect_interval_s": 1e300 });
    fleet.operator.post("/devices", large).refuses(400, "invalid_entity");
}

pub(crate) fn a_device_that_is_taken_away_leaves_nothing(fleet: &Fleet) {
    let all = &fleet.operator;
    all.post("/plans", json!({ "name": "basic" })).is(201);
    all.post("/components", json!({ "part": "P" })).is(201);
    all.add_package("nav", "1", b"one");
    all.add_package("nav", "2", b"two");
    for id in ["V1", "V2"] {
        all.post("/devices", json!({ "id": id, "plan": "basic" })).is(201);
        all.put(&format!("/devices/{id}/components/P")).is(204);
        all.put(&format!("/devices/{id}/packages/nav/1")).is(204);
    }
    let order = json!({ "package": { "name": "nav", "version": "2" } });
    let made = all.post("/campaigns", order).is(201).json();
    let path = format!("/campaigns/{}", made["id"].as_str().unwrap());
    fleet
        .device("V1")
        .post(&format!("/device{}/start", path.replace("campaigns", "updates")), json!(null))
        .is(200);
    all.post("/devices/V1/inventory-requests", json!(null)).is(202);
    let token = fleet.device("V1");
    all.delete("/devices/V1").is(204);
    token.get("/device/updates/next").refuses(401, "unauthorized");
    all.delete("/devices/V1").refuses(404, "missing_device");
    let counts = all.get(&path).json()["counts"].clone();
    assert_eq!(
        (&counts["total"], &counts["pending"], &counts["in_flight"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(all.ids("/components/P/devices", "id"), ["V2"]);
    assert_eq!(all.ids("/packages/nav/1/devices", "id"), ["V2"]);
    all.add_device("V1");
    let again = all.get("/devices/V1").json();
    assert_eq!((&again["packages"], &again["components"]), (&json!([]), &json!([])));
    assert!(again["plan"].is_null());
    assert_eq!(all.get("/devices/V1/history").json()["items"], json!([]));
    all.get("/devices/V1/updates/next").is(204);
}

pub(crate) fn devices_are_searched_by_regular_expression_and_paged(fleet: &Fleet) {
    let all = &fleet.operator;
    all.post("/components", json!({ "part": "P" })).is(201);
    let ids: Vec<String> = (0..25).map(|n| format!("V{n:02}")).collect();
    ids.iter().for_each(|id| all.add_device(id));
    all.put("/devices/V07/components/P").is(204);
    let found = all.get("/devices?regex=0%5B5-7%5D&expand=components,packages").is(200).json();
    assert_eq!(found["total"], 3);
    assert_eq!(found["items"][2]["components"], json!(["P"]));
    assert!(all.get("/devices?regex=V07").json()["items"][0]["components"].is_null());
    let mut paged = vec![];
    let mut cursor = String::new();
    loop {
        let page = all.get(&format!("/devices?limit=10{cursor}")).is(200).json();
        paged.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
        // What is taken away meanwhile does not shift the pages.
        all.delete(&format!("/devices/{}", paged[0]));
    }
    assert_eq!(paged, ids);
    let wrong = all.get("/devices?regex=%28").refuses(400, "invalid_entity");
    assert!(wrong["column"].is_number(), "{wrong}");
    all.get("/devices?limit=0").refuses(400, "invalid_entity");
    all.get("/devices?limit=1001").refuses(400, "invalid_entity");
    all.get("/devices?colour=red").refuses(400, "invalid_entity");
    assert_eq!(all.ids("/devices?filter=has_component%20%22P%22", "id"), ["V07"]);
}

pub(crate) fn a_device_has_the_plan_that_it_was_given_last(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    for plan in ["one", "two"] {
        all.post("/plans", json!({ "name": plan })).is(201);
        all.json("PUT", "/devices/V1/plan", json!({ "plan": plan })).is(200);
        assert_eq!(all.get("/devices/V1").json()["plan"], plan);
    }
    all.json("PUT", "/devices/V1/plan", json!({ "plan": "no" })).refuses(404, "missing_plan");
    all.json("PUT", "/devices/V9/plan", json!({ "plan": "one" })).refuses(404, "missing_device");
    assert_eq!(all.get("/devices/V1").json()["plan"], "two");
}

pub(crate) fn components_are_fitted_and_taken_out(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    all.post("/components", json!({ "part": "P-1" })).is(201);
    all.put("/devices/V9/components/P-1").refuses(404, "missing_device");
    all.put("/devices/V1/components/P-9").refuses(404, "missing_component");
    all.put("/devices/V1/components/P-1").is(204);
    all.put("/devices/V1/components/P-1").is(204);
    assert_eq!(all.get("/devices/V1/components").json()["items"], json!(["P-1"]));
    assert_eq!(all.ids("/components/P-1/devices", "id"), ["V1"]);
    let has = json!({ "expression": "has_component \"^P-1$\"", "count": true });
    assert_eq!(all.post("/filters:validate", has.clone()).json()["count"], 1);
    all.get("/devices/V9/components").refuses(404, "missing_device");
    all.get("/components/P-9/devices").refuses(404, "missing_component");
    all.delete("/devices/V1/components/P-1").is(204);
    all.delete("/devices/V1/components/P-1").refuses(404, "missing_entity");
    assert_eq!(all.post("/filters:validate", has).json()["count"], 0);
}

pub(crate) fn packages_are_installed_and_taken_off(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    all.json("PUT", "/packages/nav/1.0", json!({})).is(201);
    all.put("/devices/V9/packages/nav/1.0").refuses(404, "missing_device");
    all.put("/devices/V1/packages/nav/9").refuses(404, "missing_package");
    all.put("/devices/V1/packages/nav/1.0").is(204);
    all.put("/devices/V1/packages/nav/1.0").is(204);
    let key = json!([{ "name": "nav", "version": "1.0" }]);
    assert_eq!(all.get("/devices/V1/packages").json()["items"], key);
    let has = json!({ "expression": "has_package \"nav\" \"^1\"", "count": true });
    assert_eq!(all.post("/filters:validate", has.clone()).json()["count"], 1);
    all.delete("/devices/V1/packages/nav/1.0").is(204);
    all.delete("/devices/V1/packages/nav/1.0").refuses(404, "not_installed");
    assert_eq!(all.post("/filters:validate", has).json()["count"], 0);
}

pub(crate) fn edits_need_the_revision_that_was_read(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    let edit = |tag: &str, matches: &str| {
        let headers = [("content-type", "application/json"), ("if-match", matches)];
        let body = json!({ "tags": [tag] }).to_string();
        all.send("PUT", "/devices/V1", &headers, Some(body.as_bytes()))
    };
    assert_eq!(edit("one", "\"1\"").is(200).header("etag"), "\"2\"");
    edit("two", "\"1\"").refuses(412, "stale");
    edit("two", "nonsense").refuses(412, "stale");
    assert_eq!(all.get("/devices/V1").json()["tags"], json!(["one"]));
    edit("three", "*").is(200);
    all.json("PUT", "/devices/V9", json!({})).refuses(404, "missing_device");
}

pub(crate) fn a_request_with_a_key_is_done_once(fleet: &Fleet) {
    let all = &fleet.operator;
    let send = |path: &str, body: serde_json::Value, key: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        all.send("POST", path, &headers, Some(body.to_string().as_bytes()))
    };
    let first = send("/devices", json!({ "id": "V1" }), "k1").is(201);
    let again = send("/devices", json!({ "id": "V1" }), "k1").is(201);
    assert_eq!((first.json(), first.header("location")), (again.json(), again.header("location")));
    send("/devices", json!({ "id": "V2" }), "k1").refuses(422, "key_reused");
    all.get("/devices/V2").refuses(404, "missing_device");
    all.post("/plans", json!({ "name": "p" })).is(201);
    all.post("/plans/p/cycles", json!({ "start": "2020-01-01T00:00:00Z", "pool": 100 })).is(201);
    all.json("PUT", "/devices/V1/plan", json!({ "plan": "p" })).is(200);
    for _ in 0..3 {
        let counted = send("/devices/V1/traffic", json!({ "bytes": 7 }), "k2").is(200).json();
        assert_eq!(counted["used"], 7);
    }
    send("/devices", json!({ "id": "V3" }), &"k".repeat(101)).refuses(400, "invalid_entity");
}

pub(crate) fn a_fleet_goes_out_and_comes_in_a_line_a_device(fleet: &Fleet) {
    let all = &fleet.operator;
    let lines: String = (0..700)
        .map(|n| format!("{{\"id\":\"V{n:03}\",\"packages\":[{{\"name\":\"nav\",\"version\":\"{}\"}}],\"components\":[\"P{}\"]}}\n", n % 3, n % 5))
        .collect();
    let kind = [("content-type", "application/x-ndjson")];
    let refused = all.send("POST", "/devices:import", &kind, Some(lines.as_bytes())).is(200).json();
    assert_eq!((&refused["added"], &refused["refused"]), (&json!(0), &json!(700)));
    assert_eq!(refused["errors"][699]["line"], 700);
    assert_eq!(refused["errors"][0]["code"], "missing_package");
    let done = all
        .send("POST", "/devices:import?create=true", &kind, Some(lines.as_bytes()))
        .is(200)
        .json();
    assert_eq!((&done["added"], &done["refused"]), (&json!(700), &json!(0)), "{done}");
    assert_eq!(
        all.get("/devices?filter=has_package%20%22nav%22%20%222%22&limit=1").json()["total"],
        233
    );
    // What is there already, or is no device, is told with its line; the others are added.
    let mixed = "{\"id\":\"N1\"}\n\n{\"id\":\"V001\"}\nnonsense\n{\"id\":\"N2\",\"colour\":1}\n{\"id\":\"N3\"}";
    let done = all.send("POST", "/devices:import", &kind, Some(mixed.as_bytes())).is(200).json();
    assert_eq!(done["added"], 2);
    let told: Vec<_> = done["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["line"].as_u64().unwrap(), e["code"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(3, "conflicting_entity"), (4, "invalid_entity"), (5, "invalid_entity")]);
    all.delete("/devices/N1").is(204);
    all.delete("/devices/N3").is(204);
    let out = all.get("/devices:export").is(200);
    assert_eq!(out.header("content-type"), "application/x-ndjson");
    assert_eq!(out.bytes, lines.as_bytes());
}

pub(crate) fn bodies_that_make_no_sense_change_nothing(fleet: &Fleet) {
    let all = &fleet.operator;
    let json = [("content-type", "application/json")];
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"id\":1}",
        "{\"id\":\"V\",\"colour\":1}",
        "{\"id\":\"V\"}x",
        "\u{feff}{}",
    ] {
        all.send("POST", "/devices", &json, Some(body.as_bytes())).refuses(400, "invalid_entity");
    }
    all.send("POST", "/devices", &json, Some(&[0xff; 10])).refuses(400, "invalid_entity");
    all.send("POST", "/devices", &[("content-type", "text/plain")], Some(b"{\"id\":\"V\"}"))
        .refuses(415, "unsupported_media_type");
    all.send("POST", "/devices", &[], Some(b"{\"id\":\"V\"}"))
        .refuses(415, "unsupported_media_type");
    let huge = format!("{{\"id\":\"{}\"}}", "x".repeat(1 << 20));
    all.send("POST", "/devices", &json, Some(huge.as_bytes())).refuses(413, "too_large");
    let deep =
        format!("{{\"id\":\"V\",\"attributes\":{}1{}}}", "{\"a\":".repeat(5000), "}".repeat(5000));
    all.send("POST", "/devices", &json, Some(deep.as_bytes())).refuses(400, "invalid_entity");
    all.get("/nothing").refuses(404, "missing_route");
    all.send("PATCH", "/devices", &[], None).refuses(405, "wrong_method");
    assert_eq!(all.get("/devices").json()["total"], 0);
    all.add_device("V");
}

pub(crate) fn of_a_thousand_adds_of_one_id_one_is_first(fleet: &Fleet) {
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let client = fleet.operator.clone();
                let add = move || client.post("/devices", json!({ "id": "SAME" })).status;
                scope.spawn(move || (0..50).map(|_| add()).collect::<Vec<u16>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 409).count(), 999);
}
