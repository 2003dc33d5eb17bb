//! What a suite does to records: seals them, opens them, says how long they become.

use aes::{Aes128Enc, Aes256Enc};
use ccm::consts::{U8, U12, U16};
use ccm::{AeadInOut, Ccm, KeyInit};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use ring::aead;
use zeroize::Zeroizing;

use super::Suite;
use super::cbc::{self, Cbc};
use super::prf::{MasterSecret, prf};
use super::record::{DTLS_1_2, HEADER_BYTES, Record, put_header};

/// The keys of one direction of a session.
pub(super) struct Protection {
    cipher: Cipher,
    /// The implicit part of the nonce; unused by CBC.
    salt: [u8; SALT_BYTES],
}

enum Cipher {
    Ccm128With8(Ccm<Aes128Enc, U8, U12>),
    Ccm128(Ccm<Aes128Enc, U16, U12>),
    Ccm256With8(Ccm<Aes256Enc, U8, U12>),
    Ccm256(Ccm<Aes256Enc, U16, U12>),
    Gcm128(aead::LessSafeKey),
    Cbc(Cbc),
}

/// The keys of both directions.
pub(super) struct Keys {
    pub(super) client: Protection,
    pub(super) server: Protection,
}

impl Keys {
    /// Cuts the key block up (RFC 5246 section 6.3).
    pub(super) fn new(
        suite: Suite,
        encrypt_then_mac: bool,
        master: &MasterSecret,
        client_random: &[u8; 32],
        server_random: &[u8; 32],
    ) -> Self {
        let mut block = Zeroizing::new([0; KEY_BLOCK_BYTES_MAX]);
        prf(&**master, "key expansion", &[server_random, client_random], &mut *block);
        let mut rest = &block[..];
        let mut next = |length: usize| {
            let (taken, after) = rest.split_at_checked(length).unwrap_or_default();
            rest = after;
            taken
        };
        let (mac_bytes, key_bytes, salt_bytes) = lengths(suite);
        let macs = [next(mac_bytes), next(mac_bytes)];
        let keys = [next(key_bytes), next(key_bytes)];
        let salts = [next(salt_bytes), next(salt_bytes)];
        let [client, server] = [0, 1].map(|side: usize| {
            let of = |parts: [&[u8]; 2]| parts.get(side).copied().unwrap_or_default().to_vec();
            let (mac, key) = (Zeroizing::new(of(macs)), Zeroizing::new(of(keys)));
            Protection {
                cipher: Cipher::new(suite, encrypt_then_mac, &mac, &key),
                salt: of(salts).try_into().unwrap_or_default(),
            }
        });
        Self { client, server }
    }
}

/// MAC key, cipher key, implicit nonce, bytes.
fn lengths(suite: Suite) -> (usize, usize, usize) {
    match suite {
        Suite::EcdheEcdsaAes256Ccm8 | Suite::EcdheEcdsaAes256Ccm => (0, 32, SALT_BYTES),
        suite if suite.is_cbc() => (cbc::MAC_BYTES, 16, 0),
        _ => (0, 16, SALT_BYTES),
    }
}

impl Cipher {
    fn new(suite: Suite, encrypt_then_mac: bool, mac: &[u8], key: &[u8]) -> Self {
        const WHY: &str = "lengths() gives every cipher the key length it wants";
        match suite {
            Suite::EcdheEcdsaAes128Ccm8 | Suite::PskAes128Ccm8 => {
                Self::Ccm128With8(Ccm::new_from_slice(key).expect(WHY))
            }
            Suite::EcdheEcdsaAes128Ccm => Self::Ccm128(Ccm::new_from_slice(key).expect(WHY)),
            Suite::EcdheEcdsaAes256Ccm8 => Self::Ccm256With8(Ccm::new_from_slice(key).expect(WHY)),
            Suite::EcdheEcdsaAes256Ccm => Self::Ccm256(Ccm::new_from_slice(key).expect(WHY)),
            Suite::EcdheEcdsaAes128GcmSha256 => Self::Gcm128(aead::LessSafeKey::new(
                aead::UnboundKey::new(&aead::AES_128_GCM, key).expect(WHY),
            )),
            Suite::EcdheEcdsaAes128CbcSha256
            | Suite::EcdhePskAes128CbcSha256
            | Suite::EcdhAnonAes128CbcSha256 => Self::Cbc(Cbc::new(
                key.try_into().expect(WHY),
                mac.try_into().expect(WHY),
                encrypt_then_mac,
            )),
        }
    }
}

