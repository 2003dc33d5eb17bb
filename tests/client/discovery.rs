//! `discover`: by address on the loopback interface, by multicast between network namespaces.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::peers::{Peer, python};
use super::{Ran, freshen, run};

#[test]
fn devices_are_found_by_their_addresses() {
    let (ocf, plain) = (Peer::aiocoap(), Peer::libcoap());
    let both = format!("--address 127.0.0.1:{} --address 127.0.0.1:{}", ocf.port, plain.port);
    let text = freshen(&format!("discover {both}")).done();
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "VERSION", "OWNED", "UPDATE", "ADDRESS", "DEVICE"]);
    let at = format!("127.0.0.1:{}", ocf.port);
    let di = "11111111-2222-4333-8444-555555555555";
    assert_eq!(lines[1], ["Aio", "Camera", "1.0.0", "no", "yes", &*at, di]);
    assert!(lines[2].ends_with(&["speaks", "CoAP,", "not", "OCF"]), "{text}");
    let nobody = freshen("discover --address 127.0.0.1:9").refused(1);
    assert!(nobody.contains("nothing listens there"), "{nobody}");
}

#[test]
fn devices_of_other_hosts_are_found_by_multicast_over_both_families() {
    let net = Network::new(3);
    let link = |n| format!("dev{n}");
    let ocf = {
        let groups = [format!("224.0.1.187%{}", link(0)), format!("ff02::158%{}", link(0))];
        let groups: Vec<&str> = groups.iter().map(|group| &**group).collect();
        Peer::aiocoap_by(net.on_host(0, &python()), "::", 5683, &groups)
    };
    let mut v4 = net.on_host(1, "coap-server-notls");
    v4.args(["-A", "0.0.0.0", "-g", "224.0.1.187", "-G", &link(1)]);
    let mut v6 = net.on_host(2, "coap-server-notls");
    v6.args(["-A", "::", "-g", "ff02::fd", "-G", &link(2)]);
    let plain = [Peer::start(&mut v4, 5683), Peer::start(&mut v6, 5683)];

    // Foreign servers do not say when they are ready.
    let mut devices = vec![];
    for _ in 0..5 {
        devices = net.freshen("discover --json").lines();
        if devices.len() == 3 {
            break;
        }
    }
    assert_eq!(devices.len(), 3, "{devices:?}");
    let addresses = |n: usize| -> Vec<&str> {
        devices[n]["addresses"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
    };
    assert_eq!(devices[0]["name"], "Aio Camera");
    assert_eq!(devices[0]["update"], "/oc/swu");
    assert_eq!(addresses(0)[0], "10.77.0.2:5683");
    assert!(addresses(0)[1].starts_with("[fe80::"), "{devices:?}");
    let mut others = [addresses(1)[0], addresses(2)[0]];
    others.sort_unstable();
    assert_eq!(others[0], "10.77.1.2:5683");
    assert!(others[1].starts_with("[fe80::"), "{devices:?}");

    // What was found can be asked: link-local addresses carry their zone.
    let name = net.freshen(&format!("get --json coap://{}/oic/d", addresses(0)[1])).lines();
    assert_eq!(name[0]["payload"]["n"], "Aio Camera");
    drop((ocf, plain));
}

#[test]
fn a_device_that_listens_on_loopback_only_is_found_there_and_nowhere_else() {
    let net = Network::new(1);
    let state = tempfile::tempdir().unwrap();
    let mut command = net.on_host(0, env!("CARGO_BIN_EXE_freshen"));
    command.args(["device", "--insecure", "--coap", "127.0.0.1:0", "--coap", "[::1]:0"]);
    let device = Peer::device(command.arg("--state").arg(state.path()));

    let found = net.freshen_on(0, "discover --json").lines();
    assert_eq!(found.len(), 1, "{found:?}");
    // IPv6 has no way to a group over the loopback interface.
    let address = found[0]["addresses"][0].as_str().unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{found:?}");
    assert_eq!(found[0]["update"], "/softwareupdateResURI");

    let nobody = net.freshen("discover --json").refused(1);
    assert!(nobody.contains("nobody answered"), "{nobody}");
    // The socket for multicast has every address of the host, but must not serve there.
    let outside = net.freshen("get --timeout 3 10.77.0.2:5683/oic/res").refused(1);
    assert!(outside.contains("no answer came"), "{outside}");
    let inside = net.freshen_on(0, "get --json 127.0.0.1:5683/oic/d").lines();
    assert_eq!(inside[0]["code"], "2.05");
    drop(device);
}

/// A host of its own for the client, with a cable to each of several other hosts.
pub(crate) struct Network {
    name: String,
    hosts: usize,
}

impl Network {
    pub(crate) fn new(hosts: usize) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self { name: format!("freshen-{}-{number}", std::process::id()), hosts };
        ip(&format!("netns add {}", net.name));
        ip(&format!("-n {} link set lo up", net.name));
        for n in 0..hosts {
            let (here, there) = (net.name.clone(), net.host(n));
            ip(&format!("netns add {there}"));
            ip(&format!("-n {there} link set lo up"));
            ip(&format!("link add cable{n} netns {here} type veth peer name dev{n} netns {there}"));
            for (host, device, last) in
                [(&here, format!("cable{n}"), 1), (&there, format!("dev{n}"), 2)]
            {
                // No waiting for others that may have the same address.
                let sysctl = format!("net.ipv6.conf.{device}.accept_dad=0");
                ip(&format!("netns exec {host} sysctl -qw {sysctl}"));
                ip(&format!("-n {host} addr add 10.77.{n}.{last}/24 dev {device}"));
                ip(&format!("-n {host} link set {device} up"));
            }
        }
        for n in 0..hosts {
            wait_for_link_local(&net.host(n), &format!("dev{n}"));
        }
        net
    }

    fn host(&self, n: usize) -> String {
        format!("{}-{n}", self.name)
    }

    /// A program on one of the other hosts.
    pub(crate) fn on_host(&self, n: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(n), program]);
        command
    }

    /// A program on the client's host.
    pub(crate) fn on_client(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// `freshen` on the client's host.
    fn freshen(&self, arguments: &str) -> Ran {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_freshen")]);
        run(command.args(arguments.split(' ')))
    }

    /// `freshen` on one of the other hosts.
    fn freshen_on(&self, n: usize, arguments: &str) -> Ran {
        run(self.on_host(n, env!("CARGO_BIN_EXE_freshen")).args(arguments.split(' ')))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let names = (0..self.hosts).map(|n| self.host(n)).chain([self.name.clone()]);
        for name in names {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// The kernel gives a link its IPv6 address a moment after it is up.
fn wait_for_link_local(host: &str, device: &str) {
    harness::until(format_args!("{device} of {host} gets an IPv6 address"), || {
        let arguments = ["-n", host, "-6", "addr", "show", "dev", device, "scope", "link"];
        !Command::new("ip").args(arguments).output().unwrap().stdout.is_empty()
    });
}

fn ip(arguments: &str) {
    let ran = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "ip {arguments}: {error}\n(network namespaces need root)");
}
