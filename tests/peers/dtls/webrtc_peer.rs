//! `webrtc-dtls`, as client and as server.

use std::net::SocketAddr;
use std::sync::Arc;

use freshen::dtls::Suite;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::UdpSocket;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, Config, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::crypto::Certificate;

use crate::driver::{Driver, Server};
use crate::pki::{IDENTITY, KEY, Pki, assert_theirs};
use harness::PATIENCE;

/// The suites that both know.
const SUITES: [(Suite, CipherSuiteId); 4] = [
    (Suite::PskAes128Ccm8, CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8),
    (Suite::EcdheEcdsaAes128Ccm8, CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm_8),
    (Suite::EcdheEcdsaAes128Ccm, CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm),
    (Suite::EcdheEcdsaAes128GcmSha256, CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256),
];

/// With a key or with certificates, as the suite wants it. A client leaves the names in our
/// certificate alone: it knows DNS names only, and OCF devices have none.
fn config(pki: &Pki, suite: CipherSuiteId) -> Config {
    let mut config = Config {
        cipher_suites: vec![suite],
        extended_master_secret: ExtendedMasterSecretType::Require,
        ..Config::default()
    };
    if suite == CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8 {
        config.psk = Some(Arc::new(|_| Ok(KEY.to_vec())));
        config.psk_identity_hint = Some(IDENTITY.into());
        return config;
    }
    let [key, chain] = [pki.key(), pki.chain()].map(|path| std::fs::read_to_string(path).unwrap());
    let pem = key.replace("PRIVATE KEY", "PRIVATE_KEY") + &chain;
    config.certificates = vec![Certificate::from_pem(&pem).unwrap()];
    config.insecure_skip_verify = true;
    config.client_auth = ClientAuthType::RequireAndVerifyClientCert;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.root()).unwrap()).unwrap();
    config.client_cas = roots;
    config
}

/// A runtime of its own for one test: when it goes, so do the tasks of the library.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Serves one session on this socket, with echoes.
async fn serve_one(socket: UdpSocket, config: Config) {
    let mut first = [0; 1];
    let (_, client) = socket.peek_from(&mut first).await.unwrap();
    socket.connect(client).await.unwrap();
    let conn = DTLSConn::new(Arc::new(socket), config, false, None).await.unwrap();
    let mut heard = [0; 1024];
    while let Ok(length @ 1..) = conn.read(&mut heard, None).await {
        let answer = [b"echo: ", &heard[..length]].concat();
        conn.write(&answer, None).await.unwrap();
    }
}

async fn bound() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Starts a server for one session; where it listens.
pub(crate) fn start(runtime: &tokio::runtime::Runtime, config: Config) -> SocketAddr {
    let (socket, address) = runtime.block_on(bound());
    runtime.spawn(serve_one(socket, config));
    address
}

pub(crate) fn psk_config(pki: &Pki) -> Config {
    config(pki, CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8)
}

#[test]
fn webrtc_dtls_connects_to_our_server() {
    let (pki, runtime) = (Pki::new(), runtime());
    for (suite, theirs) in SUITES {
        let server = Server::start(pki.server(&[suite]));
        let talk = async {
            let (socket, _) = bound().await;
            socket.connect(server.address).await.unwrap();
            let config = config(&pki, theirs);
            let conn = DTLSConn::new(Arc::new(socket), config, true, None).await.unwrap();
            conn.write(b"hello", None).await.unwrap();
            let mut heard = [0; 1024];
            let length = conn.read(&mut heard, Some(PATIENCE)).await.unwrap();
            assert_eq!(&heard[..length], b"echo: hello");
        };
        runtime.block_on(talk);
        let info = server.connected();
        assert_eq!(info.suite, suite);
        assert_theirs(&info.peer);
    }
}

#[test]
fn our_client_connects_to_webrtc_dtls() {
    let (pki, runtime) = (Pki::new(), runtime());
    for (suite, theirs) in SUITES {
        let address = start(&runtime, config(&pki, theirs));
        let mut client = Driver::new(freshen::dtls::Config::default());
        let (session, info) = client.connect(address, pki.client(suite));
        assert_eq!(info.suite, suite);
        client.say(session, b"hello");
        client.hear(b"echo: hello");
    }
}
