//! What an envelope says as far as it can be read, whoever made it and whatever it asks for.
//!
//! For people only: nothing here is believed, and nothing that is installed comes from here. It reads
//! leniently what [`super::cbor`] refuses, with the CBOR library that the strict reader is checked
//! against.

use ciborium::Value;

use super::codes::TAG_ENVELOPE;
use super::component;
use super::names::Table;

/// Something in an envelope: what it is called, what it says, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As IANA calls it, or its number.
    pub name: String,
    /// Its value as text, where it is one; without control characters.
    pub value: Option<String>,
    /// Its parts.
    pub inside: Vec<Self>,
}

/// What is in an envelope, member by member. `None` for anything that is none.
pub fn outline(envelope: &[u8]) -> Option<Vec<Entry>> {
    let mut rest = envelope;
    let value: Value = ciborium::from_reader(&mut rest).ok()?;
    // Protocols that carry envelopes leave the tag out.
    let members = match value {
        Value::Tag(TAG_ENVELOPE, members) => members.into_map().ok()?,
        Value::Map(members) => members,
        _ => return None,
    };
    let is_envelope = members.iter().any(|(key, _)| number(key) == Some(MANIFEST));
    let mut entries: Vec<_> = members.iter().map(|(key, value)| member(key, value)).collect();
    if !rest.is_empty() {
        entries.push(Entry::leaf("after its end", format!("{} bytes", rest.len())));
    }
    is_envelope.then_some(entries)
}

const AUTHENTICATION: i64 = 2;
const MANIFEST: i64 = 3;
const TRY_EACH: i64 = 15;
const RUN_SEQUENCE: i64 = 32;

/// Sequences in sequences that are followed.
const DEPTH_MAX: u8 = 4;

impl Entry {
    fn leaf(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()), inside: vec![] }
    }

    fn node(name: impl Into<String>, inside: Vec<Self>) -> Self {
        Self { name: name.into(), value: None, inside }
    }

    fn shown(name: impl Into<String>, value: &Value) -> Self {
        Self::leaf(name, shown(value))
    }
}

fn member(key: &Value, value: &Value) -> Entry {
    let Some(number) = number(key) else {
        let size = value.as_bytes().map_or(0, Vec::len);
        return Entry::leaf(format!("payload {}", shown(key)), format!("{size} bytes"));
    };
    let name = Table::Envelope.name(number);
    match (number, unwrapped(value)) {
        (AUTHENTICATION, Some(Value::Array(blocks))) => Entry::node(name, authentication(&blocks)),
        (MANIFEST, Some(Value::Map(members))) => {
            Entry::node(name, members.iter().map(manifest_member).collect())
        }
        _ => sequence_or_size(format!("{name}, outside the manifest"), value),
    }
}

fn authentication(blocks: &[Value]) -> Vec<Entry> {
    let block = |block: &Value| match unwrapped(block) {
        Some(Value::Tag(tag, parts)) => signature(tag, &parts),
        Some(Value::Array(digest)) => digest_entry("digest", &digest),
        _ => Entry::shown("block", block),
    };
    blocks.iter().map(block).collect()
}

fn signature(tag: u64, parts: &Value) -> Entry {
    let name = Table::Tags.name(i64::try_from(tag).unwrap_or(i64::MAX));
    let Some([protected, unprotected, ..]) = parts.as_array().map(Vec::as_slice) else {
        return Entry::shown(name, parts);
    };
    let headers = [unwrapped(protected), Some(unprotected.clone())];
    let headers = headers.into_iter().flatten().filter_map(|headers| headers.into_map().ok());
    let header = |(label, value): &(Value, Value)| match (number(label), number(value)) {
        (Some(1), Some(algorithm)) => Entry::leaf("alg", Table::Algorithms.name(algorithm)),
        (Some(label), _) => Entry::shown(Table::Headers.name(label), value),
        _ => Entry::shown(shown(label), value),
    };
    Entry::node(name, headers.flatten().map(|it| header(&it)).collect())
}

fn manifest_member((key, value): &(Value, Value)) -> Entry {
    let Some(number) = number(key) else { return Entry::shown(shown(key), value) };
    let name = Table::Manifest.name(number);
    match (number, value, unwrapped(value)) {
        (3, _, Some(Value::Map(members))) => {
            Entry::node(name, members.iter().map(common_member).collect())
        }
        (5, Value::Array(id), _) => Entry::leaf(name, component_id(id)),
        (6, _, Some(Value::Array(numbers))) => Entry::leaf(name, version(&numbers)),
        (_, Value::Array(digest), _) => digest_entry(&format!("{name}, cut out"), digest),
        (_, Value::Bytes(_), _) => sequence_or_size(name, value),
        _ => Entry::shown(name, value),
    }
}

fn common_member((key, value): &(Value, Value)) -> Entry {
    let Some(number) = number(key) else { return Entry::shown(shown(key), value) };
    let name = Table::Common.name(number);
    match (number, value) {
        (2, Value::Array(ids)) => {
            let ids =
                ids.iter().map(|id| id.as_array().map_or_else(|| shown(id), |it| component_id(it)));
            Entry::node(name, ids.map(|id| Entry::leaf("component", id)).collect())
        }
        (4, Value::Bytes(_)) => sequence_or_size(name, value),
        _ => Entry::shown(name, value),
    }
}

