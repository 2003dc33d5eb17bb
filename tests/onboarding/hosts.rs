//! Our tool and our device on two hosts: network namespaces with a cable between them.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::freshen::{Device, output_of};

const BINARY: &str = env!("CARGO_BIN_EXE_freshen");

const CONFIGURATION: &str = "[onboarding]\nmethods = [\"jw\"]\n";

#[test]
fn a_device_on_another_host_is_found_owned_used_and_reset_over_either_family() {
    let hosts = Hosts::new();
    let device = hosts.device(CONFIGURATION);
    for family in ["IPv4", "IPv6"] {
        let found = hosts.json("owner", &["discover", "--unowned"]);
        assert_eq!((&found["owned"], &found["di"]), (&false.into(), &found["di"]));
        let address = address(&found, family);
        let owned = hosts.json("owner", &["own", &address]);
        let di = owned["device"].as_str().unwrap();
        let v6 = owned["coaps"].as_str().unwrap().starts_with('[');
        assert_eq!(v6, family == "IPv6", "{owned}");
        // By its name alone, from either side; others see it too, but not into it.
        let found = hosts.json("stranger", &["discover", "--owned"]);
        assert_eq!((&found["di"], &found["ours"]), (&di.into(), &false.into()));
        let uri = format!("ocf://{di}/softwareupdateResURI");
        let refused = hosts.run("stranger", &["get", &uri]).unwrap_err();
        assert!(refused.contains("freshen own"), "{refused}");
        hosts.run("owner", &["provision", "client", di, "--to", &hosts.home("client")]).unwrap();
        let seen = hosts.json("client", &["get", &uri, "--credentials", &hosts.home("client")]);
        assert_eq!(seen["payload"]["swupdatestate"], "idle");
        hosts.run("owner", &["reset", di]).unwrap();
        std::fs::remove_dir_all(hosts.home("client")).unwrap();
        let again = (0..10).any(|_| hosts.run("owner", &["discover", "--unowned"]).is_ok());
        assert!(again, "it cannot be owned again");
    }
    drop(device);
}

#[test]
fn an_update_is_followed_to_the_port_where_the_device_is_after_its_restart() {
    let hosts = Hosts::new();
    let device = hosts.device(CONFIGURATION);
    let found = hosts.json("owner", &["discover", "--unowned"]);
    let owned = hosts.json("owner", &["own", &address(&found, "IPv4")]);
    let di = owned["device"].as_str().unwrap().to_owned();
    // Every package of this vendor ends the same way; what counts is that the end is heard.
    let at = freshen::clock::now().wall + chrono::TimeDelta::seconds(8);
    let at = at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let update = ["update", &di, "--purl", "ftp://localhost/x", "--at", &at];
    let update = hosts.command("owner", &update).spawn().unwrap();
    let ordered = |hosts: &Hosts| {
        let uri = format!("ocf://{di}/softwareupdateResURI");
        hosts.json("owner", &["get", &uri])["payload"]["swupdateaction"] == "upgrade"
    };
    assert!((0..20).any(|_| ordered(&hosts)), "the order was not given");
    let before = device.secure.clone();
    drop(device);
    let device = hosts.device(CONFIGURATION);
    assert_ne!(device.secure, before);
    let ended = output_of(update).unwrap_err();
    assert!(ended.contains("result 7"), "{ended}");
    // And where it is now is remembered.
    let uri = format!("ocf://{di}/oic/d");
    assert_eq!(hosts.json("owner", &["get", &uri])["payload"]["di"], *di);
}

fn address(found: &Value, family: &str) -> String {
    let addresses = found["addresses"].as_array().unwrap();
    let is_v6 = |address: &&Value| address.as_str().unwrap().starts_with('[');
    let address = addresses.iter().find(|address| is_v6(address) == (family == "IPv6"));
    address.unwrap_or_else(|| panic!("no {family}: {found}")).as_str().unwrap().to_owned()
}

/// Two hosts: one for people, one for the device.
struct Hosts {
    people: String,
    devices: String,
    directory: tempfile::TempDir,
}

impl Hosts {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |which| format!("own-{}-{number}-{which}", std::process::id());
        let hosts = Self {
            people: name("people"),
            devices: name("devices"),
            directory: tempfile::tempdir().unwrap(),
        };
        let (people, devices) = (&hosts.people, &hosts.devices);
        for host in [people, devices] {
            ip(&format!("netns add {host}"));
            ip(&format!("-n {host} link set lo up"));
        }
        ip(&format!("link add cable netns {people} type veth peer name cable netns {devices}"));
        for (host, last) in [(people, 1), (devices, 2)] {
            // No waiting for others that may have the same address.
            ip(&format!("netns exec {host} sysctl -qw net.ipv6.conf.cable.accept_dad=0"));
            ip(&format!("-n {host} addr add 10.79.0.{last}/24 dev cable"));
            ip(&format!("-n {host} link set cable up"));
        }
        for host in [people, devices] {
            wait_for_link_local(host);
        }
        hosts
    }

    /// A device with any free ports, on all addresses of its host; its state outlives it.
    fn device(&self, configuration: &str) -> Device {
        let within = ["ip", "netns", "exec", &self.devices, BINARY];
        Device::start_on(&within, self.directory.path(), configuration, &[])
    }

    fn home(&self, who: &str) -> String {
        self.directory.path().join(who).to_str().unwrap().to_owned()
    }

    /// A command by somebody who has a home of their own.
    fn command(&self, who: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.people, BINARY]).args(arguments);
        command.env("HOME", Path::new(&self.home(who)).join("home")).env_remove("XDG_DATA_HOME");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    fn run(&self, who: &str, arguments: &[&str]) -> Result<String, String> {
        output_of(self.command(who, arguments).spawn().unwrap())
    }

    fn json(&self, who: &str, arguments: &[&str]) -> Value {
        let text = self.run(who, &[arguments, &["--json"]].concat());
        let text = text.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in [&self.people, &self.devices] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// The kernel gives a link its IPv6 address a moment after it is up.
fn wait_for_link_local(host: &str) {
    harness::until(format_args!("{host} gets an IPv6 address"), || {
        let arguments = ["-n", host, "-6", "addr", "show", "dev", "cable", "scope", "link"];
        !Command::new("ip").args(arguments).output().unwrap().stdout.is_empty()
    });
}

fn ip(arguments: &str) {
    let ran = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "ip {arguments}: {error}\n(network namespaces need root)");
}
