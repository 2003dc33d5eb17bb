//! The TLS 1.2 pseudorandom function with SHA-256 (RFC 5246 section 5) and what is made with it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// Fills `out` with PRF(secret, label, seeds joined).
pub(super) fn prf(secret: &[u8], label: &str, seeds: &[&[u8]], out: &mut [u8]) {
    let keyed = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    let seeded = |mut mac: Hmac<Sha256>| {
        mac.update(label.as_bytes());
        seeds.iter().for_each(|seed| mac.update(seed));
        mac
    };
    let mut a: [u8; 32] = seeded(keyed.clone()).finalize().into_bytes().into();
    for piece in out.chunks_mut(a.len()) {
        let mut mac = keyed.clone();
        mac.update(&a);
        let mut block: [u8; 32] = seeded(mac).finalize().into_bytes().into();
        piece.iter_mut().zip(&block).for_each(|(to, from)| *to = *from);
        block.zeroize();
        let mut mac = keyed.clone();
        mac.update(&a);
        a = mac.finalize().into_bytes().into();
    }
    a.zeroize();
}

/// The master secret bound to the whole handshake (RFC 7627 section 4).
pub(super) fn extended_master_secret(premaster: &[u8], session_hash: &[u8; 32]) -> MasterSecret {
    let mut master = Zeroizing::new([0; 48]);
    prf(premaster, "extended master secret", &[session_hash], &mut *master);
    master
}

/// The master secret of RFC 5246 section 8.1, for peers without RFC 7627.
pub(super) fn master_secret(
    premaster: &[u8],
    client_random: &[u8; 32],
    server_random: &[u8; 32],
) -> MasterSecret {
    let mut master = Zeroizing::new([0; 48]);
    prf(premaster, "master secret", &[client_random, server_random], &mut *master);
    master
}

/// What a Finished says (RFC 5246 section 7.4.9).
pub(super) fn verify_data(master: &MasterSecret, label: &str, transcript: &[u8; 32]) -> [u8; 12] {
    let mut out = [0; 12];
    prf(&**master, label, &[transcript], &mut out);
    out
}

/// Erased when dropped.
pub(super) type MasterSecret = Zeroizing<[u8; 48]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_of_the_sha256_prf_holds() {
        // The vector of the IETF TLS list, 2009-07: "Test vectors for TLS 1.2 PRF".
        let secret = [
            0x9b, 0xbe, 0x43, 0x6b, 0xa9, 0x40, 0xf0, 0x17, 0xb1, 0x76, 0x52, 0x84, 0x9a, 0x71,
            0xdb, 0x35,
        ];
        let seed = [
            0xa0, 0xba, 0x9f, 0x93, 0x6c, 0xda, 0x31, 0x18, 0x27, 0xa6, 0xf7, 0x96, 0xff, 0xd5,
            0x19, 0x8c,
        ];
        let mut out = [0; 100];
        prf(&secret, "test label", &[&seed], &mut out);
        assert_eq!(out[..8], [0xe3, 0xf2, 0x29, 0xba, 0x72, 0x7b, 0xe1, 0x7b]);
        assert_eq!(out[96..], [0x87, 0x34, 0x7b, 0x66]);
    }
}
