//! get, post, observe and update over coaps: with libcoap's servers, and with our own device.

use crate::freshen::{Device, freshen, payload};
use crate::pki::{IDENTITY, KEY_HEX, Pki};
use harness::ports::free_address;
use harness::process::{Process, wait_until_taken};

/// libcoap's example server, built with this or that TLS library; the address for coaps.
fn coap_server(program: &str, credentials: &[&str]) -> (Process, String) {
    // The secure port is the next one.
    let clear = free_address();
    let port = clear.port().to_string();
    let arguments = [&["-A", "127.0.0.1", "-p", &port, "-d", "10"], credentials].concat();
    let server = Process::start(program, &arguments, "libcoap3-bin");
    let secure = (clear.ip(), clear.port() + 1).into();
    wait_until_taken(secure);
    (server, format!("coaps://{secure}"))
}

fn kinds(pki: &Pki) -> [(Vec<String>, Vec<String>); 2] {
    let owned = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let (chain, key, root) = (pki.chain(), pki.key(), pki.root());
    [
        (owned(&["-k", "secret"]), owned(&["--psk", &format!("{IDENTITY}:736563726574")])),
        (
            owned(&["-c", &chain, "-j", &key, "-C", &root, "-n"]),
            owned(&["--cert", &chain, "--key", &key, "--roots", &chain]),
        ),
    ]
}

fn as_str(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[test]
fn libcoaps_servers_are_read_written_and_watched() {
    let pki = Pki::new();
    for program in ["coap-server-openssl", "coap-server-gnutls"] {
        for (theirs, ours) in kinds(&pki) {
            let (_server, uri) = coap_server(program, &as_str(&theirs));
            let run = |arguments: &[&str]| freshen(&[arguments, &as_str(&ours)].concat());
            let links = run(&["get", &format!("{uri}/.well-known/core")]).unwrap();
            assert!(links.contains("</time>"), "{program}: {links}");
            // Longer than a datagram.
            let long = run(&["get", &format!("{uri}/example_data")]);
            assert!(long.is_ok(), "{long:?}");
            let seen = run(&["observe", "--count", "3", "--json", &format!("{uri}/time?ticks")]);
            assert_eq!(seen.unwrap().lines().count(), 3, "{program}");
            let refused = run(&["post", &format!("{uri}/time"), "a=1"]).unwrap_err();
            assert!(refused.starts_with("Some(1)"), "{refused}");
        }
    }
}

#[test]
fn a_wrong_key_a_wrong_certificate_and_nobody_there_are_told_with_advice() {
    let pki = Pki::new();
    let other = Pki::new();
    let [(psk, _), (certificate, _)] = kinds(&pki);
    // The one with OpenSSL drops what a wrong key protects without a word.
    let (_silent, silent) = coap_server("coap-server-openssl", &as_str(&psk));
    let (_keyed, keyed) = coap_server("coap-server-gnutls", &as_str(&psk));
    let (_certified, certified) = coap_server("coap-server-openssl", &as_str(&certificate));
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    let root = other.root();
    let (chain, key) = (other.chain(), other.key());
    let nobody = "coaps://127.0.0.1:1";
    for (arguments, advice) in [
        (vec!["get", &silent, "--psk", "client-1:00"], "silent when our key is wrong"),
        (vec!["get", &keyed, "--psk", "client-1:00"], "check --credentials or --psk"),
        (
            vec!["get", &certified, "--cert", &chain, "--key", &key, "--roots", &root],
            "check who signed the certificates",
        ),
        (vec!["get", &keyed, "--credentials", empty], "own the device first"),
        (vec!["get", nobody, "--psk", "client-1:00"], "nothing listens there"),
    ] {
        let arguments = [&arguments[..], &["--timeout", "10"]].concat();
        let error = freshen(&arguments).unwrap_err();
        assert!(error.contains(advice), "{arguments:?}: {error}");
    }
}

#[test]
fn a_device_with_configured_credentials_is_used_over_coaps() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = format!(
        "[listen]\nmulticast = false\n\n\
         [credentials]\npsk = [{{ identity = \"{IDENTITY}\", key_hex = \"{KEY_HEX}\" }}]\n"
    );
    let device = Device::start(directory.path(), &configuration);
    let psk = format!("{IDENTITY}:{KEY_HEX}");
    let uri = |path: &str| format!("coaps://{}{path}", device.secure);
    let description = payload(&["get", &uri("/oic/d"), "--psk", &psk]);
    assert_eq!(description["di"], *device.di);
    let order = [
        "post",
        &uri("/softwareupdateResURI"),
        "purl=https://localhost:1/x",
        "swupdateaction=idle",
        "updatetime=2030-01-09T14:30:00Z",
        "--psk",
        &psk,
    ];
    assert_eq!(payload(&order)["swupdatestate"], "idle");
    // By its address in clear: the links lead to coaps.
    let update =
        ["update", &device.clear, "--purl", "ftp://localhost/x", "--psk", &psk, "--timeout", "10"];
    let failed = freshen(&update).unwrap_err();
    assert!(failed.contains("protocol"), "{failed}");
    let refused = freshen(&["get", &uri("/oic/d"), "--psk", "client-1:00ff"]).unwrap_err();
    assert!(refused.contains("check --credentials or --psk"), "{refused}");
}
