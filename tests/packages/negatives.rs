//! Envelopes that are wrong in one way each, and properly signed wherever that is possible: what
//! no bit flip reaches, because the signature would catch it first.

use ciborium::Value;
use freshen::package::{Algorithm, ENVELOPE_BYTES_MAX, Fault, Refusal, is_opaque, verify};

use crate::draft::{
    Draft, FETCH, INSTALL, OVERRIDE, PAYLOAD, TEXT, VALIDATE, array, bytes, commands, digest,
    encode, identity, int, map, sign1, sign1_with, tag, text, wrapped,
};
use crate::keys::{ED25519, ES256, ESP256, Key};

fn key() -> Key {
    Key::new(Algorithm::Ed25519, 7)
}

fn refusal_of(envelope: &[u8]) -> Refusal {
    verify(envelope, &key().trust(), &identity()).expect_err("it is refused")
}

/// The refusal of a draft that the right key signed.
fn refusal(draft: &Draft) -> Refusal {
    refusal_of(&draft.sign(&[(&key(), ED25519)]))
}

fn malformed(part: &'static str, fault: Fault) -> Refusal {
    Refusal::Malformed { part, fault }
}

fn unsupported(part: &'static str, what: &'static str, code: i64) -> Refusal {
    Refusal::Unsupported { part, what, code }
}

/// Replaces the only occurrence of these bytes.
fn patched(envelope: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<_> =
        (0..envelope.len()).filter(|at| envelope[*at..].starts_with(old)).collect();
    let [at] = places[..] else { panic!("{} occurrences", places.len()) };
    [&envelope[..at], new, &envelope[at + old.len()..]].concat()
}

#[test]
fn the_draft_itself_is_accepted() {
    verify(&Draft::new().sign(&[(&key(), ED25519)]), &key().trust(), &identity()).unwrap();
}

// ---- The envelope ----

#[test]
fn what_is_no_envelope_is_refused_as_such() {
    let good = Draft::new().sign(&[(&key(), ED25519)]);
    for other in
        [&b""[..], b"hello", &[0xd8], &good[2..], &patched(&good, &[0xd8, 107], &[0xd8, 108])]
    {
        assert_eq!(refusal_of(other), Refusal::NotAnEnvelope);
    }
}

#[test]
fn an_envelope_over_the_limit_is_refused_unread() {
    let limit = vec![0; ENVELOPE_BYTES_MAX];
    assert_eq!(refusal_of(&limit), Refusal::NotAnEnvelope);
    let over = vec![0; ENVELOPE_BYTES_MAX + 1];
    assert_eq!(refusal_of(&over), Refusal::TooLarge { bytes: over.len() });
}

#[test]
fn trailing_bytes_are_refused_in_every_part() {
    let trailing = |value: Value| bytes([encode(&value), vec![0]].concat());
    let good = Draft::new();
    assert_eq!(
        refusal_of(&[good.sign(&[(&key(), ED25519)]), vec![0]].concat()),
        malformed("the envelope", Fault::Trailing)
    );
    assert_eq!(
        refusal(&good.clone().set(3, trailing(good.common()))),
        malformed("the common section", Fault::Trailing)
    );
    assert_eq!(
        refusal(&good.clone().set(VALIDATE, trailing(commands([(3, int(15))])))),
        malformed("the validate sequence", Fault::Trailing)
    );
    assert_eq!(
        refusal(&good.clone().parameter(3, Some(trailing(digest(PAYLOAD))))),
        malformed("an image digest", Fault::Trailing)
    );
    assert_eq!(
        refusal(&good.clone().set(6, trailing(array([int(1)])))),
        malformed("the version", Fault::Trailing)
    );
    let after_signature =
        good.authenticate(|digest| vec![[sign1(&key(), ED25519, digest), vec![0]].concat()]);
    assert_eq!(refusal_of(&after_signature), malformed("a signature", Fault::Trailing));
    let after_digest = patched_digest(&[encode(&digest_of_manifest(&good)), vec![0]].concat());
    assert_eq!(refusal_of(&after_digest), malformed("the manifest's digest", Fault::Trailing));
}

/// The digest in the authentication wrapper of this draft.
fn digest_of_manifest(draft: &Draft) -> Value {
    let mut seen = vec![];
    draft.authenticate(|digest| {
        seen = digest.to_vec();
        vec![]
    });
    ciborium::from_reader(&seen[..]).unwrap()
}

/// The plain draft with another encoded digest, signed.
fn patched_digest(other: &[u8]) -> Vec<u8> {
    let mut envelope = vec![];
    Draft::new().authenticate(|original| {
        let good = Draft::new().authenticate(|_| vec![sign1(&key(), ED25519, other)]);
        let signature = bytes(sign1(&key(), ED25519, other));
        let old = wrapped(&array([bytes(original), signature.clone()]));
        let new = wrapped(&array([bytes(other), signature]));
        envelope = patched(&good, &encode(&old), &encode(&new));
        vec![]
    });
    envelope
}

