//! Taking ownership of the real binary, and what becomes of it.

use std::fs;

use ciborium::{Value, cbor};
use freshen::coap::Code;
use freshen::dtls::{
    Anchor, ClientPolicy, Error, IdentityRule, OwnerTransfer, PreSharedKey, Suite, pin_psk,
};
use uuid::Uuid;

use crate::bench::{Device, Vendor};
use crate::tool::Tool;

const DOXM: &str = "/oic/sec/doxm";
const PSTAT: &str = "/oic/sec/pstat";
const SWU: &str = "/softwareupdateResURI";
const OWNER: Uuid = Uuid::from_u128(0xb566_b283_ef1a_46ef_791d_9b90_68a9_1386);
const NEW: Uuid = Uuid::from_u128(0x6e0e_35f3_6281_4ff8_6a5b_4a8b_0d8d_ca21);

fn anonymous() -> ClientPolicy {
    ClientPolicy {
        suites: vec![Suite::EcdhAnonAes128CbcSha256],
        keep_secrets: true,
        ..ClientPolicy::default()
    }
}

fn psk(identity: &[u8], key: &[u8]) -> ClientPolicy {
    ClientPolicy {
        suites: vec![Suite::EcdhePskAes128CbcSha256],
        psk: Some(PreSharedKey::new(identity, key)),
        keep_secrets: true,
        ..ClientPolicy::default()
    }
}

fn dos(state: i64) -> Value {
    cbor!({"dos" => {"s" => state}}).unwrap()
}

struct Home {
    vendor: Vendor,
    device: Device,
}

impl Home {
    fn new(configuration: &str) -> Self {
        let vendor = Vendor::new();
        let device =
            Device::start_with(&vendor, "cam", &(vendor.configuration() + configuration), &[]);
        Self { vendor, device }
    }

    fn restart(&mut self) {
        self.device.kill();
        self.device = Device::start_with(&self.vendor, "cam", &self.vendor.configuration(), &[]);
    }

    fn clear(&self) -> Tool {
        Tool::new(&self.device.address)
    }

    fn secure(&self, policy: ClientPolicy) -> Result<Tool, Error> {
        Tool::connect(self.device.ready["coaps"][0].as_str().unwrap(), policy)
    }

    fn select(&self, method: i64) -> Uuid {
        let mut clear = self.clear();
        let code = clear.post(DOXM, &cbor!({"oxmsel" => method}).unwrap());
        assert_eq!(code, Code::CHANGED, "{}", self.device.log());
        clear.get(DOXM).unwrap()["deviceuuid"].as_str().unwrap().parse().unwrap()
    }

    /// Everything from the handshake to RFNOP; the owner's key.
    fn own(&self, doc: &mut Tool, transfer: OwnerTransfer) -> Vec<u8> {
        let (owner, new) = (OWNER.to_string(), NEW.to_string());
        let key = cbor!({
            "creds" => [{
                "credtype" => 1,
                "subjectuuid" => owner.as_str(),
                "privatedata" => {"encoding" => "oic.sec.encoding.raw", "data" => Value::Bytes(vec![])},
            }],
            "rowneruuid" => owner.as_str(),
        });
        let aces = cbor!({"aclist2" => [{
            "subject" => {"uuid" => owner.as_str()},
            "resources" => [{"href" => SWU}],
            "permission" => 22,
        }]});
        for (path, body) in [
            (PSTAT, cbor!({"om" => 4})),
            (DOXM, cbor!({"devowneruuid" => owner.as_str()})),
            (DOXM, cbor!({"deviceuuid" => new.as_str()})),
            (DOXM, cbor!({"rowneruuid" => owner.as_str()})),
            ("/oic/sec/acl2", cbor!({"rowneruuid" => owner.as_str()})),
            (PSTAT, cbor!({"rowneruuid" => owner.as_str()})),
            ("/oic/sec/cred", key),
            (DOXM, cbor!({"owned" => true})),
            (PSTAT, Ok(dos(2))),
            ("/oic/sec/acl2", aces),
            (PSTAT, Ok(dos(3))),
        ] {
            let code = doc.post(path, &body.unwrap());
            assert_eq!(code, Code::CHANGED, "{path}: {}", self.device.log());
        }
        doc.owner_key(transfer, OWNER, NEW)
    }
}

