//! What a device believes, over time: keys that come and go, ends that have passed, software that failed.

use std::fs;

use chrono::{SecondsFormat, TimeDelta};
use serde_json::Value;

use crate::bench::{Device, Vendor};

/// A package with one file, signed by one of the vendor's keys.
fn publish(vendor: &Vendor, key: &str, version: &str, more: &[&str]) -> String {
    let tree = vendor.path(&format!("tree-{version}"));
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("version"), version).unwrap();
    let out = vendor.path("out");
    fs::create_dir_all(&out).unwrap();
    let envelope = out.join(format!("{version}.suit"));
    let (key, envelope, tree) = (format!("{key}.key.pem"), text(&envelope), text(&tree));
    let identity = ["--vendor", "example.com", "--class", "cam-1", "--version", version];
    let files = ["--key", &key, "--out", &envelope, &tree];
    vendor.freshen(&[&["pack"], &identity[..], &files[..], more].concat());
    for file in fs::read_dir(&out).unwrap() {
        let file = file.unwrap();
        vendor.nginx.put(file.file_name().to_str().unwrap(), &fs::read(file.path()).unwrap());
    }
    vendor.url(version)
}

/// Trust set `number`: who signs packages, who signed it, and what else there is to say.
fn trust_set(vendor: &Vendor, number: &str, package: &str, signers: &[&str], more: &[&str]) {
    let name = format!("trust.{number}");
    let _ = fs::remove_file(vendor.path(&name));
    let package = format!("{package}.pub.pem");
    let keys = ["--root", "root.pub.pem", "--package", &package];
    vendor.freshen(
        &[&["trust", "new", "--number", number, "--out", &name], &keys[..], more].concat(),
    );
    for signer in signers {
        vendor.freshen(&["trust", "sign", "--key", &format!("{signer}.key.pem"), &name]);
    }
    vendor.nginx.put(&name, &fs::read(vendor.path(&name)).unwrap());
}

