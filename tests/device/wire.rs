//! What the device says on the wire, and to whom.

use std::process::Command;

use serde_json::json;

use crate::bench::{Device, Vendor};

#[test]
fn wrong_orders_are_refused_with_the_reason_and_change_nothing() {
    let vendor = Vendor::new();
    let device = Device::start(&vendor, "cam");
    let before = device.get("/softwareupdateResURI");
    for (body, code, word) in [
        (json!({"purl": "https://v/a", "swupdateaction": "upgrade"}), "4.00", "updatetime"),
        (
            json!({"purl": "https://v/a", "updatetime": "2030-01-01T00:00:00Z"}),
            "4.00",
            "swupdateaction",
        ),
        (json!({"swupdateaction": "isac", "updatetime": "2030-01-01T00:00:00Z"}), "4.00", "purl"),
        (
            json!({"purl": "https://v/a", "swupdateaction": "upgrade", "updatetime": "2020-01-01T00:00:00Z"}),
            "4.00",
            "past",
        ),
        (json!([1, 2]), "4.00", "map"),
    ] {
        let error = device.post("/softwareupdateResURI", &body).unwrap_err();
        assert!(error.starts_with(code) && error.contains(word), "{error}");
    }
    assert_eq!(device.get("/softwareupdateResURI"), before);
}

#[test]
fn introspection_leads_to_a_description_of_the_device() {
    let vendor = Vendor::new();
    let device = Device::start(&vendor, "cam");
    let url = device.get("/oc/wk/introspection")["urlInfo"][0]["url"].clone();
    let path = url.as_str().unwrap().strip_prefix(&device.uri("")).unwrap().to_owned();
    let description = device.get(&path);
    assert_eq!(description["swagger"], "2.0");
    assert!(description["paths"]["/softwareupdateResURI"]["post"].is_object());
}

#[test]
fn without_insecure_strangers_in_clear_learn_only_what_they_must() {
    let vendor = Vendor::new();
    let device = Device::start_with(&vendor, "cam", &vendor.configuration(), &[]);
    assert_eq!(device.get("/oic/d")["n"], "Camera");
    let error = device.order("", "idle", "2030-01-01T00:00:00Z").unwrap_err();
    assert!(error.starts_with("4.01"), "{error}");
}

#[test]
fn whoever_has_a_configured_key_is_served_over_dtls() {
    let vendor = Vendor::new();
    let configuration = vendor.configuration()
        + "\n[credentials]\npsk = [{ identity = \"client-1\", key_hex = \"6162636465666768696a6b6c6d6e6f70\" }]\n";
    let device = Device::start_with(&vendor, "cam", &configuration, &[]);
    let secure = device.ready["coaps"][0].as_str().unwrap();
    for client in ["coap-client-openssl", "coap-client-gnutls"] {
        let get = |key: &str| {
            let uri = format!("coaps://{secure}/softwareupdateResURI");
            let output = Command::new(client)
                .args(["-B", "4", "-u", "client-1", "-k", key, "-m", "get", &uri])
                .output()
                .expect("libcoap's clients are needed: apt-get install libcoap3-bin");
            ciborium::from_reader::<serde_json::Value, _>(&*output.stdout).ok()
        };
        let value = get("abcdefghijklmnop").unwrap_or_else(|| panic!("{client}"));
        assert_eq!(value["swupdatestate"], "idle");
        assert_eq!(get("ponmlkjihgfedcba"), None, "{client} with another key");
    }
}

#[test]
fn insecure_is_for_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let output = Command::new(env!("CARGO_BIN_EXE_freshen"))
            .args(["device", "--state", "/nonexistent", "--insecure", "--coap", address])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{address}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("loopback"), "{error}");
    }
}
