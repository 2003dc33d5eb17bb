//! Who may, what is kept of it, and what is told: the matrix of every operation is made from the OpenAPI
//! document.

use serde_json::{Value, json};

use crate::fleet::{Client, Fleet};

/// The operations of the document: method, path with names filled in, and what each needs.
fn operations() -> Vec<(String, String, Option<String>)> {
    let document: Value = serde_json::to_value(freshen_fleet::api::document()).unwrap();
    let mut all = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(operation) = operation.as_object().filter(|_| method != "parameters") else {
                continue;
            };
            let need =
                operation.get("security").and_then(|security| security[0]["token"][0].as_str());
            let filled = path
                .replace("{campaign}", "11111111-1111-4111-8111-111111111111")
                .replace("{token}", "11111111-1111-4111-8111-111111111111")
                .replace("{plan}", "the-plan")
                .replace("{part}", "the-part")
                .replace("{label}", "the-label")
                .replace("{id}", "the-device")
                .replace("{vendor}", "the-vendor")
                .replace("{path}", "the-file")
                .replace("{name}", "the-name")
                .replace("{version}", "1")
                .replace("{needed_name}", "the-needed")
                .replace("{needed_version}", "1");
            assert!(!filled.contains('{'), "{filled}");
            all.push((method.to_uppercase(), filled, need.map(str::to_owned)));
        }
    }
    assert!(all.len() > 60, "{}", all.len());
    all
}

fn probe(client: &Client, method: &str, path: &str) -> u16 {
    if path.ends_with("/events") && client.get("/devices").status == 200 {
        return 200;
    }
    let kind = [("content-type", "application/json")];
    let body = matches!(method, "POST" | "PUT" | "PATCH").then_some(b"{" as &[u8]);
    client.send(method, &format!("/{path}"), &kind, body).status
}

pub(crate) fn every_operation_asks_who_and_tenants_do_not_meet(fleet: &Fleet) {
    fleet.operator.add_device("the-device");
    let device = fleet.device("the-device");
    let may = |need: &str| match need {
        "view" => [true, true, true, true, false],
        "operate" => [false, true, false, true, false],
        "administer" => [false, false, false, true, false],
        "device" => [false, false, false, false, true],
        other => panic!("{other}"),
    };
    let mut cells = 0;
    for (method, path, need) in operations() {
        let Some(need) = need else {
            assert!(["/health", "/metrics"].contains(&&*path), "{path} asks nobody");
            continue;
        };
        assert_eq!(probe(&fleet.nobody, &method, &path), 401, "{method} {path} as nobody");
        let clients = [&fleet.viewer, &fleet.operator, &fleet.approver, &fleet.admin, &device];
        for (client, may) in clients.into_iter().zip(may(&need)) {
            // Deleting what is there is not a probe.
            if may && method == "DELETE" && path.ends_with("/the-device") {
                continue;
            }
            let status = probe(client, &method, &path);
            assert_eq!(status != 403, may, "{method} {path} needs {need}: {status}");
            assert_ne!(status, 401, "{method} {path}");
            assert!(status < 500, "{method} {path}: {status}");
            cells += 1;
        }
    }
    assert!(cells > 300, "{cells}");
    tenants_do_not_meet(fleet);
}

fn tenants_do_not_meet(fleet: &Fleet) {
    let all = &fleet.operator;
    all.post("/components", json!({ "part": "P" })).is(201);
    all.post("/filters", json!({ "label": "all", "expression": "TRUE" })).is(201);
    all.post("/plans", json!({ "name": "plan" })).is(201);
    all.add_package("nav", "1", b"secret bytes");
    let made = all
        .post("/campaigns", json!({ "package": { "name": "nav", "version": "1" } }))
        .is(201)
        .json();
    let campaign = made["id"].as_str().unwrap();
    let theirs = |path: &str, never: &str| {
        let (seen, nothing) = (fleet.other.get(path), fleet.other.get(never));
        assert_eq!(all.get(path).status, 200, "the control: it is there for its own");
        assert_eq!((seen.status, &seen.bytes), (404, &nothing.bytes), "{path}");
    };
    theirs("/devices/the-device", "/devices/no-device");
    theirs("/devices/the-device/history", "/devices/no-device/history");
    theirs("/packages/nav/1", "/packages/nav/2");
    theirs("/packages/nav/1/files/nav", "/packages/nav/2/files/nav");
    theirs("/packages/nav/1/dependencies", "/packages/no/1/dependencies");
    theirs("/filters/all", "/filters/none");
    theirs("/components/P/devices", "/components/Q/devices");
    theirs("/plans/plan/cycles", "/plans/none/cycles");
    theirs(&format!("/campaigns/{campaign}"), "/campaigns/11111111-1111-4111-8111-111111111111");
    for list in ["/devices", "/packages", "/filters", "/components", "/plans", "/campaigns"] {
        assert_eq!(fleet.other.get(list).is(200).json()["total"], 0, "{list}");
        assert_ne!(all.get(list).json()["total"], 0, "{list}");
    }
    let count = json!({ "expression": "TRUE", "count": true });
    assert_eq!(fleet.other.post("/filters:validate", count).json()["count"], 0);
    assert_eq!(fleet.other.get("/devices:export").is(200).bytes, b"");
    fleet.other.delete("/devices/the-device").refuses(404, "missing_device");
    fleet
        .other
        .post(&format!("/campaigns/{campaign}/cancel"), json!(null))
        .refuses(404, "missing_campaign");
    let lines = fleet.other.get("/audit").json();
    assert!(lines["items"].as_array().unwrap().iter().all(|line| line["action"] == "token.add"));
    // The same names are free for them; and a device's token opens one device of one tenant.
    fleet.other.add_device("the-device");
    fleet.other.delete("/devices/the-device").is(204);
    all.get("/devices/the-device").is(200);
    let tenant = json!({ "name": "third" });
    fleet.other.post("/tenants", tenant).refuses(400, "invalid_entity");
}

