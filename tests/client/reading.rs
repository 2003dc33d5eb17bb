//! `get`, `post` and `observe`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use harness::ports::free_address;

use super::ours::Device;
use super::peers::Peer;
use super::{Ran, freshen, run};

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
        "{\n  \"owned\": false,\n  \"deviceuuid\": \"11111111-2222-4333-8444-555555555555\"\n}\n"
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

/// A device that has started anew knows nobody who watches, and tells nobody. Until it was asked once
/// more after a silence, a watcher heard of it when its state had gone stale: minutes later.
#[test]
fn a_watcher_hears_of_a_device_again_soon_after_its_restart() {
    let address = free_address();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshen"));
        Device::start(command.args(["device", "--insecure", "--coap", &address.to_string()]))
    };
    let device = start();
    let uri = format!("coap://{address}/softwareupdateResURI");
    let mut watcher = Command::new(env!("CARGO_BIN_EXE_freshen"))
        .args(["observe", "--json", &uri])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(watcher.stdout.take().unwrap());
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let next = || lines.recv_timeout(HEARD_WITHIN);
    assert!(next().unwrap().contains("\"swupdateaction\":\"idle\""));
    drop(device);
    let device = start();
    let order = "purl=https://x/y swupdateaction=upgrade updatetime=2090-01-09T14:30:00Z";
    freshen(&format!("post {uri} {order}")).done();
    let heard = next();
    watcher.kill().unwrap();
    let said = watcher.wait_with_output().unwrap();
    let line = heard.unwrap_or_else(|_| panic!("{said:?}"));
    assert!(line.contains("\"swupdateaction\":\"upgrade\""), "{line}");
    drop(device);
}

/// Many times what it takes, and well below the minutes that a representation is fresh.
const HEARD_WITHIN: Duration = Duration::from_secs(45);

#[test]
fn every_client_command_has_an_example_and_json() {
    for command in [
        "discover",
        "own",
        "provision client",
        "provision access",
        "provision certificate",
        "provision pair",
        "reset",
        "get",
        "post",
        "observe",
        "update",
    ] {
        let help = freshen(&format!("{command} --help")).done();
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(help.contains("--json"), "{command}: {help}");
    }
}

#[test]
fn what_is_shown_fits_a_narrow_screen() {
    let peer = Peer::aiocoap();
    let address = format!("127.0.0.1:{}", peer.port);
    for (columns, arguments) in [
        (40, format!("discover --address {address}")),
        (80, format!("discover --address {address}")),
        (40, format!("get {address}/oic/res")),
        (80, format!("get {address}/oc/swu")),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshen"));
        command.args(arguments.split(' ')).env("COLUMNS", columns.to_string());
        let text = run(&mut command).done();
        // A text cannot be broken: a line may be longer that has one property with one text.
        let long = |line: &&str| line.chars().count() > columns && line.matches('"').count() != 4;
        let long: Vec<&str> = text.lines().filter(long).collect();
        assert!(long.is_empty(), "{columns}: {long:#?}");
    }
}
