//! Several ways to one payload, and what may be transferred in its place.

use ciborium::Value;
use freshen::package::{
    Algorithm, Component, Digest, Encoding, Fault, Refusal, Source, Way, verify,
};

use crate::corpus::encryption_info;
use crate::draft::{
    Draft, FETCH, OVERRIDE, PAYLOAD, VALIDATE, array, bytes, commands, digest, encode, identity,
    int, map, text, wrapped,
};
use crate::keys::{ED25519, Key};

const TRY_EACH: i64 = 15;

fn read(draft: &Draft) -> Result<Vec<Component>, Refusal> {
    let key = Key::new(Algorithm::Ed25519, 7);
    verify(&draft.sign(&[(&key, ED25519)]), &key.trust(), &identity())
        .map(|manifest| manifest.components.clone())
}

fn alternative(parameters: &[(i64, Value)]) -> Vec<(i64, Value)> {
    vec![(OVERRIDE, map(parameters.to_vec())), (21, int(2)), (3, int(15))]
}

fn plain(uri: &str) -> Vec<(i64, Value)> {
    alternative(&[(21, text(uri))])
}

fn try_each(alternatives: impl IntoIterator<Item = Vec<(i64, Value)>>) -> Draft {
    let mut draft = Draft::new();
    let alternatives = alternatives.into_iter().map(|it| wrapped(&commands(it)));
    draft.install = vec![(TRY_EACH, array(alternatives))];
    draft
}

/// One way, with these parameters beside its URI.
fn coded(parameters: &[(i64, Value)]) -> Draft {
    let mut draft = Draft::new();
    let mut all = vec![(21, text("x"))];
    all.extend(parameters.iter().cloned());
    all.sort_by_key(|(key, _)| encode(&int(*key)));
    draft.install[0] = (OVERRIDE, map(all));
    draft
}

fn info() -> (i64, Value) {
    (19, wrapped(&encryption_info()))
}

fn transfer() -> [(i64, Value); 2] {
    [(-258, wrapped(&digest(b"coded"))), (-259, int(5))]
}

fn precursor() -> (i64, Value) {
    (-261, wrapped(&digest(b"old")))
}

fn refused(parameters: &[(i64, Value)]) -> Refusal {
    read(&coded(parameters)).unwrap_err()
}

#[test]
fn alternatives_are_ways_in_their_order() {
    let draft = try_each(["a", "https://mirror.example/b", "c"].map(plain));
    let way = |uri: &str| Way { uri: uri.to_owned(), coding: None };
    let ways = ["a", "https://mirror.example/b", "c"].map(way).to_vec();
    assert_eq!(read(&draft).unwrap()[0].source, Source::Ways(ways));
    // One is none.
    assert_eq!(read(&try_each([plain("a")])).unwrap()[0].source, Source::Uri("a".into()));
    // The check may come afterwards, for all of them.
    let mut draft = try_each(["a", "b"].map(|uri| plain(uri)[..2].to_vec()));
    draft.install.push((3, int(15)));
    read(&draft).unwrap();
}

#[test]
fn alternatives_are_complete_bounded_and_about_one_payload() {
    let limit = |count: usize| read(&try_each((0..count).map(|n| plain(&n.to_string()))));
    assert_eq!(limit(0), Err(Refusal::OverLimit { what: "alternatives", limit: 8 }));
    assert!(limit(8).is_ok());
    assert_eq!(limit(9), Err(Refusal::OverLimit { what: "alternatives", limit: 8 }));
    let one = |parameters: &[(i64, Value)]| read(&try_each([plain("a"), alternative(parameters)]));
    // Another payload, in whatever respect.
    for (key, value) in [
        (3, wrapped(&digest(b"another"))),
        (14, int(PAYLOAD.len() as i64 + 1)),
        (1, bytes([1; 16])),
    ] {
        one(&[(key, value), (21, text("b"))]).unwrap_err();
    }
    let more = one(&[(4, int(1)), (21, text("b"))]);
    assert_eq!(more, Err(Refusal::Contradiction("a payload and the alternative to it")));
    assert_eq!(one(&[]), Err(Refusal::Missing("the URI of a payload")));
    // Nothing fetched, twice fetched, fetched before or afterwards.
    let none = vec![(OVERRIDE, map([(21, text("b"))]))];
    let missing = Err(Refusal::Missing("the fetching of a component"));
    assert_eq!(read(&try_each([plain("a"), none])), missing);
    let twice = [plain("a"), vec![(21, int(2))]].concat();
    let contradiction = Err(Refusal::Contradiction("the fetching of a component"));
    assert_eq!(read(&try_each([twice])), contradiction);
    for (at, fetch) in [(0, plain("z")), (1, vec![(21, int(2))])] {
        let mut draft = try_each([plain("a"), plain("b")]);
        draft.install.splice(at..at, fetch);
        read(&draft).unwrap_err();
    }
}

