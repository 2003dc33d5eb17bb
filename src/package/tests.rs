//! Packages end to end: what the vendor describes is what the device reads.

use chrono::DateTime;

use super::*;

fn key(algorithm: Algorithm) -> SigningKey {
    let algorithm = match algorithm {
        Algorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Algorithm::Ed25519 => &rcgen::PKCS_ED25519,
    };
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    SigningKey::from_pem(&pair.serialize_pem()).unwrap()
}

fn component(name: &str, payload: &[u8]) -> Component {
    Component {
        id: vec![name.into()],
        digest: Digest::of(payload),
        size: payload.len() as u64,
        format: Format::Raw,
        source: Source::Uri(format!("{name}.bin")),
    }
}

fn description() -> Description {
    Description {
        sequence: 7,
        version: "1.2.3".into(),
        identity: Identity::new("example.com", "cam-1"),
        names: None,
        use_before: None,
        requires: vec![],
        needs_approval: false,
        components: vec![component("app", b"payload")],
    }
}

fn refusal(description: &Description) -> Refusal {
    match description.sign(&key(Algorithm::P256)) {
        Err(SignError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_signed_is_read() {
    for algorithm in [Algorithm::P256, Algorithm::Ed25519] {
        let key = key(algorithm);
        let mut description = description();
        description.use_before = DateTime::from_timestamp(2_000_000_000, 0);
        description.components.push(Component {
            format: Format::TarZstd { unpacked_bytes_max: 1 << 40 },
            size: 5 << 30,
            ..component("data", b"")
        });
        description.components.push(Component {
            id: vec!["etc".into(), "conf".into()],
            format: Format::Tar,
            source: Source::Integrated(b"small".to_vec()),
            ..component("", b"small")
        });
        let envelope = description.sign(&key).unwrap();
        let manifest = verify(&envelope, &key.trust(), &description.identity).unwrap();
        assert_eq!(manifest.sequence, 7);
        assert_eq!(manifest.version, "1.2.3");
        assert_eq!(manifest.use_before, description.use_before);
        assert_eq!(manifest.components, description.components);
        let inspection = inspect(&envelope).unwrap();
        assert_eq!(inspection.manifest, *manifest);
        assert_eq!(inspection.signatures[0].0, Some(algorithm));
    }
}

#[test]
fn a_small_package_answers_the_question_for_updates_in_under_a_kilobyte() {
    let envelope = description().sign(&key(Algorithm::P256)).unwrap();
    assert!(envelope.len() < 400, "{}", envelope.len());
}

#[test]
fn a_stranger_cannot_sign() {
    let description = description();
    let envelope = description.sign(&key(Algorithm::P256)).unwrap();
    for stranger in [key(Algorithm::P256), key(Algorithm::Ed25519)] {
        let refusal = verify(&envelope, &stranger.trust(), &description.identity).unwrap_err();
        assert_eq!(refusal, Refusal::Signature);
    }
}

#[test]
fn a_package_for_other_devices_is_refused_by_name() {
    let key = key(Algorithm::Ed25519);
    let description = description();
    let envelope = description.sign(&key).unwrap();
    let verify = |identity| verify(&envelope, &key.trust(), &identity).unwrap_err();
    let refusal = verify(Identity::new("example.org", "cam-1"));
    assert!(matches!(refusal, Refusal::WrongVendor { .. }), "{refusal}");
    let refusal = verify(Identity::new("example.com", "cam-2"));
    assert!(matches!(refusal, Refusal::WrongClass { .. }), "{refusal}");
}

#[test]
fn names_are_shown_where_they_are_true() {
    let key = key(Algorithm::Ed25519);
    let names = |vendor: &str, class: &str| Names { vendor: vendor.into(), class: class.into() };
    let described = Description { names: Some(names("example.com", "cam-1")), ..description() };
    let envelope = described.sign(&key).unwrap();
    let other = names("example.com", "cam-2");
    let refusal = verify(&envelope, &key.trust(), &other.identity()).unwrap_err();
    assert!(
        refusal
            .to_string()
            .starts_with("it is for cam-1 of example.com; this device is of the class ")
    );
    let words = refusal.on(&other).to_string();
    assert_eq!(words, "it is for cam-1 of example.com; this device is cam-2 of example.com");
    // Names of somebody else, that no identifier in the package is made of.
    let section = names("example.org", "cam-1").section(&["app".to_owned()]);
    assert_eq!(Names::read(&section, &described.identity), None);
    for section in [&b""[..], &[0xa0], &[0xff], b"text", &[0xa1, 0x62, b'e', b'n', 0x80]] {
        assert_eq!(Names::read(section, &described.identity), None);
    }
    let false_names = Description { names: Some(other), ..description() };
    assert_eq!(false_names.sign(&key), Err(SignError::Misread));
}

#[test]
fn what_a_device_would_refuse_is_not_signed() {
    let with = |change: fn(&mut Description)| {
        let mut changed = description();
        change(&mut changed);
        refusal(&changed)
    };
    assert!(matches!(with(|d| d.version = "one".into()), Refusal::Version(_)));
    assert!(matches!(with(|d| d.components[0].id = vec!["..".into()]), Refusal::ComponentPath(_)));
    assert!(matches!(with(|d| d.components[0].id = vec![]), Refusal::ComponentPath(_)));
    assert!(matches!(with(|d| d.components[0].id = vec!["a/b".into()]), Refusal::ComponentPath(_)));
    assert!(matches!(
        with(|d| d.components[0].source = Source::Uri("two words".into())),
        Refusal::Uri(_)
    ));
    assert_eq!(with(|d| d.components.clear()), Refusal::Missing("a component"));
    assert!(matches!(with(|d| d.components.push(component("app", b"x"))), Refusal::Overlap(_)));
    let inside = |d: &mut Description| {
        d.components.push(Component { id: vec!["app".into(), "x".into()], ..component("", b"x") });
    };
    assert!(matches!(with(inside), Refusal::Overlap(_)));
    let seventeen = |d: &mut Description| {
        d.components = (0..17).map(|n| component(&n.to_string(), b"x")).collect();
    };
    assert_eq!(with(seventeen), Refusal::OverLimit { what: "components", limit: 16 });
    let wrong_size = |d: &mut Description| {
        d.components[0].source = Source::Integrated(b"another".to_vec());
        d.components[0].size = 8;
    };
    assert_eq!(with(wrong_size), Refusal::Size { signed: 8, actual: 7 });
    let wrong_digest =
        |d: &mut Description| d.components[0].source = Source::Integrated(b"another".to_vec());
    assert_eq!(with(wrong_digest), Refusal::Digest { of: "an integrated payload" });
    let big = |d: &mut Description| {
        let payload = vec![0; ENVELOPE_BYTES_MAX];
        d.components[0] =
            Component { source: Source::Integrated(payload.clone()), ..component("app", &payload) };
    };
    assert!(matches!(with(big), Refusal::TooLarge { .. }));
}

#[test]
fn a_component_without_a_name_is_described_as_it_is_shown() {
    let mut description = description();
    description.components[0].id = vec!["M".into(), "h'00'".into()];
    description.sign(&key(Algorithm::P256)).unwrap();
    // A control character is no way to write it.
    description.components[0].id = vec!["a\0".into()];
    assert_eq!(description.sign(&key(Algorithm::P256)), Err(SignError::Misread));
}

#[test]
fn sixteen_components_are_within_the_limits() {
    let mut description = description();
    description.components = (0..16).map(|n| component(&n.to_string(), b"x")).collect();
    description.sign(&key(Algorithm::P256)).unwrap();
}

#[test]
fn sizes_that_add_up_to_more_than_a_number_holds_are_refused() {
    let mut description = description();
    description.components = vec![
        Component { size: u64::MAX, ..component("a", b"") },
        Component { size: 1, ..component("b", b"") },
    ];
    assert!(matches!(refusal(&description), Refusal::OverLimit { .. }));
}

#[test]
fn keys_of_the_wrong_kind_are_told_apart() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let (private, public) = (pair.serialize_pem(), pair.public_key_pem());
    assert_eq!(Trust::from_pem(&[&private]).unwrap_err(), KeyError::PrivateNotPublic);
    assert_eq!(SigningKey::from_pem(&public).unwrap_err(), KeyError::PublicNotPrivate);
    assert_eq!(Trust::from_pem(&["hello"]).unwrap_err(), KeyError::NoPublicKey);
    assert_eq!(SigningKey::from_pem("hello").unwrap_err(), KeyError::NoPrivateKey);
    assert_eq!(Trust::from_pem(&[""; 0]).unwrap_err(), KeyError::NoPublicKey);
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(Trust::from_pem(&[p384.public_key_pem()]).unwrap_err(), KeyError::UnsupportedKey);
    assert_eq!(SigningKey::from_pem(&p384.serialize_pem()).unwrap_err(), KeyError::UnsupportedKey);
    let trust = Trust::from_pem(&[&public, &public]).unwrap();
    assert_eq!(trust, SigningKey::from_pem(&private).unwrap().trust());
}
