//! What a device does for those around it: it waits for its hour and for somebody's leave, and tells the
//! service manager that it lives.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono::TimeDelta;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::bench::{Device, Vendor, make_executable, try_get};
use crate::lives::now;

/// What the status resource says an installation waits for.
fn deferred(device: &Device) -> String {
    let mut words = None;
    harness::until("an installation is put off", || {
        words = device.get("/updatestatus")["deferred"].as_str().map(str::to_owned);
        words.is_some()
    });
    words.unwrap()
}

#[test]
fn a_veto_puts_an_installation_off_with_a_reason_and_over_a_restart() {
    let vendor = Vendor::new();
    let url = vendor.publish("1.1.0", "exit 0", 1000);
    let veto = vendor.path("veto");
    let leave = vendor.path("leave");
    let script =
        format!("#!/bin/sh\ntest -e {} || {{ echo recording >&2; exit 1; }}\n", leave.display());
    fs::write(&veto, script).unwrap();
    make_executable(&veto);
    let configuration = vendor
        .configuration()
        .replace("[install]", &format!("veto = [\"{}\"]\n\n[install]", veto.display()));
    let start = || Device::start_with(&vendor, "cam", &configuration, &["--insecure"]);
    let mut device = start();
    device.order(&url, "upgrade", &now(0)).unwrap();
    assert_eq!(deferred(&device), "the veto command ended with exit code 1: recording");
    assert_eq!(device.running(), "");
    device.kill();
    let mut device = start();
    deferred(&device);
    device.kill();
    fs::write(leave, "").unwrap();
    let device = start();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
    assert_eq!(device.get("/updatestatus")["deferred"], Value::Null);
}

#[test]
fn outside_of_the_window_software_is_downloaded_and_waits_until_idle_or_the_window() {
    let vendor = Vendor::new();
    let url = vendor.publish("1.1.0", "exit 0", 1000);
    let later = |hours| {
        let time = freshen::clock::now().wall + TimeDelta::hours(hours);
        time.format("%H:%M").to_string()
    };
    let with_window = |from, to| {
        let window = format!("window = \"{}-{}\"\n\n[install]", later(from), later(to));
        let configuration = vendor.configuration().replace("[install]", &window);
        Device::start_with(&vendor, "cam", &configuration, &["--insecure"])
    };
    let mut device = with_window(2, 3);
    device.order(&url, "upgrade", &now(0)).unwrap();
    let words = deferred(&device);
    assert!(words.starts_with("waits for the maintenance window, 2"), "{words}");
    assert_eq!(device.get("/softwareupdateResURI")["swupdatestate"], "sva");
    device.order(&url, "idle", &now(0)).unwrap();
    let value = device.get("/softwareupdateResURI");
    assert_eq!(
        (&value["swupdatestate"], &value["swupdateaction"]),
        (&"sva".into(), &"idle".into())
    );
    assert_eq!(device.get("/updatestatus")["deferred"], Value::Null);
    device.order(&url, "upgrade", &now(0)).unwrap();
    deferred(&device);
    device.kill();
    // The hour has come.
    let device = with_window(-1, 1);
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
    assert_eq!(device.running(), "1.1.0");
}

#[test]
fn the_service_manager_hears_that_the_device_is_ready_lives_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut device = Command::new(env!("CARGO_BIN_EXE_freshen"))
        .args(["device", "--insecure", "--state"])
        .arg(directory.path().join("state"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let hear = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a word from the device");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(hear(), "READY=1");
    for _ in 0..5 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    let pid = rustix::process::Pid::from_child(&device);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let last = (0..100).map(|_| hear()).find(|word| word != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert_eq!(device.wait().unwrap().code(), Some(0));
}

#[test]
fn sighup_is_told_and_changes_nothing() {
    let vendor = Vendor::new();
    let mut device = Device::start(&vendor, "cam");
    device.signal(Signal::HUP);
    let told = "SIGHUP changes nothing: the configuration is read at the start only";
    harness::until("the signal is told", || device.is_dead() || device.log().contains(told));
    assert_eq!(device.log().matches("SIGHUP").count(), 1, "{}", device.log());
    assert_eq!(device.get("/softwareupdateResURI")["swupdatestate"], "idle");
    assert_eq!(device.stop(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_any_more_does_not_end_the_device() {
    let directory = tempfile::tempdir().unwrap();
    let mut device = Command::new(env!("CARGO_BIN_EXE_freshen"))
        .args(["device", "--insecure", "--coap", "127.0.0.1:0", "--state"])
        .arg(directory.path().join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says something before it is ready, and somebody still reads.
    let mut line = String::new();
    BufReader::new(device.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    drop(device.stderr.take());
    let signal = |signal| rustix::process::kill_process(Pid::from_child(&device), signal).unwrap();
    // One more line of the log, and the next thing that it does is seen from outside.
    signal(Signal::HUP);
    let address = ready["coap"][0].as_str().unwrap();
    let answer = try_get(&format!("coap://{address}/softwareupdateResURI"));
    signal(Signal::TERM);
    assert_eq!(device.wait().unwrap().code(), Some(0), "{answer:?}");
    assert_eq!(answer.unwrap()["swupdatestate"], "idle");
}

#[test]
fn a_health_check_that_fails_is_told_before_the_trial_ends() {
    let vendor = Vendor::new();
    let once = vendor.path("once");
    // It fails the first time only, so that no failed update tells of it in the end.
    let health = format!(
        "test -e {0} || {{ touch {0}; echo starting >&2; echo no frames >&2; exit 7; }}",
        once.display()
    );
    let url = vendor.publish("1.1.0", &health, 1000);
    let device = Device::start(&vendor, "cam");
    device.order(&url, "upgrade", &now(0)).unwrap();
    assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
    let told = device.log();
    let told: Vec<&str> = told.lines().filter(|line| line.contains("the health command")).collect();
    let [line] = told[..] else { panic!("{told:?}") };
    assert!(line.contains("ended with exit code 7") && line.contains("no frames"), "{line}");
}