#[test]
fn indefinite_lengths_are_refused_even_when_they_are_signed() {
    let good = Draft::new().sign(&[(&key(), ED25519)]);
    let [0xd8, 107, 0xa2, members @ ..] = &good[..] else { panic!("{good:x?}") };
    let indefinite = [&[0xd8, 107, 0xbf], members, &[0xff]].concat();
    assert_eq!(refusal_of(&indefinite), malformed("the envelope", Fault::Indefinite));
    let sequence = bytes([0x9f, 3, 15, 0xff]);
    assert_eq!(
        refusal(&Draft::new().set(VALIDATE, sequence)),
        malformed("the validate sequence", Fault::Indefinite)
    );
    let mut draft = Draft::new();
    draft.install[0].1 = Value::Null;
    let install = encode(&commands(draft.install.clone()));
    let indefinite_map = [&[0xbf, 0x15, 0x61, b'x', 0xff][..]].concat();
    let install = patched(&install, &[0xf6], &indefinite_map);
    assert_eq!(
        refusal(&draft.set(INSTALL, bytes(install))),
        malformed("the install sequence", Fault::Indefinite)
    );
}

#[test]
fn numbers_longer_than_needed_are_refused_even_when_they_are_signed() {
    assert_eq!(
        refusal(&Draft::new().set(VALIDATE, bytes([0x82, 3, 0x18, 15]))),
        malformed("the validate sequence", Fault::NotShortest)
    );
    let good = Draft::new().sign(&[(&key(), ED25519)]);
    let [0xd8, 107, rest @ ..] = &good[..] else { panic!("{good:x?}") };
    let long_tag = [&[0xd9, 0, 107], rest].concat();
    assert_eq!(refusal_of(&long_tag), Refusal::NotAnEnvelope);
    let manifest = malformed("the manifest", Fault::NotShortest);
    assert_eq!(refusal_of(&patched_manifest(&[0x02, 0x07], &[0x02, 0x18, 0x07])), manifest);
}

/// The plain draft with other bytes in its manifest, and digest and signature to match.
fn patched_manifest(old: &[u8], new: &[u8]) -> Vec<u8> {
    let good = Draft::new().sign(&[(&key(), ED25519)]);
    let Value::Tag(_, members) = ciborium::from_reader(&good[..]).unwrap() else { panic!() };
    let Value::Map(members) = *members else { panic!() };
    let Value::Bytes(manifest) = &members[1].1 else { panic!() };
    with_manifest(&patched(manifest, old, new))
}

/// An envelope around these bytes, with digest and signature.
fn with_manifest(manifest: &[u8]) -> Vec<u8> {
    let manifest = bytes(manifest);
    let digest = encode(&digest(&encode(&manifest)));
    let signature = bytes(sign1(&key(), ED25519, &digest));
    let authentication = wrapped(&array([bytes(&digest), signature]));
    encode(&tag(107, map([(2, authentication), (3, manifest)])))
}

#[test]
fn map_keys_out_of_order_or_twice_are_refused_even_when_they_are_signed() {
    // Version 1 and sequence number 7 change places, or come twice.
    let order = malformed("the manifest", Fault::KeyOrder);
    assert_eq!(refusal_of(&patched_manifest(&[1, 1, 2, 7], &[2, 7, 1, 1])), order);
    assert_eq!(refusal_of(&patched_manifest(&[1, 1, 2, 7], &[1, 1, 1, 1])), order);
    let good = Draft::new();
    let parameters = |parameters| {
        let mut draft = good.clone();
        draft.install[0].1 = parameters;
        refusal(&draft)
    };
    let order = malformed("the install sequence", Fault::KeyOrder);
    assert_eq!(parameters(map([(21, text("app.bin")), (14, int(16))])), order);
    assert_eq!(parameters(map([(21, text("app.bin")), (21, text("app.bin"))])), order);
    let mut draft = good.clone();
    draft.more = vec![(int(23), bytes([])), (int(20), bytes([]))];
    assert_eq!(refusal(&draft), malformed("the envelope", Fault::KeyOrder));
    draft.more = vec![(text("#b"), bytes([])), (text("#a"), bytes([]))];
    assert_eq!(refusal(&draft), malformed("the envelope", Fault::KeyOrder));
    draft.more = vec![(text("#a"), bytes([])), (text("#a"), bytes([]))];
    assert_eq!(refusal(&draft), malformed("the envelope", Fault::KeyOrder));
}

#[test]
fn unknown_members_of_the_envelope_are_refused() {
    for code in [1, 4, 15, 24, -1] {
        let mut draft = Draft::new();
        draft.more = vec![(int(code), bytes([]))];
        let refusal = refusal(&draft);
        let order = malformed("the envelope", Fault::KeyOrder);
        assert!(refusal == unsupported("the envelope", "member", code) || refusal == order);
    }
}

