//! The same envelopes read by other people's programs: `dress-up` executes the manifest,
//! `suit_validator` decodes it with `cose_minicbor` checking the signature, and RustCrypto checks
//! signatures that ring made.
//!
//! Where they disagree with us, the disagreement has a name and a reason here.
//! `docs/conformance-package.md` tells it to people.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cose_minicbor::cose_keys::{CoseAlg, CoseKey, CoseKeySetBuilder, Curve, KeyType};
use coset::{CoseSign1, TaggedCborSerializable};
use dress_up::component::Component;
use dress_up::error::Error;
use dress_up::{OperatingHooks, SuitManifest as DressUp};
use freshen::package::{Identity, Refusal, Source};
use generic_array::typenum::U64;
use p256::ecdsa::signature::Verifier as _;
use suit_validator::crypto::CoseCrypto;
use suit_validator::handler::{PairView, SuitCommandHandler, SuitStartHandler};
use suit_validator::suit_manifest::{
    CommandCustomValue, DigestOrCbor, SuitCondition, SuitDirective, SuitEnvelope, SuitManifest,
};
use suit_validator::{SuitError, suit_decode};
use uuid::Uuid;

use crate::corpus::{Good, corpus};
use crate::draft::PAYLOAD;
use crate::keys::Key;

// ---- Signatures: RustCrypto checks what ring made, ring checks what RustCrypto made ----

/// Whether this COSE_Sign1 over this payload was made by this key, by RustCrypto's opinion.
fn second_opinion(key: &Key, sign1: &[u8], payload: &[u8]) -> bool {
    CoseSign1::from_tagged_slice(sign1).is_ok_and(|sign1| {
        sign1
            .verify_detached_signature(payload, &[], |signature, message| match key {
                Key::P256(key) => {
                    let key = p256::ecdsa::VerifyingKey::from(key.public_key());
                    let signature =
                        p256::ecdsa::Signature::from_slice(signature).map_err(|_| ())?;
                    key.verify(message, &signature).map_err(|_| ())
                }
                Key::Ed25519(key) => {
                    let signature =
                        ed25519_dalek::Signature::from_slice(signature).map_err(|_| ())?;
                    key.verifying_key().verify_strict(message, &signature).map_err(|_| ())
                }
            })
            .is_ok()
    })
}

#[test]
fn rustcrypto_verifies_every_signature_in_the_corpus() {
    for good in corpus() {
        let seen = RefCell::new(0);
        let verdict = DressUp::from_bytes(&good.envelope).authenticate(|sign1, payload| {
            *seen.borrow_mut() += 1;
            Ok(second_opinion(&good.key, sign1, payload))
        });
        assert!(verdict.is_ok() && seen.into_inner() == 1, "{}", good.name);
        // And it is an opinion: another key did not make them.
        let stranger = Key::new(good.key.ours().algorithm(), 99);
        let verdict = DressUp::from_bytes(&good.envelope)
            .authenticate(|sign1, payload| Ok(second_opinion(&stranger, sign1, payload)));
        assert!(verdict.is_err(), "{}", good.name);
    }
}

// ---- dress-up: what does executing the manifest do? ----

/// A device on which dress-up runs. What it fetches is what we say is there.
struct Device {
    identity: Identity,
    /// Component path and URI, in the order of fetching.
    fetched: RefCell<Vec<(String, String)>>,
}

impl OperatingHooks for Device {
    type ReadWriteBufferSize = U64;

    fn match_vendor_id(&self, vendor: Uuid, _: &Component) -> Result<bool, Error> {
        Ok(vendor == self.identity.vendor)
    }

    fn match_class_id(&self, class: Uuid, _: &Component) -> Result<bool, Error> {
        Ok(class == self.identity.class)
    }

    fn fetch(&self, component: &Component, _: Option<u64>, uri: &str) -> Result<(), Error> {
        self.fetched.borrow_mut().push((path(component)?, uri.to_owned()));
        Ok(())
    }

    fn component_read(
        &self,
        _: &Component,
        _: Option<u64>,
        offset: usize,
        bytes: &mut [u8],
    ) -> Result<(), Error> {
        bytes.copy_from_slice(&PAYLOAD[offset..offset + bytes.len()]);
        Ok(())
    }

    fn component_write(
        &self,
        _: &Component,
        _: Option<u64>,
        _: usize,
        _: &[u8],
    ) -> Result<(), Error> {
        panic!("no manifest here writes")
    }

    fn component_size(&self, _: &Component) -> Result<usize, Error> {
        Ok(PAYLOAD.len())
    }

    fn component_capacity(&self, _: &Component) -> Result<usize, Error> {
        Ok(usize::MAX)
    }
}

