//! Certificates: our own, the anchors, and the verdict on a peer's chain.

use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, Utc};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime, pem::PemObject};
use uuid::Uuid;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::Zeroizing;

use super::der::{self, Der};
use super::{Error, IdentityRule, PeerIdentity, Role, Voucher};
use crate::clock::Now;

/// Our certificate, what leads from it to an anchor, and its private key.
#[derive(Clone)]
pub struct OwnCertificate {
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) key: Arc<EcdsaKeyPair>,
    pub(super) curve: Curve,
}

impl OwnCertificate {
    /// From DER: the chain with our own certificate first, and its key in PKCS#8 or SEC 1 form.
    pub fn new(chain: Vec<Vec<u8>>, key: &[u8]) -> Result<Self, Error> {
        let bad = |what: &str| Error::Credentials(format!("our certificate: {what}"));
        let leaf = chain.first().ok_or_else(|| bad("the chain is empty"))?;
        if chain.iter().map(|der| der.len() + 3).sum::<usize>() > CHAIN_BYTES_MAX {
            return Err(bad("the chain is longer than 8 KiB"));
        }
        let (curve, public) = public_key(leaf)
            .ok_or_else(|| bad("it has no public key on P-256 or P-384 (RSA is not supported)"))?;
        let private = Zeroizing::new(
            private_scalar(key).ok_or_else(|| bad("the key is neither PKCS#8 nor SEC 1"))?,
        );
        let algorithm = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        };
        let rng = ring::rand::SystemRandom::new();
        let key = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, &public, &rng)
            .map_err(|_| bad("the private key does not belong to it"))?;
        Ok(Self { chain, key: Arc::new(key), curve })
    }

    /// From PEM: the chain with our own certificate first, and its key (`PRIVATE KEY` or
    /// `EC PRIVATE KEY`).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| Error::Credentials(format!("our private key: {error:?}")))?;
        Self::new(certificates_from_pem(chain)?, key.secret_der())
    }

    /// From PEM and DER: the chain with our own certificate first, and its key in PKCS#8 or SEC 1
    /// form.
    pub fn from_pem_and_der(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        Self::new(certificates_from_pem(chain)?, key)
    }
}

impl std::fmt::Debug for OwnCertificate {
    /// Tells the length of the chain only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnCertificate").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Two are the same if their certificates are: those hold the public key.
impl PartialEq for OwnCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

/// A certificate that may vouch for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor(TrustAnchor<'static>);

impl Anchor {
    /// From DER.
    pub fn new(der: &[u8]) -> Result<Self, Error> {
        let der = CertificateDer::from(der);
        let anchor = anchor_from_trusted_cert(&der)
            .map_err(|error| Error::Credentials(format!("an anchor cannot be read: {error}")))?;
        Ok(Self(anchor.to_owned()))
    }

    /// All the certificates in a PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, Error> {
        certificates_from_pem(pem)?.iter().map(|der| Self::new(der)).collect()
    }
}

fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .map(|found| found.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Credentials(format!("a certificate cannot be read: {error:?}")))
}

/// The curves of certificates and key exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

/// A peer's chain that leads to an anchor and keeps the rules.
pub(super) struct Verified {
    /// The key to check the peer's signature with.
    pub(super) curve: Curve,
    /// Uncompressed point.
    pub(super) public_key: Vec<u8>,
    /// Who it is.
    pub(super) identity: PeerIdentity,
}

