//! A device inside a network is asked by a stranger to fetch from places where the stranger cannot go
//! (server-side request forgery). No connection is made: none of the names below is even looked up to
//! an address that somebody could hear.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use freshen::fetch::{Error, Fetcher, Settings};
use freshen::worker::Cancel;

use crate::faulty::{Faulty, head};
use crate::settings;

/// Every name leads to an address that is written in it, or to what the system makes of it.
fn lookup(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    if let Some(text) = host.strip_suffix(".rebind.example") {
        let ip: IpAddr = text.replace('x', ":").parse().map_err(std::io::Error::other)?;
        return Ok(vec![(ip, port).into()]);
    }
    if host == "twice.example" {
        // The first answer is harmless; whoever asks again would be led to loopback.
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let first = ASKED.fetch_add(1, Ordering::SeqCst) == 0;
        let ip: IpAddr = if first { "192.0.2.1" } else { "127.0.0.1" }.parse().unwrap();
        return Ok(vec![(ip, port).into()]);
    }
    freshen::fetch::system_lookup(host, port)
}

/// Hosts that must not be reached where any public host may be.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "0177.1",
    "127.255.255.254",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "0.0.0.0",
    "0",
    "0.1.2.3",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[ff05::1]",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[4000::1]",
    "169.254.169.254",
    "169.254.0.1",
    "2852039166",
    "0xa9fea9fe",
    "[::ffff:a9fe:a9fe]",
    "[fd00:ec2::254]",
    "10.0.0.1",
    "10.255.255.255",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.1.1",
    "3232235777",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "127.0.0.1.rebind.example",
    "10.0.0.1.rebind.example",
    "169.254.169.254.rebind.example",
    "xx1.rebind.example",
    "xxffffx127.0.0.1.rebind.example",
    "0.0.0.0.rebind.example",
    "twice.example",
];

/// Whole URLs that are refused for what they are, wherever they may lead.
const URLS: &[&str] = &[
    "https://user@updates.example/",
    "https://user:secret@updates.example/",
    "https://updates.example@127.0.0.1/",
    "https://127.0.0.1#@updates.example/",
    "https://updates.example/#here",
    "https://127.0.0.1\\@updates.example/",
    "https://%31%32%37.0.0.1/",
    "https:127.0.0.1/",
    "https:/127.0.0.1/",
    "https://updates.example:0/",
    "http://127.0.0.1/",
    "ftp://127.0.0.1/",
    "file:///etc/shadow",
    "gopher://127.0.0.1/_x",
    "dict://127.0.0.1/",
    "ldap://127.0.0.1/",
    "data:,x",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "//127.0.0.1/",
    "https://127.0.0.1\n/",
    "https://\t127.0.0.1/",
    "https://127.0.0.1 /",
];

#[test]
fn no_url_and_no_name_leads_where_it_should_not() {
    let heard = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = heard.local_addr().unwrap().port();
    let settings = Settings { loopback_addresses: false, ..settings(&harness::certs::make().ca) };
    let settings = Settings { allow_schemes: vec!["https".into(), "coap".into()], ..settings };
    let fetcher = Fetcher::with_lookup(settings, lookup).unwrap();
    let mut refused = 0;
    for host in HOSTS {
        for url in [format!("https://{host}:{port}/x"), format!("coap://{host}:{port}/x")] {
            let error = fetcher.envelope(&url, &Cancel::new()).unwrap_err();
            let known = matches!(error, Error::HostNotAllowed(_) | Error::BadUrl { .. });
            // In a coap URL this is a name like any other, and nobody has it.
            let unknown = url.starts_with("coap") && matches!(error, Error::NameUnknown(_));
            assert!(known || unknown, "{url}: {error:?}");
            refused += 1;
        }
    }
    for url in URLS {
        let error = fetcher.envelope(url, &Cancel::new()).unwrap_err();
        let refusal = matches!(
            error,
            Error::HostNotAllowed(_) | Error::BadUrl { .. } | Error::UnsupportedScheme(_)
        );
        assert!(refusal, "{url}: {error:?}");
        refused += 1;
    }
    nobody_was_heard(&heard);
    println!("{refused} URLs refused, no connection made");
    assert!(refused > 60);
}

