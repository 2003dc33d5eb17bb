//! For whose eyes a payload is: `SUIT_Encryption_Info` (draft-ietf-suit-firmware-encryption-26).
//!
//! One way of several in the draft: a content key for AES-128-GCM, wrapped (A128KW) for each device with
//! a key agreed on between its P-256 key and an ephemeral one (ECDH-ES + A128KW). The sender's side is
//! ring's and the receiver's RustCrypto's: ring keeps no key for a second agreement.

use std::fmt;

use aes::cipher::KeyInit;
use aes_kw::KwAes128;
use p256::pkcs8::DecodePrivateKey;
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::cbor::{Key, Reader, Writer};
use super::codes::{ENCRYPTION_INFO_BYTES_MAX, RECIPIENTS_MAX, cose};
use super::gcm::{ContentKey, KEY_BYTES, NONCE_BYTES};
use super::refusal::Fault;
use super::{Algorithm, Digest, KeyError, Refusal, Trust};

/// For which devices a payload is encrypted, and how they get its key. In the only form that is
/// accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionInfo(Vec<u8>);

/// A device's private key, P-256, with which it reads what was encrypted for it.
#[derive(Clone)]
pub struct DecryptionKey(p256::SecretKey);

/// A device for which something is encrypted: its public key, an uncompressed point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(Vec<u8>);

const A128_GCM: i64 = 1;
const A128_KW: i64 = -3;
const ECDH_ES_A128KW: i64 = -29;
const POINT_BYTES: usize = 65;
const COORDINATE_BYTES: usize = 32;
const WRAPPED_BYTES: usize = KEY_BYTES + 8;
const KEY_ID_BYTES: usize = 8;

impl DecryptionKey {
    /// From a PEM section `PRIVATE KEY` (PKCS#8), P-256.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = p256::SecretKey::from_pkcs8_pem(pem).map_err(|_| KeyError::NoDecryptionKey)?;
        Ok(Self(key))
    }

    fn point(&self) -> Vec<u8> {
        self.0.public_key().to_sec1_bytes().to_vec()
    }

    /// The x coordinate of the point that both sides come to.
    fn agree(&self, ephemeral: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let ephemeral = p256::PublicKey::from_sec1_bytes(ephemeral).ok()?;
        let shared = p256::ecdh::diffie_hellman(self.0.to_nonzero_scalar(), ephemeral.as_affine());
        Some(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptionKey")
    }
}

impl fmt::Debug for EncryptionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionInfo({} bytes)", self.0.len())
    }
}

impl Recipient {
    /// From texts with one or more PEM sections `PUBLIC KEY` each, all P-256.
    ///
    /// # Errors
    ///
    /// Other kinds of keys, no key at all, more than 64.
    pub fn from_pem(pems: &[impl AsRef<str>]) -> Result<Vec<Self>, KeyError> {
        let mut recipients: Vec<Self> = vec![];
        for pem in pems {
            for (algorithm, point) in Trust::from_pem(&[pem])?.raw() {
                let recipient = Self(point.to_vec());
                match algorithm {
                    Algorithm::Ed25519 => return Err(KeyError::NotForEncryption),
                    Algorithm::P256 if recipients.contains(&recipient) => {}
                    Algorithm::P256 => recipients.push(recipient),
                }
            }
        }
        match recipients.len() {
            0 => Err(KeyError::NoPublicKey),
            count if count as u64 > RECIPIENTS_MAX => Err(KeyError::TooManyRecipients),
            _ => Ok(recipients),
        }
    }
}

/// A name for a public key, so that a device need not try them all.
fn key_id(point: &[u8]) -> Vec<u8> {
    Digest::of(point).0.iter().copied().take(KEY_ID_BYTES).collect()
}

impl EncryptionInfo {
    /// Draws a content key and wraps it for each device.
    pub(super) fn seal(recipients: &[Recipient]) -> Result<(Self, ContentKey), KeyError> {
        let random = SystemRandom::new();
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let mut nonce = [0; NONCE_BYTES];
        random
            .fill(&mut *key)
            .and_then(|()| random.fill(&mut nonce))
            .map_err(|_| KeyError::NoRandomness)?;
        let protected = protected(A128_GCM);
        let info = Writer::default()
            .tag(cose::TAG_ENCRYPT)
            .array(4)
            .bytes(&protected)
            .map(1)
            .int(cose::IV)
            .bytes(&nonce)
            .null()
            .array(recipients.len());
        let info = recipients
            .iter()
            .try_fold(info, |info, recipient| Ok(info.raw(&wrap(recipient, &key, &random)?)))?;
        let content = ContentKey { key, nonce, additional: additional(&protected) };
        Ok((Self(info.done()), content))
    }