#[test]
fn a_manifest_before_its_signature_is_refused() {
    let good = Draft::new().sign(&[(&key(), ED25519)]);
    let Value::Tag(_, members) = ciborium::from_reader(&good[..]).unwrap() else { panic!() };
    let Value::Map(mut members) = *members else { panic!() };
    members.reverse();
    let reversed = encode(&tag(107, Value::Map(members)));
    assert_eq!(refusal_of(&reversed), malformed("the envelope", Fault::KeyOrder));
}

// ---- Signatures ----

#[test]
fn without_a_signature_nothing_is_believed() {
    assert_eq!(refusal_of(&Draft::new().sign(&[])), Refusal::NotSigned);
}

#[test]
fn foreign_keys_are_refused() {
    for (stranger, algorithm) in [
        (Key::new(Algorithm::Ed25519, 8), ED25519),
        (Key::new(Algorithm::P256, 7), ES256),
        (Key::new(Algorithm::P256, 7), ESP256),
    ] {
        let envelope = Draft::new().sign(&[(&stranger, algorithm)]);
        assert_eq!(refusal_of(&envelope), Refusal::Signature);
    }
}

#[test]
fn an_algorithm_of_another_kind_of_key_is_refused() {
    for algorithm in [ES256, ESP256, -35, -46, 5, 0] {
        let envelope = Draft::new().sign(&[(&key(), algorithm)]);
        assert_eq!(refusal_of(&envelope), Refusal::Signature, "{algorithm}");
    }
}

#[test]
fn a_signature_over_something_else_is_refused() {
    let envelope = Draft::new().authenticate(|_| {
        let other = Draft::new().set(2, int(8));
        vec![sign1(&key(), ED25519, &encode(&digest_of_manifest(&other)))]
    });
    assert_eq!(refusal_of(&envelope), Refusal::Signature);
}

#[test]
fn a_signed_digest_of_another_manifest_is_refused() {
    let other = encode(&digest(b"another manifest"));
    assert_eq!(refusal_of(&patched_digest(&other)), Refusal::Digest { of: "the manifest" });
}

#[test]
fn other_cose_structures_are_refused() {
    // COSE_Mac0, COSE_Mac, COSE_Sign, COSE_Encrypt0: a MAC is no vendor's signature.
    for number in [17, 97, 98, 16] {
        let envelope = Draft::new().authenticate(|digest| {
            let mut block = sign1(&key(), ED25519, digest);
            let header = encode(&tag(number, Value::Null));
            block.splice(0..1, header[..header.len() - 1].iter().copied());
            vec![block]
        });
        let refusal = refusal_of(&envelope);
        let what = "COSE structure with tag";
        assert_eq!(refusal, unsupported("a signature", what, number as i64));
    }
    let untagged =
        Draft::new().authenticate(|digest| vec![sign1(&key(), ED25519, digest)[1..].to_vec()]);
    assert_eq!(refusal_of(&untagged), malformed("a signature", Fault::WrongType));
}

#[test]
fn an_attached_payload_is_refused() {
    let envelope = Draft::new().authenticate(|digest| {
        vec![sign1_with(&key(), map([(1, int(ED25519))]), map([]), bytes(digest), digest)]
    });
    assert_eq!(refusal_of(&envelope), malformed("a signature", Fault::WrongType));
}

#[test]
fn headers_are_signed_and_known_or_refused() {
    let with = |protected: Value, unprotected: Value| {
        refusal_of(&Draft::new().authenticate(|digest| {
            vec![sign1_with(&key(), protected, unprotected, Value::Null, digest)]
        }))
    };
    let algorithm = || map([(1, int(ED25519))]);
    let unprotected = malformed("a signature", Fault::WrongValue);
    for label in [1, 2, 3, 5, 33] {
        assert_eq!(with(algorithm(), map([(label, bytes("x"))])), unprotected);
    }
    assert_eq!(
        with(algorithm(), map([(4, text("kid"))])),
        malformed("a signature", Fault::WrongType)
    );
    let by_name = Value::Map(vec![(text("kid"), bytes("x"))]);
    assert_eq!(with(algorithm(), by_name), unprotected);
    assert_eq!(with(map([]), algorithm()), unprotected);
    assert_eq!(with(map([]), map([])), Refusal::Missing("a signature's algorithm"));
    let critical = map([(1, int(ED25519)), (2, array([int(9)]))]);
    assert_eq!(with(critical, map([])), unsupported("a signature's header", "header", 2));
    let by_name = Value::Map(vec![(int(1), int(ED25519)), (text("x"), int(0))]);
    assert_eq!(with(by_name, map([])), malformed("a signature's header", Fault::WrongValue));
    let twice = map([(1, int(ED25519)), (1, int(ED25519))]);
    assert_eq!(with(twice, map([])), malformed("a signature's header", Fault::KeyOrder));
}

