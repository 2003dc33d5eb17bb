//! Thresholds, and trust sets that follow each other: rotation, revocation, and what thieves try.

use chrono::DateTime;
use freshen::package::{
    Algorithm, Refusal, TRUST_SET_BYTES_MAX, Trust, TrustSet, add_signature, sign_trust_set,
    verify, verify_trust_set,
};

use crate::corpus::descriptions;
use crate::draft::identity;
use crate::keys::Key;

/// Key n: both kinds take turns.
fn key(n: u8) -> Key {
    Key::new(if n.is_multiple_of(2) { Algorithm::P256 } else { Algorithm::Ed25519 }, n)
}

fn trust(keys: &[u8], threshold: usize) -> Trust {
    let pems: Vec<_> = keys.iter().map(|n| key(*n).public_pem()).collect();
    Trust::from_pem(&pems).unwrap().with_threshold(threshold).unwrap()
}

fn set(version: u64, roots: Trust, packages: Trust) -> TrustSet {
    let expires = DateTime::from_timestamp(4_000_000_000, 0);
    TrustSet { version, expires, epoch: 0, roots, packages }
}

fn signed(set: &TrustSet, keys: &[u8]) -> Vec<u8> {
    keys.iter()
        .fold(set.document(), |document, n| sign_trust_set(&document, &key(*n).ours()).unwrap())
}

/// Two of three root keys, one of two package keys.
fn first() -> TrustSet {
    set(1, trust(&[1, 2, 3], 2), trust(&[11, 12], 1))
}

#[test]
fn a_document_is_read_as_it_was_written() {
    for set in [first(), TrustSet { expires: None, ..first() }] {
        assert_eq!(TrustSet::read(&set.document()).unwrap(), set);
        assert_eq!(TrustSet::read(&signed(&set, &[1, 2])).unwrap(), set);
    }
}

#[test]
fn the_configured_key_hands_over_to_the_first_document() {
    let configured = TrustSet::configured(trust(&[7], 1));
    let document = signed(&first(), &[7, 1, 2]);
    assert_eq!(*verify_trust_set(&document, &configured).unwrap(), first());
    // Not without the configured key, and not without the new ones.
    let verdict = |keys: &[u8]| verify_trust_set(&signed(&first(), keys), &configured).unwrap_err();
    assert_eq!(verdict(&[]), Refusal::NotSigned);
    assert_eq!(verdict(&[1, 2]), Refusal::Signature);
    assert_eq!(verdict(&[7]), Refusal::Signature);
    assert_eq!(verdict(&[7, 1]), Refusal::TooFewSignatures { made: 1, needed: 2 });
}

#[test]
fn root_keys_rotate_with_the_consent_of_old_and_new() {
    let second = set(2, trust(&[3, 4], 2), trust(&[13], 1));
    let accepted = signed(&second, &[2, 3, 4]);
    assert_eq!(*verify_trust_set(&accepted, &first()).unwrap(), second);
    let verdict = |keys: &[u8]| verify_trust_set(&signed(&second, keys), &first()).unwrap_err();
    // One stolen root key is not enough, nor is the same one twice, nor are the new keys alone.
    assert_eq!(verdict(&[3]), Refusal::TooFewSignatures { made: 1, needed: 2 });
    assert_eq!(verdict(&[3, 3, 3]), Refusal::TooFewSignatures { made: 1, needed: 2 });
    assert_eq!(verdict(&[3, 4]), Refusal::TooFewSignatures { made: 1, needed: 2 });
    assert_eq!(verdict(&[1, 2]), Refusal::Signature);
    // Package keys cannot appoint anybody.
    assert_eq!(verdict(&[11, 12]), Refusal::Signature);
}

#[test]
fn documents_come_one_after_the_other() {
    for version in [0, 1, 3, u64::MAX] {
        let document = signed(&set(version, trust(&[1, 2, 3], 2), trust(&[11], 1)), &[1, 2]);
        let refusal = Refusal::TrustVersion { expected: 2, found: version };
        assert_eq!(verify_trust_set(&document, &first()).unwrap_err(), refusal);
    }
}

#[test]
fn a_revoked_key_signs_no_packages_any_more() {
    let description = &descriptions()[0].1;
    let envelope = description.sign(&key(12).ours()).unwrap();
    verify(&envelope, &first().packages, &identity()).unwrap();
    let second = set(2, first().roots, trust(&[11], 1));
    let second = verify_trust_set(&signed(&second, &[1, 3]), &first()).unwrap();
    assert_eq!(verify(&envelope, &second.packages, &identity()), Err(Refusal::Signature));
}

#[test]
fn an_epoch_grows_only_where_all_package_keys_are_new() {
    let next = |epoch, keys: &[u8]| TrustSet { epoch, ..set(2, first().roots, trust(keys, 1)) };
    let taken = |from: &TrustSet, set: TrustSet| {
        verify_trust_set(&signed(&set, &[1, 2]), from).map(|taken| taken.epoch)
    };
    assert_eq!(taken(&first(), next(1, &[13])), Ok(1));
    assert_eq!(taken(&first(), next(7, &[13, 14])), Ok(7));
    assert_eq!(taken(&first(), next(1, &[11, 13])), Err(Refusal::TrustEpoch));
    let later = TrustSet { epoch: 2, ..first() };
    assert_eq!(taken(&later, next(2, &[11])), Ok(2));
    assert_eq!(taken(&later, next(1, &[13])), Err(Refusal::TrustEpoch));
}