pub(crate) fn tokens_end_and_are_never_shown_again(fleet: &Fleet) {
    let admin = &fleet.admin;
    let end = crate::campaigns::time(fleet.clock.now() + 60_000);
    let made = admin
        .post("/tokens", json!({ "name": "ann", "role": "viewer", "not_after": end }))
        .is(201)
        .json();
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("ff_") && token.len() == 67);
    let ann = |status: u16| {
        let bearer = format!("Bearer {token}");
        fleet.nobody.send("GET", "/devices", &[("authorization", &bearer)], None).is(status);
    };
    ann(200);
    let list = admin.get("/tokens").is(200);
    let text = String::from_utf8(list.bytes.clone()).unwrap();
    assert!(text.contains("ann") && !text.contains(&token) && !text.contains("ff_"));
    fleet.later(61_000);
    ann(401);
    let made = admin.post("/tokens", json!({ "name": "bob", "role": "operator" })).is(201).json();
    let path = format!("/tokens/{}", made["id"].as_str().unwrap());
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let bob = || fleet.nobody.send("GET", "/devices", &[("authorization", &bearer)], None);
    bob().is(200);
    admin.delete(&path).is(204);
    bob().refuses(401, "unauthorized");
    admin.delete(&path).refuses(404, "missing_entity");
    for wrong in [
        json!({ "name": "", "role": "viewer" }),
        json!({ "name": "x", "role": "king" }),
        json!({ "name": "x", "role": "device" }),
        json!({ "name": "x", "role": "viewer", "device": "V1" }),
        json!({ "name": "a\nb", "role": "viewer" }),
    ] {
        admin.post("/tokens", wrong).refuses(400, "invalid_entity");
    }
    admin
        .post("/tokens", json!({ "name": "x", "role": "device", "device": "V9" }))
        .refuses(404, "missing_device");
    for bad in ["Bearer x", "Basic YTpi", "Bearer ff_", "ff_00", ""] {
        fleet
            .nobody
            .send("GET", "/devices", &[("authorization", bad)], None)
            .refuses(401, "unauthorized");
    }
    // Neither the database nor its journal has the token.
    for file in std::fs::read_dir(fleet.dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
        }
    }
}

pub(crate) fn the_audit_has_everything_and_shows_what_was_changed(fleet: &Fleet) {
    fleet.operator.add_device("V1");
    fleet.operator.delete("/devices/V1").is(204);
    fleet.operator.delete("/devices/V1").is(404);
    let lines = fleet.admin.get("/audit?limit=1000").is(200).json();
    let lines: Vec<(String, String, String)> = lines["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            (text("who"), text("action"), text("subject"))
        })
        .collect();
    let told = |action: &str| ("operator".to_owned(), action.to_owned(), "V1".to_owned());
    assert!(lines.contains(&told("device.add")) && lines.contains(&told("device.delete")));
    assert_eq!(lines.iter().filter(|line| line.1 == "device.delete").count(), 1);
    let state = fleet.admin.post("/audit:verify", json!(null)).is(200).json();
    assert_eq!((&state["whole"], &state["lines"]), (&json!(true), &json!(lines.len())));
    let database = fleet.dir.path().join("fleet.db");
    if !database.exists() {
        return;
    }
    // Somebody with a hand on the file changes a line, and puts it back.
    let hand = rusqlite::Connection::open(&database).unwrap();
    let set = |who: &str| {
        let text = "UPDATE audit SET who = ?1 WHERE action = 'device.delete'";
        hand.execute(text, [who]).unwrap();
    };
    set("nobody");
    let state = fleet.admin.post("/audit:verify", json!(null)).is(200).json();
    assert_eq!(state["whole"], false);
    assert!(state["broken"].as_str().unwrap().contains("was changed"), "{state}");
    set("operator");
}

pub(crate) fn events_are_told_from_any_number_on(fleet: &Fleet) {
    let before = fleet.wait(fleet.store.event_head()).unwrap();
    fleet.operator.add_device("V1");
    fleet.other.add_device("theirs");
    fleet.operator.add_device("V2");
    fleet.other.delete("/devices/theirs").is(204);
    let scope = freshen_fleet::access::console(1);
    let told = fleet.wait(async {
        let mut feed = fleet.server.listen(&scope, Some(before)).await.unwrap();
        let first = [feed.next().await.unwrap(), feed.next().await.unwrap()];
        first.map(|told| (told.number, told.kind, told.subject))
    });
    let [first, second] = told;
    assert_eq!((&*first.1, &*first.2), ("device.added", "V1"));
    assert_eq!((&*second.1, &*second.2), ("device.added", "V2"));
    assert!(first.0 == before + 1 && second.0 == before + 3, "numbers are everybody's");
    let scope = freshen_fleet::access::console(1);
    let live = fleet.wait(async {
        let mut feed = fleet.server.listen(&scope, None).await.unwrap();
        let delete = freshen_fleet::plan::words::DeviceId::from_bytes(b"V2").unwrap();
        fleet.server.delete_device(&scope, &delete).await.unwrap();
        feed.next().await.unwrap()
    });
    assert_eq!((&*live.kind, &*live.subject), ("device.deleted", "V2"));
}
