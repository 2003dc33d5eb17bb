//! The server's side of a handshake. One message is expected at a time; any other ends it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::certificate::{self, Curve, OwnCertificate};
use super::cookie::COOKIE_BYTES;
use super::ecdh::{self, Ephemeral, GROUPS};
use super::handshake::{Handshake, Surroundings};
use super::message::{
    self, ClientHello, ClientKeyExchange, Extensions, Message, ServerHello, ServerKeyExchange,
    Share, Signed, kind,
};
use super::record::{DTLS_1_0, DTLS_1_2};
use super::session::Session;
use super::suite::Exchange;
use super::{
    ClientCertificates, Error, PeerIdentity, Policy, PreSharedKey, Role, SessionInfo, Suite,
};

/// A handshake with a client that has proven its address.
pub(super) struct Server {
    pub(super) handshake: Handshake,
    /// What the whole hello has to bring: its first fragment may have had the beginning only.
    cookie: [u8; COOKIE_BYTES],
    policy: Arc<Policy>,
    generation: u64,
    expected: Expected,
    ephemeral: Option<Ephemeral>,
    peer: PeerIdentity,
    /// Of the certificate that the client showed and has yet to prove.
    peer_key: Option<(Curve, Vec<u8>)>,
    identity_is_unknown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    ClientHello,
    Certificate,
    ClientKeyExchange,
    CertificateVerify,
    Finished,
}

impl Server {
    /// `cookie`: what the hello has to bring; `generation`: that of the policy.
    pub(super) fn new(
        handshake: Handshake,
        cookie: [u8; COOKIE_BYTES],
        policy: Arc<Policy>,
        generation: u64,
    ) -> Self {
        Self {
            handshake,
            cookie,
            policy,
            generation,
            expected: Expected::ClientHello,
            ephemeral: None,
            peer: PeerIdentity::Anonymous,
            peer_key: None,
            identity_is_unknown: false,
        }
    }

    /// Works off the messages that are whole; true once the client's Finished was right.
    pub(super) fn advance(&mut self, around: &mut Surroundings<'_>) -> Result<bool, Error> {
        loop {
            self.handshake.take_early(around)?;
            let Some(message) = self.handshake.next_message()? else { return Ok(false) };
            if self.take(&message, around)? {
                return Ok(true);
            }
        }
    }

    /// The session, after [`Server::advance`] said true.
    pub(super) fn finish(self, around: &Surroundings<'_>) -> Result<(Session, SessionInfo), Error> {
        let suite = self.suite()?;
        let (peer, generation) = (self.peer, self.generation);
        let info = SessionInfo { suite, peer, role: Role::Server, generation };
        Ok((self.handshake.finish(suite, around)?, info))
    }

    /// What to report for an error: an identity that nobody has is told to the owner, not the peer.
    pub(super) fn explain(&self, error: Error) -> Error {
        match error {
            Error::KeyMismatch if self.identity_is_unknown => Error::UnknownPskIdentity,
            error => error,
        }
    }

    fn take(&mut self, message: &Message, around: &mut Surroundings<'_>) -> Result<bool, Error> {
        match (self.expected, message.kind) {
            (Expected::ClientHello, kind::CLIENT_HELLO) => self.take_hello(message, around)?,
            (Expected::Certificate, kind::CERTIFICATE) => self.take_certificate(message, around)?,
            (Expected::ClientKeyExchange, kind::CLIENT_KEY_EXCHANGE) => {
                self.take_key_exchange(message, around)?;
            }
            (Expected::CertificateVerify, kind::CERTIFICATE_VERIFY) => self.take_verify(message)?,
            (Expected::Finished, kind::FINISHED) => {
                self.handshake.check_finished(message)?;
                self.handshake.begin_flight();
                self.handshake.say_finished()?;
                self.handshake.send_flight(around);
                return Ok(true);
            }
            _ => return Err(Error::Unexpected("a handshake message")),
        }
        Ok(false)
    }

