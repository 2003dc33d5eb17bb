//! From what was transferred to the payload: decrypted, patched, unpacked, and never believed before
//! its digest.

use std::io::{Cursor, Read, Write};
use std::process::{Command, Stdio};

use ciborium::Value;
use freshen::package::{
    Algorithm, Coding, DecodeError, DecryptionKey, Digest, Encoding, EncryptionInfo, Image,
    KeyError, Recipient, Refusal, encrypt,
};
use proptest::prelude::*;

use crate::keys::Key;

fn key(n: u8) -> Key {
    Key::new(Algorithm::P256, n)
}

fn device(n: u8) -> DecryptionKey {
    DecryptionKey::from_pem(&key(n).private_pem()).unwrap()
}

fn recipients(devices: &[u8]) -> Vec<Recipient> {
    let pems: Vec<_> = devices.iter().map(|n| key(*n).public_pem()).collect();
    Recipient::from_pem(&pems).unwrap()
}

fn software(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..300_000).map(|_| next()).collect()
}

/// Another version: a few bytes changed here and there, a piece moved, a piece added.
fn next_version(old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    (0..new.len()).step_by(4_999).for_each(|at| new[at] ^= 0x55);
    new.rotate_left(70_000);
    new.splice(1_000..1_000, b"a new function".repeat(50));
    new
}

