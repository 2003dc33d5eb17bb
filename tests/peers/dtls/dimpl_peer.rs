//! `dimpl`: DTLS 1.2 without sockets, as our engine; GCM with certificates, CCM-8 with a key.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, ConfigBuilder, Dtls, DtlsCertificate, Output, PskResolver};
use freshen::dtls::Suite;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::driver::{Driver, Server};
use crate::pki::{IDENTITY, KEY, Pki, assert_theirs};
use harness::PATIENCE;

const SUITES: [Suite; 2] = [Suite::EcdheEcdsaAes128GcmSha256, Suite::PskAes128Ccm8];

/// One session of `dimpl` on a socket of its own.
struct Peer {
    dtls: Dtls,
    socket: UdpSocket,
    remote: Option<SocketAddr>,
    due: Instant,
}

struct OneKey;

impl PskResolver for OneKey {
    fn resolve(&self, identity: &[u8]) -> Option<Vec<u8>> {
        (identity == IDENTITY.as_bytes()).then(|| KEY.to_vec())
    }
}

#[derive(Debug, PartialEq)]
enum Said {
    Connected,
    Data(Vec<u8>),
}

impl Peer {
    fn new(pki: &Pki, suite: Suite, remote: Option<SocketAddr>) -> Self {
        let is_client = remote.is_some();
        let mut dtls = match suite {
            Suite::PskAes128Ccm8 => Dtls::new_12_psk(psk(is_client), Instant::now()),
            _ => Dtls::new_12(built(Config::builder()), certificate(pki), Instant::now()),
        };
        dtls.set_active(is_client);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self { dtls, socket, remote, due: Instant::now() }
    }

    /// Sends what there is to send; says what there is to say.
    fn drain(&mut self) -> Vec<Said> {
        let (mut said, mut buffer) = (vec![], vec![0; 65_536]);
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => {
                    self.socket.send_to(packet, self.remote.unwrap()).unwrap();
                }
                Output::Timeout(due) => {
                    self.due = due;
                    return said;
                }
                Output::Connected => said.push(Said::Connected),
                Output::ApplicationData(data) => said.push(Said::Data(data.to_vec())),
                _ => {}
            }
        }
    }

    /// One datagram or deadline.
    fn turn(&mut self) -> Vec<Said> {
        let mut said = self.drain();
        let wait = self.due.saturating_duration_since(Instant::now());
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(50));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut datagram = [0; 65_536];
        if let Ok((length, from)) = self.socket.recv_from(&mut datagram) {
            self.remote = Some(from);
            self.dtls.handle_packet(&datagram[..length]).unwrap();
        }
        self.dtls.handle_timeout(Instant::now()).unwrap();
        said.extend(self.drain());
        said
    }

    fn until(&mut self, wanted: &Said) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.turn().contains(wanted) {
                return;
            }
        }
        panic!("dimpl did not say {wanted:?}");
    }
}

fn built(builder: ConfigBuilder) -> Arc<Config> {
    Arc::new(builder.build().unwrap())
}

fn psk(is_client: bool) -> Arc<Config> {
    let key = Arc::new(OneKey);
    built(match is_client {
        true => Config::builder().with_psk_client(IDENTITY.into(), key),
        false => Config::builder().with_psk_server(Some(b"hint".to_vec()), key),
    })
}

fn certificate(pki: &Pki) -> DtlsCertificate {
    let leaf = CertificateDer::pem_file_iter(pki.chain()).unwrap().next().unwrap().unwrap();
    let key = PrivateKeyDer::from_pem_file(pki.key()).unwrap();
    DtlsCertificate { certificate: leaf.to_vec(), private_key: key.secret_der().to_vec() }
}

#[test]
fn dimpl_connects_to_our_server() {
    let pki = Pki::new();
    for suite in SUITES {
        let mut policy = pki.server(&[suite]);
        // It sends its own certificate alone.
        policy.anchors = vec![pki.middle()];
        let server = Server::start(policy);
        let mut peer = Peer::new(&pki, suite, Some(server.address));
        peer.until(&Said::Connected);
        let info = server.connected();
        assert_eq!(info.suite, suite);
        assert_theirs(&info.peer);
        peer.dtls.send_application_data(b"hello").unwrap();
        peer.until(&Said::Data(b"echo: hello".to_vec()));
    }
}

#[test]
fn our_client_connects_to_dimpl() {
    let pki = Pki::new();
    for suite in SUITES {
        let mut peer = Peer::new(&pki, suite, None);
        let address = peer.socket.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            peer.until(&Said::Data(b"hello".to_vec()));
            peer.dtls.send_application_data(b"well met").unwrap();
            peer.drain();
        });
        let mut policy = pki.client(suite);
        policy.anchors = vec![pki.middle()];
        let mut client = Driver::new(freshen::dtls::Config::default());
        let (session, info) = client.connect(address, policy);
        assert_eq!(info.suite, suite);
        client.say(session, b"hello");
        client.hear(b"well met");
        server.join().unwrap();
    }
}
