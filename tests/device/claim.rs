//! Two agents on one state directory: the second is told who has it, and changes nothing.

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::bench::{Device, Vendor};

/// A second start that has to fail: `freshen` with these arguments and the state directory of `first`.
fn second(first: &Device, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_freshen"))
        .args(arguments)
        .args(["--state", first.state.to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

const DEVICE: [&str; 6] =
    ["device", "--insecure", "--coap", "127.0.0.1:0", "--coaps", "127.0.0.1:0"];

#[test]
fn a_second_agent_is_told_who_has_the_directory_and_a_dead_ones_claim_is_none() {
    let vendor = Vendor::new();
    let mut first = Device::start(&vendor, "cam");
    let pid = format!("pid {}", first.pid());
    for arguments in [&DEVICE[..], &["launch", "--agent", "bin/agent"]] {
        let output = second(&first, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty(), "it was never ready: {output:?}");
        assert!(said.contains(&pid) && said.contains(first.state.to_str().unwrap()), "{said}");
    }
    // The first one lives on, and answers.
    assert!(!first.is_dead());
    assert_eq!(first.get("/softwareupdateResURI")["swupdatestate"], "idle");
    // Killed, it leaves its file behind, and no claim. This is the control: without a holder it starts.
    first.kill();
    assert!(first.state.join("lock").exists());
    let again = Device::start(&vendor, "cam");
    assert_eq!(again.get("/softwareupdateResURI")["swupdatestate"], "idle");
}

#[test]
fn a_start_that_finds_an_agent_is_no_try_of_a_new_one() {
    let vendor = Vendor::new();
    let first = Device::start(&vendor, "cam");
    let slot = first.state.join("slots/b/bin");
    fs::create_dir_all(&slot).unwrap();
    fs::write(slot.join("agent"), "#!/bin/sh\nexit 3\n").unwrap();
    std::os::unix::fs::symlink("slots/b", first.state.join("current")).unwrap();
    fs::write(first.state.join("trial"), "slots/b 2\n").unwrap();
    let output = second(&first, &["launch", "--agent", "bin/agent"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(fs::read_to_string(first.state.join("trial")).unwrap(), "slots/b 2\n");
}

#[test]
fn a_program_that_outlives_its_agent_keeps_no_other_one_out() {
    let vendor = Vendor::new();
    let left = vendor.path("left");
    // The health command leaves a process behind that holds every descriptor it was given.
    let health = format!("setsid sleep 600 >/dev/null 2>&1 & echo $! > {}; exit 0", left.display());
    let url = vendor.publish("1.1.0", &health, 1000);
    let mut first = Device::start(&vendor, "cam");
    first.order(&url, "upgrade", "now").unwrap();
    first.wait_until(|value| value["swupdateresult"] == 1);
    first.kill();
    let orphan: i32 = fs::read_to_string(&left).unwrap().trim().parse().unwrap();
    let orphan = rustix::process::Pid::from_raw(orphan).unwrap();
    rustix::process::test_kill_process(orphan).expect("it outlives its agent");
    let again = Device::start(&vendor, "cam");
    assert_eq!(again.running(), "1.1.0");
    rustix::process::kill_process(orphan, rustix::process::Signal::KILL).unwrap();
}
