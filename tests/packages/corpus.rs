//! Good envelopes of many shapes: ours, hand-made ones, and ones that other programs made.

use std::ops::Range;

use chrono::DateTime;
use ciborium::Value;
use freshen::package::{
    Algorithm, Coding, Component, Description, Digest, Encoding, EncryptionInfo, Format, Identity,
    Manifest, Names, Refusal, Source, Trust, Verified, VersionMatch, Way, verify,
};

use crate::draft::{
    Draft, FETCH, INSTALL, OVERRIDE, PAYLOAD, TEXT, VALIDATE, array, bytes, commands, encode,
    identity, int, map, sign1, sign1_with, tag, text, wrapped,
};
use crate::foreign;
use crate::keys::{ED25519, EDDSA, ES256, ESP256, Key};

/// A good envelope.
pub(crate) struct Good {
    pub(crate) name: String,
    pub(crate) envelope: Vec<u8>,
    pub(crate) key: Key,
    pub(crate) identity: Identity,
    /// Bytes that nobody signed and nobody uses: the second signature of two.
    pub(crate) free: Option<Range<usize>>,
}

impl Good {
    pub(crate) fn trust(&self) -> Trust {
        self.key.trust()
    }

    pub(crate) fn verify(&self, envelope: &[u8]) -> Result<Verified<Manifest>, Refusal> {
        verify(envelope, &self.trust(), &self.identity)
    }
}

/// All of them. They are the same in every run, except for our own ECDSA signatures.
pub(crate) fn corpus() -> Vec<Good> {
    let mut all = ours();
    all.extend(hand_made());
    all.extend(foreign::envelopes());
    all
}

fn key(algorithm: Algorithm) -> Key {
    Key::new(algorithm, 7)
}

/// What a vendor might want to say, in our words.
pub(crate) fn descriptions() -> Vec<(&'static str, Description)> {
    let component = |id: &[&str], source: Source| Component {
        id: id.iter().map(|name| (*name).to_owned()).collect(),
        digest: Digest::of(PAYLOAD),
        size: PAYLOAD.len() as u64,
        format: Format::Raw,
        source,
    };
    let uri = |uri: &str| Source::Uri(uri.to_owned());
    let plain = Description {
        sequence: 7,
        version: "1.2.3".into(),
        identity: identity(),
        names: None,
        use_before: None,
        requires: vec![],
        needs_approval: false,
        components: vec![component(&["app"], uri("app.bin"))],
    };
    let with = |change: &dyn Fn(&mut Description)| {
        let mut changed = plain.clone();
        change(&mut changed);
        changed
    };
    let zstd = Format::TarZstd { unpacked_bytes_max: 1 << 20 };
    vec![
        ("plain", plain.clone()),
        ("tar", with(&|d| d.components[0].format = Format::Tar)),
        ("zstd", with(&|d| d.components[0].format = zstd)),
        ("integrated", with(&|d| d.components[0].source = Source::Integrated(PAYLOAD.to_vec()))),
        (
            "three integrated",
            with(&|d| {
                d.components = ["b", "long name", "a"]
                    .map(|id| component(&[id], Source::Integrated(PAYLOAD.to_vec())))
                    .to_vec();
            }),
        ),
        ("two components", with(&|d| d.components.push(component(&["cfg"], uri("cfg.bin"))))),
        (
            "sixteen components",
            with(&|d| {
                let id = |n| component(&["part", &format!("{n}")], uri(&format!("{n}.bin")));
                d.components = (0..16).map(id).collect();
            }),
        ),
        (
            "conditions",
            with(&|d| {
                d.needs_approval = true;
                d.requires = [">=1.0", "<2-rc.1"]
                    .map(|text| VersionMatch::from_text(text).unwrap())
                    .to_vec();
            }),
        ),
        (
            "mirrors",
            with(&|d| d.components[0].source = Source::Ways(vec![plain_way("a"), plain_way("b")])),
        ),
        (
            "encrypted",
            with(&|d| {
                let way = coded_way("app.enc", Encoding::Identity, true);
                d.components[0].source = Source::Ways(vec![way]);
            }),
        ),
        (
            "encrypted as the draft has it",
            with(&|d| {
                let mut way = coded_way("app.enc", Encoding::Identity, true);
                if let Some(coding) = &mut way.coding {
                    (coding.digest, coding.size) = (None, PAYLOAD.len() as u64 + 16);
                }
                d.components[0].source = Source::Ways(vec![way]);
            }),
        ),
        ("a component without a name", with(&|d| d.components[0].id = vec!["h'00'".into()])),
        (
            "delta",
            with(&|d| {
                let precursor = Digest::of(b"the old software");
                let delta = coded_way("app.delta", Encoding::Delta { precursor }, false);
                let whole = coded_way("app.zst", Encoding::Zstd, false);
                d.components[0].source = Source::Ways(vec![delta, whole]);
            }),
        ),
        (
            "encrypted delta beside a plain component",
            with(&|d| {
                let precursor = Digest::of(b"the old software");
                let ways = [Encoding::Delta { precursor }, Encoding::Zstd, Encoding::Identity]
                    .map(|encoding| coded_way("app.enc", encoding, true));
                d.components[0].source = Source::Ways(ways.to_vec());
                d.components.push(component(&["cfg"], uri("cfg.bin")));
            }),
        ),
        ("use-before", with(&|d| d.use_before = DateTime::from_timestamp(4_000_000_000, 0))),
        (
            "names",
            with(&|d| {
                d.names = Some(Names { vendor: "example.com".into(), class: "cam-1".into() });
            }),
        ),
        ("pre-release", with(&|d| d.version = "2.0-rc.1".into())),
        ("large", with(&|d| (d.sequence, d.components[0].size) = (u64::MAX, 5 << 30))),
        ("elsewhere", with(&|d| d.components[0].source = uri("https://cdn.example.com/a?b=c"))),
        (
            "deep path",
            with(&|d| d.components[0].id = "a/b/c/ü x".split('/').map(Into::into).collect()),
        ),
        (
            "everything",
            with(&|d| {
                d.use_before = DateTime::from_timestamp(4_000_000_000, 0);
                d.components[0].format = zstd;
                d.components.push(component(&["etc"], Source::Integrated(PAYLOAD.to_vec())));
                d.components.push(component(&["img"], uri("img.bin")));
            }),
        ),
    ]
}

