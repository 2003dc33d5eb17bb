//! AES-128-CBC with HMAC-SHA-256: the one construction of TLS 1.2 where a careless receiver becomes
//! a decryption oracle (Vaudenay 2002, Lucky Thirteen 2013).
//!
//! Both orders are spoken: MAC then encrypt (RFC 5246 section 6.2.3.2), where opening does the same
//! work and touches the same memory whatever the padding says and knows a single failure; and
//! encrypt then MAC (RFC 7366) where both sides can.

use aes::Aes128;
use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use sha2::block_api::compress256;
use subtle::{
    Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The keys of one direction.
pub(super) struct Cbc {
    aes: Aes128,
    mac: HmacKey,
    encrypt_then_mac: bool,
}

pub(super) const BLOCK_BYTES: usize = 16;
pub(super) const MAC_BYTES: usize = 32;
/// Epoch and number, content type, version, length: what the MAC covers beside the data.
pub(super) const PSEUDO_HEADER_BYTES: usize = 13;

impl Cbc {
    pub(super) fn new(key: &[u8; 16], mac_key: &[u8; 32], encrypt_then_mac: bool) -> Self {
        Self { aes: Aes128::new(key.into()), mac: HmacKey::new(mac_key), encrypt_then_mac }
    }

    /// Appends the protected form of `plain`: initialisation vector, ciphertext and, with
    /// encrypt-then-MAC, the MAC. `header` makes the pseudo header for a length.
    pub(super) fn seal(
        &self,
        header: impl Fn(usize) -> [u8; PSEUDO_HEADER_BYTES],
        iv: [u8; BLOCK_BYTES],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.extend(iv);
        out.extend(plain);
        if !self.encrypt_then_mac {
            out.extend(self.mac.of(&header(plain.len()), plain));
        }
        let unpadded = out.len() - start;
        let padding = BLOCK_BYTES - 1 - unpadded % BLOCK_BYTES;
        out.extend(std::iter::repeat_n(padding as u8, padding + 1));
        let Some(protected) = out.get_mut(start..) else { return };
        let (_iv, body) = protected.split_at_mut(BLOCK_BYTES);
        let (blocks, _none) = Array::slice_as_chunks_mut(body);
        cbc::Encryptor::inner_iv_init(&self.aes, &iv.into()).encrypt_blocks(blocks);
        if self.encrypt_then_mac {
            let mac = self.mac.of(&header(protected.len()), protected);
            out.extend(mac);
        }
    }

    /// The plain text, or nothing: there is no telling why.
    pub(super) fn open(
        &self,
        header: impl Fn(usize) -> [u8; PSEUDO_HEADER_BYTES],
        body: &[u8],
    ) -> Option<Vec<u8>> {
        if !self.encrypt_then_mac {
            let mut plain = self.decrypt(body)?;
            let length = self.checked_length(header, &plain)?;
            plain.truncate(length);
            return Some(plain);
        }
        let (protected, mac) = body.split_at_checked(body.len().checked_sub(MAC_BYTES)?)?;
        let expected = self.mac.of(&header(protected.len()), protected);
        if !bool::from(expected.ct_eq(mac)) {
            return None;
        }
        let mut plain = self.decrypt(protected)?;
        let padding = usize::from(*plain.last()?);
        let length = plain.len().checked_sub(padding + 1)?;
        let padded_well = plain.iter().skip(length).all(|byte| usize::from(*byte) == padding);
        plain.truncate(length);
        padded_well.then_some(plain)
    }

    /// How long the protected form of so much plain text is.
    pub(super) fn sealed_bytes(&self, plain: usize) -> usize {
        let (inside, outside) = if self.encrypt_then_mac { (0, MAC_BYTES) } else { (MAC_BYTES, 0) };
        BLOCK_BYTES + ((plain + inside) / BLOCK_BYTES + 1) * BLOCK_BYTES + outside
    }

    /// How much plain text has a protected form of at most so many bytes.
    pub(super) fn plain_bytes_max(&self, sealed: usize) -> usize {
        let (inside, outside) = if self.encrypt_then_mac { (0, MAC_BYTES) } else { (MAC_BYTES, 0) };
        let blocks = sealed.saturating_sub(BLOCK_BYTES + outside) / BLOCK_BYTES;
        (blocks * BLOCK_BYTES).saturating_sub(inside + 1)
    }

    fn decrypt(&self, protected: &[u8]) -> Option<Vec<u8>> {
        let (iv, body) = protected.split_first_chunk::<BLOCK_BYTES>()?;
        let mut plain = body.to_vec();
        let (blocks, rest) = Array::slice_as_chunks_mut(&mut plain);
        if !rest.is_empty() || blocks.is_empty() {
            return None;
        }
        cbc::Decryptor::inner_iv_init(&self.aes, &(*iv).into()).decrypt_blocks(blocks);
        Some(plain)
    }

    /// How much of `plain` is data, if padding and MAC are right. Everything that depends on the
    /// padding byte is computed without branches or indices that depend on it.
    fn checked_length(
        &self,
        header: impl Fn(usize) -> [u8; PSEUDO_HEADER_BYTES],
        plain: &[u8],
    ) -> Option<usize> {
        let longest = u32::try_from(plain.len().checked_sub(MAC_BYTES + 1)?).ok()?;
        let last = u32::from(*plain.last()?);
        let mut good = !last.ct_gt(&longest);
        for (back, byte) in plain.iter().rev().enumerate().take(256) {
            let outside = (back as u32).ct_gt(&last);
            good &= outside | byte.ct_eq(&(last as u8));
        }
        // With bad padding the MAC is computed all the same, as if there were none.
        let padding = u32::conditional_select(&0, &last, good);
        let length = longest - padding;
        let shortest = longest.saturating_sub(255);
        let expected =
            self.mac.of_secret_length(&header(length as usize), plain, length, shortest, longest);
        good &= expected.ct_eq(&mac_at(plain, length));
        bool::from(good).then_some(length as usize)
    }
}

/// The MAC that starts at the secret place `start`, at most 256 + 32 bytes before the end.
fn mac_at(plain: &[u8], start: u32) -> [u8; MAC_BYTES] {
    let scan_from = plain.len().saturating_sub(MAC_BYTES + 256);
    let mut gathered = [0u8; MAC_BYTES];
    let mut place = scan_from as u32;
    for piece in plain.get(scan_from..).unwrap_or_default().chunks(MAC_BYTES) {
        for (to, byte) in gathered.iter_mut().zip(piece) {
            let inside = !place.ct_lt(&start) & place.ct_lt(&(start + MAC_BYTES as u32));
            *to |= u8::conditional_select(&0, byte, inside);
            place += 1;
        }
    }
    // `gathered` is the MAC, rotated by a secret amount: turn it back by 1, 2, 4, 8, 16.
    let turn = (start - scan_from as u32) % MAC_BYTES as u32;
    for bit in 0..5 {
        let mut turned = gathered;
        turned.rotate_left(1 << bit);
        let needed = Choice::from((turn >> bit & 1) as u8);
        for (to, byte) in gathered.iter_mut().zip(&turned) {
            to.conditional_assign(byte, needed);
        }
    }
    gathered
}

/// HMAC-SHA-256 with the key already hashed in.
#[derive(Zeroize, ZeroizeOnDrop)]
struct HmacKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

const HASH_BLOCK_BYTES: usize = 64;

impl HmacKey {
    fn new(key: &[u8; 32]) -> Self {
        let keyed = |pad: u8| {
            let mut block = [pad; HASH_BLOCK_BYTES];
            block.iter_mut().zip(key).for_each(|(to, key)| *to ^= key);
            let mut state = SHA256_START;
            compress256(&mut state, &[block]);
            block.zeroize();
            state
        };
        Self { inner: keyed(0x36), outer: keyed(0x5C) }
    }

    /// The MAC of `header` and `data` joined; the length is no secret.
    fn of(&self, header: &[u8; PSEUDO_HEADER_BYTES], data: &[u8]) -> [u8; MAC_BYTES] {
        let length = data.len() as u32;
        self.of_secret_length(header, data, length, length, length)
    }

    /// The MAC of `header` and the first `length` bytes of `data`, where `length` is a secret
    /// between `shortest` and `longest`: the work depends on those two only.
    fn of_secret_length(
        &self,
        header: &[u8; PSEUDO_HEADER_BYTES],
        data: &[u8],
        length: u32,
        shortest: u32,
        longest: u32,
    ) -> [u8; MAC_BYTES] {
        const BLOCK: u32 = HASH_BLOCK_BYTES as u32;
        let header_bytes = PSEUDO_HEADER_BYTES as u32;
        let end = header_bytes + length;
        let last_block = (end + 8) / BLOCK;
        let plain_blocks = (header_bytes + shortest) / BLOCK;
        let blocks = (header_bytes + longest + 8) / BLOCK + 1;
        let hashed_bits = (u64::from(BLOCK) + u64::from(end)) * 8;

        let mut message = header.iter().chain(data);
        let mut state = self.inner;
        for _ in 0..plain_blocks {
            let mut block = [0; HASH_BLOCK_BYTES];
            block.iter_mut().zip(&mut message).for_each(|(to, from)| *to = *from);
            compress256(&mut state, &[block]);
        }
        let mut digest = [0u32; 8];
        for index in plain_blocks..blocks {
            let mut block = [0; HASH_BLOCK_BYTES];
            for (place, to) in (index * BLOCK..).zip(&mut block) {
                let byte = message.next().copied().unwrap_or(0);
                *to = u8::conditional_select(&0, &byte, place.ct_lt(&end));
                *to |= u8::conditional_select(&0, &0x80, place.ct_eq(&end));
            }
            let is_last = index.ct_eq(&last_block);
            let (_, size) = block.split_at_mut(HASH_BLOCK_BYTES - 8);
            for (to, byte) in size.iter_mut().zip(hashed_bits.to_be_bytes()) {
                *to = u8::conditional_select(to, &byte, is_last);
            }
            compress256(&mut state, &[block]);
            for (to, word) in digest.iter_mut().zip(&state) {
                to.conditional_assign(word, is_last);
            }
        }
        self.finish(&digest)
    }

    /// The outer hash, always one block.
    fn finish(&self, digest: &[u32; 8]) -> [u8; MAC_BYTES] {
        let mut block = [0; HASH_BLOCK_BYTES];
        let padded = bytes_of(digest).into_iter().chain([0x80]);
        block.iter_mut().zip(padded).for_each(|(to, from)| *to = from);
        let bits = ((HASH_BLOCK_BYTES + MAC_BYTES) as u16 * 8).to_be_bytes();
        block.iter_mut().rev().zip(bits.iter().rev()).for_each(|(to, from)| *to = *from);
        let mut state = self.outer;
        compress256(&mut state, &[block]);
        bytes_of(&state)
    }
}

fn bytes_of(words: &[u32; 8]) -> [u8; MAC_BYTES] {
    let mut bytes = [0; MAC_BYTES];
    let flat = words.iter().flat_map(|word| word.to_be_bytes());
    bytes.iter_mut().zip(flat).for_each(|(to, from)| *to = from);
    bytes
}

/// The initial hash value of SHA-256 (FIPS 180-4 section 5.3.3).
const SHA256_START: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

#[cfg(test)]
mod tests {
    use hmac::{Hmac, Mac};
    use sha2::Sha256;

    use super::*;

    fn header(length: usize) -> [u8; PSEUDO_HEADER_BYTES] {
        let mut header = [7; PSEUDO_HEADER_BYTES];
        header[11..].copy_from_slice(&(length as u16).to_be_bytes());
        header
    }

    fn cbc(encrypt_then_mac: bool) -> Cbc {
        Cbc::new(&[1; 16], &[2; 32], encrypt_then_mac)
    }

    #[test]
    fn the_mac_of_a_secret_length_is_the_ordinary_hmac() {
        let key = HmacKey::new(&[2; 32]);
        let data: Vec<u8> = (0..700).map(|n| n as u8).collect();
        for longest in [0u32, 1, 50, 51, 52, 63, 64, 100, 255, 256, 333, 667] {
            let shortest = longest.saturating_sub(255);
            for length in shortest..=longest {
                let header = header(length as usize);
                let mut mac = Hmac::<Sha256>::new_from_slice(&[2; 32]).unwrap();
                mac.update(&header);
                mac.update(&data[..length as usize]);
                let expected: [u8; 32] = mac.finalize().into_bytes().into();
                let found = key.of_secret_length(&header, &data, length, shortest, longest);
                assert_eq!(found, expected, "{length} of {shortest} to {longest}");
            }
        }
    }

    #[test]
    fn what_was_sealed_opens_and_every_flipped_bit_is_noticed() {
        for encrypt_then_mac in [false, true] {
            let cbc = cbc(encrypt_then_mac);
            for length in [0, 1, 15, 16, 17, 31, 32, 100, 300, 1200] {
                let plain: Vec<u8> = (0..length).map(|n| n as u8).collect();
                let mut sealed = vec![];
                cbc.seal(header, [9; 16], &plain, &mut sealed);
                assert_eq!(cbc.open(header, &sealed).unwrap(), plain);
                for bit in (0..sealed.len() * 8).step_by(if length > 50 { 97 } else { 1 }) {
                    sealed[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(cbc.open(header, &sealed), None, "bit {bit} of {length} bytes");
                    sealed[bit / 8] ^= 1 << (bit % 8);
                }
                for cut in 0..sealed.len() {
                    assert_eq!(cbc.open(header, &sealed[..cut]), None);
                }
            }
        }
    }

    #[test]
    fn padding_of_any_legal_length_is_accepted_and_none_that_lies() {
        let cbc = cbc(false);
        let plain = b"some application data";
        for padding in
            (0..=255usize).filter(|padding| (plain.len() + 33 + padding).is_multiple_of(16))
        {
            let mut inner = plain.to_vec();
            inner.extend(cbc.mac.of(&header(plain.len()), plain));
            inner.extend(std::iter::repeat_n(padding as u8, padding + 1));
            let open = |mut inner: Vec<u8>| {
                let (blocks, _) = Array::slice_as_chunks_mut(&mut inner);
                cbc::Encryptor::inner_iv_init(&cbc.aes, &[3; 16].into()).encrypt_blocks(blocks);
                cbc.open(header, &[&[3; 16], &inner[..]].concat())
            };
            assert_eq!(open(inner.clone()).unwrap(), plain, "{padding}");
            for place in 0..padding {
                let mut lying = inner.clone();
                let at = plain.len() + 32 + place;
                lying[at] ^= 1;
                assert_eq!(open(lying), None, "{padding}, byte {place}");
            }
            let mut lying = inner.clone();
            *lying.last_mut().unwrap() = 255;
            assert!(padding == 255 || open(lying).is_none());
        }
    }
}
