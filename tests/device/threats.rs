//! Threats that only show where all parts work together; `docs/threats.md` has the whole list.

use std::fs;

use chrono::SecondsFormat;
use serde_json::Value;

use crate::bench::{Device, Vendor};

fn pack(vendor: &Vendor, version: &str, sequence: &str, inputs: &[&str]) -> String {
    let out = vendor.path("out");
    fs::create_dir_all(&out).unwrap();
    let envelope = out.join(format!("{version}.suit"));
    let identity = ["--vendor", "example.com", "--class", "cam-1", "--version", version];
    let files = ["--key", "vendor.key.pem", "--out", envelope.to_str().unwrap()];
    vendor
        .freshen(&[&["pack", "--sequence", sequence], &identity[..], &files[..], inputs].concat());
    for file in fs::read_dir(out).unwrap() {
        let file = file.unwrap();
        vendor.nginx.put(file.file_name().to_str().unwrap(), &fs::read(file.path()).unwrap());
    }
    vendor.url(version)
}

/// Files `a`, `b` and `c` with these words in them.
fn files(vendor: &Vendor, words: &str) -> Vec<String> {
    let file = |name: &str| {
        let path = vendor.path(&format!("{name}-{words}"));
        fs::write(&path, format!("{name} {words}")).unwrap();
        format!("{name}={}", path.to_str().unwrap())
    };
    ["a", "b", "c"].map(file).to_vec()
}

fn three(vendor: &Vendor, version: &str, sequence: &str) -> String {
    let files = files(vendor, version);
    pack(vendor, version, sequence, &files.iter().map(String::as_str).collect::<Vec<_>>())
}

fn start(vendor: &Vendor) -> Device {
    let configuration = vendor.configuration();
    let (configuration, _) = configuration.split_once("[install]").unwrap();
    Device::start_with(vendor, "cam", configuration, &["--insecure"])
}

fn order(device: &Device, url: &str, action: &str) -> Value {
    let now = freshen::clock::now().wall.to_rfc3339_opts(SecondsFormat::Secs, true);
    device.order(url, action, &now).unwrap();
    device.wait_until(|value| value["swupdateaction"] == "idle")["swupdateresult"].clone()
}

/// What runs, as long as it is the one or the other whole.
fn running(device: &Device) -> Vec<String> {
    let read = |name| fs::read_to_string(device.state.join("current").join(name)).unwrap();
    ["a", "b", "c"].map(read).to_vec()
}

fn whole(version: &str) -> Vec<String> {
    ["a", "b", "c"].map(|name| format!("{name} {version}")).to_vec()
}

#[test]
fn no_component_is_installed_without_all_the_others() {
    let vendor = Vendor::new();
    let (first, second) = (three(&vendor, "1.1.0", "1"), three(&vendor, "1.2.0", "2"));
    let device = start(&vendor);
    assert_eq!(order(&device, &first, "upgrade"), 1, "{}", device.log());
    for name in ["a", "b", "c"] {
        let payload = vendor.nginx.path(&format!("1.2.0-1.2.0-{name}.bin"));
        let bytes = fs::read(&payload).unwrap();
        fs::remove_file(&payload).unwrap();
        assert_eq!(order(&device, &second, "upgrade"), 404, "without {name}");
        assert_eq!(running(&device), whole("1.1.0"), "without {name}");
        fs::write(&payload, bytes).unwrap();
    }
    assert_eq!(order(&device, &second, "upgrade"), 1, "{}", device.log());
    assert_eq!(running(&device), whole("1.2.0"));
}

#[test]
fn payloads_of_two_signed_packages_cannot_be_exchanged() {
    let vendor = Vendor::new();
    let (first, second) = (three(&vendor, "1.1.0", "1"), three(&vendor, "1.2.0", "2"));
    let device = start(&vendor);
    assert_eq!(order(&device, &first, "upgrade"), 1, "{}", device.log());
    // Signed by the same vendor, for the same place, of the same length.
    let old = fs::read(vendor.nginx.path("1.1.0-1.1.0-b.bin")).unwrap();
    vendor.nginx.put("1.2.0-1.2.0-b.bin", &old);
    assert_eq!(order(&device, &second, "upgrade"), 5, "{}", device.log());
    assert_eq!(running(&device), whole("1.1.0"));
}

#[test]
fn what_a_payload_looks_like_does_not_say_what_becomes_of_it() {
    let vendor = Vendor::new();
    // A compressed archive, by its name and by its content; signed as a file.
    let archive = zstd::encode_all(&[0; 10_240][..], 3).unwrap();
    let path = vendor.path("data.tar.zst");
    fs::write(&path, &archive).unwrap();
    let url = pack(&vendor, "1.1.0", "1", &[path.to_str().unwrap()]);
    let device = start(&vendor);
    assert_eq!(order(&device, &url, "upgrade"), 1, "{}", device.log());
    assert_eq!(fs::read(device.state.join("current/data.tar.zst")).unwrap(), archive);
}

#[test]
fn what_is_kept_between_two_orders_is_believed_anew() {
    let vendor = Vendor::new();
    let (first, second) = (three(&vendor, "1.1.0", "1"), three(&vendor, "1.2.0", "2"));
    let device = start(&vendor);
    assert_eq!(order(&device, &first, "upgrade"), 1, "{}", device.log());
    let stage = || {
        let mut folders = fs::read_dir(device.state.join("stage")).unwrap();
        folders.next().unwrap().unwrap().path()
    };
    // Somebody exchanges a payload after it was verified.
    assert_eq!(order(&device, &second, "isvv"), 1, "{}", device.log());
    fs::write(stage().join("1"), "b 9.9.9").unwrap();
    assert_eq!(order(&device, &second, "upgrade"), 5, "{}", device.log());
    assert_eq!(running(&device), whole("1.1.0"));
    // Somebody exchanges the envelope for another that is signed as well.
    assert_eq!(order(&device, &second, "isvv"), 1, "{}", device.log());
    let older = fs::read(vendor.nginx.path("1.1.0.suit")).unwrap();
    fs::write(stage().join("envelope.suit"), older).unwrap();
    assert_eq!(order(&device, &second, "upgrade"), 8, "{}", device.log());
    assert!(device.log().contains("the kept package was changed on disk"), "{}", device.log());
    assert_eq!(running(&device), whole("1.1.0"));
    // Somebody changes a byte of it.
    assert_eq!(order(&device, &second, "isvv"), 1, "{}", device.log());
    let mut envelope = fs::read(stage().join("envelope.suit")).unwrap();
    *envelope.last_mut().unwrap() ^= 1;
    fs::write(stage().join("envelope.suit"), envelope).unwrap();
    assert_eq!(order(&device, &second, "upgrade"), 5, "{}", device.log());
    assert_eq!(running(&device), whole("1.1.0"));
}
