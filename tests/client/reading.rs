//! `get`, `post` and `observe`.

use super::peers::Peer;
use super::{Ran, freshen};

#[test]
fn a_plain_server_is_read_although_it_refuses_ocfs_options() {
    let peer = Peer::libcoap();
    let text = freshen(&format!("get coap://127.0.0.1:{}/", peer.port)).done();
    assert!(text.starts_with("This is a test server made with libcoap"), "{text}");
    let links = freshen(&format!("get 127.0.0.1:{}/.well-known/core", peer.port)).done();
    assert!(links.contains("</time>;if=\"clock\""), "{links}");
}

#[test]
fn an_answer_that_is_an_error_is_told_with_exit_code_1() {
    let peer = Peer::libcoap();
    let missing = freshen(&format!("get 127.0.0.1:{}/missing", peer.port)).refused(1);
    assert_eq!(missing, "freshen: 4.04 Not Found\n");
    let device = Peer::aiocoap();
    let refused = freshen(&format!("post 127.0.0.1:{}/oc/swu purl=", device.port)).refused(1);
    assert_eq!(refused, "freshen: 4.00 Bad Request: purl: no built-in URL\n");
}

#[test]
fn nobody_there_is_told_at_once() {
    let error = freshen("get 127.0.0.1:9/x").refused(1);
    assert!(error.contains("127.0.0.1:9: nothing listens there"), "{error}");
    let error = freshen("get --timeout 0.3 240.0.0.1/x");
    assert_eq!(error.0.status.code(), Some(1));
}

#[test]
fn wrong_use_ends_with_exit_code_2() {
    for arguments in [
        "get",
        "get http://127.0.0.1/",
        "get --timeout -1 127.0.0.1/",
        "post 127.0.0.1/x no-equals-sign",
        "post 127.0.0.1/x --json-body {",
        "post 127.0.0.1/x --cbor-hex a",
        "post 127.0.0.1/x a=1 --cbor-hex a0",
        "observe --count 0 127.0.0.1/x",
        "update 127.0.0.1 --at tomorrow",
        "discover --wait forever",
    ] {
        let error = freshen(arguments).refused(2);
        assert!(!error.is_empty(), "{arguments}");
    }
}

#[test]
fn bodies_of_an_ocf_device_are_shown_as_json() {
    let peer = Peer::aiocoap();
    let at = |path: &str| format!("127.0.0.1:{}{path}", peer.port);
    let text = freshen(&format!("get {}", at("/oic/sec/doxm"))).done();
    assert_eq!(
        text,
        "{\"owned\": false, \"deviceuuid\": \"11111111-2222-4333-8444-555555555555\"}\n"
    );
    let lines = freshen(&format!("get --json {}", at("/oic/sec/doxm"))).lines();
    assert_eq!(lines[0]["code"], "2.05");
    assert_eq!(lines[0]["payload"]["owned"], false);
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    assert_eq!(freshen(&format!("get -o {path} {}", at("/oic/sec/doxm"))).done(), "");
    assert_eq!(std::fs::read(path).unwrap()[..7], *b"\xa2eowned");
}

#[test]
fn what_is_posted_arrives_in_ocfs_content_format() {
    let peer = Peer::aiocoap();
    let post = |body: &str| freshen(&format!("post --json 127.0.0.1:{}/echo {body}", peer.port));
    let payload = |ran: Ran| ran.lines()[0]["payload"].to_string();
    assert_eq!(
        payload(post("tm=256 dos={\"s\":3} n=plain")),
        r#"{"body":{"dos":{"s":3},"n":"plain","tm":256},"format":10000}"#
    );
    assert_eq!(payload(post("--json-body [1,null]")), r#"{"body":[1,null],"format":10000}"#);
    assert_eq!(payload(post("--cbor-hex 8101")), r#"{"body":[1],"format":10000}"#);
}

#[test]
fn every_change_is_printed_until_the_count_is_reached() {
    let peer = Peer::libcoap();
    let text = freshen(&format!("observe --count 2 127.0.0.1:{}/time", peer.port)).done();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines.iter().all(|line| line.contains("Z  ")) && lines[0] != lines[1], "{text}");
    let json = freshen(&format!("observe --json --count 1 127.0.0.1:{}/time", peer.port)).lines();
    assert_eq!(json[0]["code"], "2.05");
}

#[test]
fn what_cannot_be_watched_is_shown_once_and_said_so() {
    let peer = Peer::aiocoap();
    let ran = freshen(&format!("observe 127.0.0.1:{}/oic/d", peer.port));
    assert!(ran.refused(1).contains("cannot be watched"), "{}", ran.errors());
    assert!(ran.output().contains("Aio Camera"));
}