    /// From its CBOR, as it is in a manifest.
    ///
    /// # Errors
    ///
    /// Other algorithms than ours, or what is not canonical.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        Parts::read(bytes)?;
        Ok(Self(bytes.to_vec()))
    }

    /// Its CBOR.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    /// How many devices can read it.
    pub fn recipients(&self) -> usize {
        Parts::read(&self.0).map_or(0, |parts| parts.recipients.len())
    }

    /// The content key, if it was wrapped for this device.
    pub(super) fn open(&self, key: &DecryptionKey) -> Result<ContentKey, Refusal> {
        let parts = Parts::read(&self.0)?;
        let id = key_id(&key.point());
        // Our name for the key comes first. Others name keys as they like, so all are tried.
        let (ours, others): (Vec<_>, Vec<_>) =
            parts.recipients.iter().partition(|wrapped| wrapped.id == Some(&*id));
        ours.into_iter()
            .chain(others)
            .find_map(|wrapped| wrapped.open(key))
            .map(|key| ContentKey {
                key,
                nonce: parts.nonce,
                additional: additional(parts.protected),
            })
            .ok_or(Refusal::NotEncryptedForUs)
    }
}

fn wrap(
    recipient: &Recipient,
    key: &[u8; KEY_BYTES],
    random: &SystemRandom,
) -> Result<Vec<u8>, KeyError> {
    let ephemeral =
        EphemeralPrivateKey::generate(&ECDH_P256, random).map_err(|_| KeyError::NoRandomness)?;
    let public = ephemeral.compute_public_key().map_err(|_| KeyError::NoRandomness)?;
    let protected = protected(ECDH_ES_A128KW);
    let theirs = UnparsedPublicKey::new(&ECDH_P256, &recipient.0);
    let wrapping = agreement::agree_ephemeral(ephemeral, &theirs, |x| derive(x, &protected))
        .map_err(|_| KeyError::UnsupportedKey)?;
    let mut wrapped = [0; WRAPPED_BYTES];
    KwAes128::new((&*wrapping).into())
        .wrap_key(key, &mut wrapped)
        .expect("16 bytes are wrapped into 24");
    let (x, y) = public.as_ref().get(1..).unwrap_or_default().split_at(COORDINATE_BYTES);
    let ephemeral = Writer::default()
        .map(4)
        .int(cose::KEY_TYPE)
        .int(cose::EC2)
        .int(cose::CURVE)
        .int(cose::P256)
        .int(cose::X)
        .bytes(x)
        .int(cose::Y)
        .bytes(y);
    Ok(Writer::default()
        .array(3)
        .bytes(&protected)
        .map(2)
        .int(cose::KEY_ID)
        .bytes(&key_id(&recipient.0))
        .int(cose::EPHEMERAL_KEY)
        .raw(&ephemeral.done())
        .bytes(&wrapped)
        .done())
}

fn protected(algorithm: i64) -> Vec<u8> {
    Writer::default().map(1).int(cose::ALGORITHM).int(algorithm).done()
}

/// `Enc_structure` (RFC 9052, 5.3).
fn additional(protected: &[u8]) -> Vec<u8> {
    Writer::default().array(3).text("Encrypt").bytes(protected).bytes(&[]).done()
}

/// From the agreed secret to the wrapping key: HKDF-SHA-256 with the `COSE_KDF_Context` of the draft.
fn derive(secret: &[u8], protected: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    let nobody = || Writer::default().array(3).null().null().null().done();
    let context = Writer::default()
        .array(4)
        .int(A128_KW)
        .raw(&nobody())
        .raw(&nobody())
        .array(3)
        .uint(8 * KEY_BYTES as u64)
        .bytes(protected)
        .bytes(b"SUIT Payload Encryption")
        .done();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Salt::new(HKDF_SHA256, &[])
        .extract(secret)
        .expand(&[&context], Length)
        .and_then(|okm| okm.fill(&mut *key))
        .expect("HKDF-SHA-256 gives up to 8,160 bytes");
    key
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

struct Parts<'a> {
    protected: &'a [u8],
    nonce: [u8; NONCE_BYTES],
    recipients: Vec<Wrapped<'a>>,
}

/// The content key as one device can unwrap it.
struct Wrapped<'a> {
    protected: &'a [u8],
    id: Option<&'a [u8]>,
    ephemeral: Vec<u8>,
    key: &'a [u8],
}

impl Wrapped<'_> {
    fn open(&self, key: &DecryptionKey) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
        let wrapping = derive(&key.agree(&self.ephemeral)?, self.protected);
        let mut opened = Zeroizing::new([0; KEY_BYTES]);
        KwAes128::new((&*wrapping).into()).unwrap_key(self.key, &mut *opened).ok()?;
        Some(opened)
    }
}

