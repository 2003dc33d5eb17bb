//! The real program: started, asked, killed at random moments, started again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_freshen-fleet");

/// A server process; it ends with the test.
struct Served {
    child: Child,
    ready: Value,
}

impl Served {
    fn start(data: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.ready["http"][0].as_str().unwrap())
    }

    fn token(&self) -> Option<String> {
        self.ready["token"].as_str().map(str::to_owned)
    }

    /// Ends it as a power cut would: nothing is written any more.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(url: &str, token: &str, args: &[&str]) -> Output {
    let command = Command::new(PROGRAM)
        .args(args)
        .env("FRESHEN_FLEET_URL", url)
        .env("FRESHEN_FLEET_TOKEN", token)
        .output();
    command.unwrap()
}

#[track_caller]
fn says(url: &str, token: &str, args: &[&str]) -> String {
    let out = run(url, token, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[track_caller]
fn json_of(url: &str, token: &str, args: &[&str]) -> Value {
    let args = [&["--json"], args].concat();
    serde_json::from_str(&says(url, token, &args)).unwrap()
}

#[test]
fn a_newcomer_goes_from_an_empty_directory_to_a_cancelled_campaign() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&dir.path().join("fleet"), &[]);
    let (url, token) = (served.url(), served.token().expect("the first start shows one"));
    let fleet = dir.path().join("fleet.ndjson");
    let lines: String = (0..300)
        .map(|n| {
            let line = json!({ "id": format!("WVW{n:03}"), "tags": ["test"],
                "packages": [{ "name": "nav", "version": if n % 2 == 0 { "1.0" } else { "1.1" } }] });
            format!("{line}\n")
        })
        .collect();
    std::fs::write(&fleet, &lines).unwrap();
    let ask = |args: &[&str]| says(&url, &token, args);
    assert!(ask(&["device", "import", "--create", fleet.to_str().unwrap()]).contains("300"));
    let expression = "has_package \"nav\" \"^1\\.0$\" AND vin_matches \"^WVW0\"";
    assert!(ask(&["filter", "try", expression]).contains("50"));
    ask(&["filter", "add", "old-golfs", expression]);
    let image = dir.path().join("nav.swu");
    std::fs::write(&image, vec![7; 100_000]).unwrap();
    ask(&["package", "add", "nav", "2.0", image.to_str().unwrap(), "--vendor", "Acme"]);
    ask(&["package", "link", "nav", "2.0", "old-golfs"]);
    assert!(ask(&["campaign", "try", "nav", "2.0"]).contains("50"));
    let made = json_of(&url, &token, &["campaign", "create", "nav", "2.0"]);
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["counts"]["pending"], 50);
    assert!(ask(&["campaign", "list"]).contains(id));
    assert!(ask(&["campaign", "devices", id, "--state", "pending"]).contains("WVW098"));
    assert_eq!(json_of(&url, &token, &["campaign", "cancel", id])["counts"]["cancelled"], 50);
    assert!(ask(&["audit", "verify"]).contains("true"));
    let read = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(read(&ask(&["device", "export"])), read(&lines));
    // What does not work says why, and what to do.
    let failed = |args: &[&str], code: i32, words: &str| {
        let out = run(&url, &token, args);
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
    };
    failed(&["filter", "try", "TRUE AND"], 1, "column");
    failed(&["device", "show", "nobody"], 1, "missing_device");
    failed(&["device", "frob"], 2, "unrecognized");
    let nobody = run(&url, "ff_00", &["device", "list"]);
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("a token is needed"));
}

#[test]
fn the_token_is_shown_once_and_other_addresses_need_tls() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("fleet");
    let mut served = Served::start(&data, &[]);
    let token = served.token().unwrap();
    served.kill();
    let served = Served::start(&data, &[]);
    assert_eq!(served.token(), None, "shown once");
    says(&served.url(), &token, &["device", "list"]);
    let mode = std::fs::metadata(&data).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
    assert_eq!(mode & 0o077, 0, "for its owner alone");
    let out = Command::new(PROGRAM)
        .args(["serve", "--listen", "0.0.0.0:0", "--data"])
        .arg(dir.path().join("open"))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8(out.stderr).unwrap().contains("needs TLS"));
}

#[test]
fn tls_is_spoken_with_the_certificate_that_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let more = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let served = Served::start(&dir.path().join("fleet"), &more);
    let port = served.ready["http"][0].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let curl = |extra: &[&str], scheme: &str| {
        let url = format!("{scheme}://localhost:{port}/health");
        Command::new("curl").args(["-sS", "-4"]).args(extra).arg(url).output()
    };
    let Ok(out) = curl(&["--cacert", cert.to_str().unwrap()], "https") else {
        return harness::skipped("curl is not installed");
    };
    assert_eq!(out.stdout, b"ok\n", "{}", String::from_utf8_lossy(&out.stderr));
    assert!(!curl(&[], "https").unwrap().status.success(), "nobody vouches for it");
    assert!(!curl(&[], "http").unwrap().status.success(), "not in clear");
}