#[test]
fn just_works_makes_an_owner_who_comes_back_with_the_derived_key() {
    let mut home = Home::new("");
    assert_eq!(home.device.ready["owned"], false);
    assert!(home.secure(anonymous()).is_err(), "no method is chosen yet");
    home.select(0);
    let mut doc = home.secure(anonymous()).unwrap();
    assert_eq!(home.clear().get(DOXM), Err(Code::UNAUTHORIZED), "one at a time");
    assert!(home.secure(anonymous()).is_err(), "one at a time");
    let key = home.own(&mut doc, OwnerTransfer::JustWorks);
    doc.close();

    let mut owner = home.secure(psk(OWNER.as_bytes(), &key)).unwrap();
    assert_eq!(owner.get(PSTAT).unwrap()["dos"]["s"], 3);
    assert!(home.secure(anonymous()).is_err(), "it is owned");
    assert!(home.secure(psk(OWNER.as_bytes(), &[0; 16])).is_err());
    assert_eq!(home.clear().get(DOXM), Err(Code::UNAUTHORIZED));
    owner.close();
    home.restart();
    assert_eq!(home.device.ready["owned"], true);
    assert_eq!(home.device.ready["di"], NEW.to_string());
    let mut owner = home.secure(psk(OWNER.to_string().as_bytes(), &key)).unwrap();
    assert_eq!(owner.get(SWU).unwrap()["swupdatestate"], "idle");

    // Whoever loses access is told, and a reset ends everything.
    let watched = owner.watch(SWU);
    assert_eq!(owner.told(watched), Code::CONTENT);
    assert_eq!(owner.post(PSTAT, &dos(2)), Code::CHANGED);
    let ace = cbor!({"aclist2" => [{
        "aceid" => 1, "subject" => {"uuid" => OWNER.to_string()},
        "resources" => [{"href" => "/elsewhere"}], "permission" => 2,
    }]});
    assert_eq!(owner.post("/oic/sec/acl2", &ace.unwrap()), Code::CHANGED);
    assert_eq!(owner.told(watched), Code::UNAUTHORIZED);
    let watched = owner.watch(PSTAT);
    assert_eq!(owner.told(watched), Code::CONTENT);
    assert_eq!(owner.post(PSTAT, &dos(0)), Code::CHANGED);
    assert_eq!(owner.told(watched), Code::SERVICE_UNAVAILABLE);
    owner.wait_until_closed();
    let doxm = home.clear().get(DOXM).unwrap();
    assert_eq!(doxm["owned"], false);
    assert_ne!(doxm["deviceuuid"], NEW.to_string());
    assert!(home.secure(psk(OWNER.as_bytes(), &key)).is_err(), "the owner is forgotten");

    // And all of it again.
    home.select(0);
    let mut doc = home.secure(anonymous()).unwrap();
    home.own(&mut doc, OwnerTransfer::JustWorks);
    let record = home.device.state.join("security.0");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(record).unwrap().permissions().mode() & 0o777, 0o600);
    let log = home.device.log();
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!log.contains(&digits) && !log.contains(&format!("{key:?}")), "{log}");
}

