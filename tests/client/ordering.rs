//! `update`.

use super::freshen;
use super::peers::Peer;

fn update(peer: &Peer, arguments: &str) -> super::Ran {
    freshen(&format!("update 127.0.0.1:{} {arguments}", peer.port))
}

#[test]
fn an_update_is_followed_to_its_end() {
    let peer = Peer::aiocoap();
    let text = update(&peer, "--purl https://example.com/good").done();
    let told: Vec<&str> =
        text.lines().map(|line| line.split_once("  ").map_or(line, |l| l.1)).collect();
    for expected in ["downloading 1.1.0", "1.1.0 is on trial"] {
        assert!(told.contains(&expected), "{text}");
    }
    let last = told.last().unwrap();
    assert!(last.contains("the device runs 1.1.0 now, 1.0.0 before"), "{text}");
    // Once more: the outcome of the last one must not be taken for this one's.
    let again = update(&peer, "--json --purl https://example.com/bad");
    assert_eq!(again.0.status.code(), Some(1));
    let lines = again.output();
    assert!(lines.lines().any(|line| line.contains("\"swupdatestate\":\"svv\"")), "{lines}");
    assert!(lines.lines().last().unwrap().contains("\"result\":5"), "{lines}");
}

#[test]
fn a_failed_update_says_why_in_words_and_in_the_devices_own() {
    let peer = Peer::aiocoap();
    let error = update(&peer, "--purl https://example.com/bad").refused(1);
    assert!(error.contains("the package is not valid for this device"), "{error}");
    assert!(error.contains("the device says: the digest is not the signed one"), "{error}");
}

#[test]
fn a_restart_of_the_device_is_survived() {
    let peer = Peer::aiocoap();
    let text = update(&peer, "--purl https://example.com/restart").done();
    assert!(text.contains("does not answer; it may be starting anew"), "{text}");
    assert!(text.contains("the device runs 1.1.0 now, 1.0.0 before"), "{text}");
}

#[test]
fn a_refused_order_is_told_and_nothing_is_awaited() {
    let peer = Peer::aiocoap();
    let error = update(&peer, "--action isac").refused(1);
    assert!(error.contains("the device refuses the order: 4.00 Bad Request: purl"), "{error}");
    let busy = update(&peer, "--purl https://example.com/busy").refused(1);
    let words =
        "5.03 Service Unavailable: an update is under way; the device is busy: try again in 30 s";
    assert!(busy.contains(words), "{busy}");
    let plain = Peer::libcoap();
    let error = update(&plain, "--purl https://example.com/good").refused(1);
    assert!(error.contains("is no OCF device"), "{error}");
}

#[test]
fn an_order_can_be_given_without_waiting() {
    let peer = Peer::aiocoap();
    let text = update(&peer, "--no-wait --purl https://x/good --at 2030-01-09T14:30:00Z").done();
    assert!(text.contains("waiting until 2030-01-09T14:30:00"), "{text}");
    assert!(text.contains("the device has the order"), "{text}");
    let json = update(&peer, "--no-wait --json --purl https://x/good").lines();
    assert_eq!(json.last().unwrap()["ordered"], true, "{json:?}");
}

#[test]
fn an_order_for_another_year_is_not_waited_for_unless_somebody_says_so() {
    let peer = Peer::aiocoap();
    let order = "--purl https://x/never --at 2090-01-09T14:30:00Z";
    let text = update(&peer, order).done();
    assert!(text.contains("the device has the order and begins at 2090-01-09T14:30:00"), "{text}");
    assert!(text.contains("--wait stays with it"), "{text}");
    let lines = freshen(&format!("get --json 127.0.0.1:{}/oc/swu", peer.port)).lines();
    assert_eq!(lines[0]["payload"]["updatetime"], "2090-01-09T14:30:00Z");
    let json = update(&peer, &format!("--json {order}")).lines();
    assert_eq!(json.last().unwrap()["due"], "2090-01-09T14:30:00+00:00", "{json:?}");
    // Who waits is still there when the device has been asked twice.
    let mut command = std::process::Command::new("timeout");
    command.args(["8", env!("CARGO_BIN_EXE_freshen"), "update", "--wait"]);
    command.arg(format!("127.0.0.1:{}", peer.port)).args(order.split(' '));
    let waited = super::run(&mut command);
    assert_eq!(waited.0.status.code(), Some(124), "{}{}", waited.output(), waited.errors());
}

