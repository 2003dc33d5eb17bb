//! What has to hold against a server that misbehaves.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use freshen::fetch::{Error, Fetcher, Limits, Settings};
use freshen::worker::{Cancel, Progress};

use crate::faulty::{Faulty, head, serve_well, write_counted};
use crate::{bytes, component, fetch, settings};

#[test]
fn a_connection_that_is_cut_again_and_again_goes_on_where_it_broke() {
    let body = bytes(65_536, 1);
    let served = body.clone();
    let server = Faulty::start(move |request, stream| serve_well(&served, request, stream, 4096));
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    let progress = Progress::new(body.len() as u64);
    let component = component(&body, "x");
    fetcher.payload(&server.base, &component, &into, &progress, &Cancel::new()).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
    assert_eq!(progress.attempt(), 16);
    let froms: Vec<_> =
        server.seen().iter().map(|request| request.range_from.unwrap_or(0)).collect();
    assert_eq!(froms, (0..16).map(|n| n * 4096).collect::<Vec<_>>(), "nothing came twice");
    assert!(server.seen().iter().skip(1).all(|request| request.if_range.is_some()));
}

#[test]
fn a_server_that_brings_nothing_is_asked_five_times_and_what_came_waits() {
    let body = bytes(10_000, 2);
    let served = body.clone();
    let server = Faulty::start(move |request, stream| {
        serve_well(&served, request, stream, if request.number == 0 { 1234 } else { 0 })
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    let error = fetch(&fetcher, &server.base, &component(&body, "x"), &into).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    assert_eq!(server.seen().len(), 5);
    assert_eq!(fs::metadata(dir.path().join("0.part")).unwrap().len(), 1234);
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let body = bytes(50_000, 3);
    let served = body.clone();
    let server = Faulty::start(move |request, stream| {
        let whole = crate::faulty::Request { range_from: None, if_range: None, ..request.clone() };
        serve_well(&served, &whole, stream, if request.number < 2 { 20_000 } else { usize::MAX })
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    fetch(&fetcher, &server.base, &component(&body, "x"), &into).unwrap();
    assert_eq!(fs::read(&into).unwrap(), body);
}

#[test]
fn a_new_version_on_the_server_is_taken_from_its_beginning() {
    let (old, new) = (bytes(50_000, 4), bytes(50_000, 5));
    let served = new.clone();
    let server = Faulty::start(move |request, stream| match request.number {
        0 => {
            let fields = [("Content-Length", "50000".into()), ("ETag", "\"v0\"".into())];
            head(stream, "200 OK", &fields)?;
            stream.write_all(&old[..20_000])?;
            stream.flush()
        }
        _ => serve_well(&served, request, stream, usize::MAX),
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    fetch(&fetcher, &server.base, &component(&new, "x"), &into).unwrap();
    assert_eq!(fs::read(&into).unwrap(), new);
    assert_eq!(server.seen()[1].if_range.as_deref(), Some("\"v0\""));
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_wrong_range_or_none_leads_to_a_clean_download() {
    for (status, range) in [
        ("206 Partial Content", "bytes 0-49999/50000"),
        ("206 Partial Content", "bytes 7-49999/50000"),
        ("206 Partial Content", "nonsense"),
        ("416 Range Not Satisfiable", "bytes */50000"),
    ] {
        let body = bytes(50_000, 6);
        let served = body.clone();
        let server = Faulty::start(move |request, stream| match request.number {
            0 => serve_well(&served, request, stream, 10_000),
            1 => head(
                stream,
                status,
                &[("Content-Range", range.into()), ("Content-Length", "0".into())],
            ),
            _ => serve_well(&served, request, stream, usize::MAX),
        });
        let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("0");
        fetch(&fetcher, &server.base, &component(&body, "x"), &into).unwrap();
        assert_eq!(fs::read(&into).unwrap(), body, "{status} {range}");
    }
}

#[test]
fn another_length_is_refused_before_the_body() {
    let body = bytes(1000, 7);
    for (number, length) in [(0, "999"), (1, "1001"), (2, "18446744073709551615")] {
        let server = Faulty::start(move |_, stream| {
            head(stream, "200 OK", &[("Content-Length", length.into())])?;
            stream.write_all(&[0; 500])
        });
        let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let error = fetch(&fetcher, &server.base, &component(&body, "x"), &dir.path().join("0"));
        assert!(
            matches!(error, Err(Error::SizeMismatch { signed: 1000, .. })),
            "{number}: {error:?}"
        );
        assert_eq!(server.seen().len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }
}

#[test]
fn an_endless_body_is_stopped_and_never_reaches_the_disk() {
    let body = bytes(100_000, 8);
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let server = Faulty::start(move |_, stream| {
        head(stream, "200 OK", &[("Transfer-Encoding", "chunked".into())])?;
        loop {
            write_counted(stream, b"2000\r\n", &AtomicU64::new(0))?;
            write_counted(stream, &[0; 0x2000], &count)?;
            write_counted(stream, b"\r\n", &AtomicU64::new(0))?;
        }
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let progress = Progress::new(0);
    let into = dir.path().join("0");
    let error =
        fetcher.payload(&server.base, &component(&body, "x"), &into, &progress, &Cancel::new());
    assert!(matches!(error, Err(Error::SizeMismatch { signed: 100_000, .. })), "{error:?}");
    assert!(progress.done() <= 100_000);
    // What is in the kernel's buffers on both sides is all that it could send for nothing.
    assert!(sent.load(Ordering::SeqCst) < 32 << 20);
    let url = server.base.join("endless.suit").unwrap();
    let error = fetcher.envelope(url.as_str(), &Cancel::new());
    assert!(matches!(error, Err(Error::TooLarge(_))), "{error:?}");
}

#[test]
fn an_endless_header_is_stopped() {
    let server = Faulty::start(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        loop {
            stream.write_all(
                b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
            )?;
        }
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let error = fetcher.envelope(server.base.as_str(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::BadAnswer { .. }), "{error:?}");
}

/// Limits that a test can wait for; what they do at full size is in docs/reliability.md.
fn impatient(ca: &str) -> Settings {
    let limits = Limits {
        read: Duration::from_millis(700),
        header: Duration::from_millis(700),
        rate_window: Duration::from_millis(700),
        attempts: 1,
        ..Limits::default()
    };
    Settings { limits, ..settings(ca) }
}

#[test]
fn a_server_that_falls_silent_or_trickles_is_given_up() {
    // Silent before the head, in the head, in the body; one byte at a time in the body and in a record.
    for (number, expected) in ["head", "head", "bytes", "share", "share"].into_iter().enumerate() {
        let server = Faulty::start(move |_, stream| {
            let silence = || std::thread::sleep(Duration::from_secs(30));
            if number > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n")?;
            }
            if number > 1 {
                stream.write_all(b"\r\n12345")?;
            }
            stream.flush()?;
            match number {
                3 => loop {
                    stream.write_all(b"x")?;
                    stream.flush()?;
                    std::thread::sleep(Duration::from_millis(100));
                },
                4 => {
                    // The head of a TLS record of 16 KiB, then its bytes one by one.
                    stream.sock.write_all(&[23, 3, 3, 0x40, 0])?;
                    loop {
                        stream.sock.write_all(b"x")?;
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
                _ => silence(),
            }
            Ok(())
        });
        let fetcher = Fetcher::new(impatient(&server.certs.ca)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let component = component(&bytes(100_000, 9), "x");
        let error = fetch(&fetcher, &server.base, &component, &dir.path().join("0")).unwrap_err();
        let Error::TimedOut { what, .. } = error else { panic!("{number}: {error:?}") };
        assert!(what.contains(expected), "{number}: {what}");
    }
}

#[test]
fn somebody_who_asks_to_stop_is_heard_while_the_server_is_silent() {
    let body = bytes(10_000, 10);
    let served = body.clone();
    let server = Faulty::start(move |request, stream| {
        serve_well(&served, request, stream, 100)?;
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("0");
    let (progress, cancel) = (Progress::new(0), Cancel::new());
    let component = component(&body, "x");
    std::thread::scope(|scope| {
        let fetching =
            scope.spawn(|| fetcher.payload(&server.base, &component, &into, &progress, &cancel));
        while progress.done() < 100 {
            std::thread::sleep(Duration::from_millis(5));
        }
        cancel.cancel();
        assert!(matches!(fetching.join().unwrap(), Err(Error::Cancelled)));
    });
    assert_eq!(fs::metadata(dir.path().join("0.part")).unwrap().len(), 100, "what came waits");
}

#[test]
fn redirections_are_followed_three_times_and_only_where_they_may_lead() {
    let server = Faulty::start(move |request, stream| {
        let location = match request.path.as_str() {
            "/0" => "/1",
            "/1" => "/a/../2",
            "/2" => "deep/3#part",
            "/4" => "/0",
            "/round" => "/round",
            "/open" => "http://localhost/",
            "/file" => "file:///etc/passwd",
            "/user" => "https://user@localhost/",
            "/mapped" => "https://[::ffff:127.0.0.1]/",
            "/metadata" => "https://169.254.169.254/latest/meta-data",
            _ => {
                head(stream, "200 OK", &[("Content-Length", "4".into())])?;
                return stream.write_all(b"here");
            }
        };
        head(stream, "302 Found", &[("Location", location.into()), ("Content-Length", "0".into())])
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let get = |path| fetcher.envelope(server.base.join(path).unwrap().as_str(), &Cancel::new());
    let fetched = get("/0").unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.final_url.path()), (&b"here"[..], "/deep/3"));
    for path in ["/4", "/round", "/open", "/file", "/user"] {
        let error = get(path).unwrap_err();
        assert!(matches!(error, Error::Redirect(_)), "{path}: {error:?}");
    }
    for path in ["/mapped", "/metadata"] {
        let error = get(path).unwrap_err();
        assert!(matches!(error, Error::HostNotAllowed(_)), "{path}: {error:?}");
    }
}

#[test]
fn retry_after_is_kept_and_a_busy_server_is_asked_again() {
    let server = Faulty::start(move |request, stream| match request.number {
        0 => head(
            stream,
            "503 Service Unavailable",
            &[("Retry-After", "0".into()), ("Content-Length", "0".into())],
        ),
        1 => head(stream, "429 Too Many Requests", &[("Content-Length", "0".into())]),
        _ => {
            head(stream, "200 OK", &[("Content-Length", "4".into())])?;
            stream.write_all(b"here")
        }
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    assert_eq!(fetcher.envelope(server.base.as_str(), &Cancel::new()).unwrap().bytes, b"here");

    let patient = Faulty::start(move |_, stream| {
        head(
            stream,
            "503 Service Unavailable",
            &[("Retry-After", "3000".into()), ("Content-Length", "0".into())],
        )
    });
    let fetcher = Fetcher::new(settings(&patient.certs.ca)).unwrap();
    let error = fetcher.envelope(patient.base.as_str(), &Cancel::new());
    assert!(matches!(error, Err(Error::HttpStatus(503, _))), "longer than the action may take");
    assert_eq!(patient.seen().len(), 1);
}

#[test]
fn no_connection_is_a_lost_connection_and_no_name_is_an_unknown_name() {
    let fetcher = Fetcher::new(settings(&harness::certs::make().ca)).unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error =
        fetcher.envelope(&format!("https://127.0.0.1:{port}/x"), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    let nothing = |_: &str, _| Err(std::io::Error::other("no such name"));
    let fetcher = Fetcher::with_lookup(settings(&harness::certs::make().ca), nothing).unwrap();
    let error = fetcher.envelope("https://nowhere.example/x", &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::NameUnknown(_)), "{error:?}");
}

#[test]
fn a_packed_body_is_refused() {
    let body = bytes(1000, 11);
    let server = Faulty::start(move |_, stream| {
        head(stream, "200 OK", &[("Content-Encoding", "gzip".into())])?;
        stream.write_all(&[0; 100])
    });
    let fetcher = Fetcher::new(settings(&server.certs.ca)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = fetch(&fetcher, &server.base, &component(&body, "x"), &dir.path().join("0"));
    assert!(matches!(error, Err(Error::BadAnswer { .. })), "{error:?}");
}