/// A byte string with commands in it, or whatever it is.
fn sequence_or_size(name: String, value: &Value) -> Entry {
    match (unwrapped(value), value) {
        (Some(Value::Array(commands)), _) if is_sequence(&commands) => {
            Entry::node(name, sequence(&commands, DEPTH_MAX))
        }
        (_, Value::Bytes(bytes)) => Entry::leaf(name, format!("{} bytes", bytes.len())),
        _ => Entry::shown(name, value),
    }
}

fn is_sequence(commands: &[Value]) -> bool {
    commands.len().is_multiple_of(2)
        && commands.iter().step_by(2).all(|code| number(code).is_some())
}

fn sequence(commands: &[Value], depth: u8) -> Vec<Entry> {
    let commands = commands.chunks_exact(2).map(|pair| match pair {
        [code, argument] => command(code, argument, depth),
        _ => Entry::node("", vec![]),
    });
    commands.collect()
}

fn command(code: &Value, argument: &Value, depth: u8) -> Entry {
    let Some(code) = number(code) else { return Entry::shown(shown(code), argument) };
    let name = Table::Commands.name(code);
    match (code, argument) {
        (19 | 20, Value::Map(parameters)) => {
            Entry::node(name, parameters.iter().map(parameter).collect())
        }
        (TRY_EACH, Value::Array(ways)) if depth > 0 => {
            Entry::node(name, ways.iter().map(|way| nested("alternative", way, depth)).collect())
        }
        (RUN_SEQUENCE, Value::Bytes(_)) if depth > 0 => nested(&name, argument, depth),
        // Their argument says only what is reported.
        (1..=11 | 14 | 18 | 21..=28 | 31 | 33, Value::Integer(_)) => Entry::node(name, vec![]),
        _ => Entry::shown(name, argument),
    }
}

fn nested(name: &str, value: &Value, depth: u8) -> Entry {
    match unwrapped(value) {
        Some(Value::Array(commands)) if is_sequence(&commands) => {
            Entry::node(name, sequence(&commands, depth - 1))
        }
        _ => Entry::shown(name, value),
    }
}

fn parameter((key, value): &(Value, Value)) -> Entry {
    let Some(number) = number(key) else { return Entry::shown(shown(key), value) };
    let name = Table::Parameters.name(number);
    let uuid = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).map(|id| id.to_string());
    match (number, value, unwrapped(value)) {
        (1 | 2 | 24, Value::Bytes(bytes), _) => {
            Entry::leaf(name, uuid(bytes).unwrap_or_else(|_| shown(value)))
        }
        (3 | -258 | -261, _, Some(Value::Array(digest))) => digest_entry(&name, &digest),
        (19, Value::Bytes(bytes), _) => Entry::leaf(name, format!("{} bytes", bytes.len())),
        _ => Entry::shown(name, value),
    }
}

fn digest_entry(name: &str, digest: &[Value]) -> Entry {
    match digest {
        [algorithm, Value::Bytes(bytes)] if number(algorithm).is_some() => {
            let algorithm = number(algorithm).map(|it| Table::Algorithms.name(it));
            Entry::leaf(name, format!("{} {}", algorithm.unwrap_or_default(), hex(bytes)))
        }
        _ => Entry::leaf(name, listed(digest)),
    }
}

/// As the configuration names it.
fn component_id(id: &[Value]) -> String {
    let part =
        |part: &Value| part.as_bytes().map_or_else(|| shown(part), |it| component::shown(it));
    id.iter().map(part).collect::<Vec<_>>().join("/")
}

fn version(numbers: &[Value]) -> String {
    let known: Option<Vec<i64>> = numbers.iter().map(number).collect();
    known.and_then(|it| super::version::to_text(&it).ok()).unwrap_or_else(|| listed(numbers))
}

/// What a byte string has in it, if that is one item of CBOR.
fn unwrapped(value: &Value) -> Option<Value> {
    let mut rest = value.as_bytes()?.as_slice();
    let inside = ciborium::from_reader(&mut rest).ok()?;
    rest.is_empty().then_some(inside)
}

fn number(value: &Value) -> Option<i64> {
    value.as_integer()?.try_into().ok()
}

/// In diagnostic notation (RFC 8949, 8), cut off where it gets long.
fn shown(value: &Value) -> String {
    match value {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Bytes(bytes) => match bytes.get(..BYTES_SHOWN) {
            Some(first) if bytes.len() > BYTES_SHOWN => {
                format!("h'{}…', {} bytes", hex(first), bytes.len())
            }
            _ => format!("h'{}'", hex(bytes)),
        },
        Value::Text(text) => text.chars().take(CHARS_SHOWN).flat_map(char::escape_debug).collect(),
        Value::Bool(it) => it.to_string(),
        Value::Null => "null".to_owned(),
        Value::Array(items) => listed(items),
        Value::Map(entries) => format!("a map of {}", entries.len()),
        Value::Tag(tag, _) => format!("tag {tag}"),
        _ => "?".to_owned(),
    }
}

fn listed(items: &[Value]) -> String {
    let first: Vec<_> = items
        .iter()
        .take(ITEMS_SHOWN)
        .map(|item| match item {
            Value::Array(items) => format!("an array of {}", items.len()),
            item => shown(item),
        })
        .collect();
    let more = if items.len() > ITEMS_SHOWN { ", …" } else { "" };
    format!("[{}{more}]", first.join(", "))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const BYTES_SHOWN: usize = 64;
const CHARS_SHOWN: usize = 200;
const ITEMS_SHOWN: usize = 16;