#[test]
fn more_signatures_than_the_limit_are_refused() {
    let envelope =
        |count| Draft::new().authenticate(|digest| vec![sign1(&key(), ED25519, digest); count]);
    verify(&envelope(8), &key().trust(), &identity()).unwrap();
    let limit = Refusal::OverLimit { what: "signatures", limit: 8 };
    assert_eq!(refusal_of(&envelope(9)), limit);
}

#[test]
fn other_digests_than_sha_256_are_refused() {
    for algorithm in [-18, -43, -44, -45, -15] {
        let digest = encode(&array([int(algorithm), bytes([0; 32])]));
        let expected = unsupported("the manifest's digest", "digest algorithm", algorithm);
        assert_eq!(refusal_of(&patched_digest(&digest)), expected);
    }
    for length in [0, 31, 33] {
        let digest = encode(&array([int(-16), bytes(vec![0; length])]));
        let expected = malformed("the manifest's digest", Fault::WrongValue);
        assert_eq!(refusal_of(&patched_digest(&digest)), expected);
    }
}

// ---- The manifest ----

#[test]
fn unknown_members_of_the_manifest_are_refused() {
    // 8 load, 15 dependency resolution, 18 candidate verification, 24 uninstall.
    for code in [8, 15, 18, 24, 99, -1] {
        let mut draft = Draft::new();
        draft.manifest.push((code, wrapped(&commands([(23, int(15))]))));
        draft.manifest.push((3, wrapped(&draft.common())));
        draft.manifest.push((INSTALL, wrapped(&commands(draft.install.clone()))));
        draft.manifest.sort_by_key(|(number, _)| encode(&int(*number)));
        let Value::Map(sorted) = map(draft.manifest.clone()) else { panic!() };
        let envelope = with_manifest(&encode(&Value::Map(sorted)));
        assert_eq!(refusal_of(&envelope), unsupported("the manifest", "member", code));
    }
}

#[test]
fn missing_members_are_refused_by_name() {
    let without = |member: i64| {
        let mut draft = Draft::new();
        draft.manifest.retain(|(number, _)| *number != member);
        refusal(&draft)
    };
    assert_eq!(without(1), Refusal::Missing("the manifest's version"));
    assert_eq!(without(2), Refusal::Missing("the sequence number"));
    let without_common = encode(&map([(1, int(1)), (2, int(7))]));
    let refusal_without_common = refusal_of(&with_manifest(&without_common));
    assert_eq!(refusal_without_common, Refusal::Missing("the common section"));
    let common = |common| refusal(&Draft::new().set(3, wrapped(&common)));
    assert_eq!(common(map([(4, bytes([0x80]))])), Refusal::Missing("the list of components"));
    let components = Draft::new().components;
    assert_eq!(common(map([(2, components)])), Refusal::Missing("the shared sequence"));
    let nothing = encode(&tag(107, map([(3, bytes([]))])));
    assert_eq!(refusal_of(&nothing), Refusal::Missing("the authentication wrapper"));
    let envelope = encode(&tag(107, map([(2, wrapped(&array([wrapped(&digest(b""))])))])));
    assert_eq!(refusal_of(&envelope), Refusal::Missing("the manifest"));
}

#[test]
fn another_format_version_is_refused() {
    let refusal = refusal(&Draft::new().set(1, int(2)));
    assert_eq!(refusal, unsupported("the manifest", "format version", 2));
}

#[test]
fn dependencies_are_refused() {
    let draft = Draft::new();
    let Value::Map(mut common) = draft.common() else { panic!() };
    common.insert(0, (int(1), map([])));
    let refusal = refusal(&draft.set(3, wrapped(&Value::Map(common))));
    assert_eq!(refusal, unsupported("the common section", "member", 1));
}

#[test]
fn severed_members_are_checked_before_they_are_used() {
    for member in [INSTALL, TEXT] {
        let mut draft = Draft::new().set(TEXT, bytes([0xa0]));
        draft.severed = vec![member];
        let good = draft.sign(&[(&key(), ED25519)]);
        verify(&good, &key().trust(), &identity()).unwrap();
        let Value::Tag(_, members) = ciborium::from_reader(&good[..]).unwrap() else { panic!() };
        let Value::Map(members) = *members else { panic!() };
        // Another content, which would be valid by itself.
        let mut changed = members.clone();
        let install = [(OVERRIDE, map([(21, text("evil.bin"))])), (21, int(2)), (3, int(15))];
        changed[2].1 = wrapped(&commands(install));
        let envelope = encode(&tag(107, Value::Map(changed)));
        assert!(matches!(refusal_of(&envelope), Refusal::Digest { .. }), "{member}");
        // None at all: no device needs the text, but every device needs the install sequence.
        let envelope = encode(&tag(107, Value::Map(members[..2].to_vec())));
        let verdict = verify(&envelope, &key().trust(), &identity());
        if member == TEXT {
            verdict.unwrap();
        } else {
            assert_eq!(verdict.unwrap_err(), Refusal::Missing("the install sequence"));
        }
    }
}