fn image(of: &[u8]) -> Image {
    Image { digest: Digest::of(of), size: of.len() as u64 }
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn patch(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut patch = vec![];
    bidiff::simple_diff(old, new, &mut patch).unwrap();
    zstd(&patch)
}

fn coding(transferred: &[u8], encryption: Option<EncryptionInfo>, encoding: Encoding) -> Coding {
    let Image { digest, size } = image(transferred);
    Coding { digest: Some(digest), size, encryption, encoding }
}

fn sealed(clear: &[u8], devices: &[u8]) -> (EncryptionInfo, Vec<u8>) {
    let mut sealed = vec![];
    let info = encrypt(&recipients(devices), clear, &mut sealed).unwrap();
    (info, sealed)
}

fn decode(
    coding: &Coding,
    image: Image,
    key: Option<&DecryptionKey>,
    transferred: &[u8],
    old: &[u8],
) -> (Result<(), DecodeError>, Vec<u8>) {
    let mut out = vec![];
    let old = &mut Cursor::new(old);
    let result = coding.decode(image, key, Cursor::new(transferred), old, &mut out);
    (result, out)
}

fn refusal(result: Result<(), DecodeError>) -> Refusal {
    match result {
        Err(DecodeError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn delta(old: &[u8]) -> Encoding {
    Encoding::Delta { precursor: Digest::of(old) }
}

#[test]
fn every_coding_gives_the_payload_back() {
    let old = software(1);
    let new = next_version(&old);
    for (clear, encoding) in [
        (new.clone(), Encoding::Identity),
        (zstd(&new), Encoding::Zstd),
        (patch(&old, &new), delta(&old)),
    ] {
        let plain = coding(&clear, None, encoding);
        let (result, out) = decode(&plain, image(&new), None, &clear, &old);
        result.unwrap();
        assert_eq!(out, new);
        let (info, sealed) = sealed(&clear, &[1, 2, 3]);
        assert_eq!(sealed.len(), clear.len() + 16);
        assert!(!sealed.windows(16).any(|window| clear.starts_with(window)), "it cannot be read");
        let coding = coding(&sealed, Some(info), encoding);
        for n in [1, 2, 3] {
            let (result, out) = decode(&coding, image(&new), Some(&device(n)), &sealed, &old);
            result.unwrap();
            assert_eq!(out, new);
        }
    }
}

#[test]
fn only_those_it_is_for_can_read_it() {
    let clear = software(1);
    let (info, sealed) = sealed(&clear, &[1, 2]);
    let coding = coding(&sealed, Some(info), Encoding::Identity);
    let (result, out) = decode(&coding, image(&clear), Some(&device(3)), &sealed, &[]);
    assert_eq!((refusal(result), out), (Refusal::NotEncryptedForUs, vec![]));
    let (result, out) = decode(&coding, image(&clear), None, &sealed, &[]);
    assert_eq!((refusal(result), out), (Refusal::NoDecryptionKey, vec![]));
}

#[test]
fn nothing_is_decrypted_before_all_of_it_is_authentic() {
    let clear = software(1)[..1000].to_vec();
    let (info, sealed) = sealed(&clear, &[1]);
    let coding = coding(&sealed, Some(info), Encoding::Identity);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let (result, out) = decode(&coding, image(&clear), Some(&device(1)), &changed, &[]);
        assert_eq!(refusal(result), Refusal::Digest { of: "an encrypted payload" });
        assert_eq!(out, b"", "byte {at}");
    }
    let (result, out) = decode(&coding, image(&clear), Some(&device(1)), &sealed[..500], &[]);
    assert!(matches!(result, Err(DecodeError::Input(_))));
    assert_eq!(out, b"");
}

#[test]
fn what_comes_out_has_the_signed_length_and_digest() {
    let old = software(1);
    let new = next_version(&old);
    let patch = patch(&old, &new);
    for (transferred, encoding) in [
        (new.clone(), Encoding::Identity),
        (zstd(&new), Encoding::Zstd),
        (patch.clone(), delta(&old)),
    ] {
        let coding = coding(&transferred, None, encoding);
        let whole = image(&new);
        let attempt = |image| refusal(decode(&coding, image, None, &transferred, &old).0);
        let longer = Image { size: whole.size + 1, ..whole };
        assert_eq!(attempt(longer), Refusal::Coding("is shorter than signed"));
        let shorter = Image { size: whole.size - 1, ..whole };
        assert_eq!(attempt(shorter), Refusal::Coding("is longer than signed"));
        let other = Image { digest: Digest([0; 32]), ..whole };
        assert_eq!(attempt(other), Refusal::Digest { of: "an unpacked payload" });
    }
    // The wrong precursor gives the wrong result, and nobody takes it for the right one.
    let coding = coding(&patch, None, delta(&old));
    let (result, _) = decode(&coding, image(&new), None, &patch, &software(2));
    assert_eq!(refusal(result), Refusal::Digest { of: "an unpacked payload" });
}

#[test]
fn a_bomb_writes_no_more_than_was_signed() {
    let bomb = zstd(&vec![0; 64 << 20]);
    assert!(bomb.len() < 16 * 1024);
    for encoding in [Encoding::Zstd, delta(b"")] {
        let coding = coding(&bomb, None, encoding);
        let small = Image { digest: Digest([0; 32]), size: 1000 };
        let (result, out) = decode(&coding, small, None, &bomb, b"");
        refusal(result);
        assert!(out.len() <= 1000, "{}", out.len());
    }
    // A patch that does nothing for ever: no bytes to add, none to copy, no way to go.
    let mut nothing = vec![0xdf, 0xb1, 0, 0, 0, 0x10, 0, 0];
    nothing.resize(256 << 20, 0);
    let endless = zstd(&nothing);
    let coding = coding(&endless, None, delta(b""));
    let small = Image { digest: Digest::of(b""), size: 1 };
    refusal(decode(&coding, small, None, &endless, b"").0);
}

/// Lengths of more than 32 bits: a payload of 4 GiB and a byte, compressed and encrypted.
#[test]
fn more_than_four_gibibytes_are_counted_to_their_end() {
    const BYTES: u64 = (1 << 32) + 1;
    let mut zstd = zstd::Encoder::new(vec![], 1).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(BYTES), &mut zstd).unwrap();
    let clear = zstd.finish().unwrap();
    let (info, sealed) = sealed(&clear, &[1]);
    let coding = coding(&sealed, Some(info), Encoding::Zstd);
    // What fits into 32 bits of it is one byte.
    let image = Image { digest: Digest::of(&[0]), size: BYTES };
    let mut count = Counting(0);
    let result = coding.decode(
        image,
        Some(&device(1)),
        Cursor::new(&sealed),
        &mut Cursor::new(b""),
        &mut count,
    );
    assert_eq!(refusal(result), Refusal::Digest { of: "an unpacked payload" });
    assert_eq!(count.0, BYTES);
}

struct Counting(u64);

impl Write for Counting {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_window_larger_than_the_limit_is_refused() {
    let mut encoder = zstd::Encoder::new(vec![], 1).unwrap();
    encoder.window_log(25).unwrap();
    encoder.write_all(&software(1)).unwrap();
    let wide = encoder.finish().unwrap();
    let coding = coding(&wide, None, Encoding::Zstd);
    let (result, _) = decode(&coding, image(&software(1)), None, &wide, &[]);
    assert_eq!(refusal(result), Refusal::Coding("cannot be read"));
}

proptest! {
    /// Whatever a patch says: an end, no panic, no wrong image, and no more bytes than signed.
    #[test]
    fn hostile_patches_end(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        old in proptest::collection::vec(any::<u8>(), 0..200),
        whole in any::<bool>(),
    ) {
        let head = [0xdf, 0xb1, 0, 0, 0, 0x10, 0, 0];
        let patch = if whole { [&head[..], &body].concat() } else { body };
        let transferred = zstd(&patch);
        let wanted = Image { digest: Digest([0; 32]), size: 300 };
        let (result, out) =
            decode(&coding(&transferred, None, delta(&old)), wanted, None, &transferred, &old);
        prop_assert!(result.is_err());
        prop_assert!(out.len() <= 300);
    }
}

#[test]
fn honest_patches_damaged_anywhere_give_nothing_wrong() {
    let old = software(1)[..20_000].to_vec();
    let mut new = old.clone();
    new.splice(100..200, *b"changed");
    let mut patch = vec![];
    bidiff::simple_diff(&old, &new, &mut patch).unwrap();
    let mut accepted = 0;
    for at in (0..patch.len()).step_by(7) {
        for bit in 0..8 {
            let mut changed = patch.clone();
            changed[at] ^= 1 << bit;
            let transferred = zstd(&changed);
            let coding = coding(&transferred, None, delta(&old));
            let (result, out) = decode(&coding, image(&new), None, &transferred, &old);
            if result.is_ok() {
                assert_eq!(out, new);
                accepted += 1;
            }
        }
    }
    // The last jump of a patch leads nowhere, so its bits are free.
    assert!(accepted <= 8, "{accepted}");
}

#[test]
fn keys_that_cannot_be_used_are_told_apart() {
    let ed25519 = Key::new(Algorithm::Ed25519, 1);
    let for_ed25519 = Recipient::from_pem(&[ed25519.public_pem()]);
    assert_eq!(for_ed25519.unwrap_err(), KeyError::NotForEncryption);
    assert_eq!(Recipient::from_pem(&["x"]).unwrap_err(), KeyError::NoPublicKey);
    let private = Recipient::from_pem(&[key(1).private_pem()]);
    assert_eq!(private.unwrap_err(), KeyError::PrivateNotPublic);
    for pem in [ed25519.private_pem(), key(1).public_pem(), "x".into()] {
        assert_eq!(DecryptionKey::from_pem(&pem).unwrap_err(), KeyError::NoDecryptionKey);
    }
    let many: Vec<_> = (1..=65).map(|n| key(n).public_pem()).collect();
    assert_eq!(Recipient::from_pem(&many).unwrap_err(), KeyError::TooManyRecipients);
    assert_eq!(Recipient::from_pem(&many[..64]).unwrap().len(), 64);
    assert_eq!(format!("{:?}", device(1)), "DecryptionKey", "it does not print itself");
}

/// Python's cbor2 and cryptography, in words that `encryption.py` understands.
fn foreign(input: &serde_json::Value) -> serde_json::Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packages/encryption.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success());
    serde_json::from_str(&output).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len() / 2).map(|n| u8::from_str_radix(&text[n * 2..n * 2 + 2], 16).unwrap()).collect()
}