fn text(path: &std::path::Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn now(seconds: i64) -> String {
    let now = freshen::clock::now().wall + TimeDelta::seconds(seconds);
    now.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn upgrade(device: &Device, url: &str) -> Value {
    device.order(url, "upgrade", &now(0)).unwrap();
    let value = device.wait_until_idle();
    value["swupdateresult"].clone()
}

/// All but used up.
const FAR: &str = "9000000000000000000";

/// No health command: what is switched to is well.
fn configuration(vendor: &Vendor) -> String {
    let configuration = vendor.configuration();
    let (before, _) = configuration.split_once("[install]").unwrap();
    before.replace("[update]", "[update]\ntrust_sets = \"trust.\"")
}

#[test]
fn a_device_follows_the_trust_sets_of_its_vendor() {
    let vendor = Vendor::new();
    for key in ["root", "second", "third"] {
        vendor.freshen(&["keygen", "--out", key]);
    }
    let start = || Device::start_with(&vendor, "cam", &configuration(&vendor), &["--insecure"]);
    let mut device = start();
    // There is none yet: the configured key signs.
    let first = publish(&vendor, "vendor", "1.1.0", &["--sequence", "1"]);
    assert_eq!(upgrade(&device, &first), 1, "{}", device.log());

    // A trust set that the configured key did not sign is no trust set; the old one counts on.
    trust_set(&vendor, "1", "second", &["root"], &[]);
    let second = publish(&vendor, "second", "1.2.0", &["--sequence", "2"]);
    assert_eq!(upgrade(&device, &second), 5);
    assert!(device.log().contains("trust set 1 is refused"), "{}", device.log());

    // One that it signed revokes it: from now on the second key signs, and only that.
    trust_set(&vendor, "1", "second", &["root", "vendor"], &[]);
    let revoked = publish(&vendor, "vendor", "1.3.0", &["--sequence", "3"]);
    assert_eq!(upgrade(&device, &revoked), 5);
    assert_eq!(upgrade(&device, &second), 1, "{}", device.log());
    device.kill();
    fs::remove_file(vendor.nginx.path("trust.1")).unwrap();
    device = start();
    assert_eq!(upgrade(&device, &revoked), 5, "it outlives the process, and the server");
    assert_eq!(device.running(), "1.2.0");

    // A trust set whose time is over stops everything, until there is the next.
    trust_set(&vendor, "2", "second", &["root"], &["--expires", "2020-01-01"]);
    let third = publish(&vendor, "second", "1.4.0", &["--sequence", FAR, "--far-sequence"]);
    assert_eq!(upgrade(&device, &third), 5);
    assert!(device.log().contains("the trust set expired on"), "{}", device.log());
    trust_set(&vendor, "3", "second", &["root"], &["--expires", "2100-01-01"]);
    assert_eq!(upgrade(&device, &third), 1, "{}", device.log());

    // The stolen key has used up the sequence numbers: new keys begin again.
    let recovery = publish(&vendor, "third", "1.5.0", &["--sequence", "4"]);
    trust_set(&vendor, "4", "third", &["root"], &[]);
    assert_eq!(upgrade(&device, &recovery), 5);
    trust_set(&vendor, "5", "vendor", &["root"], &["--epoch", "1"]);
    trust_set(&vendor, "6", "third", &["root"], &["--epoch", "2"]);
    assert_eq!(upgrade(&device, &recovery), 1, "{}", device.log());
    assert_eq!(upgrade(&device, &third), 5, "what the stolen key signed is over");
    assert_eq!(device.running(), "1.5.0");
}

#[test]
fn a_device_that_was_away_for_long_takes_64_trust_sets_a_check() {
    let vendor = Vendor::new();
    for key in ["root", "second"] {
        vendor.freshen(&["keygen", "--out", key]);
    }
    trust_set(&vendor, "1", "vendor", &["root", "vendor"], &[]);
    for number in 2..=64 {
        trust_set(&vendor, &number.to_string(), "vendor", &["root"], &[]);
    }
    trust_set(&vendor, "65", "second", &["root"], &[]);
    let device = Device::start_with(&vendor, "cam", &configuration(&vendor), &["--insecure"]);
    let url = publish(&vendor, "second", "1.1.0", &["--sequence", "1"]);
    assert_eq!(upgrade(&device, &url), 5, "{}", device.log());
    assert!(device.log().contains("trust set 64 counts"), "{}", device.log());
    assert!(!device.log().contains("trust set 65"), "{}", device.log());
    assert_eq!(upgrade(&device, &url), 1, "{}", device.log());
}

#[test]
fn a_damaged_trust_set_believes_nobody() {
    let vendor = Vendor::new();
    vendor.freshen(&["keygen", "--out", "root"]);
    vendor.freshen(&["keygen", "--out", "second"]);
    let start = || Device::start_with(&vendor, "cam", &configuration(&vendor), &["--insecure"]);
    let mut device = start();
    trust_set(&vendor, "1", "second", &["root", "vendor"], &[]);
    let first = publish(&vendor, "second", "1.1.0", &[]);
    assert_eq!(upgrade(&device, &first), 1, "{}", device.log());
    assert_eq!(device.stop(), Some(0));
    for side in ["trust.0", "trust.1"] {
        let _ = fs::write(device.state.join(side), b"damaged");
    }
    device = start();
    for key in ["vendor", "second"] {
        let url = publish(&vendor, key, if key == "vendor" { "2.0.0" } else { "2.1.0" }, &[]);
        assert_eq!(upgrade(&device, &url), 5, "{key}");
    }
    assert!(device.log().contains("the stored trust set is damaged"), "{}", device.log());
}

#[test]
fn what_failed_its_trial_is_not_fetched_again_until_a_person_says_so() {
    let vendor = Vendor::new();
    let url = vendor.publish("2.0.0", "exit 0", 1_000_000);
    let configuration = vendor.configuration().replace(
        "health = [\"STATE/current/health\"]",
        "health = [\"test\", \"-e\", \"STATE.well\"]",
    );
    let start = || Device::start_with(&vendor, "cam", &configuration, &["--insecure"]);
    let mut device = start();
    assert_eq!(upgrade(&device, &url), 8, "{}", device.log());
    // A line of its log is the status and the bytes sent.
    let fetched = || {
        let sent = |line: &str| line.split(' ').nth(1).and_then(|bytes| bytes.parse().ok());
        let log = vendor.nginx.log_of(2);
        log.lines().filter(|line| sent(line).unwrap_or(0) > 1_000_000).count()
    };
    let before = fetched();
    assert!(before > 0);
    // What was missing is there now, but nobody told the device.
    fs::write(vendor.path("cam.well"), "").unwrap();
    assert_eq!(upgrade(&device, &url), 8);
    device.kill();
    device = start();
    assert_eq!(upgrade(&device, &url), 8, "it outlives the process");
    assert!(device.log().contains("failed on this device before"), "{}", device.log());
    assert_eq!(fetched(), before, "the payload was not asked for");
    assert_eq!(device.stop(), Some(0));
    fs::write(device.state.join("retry"), "").unwrap();
    device = start();
    assert!(!device.state.join("retry").exists());
    assert_eq!(upgrade(&device, &url), 1, "{}", device.log());
    assert_eq!(device.running(), "2.0.0");
}

#[test]
fn a_package_that_needs_approval_is_installed_by_the_order_that_knows_it() {
    let vendor = Vendor::new();
    let configuration = configuration(&vendor);
    let device = Device::start_with(&vendor, "cam", &configuration, &["--insecure"]);
    let careful = ["--sequence", "1", "--needs-approval", "--requires", ">=1.0"];
    let url = publish(&vendor, "vendor", "1.1.0", &careful);
    device.order(&url, "upgrade", &now(0)).unwrap();
    let value = device.wait_until(|value| value["swupdateaction"] == "idle");
    assert_eq!((&value["swupdatestate"], &value["nv"]), (&"nsa".into(), &"1.1.0".into()));
    assert_eq!(device.running(), "", "nothing was installed");
    assert_eq!(upgrade(&device, &url), 1, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
    // What is for other versions is refused, and says so.
    let url = publish(&vendor, "vendor", "1.3.0", &["--sequence", "2", "--requires", "<1.1"]);
    assert_eq!(upgrade(&device, &url), 5);
    assert!(device.log().contains("is for devices that run <1.1, not 1.1.0"), "{}", device.log());
}

#[test]
fn a_device_that_lost_its_records_still_refuses_what_is_older_than_its_software() {
    let vendor = Vendor::new();
    let start = || Device::start_with(&vendor, "cam", &configuration(&vendor), &["--insecure"]);
    let mut device = start();
    let old = publish(&vendor, "vendor", "1.1.0", &["--sequence", "5"]);
    let new = publish(&vendor, "vendor", "1.2.0", &["--sequence", "6"]);
    assert_eq!(upgrade(&device, &new), 1, "{}", device.log());
    device.kill();
    for side in ["update.0", "update.1"] {
        fs::write(device.state.join(side), b"damaged").unwrap();
    }
    device = start();
    assert_eq!(device.get("/softwareupdateResURI")["swupdateresult"], 8);
    assert_eq!(upgrade(&device, &old), 5, "{}", device.log());
    assert_eq!(device.running(), "1.2.0");
}
