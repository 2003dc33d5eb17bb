//! What `examples/` shows is what the device takes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use freshen::config::{Overrides, Settings};

#[test]
fn every_configuration_in_the_examples_loads() {
    let directory = tempfile::tempdir().unwrap();
    let keygen = Command::new(env!("CARGO_BIN_EXE_freshen"))
        .args(["keygen", "--out", "vendor"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(keygen.status.success(), "{keygen:?}");
    let load = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        Settings::load(Some(&path), &Overrides::default())
    };
    let mut names = vec![];
    for file in fs::read_dir("examples").unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".toml") {
            continue;
        }
        let text = fs::read_to_string(Path::new("examples").join(&name)).unwrap();
        let settings = load(&name, &text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(settings.device.class, "camera-1", "{name}");
        assert_eq!(settings.update.trust.len(), 1, "{name}");
        assert_eq!(settings.install.health, ["/etc/freshen/health"], "{name}");
        // The same file with a typing error does not load.
        let error = load("wrong.toml", &text.replace("health", "heath")).unwrap_err().to_string();
        assert!(error.contains("heath"), "{error}");
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["device.toml", "rauc.toml", "swupdate.toml"]);
}

#[test]
fn the_health_check_in_the_examples_tells_well_from_ill() {
    let directory = tempfile::tempdir().unwrap();
    let program = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let is_well = || {
        let check = Command::new("examples/health").env("PATH", &path).output().unwrap();
        check.status.success()
    };
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    // systemctl, which is asked for two things, with the service's start in microseconds.
    let service = |start: u64, is_active: &str| {
        program("systemctl", &format!("case $1 in show) echo {start} ;; *) {is_active} ;; esac"));
    };

    service(uptime.saturating_sub(60) * 1_000_000, "true");
    program("curl", "true");
    assert!(is_well());
    program("curl", "exit 22");
    assert!(!is_well(), "it gives no picture");
    program("curl", "true");
    service(uptime * 1_000_000, "true");
    assert!(!is_well(), "it has just been started, perhaps again");
    service(uptime.saturating_sub(60) * 1_000_000, "exit 3");
    assert!(!is_well(), "it does not run");
}