fn path(component: &Component) -> Result<String, Error> {
    let mut path = Default::default();
    component.as_string::<256>(&mut path, "/")?;
    // As we show what is no text.
    Ok(path.as_str().replace('\0', "h'00'"))
}

/// Authenticates and executes; gives what was fetched into which component.
fn dress_up(good: &Good) -> Result<Vec<(String, String)>, Error> {
    let device = Device { identity: good.identity, fetched: RefCell::default() };
    let manifest = DressUp::from_bytes(&good.envelope)
        .authenticate(|sign1, payload| Ok(second_opinion(&good.key, sign1, payload)))?;
    let (envelope, ours) = (manifest.envelope()?, good.verify(&good.envelope).unwrap());
    assert_eq!(envelope.manifest()?.sequence_number()?, ours.sequence, "{}", good.name);
    envelope.manifest()?.execute_full(&device)?;
    let mut fetched = device.fetched.into_inner();
    fetched.sort();
    Ok(fetched)
}

/// What we would fetch.
fn ours(good: &Good) -> Vec<(String, String)> {
    let manifest = good.verify(&good.envelope).unwrap();
    let mut fetched: Vec<_> = manifest
        .components
        .iter()
        .enumerate()
        .map(|(index, component)| {
            let uri = match &component.source {
                Source::Uri(uri) => uri.clone(),
                Source::Ways(ways) => ways[0].uri.clone(),
                Source::Integrated(_) if good.name.contains("any URI") => "app.bin".to_owned(),
                Source::Integrated(_) if good.name.contains("severed") => "app.bin".to_owned(),
                Source::Integrated(_) => format!("#{index}"),
            };
            (component.id.join("/"), uri)
        })
        .collect();
    fetched.sort();
    fetched
}

/// What dress-up 0.1.1 does not do: the end of an envelope's name, and its verdict.
const DRESS_UP_DISAGREES: [(&str, &str); 14] = [
    // "No severables": the member's digest is where it wants a byte string.
    ("severed install", "UnexpectedCbor"),
    ("severed install and text", "UnexpectedCbor"),
    ("severed payload-fetch and install", "UnexpectedCbor"),
    ("integrated and severed", "UnexpectedCbor"),
    // Our private parameters are private.
    (", tar", "UnsupportedParameter { parameter: -256 }"),
    (", zstd", "UnsupportedParameter { parameter: -256 }"),
    // Extensions that it does not know.
    (", conditions", "UnsupportedParameter { parameter: 28 }"),
    (", encrypted", "UnsupportedParameter { parameter: 19 }"),
    ("encrypted as the draft has it", "UnsupportedParameter { parameter: 19 }"),
    (", delta", "UnsupportedParameter { parameter: -258 }"),
    ("encrypted delta beside a plain component", "UnsupportedParameter { parameter: 19 }"),
    // It runs the sequence, and does not know what is in it.
    ("hand-made, invoke", "UnsupportedCommand { command: 23 }"),
    // Conditions it does not know end in `todo!()`.
    (", use-before", "panicked"),
    (", everything", "panicked"),
];

#[test]
fn dress_up_executes_the_corpus_to_the_same_effect() {
    compare(&DRESS_UP_DISAGREES, |good| match catch_unwind(AssertUnwindSafe(|| dress_up(good))) {
        Ok(Ok(fetched)) if fetched == ours(good) => "as we do".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(_) => "panicked".to_owned(),
    });
}

/// Another program agrees on every envelope of the corpus, except where it is known not to.
fn compare(known: &[(&str, &str)], verdict: impl Fn(&Good) -> String) {
    let mut met = BTreeSet::new();
    let mut agreed = 0;
    for good in corpus() {
        let verdict = verdict(&good);
        match known.iter().find(|(name, _)| good.name.ends_with(name)) {
            Some((name, expected)) => {
                assert!(verdict.contains(expected), "{}: {verdict}", good.name);
                met.insert(*name);
            }
            None => {
                assert_eq!(verdict, "as we do", "{}", good.name);
                agreed += 1;
            }
        }
    }
    assert_eq!(met.len(), known.len(), "a disagreement is over: {met:?}");
    println!("agrees on {agreed} envelopes");
    assert!(agreed >= 35, "{agreed}");
}

// ---- suit_validator ----

struct Decoder;