#[test]
fn alternatives_have_no_other_commands_and_stand_where_payloads_are_fetched() {
    for code in [1, 2, 4, 12, 15, 27, 28, 32, 99] {
        let strange = [plain("a"), vec![(code, int(15))]].concat();
        let unsupported = Refusal::Unsupported { part: "an alternative", what: "command", code };
        assert_eq!(read(&try_each([strange])), Err(unsupported));
    }
    // "Nothing" as the last alternative would let the component go without its payload.
    let mut nothing = Draft::new();
    nothing.install = vec![(TRY_EACH, array([wrapped(&commands(plain("a"))), Value::Null]))];
    let fault = Refusal::Malformed { part: "the install sequence", fault: Fault::WrongType };
    assert_eq!(read(&nothing), Err(fault));
    let argument = array([wrapped(&commands(plain("a")))]);
    let unsupported = |part| Err(Refusal::Unsupported { part, what: "command", code: TRY_EACH });
    let mut shared = Draft::new();
    shared.shared.push((TRY_EACH, argument.clone()));
    assert_eq!(read(&shared), unsupported("the shared sequence"));
    let command = wrapped(&commands([(TRY_EACH, argument)]));
    let validate = Draft::new().set(VALIDATE, command.clone());
    assert_eq!(read(&validate), unsupported("the validate sequence"));
    let mut fetch = Draft::new().set(FETCH, command);
    fetch.install = vec![(3, int(15))];
    read(&fetch).unwrap();
}

#[test]
fn alternatives_are_for_one_component() {
    let mut draft = try_each([plain("a"), plain("b")]);
    draft.components = array([array([bytes("a")]), array([bytes("b")])]);
    draft.shared.insert(0, (12, Value::Bool(true)));
    draft.install.insert(0, (12, Value::Bool(true)));
    let check = commands([(12, Value::Bool(true)), (3, int(15))]);
    let draft = draft.set(VALIDATE, wrapped(&check));
    assert_eq!(read(&draft), Err(Refusal::Missing("the choice of one component")));
}

#[test]
fn codings_are_complete_and_change_something() {
    let [digest, size] = transfer();
    let zstd = (-260, text("zstd"));
    let delta = (-260, text("bidiff+zstd"));
    let coding = |parameters: &[(i64, Value)]| {
        let parameters = [&[digest.clone(), size.clone()], parameters].concat();
        match &read(&coded(&parameters))?[0].source {
            Source::Ways(ways) => Ok(ways[0].coding.clone().unwrap()),
            other => panic!("{other:?}"),
        }
    };
    let read_delta = coding(&[delta.clone(), precursor()]).unwrap();
    assert_eq!(read_delta.encoding, Encoding::Delta { precursor: Digest::of(b"old") });
    assert_eq!(coding(std::slice::from_ref(&zstd)).unwrap().encoding, Encoding::Zstd);
    assert_eq!(coding(&[info()]).unwrap().encryption.unwrap().recipients(), 2);
    coding(&[info(), delta.clone(), precursor()]).unwrap();
    let contradiction = Refusal::Contradiction("the encoding of a payload");
    assert_eq!(coding(&[]), Err(contradiction.clone()));
    assert_eq!(coding(&[precursor()]), Err(contradiction.clone()));
    assert_eq!(coding(&[zstd.clone(), precursor()]), Err(contradiction));
    assert_eq!(coding(&[delta]), Err(Refusal::Missing("the digest that a patch is for")));
    let missing = Refusal::Missing("the digest or size of what is transferred");
    let halves = [&[info(), digest.clone()][..], &[info(), size.clone()]];
    let compressed = [&[zstd.clone()][..], &[zstd.clone(), digest], &[zstd.clone(), size]];
    for parameters in compressed.into_iter().chain(halves).chain([&[info(), zstd][..]]) {
        assert_eq!(refused(parameters), missing);
    }
    let fault = Refusal::Malformed { part: "the install sequence", fault: Fault::WrongValue };
    assert_eq!(refused(&[(-260, text("gzip"))]), fault);
}