#[test]
fn members_that_nobody_signed_are_refused() {
    let install = bytes(encode(&commands([(21, int(2))])));
    let mut beside = Draft::new();
    beside.more = vec![(int(INSTALL), install.clone())];
    let unsigned = |code| unsupported("the envelope", "unsigned member", code);
    assert_eq!(refusal(&beside), unsigned(INSTALL));
    for member in [14, FETCH, TEXT] {
        let mut draft = Draft::new();
        draft.more = vec![(int(member), install.clone())];
        assert_eq!(refusal(&draft), unsigned(member));
    }
}

#[test]
fn integrated_payloads_are_checked() {
    let with = |payload: &[u8], uri: &str| {
        let mut draft = Draft::new();
        draft.install[0].1 = map([(21, text(uri))]);
        draft.more = vec![(text("#app"), bytes(payload))];
        draft
    };
    let good = with(PAYLOAD, "#app").sign(&[(&key(), ED25519)]);
    verify(&good, &key().trust(), &identity()).unwrap();
    let mut other = PAYLOAD.to_vec();
    other[0] ^= 1;
    let digest = Refusal::Digest { of: "an integrated payload" };
    assert_eq!(refusal(&with(&other, "#app")), digest);
    let size = |actual| Refusal::Size { signed: PAYLOAD.len() as u64, actual };
    assert_eq!(refusal(&with(&PAYLOAD[1..], "#app")), size(PAYLOAD.len() as u64 - 1));
    assert_eq!(refusal(&with(&[], "#app")), size(0));
    assert_eq!(refusal(&with(PAYLOAD, "app")), Refusal::UnsignedPayload);
    let mut absent = with(PAYLOAD, "#app");
    absent.more.clear();
    assert_eq!(refusal(&absent), Refusal::Missing("an integrated payload"));
    let mut many = Draft::new();
    many.more = (10..27).map(|n| (text(&format!("#{n}")), bytes([]))).collect();
    let limit = Refusal::OverLimit { what: "integrated payloads", limit: 16 };
    assert_eq!(refusal(&many), limit);
}

// ---- Components ----