const PART: &str = "the encryption info";

impl<'a> Parts<'a> {
    /// The content key's algorithm is in the protected header, everything else where the draft's
    /// examples have it.
    fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > ENCRYPTION_INFO_BYTES_MAX {
            let limit = ENCRYPTION_INFO_BYTES_MAX as u64;
            return Err(Refusal::OverLimit { what: "bytes of encryption info", limit });
        }
        Reader::all(PART, bytes, |reader| {
            let tag = reader.tag()?;
            if tag != cose::TAG_ENCRYPT {
                let tag = i64::try_from(tag).unwrap_or(i64::MAX);
                return Err(reader.unsupported("COSE structure with tag", tag));
            }
            expect_array(reader, 4)?;
            let protected = reader.bytes()?;
            read_algorithm(protected, A128_GCM)?;
            let mut nonce = None;
            reader.map(|label, value| match label {
                Key::Int(cose::IV) => {
                    let bytes = value.bytes()?.try_into();
                    nonce = Some(bytes.map_err(|_| value.fault(Fault::WrongValue))?);
                    Ok(())
                }
                _ => Err(value.fault(Fault::WrongValue)),
            })?;
            reader.null()?;
            let count = reader.array()?;
            if count > RECIPIENTS_MAX {
                let limit = RECIPIENTS_MAX;
                return Err(Refusal::OverLimit { what: "recipients", limit });
            }
            let recipients =
                (0..count).map(|_| read_recipient(reader)).collect::<Result<_, _>>()?;
            let nonce = nonce.ok_or(Refusal::Missing("the nonce of an encrypted payload"))?;
            Ok(Self { protected, nonce, recipients })
        })
    }
}

fn expect_array(reader: &mut Reader<'_>, items: u64) -> Result<(), Refusal> {
    if reader.array()? == items { Ok(()) } else { Err(reader.fault(Fault::WrongValue)) }
}

fn read_algorithm(header: &[u8], expected: i64) -> Result<(), Refusal> {
    let mut found = None;
    Reader::all(PART, header, |reader| {
        reader.map(|label, value| match label {
            Key::Int(cose::ALGORITHM) => value.int().map(|number| found = Some(number)),
            Key::Int(label) => Err(value.unsupported("header", label)),
            Key::Text(_) => Err(value.fault(Fault::WrongValue)),
        })
    })?;
    match found {
        Some(algorithm) if algorithm == expected => Ok(()),
        Some(code) => Err(Refusal::Unsupported { part: PART, what: "algorithm", code }),
        None => Err(Refusal::Missing("the algorithm of an encrypted payload")),
    }
}

fn read_recipient<'a>(reader: &mut Reader<'a>) -> Result<Wrapped<'a>, Refusal> {
    expect_array(reader, 3)?;
    let protected = reader.bytes()?;
    read_algorithm(protected, ECDH_ES_A128KW)?;
    let (mut id, mut ephemeral) = (None, None);
    reader.map(|label, value| {
        match label {
            Key::Int(cose::KEY_ID) => id = Some(value.bytes()?),
            Key::Int(cose::EPHEMERAL_KEY) => ephemeral = Some(read_point(value)?),
            Key::Int(label) => return Err(value.unsupported("header", label)),
            Key::Text(_) => return Err(value.fault(Fault::WrongValue)),
        }
        Ok(())
    })?;
    let ephemeral = ephemeral.ok_or(Refusal::Missing("the ephemeral key of a recipient"))?;
    let key = reader.bytes()?;
    if key.len() != WRAPPED_BYTES {
        return Err(reader.fault(Fault::WrongValue));
    }
    Ok(Wrapped { protected, id, ephemeral, key })
}

/// A `COSE_Key` on P-256, as an uncompressed point.
fn read_point(reader: &mut Reader<'_>) -> Result<Vec<u8>, Refusal> {
    let mut point = vec![4];
    let mut members = 0;
    reader.map(|label, value| {
        members += 1;
        match label {
            Key::Int(cose::KEY_TYPE) if value.int()? == cose::EC2 => {}
            Key::Int(cose::CURVE) if value.int()? == cose::P256 => {}
            // Keys come in the order of their encoding, so x comes before y.
            Key::Int(cose::X | cose::Y) => point.extend(value.bytes()?),
            _ => return Err(value.fault(Fault::WrongValue)),
        }
        Ok(())
    })?;
    if members == 4 && point.len() == POINT_BYTES {
        Ok(point)
    } else {
        Err(reader.fault(Fault::WrongValue))
    }
}