#[test]
fn a_backup_is_made_while_the_server_runs_and_is_a_fleet_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("fleet");
    let served = Served::start(&data, &[]);
    let (url, token) = (served.url(), served.token().unwrap());
    says(&url, &token, &["device", "add", "V1"]);
    let image = dir.path().join("nav.swu");
    std::fs::write(&image, b"bytes").unwrap();
    says(&url, &token, &["package", "add", "nav", "1", image.to_str().unwrap()]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    says("", "", &["backup", "--data", &path("fleet"), "--to", &path("copy")]);
    says(&url, &token, &["device", "add", "V2"]);
    let again = run("", "", &["backup", "--data", &path("fleet"), "--to", &path("copy")]);
    assert!(!again.status.success(), "a backup is never written over");
    says("", "", &["restore", "--from", &path("copy"), "--data", &path("back")]);
    let back = Served::start(&dir.path().join("back"), &[]);
    let devices = json_of(&back.url(), &token, &["device", "list"]);
    assert_eq!(devices.as_array().unwrap().len(), 1);
    let shown = json_of(&back.url(), &token, &["package", "show", "nav", "1"]);
    assert_eq!(shown["files"][0]["size"], 5);
    says(&back.url(), &token, &["audit", "verify"]);
}

/// What was acknowledged, in the order of a client.
#[derive(Default)]
struct Acknowledged {
    devices: Vec<String>,
    started: Vec<String>,
}

#[test]
fn everything_acknowledged_is_there_after_kills_at_random_moments() {
    let rounds = std::env::var("KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("fleet");
    let mut served = Served::start(&data, &[]);
    let token = served.token().unwrap();
    let image = dir.path().join("nav.swu");
    std::fs::write(&image, b"bytes").unwrap();
    says(&served.url(), &token, &["package", "add", "nav", "1", image.to_str().unwrap()]);
    let acknowledged = Mutex::new(Acknowledged::default());
    for round in 0..rounds {
        let url = served.url();
        let made = json_of(
            &url,
            &token,
            &["campaign", "create", "nav", "1", "--expression", "tag \"go\""],
        );
        let campaign = made["id"].as_str().unwrap().to_owned();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (url, token, over, acknowledged) = (&url, &token, &over, &acknowledged);
                scope.spawn(move || {
                    for n in 0.. {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        let id = format!("R{round}C{client}N{n}");
                        let body = json!({ "id": id, "tags": ["go"] });
                        if post(url, token, "/devices", &body) == Some(201) {
                            acknowledged.lock().unwrap().devices.push(id);
                        }
                    }
                });
            }
            let (token, acknowledged, url) = (&token, &acknowledged, &url);
            let (over, campaign) = (&over, &campaign);
            scope.spawn(move || {
                let known = acknowledged.lock().unwrap().devices.clone();
                for id in known.iter().filter(|id| !id.starts_with(&format!("R{round}"))) {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let cancel = format!("/devices/{id}/updates/{campaign}/cancel");
                    if post(url, token, &cancel, &Value::Null) == Some(204) {
                        acknowledged.lock().unwrap().started.push(format!("{campaign} {id}"));
                    }
                }
            });
            // A moment that nobody chose: so many milliseconds as the kernel's dice say.
            let mut dice = [0; 1];
            getrandom::fill(&mut dice).unwrap();
            let until = 40 * (round + 1) + usize::from(dice[0]) / 8;
            while acknowledged.lock().unwrap().devices.len() < until {
                std::thread::yield_now();
            }
            served.kill();
            over.store(true, Ordering::Relaxed);
        });
        served = Served::start(&data, &[]);
        check(&served.url(), &token, &acknowledged.lock().unwrap());
    }
}

fn check(url: &str, token: &str, acknowledged: &Acknowledged) {
    let devices = json_of(url, token, &["device", "list"]);
    let ids: std::collections::BTreeSet<&str> =
        devices.as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap()).collect();
    for id in &acknowledged.devices {
        assert!(ids.contains(id.as_str()), "{id} was acknowledged and is gone");
    }
    for campaign in json_of(url, token, &["campaign", "list"]).as_array().unwrap() {
        let id = campaign["id"].as_str().unwrap();
        let counts = &campaign["counts"];
        let members = json_of(url, token, &["campaign", "devices", id]);
        let members = members.as_array().unwrap();
        for state in ["pending", "in_flight", "completed", "failed", "cancelled"] {
            let counted = members.iter().filter(|member| member["state"] == state).count();
            assert_eq!(counts[state], counted, "{state} of {id}");
        }
        for cancelled in acknowledged.started.iter().filter(|line| line.starts_with(id)) {
            let device = cancelled.split(' ').nth(1).unwrap();
            let member = members.iter().find(|member| member["device"] == device).unwrap();
            assert_eq!(member["state"], "cancelled", "{device}");
        }
    }
    says(url, token, &["audit", "verify"]);
}

/// The status of an answer; none when the server is gone.
fn post(url: &str, token: &str, path: &str, body: &Value) -> Option<u16> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder().http_status_as_error(false).build(),
    );
    let request = agent
        .post(format!("{url}/api/v1{path}"))
        .header("authorization", format!("Bearer {token}"))
        .content_type("application/json");
    request.send(body.to_string()).ok().map(|answer| answer.status().as_u16())
}
