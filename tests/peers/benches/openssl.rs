//! Handshakes of our engine beside OpenSSL's library: the time in the server, both with cookies, both
//! in memory, in turn.
//!
//! `cargo bench --manifest-path tests/peers/Cargo.toml`

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[allow(dead_code, reason = "shared with the benchmark of the engine alone")]
#[path = "../../../benches/dtls/ours.rs"]
mod ours;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use freshen::dtls::{ClientPolicy, Config, Endpoint, Policy, Suite};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslContextBuilder, SslMethod,
    SslOptions, SslStream, SslVerifyMode,
};
use openssl::x509::{X509, X509Name};

const COUNT: u16 = 1000;
const MTU: u32 = 1280;
const KEY: &[u8] = b"sixteen byte key";

fn main() {
    for (suite, name) in [
        (Suite::EcdhePskAes128CbcSha256, "ECDHE-PSK-AES128-CBC-SHA256"),
        (Suite::EcdheEcdsaAes128Ccm8, "ECDHE-ECDSA-AES128-CCM8"),
    ] {
        let (our_client, our_server) = ours::policies();
        let our_client = ClientPolicy { suites: vec![suite], ..our_client };
        let mut server = Endpoint::new(Config::default(), [1; 32]);
        server.set_policy(Policy { suites: vec![suite], ..our_server }, ours::now(Duration::ZERO));
        let mut client = Endpoint::new(Config::default(), [2; 32]);
        let theirs = Openssl::new(name);
        let (mut ours_spent, mut theirs_spent) = (vec![], vec![]);
        for port in 1..=COUNT {
            let at = ours::path(port, 2);
            let (spent, session) =
                ours::handshake(&mut server, &mut client, at, our_client.clone());
            assert!(session.is_some());
            ours_spent.push(spent);
            theirs_spent.push(theirs.handshake());
        }
        let [ours, theirs] = [ours_spent, theirs_spent].map(|mut spent| {
            spent.sort();
            spent[spent.len() / 2]
        });
        println!(
            "{suite:?}: {:.0}/s in our server, {:.0}/s in OpenSSL's: {:.1} times",
            1.0 / ours.as_secs_f64(),
            1.0 / theirs.as_secs_f64(),
            theirs.as_secs_f64() / ours.as_secs_f64()
        );
    }
}

struct Openssl {
    server: SslContext,
    client: SslContext,
}

impl Openssl {
    fn new(cipher: &str) -> Self {
        let (root, root_key) = certificate(None);
        let signer = Some((&root, &root_key));
        let mut server = SslContext::builder(SslMethod::dtls_server()).unwrap();
        let mut client = SslContext::builder(SslMethod::dtls_client()).unwrap();
        for context in [&mut server, &mut client] {
            set(context, cipher, signer);
        }
        server.set_options(SslOptions::COOKIE_EXCHANGE);
        server.set_cookie_generate_cb(|_, cookie| {
            cookie[..16].copy_from_slice(b"always the same!");
            Ok(16)
        });
        server.set_cookie_verify_cb(|_, cookie| cookie == b"always the same!");
        server.set_psk_server_callback(|_, _, key| {
            key[..16].copy_from_slice(KEY);
            Ok(16)
        });
        client.set_psk_client_callback(|_, _, identity, key| {
            identity[..6].copy_from_slice(b"bench\0");
            key[..16].copy_from_slice(KEY);
            Ok(16)
        });
        Self { server: server.build(), client: client.build() }
    }

    /// One handshake; the time spent in the server.
    fn handshake(&self) -> Duration {
        let (up, down) = (Wire::default(), Wire::default());
        let new = |context| {
            let mut ssl = Ssl::new(context).unwrap();
            ssl.set_mtu(MTU).unwrap();
            ssl
        };
        let mut client = Side::of(new(&self.client).connect(End(down.clone(), up.clone())));
        let start = ours::instant();
        let mut server = Side::of(new(&self.server).accept(End(up, down)));
        let mut spent = start.elapsed();
        while !matches!((&client, &server), (Side::Done(_), Side::Done(_))) {
            client = client.go_on();
            let start = ours::instant();
            server = server.go_on();
            spent += start.elapsed();
        }
        spent
    }
}

fn set(context: &mut SslContextBuilder, cipher: &str, signer: Option<(&X509, &PKey<Private>)>) {
    let (leaf, key) = certificate(signer);
    context.set_cipher_list(&format!("{cipher}:@SECLEVEL=0")).unwrap();
    context.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
    context.set_groups_list("P-256").unwrap();
    if cipher.contains("ECDSA") {
        context.set_certificate(&leaf).unwrap();
        context.set_private_key(&key).unwrap();
        context.cert_store_mut().add_cert(signer.unwrap().0.clone()).unwrap();
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
}

/// A root, or a certificate that one signed; P-256.
fn certificate(signer: Option<(&X509, &PKey<Private>)>) -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", if signer.is_some() { "leaf" } else { "root" }).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(signer.map_or(&*name, |(root, _)| root.subject_name())).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&openssl::asn1::Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&openssl::asn1::Asn1Time::days_from_now(2).unwrap()).unwrap();
    if signer.is_none() {
        let ca = openssl::x509::extension::BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(ca).unwrap();
    }
    let signing = signer.map_or(&key, |(_, key)| key);
    builder.sign(signing, openssl::hash::MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// Datagrams on their way.
type Wire = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// What one side reads from, and writes to.
#[derive(Debug)]
struct End(Wire, Wire);

impl Read for End {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let datagram = self.0.borrow_mut().pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        into[..datagram.len()].copy_from_slice(&datagram);
        Ok(datagram.len())
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.borrow_mut().push_back(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Side {
    Waiting(MidHandshakeSslStream<End>),
    Done(SslStream<End>),
}

impl Side {
    fn of(result: Result<SslStream<End>, HandshakeError<End>>) -> Self {
        match result {
            Ok(stream) => Self::Done(stream),
            Err(HandshakeError::WouldBlock(waiting)) => Self::Waiting(waiting),
            Err(error) => panic!("{error}"),
        }
    }

    fn go_on(self) -> Self {
        match self {
            Self::Waiting(waiting) => Self::of(waiting.handshake()),
            Self::Done(stream) => Self::Done(stream),
        }
    }
}
