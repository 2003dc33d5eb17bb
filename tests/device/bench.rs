//! Real parts: the binary as a device, a vendor with a real web server, and CoAP clients that we did
//! not write.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use harness::nginx::Nginx;

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A vendor: a key, and a web server with packages.
pub(crate) struct Vendor {
    pub(crate) nginx: Nginx,
    pub(crate) directory: tempfile::TempDir,
}

impl Vendor {
    pub(crate) fn new() -> Self {
        let vendor = Self { nginx: Nginx::start(""), directory: tempfile::tempdir().unwrap() };
        vendor.freshen(&["keygen", "--out", "vendor"]);
        vendor
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Publishes a directory with a health check that ends as told, and `bytes` of ballast.
    pub(crate) fn publish(&self, version: &str, health: &str, bytes: usize) -> String {
        let tree = self.path(&format!("tree-{version}"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("version"), version).unwrap();
        fs::write(tree.join("health"), format!("#!/bin/sh\n{health}\n")).unwrap();
        make_executable(&tree.join("health"));
        fs::write(tree.join("ballast"), ballast(bytes)).unwrap();
        let out = self.path("out");
        fs::create_dir_all(&out).unwrap();
        let envelope = out.join(format!("{version}.suit"));
        let sequence = version.replace('.', "");
        self.freshen(&[
            "pack",
            "--key",
            "vendor.key.pem",
            "--vendor",
            "example.com",
            "--class",
            "cam-1",
            "--version",
            version,
            "--sequence",
            &sequence,
            "--out",
            envelope.to_str().unwrap(),
            tree.to_str().unwrap(),
        ]);
        for file in fs::read_dir(&out).unwrap() {
            let file = file.unwrap();
            self.nginx.put(file.file_name().to_str().unwrap(), &fs::read(file.path()).unwrap());
        }
        self.url(version)
    }

    /// Publishes a directory under the version's name.
    pub(crate) fn pack(&self, tree: &Path, version: &str, sequence: u64) -> String {
        let out = self.path(&format!("out-{version}"));
        fs::create_dir(&out).unwrap();
        let envelope = out.join(format!("{version}.suit"));
        let sequence = sequence.to_string();
        let (envelope, tree) = (envelope.to_str().unwrap(), tree.to_str().unwrap());
        let who = ["--vendor", "example.com", "--class", "cam-1", "--key", "vendor.key.pem"];
        let which = ["--version", version, "--sequence", &sequence, "--out", envelope, tree];
        self.freshen(&[&["pack"][..], &who, &which].concat());
        for file in fs::read_dir(&out).unwrap() {
            let file = file.unwrap();
            self.nginx.put(file.file_name().to_str().unwrap(), &fs::read(file.path()).unwrap());
        }
        fs::remove_dir_all(out).unwrap();
        self.url(version)
    }

    pub(crate) fn url(&self, version: &str) -> String {
        self.nginx.base.join(&format!("{version}.suit")).unwrap().to_string()
    }

    pub(crate) fn freshen(&self, arguments: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_freshen"))
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The configuration of a device that believes this vendor.
    pub(crate) fn configuration(&self) -> String {
        fs::write(self.path("ca.pem"), &self.nginx.certs.ca).unwrap();
        r#"
[device]
name = "Camera"
manufacturer = "Example Ltd"
vendor = "example.com"
class = "cam-1"
version = "1.0.0"
manufactured = "2026-01-09T14:30:00Z"

[listen]
multicast = false

[update]
trust = ["vendor.pub.pem"]
ca = "ca.pem"
allow_hosts = ["localhost"]
allow_loopback = true

[install]
health = ["STATE/current/health"]
health_timeout_s = 2
confirm_timeout_s = 3
"#
        .into()
    }
}

/// A device in clear on loopback.
pub(crate) struct Device {
    child: Child,
    /// Kept open: a device that cannot print is not what a test is about.
    _stdout: BufReader<ChildStdout>,
    pub(crate) state: PathBuf,
    pub(crate) ready: Value,
    pub(crate) address: String,
}

impl Device {
    /// Starts one with its state below the vendor's directory.
    pub(crate) fn start(vendor: &Vendor, name: &str) -> Self {
        Self::start_with(vendor, name, &vendor.configuration(), &["--insecure"])
    }

    pub(crate) fn start_with(
        vendor: &Vendor,
        name: &str,
        configuration: &str,
        arguments: &[&str],
    ) -> Self {
        let state = vendor.path(name);
        let config = vendor.path(&format!("{name}.toml"));
        let configuration = configuration.replace("STATE", state.to_str().unwrap());
        fs::write(&config, configuration).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_freshen"))
            .arg("device")
            .arg("--config")
            .arg(&config)
            .arg("--state")
            .arg(&state)
            .args(["--coap", "127.0.0.1:0", "--coaps", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(fs::File::options().create(true).append(true).open(state_log(&state)).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let log = || fs::read_to_string(state_log(&state)).unwrap_or_default();
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no ready line: {}", log()));
        let address = ready["coap"][0].as_str().unwrap().to_owned();
        Self { child, _stdout: stdout, state, ready, address }
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("coap://{}{path}", self.address)
    }

    /// The log of every life.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(state_log(&self.state)).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether its process has ended by itself, or by somebody else's hand.
    pub(crate) fn is_dead(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Where the kernel tells of its thread of that name.
    pub(crate) fn thread(&self, name: &str) -> PathBuf {
        let threads = format!("/proc/{}/task", self.child.id());
        let named = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        loop {
            let mut paths = fs::read_dir(&threads).unwrap().map(|thread| thread.unwrap().path());
            match paths.find(named) {
                Some(path) => return path,
                // A thread names itself, when it is its turn.
                None => std::thread::yield_now(),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGUSR1.
    pub(crate) fn press_button(&self) {
        self.signal(Signal::USR1);
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code()
    }

    /// The most memory it has had, KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// What `current` says it is.
    pub(crate) fn running(&self) -> String {
        fs::read_to_string(self.state.join("current/version")).unwrap_or_default()
    }

    /// A GET by libcoap's client.
    pub(crate) fn get(&self, path: &str) -> Value {
        let output = coap_client(10, &["-m", "get", &self.uri(path)]);
        cbor(&output.stdout).unwrap_or_else(|| panic!("{path}: {:?}; log:\n{}", output, self.log()))
    }

    /// A POST by libcoap's client: the code's text where there is an error, else the body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        match post(&self.uri(path), body) {
            Err(error) if !error.starts_with(['4', '5']) => Ok(Value::Null),
            other => other,
        }
    }

    pub(crate) fn order(&self, purl: &str, action: &str, time: &str) -> Result<Value, String> {
        self.post("/softwareupdateResURI", &order(purl, action, time))
    }

    /// Asks until the state and the action are idle again; the representation then.
    pub(crate) fn wait_until_idle(&self) -> Value {
        self.wait_until(is_idle)
    }

    pub(crate) fn wait_until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let tries = PATIENCE.as_millis() / 100;
        for _ in 0..tries {
            let value = self.get("/softwareupdateResURI");
            if wanted(&value) {
                return value;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it did not come to pass; log:\n{}", self.log());
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// aiocoap, watching.
pub(crate) struct Observer {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Value>,
}

impl Observer {
    pub(crate) fn start(uris: &[String]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/device/observe.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args(uris)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    /// The next representation.
    pub(crate) fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("a notification")
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// libcoap, watching one resource for a while; what it saw, in order.
pub(crate) struct CoapClient {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl CoapClient {
    /// Watches for so long, and has seen the first representation.
    pub(crate) fn observe(uri: &str, seconds: u32) -> Self {
        // Each representation begins where the one before ended: CBOR needs no mark in between.
        let mut child = Command::new("coap-client-notls")
            .args(["-s", &seconds.to_string(), "-B", &(seconds + 1).to_string(), "-m", "get", uri])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("libcoap's client is needed: apt-get install libcoap3-bin");
        let (mut stdout, output) = (child.stdout.take().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
        let kept = output.clone();
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut piece) {
                kept.lock().unwrap().extend(&piece[..length]);
            }
        });
        harness::until("libcoap's client watches", || !output.lock().unwrap().is_empty());
        Self { child, output, reader }
    }

    pub(crate) fn seen(mut self) -> Vec<Value> {
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        let output = self.output.lock().unwrap();
        let mut rest = &**output;
        let mut values = vec![];
        while let Ok(value) = ciborium::from_reader(&mut rest) {
            values.push(value);
            while let Some(after) = rest.strip_prefix(b"\n") {
                rest = after;
            }
        }
        values
    }
}

/// Whether nothing is under way, and nothing ordered.
pub(crate) fn is_idle(value: &Value) -> bool {
    value["swupdatestate"] == "idle" && value["swupdateaction"] == "idle"
}

/// What a client posts to the software update resource.
pub(crate) fn order(purl: &str, action: &str, time: &str) -> Value {
    serde_json::json!({ "purl": purl, "swupdateaction": action, "updatetime": time })
}

/// A POST by libcoap's client, to a device that may not be there.
pub(crate) fn post(uri: &str, body: &Value) -> Result<Value, String> {
    post_within(uri, body, 10)
}

/// The same, with an end to the patience, seconds.
pub(crate) fn post_within(uri: &str, body: &Value, seconds: u32) -> Result<Value, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    ciborium::into_writer(body, &mut file).unwrap();
    file.flush().unwrap();
    let name = file.path().to_str().unwrap();
    let output = coap_client(seconds, &["-m", "post", "-t", "10000", "-f", name, uri]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = [errors, text].into_iter().find(|text| text.starts_with(['4', '5']));
    match error {
        Some(error) => Err(error),
        None => cbor(&output.stdout).ok_or_else(|| "no answer".into()),
    }
}

/// A GET by libcoap's client, of a device that may not be there.
pub(crate) fn try_get(uri: &str) -> Option<Value> {
    cbor(&coap_client(1, &["-m", "get", uri]).stdout)
}

fn coap_client(seconds: u32, arguments: &[&str]) -> Output {
    Command::new("coap-client-notls")
        .args(["-B", &seconds.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("libcoap's client is needed: apt-get install libcoap3-bin")
}

fn cbor(bytes: &[u8]) -> Option<Value> {
    ciborium::from_reader(bytes).ok()
}

fn state_log(state: &Path) -> PathBuf {
    state.with_extension("log")
}

pub(crate) fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Bytes that do not compress.
fn ballast(bytes: usize) -> Vec<u8> {
    let mut seed = 88_172_645_463_325_252_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut ballast: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    ballast.truncate(bytes);
    ballast
}
