//! Use case 40 and a device's own routes: what is next, and what it reports.

use serde_json::json;

use crate::campaigns::{counts, order, time};
use crate::fleet::Fleet;

pub(crate) fn the_next_update_is_in_flight_then_by_priority_then_by_age(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    for name in ["a", "b", "c", "d"] {
        all.add_package(name, "1", b"x");
    }
    let later = order(all, "a", "1", json!({}));
    fleet.later(5);
    let low = order(all, "b", "1", json!({ "priority": 50 }));
    fleet.later(5);
    let latest = order(all, "c", "1", json!({}));
    fleet.later(5);
    let first = order(all, "d", "1", json!({ "priority": 1 }));
    let device = fleet.device("V1");
    let next = || device.get("/device/updates/next").is(200).json();
    device.post(&format!("/device/updates/{low}/start"), json!(null)).refuses(409, "wrong_state");
    for (id, name) in [(&first, "d"), (&later, "a"), (&latest, "c"), (&low, "b")] {
        assert_eq!(next()["id"], id.as_str());
        device.post(&format!("/device/updates/{id}/start"), json!(null)).is(200);
        let urgent = (name == "d")
            .then(|| order(all, "d", "1", json!({ "priority": 1, "expression": "FALSE" })));
        assert!(urgent.is_none_or(|urgent| counts(all, &urgent)[0] == 0));
        let going = next();
        assert_eq!((&going["id"], &going["phase"]), (&json!(id), &json!("downloading")));
        let done = json!({ "result": "success", "running": [{ "name": name, "version": "1" }] });
        device.post(&format!("/device/updates/{id}/report"), done).is(200);
    }
    device.get("/device/updates/next").is(204);
    all.get("/devices/V9/updates/next").refuses(404, "missing_device");
}

pub(crate) fn nothing_begins_before_its_time(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    all.add_package("nav", "2", b"two");
    let id = order(all, "nav", "2", json!({ "not_before": time(fleet.clock.now() + 60_000) }));
    let device = fleet.device("V1");
    device.get("/device/updates/next").is(204);
    device.post(&format!("/device/updates/{id}/start"), json!(null)).refuses(409, "wrong_state");
    fleet.later(61_000);
    device.get("/device/updates/next").is(200);
    device.post(&format!("/device/updates/{id}/start"), json!(null)).is(200);
    fleet.operator.add_device("V2");
    fleet
        .device("V2")
        .post(&format!("/device/updates/{id}/start"), json!(null))
        .refuses(404, "missing_update");
}

pub(crate) fn too_large_an_update_waits_for_the_next_cycle(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_package("big", "1", &[0; 100]);
    all.add_package("small", "1", &[0; 10]);
    for (plan, skips) in [("strict", false), ("loose", true)] {
        all.post("/plans", json!({ "name": plan, "skip_oversize": skips })).is(201);
        let now = fleet.clock.now();
        for (start, pool) in [(now - 1000, 100), (now + 60_000, 100)] {
            all.post(
                &format!("/plans/{plan}/cycles"),
                json!({ "start": time(start), "pool": pool }),
            )
            .is(201);
        }
        all.post("/devices", json!({ "id": plan, "plan": plan })).is(201);
    }
    let big = order(all, "big", "1", json!({ "priority": 1 }));
    let small = order(all, "small", "1", json!({}));
    let next = |id: &str| all.get(&format!("/devices/{id}/updates/next"));
    // What fits exactly, fits.
    assert_eq!(next("strict").is(200).json()["id"], big.as_str());
    for id in ["strict", "loose"] {
        all.post(&format!("/devices/{id}/traffic"), json!({ "bytes": 1 })).is(200);
    }
    let blocked = next("strict").refuses(409, "oversize");
    assert!(blocked["detail"].as_str().unwrap().contains("99"), "{blocked}");
    assert_eq!(next("loose").is(200).json()["id"], small.as_str());
    assert_eq!(counts(all, &big)[1], 2, "it stays pending");
    fleet.later(61_000);
    assert_eq!(next("strict").is(200).json()["id"], big.as_str());
}

pub(crate) fn completed_means_that_it_was_seen_to_run(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_package("nav", "2", b"two");
    for id in ["seen", "later", "rolled", "silent"] {
        all.add_device(id);
    }
    let id = order(all, "nav", "2", json!({}));
    let report = format!("/device/updates/{id}/report");
    let begin = |name: &str| {
        let device = fleet.device(name);
        device.post(&format!("/device/updates/{id}/start"), json!(null)).is(200);
        device
    };
    let nav = |version: &str| json!({ "name": "nav", "version": version });
    let said = begin("seen")
        .post(&report, json!({ "result": "success", "running": [nav("2")] }))
        .is(200)
        .json();
    assert_eq!(said["state"], "completed");
    assert_eq!(all.get("/devices/seen/packages").json()["items"], json!([nav("2")]));
    let later = begin("later");
    let said = later.post(&report, json!({ "result": "success" })).is(200).json();
    assert_eq!((&said["state"], &said["phase"]), (&json!("in_flight"), &json!("verifying")));
    assert_eq!(all.get("/devices/later/packages").json()["items"], json!([]));
    later.post("/device/inventory", json!({ "packages": [nav("2")] })).is(204);
    let rolled = begin("rolled");
    rolled.post(&report, json!({ "result": "success" })).is(200);
    rolled.post("/device/inventory", json!({ "packages": [nav("1")] })).is(204);
    begin("silent").post(&report, json!({ "phase": "installing" })).is(200);
    assert_eq!(counts(all, &id), [4, 0, 1, 2, 1, 0]);
    let failed = all.get(&format!("/campaigns/{id}/devices?state=failed")).json();
    assert_eq!(failed["items"][0]["code"], "rolled_back");
}