/// Others call keys what they like.
#[test]
fn a_key_under_a_name_of_somebody_elses_is_found() {
    let clear = software(1);
    let (info, sealed) = sealed(&clear, &[1, 2]);
    let Value::Tag(tag, mut parts) = ciborium::from_reader(info.encoded()).unwrap() else {
        panic!()
    };
    for recipient in parts.as_array_mut().unwrap()[3].as_array_mut().unwrap() {
        let header = recipient.as_array_mut().unwrap()[1].as_map_mut().unwrap();
        header[0].1 = Value::Bytes(b"kid-2".to_vec());
    }
    let mut renamed = vec![];
    ciborium::into_writer(&Value::Tag(tag, parts), &mut renamed).unwrap();
    let info = EncryptionInfo::read(&renamed).unwrap();
    let coding = coding(&sealed, Some(info), Encoding::Identity);
    let (result, out) = decode(&coding, image(&clear), Some(&device(2)), &sealed, &[]);
    result.unwrap();
    assert_eq!(out, clear);
    let (result, _) = decode(&coding, image(&clear), Some(&device(3)), &sealed, &[]);
    assert_eq!(refusal(result), Refusal::NotEncryptedForUs, "the control");
}

#[test]
fn another_implementation_reads_what_we_encrypt() {
    let clear = software(1);
    let (info, sealed) = sealed(&clear, &[1, 2, 3]);
    let answer = foreign(&serde_json::json!({
        "do": "decrypt", "key": key(2).private_pem(), "info": hex(info.encoded()),
        "sealed": hex(&sealed),
    }));
    assert_eq!(Digest::of(&unhex(&answer["clear"])), Digest::of(&clear));
}

#[test]
fn we_read_what_another_implementation_encrypts() {
    let clear = software(2);
    for (with_id, devices) in [(true, &[1, 2][..]), (false, &[1, 2]), (false, &[2])] {
        let keys: Vec<_> = devices.iter().map(|n| key(*n).public_pem()).collect();
        let answer = foreign(&serde_json::json!({
            "do": "encrypt", "keys": keys, "clear": hex(&clear), "with_id": with_id,
        }));
        let sealed = unhex(&answer["sealed"]);
        let info = EncryptionInfo::read(&unhex(&answer["info"])).unwrap();
        let coding = coding(&sealed, Some(info), Encoding::Identity);
        let (result, out) = decode(&coding, image(&clear), Some(&device(2)), &sealed, &[]);
        result.unwrap();
        assert_eq!(out, clear);
    }
}
