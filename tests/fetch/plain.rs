//! What has to work against an ordinary web server.

use std::fs;

use freshen::fetch::{Error, Fetcher, Settings};
use freshen::package::ENVELOPE_BYTES_MAX;
use freshen::worker::{Cancel, Progress};

use crate::{bytes, component, fetch, settings};
use harness::nginx::Nginx;

#[test]
fn an_envelope_and_a_payload_beside_it_are_fetched() {
    let nginx = Nginx::start("");
    let (envelope, body) = (bytes(900, 1), bytes(3_000_000, 2));
    nginx.put("release.suit", &envelope);
    nginx.put("release.bin", &body);
    let fetcher = Fetcher::new(settings(&nginx.certs.ca)).unwrap();
    let url = nginx.base.join("release.suit").unwrap();
    let fetched = fetcher.envelope(url.as_str(), &Cancel::new()).unwrap();
    assert_eq!((fetched.bytes, &fetched.final_url), (envelope, &url));

    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    let progress = Progress::new(body.len() as u64);
    let component = component(&body, "release.bin");
    fetcher.payload(&url, &component, &into, &progress, &Cancel::new()).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
    assert_eq!((progress.done(), progress.attempt()), (body.len() as u64, 1));

    fetch(&fetcher, &url, &component, &into).unwrap();
    fetcher.envelope(url.as_str(), &Cancel::new()).unwrap();
    assert_eq!(nginx.log_of(3).lines().count(), 3, "what is there is not fetched again");
}

#[test]
fn without_a_list_only_the_host_of_the_built_in_url_is_allowed() {
    let nginx = Nginx::start("");
    nginx.put("release.suit", b"envelope");
    let builtin_url = nginx.base.join("release.suit").unwrap().to_string();
    let builtin = builtin_url.clone();
    let settings = Settings { allow_hosts: vec![], builtin_url, ..settings(&nginx.certs.ca) };
    let fetcher = Fetcher::new(settings).unwrap();
    assert_eq!(fetcher.envelope(&builtin, &Cancel::new()).unwrap().bytes, b"envelope");
    let by_address = fetcher.envelope("https://127.0.0.1/release.suit", &Cancel::new());
    assert!(matches!(by_address, Err(Error::HostNotAllowed(_))));
}

#[test]
fn a_second_life_asks_only_for_the_rest() {
    let nginx = Nginx::start("");
    let body = bytes(1_000_000, 3);
    nginx.put("release.bin", &body);
    let fetcher = Fetcher::new(settings(&nginx.certs.ca)).unwrap();
    let component = component(&body, "release.bin");
    for end in [0, 1, 499_999, 999_999, 1_000_000] {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("0");
        leave_partial(&into, &component, &body[..end]);
        fetch(&fetcher, &nginx.base, &component, &into).unwrap();
        assert_eq!(fs::read(&into).unwrap(), body);
    }
    let log = nginx.log_of(4);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        ["200 1000000 -", "206 999999 bytes=1-", "206 500001 bytes=499999-", "206 1 bytes=999999-"]
    );
}

#[test]
fn pieces_of_different_versions_lead_to_one_clean_download() {
    let nginx = Nginx::start("");
    let body = bytes(200_000, 4);
    nginx.put("release.bin", &body);
    let fetcher = Fetcher::new(settings(&nginx.certs.ca)).unwrap();
    let component = component(&body, "release.bin");
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    leave_partial(&into, &component, &bytes(100_000, 5));
    fetch(&fetcher, &nginx.base, &component, &into).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
    let statuses: Vec<String> = nginx.log_of(2).lines().map(|line| line[..3].to_owned()).collect();
    assert_eq!(statuses, ["206", "200"]);
}

#[test]
fn a_flipped_byte_and_wrong_lengths_are_refused_and_leave_nothing() {
    let nginx = Nginx::start("");
    let body = bytes(100_000, 6);
    let component = component(&body, "release.bin");
    let fetcher = Fetcher::new(settings(&nginx.certs.ca)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    let mut flipped = body.clone();
    flipped[50_000] ^= 1;
    nginx.put("release.bin", &flipped);
    let error = fetch(&fetcher, &nginx.base, &component, &into).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    for length in [99_999, 0] {
        nginx.put("release.bin", &body[..length]);
        let error = fetch(&fetcher, &nginx.base, &component, &into).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    }
    nginx.put("release.bin", &bytes(100_001, 6));
    let error = fetch(&fetcher, &nginx.base, &component, &into).unwrap_err();
    assert!(matches!(error, Error::SizeMismatch { got: 100_001, .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_status_is_told_and_a_missing_file_is_asked_for_once() {
    let nginx = Nginx::start("location /gone { return 410; } location /busy { return 503; }");
    let fetcher = Fetcher::new(settings(&nginx.certs.ca)).unwrap();
    for (path, status, asked) in [("none", 404, 1), ("gone", 410, 2), ("busy", 503, 7)] {
        let url = nginx.base.join(path).unwrap();
        let error = fetcher.envelope(url.as_str(), &Cancel::new()).unwrap_err();
        assert!(matches!(error, Error::HttpStatus(got, _) if got == status), "{error}");
        assert!(error.to_string().ends_with(path), "it names the file: {error}");
        assert_eq!(nginx.log_of(asked).lines().count(), asked, "{path}");
    }
}

#[test]
fn an_envelope_that_is_too_long_is_refused() {
    let nginx = Nginx::start("");
    let fetcher = Fetcher::new(settings(&nginx.certs.ca)).unwrap();
    nginx.put("most.suit", &bytes(ENVELOPE_BYTES_MAX, 7));
    nginx.put("more.suit", &bytes(ENVELOPE_BYTES_MAX + 1, 7));
    let get = |name| fetcher.envelope(nginx.base.join(name).unwrap().as_str(), &Cancel::new());
    assert_eq!(get("most.suit").unwrap().bytes.len(), ENVELOPE_BYTES_MAX);
    assert!(matches!(get("more.suit"), Err(Error::TooLarge(_))));
}

#[test]
fn a_server_of_another_authority_or_name_is_not_trusted() {
    let nginx = Nginx::start("");
    nginx.put("release.suit", b"envelope");
    let url = nginx.base.join("release.suit").unwrap();
    let other = Fetcher::new(settings(&harness::certs::make().ca)).unwrap();
    let error = other.envelope(url.as_str(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    assert!(error.to_string().contains("`update.ca`"), "{error}");
    let lookup = |_: &str, port| Ok(vec![([127, 0, 0, 1], port).into()]);
    let fetcher = Fetcher::with_lookup(settings(&nginx.certs.ca), lookup).unwrap();
    let url = url.as_str().replace("localhost", "updates.example.com");
    let error = fetcher.envelope(&url, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    assert!(error.to_string().contains("is for another name"), "{error}");
}

/// As a process that died leaves it.
pub(crate) fn leave_partial(
    into: &std::path::Path,
    component: &freshen::package::Component,
    bytes: &[u8],
) {
    #[derive(serde::Serialize)]
    struct Note {
        digest: freshen::package::Digest,
        tag: Option<()>,
    }
    let suffixed = |suffix: &str| format!("{}{suffix}", into.display());
    let mut note = vec![];
    ciborium::into_writer(&Note { digest: component.digest, tag: None }, &mut note).unwrap();
    fs::write(suffixed(".part.tag"), note).unwrap();
    fs::write(suffixed(".part"), bytes).unwrap();
}
