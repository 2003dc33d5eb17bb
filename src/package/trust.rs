//! Keys: which ones a device believes, and the ones a vendor signs with.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::{PemObject, SectionKind};

use super::codes::TRUSTED_KEYS_MAX;

/// The vendor's public keys that this device believes, and how many of them have to sign. The default
/// believes nobody.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trust {
    keys: Vec<PublicKey>,
    threshold: usize,
}

impl Trust {
    /// From texts with one or more PEM sections `PUBLIC KEY` each (RFC 7468, 13): P-256 or Ed25519.
    /// Any one of the keys may sign.
    ///
    /// # Errors
    ///
    /// Text that is not PEM, other kinds of keys, no key at all, more than [`TRUSTED_KEYS_MAX`].
    pub fn from_pem(pems: &[impl AsRef<str>]) -> Result<Self, KeyError> {
        let mut keys: Vec<PublicKey> = vec![];
        for pem in pems {
            for key in public_keys(pem.as_ref())? {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        match keys.len() {
            0 => Err(KeyError::NoPublicKey),
            1..=TRUSTED_KEYS_MAX => Ok(Self { keys, threshold: 1 }),
            _ => Err(KeyError::TooMany),
        }
    }

    /// From keys as they are: a point for P-256, 32 bytes for Ed25519. Each key once.
    pub(super) fn from_raw(raw: &[(Algorithm, &[u8])]) -> Result<Self, KeyError> {
        let mut keys: Vec<PublicKey> = vec![];
        for (algorithm, bytes) in raw {
            let key = PublicKey { algorithm: *algorithm, bytes: bytes.to_vec() };
            let length = match algorithm {
                Algorithm::P256 => P256_SPKI.1,
                Algorithm::Ed25519 => ED25519_SPKI.1,
            };
            if bytes.len() != length || keys.contains(&key) {
                return Err(KeyError::UnsupportedKey);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyError::NoPublicKey) } else { Ok(Self { keys, threshold: 1 }) }
    }

    /// The keys as [`Trust::from_raw`] takes them.
    pub(super) fn raw(&self) -> impl Iterator<Item = (Algorithm, &[u8])> {
        self.keys.iter().map(|key| (key.algorithm, &*key.bytes))
    }

    /// The same keys, but so many of them have to sign.
    ///
    /// # Errors
    ///
    /// A threshold of zero, or of more keys than there are.
    pub fn with_threshold(self, threshold: usize) -> Result<Self, KeyError> {
        if (1..=self.keys.len()).contains(&threshold) {
            Ok(Self { threshold, ..self })
        } else {
            Err(KeyError::Threshold)
        }
    }

    /// How many keys have to sign.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The place of the key that made this signature with this algorithm.
    pub(super) fn maker(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<usize> {
        self.keys.iter().position(|key| {
            key.algorithm == algorithm && key.unparsed().verify(message, signature).is_ok()
        })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.algorithm)).finish()
    }
}

/// Kinds of signatures. P-256 has two COSE numbers for the same thing, as has Ed25519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    P256,
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "ECDSA P-256",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// A public key that has the right form.
#[derive(Clone, PartialEq, Eq)]
struct PublicKey {
    algorithm: Algorithm,
    /// An uncompressed point for P-256, 32 bytes for Ed25519.
    bytes: Vec<u8>,
}

/// What precedes the point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480), and its length.
const P256_SPKI: (&[u8], usize) = (
    &[
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ],
    65,
);

/// What precedes the key in the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410), and its length.
const ED25519_SPKI: (&[u8], usize) =
    (&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], 32);

impl PublicKey {
    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let of = |algorithm, (prefix, length): (&[u8], usize)| {
            let bytes = der.strip_prefix(prefix).filter(|bytes| bytes.len() == length)?;
            Some(Self { algorithm, bytes: bytes.to_vec() })
        };
        of(Algorithm::P256, P256_SPKI)
            .or_else(|| of(Algorithm::Ed25519, ED25519_SPKI))
            .ok_or(KeyError::UnsupportedKey)
    }

    fn unparsed(&self) -> UnparsedPublicKey<&[u8]> {
        match self.algorithm {
            Algorithm::P256 => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &self.bytes)
            }
            Algorithm::Ed25519 => UnparsedPublicKey::new(&signature::ED25519, &self.bytes),
        }
    }
}

