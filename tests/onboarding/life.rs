//! Our own tool and our own device: owned, provisioned, used by a client, reset, and all again.

use std::path::Path;

use crate::freshen::{freshen, payload};
use crate::people::People;

const UPDATE: &str = "/softwareupdateResURI";

const CONFIGURATION: &str = "[listen]\nmulticast = false\n\n[onboarding]\nmethods = [\"jw\"]\n";

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_device_is_owned_provisioned_used_reset_and_owned_again() {
    let people = People::new();
    let device = people.device(CONFIGURATION);
    let client = people.path("client");
    for _ in 0..2 {
        let found = people.json("owner", &["discover", "--address", &device.clear, "--unowned"]);
        assert_eq!(found["owned"], false);
        let owned = people.json("owner", &["own", &device.clear]);
        let di = owned["device"].as_str().unwrap();
        assert_ne!(di, found["di"], "the owner names it");
        let found = people.json("owner", &["discover", "--address", &device.clear, "--owned"]);
        assert_eq!((&found["di"], &found["ours"]), (&owned["device"], &true.into()));
        assert_eq!(mode(&people.path(&format!("owner/devices/{di}.json"))), 0o600);

        // Owned is owned, for the owner as for others.
        for who in ["owner", "stranger"] {
            let refused = people.run(who, &["own", &device.clear]).unwrap_err();
            assert!(refused.contains("already"), "{refused}");
        }
        let uri = format!("coaps://{}{UPDATE}", device.secure);
        for stranger in [vec!["get", &uri], vec!["get", &uri, "--psk", "client-1:00ff"]] {
            assert!(people.run("stranger", &stranger).is_err());
        }
        assert!(freshen(&["get", &format!("coap://{}{UPDATE}", device.clear)]).is_err());

        let _ = std::fs::remove_dir_all(&client);
        let to = client.to_str().unwrap();
        people.run("owner", &["provision", "client", &device.clear, "--to", to]).unwrap();
        let keys = ["--credentials", to];
        assert_eq!(payload(&[&["get", &uri][..], &keys].concat())["swupdatestate"], "idle");
        let update = ["update", &device.clear, "--purl", "ftp://localhost/x", "--timeout", "10"];
        let failed = freshen(&[&update[..], &keys].concat()).unwrap_err();
        assert!(failed.contains("protocol"), "{failed}");
        // A client is no owner.
        let cred = format!("coaps://{}/oic/sec/cred", device.secure);
        assert!(freshen(&[&["get", &cred][..], &keys].concat()).unwrap_err().contains("4.01"));
        let refused = freshen(&[&["reset", &device.clear][..], &keys].concat()).unwrap_err();
        assert!(refused.contains("no owner's key"), "{refused}");

        people.run("owner", &["reset", &device.clear]).unwrap();
        assert!(!people.path(&format!("owner/devices/{di}.json")).exists());
        // A reset takes its time.
        let unowned = ["discover", "--address", &device.clear, "--unowned", "--wait", "3"];
        let again = (0..10).any(|_| people.run("owner", &unowned).is_ok());
        assert!(again, "it cannot be owned again");
        assert!(freshen(&[&["get", &uri][..], &keys].concat()).is_err());
    }
}

#[test]
fn certificates_open_sessions_too() {
    let people = People::new();
    let device = people.device(CONFIGURATION);
    people.run("owner", &["own", &device.clear]).unwrap();
    people.run("owner", &["provision", "certificate", &device.clear]).unwrap();
    let client = people.path("client");
    let to = client.to_str().unwrap();
    let provision = ["provision", "client", &device.clear, "--to", to, "--certificate"];
    people.run("owner", &provision).unwrap();
    let uri = format!("coaps://{}{UPDATE}", device.secure);
    assert_eq!(payload(&["get", &uri, "--credentials", to])["swupdatestate"], "idle");
    // Rights go by the name in the certificate.
    let pstat = format!("coaps://{}/oic/sec/pstat", device.secure);
    assert!(freshen(&["post", &pstat, "tm=256", "--credentials", to]).is_err());
    let name = std::fs::read_to_string(client.join("identity.json")).unwrap();
    let name: serde_json::Value = serde_json::from_str(&name).unwrap();
    let access = [
        "provision",
        "access",
        &device.clear,
        "--subject",
        name["uuid"].as_str().unwrap(),
        "--href",
        "/oic/sec/pstat",
        "--permission",
        "u",
    ];
    people.run("owner", &access).unwrap();
    freshen(&["post", &pstat, "tm=256", "--credentials", to]).unwrap();
}

#[test]
fn two_devices_get_a_key_for_each_other() {
    let people = People::new();
    let other = People::new();
    let devices = [people.device(CONFIGURATION), other.device(CONFIGURATION)];
    for device in &devices {
        people.run("owner", &["own", &device.clear]).unwrap();
    }
    let pair = people.json("owner", &["provision", "pair", &devices[0].clear, &devices[1].clear]);
    let ids: Vec<&str> =
        pair["devices"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    for (device, peer) in devices.iter().zip([ids[1], ids[0]]) {
        let uri = format!("coaps://{}/oic/sec/cred", device.secure);
        let creds = people.json("owner", &["get", &uri]);
        assert!(creds["payload"]["creds"].to_string().contains(peer), "{creds}");
    }
}

/// A person reads the PIN after the first try has made the device show it, and gives it to the second:
/// that one must not make the device show another.
#[test]
fn the_pin_that_a_first_try_made_the_device_show_is_good_for_the_second() {
    let people = People::new();
    let device =
        people.device("[listen]\nmulticast = false\n\n[onboarding]\nmethods = [\"rdp\"]\n");
    let own = ["own", &device.clear, "--method", "pin"];
    let refused = people.run("owner", &own).unwrap_err();
    assert!(refused.contains("--pin"), "{refused}");
    let file = people.path("state/pin");
    let pin = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
    });
    let pin = pin.expect("a PIN is shown").trim().to_owned();
    // The control: another number is refused.
    let other = if pin == "00000000" { "00000001" } else { "00000000" };
    people.run("owner", &[&own[..], &["--pin", other]].concat()).unwrap_err();
    people.run("owner", &[&own[..], &["--pin", &pin]].concat()).unwrap();
}
