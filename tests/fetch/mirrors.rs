//! Several places with the same files.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use freshen::fetch::{Error, Fetcher, Roots, Settings};
use freshen::worker::Cancel;
use url::Url;

use crate::faulty::{Faulty, head, serve_well};
use crate::{bytes, component, fetch, settings};

/// A server that answers this often before its line goes dead, each time with so many bytes.
fn that_breaks(body: &[u8], answers: usize, most: usize) -> (Faulty, Arc<AtomicUsize>) {
    let (body, asked) = (body.to_vec(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    let server = Faulty::start(move |request, stream| {
        if count.fetch_add(1, Ordering::SeqCst) < answers {
            serve_well(&body, request, stream, most)
        } else {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    });
    (server, asked)
}

fn fetcher(primary: &Faulty, mirrors: &[&Faulty]) -> Fetcher {
    let servers = std::iter::once(primary).chain(mirrors.iter().copied());
    let roots = servers.map(|server| server.certs.ca.as_str()).collect::<String>();
    let mirrors = mirrors.iter().map(|mirror| mirror.base.clone()).collect();
    let settings = Settings { mirrors, roots: Roots::Pem(roots), ..settings(&primary.certs.ca) };
    Fetcher::new(settings).unwrap()
}

#[test]
fn where_the_first_server_breaks_the_next_goes_on_at_the_same_byte() {
    let body = bytes(300_000, 5);
    let (primary, _) = that_breaks(&body, 1, 100_000);
    let (dead, dead_asked) = that_breaks(&body, 0, 0);
    let (good, _) = that_breaks(&body, usize::MAX, usize::MAX);
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    let fetcher = fetcher(&primary, &[&dead, &good]);
    fetch(&fetcher, &primary.base, &component(&body, "x"), &into).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
    assert_eq!(dead_asked.load(Ordering::SeqCst), 1);
    let seen = good.seen();
    let from = seen[0].range_from.unwrap();
    assert!(seen.len() == 1 && from > 0 && from <= 100_000, "{seen:?}");
    assert_eq!(seen[0].if_range, None, "an entity tag is its own server's");
}

#[test]
fn a_mirror_with_another_file_is_found_out_and_the_others_are_asked() {
    let (body, other) = (bytes(50_000, 6), bytes(50_000, 7));
    let (primary, _) = that_breaks(&body, 1, 20_000);
    let (liar, _) = that_breaks(&other, usize::MAX, usize::MAX);
    let (good, _) = that_breaks(&body, usize::MAX, usize::MAX);
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    fetch(&fetcher(&primary, &[&liar, &good]), &primary.base, &component(&body, "x"), &into)
        .unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
}

#[test]
fn an_envelope_comes_from_a_mirror_when_the_first_server_is_silent_but_not_when_it_says_no() {
    let (primary, _) = that_breaks(b"", 0, 0);
    let (mirror, _) = that_breaks(b"envelope", usize::MAX, usize::MAX);
    let fetcher = fetcher(&primary, &[&mirror]);
    let url = primary.base.join("cam/1.suit").unwrap();
    let fetched = fetcher.envelope(url.as_str(), &Cancel::new()).unwrap();
    assert_eq!(fetched.bytes, b"envelope");
    assert_eq!(fetched.final_url, mirror.base.join("1.suit").unwrap());
    assert_eq!(mirror.seen()[0].path, "/1.suit");

    let gone =
        Faulty::start(|_, stream| head(stream, "410 Gone", &[("Content-Length", "0".into())]));
    let fetcher = self::fetcher(&gone, &[&mirror]);
    let url: Url = gone.base.join("1.suit").unwrap();
    let error = fetcher.envelope(url.as_str(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::HttpStatus(410, _)), "{error}");
    assert_eq!(mirror.seen().len(), 1);
}
