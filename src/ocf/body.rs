//! CBOR bodies: bounded, then parsed, then refused unless they are one map with distinct text keys
//! and nothing behind it.

use ciborium::Value;
use serde::Serialize;

/// Longest body of a request to one of our resources, bytes. A softwareupdate POST needs about 300;
/// parsing costs up to 48 times the length in memory.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;

/// Why a body is not taken: words for the diagnostic payload.
pub(super) type Fault = String;

/// The members of a map, in the order in which they came.
pub(super) fn members(body: &[u8]) -> Result<Vec<(String, Value)>, Fault> {
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("the body is longer than {BODY_BYTES_MAX} bytes"));
    }
    let mut rest = body;
    let value: Value = ciborium::from_reader(&mut rest)
        .map_err(|_| String::from("the body is not CBOR; send a map of properties"))?;
    if !rest.is_empty() {
        return Err("there is something behind the body's map".into());
    }
    properties(value)
}

/// The members of a map that is part of a body.
pub(super) fn properties(value: Value) -> Result<Vec<(String, Value)>, Fault> {
    let Value::Map(entries) = value else {
        return Err("the body is not a map of properties".into());
    };
    let mut members: Vec<(String, Value)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Value::Text(key) = key else {
            return Err("a property's name is not a text".into());
        };
        if members.iter().any(|(other, _)| *other == key) {
            return Err(format!("property {} is there twice", quoted(&key)));
        }
        members.push((key, value));
    }
    Ok(members)
}

/// A text from a peer, cut to what a diagnostic payload should carry.
pub(super) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let short: String = text.chars().take(CHARS_MAX).collect();
    format!("\"{}\"", short.escape_debug())
}

/// The value as a text.
pub(super) fn text(name: &str, value: Value) -> Result<String, Fault> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(format!("{name} is not a text")),
    }
}

/// The value as an integer.
pub(super) fn integer(name: &str, value: &Value) -> Result<i64, Fault> {
    value
        .as_integer()
        .and_then(|integer| i64::try_from(integer).ok())
        .ok_or_else(|| format!("{name} is not an integer in its range"))
}

/// A representation as CBOR.
pub(super) fn encoded(representation: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    ciborium::into_writer(representation, &mut bytes).expect("writing to memory does not fail");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_map_with_distinct_text_keys_is_a_body() {
        let good = members(&[0xbf, 0x61, b'a', 0x01, 0xff]).unwrap();
        assert_eq!(good, [("a".to_owned(), Value::from(1))]);
        for (bad, why) in [
            (&b""[..], "not CBOR"),
            (&[0x01], "not a map"),
            (&[0xa1, 0x01, 0x01], "not a text"),
            (&[0xa0, 0x00], "behind"),
            (&[0xa2, 0x61, b'a', 0x01, 0x61, b'a', 0x02], "twice"),
            (&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "not CBOR"),
            (&[0x9f; 500], "not CBOR"),
            (&[0xa0; BODY_BYTES_MAX + 1], "longer"),
        ] {
            let fault = members(bad).unwrap_err();
            assert!(fault.contains(why), "{fault} / {why}");
        }
    }
}
