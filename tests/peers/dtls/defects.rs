//! Why the device does not run on `webrtc-dtls`: what it does wrong, shown with its pinned version,
//! and the same done to our server. A test fails when a new version is better; then
//! `docs/decisions.md` has to change.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use freshen::dtls::Suite;
use webrtc_dtls::listener::listen;
use webrtc_util::conn::Listener;

use crate::driver::{Driver, Event, Server, now, path};
use crate::pki::Pki;
use harness::process::Process;
use crate::webrtc_peer::{psk_config, runtime, start};

/// Long enough for an honest handshake on a busy machine, with one retransmission.
const HONEST: Duration = Duration::from_secs(10);

fn adversary(server: SocketAddr, lie: &str) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../dtls/adversary.py");
    let port = server.port().to_string();
    let mut arguments = vec![script, "client", &port, "c0a8"];
    if !lie.is_empty() {
        arguments.push(lie);
    }
    Process::start("python3", &arguments, "python3 and cryptography (PyPI)")
}

#[test]
fn the_adversary_itself_is_served_when_it_is_honest() {
    let (pki, runtime) = (Pki::new(), runtime());
    let webrtc = start(&runtime, psk_config(&pki));
    adversary(webrtc, "").wait_for("echo: hello");
    let ours = Server::start(pki.server(&[Suite::PskAes128Ccm8]));
    adversary(ours.address, "").wait_for("echo: hello");
}

/// T4: RFC 5246 section 7.4.9 has the server check it.
#[test]
fn a_wrong_finished_is_taken_by_webrtc_dtls_and_refused_by_us() {
    let (pki, runtime) = (Pki::new(), runtime());
    let webrtc = start(&runtime, psk_config(&pki));
    adversary(webrtc, "bad-finished").wait_for("echo: hello");
    let ours = Server::start(pki.server(&[Suite::PskAes128Ccm8]));
    adversary(ours.address, "bad-finished").wait_for("alert 51");
}

/// T1: RFC 6347 section 4.1.2.7 has it dropped. Anybody can send such a record.
#[test]
fn a_record_that_cannot_be_opened_ends_a_session_of_webrtc_dtls_and_none_of_ours() {
    let (pki, runtime) = (Pki::new(), runtime());
    let webrtc = start(&runtime, psk_config(&pki));
    let mut client = adversary(webrtc, "flip");
    client.wait_for("connected");
    client.wait_for("gone");
    let ours = Server::start(pki.server(&[Suite::PskAes128Ccm8]));
    let mut client = adversary(ours.address, "flip");
    client.wait_for("echo: hello");
    client.wait_for("once,");
}

/// A path that loses the first datagram of the server with a ChangeCipherSpec in it.
fn losing_the_last_flight(server: SocketAddr) -> SocketAddr {
    let [front, back] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = front.local_addr().unwrap();
    back.connect(server).unwrap();
    let (front_too, back_too) = (front.try_clone().unwrap(), back.try_clone().unwrap());
    std::thread::spawn(move || {
        let (mut datagram, mut client) = ([0; 2048], None);
        while let Ok((length, from)) = front.recv_from(&mut datagram) {
            if client.replace(from).is_none() {
                back_way(&back_too, &front_too, from);
            }
            let _ = back.send(&datagram[..length]);
        }
    });
    address
}

fn back_way(back: &UdpSocket, front: &UdpSocket, client: SocketAddr) {
    const CHANGE_CIPHER_SPEC: u8 = 20;
    let [back, front] = [back, front].map(|socket| socket.try_clone().unwrap());
    std::thread::spawn(move || {
        let (mut datagram, mut is_lost) = ([0; 2048], false);
        while let Ok(length) = back.recv(&mut datagram) {
            if datagram[0] == CHANGE_CIPHER_SPEC && !is_lost {
                is_lost = true;
                continue;
            }
            let _ = front.send_to(&datagram[..length], client);
        }
    });
}

/// T3: RFC 6347 section 4.2.4 has the server send it again when the client's comes again.
#[test]
fn a_lost_last_flight_is_never_sent_again_by_webrtc_dtls_and_is_by_us() {
    let (pki, runtime) = (Pki::new(), runtime());
    let connects = |server: SocketAddr| {
        let mut client = Driver::new(freshen::dtls::Config::default());
        let to = path(losing_the_last_flight(server));
        let policy = pki.client(Suite::PskAes128Ccm8);
        client.endpoint.connect(to, policy, now()).unwrap();
        let start = now().mono;
        while now().mono.since(start) < HONEST {
            let events = client.turn();
            if events.iter().any(|event| matches!(event, Event::Connected(..))) {
                return true;
            }
        }
        false
    };
    assert!(!connects(start(&runtime, psk_config(&pki))));
    let ours = Server::start(pki.server(&[Suite::PskAes128Ccm8]));
    assert!(connects(ours.address));
}

/// T8: a hello with a cookie and then nothing. Its port need not be a true one for long.
#[test]
fn one_silent_client_stops_the_listener_of_webrtc_dtls_and_not_ours() {
    let (pki, runtime) = (Pki::new(), runtime());
    let webrtc = runtime.block_on(async {
        let listener = listen("127.0.0.1:0", psk_config(&pki)).await.unwrap();
        let address = listener.addr().await.unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        address
    });
    let ours = Server::start(pki.server(&[Suite::PskAes128Ccm8]));
    for (server, is_served) in [(webrtc, false), (ours.address, true)] {
        // It hears the server's hello and says nothing more.
        let mut silent = Driver::new(freshen::dtls::Config::default());
        let policy = pki.client(Suite::PskAes128Ccm8);
        let to = path(server);
        silent.endpoint.connect(to, policy.clone(), now()).unwrap();
        while silent.sent < 2 {
            silent.turn();
        }
        drop(silent);
        let mut honest = Driver::new(freshen::dtls::Config::default());
        honest.endpoint.connect(to, policy, now()).unwrap();
        let start = now().mono;
        let mut is_connected = false;
        while !is_connected && now().mono.since(start) < HONEST {
            let events = honest.turn();
            is_connected = events.iter().any(|event| matches!(event, Event::Connected(..)));
        }
        assert_eq!(is_connected, is_served);
    }
}