impl SuitStartHandler for Decoder {
    fn on_envelope<'a>(&mut self, envelope: SuitEnvelope<'a>) -> Result<(), SuitError> {
        let manifest = envelope.manifest.get()?;
        manifest.common.get()?.components.get()?.try_for_each(|id| id.map(|_| ()))?;
        if let Some(validate) = manifest.validate {
            validate.get()?.decode_and_dispatch(&mut Commands)?;
        }
        for member in [manifest.payload_fetch, manifest.install].into_iter().flatten() {
            if let DigestOrCbor::Cbor(sequence) = member {
                sequence.get()?.decode_and_dispatch(&mut Commands)?;
            }
        }
        Ok(())
    }

    fn on_manifest<'a>(&mut self, _: SuitManifest<'a>) -> Result<(), SuitError> {
        panic!("these are envelopes")
    }
}

struct Commands;

impl SuitCommandHandler for Commands {
    fn on_conditions<'a>(
        &mut self,
        mut conditions: impl Iterator<Item = PairView<'a, SuitCondition>>,
    ) -> Result<(), SuitError> {
        conditions.try_for_each(|condition| condition.get().map(|_| ()))
    }

    fn on_directives<'a>(
        &mut self,
        mut directives: impl Iterator<Item = PairView<'a, SuitDirective<'a>>>,
    ) -> Result<(), SuitError> {
        directives.try_for_each(|directive| directive.get().map(|_| ()))
    }

    fn on_customs<'a>(
        &mut self,
        mut customs: impl Iterator<Item = PairView<'a, CommandCustomValue<'a>>>,
    ) -> Result<(), SuitError> {
        assert!(customs.next().is_none(), "no manifest here has custom commands");
        Ok(())
    }
}

/// Decodes, and checks the signature with cose_minicbor.
fn suit_validator(good: &Good, envelope: &[u8]) -> Result<(), String> {
    let public = match &good.key {
        Key::P256(key) => key.public_key().to_sec1_bytes().to_vec(),
        Key::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
    };
    let key = match &good.key {
        Key::P256(_) => {
            let mut key = CoseKey::new(KeyType::Ec2);
            key.alg(CoseAlg::ES256);
            key.crv(Curve::P256).unwrap();
            key.x(&public[1..33]).unwrap();
            key.y(&public[33..65]).unwrap();
            key
        }
        Key::Ed25519(_) => {
            let mut key = CoseKey::new(KeyType::Okp);
            key.alg(CoseAlg::ED25519);
            key.crv(Curve::Ed25519).unwrap();
            key.x(&public).unwrap();
            key
        }
    };
    let mut keys = CoseKeySetBuilder::<256>::try_new().unwrap();
    keys.push_key(key).unwrap();
    let keys = keys.into_bytes().unwrap();
    suit_decode(envelope, &mut Decoder, &mut CoseCrypto::new(&keys))
        .map_err(|error| format!("{error:?}"))
}

/// What suit_validator 0.1.3 with cose_minicbor 0.1.1 does not do.
const SUIT_VALIDATOR_DISAGREES: [(&str, &str); 10] = [
    // Envelope keys have to be numbers, so integrated payloads end the decoding.
    (", integrated", "TypeMismatch(String)"),
    ("three integrated", "TypeMismatch(String)"),
    (", everything", "TypeMismatch(String)"),
    ("integrated under any URI", "TypeMismatch(String)"),
    ("integrated and severed", "TypeMismatch(String)"),
    // At most 20 commands in a sequence.
    ("sixteen components", "OutOfSpace(20)"),
    ("eight components", "OutOfSpace(20)"),
    // It knows -19 and not -8 for Ed25519.
    ("hand-made, EdDSA", "CoseError"),
    // It looks for a key of that name only.
    ("a named key", "UnvalidKeySet"),
    ("a key named outside", "UnvalidKeySet"),
];

#[test]
fn suit_validator_accepts_the_corpus() {
    compare(&SUIT_VALIDATOR_DISAGREES, |good| match suit_validator(good, &good.envelope) {
        Ok(()) => "as we do".to_owned(),
        Err(verdict) => verdict,
    });
}

/// Why neither of them can be our oracle for these: negatives.rs has them made by hand.
#[test]
fn both_accept_trailing_bytes_and_we_do_not() {
    let corpus = corpus();
    let good = corpus.iter().find(|good| good.name == "hand-made, ES256").unwrap();
    let longer = [&good.envelope[..], &[0]].concat();
    assert!(good.verify(&longer).is_err());
    suit_validator(good, &longer).unwrap();
    DressUp::from_bytes(&longer).authenticate(|s, p| Ok(second_opinion(&good.key, s, p))).unwrap();
}

#[test]
fn both_refuse_a_stranger_as_we_do() {
    for good in corpus() {
        let key = Key::new(good.key.ours().algorithm(), 99);
        let stranger = Good { key, ..good };
        assert_eq!(stranger.verify(&stranger.envelope), Err(Refusal::Signature));
        assert!(suit_validator(&stranger, &stranger.envelope).is_err(), "{}", stranger.name);
    }
}
