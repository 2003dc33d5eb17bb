//! AES-128-GCM (NIST SP 800-38D) of a stream.
//!
//! The crates that do AES-GCM want the whole message in memory, and a payload may be larger than that.
//! This is the mode alone, from the block cipher, counter mode and GHASH of RustCrypto.

use std::io::{self, Read, Write};

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use ctr::Ctr32BE;
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that an encrypted payload is longer than what is in it.
pub(super) const TAG_BYTES: usize = 16;
pub(super) const NONCE_BYTES: usize = 12;
pub(super) const KEY_BYTES: usize = 16;

/// The longest message, bytes (SP 800-38D, 5.2.1.1: 2^39 - 256 bits).
pub(super) const PLAINTEXT_BYTES_MAX: u64 = (1 << 36) - 32;

const BLOCK_BYTES: usize = 16;
const BUFFER_BYTES: usize = 64 * 1024;

/// The key of one payload, with the nonce and the additional data that go with it.
pub(super) struct ContentKey {
    pub(super) key: Zeroizing<[u8; KEY_BYTES]>,
    pub(super) nonce: [u8; NONCE_BYTES],
    pub(super) additional: Vec<u8>,
}

impl ContentKey {
    /// Whether all of `from`, `bytes` long with its tag, is what was encrypted with this key.
    pub(super) fn authenticate(&self, mut from: impl Read, bytes: u64) -> io::Result<bool> {
        let Some(mut left) = bytes.checked_sub(TAG_BYTES as u64) else { return Ok(false) };
        let mut mac = Mac::new(self);
        let mut buffer = vec![0; BUFFER_BYTES];
        while left > 0 {
            let count = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let piece = buffer.get_mut(..count).unwrap_or_default();
            from.read_exact(piece)?;
            mac.update(piece);
            left -= count as u64;
        }
        let mut tag = [0; TAG_BYTES];
        from.read_exact(&mut tag)?;
        Ok(bool::from(mac.tag(self).ct_eq(&tag)))
    }

    /// What was encrypted, without its tag. Read it only when [`Self::authenticate`] has said yes.
    pub(super) fn decrypt<R: Read>(&self, from: R, bytes: u64) -> Decrypting<R> {
        let from = from.take(bytes.saturating_sub(TAG_BYTES as u64));
        Decrypting { from, stream: self.stream() }
    }

    /// Encrypts all of `from`; the tag comes last.
    pub(super) fn encrypt(&self, mut from: impl Read, mut to: impl Write) -> io::Result<()> {
        let (mut mac, mut stream) = (Mac::new(self), self.stream());
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut total = 0;
        loop {
            let count = read_full(&mut from, &mut buffer)?;
            let piece = buffer.get_mut(..count).unwrap_or_default();
            total += count as u64;
            if total > PLAINTEXT_BYTES_MAX {
                return Err(io::Error::other("too long for AES-GCM"));
            }
            stream.apply_keystream(piece);
            mac.update(piece);
            to.write_all(piece)?;
            if count < BUFFER_BYTES {
                return to.write_all(&mac.tag(self));
            }
        }
    }

    /// The counter begins at 2: 1 is for the tag.
    fn stream(&self) -> Ctr32BE<Aes128> {
        Ctr32BE::new((&*self.key).into(), &self.counter(2).into())
    }

    fn counter(&self, number: u32) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let (nonce, counter) = block.split_at_mut(NONCE_BYTES);
        nonce.copy_from_slice(&self.nonce);
        counter.copy_from_slice(&number.to_be_bytes());
        block
    }
}

/// A reader that decrypts.
pub(super) struct Decrypting<R> {
    from: io::Take<R>,
    stream: Ctr32BE<Aes128>,
}

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.stream.apply_keystream(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

/// GHASH of the additional data, the ciphertext and both lengths.
struct Mac {
    hash: GHash,
    additional: u64,
    bytes: u64,
}

impl Mac {
    fn new(key: &ContentKey) -> Self {
        let mut subkey = [0; BLOCK_BYTES].into();
        Aes128::new((&*key.key).into()).encrypt_block(&mut subkey);
        let mut hash = GHash::new(&subkey);
        hash.update_padded(&key.additional);
        Self { hash, additional: key.additional.len() as u64, bytes: 0 }
    }

    /// All pieces but the last are whole blocks.
    fn update(&mut self, piece: &[u8]) {
        self.hash.update_padded(piece);
        self.bytes += piece.len() as u64;
    }

    fn tag(mut self, key: &ContentKey) -> [u8; TAG_BYTES] {
        let mut lengths = [0; BLOCK_BYTES];
        let (additional, bytes) = lengths.split_at_mut(8);
        additional.copy_from_slice(&(self.additional * 8).to_be_bytes());
        bytes.copy_from_slice(&(self.bytes * 8).to_be_bytes());
        self.hash.update(&[lengths.into()]);
        let mut mask = key.counter(1).into();
        Aes128::new((&*key.key).into()).encrypt_block(&mut mask);
        let mut tag: [u8; TAG_BYTES] = self.hash.finalize().into();
        tag.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        tag
    }
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::*;

    fn content_key(additional: &[u8]) -> ContentKey {
        let additional = additional.to_vec();
        ContentKey { key: Zeroizing::new([7; KEY_BYTES]), nonce: [9; NONCE_BYTES], additional }
    }

    /// ring did not learn it from us.
    fn rings(key: &ContentKey, plaintext: &[u8]) -> Vec<u8> {
        let ring = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &*key.key).unwrap());
        let mut sealed = plaintext.to_vec();
        let nonce = Nonce::assume_unique_for_key(key.nonce);
        ring.seal_in_place_append_tag(nonce, Aad::from(&*key.additional), &mut sealed).unwrap();
        sealed
    }

    #[test]
    fn every_length_is_encrypted_as_ring_does_and_decrypted_again() {
        let plaintext: Vec<u8> = (0..BUFFER_BYTES * 2 + 17).map(|n| (n * 31) as u8).collect();
        let near = |n: usize| (n - 17)..=(n + 17);
        for additional in [&b""[..], b"x", b"sixteen bytes !!", b"more than a block of data"] {
            let key = content_key(additional);
            for length in (0..70).chain(near(BUFFER_BYTES)).chain(near(BUFFER_BYTES * 2)) {
                let plaintext = &plaintext[..length];
                let mut sealed = vec![];
                key.encrypt(plaintext, &mut sealed).unwrap();
                assert_eq!(sealed, rings(&key, plaintext), "{length}");
                let bytes = sealed.len() as u64;
                assert!(key.authenticate(&*sealed, bytes).unwrap(), "{length}");
                let mut opened = vec![];
                key.decrypt(&*sealed, bytes).read_to_end(&mut opened).unwrap();
                assert_eq!(opened, plaintext, "{length}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_truncation_is_found() {
        let key = content_key(b"additional");
        let mut sealed = vec![];
        key.encrypt(&[5; 100][..], &mut sealed).unwrap();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                sealed[at] ^= 1 << bit;
                assert!(!key.authenticate(&*sealed, sealed.len() as u64).unwrap(), "{at} {bit}");
                sealed[at] ^= 1 << bit;
            }
            assert!(!key.authenticate(&sealed[..at], at as u64).unwrap_or(false), "{at}");
        }
        let other = content_key(b"other");
        assert!(!other.authenticate(&*sealed, sealed.len() as u64).unwrap());
    }
}