#[test]
fn root_keys_sign_no_packages() {
    let envelope = descriptions()[0].1.sign(&key(1).ours()).unwrap();
    assert_eq!(verify(&envelope, &first().packages, &identity()), Err(Refusal::Signature));
}

#[test]
fn a_package_that_needs_two_signatures_gets_them_one_by_one() {
    let two_of_three = trust(&[11, 12, 13], 2);
    for (_, description) in descriptions() {
        let once = description.sign(&key(11).ours()).unwrap();
        let verify = |envelope: &[u8]| verify(envelope, &two_of_three, &identity());
        let too_few = Err(Refusal::TooFewSignatures { made: 1, needed: 2 });
        assert_eq!(verify(&once), too_few);
        assert_eq!(verify(&add_signature(&once, &key(11).ours()).unwrap()), too_few);
        assert_eq!(verify(&add_signature(&once, &key(14).ours()).unwrap()), too_few);
        let twice = add_signature(&once, &key(12).ours()).unwrap();
        assert_eq!(verify(&twice).unwrap().components, description.components);
    }
}

#[test]
fn a_ninth_signature_is_not_added() {
    let eight = (2..=8).fold(descriptions()[0].1.sign(&key(1).ours()).unwrap(), |envelope, n| {
        add_signature(&envelope, &key(n).ours()).unwrap()
    });
    add_signature(&eight, &key(9).ours()).unwrap_err();
    let eight = signed(&first(), &[1, 2, 3, 4, 5, 6, 7, 8]);
    sign_trust_set(&eight, &key(9).ours()).unwrap_err();
}

#[test]
fn a_key_that_has_signed_signs_no_second_time() {
    let once = descriptions()[0].1.sign(&key(1).ours()).unwrap();
    assert_eq!(add_signature(&once, &key(1).ours()).unwrap(), once);
    assert_ne!(add_signature(&once, &key(2).ours()).unwrap(), once, "the control");
    let once = signed(&first(), &[1]);
    assert_eq!(sign_trust_set(&once, &key(1).ours()).unwrap(), once);
    assert_ne!(sign_trust_set(&once, &key(2).ours()).unwrap(), once, "the control");
}

#[test]
fn thresholds_are_between_one_and_all() {
    for threshold in [0, 3, usize::MAX] {
        let keys = [key(1).public_pem(), key(2).public_pem()];
        Trust::from_pem(&keys).unwrap().with_threshold(threshold).unwrap_err();
    }
}

#[test]
fn nobody_is_believed_by_default() {
    let envelope = descriptions()[0].1.sign(&key(1).ours()).unwrap();
    assert_eq!(verify(&envelope, &Trust::default(), &identity()), Err(Refusal::Signature));
    let document = signed(&first(), &[1, 2]);
    let nobody = TrustSet::configured(Trust::default());
    assert_eq!(verify_trust_set(&document, &nobody), Err(Refusal::Signature));
}

#[test]
fn every_flipped_bit_and_truncation_of_a_trust_set_is_refused() {
    let configured = TrustSet::configured(trust(&[1, 2], 2));
    let good = signed(&first(), &[1, 2]);
    verify_trust_set(&good, &configured).unwrap();
    let mut document = good.clone();
    for at in 0..document.len() {
        for bit in 0..8 {
            document[at] ^= 1 << bit;
            assert!(verify_trust_set(&document, &configured).is_err(), "bit {bit} of byte {at}");
            document[at] ^= 1 << bit;
        }
        assert!(verify_trust_set(&good[..at], &configured).is_err(), "{at} bytes");
    }
    document.push(0);
    assert!(verify_trust_set(&document, &configured).is_err(), "a byte at the end");
    let huge = vec![0; TRUST_SET_BYTES_MAX + 1];
    let limit = Refusal::OverLimit { what: "bytes of trust set", limit: 8 * 1024 };
    assert_eq!(verify_trust_set(&huge, &configured), Err(limit));
}

/// A signature on one kind of document is none on the other, whatever the bytes.
#[test]
fn a_signature_on_a_package_is_none_on_a_trust_set() {
    use crate::draft::{array, bytes, encode, sign1};
    use crate::keys::ED25519;
    let body = {
        let ciborium::Value::Array(parts) =
            ciborium::from_reader::<ciborium::Value, _>(&first().document()[..]).unwrap()
        else {
            panic!()
        };
        parts[0].as_bytes().unwrap().clone()
    };
    // Made as SUIT makes them: without additional data.
    let signature = sign1(&key(1), ED25519, &body);
    let document = encode(&array([bytes(&body), array([bytes(signature)])]));
    TrustSet::read(&document).unwrap();
    let configured = TrustSet::configured(trust(&[1], 1));
    assert_eq!(verify_trust_set(&document, &configured), Err(Refusal::Signature));
}
