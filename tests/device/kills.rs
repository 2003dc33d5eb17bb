//! The whole agent, killed: at random moments, and at each system call by which it changes the disk.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Device, Vendor, order, post_within, try_get};
use crate::full::Disk;
use crate::lives::now;

/// How an update goes when nobody kills anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Good,
    BadImage,
    FailingHealth,
    FullDisk,
}

const CASES: [Case; 4] = [Case::Good, Case::BadImage, Case::FailingHealth, Case::FullDisk];

const RESOURCE: &str = "/softwareupdateResURI";

/// Updates at a time: most of each is waiting.
const WORKERS: usize = 4;

/// The software that runs before.
const BEFORE: &str = "1.1.0";

/// Left on a [`Case::FullDisk`], bytes: for the records, not for the download.
const LITTLE: u64 = 48 * 1024;

/// Ballast of each release, bytes.
const BALLAST: usize = 100_000;

impl Case {
    fn version(self) -> &'static str {
        match self {
            Self::Good => "1.2.0",
            Self::BadImage => "1.3.0",
            Self::FailingHealth => "1.4.0",
            Self::FullDisk => "1.5.0",
        }
    }

    /// `swupdateresult` at the end (OCF: success, integrity, update failed, no space).
    fn result(self) -> u64 {
        match self {
            Self::Good => 1,
            Self::BadImage => 5,
            Self::FailingHealth => 8,
            Self::FullDisk => 3,
        }
    }

    fn runs_after(self) -> &'static str {
        if self == Self::Good { self.version() } else { BEFORE }
    }
}

/// A vendor with a release for each case, and a device's state from which every life begins.
struct Scene {
    vendor: Vendor,
    configuration: String,
    template: PathBuf,
    /// Those that can be had here.
    cases: Vec<Case>,
}

