//! Onboarding that goes wrong, and people who are not who they say.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::freshen::{Device, output_of, payload};
use crate::people::People;

const BINARY: &str = env!("CARGO_BIN_EXE_freshen");

const CONFIGURATION: &str = "[listen]\nmulticast = false\n\n[onboarding]\nmethods = [\"jw\"]\n";

const UPDATE: &str = "/softwareupdateResURI";

/// A device, its owner, and others.
struct Scene {
    people: People,
    device: Option<Device>,
}

impl Scene {
    fn new(configuration: &str) -> Self {
        let people = People::new();
        let device = Some(people.device(configuration));
        Self { people, device }
    }

    fn device(&self) -> &Device {
        self.device.as_ref().unwrap()
    }

    /// SIGKILL, and on again.
    fn pull_the_plug(&mut self) {
        self.device = None;
        self.device = Some(self.people.device(CONFIGURATION));
    }

    /// `freshen own`, telling of each of its steps.
    fn own(&self, who: &str) -> Child {
        let keys = self.people.path(who);
        Command::new(BINARY)
            .args(["-v", "own", &self.device().clear, "--timeout", "3", "--credentials"])
            .arg(keys)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn uri(&self, path: &str) -> String {
        format!("coaps://{}{path}", self.device().secure)
    }

    /// Either it is unowned and can be owned, or it is owned and does what its owner says.
    fn is_whole(&self, who: &str) -> bool {
        if self.device().owned {
            let doxm = self.people.json(who, &["get", &self.uri("/oic/sec/doxm")]);
            assert_eq!(doxm["payload"]["owned"], true);
            // In clear it may be silent still; its owner can always come by coaps.
            self.people.run(who, &["reset", &format!("coaps://{}", self.device().secure)]).unwrap();
        }
        let own = || self.people.run(who, &["own", &self.device().clear]);
        let again = (0..40).any(|_| own().is_ok());
        assert!(again, "{:?}", own());
        self.device().owned
    }
}

/// Reads the steps of `freshen own` up to the `n`th; whether there was one.
fn step(own: &mut Child, n: usize) -> bool {
    let steps = BufReader::new(own.stderr.as_mut().unwrap()).lines().map_while(Result::ok);
    let mut steps = steps.filter(|line| line.contains("POST /") || line.contains("DELETE /"));
    steps.nth(n).is_some()
}

#[test]
fn a_device_or_a_tool_killed_at_any_step_leaves_it_owned_or_unowned() {
    for kill_tool in [false, true] {
        let (mut owned, mut unowned) = (0, 0);
        for n in 0..14 {
            let mut scene = Scene::new(CONFIGURATION);
            let mut own = scene.own("owner");
            assert!(step(&mut own, n), "step {n} did not come");
            if kill_tool {
                own.kill().unwrap();
            }
            scene.pull_the_plug();
            let _ = own.wait();
            match scene.is_whole("owner") {
                true => owned += 1,
                false => unowned += 1,
            }
        }
        assert!(owned >= 3 && unowned >= 8, "{owned} owned, {unowned} unowned");
    }
}

/// From the moment when the device is owned until it has been told what its owner may do, it tells
/// nobody else anything: only the owner's key leads back to it.
#[test]
fn a_transfer_that_broke_off_is_finished_by_owning_the_device_once_more() {
    for restart in [false, true] {
        // A tool may be through before the kill reaches it; then all steps are gone through once more.
        let mut rounds = (0..10).scan(0, |finished, _| {
            *finished += killed_after_each_step(restart);
            Some(*finished)
        });
        assert!(rounds.any(|finished| finished >= 2), "restart: {restart}");
    }
}

/// How many of the transfers that were killed after each step from RFPRO on were finished by the owner's
/// second `own`.
fn killed_after_each_step(restart: bool) -> usize {
    let mut finished = 0;
    // Before the first of these answers has come the device is nobody's yet, and becomes itself
    // again: at its start, or when the session of the tool has been silent for a minute.
    for n in 1.. {
        let mut scene = Scene::new(CONFIGURATION);
        let mut own = scene.own("owner");
        if !reads_until(&mut own, "POST /oic/sec/doxm (owned)", n) {
            break;
        }
        own.kill().unwrap();
        let _ = own.wait();
        if restart {
            scene.pull_the_plug();
            if !scene.device().owned {
                continue;
            }
        }
        // Where it took sessions last; after a restart its ports are others.
        let secure = format!("coaps://{}", scene.device().secure);
        let address = if restart { &secure } else { &scene.device().clear };
        let again = scene.people.run("owner", &["own", address]);
        if again.as_ref().is_err_and(|error| error.contains("this tool owns it already")) {
            continue;
        }
        let said = again.unwrap_or_else(|error| panic!("{n} {restart}: {error}"));
        assert!(said.contains("what had broken off is finished"), "{said}");
        finished += 1;
        // It is as whole as any: it tells others that it is there, and its owner may update it.
        let found = scene.people.json("other", &["discover", "--address", &scene.device().clear]);
        assert_eq!(found["owned"], true);
        let seen = scene.people.json("owner", &["get", &scene.uri(UPDATE)]);
        assert_eq!(seen["payload"]["swupdatestate"], "idle");
    }
    finished
}

/// Reads the steps of `freshen own` up to the `n`th after one that says `text`; whether there was one.
fn reads_until(own: &mut Child, text: &str, n: usize) -> bool {
    let lines = BufReader::new(own.stderr.as_mut().unwrap()).lines().map_while(Result::ok);
    let steps = lines.filter(|line| line.contains("POST /") || line.contains("DELETE /"));
    let mut after = steps.skip_while(|line| !line.contains(text));
    after.nth(n).is_some()
}

#[test]
fn a_wrong_number_is_said_to_be_wrong_and_not_that_somebody_else_owns_the_device() {
    let scene = Scene::new("[listen]\nmulticast = false\n\n[onboarding]\nmethods = [\"rdp\"]\n");
    let own = ["own", &scene.device().clear, "--pin", "00000000", "--timeout", "10"];
    let refused = scene.people.run("owner", &own).unwrap_err();
    assert!(refused.contains("the number is wrong, or no longer the one"), "{refused}");
    assert!(!refused.contains("another owner"), "{refused}");
}

#[test]
fn of_two_tools_at_once_one_owns_the_device_or_none() {
    for _ in 0..4 {
        let scene = Scene::new(CONFIGURATION);
        let both = ["one", "other"].map(|who| (who, scene.own(who)));
        let ended = both.map(|(who, own)| (who, output_of(own)));
        let owners: Vec<&str> =
            ended.iter().filter(|(_, ended)| ended.is_ok()).map(|(who, _)| *who).collect();
        assert!(owners.len() < 2, "{ended:?}");
        match owners.first() {
            Some(owner) => {
                let seen = scene.people.json(owner, &["get", &scene.uri("/oic/sec/doxm")]);
                assert_eq!(seen["payload"]["owned"], true, "{ended:?}");
            }
            // Each broke in on the other: the device is itself again at once, or a little later.
            None => {
                let again = (0..20)
                    .any(|_| scene.people.run("one", &["own", &scene.device().clear]).is_ok());
                assert!(again, "{ended:?}");
            }
        }
    }
}

#[test]
fn a_client_that_lies_about_its_name_is_not_believed() {
    let scene = Scene::new(CONFIGURATION);
    let address = &scene.device().clear;
    scene.people.run("owner", &["own", address]).unwrap();
    let name =
        |who: &str| std::fs::read_to_string(scene.people.path(who).join("identity.json")).unwrap();
    for (who, more) in [
        ("one", vec![]),
        ("other", vec![]),
        ("third", vec!["--href", "/oic/d", "--permission", "r"]),
    ] {
        let to = scene.people.path(who);
        let provision = ["provision", "client", address, "--to", to.to_str().unwrap()];
        scene.people.run("owner", &[&provision[..], &more].concat()).unwrap();
    }
    let update = scene.uri(UPDATE);
    assert!(scene.people.run("one", &["get", &update]).is_ok());
    assert!(scene.people.run("third", &["get", &update]).unwrap_err().contains("4.01"));
    // With its own key under another's name, which may be the owner's.
    for victim in ["one", "owner"] {
        std::fs::write(scene.people.path("third").join("identity.json"), name(victim)).unwrap();
        let refused = scene.people.run("third", &["get", &update, "--timeout", "5"]).unwrap_err();
        assert!(!refused.contains("4.01") && !refused.contains("idle"), "{refused}");
    }
    assert!(scene.people.run("other", &["get", &update]).is_ok());
}

#[test]
fn a_manufacturers_certificate_out_of_its_time_owns_nothing() {
    for (what, from, until) in [("expired", 2019, 2020), ("not yet valid", 2200, 2210)] {
        let people = People::new();
        manufacture(&people.path(""), from, until);
        let configuration = "[listen]\nmulticast = false\n\n[onboarding]\nmethods = [\"mfgcert\"]\n\
             mfg_cert = \"mfg.pem\"\nmfg_key = \"mfg.key.pem\"\nmfg_roots = [\"root.pem\"]\n";
        let device = Some(people.device(configuration));
        let scene = Scene { people, device };
        let roots = scene.people.path("root.pem");
        let own = ["own", &scene.device().clear, "--mfg-roots", roots.to_str().unwrap()];
        let refused = scene.people.run("owner", &own).unwrap_err();
        assert!(
            refused.contains("certificate") && refused.contains("--mfg-roots"),
            "{what}: {refused}"
        );
        let found = scene.people.json("owner", &["discover", "--address", &scene.device().clear]);
        assert_eq!(found["owned"], false, "{what}");
    }
}

/// A manufacturer's root, and a device's certificate that is valid from one year to another.
fn manufacture(directory: &Path, from: i32, until: i32) {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "Maker");
    let root_key = KeyPair::generate().unwrap();
    let root_certificate = root.self_signed(&root_key).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name.push(DnType::CommonName, "Camera");
    leaf.not_before = rcgen::date_time_ymd(from, 1, 1);
    leaf.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    write("root.pem", root_certificate.pem());
    write("mfg.pem", certificate.pem());
    write("mfg.key.pem", key.serialize_pem());
}

