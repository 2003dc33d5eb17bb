//! Which versions a package is for, and whether somebody has to approve of it.

use freshen::package::{Algorithm, Fault, Manifest, Refusal, VersionMatch, verify};

use crate::corpus::descriptions;
use crate::draft::{Draft, OVERRIDE, array, identity, int, map, wrapped};
use crate::keys::{ED25519, Key};

fn read(draft: &Draft) -> Result<Manifest, Refusal> {
    let key = Key::new(Algorithm::Ed25519, 7);
    verify(&draft.sign(&[(&key, ED25519)]), &key.trust(), &identity())
        .map(|manifest| Manifest::clone(&manifest))
}

/// The parameter that asks for a version.
fn wants(comparison: i64, numbers: &[i64]) -> (i64, ciborium::Value) {
    let list = array([int(comparison), array(numbers.iter().map(|number| int(*number)))]);
    (OVERRIDE, map([(28, wrapped(&list))]))
}

fn with(commands: &[(i64, ciborium::Value)]) -> Draft {
    let mut draft = Draft::new();
    draft.shared.extend(commands.iter().cloned());
    draft
}

const CHECK: i64 = 28;
const APPROVE: i64 = 27;

#[test]
fn version_matches_are_read_one_after_the_other() {
    let check = || (CHECK, int(15));
    let range = with(&[wants(2, &[1, 0]), check(), wants(5, &[2]), check()]);
    let requires = read(&range).unwrap().requires;
    let texts: Vec<_> = requires.iter().map(ToString::to_string).collect();
    assert_eq!(texts, [">=1.0", "<2"]);
    for (number, sign) in [(1, ">"), (2, ">="), (3, "="), (4, "<="), (5, "<")] {
        let manifest = read(&with(&[wants(number, &[1, 2, -1, 3]), check()])).unwrap();
        assert_eq!(manifest.requires[0].to_string(), format!("{sign}1.2-rc.3"));
    }
    assert!(read(&Draft::new()).unwrap().requires.is_empty());
}

#[test]
fn version_matches_are_complete_and_bounded() {
    let check = || (CHECK, int(15));
    let missing = |what| Err(Refusal::Missing(what));
    assert_eq!(read(&with(&[check()])), missing("the version match"));
    assert_eq!(read(&with(&[wants(2, &[1])])), missing("the check of the version"));
    let twice = with(&[wants(2, &[1]), wants(5, &[2]), check()]);
    assert_eq!(read(&twice), Err(Refusal::Contradiction("the version match before its check")));
    for (comparison, numbers) in [(0, &[1][..]), (6, &[1]), (2, &[]), (2, &[-1]), (2, &[1, -4])] {
        let refusal = read(&with(&[wants(comparison, numbers), check()])).unwrap_err();
        assert!(matches!(refusal, Refusal::Version(_)), "{comparison} {numbers:?}: {refusal}");
    }
    let many = |count: i64| {
        let matches = (0..count).flat_map(|n| [wants(2, &[n]), check()]);
        read(&with(&matches.collect::<Vec<_>>()))
    };
    assert_eq!(many(8).unwrap().requires.len(), 8);
    assert_eq!(many(9), Err(Refusal::OverLimit { what: "version matches", limit: 8 }));
    let three = wrapped(&array([int(2), array([int(1)]), int(3)]));
    let fault = Refusal::Malformed { part: "a version match", fault: Fault::WrongValue };
    assert_eq!(read(&with(&[(OVERRIDE, map([(28, three)])), check()])), Err(fault));
}

#[test]
fn approval_is_asked_for_with_any_priority() {
    assert!(!read(&Draft::new()).unwrap().needs_approval);
    assert!(read(&with(&[(APPROVE, int(15))])).unwrap().needs_approval);
    for priority in [i64::MIN, -1, 0, 7] {
        let draft = with(&[(OVERRIDE, map([(27, int(priority))])), (APPROVE, int(15))]);
        assert!(read(&draft).unwrap().needs_approval);
    }
}

#[test]
fn what_we_ask_for_is_what_a_device_reads() {
    let key = Key::new(Algorithm::Ed25519, 7);
    let mut description = descriptions().remove(0).1;
    description.needs_approval = true;
    description.requires =
        [">=1.0", "<2.0-alpha"].map(|text| VersionMatch::from_text(text).unwrap()).to_vec();
    let envelope = description.sign(&key.ours()).unwrap();
    let manifest = verify(&envelope, &key.trust(), &identity()).unwrap();
    assert_eq!(manifest.requires, description.requires);
    assert!(manifest.needs_approval);
}