impl Scene {
    fn new() -> Self {
        let vendor = Vendor::new();
        let first = vendor.publish(BEFORE, "exit 0", BALLAST);
        for case in CASES {
            let health = if case == Case::FailingHealth { "exit 1" } else { "exit 0" };
            vendor.publish(case.version(), health, BALLAST);
        }
        let version = Case::BadImage.version();
        let payload = format!("{version}-{version}.tar");
        let mut bytes = fs::read(vendor.path("out").join(&payload)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        vendor.nginx.put(&payload, &bytes);

        let mut device = Device::start(&vendor, "template");
        device.order(&first, "upgrade", &now(0)).unwrap();
        assert_eq!(device.wait_until_idle()["swupdateresult"], 1, "{}", device.log());
        assert_eq!(device.stop(), Some(0));
        let template = device.state.clone();
        let configuration = vendor.configuration().replace("timeout_s = 2", "timeout_s = 1");
        let configuration = configuration.replace("timeout_s = 3", "timeout_s = 1");
        let mut cases = CASES.to_vec();
        if Disk::mount(vendor.path("disk")).is_none() {
            eprintln!("NOT TESTED: kills on a full disk: mounting is not allowed here");
            cases.retain(|case| *case != Case::FullDisk);
        }
        Self { vendor, configuration, template, cases }
    }

    /// One update. `live` gives the order at the URL and says whether it was taken, and whether the
    /// device was killed then; another life has to bring the update to its end.
    fn update(
        &self,
        case: Case,
        name: &str,
        live: impl FnOnce(&mut Device, &str) -> (bool, bool),
    ) -> bool {
        let state = self.vendor.path(name);
        let disk = (case == Case::FullDisk).then(|| Disk::mount(state.clone()).unwrap());
        copy(&self.template, &state);
        if let Some(disk) = &disk {
            disk.leave(LITTLE);
        }
        let start = || Device::start_with(&self.vendor, name, &self.configuration, &["--insecure"]);
        let mut device = start();
        let (taken, killed) = live(&mut device, &self.vendor.url(case.version()));
        assert!(taken || killed, "{name}: the order was refused: {}", device.log());
        device.kill();

        let device = start();
        let value = device.wait_until_idle();
        let log = || format!("{name}: {value}\n{}", device.log());
        // Who is killed before the answer may or may not have kept the order.
        let kept = taken || value["swupdateresult"] != 1 || device.running() != BEFORE;
        if kept {
            assert_eq!(value["swupdateresult"], case.result(), "{}", log());
            assert_eq!(device.running(), case.runs_after(), "{}", log());
        }
        let ballast = fs::read(device.state.join("current/ballast")).unwrap();
        let tree = self.vendor.path(&format!("tree-{}", device.running()));
        assert!(ballast == fs::read(tree.join("ballast")).unwrap(), "{}", log());
        // The workshop tidies up when it has nothing else to do.
        let stage = device.state.join("stage");
        harness::until(format_args!("the download goes: {}", log()), || {
            fs::read_dir(&stage).map_or(0, Iterator::count) == 0
        });
        drop(device);
        drop(disk);
        fs::remove_dir_all(state).unwrap();
        killed
    }
}

fn copy(from: &Path, to: &Path) {
    let from = from.join(".");
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// What changes the disk.
const CALLS: [&str; 20] = [
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "syncfs",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "symlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "ftruncate",
    "fallocate",
    "fchmod",
    "utimensat",
];

/// The threads that do: the loop with its records, and the workshop.
const THREADS: [&str; 2] = ["freshen", "workshop"];

/// A system call of a thread, before which it is killed.
#[derive(Clone, Debug)]
struct Point {
    thread: &'static str,
    call: String,
    /// Which of the thread's calls of this name, from 1.
    number: usize,
}

/// `strace`, looking at one thread of a device.
struct Strace(Child);

impl Strace {
    /// `None` where it is not allowed.
    fn attach(device: &Device, thread: &str, how: &[&str]) -> Option<Self> {
        let status = device.thread(thread).join("status");
        let id = status.parent().unwrap().file_name().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-q", "-p"]).arg(id).args(how).stderr(Stdio::null());
        let mut strace = strace.spawn().expect("this test needs strace: apt-get install strace");
        loop {
            let traced = fs::read_to_string(&status).unwrap();
            if !traced.contains("TracerPid:\t0\n") {
                return Some(Self(strace));
            }
            if strace.try_wait().unwrap().is_some() {
                return None;
            }
            thread::yield_now();
        }
    }

    fn kill_before(device: &Device, point: &Point) -> Option<Self> {
        let Point { call, number, .. } = point;
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:signal=KILL:when={number}");
        Self::attach(device, point.thread, &["-o", "/dev/null", "-e", &trace, "-e", &inject])
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives the order, and waits until it is carried out or the device is dead: whether the order was
/// taken, and whether the device is dead.
fn order_and_wait(device: &mut Device, url: &str) -> (bool, bool) {
    let taken = post_within(&device.uri(RESOURCE), &order(url, "upgrade", &now(0)), 2).is_ok();
    loop {
        if device.is_dead() {
            return (taken, true);
        }
        let idle =
            |value: Value| value["swupdatestate"] == "idle" && value["swupdateaction"] == "idle";
        if taken && try_get(&device.uri(RESOURCE)).is_some_and(idle) {
            return (taken, false);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The calls of an update that nobody kills; `None` where tracing is not allowed.
fn points(scene: &Scene, case: Case) -> Option<Vec<Point>> {
    let mut points = Vec::new();
    for thread in THREADS {
        let log = scene.vendor.path(&format!("{case:?}-{thread}.strace"));
        let trace = format!("trace={}", CALLS.join(","));
        let mut allowed = true;
        scene.update(case, &format!("{case:?}-{thread}"), |device, url| {
            let how = ["-o", log.to_str().unwrap(), "-e", &trace];
            let strace = Strace::attach(device, thread, &how);
            allowed = strace.is_some();
            order_and_wait(device, url)
        });
        if !allowed {
            return None;
        }
        let mut numbers = HashMap::new();
        for line in fs::read_to_string(log).unwrap().lines() {
            let Some((call, _)) = line.split_once('(') else { continue };
            let number = numbers.entry(call.to_owned()).or_insert(0);
            *number += 1;
            points.push(Point { thread, call: call.to_owned(), number: *number });
        }
    }
    Some(points)
}

/// Kills an update before every `step`-th of the calls by which it changes the disk.
fn kill_at_calls(step: usize) {
    let scene = Scene::new();
    for &case in &scene.cases {
        let Some(points) = points(&scene, case) else {
            return eprintln!("NOT TESTED: kills at system calls: tracing is not allowed here");
        };
        let all: Vec<Point> = points.into_iter().step_by(step).collect();
        let (next, kills) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Some(point) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                        let Point { thread, call, number, .. } = point;
                        let name = format!("{case:?}-{thread}-{call}-{number}");
                        let killed = scene.update(case, &name, |device, url| {
                            let _strace = Strace::kill_before(device, point);
                            order_and_wait(device, url)
                        });
                        kills.fetch_add(usize::from(killed), Ordering::SeqCst);
                    }
                });
            }
        });
        let kills = kills.into_inner();
        println!("{case:?}: killed before {kills} of {} calls, each brought to its end", all.len());
        assert!(kills * 10 >= all.len() * 9, "only {kills} of {} came", all.len());
    }
}

/// Kills updates of all kinds at random moments.
fn kill_at_random(times: usize) {
    let scene = Scene::new();
    let (next, early) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n >= times {
                        return;
                    }
                    let case = scene.cases[n % scene.cases.len()];
                    let chance = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
                    let moment = Duration::from_micros(chance % 120_000);
                    scene.update(case, &format!("random-{n}"), |device, url| {
                        let taken = device.order(url, "upgrade", &now(0)).is_ok();
                        thread::sleep(moment);
                        let at_work = device.get(RESOURCE)["swupdatestate"] != "idle";
                        early.fetch_add(usize::from(at_work), Ordering::SeqCst);
                        device.kill();
                        (taken, true)
                    });
                    if n % 500 == 499 {
                        println!("{} of {times} kills", n + 1);
                    }
                }
            });
        }
    });
    let early = early.into_inner();
    println!("{times} kills, {early} of them in the middle of an update: 0 bricked, 0 untold");
    assert!(early * 4 > times, "the kills came too late to prove anything");
}

#[test]
fn an_agent_killed_before_any_change_of_the_disk_ends_as_if_nobody_had() {
    kill_at_calls(9);
}

#[test]
fn an_agent_killed_at_any_moment_ends_as_if_nobody_had() {
    kill_at_random(24);
}

/// `cargo test --release --test device kills -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn an_agent_killed_before_every_change_of_the_disk_ends_as_if_nobody_had() {
    kill_at_calls(1);
}

/// `cargo test --release --test device kills -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn an_agent_killed_ten_thousand_times_ends_as_if_nobody_had() {
    kill_at_random(10_000);
}
