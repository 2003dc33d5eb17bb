//! Which handshakes are allowed, and with which keys: plain values, made by the rooms above.

use uuid::Uuid;
use zeroize::Zeroizing;

use super::suite::Exchange;
use super::{Anchor, OwnCertificate, Suite};

/// What a server allows now. A handshake keeps the policy that it met, and ends when that is replaced
/// by another.
///
/// The default allows nothing: every ClientHello is refused with an alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// The suites allowed now, the preferred one first. Anonymous sessions are allowed exactly when
    /// [`Suite::EcdhAnonAes128CbcSha256`] is among them.
    pub suites: Vec<Suite>,
    /// The keys that clients may use, found by their raw identity.
    pub psks: Vec<PreSharedKey>,
    /// The PSK identity hint, raw bytes; empty for none (RFC 4279 section 5.2).
    pub identity_hint: Vec<u8>,
    /// Our certificate; without it the ECDSA suites are passed over.
    pub certificate: Option<OwnCertificate>,
    /// Who may vouch for client certificates.
    pub anchors: Vec<Anchor>,
    /// Whether clients are asked for a certificate in the ECDSA suites.
    pub client_certificates: ClientCertificates,
    /// What a client's certificate must say beyond a valid chain.
    pub client_identity: IdentityRule,
    /// Whether [`super::Endpoint::secrets`] may be asked once the session stands (OCF owner PSK).
    /// Otherwise the master secret is erased as soon as the record keys are made.
    pub keep_secrets: bool,
}

/// What a client offers and whom it believes, for one connection.
#[derive(Clone, Debug, Default)]
pub struct ClientPolicy {
    /// The suites offered, the preferred one first.
    pub suites: Vec<Suite>,
    /// The key for the PSK suites, whatever the server says of itself.
    pub psk: Option<PreSharedKey>,
    /// Keys for servers that name themselves in their identity hint; they go before `psk`. Without
    /// either the PSK suites are not offered.
    pub psks_by_hint: Vec<HintedKey>,
    /// Our certificate, for servers that ask for one.
    pub certificate: Option<OwnCertificate>,
    /// Who may vouch for the server's certificate.
    pub anchors: Vec<Anchor>,
    /// What the server's certificate must say beyond a valid chain.
    pub server_identity: IdentityRule,
    /// Whether [`super::Endpoint::secrets`] may be asked once the session stands.
    pub keep_secrets: bool,
}

/// A symmetric key and the name it goes by. Both are raw bytes, zeros included (OCF uses the 16
/// bytes of a UUID).
#[derive(Clone, PartialEq, Eq)]
pub struct PreSharedKey {
    /// The PSK identity (RFC 4279 section 2).
    pub identity: Vec<u8>,
    /// The key; erased when dropped.
    pub key: Zeroizing<Vec<u8>>,
    /// How hard it is to find.
    pub strength: Strength,
}

/// How hard a key is to find for somebody who does not know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strength {
    /// It was drawn at random from more than anybody can try.
    #[default]
    Full,
    /// It comes from a few digits that a person types. It is used with an ephemeral key exchange only,
    /// since a recorded handshake with a plain key could be searched at leisure; and the first word
    /// that it does not open ends the handshake, so that a handshake is one guess.
    Guessable,
}

impl PreSharedKey {
    /// Puts a name and a key together.
    pub fn new(identity: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self {
            identity: identity.into(),
            key: Zeroizing::new(key.into()),
            strength: Strength::Full,
        }
    }

    /// The same, for a key that comes from a few digits.
    pub fn guessable(identity: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self { strength: Strength::Guessable, ..Self::new(identity, key) }
    }

    /// Whether a server takes it with this suite.
    pub(super) fn is_for(&self, exchange: Exchange) -> bool {
        match self.strength {
            Strength::Full => exchange.has_psk(),
            Strength::Guessable => exchange == Exchange::EcdhePsk,
        }
    }
}

/// A key for the server with this identity hint (OCF: the 16 bytes of its `deviceuuid`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HintedKey {
    /// What the server says, raw bytes (RFC 4279 section 5.2).
    pub hint: Vec<u8>,
    /// What is answered.
    pub psk: PreSharedKey,
}

impl std::fmt::Debug for PreSharedKey {
    /// Tells the name only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreSharedKey").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Whether a server asks clients for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for (the OCF manufacturer-certificate transfer).
    NotAsked,
    /// Asked for; a client without one is let in as [`super::PeerIdentity::Anonymous`].
    Optional,
    /// Asked for; a client without one is refused.
    #[default]
    Required,
}

/// What a peer's certificate must say beyond a chain to one of the anchors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IdentityRule {
    /// The OCF identity usage (1.3.6.1.4.1.44924.1.6) and a subject CN `uuid:...`; the given UUID,
    /// when one is given (OCF Security 9.4.2).
    #[default]
    Ocf,
    /// As [`IdentityRule::Ocf`], and this UUID.
    OcfDevice(Uuid),
    /// The extended key usage of its role, and this DNS name or address as an alternative name.
    Name(String),
    /// The extended key usage of its role; no name is looked at.
    ChainOnly,
}