#[test]
fn a_pin_is_shown_and_wrong_ones_are_slowed_down() {
    let home =
        Home::new("[onboarding]\npin_command = [\"/bin/sh\", \"-c\", \"cat > STATE/shown\"]\n");
    let device = home.select(1);
    let file = home.device.state.join("pin");
    let pin = || fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
    let with = |pin: &str| {
        let key = pin_psk(pin.as_bytes(), device.as_bytes());
        home.secure(psk(b"oic.sec.doxm.rdp", &*key))
    };
    // It is shown a moment after the method was chosen.
    let shown = || {
        harness::until("a PIN is shown", || !pin().is_empty());
        pin()
    };
    let first = shown();
    assert_eq!(first.len(), 8, "{}", home.device.log());
    for _ in 0..3 {
        assert!(with("wrong").is_err());
    }
    assert!(pin().is_empty(), "withdrawn");
    assert!(with(&first).is_err(), "the pause holds for the right one too");
    assert_ne!(shown(), first);
    let mut doc = with(&pin()).unwrap();
    let key = home.own(&mut doc, OwnerTransfer::RandomPin);
    assert!(pin().is_empty(), "shown no more");
    assert!(home.secure(psk(OWNER.as_bytes(), &key)).is_ok());
    assert!(home.device.state.join("shown").exists(), "the command has shown it");
}

#[test]
fn a_manufacturers_certificate_proves_the_device() {
    let vendor = Vendor::new();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "Manufacturer");
    let root = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::default();
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.distinguished_name.push(rcgen::DnType::CommonName, format!("uuid:{NEW}"));
    leaf.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 44924, 1, 6]),
    ];
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    fs::write(vendor.path("mfg.pem"), certificate.pem()).unwrap();
    fs::write(vendor.path("mfg.key.pem"), key.serialize_pem()).unwrap();
    fs::write(vendor.path("root.pem"), root.pem()).unwrap();
    let onboarding = "[onboarding]\nmfg_cert = \"mfg.pem\"\nmfg_key = \"mfg.key.pem\"\nmfg_roots = [\"root.pem\"]\n";
    let configuration = vendor.configuration() + onboarding;
    let device = Device::start_with(&vendor, "cam", &configuration, &[]);
    let home = Home { vendor, device };
    assert_eq!(home.clear().get(DOXM).unwrap()["oxms"], serde_json::json!([0, 1, 2]));
    home.select(2);
    let policy = ClientPolicy {
        suites: vec![Suite::EcdheEcdsaAes128Ccm8],
        anchors: Anchor::from_pem(root.pem().as_bytes()).unwrap(),
        server_identity: IdentityRule::Ocf,
        keep_secrets: true,
        ..ClientPolicy::default()
    };
    let mut doc = home.secure(policy).unwrap();
    let key = home.own(&mut doc, OwnerTransfer::ManufacturerCertificate);
    assert!(home.secure(psk(OWNER.as_bytes(), &key)).is_ok());
}

#[test]
fn an_onboarding_that_breaks_off_leaves_nothing() {
    let mut home = Home::new("");
    let temporary = home.select(0);
    let mut doc = home.secure(anonymous()).unwrap();
    let owner = cbor!({"devowneruuid" => OWNER.to_string()}).unwrap();
    assert_eq!(doc.post(DOXM, &owner), Code::CHANGED);
    doc.close();
    let fresh = |home: &Home| {
        let mut tries = 0;
        loop {
            let doxm = home.clear().get(DOXM);
            match doxm {
                Ok(doxm) => return doxm,
                Err(code) => assert_eq!(code, Code::UNAUTHORIZED),
            }
            tries += 1;
            assert!(tries < 100);
        }
    };
    let doxm = fresh(&home);
    assert_eq!((&doxm["owned"], &doxm["oxmsel"]), (&false.into(), &4.into()));
    assert_eq!(doxm["devowneruuid"], Uuid::nil().to_string());
    assert_ne!(doxm["deviceuuid"], temporary.to_string());
    // The same with the plug pulled.
    home.select(0);
    let mut doc = home.secure(anonymous()).unwrap();
    assert_eq!(doc.post(DOXM, &owner), Code::CHANGED);
    home.restart();
    assert_eq!(home.device.ready["owned"], false);
    assert_eq!(fresh(&home)["devowneruuid"], Uuid::nil().to_string());
}

