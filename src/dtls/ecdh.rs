//! The key exchange: an ephemeral key each, and the premaster secret of every suite.

use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair};
use zeroize::Zeroizing;

use super::Error;
use super::certificate::Curve;
use super::wire::put_vec16;

impl Curve {
    /// Its number among the named groups (RFC 8422 section 5.1.1).
    pub(super) fn group(self) -> u16 {
        match self {
            Self::P256 => 23,
            Self::P384 => 24,
        }
    }

    pub(super) fn from_group(group: u16) -> Option<Self> {
        GROUPS.into_iter().find(|curve| curve.group() == group)
    }

    fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &agreement::ECDH_P256,
            Self::P384 => &agreement::ECDH_P384,
        }
    }

    /// How keys on this curve sign.
    pub(super) fn signature_scheme(self) -> u16 {
        match self {
            Self::P256 => ECDSA_SHA256,
            Self::P384 => ECDSA_SHA384,
        }
    }
}

/// The curves for key exchanges, the preferred (cheaper) one first.
pub(super) const GROUPS: [Curve; 2] = [Curve::P256, Curve::P384];
const ECDSA_SHA256: u16 = 0x0403;
const ECDSA_SHA384: u16 = 0x0503;

/// An ephemeral key, for one use.
pub(super) struct Ephemeral {
    pub(super) curve: Curve,
    /// Uncompressed point.
    pub(super) public: Vec<u8>,
    private: EphemeralPrivateKey,
}

impl Ephemeral {
    pub(super) fn generate(curve: Curve) -> Result<Self, Error> {
        let failed = |_| Error::Credentials("the system gives no random numbers".to_owned());
        let private = EphemeralPrivateKey::generate(curve.agreement(), &SystemRandom::new())
            .map_err(failed)?;
        let public = private.compute_public_key().map_err(failed)?.as_ref().to_vec();
        Ok(Self { curve, public, private })
    }

    /// The x coordinate that both sides come to. Points off the curve are refused.
    pub(super) fn agree(self, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let peer = UnparsedPublicKey::new(self.curve.agreement(), peer);
        agreement::agree_ephemeral(self.private, &peer, |x| Zeroizing::new(x.to_vec()))
            .map_err(|_| Error::Illegal("a public key"))
    }
}

/// The premaster secret of the PSK suites (RFC 4279 section 2, RFC 5489 section 2); `other` is what
/// ECDH gave, or as many zeros as the key is long.
pub(super) fn psk_premaster(other: Option<&[u8]>, psk: &[u8]) -> Zeroizing<Vec<u8>> {
    let zeros = vec![0; psk.len()];
    let other = other.unwrap_or(&zeros);
    let mut out = Zeroizing::new(Vec::with_capacity(other.len() + psk.len() + 4));
    put_vec16(&mut out, other);
    put_vec16(&mut out, psk);
    out
}

pub(super) fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, Error> {
    key.sign(&SystemRandom::new(), message)
        .map(|signature| signature.as_ref().to_vec())
        .map_err(|_| Error::Credentials("the private key does not sign".to_owned()))
}

/// Whether a signature of a key on this curve is right.
pub(super) fn signature_holds(
    curve: Curve,
    public: &[u8],
    scheme: u16,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let algorithm = match (curve, scheme) {
        (Curve::P256, ECDSA_SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, ECDSA_SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
        (Curve::P384, ECDSA_SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, ECDSA_SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
        _ => return false,
    };
    signature::UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
}
