//! The client's side of a handshake. One message is expected at a time (two where the server has a
//! choice); any other ends it.

use super::certificate::{self, Curve};
use super::ecdh::{self, Ephemeral, GROUPS};
use super::handshake::{Handshake, Surroundings};
use super::message::{
    self, ClientHello, ClientKeyExchange, Extensions, Message, SIGNATURES, ServerHello,
    ServerKeyExchange, Signed, kind,
};
use super::record::DTLS_1_2;
use super::session::Session;
use super::suite::Exchange;
use super::{ClientPolicy, Error, PeerIdentity, Role, SessionInfo, Suite};

/// A handshake with a server.
pub(super) struct Client {
    pub(super) handshake: Handshake,
    policy: ClientPolicy,
    expected: Expected,
    hello: ClientHello,
    cookies: u8,
    peer: PeerIdentity,
    /// Of the server's certificate.
    peer_key: Option<(Curve, Vec<u8>)>,
    /// The server's half of the key exchange.
    share: Option<(Curve, Vec<u8>)>,
    /// The signatures that the server takes, if it wants a certificate.
    certificate_wanted: Option<Vec<u16>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    HelloVerifyRequestOrServerHello,
    Certificate,
    ServerKeyExchange,
    CertificateRequestOrDone,
    Done,
    Finished,
}

impl Client {
    /// Says hello.
    pub(super) fn start(
        mut handshake: Handshake,
        policy: ClientPolicy,
        around: &mut Surroundings<'_>,
    ) -> Result<Self, Error> {
        let suites = usable(&policy);
        if suites.is_empty() {
            return Err(Error::NoSharedSuite("there is no key for any suite that is allowed"));
        }
        let any = |wanted: fn(&Suite) -> bool| suites.iter().any(wanted);
        let has_ecdh = any(|suite| suite.exchange().has_ecdh());
        let has_ecdsa = any(|suite| suite.exchange() == Exchange::EcdheEcdsa);
        let groups = || GROUPS.map(Curve::group).to_vec();
        handshake.client_random = around.random();
        handshake.keep_secrets = policy.keep_secrets;
        let hello = ClientHello {
            version: DTLS_1_2,
            random: handshake.client_random,
            cookie: vec![],
            suites: suites.iter().map(|suite| suite.code()).collect(),
            extensions: Extensions {
                groups: has_ecdh.then(groups),
                point_formats: has_ecdh.then(|| vec![0]),
                signatures: has_ecdsa.then(|| SIGNATURES.to_vec()),
                encrypt_then_mac: any(|suite| suite.is_cbc()),
                extended_master_secret: true,
                // The suite number says it already.
                renegotiation_info: false,
                unknown: false,
            },
        };
        let mut client = Self {
            handshake,
            policy,
            expected: Expected::HelloVerifyRequestOrServerHello,
            hello,
            cookies: 0,
            peer: PeerIdentity::Anonymous,
            peer_key: None,
            share: None,
            certificate_wanted: None,
        };
        client.say_hello(around);
        Ok(client)
    }

    fn say_hello(&mut self, around: &mut Surroundings<'_>) {
        self.handshake.forget_transcript();
        self.handshake.begin_flight();
        self.handshake.say(kind::CLIENT_HELLO, self.hello.write());
        self.handshake.send_flight(around);
    }

    /// Works off the messages that are whole; true once the server's Finished was right.
    pub(super) fn advance(&mut self, around: &mut Surroundings<'_>) -> Result<bool, Error> {
        loop {
            self.handshake.take_early(around)?;
            let Some(message) = self.handshake.next_message()? else { return Ok(false) };
            if self.take(&message, around)? {
                return Ok(true);
            }
        }
    }

    /// The session, after [`Client::advance`] said true.
    pub(super) fn finish(self, around: &Surroundings<'_>) -> Result<(Session, SessionInfo), Error> {
        let suite = self.suite()?;
        let info = SessionInfo { suite, peer: self.peer, role: Role::Client, generation: 0 };
        Ok((self.handshake.finish(suite, around)?, info))
    }