impl Protection {
    /// Appends a whole record. The explicit nonce is the record number, which is never used twice;
    /// CBC gets a random initialisation vector.
    pub(super) fn seal(
        &self,
        content: u8,
        number: u64,
        plain: &[u8],
        rng: &mut ChaCha20Rng,
        out: &mut Vec<u8>,
    ) {
        put_header(out, content, number, self.sealed_bytes(plain.len()));
        let header = |length| pseudo_header(number, content, length);
        if let Cipher::Cbc(cbc) = &self.cipher {
            let mut iv = [0; cbc::BLOCK_BYTES];
            rng.fill_bytes(&mut iv);
            return cbc.seal(header, iv, plain, out);
        }
        out.extend(number.to_be_bytes());
        let start = out.len();
        out.extend(plain);
        let Some(text) = out.get_mut(start..) else { return };
        let tag = self.seal_in_place(number, &header(plain.len()), text);
        out.extend(tag.as_ref());
    }

    fn seal_in_place(&self, number: u64, header: &[u8], text: &mut [u8]) -> Tag {
        const WHY: &str = "a record is far shorter than what CCM and GCM can take";
        let nonce = self.nonce(number);
        match &self.cipher {
            Cipher::Ccm128With8(key) => Tag::Short(
                key.encrypt_inout_detached(&nonce.into(), header, text.into()).expect(WHY).into(),
            ),
            Cipher::Ccm256With8(key) => Tag::Short(
                key.encrypt_inout_detached(&nonce.into(), header, text.into()).expect(WHY).into(),
            ),
            Cipher::Ccm128(key) => Tag::Long(
                key.encrypt_inout_detached(&nonce.into(), header, text.into()).expect(WHY).into(),
            ),
            Cipher::Ccm256(key) => Tag::Long(
                key.encrypt_inout_detached(&nonce.into(), header, text.into()).expect(WHY).into(),
            ),
            Cipher::Gcm128(key) => {
                let nonce = aead::Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(header), text);
                Tag::Long(tag.expect(WHY).as_ref().try_into().expect("GCM tags have 16 bytes"))
            }
            Cipher::Cbc(_) => Tag::None,
        }
    }

    /// The plain text of a record, or nothing, whatever the reason.
    pub(super) fn open(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        let header = |length| pseudo_header(record.number(), record.content, length);
        let plain = match &self.cipher {
            Cipher::Cbc(cbc) => cbc.open(header, record.body)?,
            _ => self.open_aead(header, record.body)?,
        };
        (plain.len() <= PLAIN_BYTES_MAX).then_some(plain)
    }

    fn open_aead(&self, header: impl Fn(usize) -> [u8; 13], body: &[u8]) -> Option<Vec<u8>> {
        let (explicit, text) = body.split_first_chunk::<EXPLICIT_BYTES>()?;
        let nonce = self.nonce(u64::from_be_bytes(*explicit));
        let length = text.len().checked_sub(self.tag_bytes())?;
        let header = header(length);
        let mut text = text.to_vec();
        if let Cipher::Gcm128(key) = &self.cipher {
            let nonce = aead::Nonce::assume_unique_for_key(nonce);
            key.open_in_place(nonce, aead::Aad::from(&header), &mut text).ok()?;
            text.truncate(length);
            return Some(text);
        }
        let tag = text.split_off(length);
        let (nonce, tag, plain) = (&nonce.into(), tag.as_slice(), text.as_mut_slice().into());
        let opened = match &self.cipher {
            Cipher::Ccm128With8(key) => {
                key.decrypt_inout_detached(nonce, &header, plain, tag.try_into().ok()?)
            }
            Cipher::Ccm256With8(key) => {
                key.decrypt_inout_detached(nonce, &header, plain, tag.try_into().ok()?)
            }
            Cipher::Ccm128(key) => {
                key.decrypt_inout_detached(nonce, &header, plain, tag.try_into().ok()?)
            }
            Cipher::Ccm256(key) => {
                key.decrypt_inout_detached(nonce, &header, plain, tag.try_into().ok()?)
            }
            Cipher::Gcm128(_) | Cipher::Cbc(_) => return None,
        };
        opened.ok()?;
        Some(text)
    }

    fn nonce(&self, explicit: u64) -> [u8; 12] {
        let [a, b, c, d] = self.salt;
        let [e, f, g, h, i, j, k, l] = explicit.to_be_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    fn tag_bytes(&self) -> usize {
        match &self.cipher {
            Cipher::Ccm128With8(_) | Cipher::Ccm256With8(_) => 8,
            Cipher::Ccm128(_) | Cipher::Ccm256(_) | Cipher::Gcm128(_) => 16,
            Cipher::Cbc(_) => 0,
        }
    }

    /// How long the body of a record with so much plain text is.
    fn sealed_bytes(&self, plain: usize) -> usize {
        match &self.cipher {
            Cipher::Cbc(cbc) => cbc.sealed_bytes(plain),
            _ => EXPLICIT_BYTES + plain + self.tag_bytes(),
        }
    }

    /// How much plain text fits into a datagram of this size.
    pub(super) fn plain_bytes_max(&self, datagram: usize) -> usize {
        let body = datagram.saturating_sub(HEADER_BYTES);
        let most = match &self.cipher {
            Cipher::Cbc(cbc) => cbc.plain_bytes_max(body),
            _ => body.saturating_sub(EXPLICIT_BYTES + self.tag_bytes()),
        };
        most.min(PLAIN_BYTES_MAX)
    }
}