/// Judges the chain of a peer; `peer` is the role it plays.
pub(super) fn verify(
    chain: Vec<Vec<u8>>,
    anchors: &[Anchor],
    rule: &IdentityRule,
    peer: Role,
    now: Now,
) -> Result<Verified, Error> {
    let bad = |what: &str| Error::Certificate(what.to_owned());
    let ders: Vec<CertificateDer<'_>> =
        chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let leaf = ders.first().ok_or(Error::NoCertificate)?;
    let usage = match (rule, peer) {
        (IdentityRule::Ocf | IdentityRule::OcfDevice(_), _) => {
            KeyUsage::required_if_present(OCF_IDENTITY)
        }
        (_, Role::Server) => KeyUsage::server_auth(),
        (_, Role::Client) => KeyUsage::client_auth(),
    };
    let (certificate, voucher) = vouched_for(&ders, anchors, usage, now)?;
    if !may_sign(leaf) {
        return Err(bad("its key may not sign"));
    }
    let uuid = uuid_of(certificate.subject());
    match rule {
        IdentityRule::Ocf | IdentityRule::OcfDevice(_) if !has_purpose(leaf, OCF_IDENTITY) => {
            return Err(bad("it is not for an OCF identity (1.3.6.1.4.1.44924.1.6)"));
        }
        IdentityRule::Ocf if uuid.is_none() => return Err(bad("its name is no uuid:...")),
        IdentityRule::OcfDevice(wanted) if uuid != Some(*wanted) => {
            return Err(bad("it belongs to another device"));
        }
        IdentityRule::Name(name) => {
            let name = ServerName::try_from(name.as_str()).map_err(|_| bad("no such name"))?;
            certificate
                .verify_is_valid_for_subject_name(&name)
                .map_err(|error| bad(&error.to_string()))?;
        }
        _ => {}
    }
    let (curve, public_key) = public_key(leaf).ok_or_else(|| bad("its key is on another curve"))?;
    let identity = PeerIdentity::Certificate { chain, uuid, voucher };
    Ok(Verified { curve, public_key, identity })
}

/// The end of a chain that leads to one of the anchors and is valid now, and which one that is and for
/// how long.
fn vouched_for<'a>(
    chain: &'a [CertificateDer<'a>],
    anchors: &[Anchor],
    usage: KeyUsage,
    now: Now,
) -> Result<(EndEntityCert<'a>, Voucher), Error> {
    let bad = |error: webpki::Error| Error::Certificate(error.to_string());
    let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificate)?;
    let certificate = EndEntityCert::try_from(leaf).map_err(bad)?;
    let anchors: Vec<TrustAnchor<'static>> =
        anchors.iter().map(|anchor| anchor.0.clone()).collect();
    let seconds = u64::try_from(now.wall.timestamp()).unwrap_or(0);
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let path = certificate
        .verify_for_usage(SIGNATURES, &anchors, intermediates, time, usage, None, None)
        .map_err(bad)?;
    let unreadable = || Error::Certificate("the end of its validity cannot be read".to_owned());
    let ends = path.intermediate_certificates().map(|one| end_of(&one.der()));
    let until = ends.chain([end_of(leaf)]).min().flatten().ok_or_else(unreadable)?;
    let nobody = || Error::Certificate("no anchor vouches for it".to_owned());
    let anchor = anchors.iter().position(|anchor| anchor == path.anchor()).ok_or_else(nobody)?;
    let voucher = Voucher { anchor, until };
    Ok((certificate, voucher))
}

/// The last second of a certificate's validity (RFC 5280 section 4.1.2.5).
fn end_of(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let mut body = after_signature_algorithm(certificate)?;
    body.expect(der::SEQUENCE)?;
    let mut validity = body.expect(der::SEQUENCE)?;
    validity.any()?;
    let (tag, time) = validity.any()?;
    let text = str::from_utf8(time.0).ok()?;
    let whole = match tag {
        // Two digits of the year: 1950 to 2049.
        der::UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        der::UTC_TIME => format!("19{text}"),
        der::GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    NaiveDateTime::parse_from_str(&whole, "%Y%m%d%H%M%SZ").ok().map(|time| time.and_utc())
}

/// A role that somebody has, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRole {
    /// `role`.
    pub name: String,
    /// `authority`; empty where there is none.
    pub authority: String,
    /// What it rests on.
    pub voucher: Voucher,
}