#[test]
fn a_device_with_another_time_is_told_of_and_is_not_said_to_have_begun() {
    // It stands in 1970, as one without a battery does: what is ordered for a time of ours comes never.
    let peer = Peer::aiocoap_with_clock("-1700000000");
    let ran = update(&peer, "--purl https://x/never --at 2030-01-09T14:30:00Z");
    let text = ran.done();
    assert!(!text.contains("begun"), "{text}");
    assert!(text.contains("begins at 2030-01-09T14:30:00"), "{text}");
    assert!(ran.errors().contains("its clock is 19675 d 22 h behind ours"), "{}", ran.errors());
    let json = update(&peer, "--json --purl https://x/never --at 2030-01-09T14:30:00Z").lines();
    assert!(json[0]["warning"].as_str().unwrap().contains("behind ours"), "{json:?}");
    let silent = Peer::aiocoap_with_clock("none");
    let ran = update(&silent, "--purl https://x/never --at 2090-01-09T14:30:00Z");
    assert!(ran.errors().contains("does not tell its time"), "{}", ran.errors());
    // One that has the order and does nothing has not begun.
    let text = update(&peer, "--no-wait --purl https://x/never").done();
    assert!(text.contains("the device has the order and has not begun"), "{text}");
}

#[test]
fn nothing_to_do_is_said_where_nothing_was_done() {
    let peer = Peer::aiocoap();
    let text = update(&peer, "--purl https://example.com/same").done();
    assert!(text.contains("nothing to do, already 1.0.0"), "{text}");
    let json = update(&peer, "--json --purl https://example.com/same").lines();
    let last = json.last().unwrap();
    assert_eq!(
        (&last["end"], &last["installed"], &last["running"]),
        (&"nothing_to_do".into(), &false.into(), &"1.0.0".into()),
        "{json:?}"
    );
    let json = update(&peer, "--json --purl https://example.com/good").lines();
    let last = json.last().unwrap();
    assert_eq!((&last["end"], &last["running_before"]), (&"installed".into(), &"1.0.0".into()));
}

#[test]
fn a_device_that_installs_when_asked_to_look_is_not_said_to_have_nothing_newer() {
    let peer = Peer::aiocoap();
    let text = update(&peer, "--purl https://example.com/cascade --action isac").done();
    assert!(!text.contains("nothing newer"), "{text}");
    assert!(text.contains("asked for isac only, but it has installed and runs 1.1.0"), "{text}");
}

#[test]
fn what_is_under_way_is_called_off_and_what_goes_on_is_told() {
    let peer = Peer::aiocoap();
    update(&peer, "--no-wait --purl https://example.com/stays").done();
    let text = update(&peer, "--cancel").done();
    assert!(text.contains("nothing is under way or waiting now (it is at idle)"), "{text}");
    let lines = freshen(&format!("get --json 127.0.0.1:{}/oc/swu", peer.port)).lines();
    assert_eq!(lines[0]["payload"]["swupdateaction"], "idle");
    assert_eq!(lines[0]["payload"]["purl"], "https://example.com/stays", "the source stays");
    update(&peer, "--no-wait --purl https://example.com/stays").done();
    let json = update(&peer, "--cancel --json").lines();
    assert_eq!(json[0]["called_off"], true);
    // One that answers 2.04 and goes on is not believed.
    update(&peer, "--no-wait --purl https://example.com/deaf").done();
    let error = update(&peer, "--cancel --timeout 3").refused(1);
    assert!(error.contains("has taken it, and goes on: downloading 1.1.0"), "{error}");
}
