//! Software that is no good, in every way we could think of, on a device whose agent updates itself:
//! `freshen launch` starts it from its slot, and something stands in for the service manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Vendor, make_executable, order, post, try_get};
use harness::ports::free_address;

/// Ways to be no good: what it is, the agent, the health command.
const WAYS: [(&str, &str, &str); 8] = [
    ("a health command that fails", GOOD, "echo no frames >&2; exit 1"),
    ("a health command that hangs", GOOD, "sleep 20"),
    ("a health command that is killed", GOOD, "kill -9 $$"),
    ("a server that cannot be reached", GOOD, "exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/1'"),
    ("an agent that ends at once", "#!/bin/sh\nexit 1\n", "exit 0"),
    ("an agent that is killed at once", "#!/bin/sh\nkill -9 $$\n", "exit 0"),
    ("an agent that is not a program", "\u{7f}ELF and nothing more", "exit 0"),
    (
        "an agent that is killed after a moment",
        "#!/bin/sh\nexec timeout -s KILL 0.4 FRESHEN \"$@\"\n",
        "sleep 20",
    ),
];

const GOOD: &str = "#!/bin/sh\nexec FRESHEN \"$@\"\n";

/// What systemd does with `Restart=always`.
struct Service {
    ends: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Child>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Service {
    fn start(state: &Path, config: &Path, address: &str) -> Self {
        let (ends, child) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let log = state.with_extension("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshen"));
        command.arg("launch").arg("--state").arg(state).args(["--agent", "bin/agent", "--"]);
        command.arg("--config").arg(config).args(["--insecure", "--coap", address]);
        command.args(["--coaps", "127.0.0.1:0"]).stdout(Stdio::null());
        let (ended, running) = (ends.clone(), child.clone());
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                let log = fs::File::options().create(true).append(true).open(&log).unwrap();
                *running.lock().unwrap() = Some(command.stderr(log).spawn().unwrap());
                while !ended.load(Ordering::SeqCst) {
                    let status = running.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
                    if status.is_some() {
                        break;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { ends, child, thread: Some(thread) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(child) = self.child.lock().unwrap().as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Device<'a> {
    vendor: &'a Vendor,
    way: usize,
    state: PathBuf,
    address: String,
    sequence: u64,
    _service: Service,
}

impl<'a> Device<'a> {
    fn start(vendor: &'a Vendor, way: usize) -> Self {
        let name = format!("way-{way}");
        let state = vendor.path(&name);
        fs::create_dir_all(&state).unwrap();
        let config = vendor.path(&format!("{name}.toml"));
        let settings =
            "agent = \"bin/agent\"\ntries = 2\nhealth_timeout_s = 1\nconfirm_timeout_s = 1\n";
        let text = vendor.configuration().replace("STATE", state.to_str().unwrap());
        let text = text.replace("health_timeout_s = 2\n", "");
        fs::write(&config, text.replace("confirm_timeout_s = 3\n", settings)).unwrap();
        let address = free_address().to_string();
        let service = Service::start(&state, &config, &address);
        Self { vendor, way, state, address, sequence: 0, _service: service }
    }

    /// Publishes the next release and sees the update to its end.
    fn update(&mut self, agent: &str, health: &str) -> Value {
        self.sequence += 1;
        let version = format!("{}.0.{}", self.way, self.sequence);
        let tree = self.vendor.path(&format!("tree-{version}"));
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::write(tree.join("version"), &version).unwrap();
        fs::write(tree.join("health"), format!("#!/bin/sh\n{health}\n")).unwrap();
        let agent = agent.replace("FRESHEN", env!("CARGO_BIN_EXE_freshen"));
        fs::write(tree.join("bin/agent"), agent).unwrap();
        make_executable(&tree.join("health"));
        make_executable(&tree.join("bin/agent"));
        let url = self.vendor.pack(&tree, &version, self.sequence);
        fs::remove_dir_all(tree).unwrap();
        let taken = (0..600).any(|_| {
            let order = order(&url, "upgrade", &crate::lives::now(1));
            let taken = post(&self.uri(), &order).is_ok();
            thread::sleep(Duration::from_millis(if taken { 0 } else { 100 }));
            taken
        });
        assert!(taken, "the order for {version} is not taken: {}", self.log());
        for _ in 0..1200 {
            if let Some(value) = try_get(&self.uri())
                && value["swupdatestate"] == "idle"
                && value["swupdateaction"] == "idle"
                && value["swupdateresult"] != 0
            {
                return value;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{version} does not come to an end: {}", self.log());
    }

    fn uri(&self) -> String {
        format!("coap://{}/softwareupdateResURI", self.address)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.state.with_extension("log")).unwrap_or_default()
    }

    fn runs(&self) -> String {
        fs::read_to_string(self.state.join("current/version")).unwrap_or_default()
    }
}

/// One device: a good agent, then one that is no good again and again, then a good one.
fn fail_again_and_again(vendor: &Vendor, way: usize, times: u64) {
    let (what, agent, health) = WAYS[way];
    let mut device = Device::start(vendor, way);
    assert_eq!(device.update(GOOD, "exit 0")["swupdateresult"], 1, "{}", device.log());
    let good = device.runs();
    assert_eq!(good, format!("{way}.0.1"));
    for n in 1..=times {
        let value = device.update(agent, health);
        assert_eq!(value["swupdateresult"], 8, "{what}, {n}: {}", device.log());
        assert_eq!(device.runs(), good, "{what}, {n}");
        assert!(!device.state.join("trial").exists(), "{what}, {n}");
    }
    assert_eq!(device.update(GOOD, "exit 0")["swupdateresult"], 1, "{}", device.log());
    assert_eq!(device.runs(), format!("{way}.0.{}", times + 2));
}

fn roll_back_all(times_each: u64) {
    let vendor = Vendor::new();
    thread::scope(|scope| {
        for way in 0..WAYS.len() {
            let vendor = &vendor;
            scope.spawn(move || fail_again_and_again(vendor, way, times_each));
        }
    });
    let all = times_each * WAYS.len() as u64;
    println!("{all} of {all} failing trials rolled back, in {} ways", WAYS.len());
}

#[test]
fn an_agent_that_updates_itself_comes_back_from_every_way_to_be_no_good() {
    roll_back_all(2);
}

/// `cargo test --release --test device a_thousand -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn a_thousand_failing_trials_are_rolled_back() {
    roll_back_all(125);
}