    fn take(&mut self, message: &Message, around: &mut Surroundings<'_>) -> Result<bool, Error> {
        use Expected::{
            Certificate, CertificateRequestOrDone, Done, Finished, HelloVerifyRequestOrServerHello,
            ServerKeyExchange,
        };
        match (self.expected, message.kind) {
            (HelloVerifyRequestOrServerHello, kind::HELLO_VERIFY_REQUEST) => {
                self.take_cookie(message, around)?;
            }
            (HelloVerifyRequestOrServerHello, kind::SERVER_HELLO) => self.take_hello(message)?,
            (Certificate, kind::CERTIFICATE) => self.take_certificate(message, around)?,
            (ServerKeyExchange, kind::SERVER_KEY_EXCHANGE) => self.take_key_exchange(message)?,
            (CertificateRequestOrDone, kind::CERTIFICATE_REQUEST) => self.take_request(message)?,
            (CertificateRequestOrDone | Done, kind::SERVER_HELLO_DONE) => {
                self.take_done(message, around)?;
            }
            // A server without a hint leaves the message out (RFC 4279 section 2).
            (ServerKeyExchange, kind::SERVER_HELLO_DONE)
                if self.suite()?.exchange() == Exchange::Psk =>
            {
                self.take_done(message, around)?;
            }
            (Finished, kind::FINISHED) => {
                self.handshake.check_finished(message)?;
                return Ok(true);
            }
            _ => return Err(Error::Unexpected("a handshake message")),
        }
        Ok(false)
    }