/// libcoap's clients, with a key that the owner provided: foreign, and unaware of OCF.
#[test]
fn libcoaps_clients_come_with_a_key_that_the_owner_provided() {
    let scene = Scene::new(CONFIGURATION);
    let address = &scene.device().clear;
    scene.people.run("owner", &["own", address]).unwrap();
    let to = scene.people.path("libcoap");
    let (name, key) = ("6b8e2e4c-4f0a-4b5e-9a57-0f6f6d1f2a11", "0123456789abcdef");
    let digits: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
    let provision = ["provision", "client", address, "--to", to.to_str().unwrap()];
    scene
        .people
        .run("owner", &[&provision[..], &["--uuid", name, "--key", &digits]].concat())
        .unwrap();
    for program in ["coap-client-openssl", "coap-client-gnutls"] {
        let ask = |key: &str, more: &[&str]| {
            let output = Command::new(program)
                .args(["-u", name, "-k", key, "-B", "8"])
                .args(more)
                .output()
                .unwrap_or_else(|error| panic!("{program} ({error}); install libcoap3-bin"));
            let said = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&said).into_owned()
        };
        let uri = scene.uri(UPDATE);
        let seen = ask(key, &["-m", "get", &uri]);
        assert!(seen.contains("swupdatestate") && seen.contains("idle"), "{program}: {seen}");
        let seen = ask(key, &["-m", "get", "-s", "2", &uri]);
        assert!(seen.contains("swupdatestate"), "{program}: {seen}");
        // Nonsense is refused with a reason; what it may not do is refused without.
        let said = ask(key, &["-m", "post", "-t", "10000", "-e", "nonsense", &uri]);
        assert!(said.contains("4.00"), "{program}: {said}");
        let said = ask(key, &["-m", "get", &scene.uri("/oic/sec/cred")]);
        assert!(said.contains("4.01"), "{program}: {said}");
        let said = ask("another-key-0000", &["-m", "get", &uri]);
        assert!(!said.contains("swupdatestate"), "{program}: {said}");
    }
}