#[test]
fn no_redirection_leads_where_it_should_not() {
    let heard = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = heard.local_addr().unwrap().port();
    let front = Faulty::start_at("127.0.0.2", move |request, stream| {
        let n: usize = request.path.trim_start_matches('/').parse().unwrap_or(0);
        let location = match HOSTS.get(n) {
            Some(host) => format!("https://{host}:{port}/x"),
            None => URLS[n - HOSTS.len()].trim().to_owned(),
        };
        head(stream, "302 Found", &[("Location", location), ("Content-Length", "0".into())])
    });
    // Only the way to the front door is open; it has an address that is written out.
    let settings = Settings {
        loopback_addresses: false,
        allow_hosts: vec!["*".into(), "127.0.0.2".into()],
        ..settings(&front.certs.ca)
    };
    let fetcher = Fetcher::with_lookup(settings, |host, port| match host {
        "localhost" if port != 0 => Ok(vec![([127, 0, 0, 2], port).into()]),
        _ => lookup(host, port),
    })
    .unwrap();
    let skipped = ["localhost", "LOCALHOST", "localhost."];
    for n in 0..HOSTS.len() + URLS.len() {
        if HOSTS.get(n).is_some_and(|host| skipped.contains(host)) {
            continue;
        }
        let url = front.base.join(&n.to_string()).unwrap();
        let error = fetcher.envelope(url.as_str(), &Cancel::new()).unwrap_err();
        let refusal = matches!(
            error,
            Error::HostNotAllowed(_) | Error::Redirect(_) | Error::BadAnswer { .. }
        );
        // A redirection may have a fragment, which is left away; then this is an unknown host.
        let harmless = matches!(&error, Error::NameUnknown(name) if name == "updates.example");
        assert!(refusal || harmless, "{n}: {error:?}");
    }
    nobody_was_heard(&heard);
}

/// Whoever answers for a name lies the second time: first comes an address that may be connected to, and
/// then one where somebody else listens at the same port.
#[test]
fn an_answer_is_asked_for_once_and_what_was_judged_is_connected_to() {
    let nothing = [("Content-Length", String::from("0"))];
    let front =
        Faulty::start_at("127.0.0.2", move |_, stream| head(stream, "404 Not Found", &nothing));
    let heard = TcpListener::bind(("127.0.0.3", front.base.port().unwrap())).unwrap();
    static ASKED: AtomicU8 = AtomicU8::new(0);
    let fetcher = Fetcher::with_lookup(settings(&front.certs.ca), |_, port| {
        let asked = ASKED.fetch_add(1, Ordering::SeqCst);
        Ok(vec![([127, 0, 0, asked.min(1) + 2], port).into()])
    })
    .unwrap();
    let url = front.base.join("release.suit").unwrap();
    let error = fetcher.envelope(url.as_str(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::HttpStatus(404, _)), "{error:?}");
    assert_eq!((front.seen().len(), ASKED.load(Ordering::SeqCst)), (1, 1));
    nobody_was_heard(&heard);
    // The control: who asks again is led there.
    heard.set_nonblocking(false).unwrap();
    let (cancel, (hears, hearing)) = (Cancel::new(), mpsc::channel());
    let enough = cancel.clone();
    std::thread::spawn(move || {
        hears.send(heard.accept().unwrap().1).unwrap();
        enough.cancel();
    });
    fetcher.envelope(url.as_str(), &cancel).unwrap_err();
    hearing.recv_timeout(Duration::from_secs(5)).expect("the second answer leads elsewhere");
}

#[test]
fn no_datagram_goes_where_a_name_may_not_lead() {
    let heard = UdpSocket::bind("127.0.0.1:0").unwrap();
    heard.set_nonblocking(true).unwrap();
    let settings = Settings { loopback_addresses: false, ..settings(&harness::certs::make().ca) };
    let settings = Settings { allow_schemes: vec!["coap".into()], ..settings };
    let lookup = |_: &str, port| Ok(vec![([127, 0, 0, 1], port).into()]);
    let fetcher = Fetcher::with_lookup(settings, lookup).unwrap();
    let url = format!("coap://a.example:{}/x", heard.local_addr().unwrap().port());
    let error = fetcher.envelope(&url, &Cancel::new()).unwrap_err();
    assert!(matches!(error, Error::HostNotAllowed(_)), "{error:?}");
    assert!(heard.recv(&mut [0; 1]).is_err(), "no datagram was sent");
}

/// Where both schemes are allowed, a redirection still does not take the cover off.
#[test]
fn no_redirection_leads_from_https_to_http() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = format!("http://localhost:{}/x", open.local_addr().unwrap().port());
    let to = location.clone();
    let front = Faulty::start(move |_, stream| {
        head(stream, "302 Found", &[("Location", to.clone()), ("Content-Length", "0".into())])
    });
    let allow_schemes = vec!["https".into(), "http".into()];
    let settings = Settings { allow_schemes, ..settings(&front.certs.ca) };
    let fetcher = Fetcher::new(settings).unwrap();
    let error = fetcher.envelope(front.base.as_str(), &Cancel::new()).unwrap_err();
    assert!(matches!(&error, Error::Redirect(why) if why.contains("secured")), "{error:?}");
    nobody_was_heard(&open);
    // The control: the place may be fetched from, and can be.
    open.set_nonblocking(false).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = open.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere").unwrap();
    });
    assert_eq!(fetcher.envelope(&location, &Cancel::new()).unwrap().bytes, b"here");
    serving.join().unwrap();
}

fn nobody_was_heard(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "a connection was made");
}