enum Tag {
    Short([u8; 8]),
    Long([u8; 16]),
    None,
}

impl AsRef<[u8]> for Tag {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Short(tag) => tag,
            Self::Long(tag) => tag,
            Self::None => &[],
        }
    }
}

/// What every MAC and AEAD of TLS 1.2 covers beside the text (RFC 5246 section 6.2.3.3).
fn pseudo_header(number: u64, content: u8, length: usize) -> [u8; 13] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    let [i, j] = DTLS_1_2.to_be_bytes();
    let [k, l] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [a, b, c, d, e, f, g, h, content, i, j, k, l]
}

const SALT_BYTES: usize = 4;
const EXPLICIT_BYTES: usize = 8;
/// The longest that a record may be once opened (RFC 5246 section 6.2.1).
const PLAIN_BYTES_MAX: usize = 1 << 14;
/// CBC with SHA-256: 2 x (32 + 16).
const KEY_BLOCK_BYTES_MAX: usize = 96;

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::super::record::{Records, content, number};
    use super::super::suite::ALL;
    use super::*;

    #[test]
    fn every_suite_opens_what_it_sealed_and_nothing_else() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        for suite in ALL {
            for encrypt_then_mac in [false, true] {
                let keys = Keys::new(
                    suite,
                    encrypt_then_mac,
                    &Zeroizing::new([3; 48]),
                    &[4; 32],
                    &[5; 32],
                );
                for length in [0, 1, 16, 47, 1000] {
                    let plain = vec![0xA5; length];
                    let mut out = vec![];
                    keys.client.seal(
                        content::APPLICATION_DATA,
                        number(1, 77),
                        &plain,
                        &mut rng,
                        &mut out,
                    );
                    let record = Records::new(&out).next().unwrap();
                    assert_eq!(record.body.len() + HEADER_BYTES, out.len(), "{suite:?}");
                    assert_eq!(keys.client.open(&record).unwrap(), plain, "{suite:?}");
                    assert!(keys.server.open(&record).is_none(), "{suite:?}: other direction");
                    let lies = [
                        Record { content: content::HANDSHAKE, ..record },
                        Record { sequence: 78, ..record },
                        Record { epoch: 2, ..record },
                    ];
                    assert!(lies.iter().all(|lie| keys.client.open(lie).is_none()), "{suite:?}");
                    for bit in 0..record.body.len() * 8 {
                        let mut body = record.body.to_vec();
                        body[bit / 8] ^= 1 << (bit % 8);
                        assert!(keys.client.open(&Record { body: &body, ..record }).is_none());
                    }
                }
                for datagram in [100, 500, 1232] {
                    let most = keys.client.plain_bytes_max(datagram);
                    let bytes = |plain| keys.client.sealed_bytes(plain) + HEADER_BYTES;
                    assert!(bytes(most) <= datagram && bytes(most + 1) > datagram, "{suite:?}");
                }
            }
        }
    }
}