#[test]
fn the_button_and_the_file_reset_the_device() {
    let mut home = Home::new("");
    for by_file in [false, true] {
        home.select(0);
        let mut doc = home.secure(anonymous()).unwrap();
        home.own(&mut doc, OwnerTransfer::JustWorks);
        if by_file {
            fs::write(home.device.state.join("reset"), "").unwrap();
            home.restart();
            assert!(!home.device.state.join("reset").exists());
        } else {
            home.device.press_button();
            doc.wait_until_closed();
        }
        assert_eq!(home.clear().get(DOXM).unwrap()["owned"], false, "{}", home.device.log());
    }
}

/// A RESET while an update is under way ends in a device without owner or orders, that runs the software
/// which was last confirmed.
#[test]
fn a_reset_during_a_download_or_a_trial_leaves_the_old_software_and_no_order() {
    // By these two the download lasts long enough, or the trial does.
    for (what, health, bandwidth) in
        [("fetching", "exit 0", "bandwidth_max = 20000"), ("trial", "exit 1", "bandwidth_max = 0")]
    {
        let vendor = Vendor::new();
        let first = vendor.publish("1.1.0", "exit 0", 1000);
        let second = vendor.publish("1.2.0", health, 400_000);
        let configuration = vendor
            .configuration()
            .replace("[update]\n", &format!("[update]\n{bandwidth}\n"))
            .replace("confirm_timeout_s = 3", "confirm_timeout_s = 50");
        let device = Device::start_with(&vendor, "cam", &configuration, &[]);
        let home = Home { vendor, device };
        home.select(0);
        let mut doc = home.secure(anonymous()).unwrap();
        let key = home.own(&mut doc, OwnerTransfer::JustWorks);
        doc.close();
        let mut owner = home.secure(psk(OWNER.as_bytes(), &key)).unwrap();
        let order = |owner: &mut Tool, url: &str| {
            let order = cbor!({
                "purl" => url, "swupdateaction" => "upgrade",
                "updatetime" => freshen::clock::now().wall.to_rfc3339(),
            });
            assert_eq!(owner.post(SWU, &order.unwrap()), Code::CHANGED, "{}", home.device.log());
        };
        let until = |owner: &mut Tool, wanted: &dyn Fn(&serde_json::Value) -> bool| {
            harness::until(what, || wanted(&owner.get(SWU).unwrap()));
        };
        order(&mut owner, &first);
        until(&mut owner, &|it| it["swupdateaction"] == "idle" && it["swupdateresult"] == 1);
        order(&mut owner, &second);
        let state = if what == "trial" { "upgrading" } else { "svv" };
        until(&mut owner, &|it| it["swupdatestate"] == state);
        if what == "trial" {
            harness::until("the new runs", || home.device.running() == "1.2.0");
        }
        // The owner sees it to the end, and others nothing.
        assert_eq!(home.clear().get(SWU), Err(Code::UNAUTHORIZED));
        assert_eq!(owner.post(PSTAT, &dos(0)), Code::CHANGED);
        owner.wait_until_closed();
        let unowned = || home.clear().get(DOXM).is_ok_and(|doxm| doxm["owned"] == false);
        harness::until(format_args!("{what}: nobody owns it any more"), unowned);
        assert_eq!(home.device.running(), "1.1.0", "{what}: {}", home.device.log());
        // The next owner finds no trace of the order, and can give one.
        home.select(0);
        let mut doc = home.secure(anonymous()).unwrap();
        let key = home.own(&mut doc, OwnerTransfer::JustWorks);
        doc.close();
        let mut owner = home.secure(psk(OWNER.as_bytes(), &key)).unwrap();
        let swu = owner.get(SWU).unwrap();
        assert_eq!(
            (&swu["purl"], &swu["swupdatestate"], &swu["swupdateaction"]),
            (&"".into(), &"idle".into(), &"idle".into()),
            "{what}"
        );
        assert_eq!(swu["swupdateresult"], 0, "{what}");
    }
}