    fn take_hello(
        &mut self,
        message: &Message,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Error> {
        let hello = ClientHello::read(&message.body)?;
        if hello.cookie != self.cookie {
            return Err(Error::Illegal("a cookie"));
        }
        // Newer versions have smaller numbers; 1.0 and what is no DTLS at all are turned away.
        if hello.version > DTLS_1_2 || hello.version == DTLS_1_0 {
            return Err(Error::Version);
        }
        let choice = Choice::of(&hello, &self.policy)?;
        let offered = &hello.extensions;
        self.handshake.take_message(message);
        self.handshake.client_random = hello.random;
        self.handshake.server_random = around.random();
        self.handshake.suite = Some(choice.suite);
        self.handshake.extended_master_secret = offered.extended_master_secret;
        self.handshake.encrypt_then_mac = offered.encrypt_then_mac && choice.suite.is_cbc();
        self.handshake.keep_secrets = self.policy.keep_secrets;
        self.answer(&choice, offered, around)
    }

    /// ServerHello to ServerHelloDone.
    fn answer(
        &mut self,
        choice: &Choice,
        offered: &Extensions,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Error> {
        let handshake = &mut self.handshake;
        let exchange = choice.suite.exchange();
        let has_formats = offered.point_formats.is_some() && exchange.has_ecdh();
        let hello = ServerHello {
            random: handshake.server_random,
            suite: choice.suite.code(),
            extensions: Extensions {
                point_formats: has_formats.then(|| vec![UNCOMPRESSED]),
                encrypt_then_mac: handshake.encrypt_then_mac,
                extended_master_secret: handshake.extended_master_secret,
                renegotiation_info: offered.renegotiation_info,
                ..Extensions::default()
            },
        };
        handshake.begin_flight();
        handshake.say(kind::SERVER_HELLO, hello.write());
        let own = self.policy.certificate.as_ref().filter(|_| exchange == Exchange::EcdheEcdsa);
        if let Some(own) = own {
            handshake.say(kind::CERTIFICATE, message::write_certificate(&own.chain));
        }
        if exchange.has_ecdh() {
            self.ephemeral = Some(Ephemeral::generate(choice.curve)?);
        }
        if let Some(body) = self.key_exchange(exchange, own)? {
            self.handshake.say(kind::SERVER_KEY_EXCHANGE, body);
        }
        let asks = own.is_some() && self.policy.client_certificates != ClientCertificates::NotAsked;
        if asks {
            self.handshake.say(kind::CERTIFICATE_REQUEST, message::write_certificate_request());
        }
        self.handshake.say(kind::SERVER_HELLO_DONE, vec![]);
        self.handshake.send_flight(around);
        self.expected = if asks { Expected::Certificate } else { Expected::ClientKeyExchange };
        Ok(())
    }

    /// The ServerKeyExchange, unless it would say nothing.
    fn key_exchange(
        &self,
        exchange: Exchange,
        own: Option<&OwnCertificate>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let share =
            self.ephemeral.as_ref().map(|ephemeral| Share::new(ephemeral.curve, &ephemeral.public));
        let hint = exchange.has_psk().then_some(self.policy.identity_hint.as_slice());
        if share.is_none() && hint.is_none_or(<[u8]>::is_empty) {
            return Ok(None);
        }
        let mut signature = vec![];
        if let (Some(own), Some(share)) = (own, &share) {
            let Handshake { client_random, server_random, .. } = &self.handshake;
            let signed = [&client_random[..], &server_random[..], &share.bytes].concat();
            signature = ecdh::sign(&own.key, &signed)?;
        }
        let signed =
            own.map(|own| Signed { scheme: own.curve.signature_scheme(), signature: &signature });
        Ok(Some(ServerKeyExchange { hint, share, signed }.write()))
    }

    fn take_certificate(
        &mut self,
        message: &Message,
        around: &Surroundings<'_>,
    ) -> Result<(), Error> {
        let chain = message::read_certificate(&message.body)?;
        if chain.is_empty() && self.policy.client_certificates == ClientCertificates::Required {
            return Err(Error::NoCertificate);
        }
        if !chain.is_empty() {
            let Policy { anchors, client_identity, .. } = &*self.policy;
            let verified =
                certificate::verify(chain, anchors, client_identity, Role::Client, around.now)?;
            self.peer_key = Some((verified.curve, verified.public_key));
            self.peer = verified.identity;
        }
        self.handshake.take_message(message);
        self.expected = Expected::ClientKeyExchange;
        Ok(())
    }

    fn take_key_exchange(
        &mut self,
        message: &Message,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Error> {
        let suite = self.suite()?;
        let said = ClientKeyExchange::read(&message.body, suite.exchange())?;
        let mut premaster = match (self.ephemeral.take(), said.point) {
            (Some(ephemeral), Some(point)) => Some(ephemeral.agree(point)?),
            _ => None,
        };
        if let Some(identity) = said.identity {
            let psk = self.psk(identity, suite.exchange(), around);
            let shared = premaster.as_ref().map(|shared| shared.as_slice());
            premaster = Some(ecdh::psk_premaster(shared, &psk));
            self.peer = PeerIdentity::Psk(identity.to_vec());
        }
        self.handshake.take_message(message);
        self.handshake.derive(suite, &premaster.ok_or(Error::Malformed("ClientKeyExchange"))?);
        self.expected = match self.peer_key {
            Some(_) => Expected::CertificateVerify,
            None => Expected::Finished,
        };
        Ok(())
    }

    /// The key of this identity. A stranger gets a key that nobody has, so that a wrong identity and
    /// a wrong key look the same from outside (RFC 4279 section 2).
    fn psk(
        &mut self,
        identity: &[u8],
        exchange: Exchange,
        around: &mut Surroundings<'_>,
    ) -> Zeroizing<Vec<u8>> {
        let is_meant = |psk: &&PreSharedKey| psk.identity == identity && psk.is_for(exchange);
        match self.policy.psks.iter().find(is_meant) {
            Some(psk) => {
                self.handshake.rest_on(psk.strength);
                psk.key.clone()
            }
            None => {
                self.identity_is_unknown = true;
                Zeroizing::new(around.random::<16>().to_vec())
            }
        }
    }

    fn take_verify(&mut self, message: &Message) -> Result<(), Error> {
        const WHAT: &str = "CertificateVerify";
        let signed = Signed::read(&message.body, WHAT)?;
        let (curve, public) = self.peer_key.as_ref().ok_or(Error::Unexpected(WHAT))?;
        let Signed { scheme, signature } = signed;
        let said = self.handshake.transcript();
        if !ecdh::signature_holds(*curve, public, scheme, said, signature) {
            return Err(Error::BadSignature(WHAT));
        }
        self.handshake.take_message(message);
        self.expected = Expected::Finished;
        Ok(())
    }

    fn suite(&self) -> Result<Suite, Error> {
        self.handshake.suite.ok_or(Error::Unexpected("a message before the hello"))
    }
}

/// What both sides can do.
struct Choice {
    suite: Suite,
    /// For the key exchange, where there is one.
    curve: Curve,
}

impl Choice {
    /// Our order of preference decides.
    fn of(hello: &ClientHello, policy: &Policy) -> Result<Self, Error> {
        let extensions = &hello.extensions;
        if extensions.point_formats.as_ref().is_some_and(|list| !list.contains(&UNCOMPRESSED)) {
            return Err(Error::Illegal("point formats"));
        }
        let curve = match &extensions.groups {
            Some(groups) => GROUPS.into_iter().find(|curve| groups.contains(&curve.group())),
            // Who names no group takes any (RFC 8422 section 4).
            None => Some(Curve::P256),
        };
        let offered = |suite: &&Suite| hello.suites.contains(&suite.code());
        if !policy.suites.iter().any(|suite| offered(&suite)) {
            return Err(Error::NoSharedSuite("none is offered and allowed"));
        }
        let suite = policy
            .suites
            .iter()
            .filter(offered)
            .find(|suite| {
                let exchange = suite.exchange();
                (curve.is_some() || !exchange.has_ecdh())
                    && (!exchange.has_psk() || policy.psks.iter().any(|psk| psk.is_for(exchange)))
                    && (exchange != Exchange::EcdheEcdsa || can_sign(policy, extensions))
            })
            .ok_or(Error::NoSharedSuite("no key, curve or signature for those that are offered"))?;
        Ok(Self { suite: *suite, curve: curve.unwrap_or(Curve::P256) })
    }
}

/// Whether we have a certificate that this client can read.
fn can_sign(policy: &Policy, extensions: &Extensions) -> bool {
    let Some(own) = &policy.certificate else { return false };
    let lists = |list: &Option<Vec<u16>>, wanted: u16| {
        list.as_ref().is_some_and(|list| list.contains(&wanted))
    };
    let knows_curve = extensions.groups.is_none() || lists(&extensions.groups, own.curve.group());
    knows_curve && lists(&extensions.signatures, own.curve.signature_scheme())
}

const UNCOMPRESSED: u8 = 0;
