//! What people are shown of envelopes that no device takes.

use freshen::package::{Entry, inspect, outline};

use crate::corpus::corpus;
use crate::draft::{Draft, OVERRIDE, array, bytes, commands, encode, int, map, tag, wrapped};

/// All names and values, in the order of the envelope.
fn words(entries: &[Entry]) -> String {
    let words = entries.iter().map(|Entry { name, value, inside }| {
        format!("{name} {}\n{}", value.clone().unwrap_or_default(), words(inside))
    });
    words.collect()
}

#[test]
fn every_good_envelope_is_shown_member_by_member() {
    for good in corpus() {
        let shown = words(&outline(&good.envelope).unwrap());
        for name in [
            "authentication-wrapper",
            "digest SHA-256 ",
            "COSE_Sign1",
            "alg ",
            "manifest-sequence-number ",
            "shared-sequence",
            "parameter-vendor-identifier ",
            "directive-fetch",
        ] {
            assert!(shown.contains(name), "{}: no {name} in\n{shown}", good.name);
        }
    }
}

#[test]
fn what_is_outside_the_profile_is_shown_by_its_name() {
    let mut draft = Draft::new();
    draft.install.push((OVERRIDE, map([(22, int(0)), (99, bytes([0xff]))])));
    draft.install.push((22, int(15)));
    draft
        .install
        .push((15, array([wrapped(&commands([(32, wrapped(&commands([(31, int(2))])))]))])));
    draft.components = array([array([bytes("M"), bytes([2]), bytes([0x1a, 0, 1])])]);
    let envelope = draft.set(8, wrapped(&commands([(23, int(2))]))).sign(&[]);
    inspect(&envelope).unwrap_err();
    let shown = words(&outline(&envelope).unwrap());
    for name in [
        "load \n",
        "directive-invoke",
        "component M/h'02'/h'1a0001'",
        "parameter-source-component 0",
        "99 h'ff'",
        "directive-copy",
        "directive-try-each \nalternative \ndirective-run-sequence \ndirective-swap",
    ] {
        assert!(shown.contains(name), "no {name} in\n{shown}");
    }
    // Protocols that carry envelopes leave the tag out.
    assert_eq!(words(&outline(&envelope[2..]).unwrap()), shown);
    let more = outline(&[&envelope[..], b"more"].concat()).unwrap();
    assert!(words(&more).ends_with("after its end 4 bytes\n"));
}

#[test]
fn what_is_no_envelope_has_no_outline() {
    for other in [&b""[..], b"hello", &[0xa0], &encode(&map([(1, int(1))])), &[0xbf; 1000]] {
        assert!(outline(other).is_none());
    }
    assert!(outline(&vec![0x81; 1 << 20]).is_none(), "it does not go down for ever");
    assert!(outline(&encode(&tag(107, int(1)))).is_none());
}

#[test]
fn damaged_envelopes_are_shown_as_far_as_they_can_be_read() {
    for good in corpus() {
        let mut envelope = good.envelope.clone();
        for at in 0..envelope.len() {
            for flipped in [1, 0x20, 0xff] {
                envelope[at] ^= flipped;
                if let Some(entries) = outline(&envelope) {
                    assert!(!words(&entries).contains('\x1b'));
                }
                envelope[at] ^= flipped;
            }
        }
    }
}