fn plain_way(uri: &str) -> Way {
    Way { uri: uri.to_owned(), coding: None }
}

fn coded_way(uri: &str, encoding: Encoding, encrypted: bool) -> Way {
    let info = || EncryptionInfo::read(&encode(&encryption_info())).unwrap();
    let encryption = encrypted.then(info);
    let digest = Some(Digest::of(b"coded"));
    let coding = Coding { digest, size: 5, encryption, encoding };
    Way { uri: uri.to_owned(), coding: Some(coding) }
}

/// Encrypted for two devices that nobody has. The same in every run.
pub(crate) fn encryption_info() -> Value {
    let recipient = |n: u8| {
        let key = map([(1, int(2)), (-1, int(1)), (-2, bytes([n; 32])), (-3, bytes([n; 32]))]);
        let protected = wrapped(&map([(1, int(-29))]));
        array([protected, map([(4, bytes([n; 8])), (-1, key)]), bytes([n; 24])])
    };
    let protected = wrapped(&map([(1, int(1))]));
    let recipients = array([recipient(1), recipient(2)]);
    tag(96, array([protected, map([(5, bytes([7; 12]))]), Value::Null, recipients]))
}

fn ours() -> Vec<Good> {
    [Algorithm::P256, Algorithm::Ed25519]
        .into_iter()
        .flat_map(|algorithm| {
            descriptions().into_iter().map(move |described| (algorithm, described))
        })
        .map(|(algorithm, (name, description))| Good {
            name: format!("ours, {algorithm}, {name}"),
            envelope: description.sign(&key(algorithm).ours()).unwrap(),
            key: key(algorithm),
            identity: description.identity,
            free: None,
        })
        .collect()
}

/// Shapes that our packer does not make and our device understands.
fn hand_made() -> Vec<Good> {
    let (p256, ed25519) = (key(Algorithm::P256), key(Algorithm::Ed25519));
    let good = |name: &str, envelope: Vec<u8>, key: &Key| Good {
        name: format!("hand-made, {name}"),
        envelope,
        key: key.clone(),
        identity: identity(),
        free: None,
    };
    let signed = |name, draft: &Draft| good(name, draft.sign(&[(&ed25519, ED25519)]), &ed25519);
    let plain = Draft::new();
    let mut all = vec![
        good("ES256", plain.sign(&[(&p256, ES256)]), &p256),
        good("ESP256", plain.sign(&[(&p256, ESP256)]), &p256),
        good("EdDSA", plain.sign(&[(&ed25519, EDDSA)]), &ed25519),
        good("Ed25519", plain.sign(&[(&ed25519, ED25519)]), &ed25519),
        good("a named key", named_key(&plain, &ed25519), &ed25519),
        key_named_outside(&plain, &ed25519),
        signed("invoke", &plain.clone().set(9, wrapped(&commands([(23, int(2))])))),
        signed("a name for its manifest", &plain.clone().set(5, array([bytes("I"), bytes([0])]))),
        signed("without a version", &without(plain.clone(), 6)),
        signed("with a reference URI", &plain.clone().set(4, text("https://example.com/cam.suit"))),
        signed("with a text section", &plain.clone().set(TEXT, text_section())),
        signed("severed install", &severed(plain.clone(), &[INSTALL])),
        signed(
            "severed install and text",
            &severed(plain.clone().set(TEXT, text_section()), &[INSTALL, TEXT]),
        ),
        good("severed text left behind", text_left_behind(&plain, &ed25519), &ed25519),
        signed("payload-fetch, then install", &fetch_first(&[])),
        signed("severed payload-fetch and install", &fetch_first(&[FETCH, INSTALL])),
        signed("checked only in validate", &checked_in_validate()),
        signed("components by list", &by_list(array([int(0), int(1)]))),
        signed("components by true", &by_list(Value::Bool(true))),
        signed("integrated under any URI", &integrated_under_any_uri()),
        signed("integrated and severed", &severed(integrated_under_any_uri(), &[INSTALL])),
    ];
    all.push(two_signatures(&plain, &p256, &ed25519));
    all
}

