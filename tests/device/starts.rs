//! A start that fails: what is wrong is said, once.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bench::{Device, Vendor};

/// What a start that has to fail says on stderr, with its exit code. Never a word on stdout.
fn refused(state: &Path, arguments: &[&str]) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_freshen"))
        .args(["device", "--insecure", "--coaps", "127.0.0.1:0", "--state"])
        .arg(state)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.stdout.is_empty(), "it was never ready: {output:?}");
    (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

/// One line of the program itself, and each of `causes` once in all that was said.
fn assert_said_once(said: &str, causes: &[&str]) {
    let own = said.lines().filter(|line| line.starts_with("freshen: ")).count();
    assert_eq!(own, 1, "{said}");
    for cause in causes {
        assert_eq!(said.matches(cause).count(), 1, "{cause}: {said}");
    }
}

#[test]
fn a_configuration_that_is_broken_is_said_once() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let config = directory.path().join("device.toml");
    for (text, causes) in [
        ("[update", &["device.toml, line 1", "unclosed table"][..]),
        ("[update]\npurl_mux = 3", &["device.toml, line 2", "purl_mux"]),
        ("[update]\npurl_max = 0", &["update.purl_max = 0"]),
        ("[update]\ntrust = [\"none.pem\"]", &["none.pem", "os error 2"]),
    ] {
        fs::write(&config, text).unwrap();
        let (said, code) = refused(&state, &["--config", config.to_str().unwrap()]);
        assert_eq!(code, 2, "{said}");
        assert_said_once(&said, causes);
    }
    let (said, code) = refused(&state, &["--config", "/none/device.toml"]);
    assert_eq!(code, 2, "{said}");
    assert_said_once(&said, &["/none/device.toml", "os error 2"]);
}

#[test]
fn a_state_directory_that_cannot_be_had_is_said_once() {
    let vendor = Vendor::new();
    let first = Device::start(&vendor, "cam");
    let (said, code) = refused(&first.state, &["--coap", "127.0.0.1:0"]);
    assert_eq!(code, 1, "{said}");
    assert_said_once(&said, &["another agent", first.state.to_str().unwrap()]);
    let file = vendor.path("file");
    fs::write(&file, "").unwrap();
    let (said, code) = refused(&file, &["--coap", "127.0.0.1:0"]);
    assert_eq!(code, 1, "{said}");
    assert_said_once(&said, &[file.to_str().unwrap(), "os error"]);
}

#[test]
fn a_port_that_another_program_has_is_said_once() {
    let directory = tempfile::tempdir().unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let (said, code) = refused(directory.path(), &["--coap", &address]);
    assert_eq!(code, 1, "{said}");
    assert_said_once(&said, &[&address, "os error 98", "another program has it"]);
}