/// The role, and who gives it, that a chain (PEM) says the owner of the certificate `holder` (DER)
/// has (OCF Security 9.4.2.2.3): the chain has to lead to an anchor, and its key to be the holder's.
///
/// # Errors
///
/// [`Error::Certificate`] says which rule it breaks.
pub fn verify_role(
    chain: &[u8],
    holder: &[u8],
    anchors: &[Anchor],
    now: Now,
) -> Result<VerifiedRole, Error> {
    let bad = |what: &str| Error::Certificate(what.to_owned());
    let chain = certificates_from_pem(chain)?;
    let ders: Vec<CertificateDer<'_>> =
        chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let leaf = ders.first().ok_or(Error::NoCertificate)?;
    let usage = KeyUsage::required_if_present(OCF_ROLE);
    let (_, voucher) = vouched_for(&ders, anchors, usage, now)?;
    if !has_purpose(leaf, OCF_ROLE) {
        return Err(bad("it is not for a role (1.3.6.1.4.1.44924.1.7)"));
    }
    if public_key(leaf).is_none_or(|key| public_key(holder) != Some(key)) {
        return Err(bad("its key is not that of this session"));
    }
    let (name, authority) = role_of(leaf).ok_or_else(|| bad("it names no role"))?;
    Ok(VerifiedRole { name, authority, voucher })
}

/// CN and OU of the directory name among the alternative names.
fn role_of(certificate: &[u8]) -> Option<(String, String)> {
    let mut names = extension(certificate, SUBJECT_ALTERNATIVE_NAME).ok()??;
    let mut names = names.expect(der::SEQUENCE)?;
    while !names.0.is_empty() {
        let (tag, mut name) = names.any()?;
        if tag == DIRECTORY_NAME {
            let name = name.expect(der::SEQUENCE)?;
            let role = attribute(name.0, COMMON_NAME).filter(|role| !role.is_empty())?;
            return Some((role, attribute(name.0, ORGANIZATIONAL_UNIT).unwrap_or_default()));
        }
    }
    None
}

/// The fields of a certificate from the issuer on (RFC 5280 section 4.1).
fn after_signature_algorithm(certificate: &[u8]) -> Option<Der<'_>> {
    let mut body = Der(certificate).expect(der::SEQUENCE)?.expect(der::SEQUENCE)?;
    body.optional(VERSION);
    body.expect(der::INTEGER)?;
    body.expect(der::SEQUENCE)?;
    Some(body)
}

fn public_key(certificate: &[u8]) -> Option<(Curve, Vec<u8>)> {
    let mut body = after_signature_algorithm(certificate)?;
    for _issuer_validity_subject in 0..3 {
        body.expect(der::SEQUENCE)?;
    }
    let mut info = body.expect(der::SEQUENCE)?;
    let mut algorithm = info.expect(der::SEQUENCE)?;
    if algorithm.expect(der::OID)?.0 != EC_PUBLIC_KEY {
        return None;
    }
    let curve = match algorithm.expect(der::OID)?.0 {
        P256_OID => Curve::P256,
        P384_OID => Curve::P384,
        _ => return None,
    };
    let (unused_bits, point) = info.expect(der::BIT_STRING)?.0.split_first()?;
    (*unused_bits == 0).then(|| (curve, point.to_vec()))
}

/// The value of an extension; `Err` if the certificate cannot be read.
fn extension<'a>(certificate: &'a [u8], wanted: &[u8]) -> Result<Option<Der<'a>>, Unreadable> {
    let mut body = after_signature_algorithm(certificate).ok_or(Unreadable)?;
    for _issuer_validity_subject_key in 0..4 {
        body.expect(der::SEQUENCE).ok_or(Unreadable)?;
    }
    body.optional(ISSUER_UNIQUE_ID);
    body.optional(SUBJECT_UNIQUE_ID);
    let Some(mut outer) = body.optional(EXTENSIONS) else { return Ok(None) };
    let mut extensions = outer.expect(der::SEQUENCE).ok_or(Unreadable)?;
    while !extensions.0.is_empty() {
        let mut extension = extensions.expect(der::SEQUENCE).ok_or(Unreadable)?;
        let name = extension.expect(der::OID).ok_or(Unreadable)?;
        extension.optional(der::BOOLEAN);
        if name.0 == wanted {
            return extension.expect(der::OCTET_STRING).map(Some).ok_or(Unreadable);
        }
    }
    Ok(None)
}