fn severed(mut draft: Draft, members: &[i64]) -> Draft {
    draft.severed = members.to_vec();
    draft
}

fn without(mut draft: Draft, member: i64) -> Draft {
    draft.manifest.retain(|(number, _)| *number != member);
    draft
}

fn text_section() -> Value {
    let english = map([(1, text("The camera")), (2, text("Sees in the dark now"))]);
    wrapped(&Value::Map(vec![(text("en"), english)]))
}

fn named_key(draft: &Draft, key: &Key) -> Vec<u8> {
    draft.authenticate(|digest| {
        let protected = map([(1, int(ED25519)), (4, bytes("vendor 2026"))]);
        vec![sign1_with(key, protected, map([]), Value::Null, digest)]
    })
}

/// In the unprotected header, which nobody signs.
fn key_named_outside(draft: &Draft, key: &Key) -> Good {
    let name = b"vendor 2026";
    let envelope = draft.authenticate(|digest| {
        let protected = map([(1, int(ED25519))]);
        vec![sign1_with(key, protected, map([(4, bytes(name))]), Value::Null, digest)]
    });
    let at = envelope.windows(name.len()).position(|window| window == name).unwrap();
    Good {
        name: "hand-made, a key named outside".into(),
        envelope,
        key: key.clone(),
        identity: identity(),
        free: Some(at..at + name.len()),
    }
}

/// The text was severed and is not in the envelope any more: no device needs it.
fn text_left_behind(draft: &Draft, key: &Key) -> Vec<u8> {
    let digest_of_text = crate::draft::digest(&encode(&text_section()));
    draft.clone().set(TEXT, digest_of_text).sign(&[(key, ED25519)])
}

fn fetch_first(members: &[i64]) -> Draft {
    let mut draft = Draft::new();
    let fetch = commands([(OVERRIDE, map([(21, text("app.bin"))])), (21, int(2))]);
    draft.install = vec![(3, int(15))];
    severed(draft.set(FETCH, wrapped(&fetch)), members)
}

fn checked_in_validate() -> Draft {
    let mut draft = Draft::new();
    draft.install.pop();
    draft
}

/// Two components with the same payload, chosen together.
fn by_list(index: Value) -> Draft {
    let mut draft = Draft::new();
    let choose = (12, index);
    draft.components = array([array([bytes("a")]), array([bytes("b")])]);
    draft.shared.insert(0, choose.clone());
    draft.install.insert(0, choose.clone());
    draft.set(VALIDATE, wrapped(&commands([choose, (3, int(15))])))
}

/// An intermediary may fetch a payload and add it under its URI (draft 7.5).
fn integrated_under_any_uri() -> Draft {
    let mut draft = Draft::new();
    draft.more = vec![(text("app.bin"), bytes(PAYLOAD))];
    draft
}

/// Only the first key is trusted; the second signature is for devices that trust the other.
fn two_signatures(draft: &Draft, p256: &Key, ed25519: &Key) -> Good {
    let mut second = vec![];
    let envelope = draft.authenticate(|digest| {
        second = sign1(p256, ESP256, digest);
        vec![sign1(ed25519, ED25519, digest), second.clone()]
    });
    let at = envelope.windows(second.len()).position(|window| window == second).unwrap();
    Good {
        name: "hand-made, two signatures".into(),
        envelope,
        key: ed25519.clone(),
        identity: identity(),
        free: Some(at..at + second.len()),
    }
}

#[test]
fn every_good_envelope_is_accepted() {
    let corpus = corpus();
    assert!(corpus.len() >= 40, "{}", corpus.len());
    for good in &corpus {
        if let Err(refusal) = good.verify(&good.envelope) {
            panic!("{}: {refusal}", good.name);
        }
        // What anyone can see is what is verified.
        let seen = freshen::package::inspect(&good.envelope).unwrap().manifest;
        assert_eq!(seen, *good.verify(&good.envelope).unwrap(), "{}", good.name);
    }
}