pub(crate) fn a_failure_is_told_with_its_code_and_nothing_is_said_twice(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_package("nav", "2", b"two");
    all.add_package("maps", "2", b"two");
    all.add_device("V1");
    let id = order(all, "nav", "2", json!({}));
    fleet.later(5);
    let second = order(all, "maps", "2", json!({}));
    let device = fleet.device("V1");
    let report = format!("/device/updates/{id}/report");
    device.post(&report, json!({ "phase": "downloading" })).refuses(409, "wrong_state");
    device.post(&format!("/device/updates/{id}/start"), json!(null)).is(200);
    device.post(&format!("/device/updates/{id}/start"), json!(null)).is(200);
    for (phase, stands) in
        [("installing", "installing"), ("downloading", "installing"), ("installing", "installing")]
    {
        assert_eq!(device.post(&report, json!({ "phase": phase })).is(200).json()["phase"], stands);
    }
    for wrong in [
        json!({}),
        json!({ "phase": "lost" }),
        json!({ "result": "maybe" }),
        json!({ "phase": "installing", "result": "success" }),
        json!({ "result": "failure", "code": "Not a word" }),
        json!({ "colour": "red" }),
    ] {
        device.post(&report, wrong).refuses(400, "invalid_entity");
    }
    let failure = json!({ "result": "failure", "code": "disk_full", "text": "x".repeat(10_000) });
    assert_eq!(device.post(&report, failure.clone()).is(200).json()["state"], "failed");
    let before = fleet.admin.get("/audit?limit=1000").json()["items"].as_array().unwrap().len();
    assert_eq!(device.post(&report, failure).is(200).json()["state"], "failed");
    assert_eq!(
        device.post(&report, json!({ "result": "success" })).is(200).json()["state"],
        "failed"
    );
    let after = fleet.admin.get("/audit?limit=1000").json()["items"].as_array().unwrap().len();
    assert_eq!(before, after, "said twice, it changes nothing");
    let failed = all.get(&format!("/campaigns/{id}/devices?state=failed")).json();
    assert_eq!(failed["items"][0]["code"], "disk_full");
    assert_eq!(failed["items"][0]["text"].as_str().unwrap().len(), 4096);
    // The next one is offered, and declined.
    assert_eq!(device.get("/device/updates/next").is(200).json()["id"], second.as_str());
    let declined =
        device.post(&format!("/device/updates/{second}/decline"), json!(null)).is(200).json();
    assert_eq!(declined["state"], "failed");
    assert_eq!(
        all.get(&format!("/campaigns/{second}/devices?state=failed")).json()["items"][0]["code"],
        "user_declined"
    );
    device.get("/device/updates/next").is(204);
    // What is another device's is not there.
    all.add_device("V2");
    fleet.device("V2").post(&report, json!({ "result": "success" })).refuses(404, "missing_update");
}

pub(crate) fn history_has_everything_that_was_and_is_to_be(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    for name in ["a", "b", "c", "d", "e"] {
        all.add_package(name, "1", b"x");
    }
    all.put("/packages/a/1/dependencies/e/1").is(204);
    let ids: Vec<String> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| {
            fleet.later(5);
            order(all, name, "1", json!({}))
        })
        .collect();
    let device = fleet.device("V1");
    device.post(&format!("/device/updates/{}/start", ids[0]), json!(null)).is(200);
    let done = json!({ "result": "success", "running": [{ "name": "a", "version": "1" }] });
    device.post(&format!("/device/updates/{}/report", ids[0]), done).is(200);
    device.post(&format!("/device/updates/{}/start", ids[1]), json!(null)).is(200);
    all.post(&format!("/campaigns/{}/cancel", ids[2]), json!(null)).is(200);
    let history = all.get("/devices/V1/history").is(200).json();
    let states: Vec<&str> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["completed", "in_flight", "cancelled", "pending"]);
    let first = &history["items"][0];
    assert_eq!(
        first["packages"],
        json!([{ "name": "e", "version": "1" }, { "name": "a", "version": "1" }])
    );
    assert!(first["started_at"].is_string() && first["ended_at"].is_string());
    assert!(
        history["items"][2]["ended_at"].is_string() && history["items"][3]["ended_at"].is_null()
    );
    all.get("/devices/V9/history").refuses(404, "missing_device");
}