struct Unreadable;

/// Whether the key usage, where there is one, has digitalSignature (RFC 5280 section 4.2.1.3).
fn may_sign(certificate: &[u8]) -> bool {
    match extension(certificate, KEY_USAGE) {
        Ok(Some(mut usage)) => usage
            .expect(der::BIT_STRING)
            .is_some_and(|bits| bits.0.get(1).is_some_and(|bits| bits & 0x80 != 0)),
        Ok(None) => true,
        Err(Unreadable) => false,
    }
}

/// Whether the extended key usage names this purpose. `rustls-webpki` would ask that of the
/// intermediates too, and OCF's do not have it.
fn has_purpose(certificate: &[u8], wanted: &[u8]) -> bool {
    let Ok(Some(mut usage)) = extension(certificate, EXTENDED_KEY_USAGE) else { return false };
    let Some(mut purposes) = usage.expect(der::SEQUENCE) else { return false };
    std::iter::from_fn(|| purposes.expect(der::OID)).any(|purpose| purpose.0 == wanted)
}

/// The UUID in a common name `uuid:...` (OCF Security 9.4.2.2).
fn uuid_of(subject: &[u8]) -> Option<Uuid> {
    let name = attribute(subject, COMMON_NAME)?;
    let text = name.strip_prefix("uuid:")?;
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// An attribute of a name, the contents of its sequence.
fn attribute(name: &[u8], wanted: &[u8]) -> Option<String> {
    let mut names = Der(name);
    while let Some(mut set) = names.expect(der::SET) {
        let mut attribute = set.expect(der::SEQUENCE)?;
        if attribute.expect(der::OID)?.0 == wanted {
            let (_, text) = attribute.any()?;
            return str::from_utf8(text.0).ok().map(str::to_owned);
        }
    }
    None
}

/// The private number in PKCS#8 (RFC 5208) or SEC 1 (RFC 5915) form.
fn private_scalar(key: &[u8]) -> Option<Vec<u8>> {
    let mut body = Der(key).expect(der::SEQUENCE)?;
    body.expect(der::INTEGER)?;
    if body.optional(der::SEQUENCE).is_some() {
        body = body.expect(der::OCTET_STRING)?.expect(der::SEQUENCE)?;
        body.expect(der::INTEGER)?;
    }
    Some(body.expect(der::OCTET_STRING)?.0.to_vec())
}

/// What certificates may be signed with. Only ECDSA: OCF has nothing else (Security 9.4.2).
const SIGNATURES: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
];

/// Our own chain, bytes: OCF chains have three tiers at most, some 2 KiB.
const CHAIN_BYTES_MAX: usize = 8 * 1024;

/// 1.3.6.1.4.1.44924.1.6, the OCF identity usage.
const OCF_IDENTITY: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0xDE, 0x7C, 0x01, 0x06];
/// 1.3.6.1.4.1.44924.1.7, the OCF role usage.
const OCF_ROLE: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0xDE, 0x7C, 0x01, 0x07];
/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1D, 0x11];
/// 2.5.4.11
const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 0x04, 0x0B];
/// directoryName of a GeneralName (RFC 5280 section 4.2.1.6).
const DIRECTORY_NAME: u8 = 0xA4;
/// 1.2.840.10045.2.1
const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256_OID: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384_OID: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
/// 2.5.29.15
const KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x0F];
/// 2.5.29.37
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x25];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const VERSION: u8 = 0xA0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xA3;