#[test]
fn the_owner_reads_who_ordered_what_and_others_do_not() {
    let mut scene = Scene::new(CONFIGURATION);
    let address = scene.device().clear.clone();
    scene.people.run("owner", &["own", &address]).unwrap();
    let to = scene.people.path("client");
    let provision = ["provision", "client", &address, "--to", to.to_str().unwrap()];
    let client = scene.people.json("owner", &provision)["client"].as_str().unwrap().to_owned();
    let update = scene.uri(UPDATE);
    let order = |purl: &str, time: &str| {
        let (purl, time) = (format!("purl={purl}"), format!("updatetime={time}"));
        scene.people.run("client", &["post", &update, &purl, "swupdateaction=upgrade", &time])
    };
    order("https://localhost:1/taken", "2100-01-01T00:00:00Z").unwrap();
    order("https://localhost:1/late", "2001-01-01T00:00:00Z").unwrap_err();
    scene.people.run("client", &["post", &update, "purl=https://localhost:1/x"]).unwrap_err();
    scene.people.run("client", &["post", &scene.uri("/oic/sec/pstat"), "tm=128"]).unwrap_err();
    scene.people.run("client", &["get", &scene.uri("/oic/sec/ael")]).unwrap_err();
    // They are kept within a second, and are there after a power cut.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    scene.pull_the_plug();
    let keys = scene.people.path("owner");
    let ael =
        payload(&["get", &scene.uri("/oic/sec/ael"), "--credentials", keys.to_str().unwrap()]);
    let events: Vec<String> =
        ael["events"].as_array().unwrap().iter().map(ToString::to_string).collect();
    let kept = |words: &[&str]| {
        let fits = |event: &&String| words.iter().all(|word| event.contains(word));
        events.iter().any(|event| fits(&event))
    };
    for words in [
        ["an order was taken", "upgrade from 'https://localhost:1/taken' at 2100-01-01T00:00:00Z"],
        ["an order was refused: the time", "https://localhost:1/late"],
        ["an order was refused: ", "swupdateaction"],
        ["Access Denied", "ProvisioningStatus"],
        ["Access Denied", "AuditLog"],
    ] {
        assert!(kept(&[words[0], words[1], &client]), "{words:?}: {events:#?}");
    }
}
