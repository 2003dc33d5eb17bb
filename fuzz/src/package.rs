//! What the fuzz target of the package room does with its input. `cargo test` compiles and runs it too.

use freshen::package::{Identity, Trust, inspect, verify};
use sha2::{Digest as _, Sha256};

/// The input as an envelope, and as the manifest of one whose digest is right, so that what is behind
/// the digest is reached. No panic, the same answer each time, and nobody believes it.
pub fn envelopes(input: &[u8]) {
    let identity = Identity::new("example.com", "cam-1");
    for envelope in [input.to_vec(), around(input)] {
        let seen = inspect(&envelope);
        assert_eq!(seen, inspect(&envelope), "the same each time");
        assert!(verify(&envelope, &Trust::default(), &identity).is_err(), "nobody has signed it");
    }
}

/// An envelope with this manifest: its digest is right, its signature is anything.
fn around(manifest: &[u8]) -> Vec<u8> {
    // The digest is over the manifest in its byte string (draft-ietf-suit-manifest section 8.3).
    let wrapped = bytes(manifest);
    let mut digest = vec![0x82, 0x2f];
    digest.extend(bytes(&Sha256::digest(&wrapped)));
    let signature = [&[0xd2, 0x84, 0x43, 0xa1, 0x01, 0x26, 0xa0, 0xf6][..], &bytes(&[7; 64])];
    let mut wrapper = vec![0x82];
    wrapper.extend(bytes(&digest));
    wrapper.extend(bytes(&signature.concat()));
    let mut envelope = vec![0xd8, 0x6b, 0xa2, 0x02];
    envelope.extend(bytes(&wrapper));
    envelope.push(0x03);
    envelope.extend(wrapped);
    envelope
}

/// A byte string of CBOR, its length in the shortest form.
fn bytes(content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = match length {
        0..24 => vec![0x40 | length as u8],
        24..256 => vec![0x58, length as u8],
        256..65536 => [&[0x59][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[0x5a][..], &(length as u32).to_be_bytes()].concat(),
    };
    out.extend(content);
    out
}