    fn take_cookie(
        &mut self,
        message: &Message,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Error> {
        let cookie = message::read_hello_verify_request(&message.body)?;
        self.cookies += 1;
        if self.cookies > COOKIES_MAX {
            return Err(Error::Unexpected("one HelloVerifyRequest after the other"));
        }
        self.hello.cookie = cookie.to_vec();
        self.say_hello(around);
        Ok(())
    }

    fn take_hello(&mut self, message: &Message) -> Result<(), Error> {
        let said = ServerHello::read(&message.body)?;
        let extensions = &said.extensions;
        let suite = Suite::from_code(said.suite)
            .filter(|_| self.hello.suites.contains(&said.suite))
            .ok_or(Error::Illegal("a cipher suite"))?;
        let unasked = extensions.unknown
            || extensions.groups.is_some() && self.hello.extensions.groups.is_none()
            || extensions.signatures.is_some()
            || extensions.encrypt_then_mac && !suite.is_cbc()
            || extensions.point_formats.as_ref().is_some_and(|formats| !formats.contains(&0));
        if unasked {
            return Err(Error::Illegal("an extension"));
        }
        self.handshake.take_message(message);
        self.handshake.server_random = said.random;
        self.handshake.suite = Some(suite);
        self.handshake.extended_master_secret = extensions.extended_master_secret;
        self.handshake.encrypt_then_mac = extensions.encrypt_then_mac;
        self.expected = match suite.exchange() {
            Exchange::EcdheEcdsa => Expected::Certificate,
            _ => Expected::ServerKeyExchange,
        };
        Ok(())
    }

    fn take_certificate(
        &mut self,
        message: &Message,
        around: &Surroundings<'_>,
    ) -> Result<(), Error> {
        let chain = message::read_certificate(&message.body)?;
        let ClientPolicy { anchors, server_identity, .. } = &self.policy;
        let verified =
            certificate::verify(chain, anchors, server_identity, Role::Server, around.now)?;
        self.peer_key = Some((verified.curve, verified.public_key));
        self.peer = verified.identity;
        self.handshake.take_message(message);
        self.expected = Expected::ServerKeyExchange;
        Ok(())
    }

    fn take_key_exchange(&mut self, message: &Message) -> Result<(), Error> {
        const WHAT: &str = "ServerKeyExchange";
        let exchange = self.suite()?.exchange();
        let said = ServerKeyExchange::read(&message.body, exchange)?;
        let hinted = self.policy.psks_by_hint.iter().find(|key| said.hint == Some(&*key.hint));
        if let Some(key) = hinted {
            self.policy.psk = Some(key.psk.clone());
        }
        if let Some(share) = &said.share {
            if let Some(Signed { scheme, signature }) = said.signed {
                let Handshake { client_random, server_random, .. } = &self.handshake;
                let covered = [&client_random[..], &server_random[..], &share.bytes].concat();
                let (curve, public) = self.peer_key.as_ref().ok_or(Error::Unexpected(WHAT))?;
                if !ecdh::signature_holds(*curve, public, scheme, &covered, signature) {
                    return Err(Error::BadSignature(WHAT));
                }
            }
            self.share = Some((share.curve, share.point.to_vec()));
        }
        self.handshake.take_message(message);
        self.expected = match exchange {
            Exchange::EcdheEcdsa => Expected::CertificateRequestOrDone,
            // Who does not prove itself may not ask us to (RFC 5246 section 7.4.4).
            _ => Expected::Done,
        };
        Ok(())
    }

    fn take_request(&mut self, message: &Message) -> Result<(), Error> {
        self.certificate_wanted = Some(message::read_certificate_request(&message.body)?);
        self.handshake.take_message(message);
        self.expected = Expected::Done;
        Ok(())
    }

    fn take_done(&mut self, message: &Message, around: &mut Surroundings<'_>) -> Result<(), Error> {
        if !message.body.is_empty() {
            return Err(Error::Malformed("ServerHelloDone"));
        }
        self.handshake.take_message(message);
        self.answer()?;
        self.handshake.send_flight(around);
        self.expected = Expected::Finished;
        Ok(())
    }

    /// Certificate to Finished.
    fn answer(&mut self) -> Result<(), Error> {
        let suite = self.suite()?;
        let own = self.certificate_wanted.as_ref().map(|schemes| {
            let own = self.policy.certificate.as_ref();
            own.filter(|own| schemes.contains(&own.curve.signature_scheme()))
        });
        self.handshake.begin_flight();
        if let Some(own) = &own {
            let chain = own.map(|own| own.chain.as_slice()).unwrap_or_default();
            self.handshake.say(kind::CERTIFICATE, message::write_certificate(chain));
        }
        let ephemeral =
            self.share.as_ref().map(|(curve, _)| Ephemeral::generate(*curve)).transpose()?;
        let point = ephemeral.as_ref().map(|ephemeral| ephemeral.public.clone());
        let mut premaster = match (ephemeral, &self.share) {
            (Some(ephemeral), Some((_, theirs))) => Some(ephemeral.agree(theirs)?),
            _ => None,
        };
        let psk = match suite.exchange().has_psk() {
            true => Some(self.policy.psk.as_ref().ok_or(Error::NoKey)?),
            false => None,
        };
        if let Some(psk) = psk {
            let shared = premaster.as_ref().map(|shared| shared.as_slice());
            premaster = Some(ecdh::psk_premaster(shared, &psk.key));
            self.peer = PeerIdentity::Psk(psk.identity.clone());
        }
        let identity = psk.map(|psk| psk.identity.as_slice());
        let said = ClientKeyExchange { identity, point: point.as_deref() };
        self.handshake.say(kind::CLIENT_KEY_EXCHANGE, said.write());
        self.handshake.derive(suite, &premaster.ok_or(Error::Unexpected("ServerHelloDone"))?);
        if let Some(own) = own.flatten() {
            let signature = ecdh::sign(&own.key, self.handshake.transcript())?;
            let mut body = vec![];
            let scheme = own.curve.signature_scheme();
            Signed { scheme, signature: &signature }.write(&mut body);
            self.handshake.say(kind::CERTIFICATE_VERIFY, body);
        }
        self.handshake.say_finished()
    }

    fn suite(&self) -> Result<Suite, Error> {
        self.handshake.suite.ok_or(Error::Unexpected("a message before the hello"))
    }
}

/// The suites of a policy for which there is a key.
fn usable(policy: &ClientPolicy) -> Vec<Suite> {
    let has_key = |suite: &&Suite| match suite.exchange() {
        Exchange::Psk | Exchange::EcdhePsk => {
            policy.psk.is_some() || !policy.psks_by_hint.is_empty()
        }
        Exchange::EcdheEcdsa => !policy.anchors.is_empty(),
        Exchange::EcdhAnon => true,
    };
    policy.suites.iter().filter(has_key).copied().collect()
}

/// HelloVerifyRequests that one connection follows: two, when a server changes its secret between.
const COOKIES_MAX: u8 = 3;