#[test]
fn component_identifiers_are_safe_paths() {
    let component = |names: &[&[u8]]| {
        let mut draft = Draft::new();
        draft.components = array([array(names.iter().map(bytes))]);
        refusal(&draft)
    };
    for names in [
        &[][..],
        &[&b""[..]],
        &[b"."],
        &[b".."],
        &[b"a", b"..", b"b"],
        &[b"a/b"],
        &[b"/"],
        &[b"\x1b[2J", b".."],
        &[&[b'a'; 256]],
        &[&[0; 256]],
    ] {
        assert!(matches!(component(names), Refusal::ComponentPath(_)), "{names:?}");
    }
    let shown = component(&[b"\x1b[2J\xff", b""]).to_string();
    assert!(shown.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{shown}");
    let limit = Refusal::OverLimit { what: "names in a component identifier", limit: 8 };
    assert_eq!(component(&[&b"a"[..]; 9]), limit);
}

/// What is no text is no path either, whatever is in it: it has letters and digits of its own.
#[test]
fn a_component_identifier_that_is_no_text_names_nothing_by_itself() {
    for (name, shown) in [
        (&b"\x00"[..], "h'00'"),
        (b"a\0b", "h'610062'"),
        (b"../\x01", "h'2e2e2f01'"),
        (b"a\nb", "h'610a62'"),
        (b"\x1b[2J", "h'1b5b324a'"),
        (b"\xff", "h'ff'"),
        (b"h'00'", "h'6827303027'"),
        (b"app", "app"),
    ] {
        let mut draft = Draft::new();
        draft.components = array([array([bytes(name)])]);
        let envelope = draft.sign(&[(&key(), ED25519)]);
        let manifest = verify(&envelope, &key().trust(), &identity()).unwrap();
        assert_eq!(manifest.components[0].id, [shown]);
        assert_eq!(is_opaque(shown), shown != "app");
    }
}

#[test]
fn what_is_invoked_is_what_was_fetched_and_one_thing() {
    let invoke = |sequence: Value| Draft::new().set(9, wrapped(&sequence));
    let verdict = |draft: &Draft| {
        let envelope = draft.sign(&[(&key(), ED25519)]);
        verify(&envelope, &key().trust(), &identity()).map(|_| ())
    };
    assert_eq!(verdict(&invoke(commands([(23, int(2))]))), Ok(()));
    assert_eq!(verdict(&invoke(commands([(3, int(15)), (23, int(2))]))), Ok(()));
    let invoke_args = commands([(OVERRIDE, map([(23, bytes("-v"))])), (23, int(2))]);
    let refused = unsupported("the invoke sequence", "parameter", 23);
    assert_eq!(verdict(&invoke(invoke_args)), Err(refused));
    let fetches = commands([(21, int(2))]);
    let refused = unsupported("the invoke sequence", "command", 21);
    assert_eq!(verdict(&invoke(fetches)), Err(refused));
    let mut never_fetched = invoke(commands([(23, int(2))]));
    never_fetched.install = vec![(OVERRIDE, map([(21, text("app.bin"))]))];
    verdict(&never_fetched).unwrap_err();
    // Two components: one of them gets control.
    let all = (12, Value::Bool(true));
    let mut two = invoke(commands([all.clone(), (23, int(2))]));
    two.components = array([array([bytes("a")]), array([bytes("b")])]);
    two.shared.insert(0, all.clone());
    two.install.insert(0, all.clone());
    let two = two.set(VALIDATE, wrapped(&commands([all, (3, int(15))])));
    assert_eq!(verdict(&two), Err(Refusal::Contradiction("what is invoked")));
    let one = two.set(9, wrapped(&commands([(12, int(1)), (23, int(2))])));
    assert_eq!(verdict(&one), Ok(()));
}

#[test]
fn what_cannot_be_taken_is_refused_by_its_name_and_a_reason() {
    let says = |refusal: Refusal, name: &str| {
        let words = refusal.to_string();
        assert!(words.contains(&format!("`{name}`")), "{words}");
        assert!(words.contains(", which this device does not support there: "), "{words}");
    };
    for (code, name) in [
        (8, "load"),
        (15, "dependency-resolution"),
        (18, "candidate-verification"),
        (24, "uninstall"),
    ] {
        says(refusal(&Draft::new().set(code, wrapped(&commands([(23, int(15))])))), name);
    }
    for (code, name) in [
        (5, "condition-component-slot"),
        (6, "condition-check-content"),
        (14, "condition-abort"),
        (18, "directive-write"),
        (22, "directive-copy"),
        (24, "condition-device-identifier"),
        (25, "condition-image-not-match"),
        (29, "directive-wait"),
        (31, "directive-swap"),
        (32, "directive-run-sequence"),
        (33, "directive-unlink"),
    ] {
        let mut draft = Draft::new();
        draft.install.push((code, int(15)));
        says(refusal(&draft), name);
    }
    for (code, name) in [
        (5, "parameter-component-slot"),
        (12, "parameter-strict-order"),
        (13, "parameter-soft-failure"),
        (18, "parameter-content"),
        (22, "parameter-source-component"),
        (24, "parameter-device-identifier"),
        (25, "parameter-fetch-arguments"),
        (30, "parameter-component-metadata"),
    ] {
        says(refusal(&Draft::new().parameter(code, Some(int(0)))), name);
    }
    let mac = Draft::new().authenticate(|digest| {
        let mut block = sign1(&key(), ED25519, digest);
        block[0] = 0xd1;
        vec![block]
    });
    says(refusal_of(&mac), "COSE_Mac0");
}

#[test]
fn components_do_not_overlap() {
    let components = |ids: &[&[&str]]| {
        let mut draft = Draft::new();
        draft.components = array(ids.iter().map(|id| array(id.iter().map(bytes))));
        refusal(&draft)
    };
    let overlap = |at: &str| Refusal::Overlap(at.into());
    assert_eq!(components(&[&["a"], &["a"]]), overlap("a"));
    assert_eq!(components(&[&["a"], &["a", "b"]]), overlap("a"));
    assert_eq!(components(&[&["a", "b"], &["a"]]), overlap("a"));
    assert_eq!(components(&[]), Refusal::Missing("a component"));
    let limit = Refusal::OverLimit { what: "components", limit: 16 };
    let many: Vec<_> = (0..17).map(|_| &["a"][..]).collect();
    assert_eq!(components(&many), limit);
}

// ---- Commands and parameters ----

#[test]
fn unknown_commands_are_refused_in_every_sequence() {
    // slot, check-content, abort, write, copy, invoke, device-id, image-not-match,
    // battery, wait, swap, run-sequence, unlink, and ones that nobody defined.
    for code in [5, 6, 14, 18, 19, 22, 23, 24, 25, 26, 29, 31, 32, 33, 34, 99, -1, -300] {
        let command = || (code, int(15));
        let mut shared = Draft::new();
        shared.shared.push(command());
        assert_eq!(refusal(&shared), unsupported("the shared sequence", "command", code));
        let mut install = Draft::new();
        install.install.push(command());
        assert_eq!(refusal(&install), unsupported("the install sequence", "command", code));
        let validate = Draft::new().set(VALIDATE, wrapped(&commands([command()])));
        assert_eq!(refusal(&validate), unsupported("the validate sequence", "command", code));
        let fetch = Draft::new().set(FETCH, wrapped(&commands([command()])));
        assert_eq!(refusal(&fetch), unsupported("the payload-fetch sequence", "command", code));
    }
}

#[test]
fn commands_are_refused_where_they_have_no_place() {
    let mut shared = Draft::new();
    shared.shared.push((21, int(2)));
    assert_eq!(refusal(&shared), unsupported("the shared sequence", "command", 21));
    let mut shared = Draft::new();
    shared.shared.push((3, int(15)));
    assert_eq!(refusal(&shared), unsupported("the shared sequence", "command", 3));
    let validate = Draft::new().set(VALIDATE, wrapped(&commands([(21, int(2))])));
    assert_eq!(refusal(&validate), unsupported("the validate sequence", "command", 21));
}

#[test]
fn unknown_parameters_are_refused() {
    for code in [5, 12, 13, 18, 22, 23, 24, 25, 26, 29, 30, 99, -1, -255, -262] {
        let draft = Draft::new().parameter(code, Some(int(0)));
        assert_eq!(refusal(&draft), unsupported("the shared sequence", "parameter", code));
    }
}

#[test]
fn what_the_profile_demands_is_demanded() {
    let without = |parameter| refusal(&Draft::new().parameter(parameter, None));
    assert_eq!(without(1), Refusal::Missing("the vendor id"));
    assert_eq!(without(2), Refusal::Missing("the class id"));
    assert_eq!(without(3), Refusal::Missing("the digest of a payload"));
    assert_eq!(without(14), Refusal::Missing("the size of a payload"));
    let without_command = |code| {
        let mut draft = Draft::new();
        draft.shared.retain(|(command, _)| *command != code);
        draft.install.retain(|(command, _)| *command != code);
        draft.manifest.retain(|(member, _)| *member != VALIDATE);
        refusal(&draft)
    };
    assert_eq!(without_command(1), Refusal::Missing("the check of the vendor id"));
    assert_eq!(without_command(2), Refusal::Missing("the check of the class id"));
    assert_eq!(without_command(3), Refusal::Missing("the check of a component's digest"));
    let mut unfetched = Draft::new();
    unfetched.install.clear();
    unfetched.manifest.retain(|(member, _)| *member != VALIDATE);
    assert_eq!(refusal(&unfetched), Refusal::Missing("the fetching of a component"));
    let mut unnamed = Draft::new();
    unnamed.install.remove(0);
    assert_eq!(refusal(&unnamed), Refusal::Missing("the URI of a payload"));
    let mut before = Draft::new();
    before.install.swap(1, 2);
    let check_first = Refusal::Missing("the fetching of a component before its check");
    assert_eq!(refusal(&before), check_first);
    // What is fetched is known before it is fetched, not afterwards.
    let mut afterwards = Draft::new().parameter(3, None).parameter(14, None);
    let size = (14, int(PAYLOAD.len() as i64));
    afterwards.install.insert(2, (OVERRIDE, map([(3, wrapped(&digest(PAYLOAD))), size])));
    assert_eq!(refusal(&afterwards), Refusal::Missing("the digest of a payload"));
    // Identity belongs into the shared sequence: other sequences come after it.
    let mut late = Draft::new();
    let condition = late.shared.remove(1);
    late.install.push(condition);
    assert_eq!(refusal(&late), Refusal::Missing("the check of the vendor id"));
}

#[test]
fn a_parameter_has_one_value() {
    let again = |parameters| {
        let mut draft = Draft::new();
        draft.install.insert(1, (OVERRIDE, map([parameters])));
        draft
    };
    let twice = |parameters, what| {
        assert_eq!(refusal(&again(parameters)), Refusal::Contradiction(what));
    };
    twice((1, bytes([0; 16])), "the vendor id");
    twice((2, bytes([0; 16])), "the class id");
    twice((3, wrapped(&digest(b"other"))), "the digest of a payload");
    twice((14, int(1)), "the size of a payload");
    twice((21, text("other.bin")), "the URI of a payload");
    let same = again((14, int(PAYLOAD.len() as i64))).sign(&[(&key(), ED25519)]);
    verify(&same, &key().trust(), &identity()).unwrap();
    let mut fetched_twice = Draft::new();
    fetched_twice.install.push((21, int(2)));
    let twice = Refusal::Contradiction("the fetching of a component");
    assert_eq!(refusal(&fetched_twice), twice);
}

#[test]
fn another_component_cannot_claim_another_identity() {
    let mut draft = Draft::new();
    draft.components = array([array([bytes("a")]), array([bytes("b")])]);
    let choose = |index| (12, int(index));
    draft.shared.insert(0, choose(0));
    draft.shared.push(choose(1));
    let mut parameters =
        vec![(1, bytes([0; 16])), (3, wrapped(&digest(PAYLOAD))), (14, int(PAYLOAD.len() as i64))];
    draft.shared.push((OVERRIDE, map(parameters.clone())));
    assert_eq!(refusal(&draft), Refusal::Contradiction("the vendor id"));
    // Nor in a later sequence.
    let stranger = parameters.remove(0);
    draft.shared.last_mut().unwrap().1 = map(parameters);
    draft.install.insert(0, (12, Value::Bool(true)));
    draft.install.push(choose(1));
    draft.install.push((OVERRIDE, map([stranger])));
    let draft = draft.set(VALIDATE, wrapped(&commands([(12, Value::Bool(true)), (3, int(15))])));
    assert_eq!(refusal(&draft), Refusal::Contradiction("the vendor id"));
}

#[test]
fn formats_are_complete_and_consistent() {
    let format = |format: Option<&str>, unpacked: Option<i64>| {
        let draft =
            Draft::new().parameter(-256, format.map(text)).parameter(-257, unpacked.map(int));
        verify(&draft.sign(&[(&key(), ED25519)]), &key().trust(), &identity()).map(|_| ())
    };
    format(Some("raw"), None).unwrap();
    format(Some("tar"), None).unwrap();
    format(Some("tar+zstd"), Some(1)).unwrap();
    let missing = Refusal::Missing("the unpacked size of a compressed payload");
    assert_eq!(format(Some("tar+zstd"), None), Err(missing));
    for (name, unpacked) in [(None, Some(1)), (Some("raw"), Some(1)), (Some("tar"), Some(1))] {
        let contradiction = Refusal::Contradiction("the format of a payload");
        assert_eq!(format(name, unpacked), Err(contradiction));
    }
    for name in ["", "zip", "TAR"] {
        let unknown = malformed("the shared sequence", Fault::WrongValue);
        assert_eq!(format(Some(name), None), Err(unknown));
    }
}

#[test]
fn expiry_is_checked_or_refused() {
    let with = |moment: i64, condition: bool| {
        let mut draft = Draft::new().parameter(4, Some(int(moment)));
        if condition {
            draft.shared.push((4, int(15)));
        }
        draft
    };
    let manifest = verify(&with(1, true).sign(&[(&key(), ED25519)]), &key().trust(), &identity());
    assert_eq!(manifest.unwrap().use_before.unwrap().timestamp(), 1);
    assert_eq!(refusal(&with(1, false)), Refusal::Missing("the check of use-before"));
    let far = refusal(&with(i64::MAX, true));
    assert_eq!(far, malformed("the use-before parameter", Fault::WrongValue));
    let mut condition_only = Draft::new();
    condition_only.shared.push((4, int(15)));
    assert_eq!(refusal(&condition_only), Refusal::Missing("the use-before parameter"));
}

#[test]
fn a_component_is_chosen_before_it_is_meant() {
    let mut draft = Draft::new();
    draft.components = array([array([bytes("a")]), array([bytes("b")])]);
    let choice = Refusal::Missing("the choice of a component at the start of a sequence");
    assert_eq!(refusal(&draft), choice);
    for index in [int(1), int(i64::MAX), array([int(0), int(1)]), array([])] {
        let mut draft = Draft::new();
        draft.shared.insert(0, (12, index));
        assert_eq!(refusal(&draft), malformed("the shared sequence", Fault::WrongValue));
    }
    for index in [Value::Bool(false), Value::Null, int(-1), text("0")] {
        let mut draft = Draft::new();
        draft.shared.insert(0, (12, index));
        assert_eq!(refusal(&draft), malformed("the shared sequence", Fault::WrongType));
    }
}

#[test]
fn sequences_are_pairs_with_reporting_policies_and_bounded() {
    let validate = |sequence: Value| refusal(&Draft::new().set(VALIDATE, wrapped(&sequence)));
    let part = "the validate sequence";
    assert_eq!(validate(array([int(3)])), malformed(part, Fault::WrongValue));
    assert_eq!(validate(commands([(3, int(16))])), malformed(part, Fault::WrongValue));
    assert_eq!(validate(commands([(3, text("x"))])), malformed(part, Fault::WrongType));
    assert_eq!(validate(map([])), malformed(part, Fault::WrongType));
    let many = commands((0..513).map(|_| (3, int(15))));
    assert_eq!(validate(many), Refusal::OverLimit { what: "commands", limit: 512 });
}

#[test]
fn uris_are_short_and_visible() {
    for uri in ["", "two words", "a\nb", "ü", &"a".repeat(1025)] {
        let mut draft = Draft::new();
        draft.install[0].1 = map([(21, text(uri))]);
        let refusal = refusal(&draft);
        assert!(matches!(refusal, Refusal::Uri(_)), "{uri}");
        assert!(refusal.to_string().len() < 600, "{refusal}");
    }
    let long = Draft::new().set(4, text(&"a".repeat(1025)));
    assert_eq!(refusal(&long), malformed("the manifest", Fault::WrongValue));
}

#[test]
fn identifiers_are_uuids() {
    for value in [bytes([0; 15]), bytes([0; 17]), bytes([])] {
        let refusal = refusal(&Draft::new().parameter(1, Some(value)));
        assert_eq!(refusal, malformed("the shared sequence", Fault::WrongValue));
    }
    // A private enterprise number instead (draft 8.4.8.1).
    let refusal = refusal(&Draft::new().parameter(1, Some(tag(112, bytes([1])))));
    assert_eq!(refusal, malformed("the shared sequence", Fault::WrongType));
}
