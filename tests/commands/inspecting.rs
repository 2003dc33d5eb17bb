//! `inspect` of envelopes that freshen did not make.

use std::fs;

use ciborium::Value;
use serde_json::Value as Json;

use super::packages::Workshop;

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = vec![];
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn map(entries: Vec<(i64, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// Unsigned, with a member that no device of ours takes, and a payload larger than an envelope may be.
fn foreign() -> Vec<u8> {
    let load = Value::Array(vec![23.into(), 2.into()]);
    let components = Value::Array(vec![Value::Array(vec![Value::Bytes(vec![0])])]);
    let common = encode(&map(vec![(2, components), (4, Value::Bytes(vec![0x80]))]));
    let manifest = encode(&map(vec![
        (1, 1.into()),
        (2, 3.into()),
        (3, Value::Bytes(common)),
        (8, Value::Bytes(encode(&load))),
    ]));
    let digest = encode(&Value::Array(vec![(-16).into(), Value::Bytes(vec![7; 32])]));
    let authentication = encode(&Value::Array(vec![Value::Bytes(digest)]));
    let members = Value::Map(vec![
        (2.into(), Value::Bytes(authentication)),
        (3.into(), Value::Bytes(manifest)),
        ("#fw.bin".into(), Value::Bytes(vec![1; 100_000])),
    ]);
    encode(&Value::Tag(107, members.into()))
}

#[test]
fn an_envelope_of_another_tool_is_shown_with_what_keeps_it_out() {
    let workshop = Workshop::new();
    fs::write(workshop.path("big.suit"), foreign()).unwrap();
    let text = workshop.run(&["inspect", "big.suit"]).done();
    assert!(text.contains("kept out  the envelope has 100"), "{text}");
    for words in ["load", "directive-invoke", "component  h'00'", "payload #fw.bin  100000 bytes"] {
        assert!(text.contains(words), "no {words} in\n{text}");
    }
    let json = workshop.run(&["inspect", "--json", "big.suit"]).done();
    let json: Json = serde_json::from_str(&json).unwrap();
    assert!(json["refused"].as_str().unwrap().contains("more than the 65536"), "{json}");
    assert_eq!(json["inside"][1]["inside"][1]["value"], "3", "{json}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn what_keeps_it_out_is_named() {
    let workshop = Workshop::new();
    let Value::Tag(tag, members) = ciborium::from_reader(&foreign()[..]).unwrap() else { panic!() };
    let Value::Map(mut members) = *members else { panic!() };
    members.pop();
    let manifest = encode(&members[1].1);
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&manifest).to_vec();
    let digest = encode(&Value::Array(vec![(-16).into(), Value::Bytes(digest)]));
    members[0].1 = Value::Bytes(encode(&Value::Array(vec![Value::Bytes(digest)])));
    let envelope = encode(&Value::Tag(tag, Value::Map(members).into()));
    fs::write(workshop.path("load.suit"), envelope).unwrap();
    let text = workshop.run(&["inspect", "load.suit"]).done();
    assert!(text.contains("kept out  the manifest has the member `load`"), "{text}");
    assert!(text.contains("is not loaded elsewhere first"), "{text}");
    // verify and sign refuse it in the same words.
    let verify =
        ["verify", "--trust", "vendor.pub.pem", "load.suit", "--vendor", "x", "--class", "y"];
    assert!(workshop.run(&verify).refused().contains("it is not signed"));
    let sign = ["sign", "--key", "vendor.key.pem", "load.suit"];
    assert!(workshop.run(&sign).refused().contains("`load`"));
}