/// A vendor's private key.
pub struct SigningKey(Pair);

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// From a PEM section `PRIVATE KEY` (PKCS#8): P-256 or Ed25519.
    ///
    /// # Errors
    ///
    /// Text that is not PEM, or another kind of key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        for (kind, der) in sections(pem)? {
            match kind {
                SectionKind::PrivateKey => return Self::from_pkcs8(&der),
                SectionKind::EcPrivateKey => return Err(KeyError::NotPkcs8),
                SectionKind::PublicKey => return Err(KeyError::PublicNotPrivate),
                _ => {}
            }
        }
        // An encrypted key has a label of its own, which the PEM reader passes over.
        if pem.contains("ENCRYPTED PRIVATE KEY") {
            return Err(KeyError::Encrypted);
        }
        Err(KeyError::NoPrivateKey)
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        // OpenSSL leaves the public half out of Ed25519 keys, hence "maybe unchecked".
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self(Pair::Ed25519(pair)));
        }
        EcdsaKeyPair::from_pkcs8(
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            der,
            &SystemRandom::new(),
        )
        .map(|pair| Self(Pair::P256(pair)))
        .map_err(|_| KeyError::UnsupportedKey)
    }

    /// What a device needs to trust what this key signs.
    pub fn trust(&self) -> Trust {
        let bytes = match &self.0 {
            Pair::P256(pair) => pair.public_key().as_ref(),
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        };
        Trust {
            keys: vec![PublicKey { algorithm: self.algorithm(), bytes: bytes.to_vec() }],
            threshold: 1,
        }
    }

    /// The kind of signatures it makes.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::P256(_) => Algorithm::P256,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Signs. ECDSA draws its nonce from the system's randomness inside ring.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::P256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::NoRandomness),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm())
    }
}

/// The public keys in a PEM text, at least one.
fn public_keys(pem: &str) -> Result<Vec<PublicKey>, KeyError> {
    let keys = sections(pem)?
        .into_iter()
        .map(|(kind, der)| match kind {
            SectionKind::PublicKey => PublicKey::from_spki(&der),
            SectionKind::PrivateKey | SectionKind::EcPrivateKey => Err(KeyError::PrivateNotPublic),
            _ => Err(KeyError::NoPublicKey),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(KeyError::NoPublicKey) } else { Ok(keys) }
}

/// The sections of a PEM text.
fn sections(pem: &str) -> Result<Vec<(SectionKind, Vec<u8>)>, KeyError> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| KeyError::NotPem)
}

/// Why a key file is of no use.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Broken base64 or a missing end line.
    #[error("the PEM text is damaged")]
    NotPem,
    /// No section `PUBLIC KEY`.
    #[error(
        "there is no PEM section `PUBLIC KEY` in it; `freshen keygen` writes one to NAME.pub.pem"
    )]
    NoPublicKey,
    /// No section `PRIVATE KEY`.
    #[error(
        "there is no PEM section `PRIVATE KEY` in it; `freshen keygen` writes one to NAME.key.pem"
    )]
    NoPrivateKey,
    /// A device was given the vendor's secret.
    #[error(
        "this is a private key: give the public one (NAME.pub.pem), and keep this one off devices"
    )]
    PrivateNotPublic,
    /// A vendor wants to sign with the public key.
    #[error("this is a public key: signing needs the private one (NAME.key.pem)")]
    PublicNotPrivate,
    /// A SEC1 key.
    #[error(
        "this is an `EC PRIVATE KEY`: convert it with `openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW`"
    )]
    NotPkcs8,
    /// Protected by a pass phrase.
    #[error("this key is encrypted: decrypt it with `openssl pkcs8 -in OLD -out NEW`")]
    Encrypted,
    /// RSA, other curves, compressed points.
    #[error(
        "keys of this kind are not supported: use P-256 or Ed25519, as `freshen keygen` makes them"
    )]
    UnsupportedKey,
    /// More than [`TRUSTED_KEYS_MAX`].
    #[error("a device trusts at most {TRUSTED_KEYS_MAX} keys")]
    TooMany,
    /// None, or more than there are.
    #[error("the number of keys that have to sign must be between 1 and the number of keys")]
    Threshold,
    /// Another kind of key, or none, where a device's private key is wanted.
    #[error("this is no P-256 private key (PEM `PRIVATE KEY`), as `freshen keygen` makes them")]
    NoDecryptionKey,
    /// A key that can only sign.
    #[error("an Ed25519 key can only sign: payloads are encrypted to P-256 keys")]
    NotForEncryption,
    /// More than a package has room for.
    #[error("a payload is encrypted for at most 64 devices: make several packages")]
    TooManyRecipients,
    /// The system has no random numbers.
    #[error("the system gives no random numbers, which keys and signatures need")]
    NoRandomness,
}
