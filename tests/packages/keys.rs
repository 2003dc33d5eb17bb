//! Signing keys from another code base than the one that verifies: RustCrypto signs, ring verifies.

use ed25519_dalek::pkcs8::spki::EncodePublicKey as _;
use freshen::package::{Algorithm, SigningKey, Trust};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};

/// Numbers of signature algorithms in "COSE Algorithms".
pub(crate) const ES256: i64 = -7;
pub(crate) const EDDSA: i64 = -8;
pub(crate) const ESP256: i64 = -9;
pub(crate) const ED25519: i64 = -19;

/// A key that is the same in every run.
#[derive(Clone)]
pub(crate) enum Key {
    P256(p256::SecretKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl Key {
    pub(crate) fn new(algorithm: Algorithm, seed: u8) -> Self {
        match algorithm {
            Algorithm::P256 => Self::P256(p256::SecretKey::from_slice(&[seed; 32]).unwrap()),
            Algorithm::Ed25519 => Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&[seed; 32])),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    p256::ecdsa::SigningKey::from(key).sign(message);
                signature.to_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        }
    }

    /// PKCS#8.
    pub(crate) fn private_pem(&self) -> String {
        match self {
            Self::P256(key) => key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(),
            Self::Ed25519(key) => key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(),
        }
    }

    /// SubjectPublicKeyInfo.
    pub(crate) fn public_pem(&self) -> String {
        match self {
            Self::P256(key) => key.public_key().to_public_key_pem(LineEnding::LF).unwrap(),
            Self::Ed25519(key) => key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap(),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::from_pem(&[self.public_pem()]).unwrap()
    }

    /// The same key in our own signer.
    pub(crate) fn ours(&self) -> SigningKey {
        SigningKey::from_pem(&self.private_pem()).unwrap()
    }
}