/// firmware-encryption signs no word about the ciphertext. Its length follows from the image's.
#[test]
fn an_encrypted_payload_is_bounded_by_its_image_without_our_parameters() {
    let components = read(&coded(&[info()])).unwrap();
    let Source::Ways(ways) = &components[0].source else { panic!() };
    let coding = ways[0].coding.as_ref().unwrap();
    assert_eq!((coding.digest, coding.size), (None, PAYLOAD.len() as u64 + 16));
    assert_eq!(components[0].transfer(), (None, PAYLOAD.len() as u64 + 16));
}

#[test]
fn a_coded_payload_is_not_in_the_envelope() {
    let mut draft = coded(&[&transfer()[..], &[(-260, text("zstd"))]].concat());
    draft.more = vec![(text("x"), bytes("coded"))];
    assert_eq!(read(&draft), Err(Refusal::UnsignedPayload));
    let draft = try_each([plain("a"), plain("#b")]);
    assert_eq!(read(&draft), Err(Refusal::Missing("an integrated payload")));
}

/// The parts of an encryption info, to be changed.
fn with(change: impl FnOnce(&mut Vec<Value>)) -> Refusal {
    let Value::Tag(tag, mut parts) = encryption_info() else { panic!() };
    change(parts.as_array_mut().unwrap());
    let changed = Value::Tag(tag, parts);
    refused(&[&transfer()[..], &[(19, wrapped(&changed))]].concat())
}

#[test]
fn encryption_is_of_the_one_kind_that_is_known() {
    let unsupported = |what, code| Refusal::Unsupported { part: "the encryption info", what, code };
    let algorithm = |code: i64| wrapped(&map([(1, int(code))]));
    // A192GCM, A256GCM, AES-CCM, AES-CTR.
    for code in [2, 3, 10, -65534] {
        assert_eq!(with(|it| it[0] = algorithm(code)), unsupported("algorithm", code));
    }
    assert_eq!(
        with(|it| it[0] = wrapped(&map([(1, int(1)), (4, bytes("x"))]))),
        unsupported("header", 4)
    );
    let fault = Refusal::Malformed { part: "the encryption info", fault: Fault::WrongValue };
    for length in [0, 11, 13, 16] {
        assert_eq!(with(|it| it[1] = map([(5, bytes(vec![0; length]))])), fault);
    }
    let nonce = "the nonce of an encrypted payload";
    assert_eq!(with(|it| it[1] = map([])), Refusal::Missing(nonce));
    let wrong_type = Refusal::Malformed { part: "the encryption info", fault: Fault::WrongType };
    assert_eq!(with(|it| it[2] = bytes("attached")), wrong_type);
    let recipients = |count: usize| {
        with(move |it| {
            let one = it[3].as_array().unwrap()[0].clone();
            it[3] = array(vec![one; count]);
        })
    };
    assert_eq!(recipients(65), Refusal::OverLimit { what: "recipients", limit: 64 });
    let recipient = |part: usize, value: Value| {
        with(move |it| {
            let list = it[3].as_array_mut().unwrap();
            list[0].as_array_mut().unwrap()[part] = value;
        })
    };
    // Direct keys, A128KW with a shared key, ECDH-SS, ECDH-ES + A256KW.
    for code in [-6, -3, -32, -31] {
        assert_eq!(recipient(0, algorithm(code)), unsupported("algorithm", code));
    }
    for length in [0, 16, 23, 25, 32] {
        assert_eq!(recipient(2, bytes(vec![0; length])), fault);
    }
    let key = |entries: &[(i64, Value)]| recipient(1, map([(-1, map(entries.to_vec()))]));
    let x = || (-2, bytes([1; 32]));
    let y = || (-3, bytes([1; 32]));
    for entries in [
        &[(1, int(1)), (-1, int(1)), x(), y()][..],
        &[(1, int(2)), (-1, int(2)), x(), y()],
        &[(1, int(2)), (-1, int(1)), x()],
        &[(1, int(2)), (-1, int(1)), x(), (-3, bytes([1; 31]))],
        &[(1, int(2)), (-1, int(1)), x(), y(), (-4, bytes("d"))],
    ] {
        assert_eq!(key(entries), fault, "{entries:?}");
    }
    assert_eq!(recipient(1, map([])), Refusal::Missing("the ephemeral key of a recipient"));
    let tagged = encryption_info();
    let Value::Tag(_, parts) = tagged else { panic!() };
    // COSE_Encrypt0.
    let other = wrapped(&Value::Tag(16, parts));
    let refusal = refused(&[&transfer()[..], &[(19, other)]].concat());
    assert_eq!(refusal, unsupported("COSE structure with tag", 16));
}
