//! Use cases 33 to 39 and 41 to 43: campaigns, the queue, and inventory requests.

use serde_json::{Value, json};

use crate::fleet::{Client, Fleet};

/// Orders a package and gives the campaign's id.
pub(crate) fn order(client: &Client, name: &str, version: &str, more: Value) -> String {
    let mut body = json!({ "package": { "name": name, "version": version } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/campaigns", body).is(201).json()["id"].as_str().unwrap().to_owned()
}

pub(crate) fn counts(client: &Client, id: &str) -> [u64; 6] {
    let counts = client.get(&format!("/campaigns/{id}")).is(200).json()["counts"].clone();
    ["total", "pending", "in_flight", "completed", "failed", "cancelled"]
        .map(|name| counts[name].as_u64().unwrap())
}

pub(crate) fn time(millis: i64) -> String {
    freshen_fleet::api::types::time(millis)
}

pub(crate) fn a_campaign_is_for_all_that_its_filters_mean(fleet: &Fleet) {
    let all = &fleet.operator;
    for id in ["A1", "A2", "B1", "B2"] {
        all.add_device(id);
    }
    all.add_package("nav", "2", b"two");
    let none_linked = order(all, "nav", "2", json!({}));
    assert_eq!(counts(all, &none_linked), [4, 4, 0, 0, 0, 0]);
    for (label, expression) in [("a-cars", "vin_matches \"^A\""), ("ones", "vin_matches \"1$\"")] {
        all.post("/filters", json!({ "label": label, "expression": expression })).is(201);
        all.put(&format!("/packages/nav/2/filters/{label}")).is(204);
    }
    let both = order(all, "nav", "2", json!({}));
    assert_ne!(both, none_linked);
    assert_eq!(all.ids(&format!("/campaigns/{both}/devices"), "device"), ["A1"]);
    let own = order(
        all,
        "nav",
        "2",
        json!({ "filters": ["ones"], "expression": "NOT vin_matches \"A\"" }),
    );
    assert_eq!(all.ids(&format!("/campaigns/{own}/devices"), "device"), ["B1"]);
    assert_eq!(all.get("/campaigns").json()["total"], 3);
    let wrong = |body: Value, status: u16, code: &str| {
        all.post("/campaigns", body).refuses(status, code);
    };
    wrong(json!({ "package": { "name": "nav", "version": "9" } }), 404, "missing_package");
    wrong(
        json!({ "package": { "name": "nav", "version": "2" }, "filters": ["none"] }),
        404,
        "missing_filter",
    );
    for priority in [json!(0), json!(101), json!(-1), json!(1.5), json!("1")] {
        wrong(
            json!({ "package": { "name": "nav", "version": "2" }, "priority": priority }),
            400,
            "invalid_entity",
        );
    }
    let backwards = json!({ "package": { "name": "nav", "version": "2" },
        "not_before": "2030-01-02T00:00:00Z", "not_after": "2030-01-01T00:00:00Z" });
    wrong(backwards, 400, "invalid_entity");
    wrong(
        json!({ "package": { "name": "nav", "version": "2" }, "expression": "x" }),
        400,
        "invalid_entity",
    );
    all.get("/campaigns/00000000-0000-4000-8000-000000000000").refuses(404, "missing_campaign");
    all.get("/campaigns/nonsense").refuses(400, "invalid_entity");
}

pub(crate) fn a_dry_run_changes_nothing_and_is_what_then_happens(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_package("nav", "2", b"two");
    all.add_package("maps", "7", b"seven");
    all.add_package("maps", "8", b"eight");
    all.add_package("radio", "1", b"r");
    // nav 2 needs maps 8; radio 1 needs maps 7, which maps 8 replaces.
    all.put("/packages/nav/2/dependencies/maps/8").is(204);
    all.put("/packages/radio/1/dependencies/maps/7").is(204);
    for (id, installed) in [
        ("new", vec![]),
        ("has-maps", vec!["maps/8"]),
        ("done", vec!["nav/2"]),
        ("breaks", vec!["maps/7", "radio/1"]),
        ("old-maps", vec!["maps/7"]),
    ] {
        all.add_device(id);
        for package in installed {
            all.put(&format!("/devices/{id}/packages/{package}")).is(204);
        }
    }
    let body = json!({ "package": { "name": "nav", "version": "2" } });
    let dry = all.post("/campaigns?dry_run=true", body).is(200).json();
    assert_eq!(all.get("/campaigns").json()["total"], 0, "nothing changed");
    assert_eq!(dry["total"], 3);
    assert_eq!(
        dry["packages"],
        json!([
            { "name": "maps", "version": "8", "bytes": 5, "devices": 2 },
            { "name": "nav", "version": "2", "bytes": 3, "devices": 3 },
        ])
    );
    assert_eq!(dry["bytes"], 2 * 5 + 3 * 3);
    let mut reasons: Vec<&str> =
        dry["excluded"].as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["already_installed", "would_break"]);
    let real = order(all, "nav", "2", json!({}));
    let planned: Vec<String> = dry["examples"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["excluded"].is_null())
        .map(|e| e["device"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(all.ids(&format!("/campaigns/{real}/devices"), "device"), planned);
    let shown = all.get(&format!("/campaigns/{real}")).json();
    assert_eq!(shown["excluded"], json!({ "already_installed": 1, "would_break": 1 }));
    let packages = |id: &str| {
        let next = all.get(&format!("/devices/{id}/updates/next")).is(200).json();
        next["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(packages("new"), ["maps", "nav"]);
    assert_eq!(packages("has-maps"), ["nav"]);
    all.get("/devices/breaks/updates/next").is(204);
    let again =
        order(all, "nav", "2", json!({ "reinstall": true, "expression": "vin_matches \"done\"" }));
    assert_eq!(counts(all, &again)[0], 1);
}

pub(crate) fn cancel_takes_what_waits_and_leaves_what_is_in_flight(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_package("nav", "2", b"two");
    for id in ["V1", "V2", "V3", "V4"] {
        all.add_device(id);
    }
    let id = order(all, "nav", "2", json!({}));
    let v1 = fleet.device("V1");
    v1.post(&format!("/device/updates/{id}/start"), json!(null)).is(200);
    // One alone, by force; also one that is in flight.
    all.post(&format!("/devices/V4/updates/{id}/cancel"), json!(null)).is(204);
    all.post(&format!("/devices/V4/updates/{id}/cancel"), json!(null)).is(204);
    assert_eq!(counts(all, &id), [4, 2, 1, 0, 0, 1]);
    let cancelled = all.post(&format!("/campaigns/{id}/cancel"), json!(null)).is(200).json();
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(counts(all, &id), [4, 0, 1, 0, 0, 3]);
    all.post(&format!("/campaigns/{id}/cancel"), json!(null)).is(200);
    all.get("/devices/V2/updates/next").is(204);
    fleet
        .device("V2")
        .post(&format!("/device/updates/{id}/start"), json!(null))
        .refuses(409, "wrong_state");
    // A late report is accepted.
    let done = json!({ "result": "success", "running": [{ "name": "nav", "version": "2" }] });
    v1.post(&format!("/device/updates/{id}/report"), done).is(200);
    assert_eq!(counts(all, &id), [4, 0, 0, 1, 0, 3]);
    all.post("/campaigns/00000000-0000-4000-8000-000000000000/cancel", json!(null))
        .refuses(404, "missing_campaign");
    all.post(&format!("/devices/V1/updates/{id}/cancel"), json!(null)).refuses(409, "wrong_state");
    all.post(&format!("/devices/V9/updates/{id}/cancel"), json!(null))
        .refuses(404, "missing_device");
}

pub(crate) fn each_device_is_in_one_list_and_the_five_add_up(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_package("nav", "2", b"two");
    for n in 0..8 {
        all.add_device(&format!("V{n}"));
    }
    let id = order(all, "nav", "2", json!({}));
    let start = format!("/device/updates/{id}/start");
    let report = format!("/device/updates/{id}/report");
    let watched = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while watched.load(std::sync::atomic::Ordering::Relaxed) {
                let [total, rest @ ..] = counts(&fleet.viewer, &id);
                assert_eq!(total, rest.iter().sum::<u64>());
            }
        });
        for n in 1..6 {
            let device = fleet.device(&format!("V{n}"));
            let (start, report) = (&start, &report);
            scope.spawn(move || {
                device.post(start, json!(null)).is(200);
                let said = match n {
                    1 | 2 => json!({ "result": "success", "running": [{ "name": "nav", "version": "2" }] }),
                    3 => json!({ "result": "failure", "code": "install_failed", "text": "no room" }),
                    _ => json!({ "phase": "installing" }),
                };
                device.post(report, said).is(200);
            });
        }
        while counts(all, &id)[3..5] != [2, 1] || counts(all, &id)[2] != 2 {}
        watched.store(false, std::sync::atomic::Ordering::Relaxed);
        watcher.join().unwrap();
    });
    let list = |state: &str| {
        all.get(&format!("/campaigns/{id}/devices?state={state}")).is(200).json()["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!((list("pending").len(), list("in_flight").len()), (3, 2));
    assert_eq!((list("completed").len(), list("failed").len(), list("cancelled").len()), (2, 1, 0));
    let failed = &list("failed")[0];
    assert_eq!(
        (&failed["device"], &failed["code"], &failed["text"]),
        (&json!("V3"), &json!("install_failed"), &json!("no room"))
    );
    assert!(failed["changed_at"].is_string() && list("completed")[0]["changed_at"].is_string());
    assert!(list("in_flight")[0]["started_at"].is_string());
    let everybody = all.ids(&format!("/campaigns/{id}/devices"), "device");
    assert_eq!(everybody.len(), 8);
    let mut paged = all.ids(&format!("/campaigns/{id}/devices?limit=5"), "device");
    let next = all.get(&format!("/campaigns/{id}/devices?limit=5")).json()["next"]
        .as_str()
        .unwrap()
        .to_owned();
    paged.extend(all.ids(&format!("/campaigns/{id}/devices?limit=5&cursor={next}"), "device"));
    assert_eq!(paged, everybody);
    let lines = all
        .send(
            "GET",
            &format!("/campaigns/{id}/devices?state=pending"),
            &[("accept", "application/x-ndjson")],
            None,
        )
        .is(200);
    assert_eq!(lines.bytes.iter().filter(|byte| **byte == b'\n').count(), 3);
    all.get(&format!("/campaigns/{id}/devices?state=lost")).refuses(400, "invalid_entity");
    all.get("/campaigns/00000000-0000-4000-8000-000000000000/devices")
        .refuses(404, "missing_campaign");
}

pub(crate) fn what_is_over_is_purged_and_nothing_else(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_package("nav", "2", b"two");
    for id in ["V1", "V2", "V3"] {
        all.add_device(id);
    }
    let now = fleet.clock.now();
    let over = order(all, "nav", "2", json!({ "not_after": time(now + 10_000) }));
    let inside = order(all, "nav", "2", json!({ "not_after": time(now + 100_000) }));
    let ahead = order(all, "nav", "2", json!({ "not_before": time(now + 90_000) }));
    fleet.device("V1").post(&format!("/device/updates/{over}/start"), json!(null)).is(200);
    assert_eq!(all.post("/queue:purge", json!(null)).is(200).json()["count"], 0);
    fleet.later(20_000);
    // Over is over, purged or not.
    assert_eq!(all.get("/devices/V2/updates/next").is(200).json()["id"], inside.as_str());
    assert_eq!(all.post("/queue:purge", json!(null)).is(200).json()["count"], 2);
    assert_eq!(all.post("/queue:purge", json!(null)).is(200).json()["count"], 0);
    assert_eq!(counts(all, &over), [3, 0, 1, 0, 2, 0]);
    assert_eq!((counts(all, &inside)[1], counts(all, &ahead)[1]), (3, 3));
    let failed = all.get(&format!("/campaigns/{over}/devices?state=failed")).json();
    assert_eq!(
        (&failed["items"][0]["code"], failed["items"][0]["changed_at"].is_string()),
        (&json!("expired"), true)
    );
}

pub(crate) fn the_blacklist_keeps_packages_from_everybody(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    all.add_package("nav", "2", b"two");
    all.put("/packages/nav/2/blacklist").is(204);
    assert_eq!(all.get("/packages/nav/2").json()["blacklisted"], true);
    let body = json!({ "package": { "name": "nav", "version": "2" } });
    all.post("/campaigns", body.clone()).refuses(400, "blacklisted_package");
    all.post("/campaigns?dry_run=true", body.clone()).refuses(400, "blacklisted_package");
    all.put("/packages/nav/9/blacklist").refuses(404, "missing_package");
    all.delete("/packages/nav/2/blacklist").is(204);
    all.post("/campaigns", body).is(201);
}

pub(crate) fn waking_is_for_devices_with_work_once_an_interval(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_package("nav", "2", &[0; 50]);
    all.post("/plans", json!({ "name": "small" })).is(201);
    all.post("/plans/small/cycles", json!({ "start": "2020-01-01T00:00:00Z", "pool": 10 })).is(201);
    all.post("/devices", json!({ "id": "poor", "plan": "small", "reconnect_interval_s": 60 }))
        .is(201);
    for id in ["V1", "V2", "idle"] {
        all.post("/devices", json!({ "id": id, "reconnect_interval_s": 60 })).is(201);
    }
    order(all, "nav", "2", json!({ "expression": "NOT vin_matches \"idle\"" }));
    let run = || all.post("/queue:run", json!(null)).is(200).json()["count"].as_u64().unwrap();
    assert_eq!(run(), 2, "what is too large wakes nobody");
    let woken = std::fs::read_to_string(fleet.dir.path().join("woken")).unwrap();
    let mut woken: Vec<&str> = woken.lines().collect();
    woken.sort_unstable();
    assert_eq!(woken, ["V1", "V2"]);
    assert_eq!(run(), 0, "within the interval");
    fleet.later(59_000);
    assert_eq!(run(), 0);
    fleet.later(2_000);
    assert_eq!(run(), 2);
}

pub(crate) fn an_inventory_is_asked_for_and_given(fleet: &Fleet) {
    let all = &fleet.operator;
    all.add_device("V1");
    all.json("PUT", "/packages/nav/1", json!({})).is(201);
    all.put("/devices/V1/packages/nav/1").is(204);
    let asked = all.post("/devices/V1/inventory-requests", json!(null)).is(202).json();
    all.post("/devices/V9/inventory-requests", json!(null)).refuses(404, "missing_device");
    let device = fleet.device("V1");
    let next = device.get("/device/updates/next").is(200).json();
    assert_eq!((&next["kind"], &next["id"]), (&json!("inventory"), &asked["id"]));
    let running = json!({ "packages": [{ "name": "nav", "version": "2" }, { "name": "vendor's", "version": "0" }] });
    let refused =
        device.post("/device/inventory", json!({ "packages": [{ "name": "", "version": "2" }] }));
    refused.refuses(400, "invalid_entity");
    let running =
        json!({ "packages": [running["packages"][0], { "name": "own", "version": "0" }] });
    device.post("/device/inventory", running.clone()).is(204);
    assert_eq!(all.get("/devices/V1/packages").json()["items"], running["packages"]);
    assert_eq!(all.get("/packages/own/0").json()["foreign"], true);
    let has = json!({ "expression": "runs \"nav\" >= \"2\"", "count": true });
    assert_eq!(all.post("/filters:validate", has).json()["count"], 1);
    device.get("/device/updates/next").is(204);
    let history = all.get("/devices/V1/history").json();
    assert_eq!(
        (&history["items"][0]["kind"], &history["items"][0]["state"]),
        (&json!("inventory"), &json!("completed"))
    );
    // One that nobody answers ends after a day.
    all.post("/devices/V1/inventory-requests", json!(null)).is(202);
    fleet.later(25 * 3600 * 1000);
    device.get("/device/updates/next").is(204);
    assert_eq!(all.post("/queue:purge", json!(null)).json()["count"], 1);
}
