//! The main job: found, fetched, verified, installed, tried, confirmed, and watched on the way.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::bench::{CoapClient, Device, Observer, Vendor};
use harness::ports::free_address;

const SWU: &str = "/softwareupdateResURI";
const PSTAT: &str = "/oic/sec/pstat";

fn soon(seconds: i64) -> String {
    let now = freshen::clock::now().wall;
    (now + TimeDelta::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn words(seen: &[Value], property: &str) -> Vec<Value> {
    let mut words: Vec<Value> = seen.iter().map(|value| value[property].clone()).collect();
    words.dedup();
    words
}

/// Every state in order, to its end, as libcoap and aiocoap see it.
fn watched_upgrade(order: impl FnOnce(&Device, &str)) {
    let vendor = Vendor::new();
    let url = vendor.publish("1.1.0", "exit 0", 2_000_000);
    let device = Device::start(&vendor, "cam");
    let libcoap = CoapClient::observe(&device.uri(SWU), 12);
    let aiocoap = Observer::start(&[device.uri(PSTAT)]);
    let mut modes = vec![aiocoap.next()["body"]["cm"].clone()];
    // Both watch before anything happens: each has seen how it begins.
    order(&device, &url);
    let done = device.wait_until(|value| value["swupdateresult"] != 0);
    assert_eq!(done["swupdateresult"], 1, "{}", device.log());
    assert_eq!(done["swupdatestate"], "idle");
    assert_eq!(done["swupdateaction"], "idle");
    assert_eq!(done["nv"], Value::Null);
    let last: DateTime<Utc> = done["lastupdate"].as_str().unwrap().parse().unwrap();
    assert!(freshen::clock::now().wall - last < TimeDelta::seconds(60));
    assert_eq!(device.running(), "1.1.0");
    assert_eq!(device.get("/oic/d")["sv"], "1.1.0");
    assert_eq!(device.get("/oic/p")["mnfv"], "1.1.0");

    while modes.last() != Some(&json!(448)) {
        modes.push(aiocoap.next()["body"]["cm"].clone());
    }
    modes.push(aiocoap.next()["body"]["cm"].clone());
    let leading = modes.iter().take_while(|mode| **mode == 0).count();
    assert_eq!(modes[leading - 1..], [0, 256, 256, 320, 448, 0].map(|mode| json!(mode)));

    let seen = libcoap.seen();
    let states = ["idle", "nsa", "svv", "sva", "upgrading", "idle"];
    assert_eq!(words(&seen, "swupdatestate"), states.map(|state| json!(state)), "{seen:#?}");
    assert_eq!(
        seen[1..].iter().find(|value| value["swupdatestate"] == "nsa").unwrap()["nv"],
        "1.1.0"
    );
}

#[test]
fn an_upgrade_by_time_is_seen_in_order() {
    watched_upgrade(|device, url| {
        let taken = device.order(url, "upgrade", &soon(7)).unwrap();
        assert_eq!(taken["swupdateaction"], "upgrade");
        assert_eq!(taken["swupdatestate"], "idle");
    });
}

#[test]
fn an_upgrade_by_target_mode_is_seen_in_order() {
    watched_upgrade(|device, url| {
        device.order(url, "idle", "2026-01-01T00:00:00Z").unwrap();
        device.post(PSTAT, &json!({"tm": 128})).unwrap();
        assert_eq!(device.get(PSTAT)["tm"], 0);
    });
}

#[test]
fn a_check_stops_where_newer_software_is_known_and_a_validation_where_it_is_here() {
    let vendor = Vendor::new();
    let url = vendor.publish("1.1.0", "exit 0", 1000);
    let device = Device::start(&vendor, "cam");
    device.order(&url, "isac", &soon(0)).unwrap();
    let value = device.wait_until(|value| value["swupdatestate"] == "nsa");
    assert_eq!((&value["nv"], &value["swupdateaction"]), (&json!("1.1.0"), &json!("idle")));
    assert_eq!(device.get(PSTAT)["cm"], 256);
    device.order(&url, "isvv", &soon(0)).unwrap();
    let value = device.wait_until(|value| value["swupdatestate"] == "sva");
    assert_eq!(value["swupdateresult"], 1);
    assert_eq!(device.get(PSTAT)["cm"], 320);
    assert_eq!(device.running(), "", "nothing was installed");
    device.post(PSTAT, &json!({"tm": 128})).unwrap();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1);
    assert_eq!(device.running(), "1.1.0");
    // The same once more: there is nothing newer.
    device.order(&url, "isac", &soon(0)).unwrap();
    let value = device.wait_until_idle();
    assert_eq!((&value["swupdateresult"], &value["nv"]), (&json!(0), &Value::Null));
}

#[test]
fn the_drafts_own_example_works_as_printed() {
    let vendor = Vendor::new();
    let device = Device::start(&vendor, "cam");
    let body = json!({
        "purl": "https://myvendor/newversion",
        "swupdateaction": "upgrade",
        "updateatime": "2030-01-09T14:30Z",
    });
    let taken = device.post(SWU, &body).unwrap();
    assert_eq!(taken["purl"], "https://myvendor/newversion");
    assert_eq!(taken["swupdateaction"], "upgrade");
    assert_eq!(taken["updatetime"], "2030-01-09T14:30:00Z");
    assert_eq!(taken["swupdatestate"], "idle");
    assert_eq!(device.get("/updatestatus")["scheduled"], "2030-01-09T14:30:00Z");
    // Cancelled, it is gone.
    device.order("https://myvendor/newversion", "idle", "2030-01-09T14:30Z").unwrap();
    assert_eq!(device.get("/updatestatus")["scheduled"], Value::Null);
}

#[test]
fn what_is_wrong_is_told_by_its_code_and_in_words() {
    let vendor = Vendor::new();
    let good = vendor.publish("1.1.0", "exit 0", 5000);
    vendor.publish("1.2.0", "exit 1", 5000);
    let mut flipped = std::fs::read(vendor.path("out/1.1.0.suit")).unwrap();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    vendor.nginx.put("flipped.suit", &flipped);
    let device = Device::start(&vendor, "cam");
    for (purl, result) in [
        ("", 6),
        ("no URL", 6),
        ("https://user:secret@localhost/x", 6),
        ("https://elsewhere.example/x", 6),
        ("ftp://localhost/x", 7),
        ("http://localhost/x", 7),
        (&*vendor.url("nothing-here"), 404),
        (&*vendor.url("flipped"), 5),
        ("https://localhost:1/x", 4),
        (&*vendor.url("1.2.0"), 8),
    ] {
        device.order(purl, "upgrade", &soon(0)).unwrap();
        let value = device.wait_until_idle();
        assert_eq!(value["swupdateresult"], result, "{purl}: {}", device.log());
        assert!(device.get("/updatestatus")["lasterror"].is_string(), "{purl}");
        assert_eq!(device.running(), "", "{purl}");
    }
    device.order(&good, "upgrade", &soon(0)).unwrap();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
}

#[test]
fn a_payload_with_a_flipped_bit_is_refused_and_the_old_software_stays() {
    let vendor = Vendor::new();
    let first = vendor.publish("1.1.0", "exit 0", 5000);
    let device = Device::start(&vendor, "cam");
    device.order(&first, "upgrade", &soon(0)).unwrap();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
    let second = vendor.publish("1.3.0", "exit 0", 5000);
    for file in std::fs::read_dir(vendor.path("out")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        if name.contains("1.3.0") && !name.ends_with(".suit") {
            let mut bytes = std::fs::read(file.path()).unwrap();
            bytes[4000] ^= 0x10;
            vendor.nginx.put(&name, &bytes);
        }
    }
    device.order(&second, "upgrade", &soon(0)).unwrap();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 5, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
    // Nothing older comes in by the same way.
    let older = vendor.publish("1.0.5", "exit 0", 10);
    device.order(&older, "upgrade", &soon(0)).unwrap();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 5, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
}

/// The vendor's depot speaks CoAP only: libcoap's server with OpenSSL, and a key of its own.
#[test]
fn an_update_comes_over_coaps_too() {
    let vendor = Vendor::new();
    vendor.publish("1.1.0", "exit 0", 200_000);
    let depot = free_address();
    let mut server = std::process::Command::new("coap-server-openssl")
        .args(["-A", "127.0.0.1", "-d", "10", "-k", "sixteen byte key", "-p"])
        .arg(depot.port().to_string())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("libcoap's server is needed: apt-get install libcoap3-bin");
    for file in std::fs::read_dir(vendor.path("out")).unwrap() {
        let file = file.unwrap();
        let uploaded = std::process::Command::new("coap-client-notls")
            .args(["-m", "put", "-b", "1024", "-B", "20", "-f"])
            .arg(file.path())
            .arg(format!("coap://{depot}/{}", file.file_name().to_str().unwrap()))
            .stdout(std::process::Stdio::null())
            .status();
        assert!(uploaded.unwrap().success());
    }
    let key: String = b"sixteen byte key".iter().map(|byte| format!("{byte:02x}")).collect();
    let psk = format!("coaps_psk = {{ identity = \"camera-7\", key_hex = \"{key}\" }}\n[install]");
    let configuration = vendor.configuration().replacen("[install]", &psk, 1);
    let device = Device::start_with(&vendor, "cam", &configuration, &["--insecure"]);
    let url = format!("coaps://localhost:{}/1.1.0.suit", depot.port() + 1);
    device.order(&url, "upgrade", &soon(1)).unwrap();
    let done = device.wait_until(|value| value["swupdateresult"] != 0);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(done["swupdateresult"], 1, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
}
