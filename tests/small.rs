//! The device alone, as it goes into a small machine: what is linked, how large it is, and that it works.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The largest that the stripped program may be, bytes, and how much memory it may have resident when
/// nobody asks it anything, KiB. `docs/performance.md` has what it was when this was written.
const FILE_BYTES_MAX: usize = 3_500_000;
const RESIDENT_KIB_MAX: u64 = 5_000;

/// What makes it the device alone; `cargo build-device` has the same.
const DEVICE: [&str; 3] = ["--no-default-features", "--features", "device"];

/// Crates that a vendor, a client, the demo or a fleet server needs, and no device.
const FOREIGN: [&str; 11] = [
    "bidiff",
    "clap",
    "clap_builder",
    "console",
    "hyper",
    "hyper-util",
    "indicatif",
    "nu-ansi-term",
    "tokio-rustls",
    "x509-parser",
    "unicode-width",
];

/// Where their code is: what a program can panic in names its file, also when it has no symbols.
const FOREIGN_FILES: [&str; 8] = [
    "src/cli/demo/",
    "src/cli/pack.rs",
    "src/cli/tool.rs",
    "src/cli/table.rs",
    "src/client/keyring.rs",
    "/clap_builder-",
    "/indicatif-",
    "/hyper-",
];

#[test]
fn a_device_alone_depends_on_nothing_of_the_tool_or_the_fleet() {
    let whole = crates(&[]);
    for name in FOREIGN {
        assert!(whole.contains(name), "{name} is not in the whole program either");
    }
    let small = crates(&DEVICE);
    assert!(small.contains("rustls") && small.len() < whole.len());
    for name in FOREIGN.into_iter().chain(["freshen-fleet", "axum", "rusqlite"]) {
        assert!(!small.contains(name), "the device alone has {name}");
    }
}

#[test]
#[ignore = "it builds for minutes; tests/run does it"]
fn a_device_alone_is_small_and_works() {
    let build = Command::new(env!("CARGO"))
        .args(["build-device", "--locked", "--message-format", "json", "--target-dir", target()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(build.status.success());
    let messages = String::from_utf8(build.stdout).unwrap();
    let program = messages
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["executable"]
                .as_str()
                .map(PathBuf::from)
        })
        .next_back()
        .unwrap();

    let bytes = std::fs::read(&program).unwrap();
    println!("the device alone has {} bytes", bytes.len());
    assert!(bytes.len() <= FILE_BYTES_MAX, "{}", bytes.len());
    let whole = std::fs::read(env!("CARGO_BIN_EXE_freshen")).unwrap();
    for file in FOREIGN_FILES {
        assert!(has(&whole, file), "{file} is not in the whole program either");
        assert!(!has(&bytes, file), "{file} is in the device alone");
    }

    let refused = Command::new(&program).arg("pack").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("pack is no command"));

    // How much of the file is mapped around each page that is touched depends on what the page cache holds
    // at that moment, 200 KiB up or down: the least of a few starts is what the device needs.
    let residents: Vec<u64> = (0..5).map(|_| Device::start(&program).resident_kib()).collect();
    let resident = residents.iter().copied().min().unwrap();
    println!("{resident} KiB are resident: the least of {residents:?}");
    assert!(resident <= RESIDENT_KIB_MAX, "{residents:?} KiB");
    let device = Device::start(&program);
    let url = format!("{}/softwareupdateResURI", device.address);
    let got = Command::new(env!("CARGO_BIN_EXE_freshen")).args(["get", "--json", &url]).output();
    let got = got.unwrap();
    assert!(got.status.success(), "{got:?}");
    assert!(String::from_utf8(got.stdout).unwrap().contains("swupdatestate"));
}

/// The names of the crates that are linked.
fn crates(features: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", "freshen"])
        .args(features)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split(" ").next())
        .map(str::to_owned)
        .collect()
}

/// Where cargo has put this test's own program, without the profile.
fn target() -> &'static str {
    let program = Path::new(env!("CARGO_BIN_EXE_freshen"));
    program.ancestors().nth(2).unwrap().to_str().unwrap()
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

struct Device {
    child: Child,
    address: String,
    _state: tempfile::TempDir,
}

impl Device {
    fn start(program: &Path) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .args(["device", "--insecure", "--coap", "127.0.0.1:0", "--state"])
            .arg(state.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let address = format!("coap://{}", ready["coap"][0].as_str().unwrap());
        Self { child, address, _state: state }
    }

    fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
