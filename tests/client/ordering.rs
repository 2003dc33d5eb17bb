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
    assert!(
        last.contains("the device runs the new software, 1.0.0 before and 1.1.0 now"),
        "{text}"
    );
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
    assert!(text.contains("the device runs the new software"), "{text}");
}

#[test]
fn a_refused_order_is_told_and_nothing_is_awaited() {
    let peer = Peer::aiocoap();
    let error = update(&peer, "--action isac").refused(1);
    assert!(error.contains("the device refuses the order: 4.00 Bad Request: purl"), "{error}");
    let plain = Peer::libcoap();
    let error = update(&plain, "--purl https://example.com/good").refused(1);
    assert!(error.contains("is no OCF device"), "{error}");
}

#[test]
fn an_order_can_be_given_without_waiting() {
    let peer = Peer::aiocoap();
    let text = update(&peer, "--no-wait --purl https://x/good --at 2030-01-09T14:30:00Z").done();
    assert!(text.contains("waiting until 2030-01-09T14:30:00"), "{text}");
    let lines = freshen(&format!("get --json 127.0.0.1:{}/oc/swu", peer.port)).lines();
    assert_eq!(lines[0]["payload"]["updatetime"], "2030-01-09T14:30:00Z");
}
