//! Bodies: CBOR as text that a person reads, and what a person writes as CBOR.

use ciborium::Value;

use super::text;

/// How text is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// On one line.
    Line,
    /// Over several lines, where that helps.
    Lines,
}

/// The width that a line may have before it is broken, characters.
const WIDTH: usize = 78;

/// One CBOR item, and nothing after it.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).ok()?;
    rest.is_empty().then_some(value)
}

/// Encodes an item.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a vector takes everything");
    bytes
}

/// CBOR as JSON, with h'..' for byte strings and 1(..) for tags (RFC 8949 section 8).
pub(crate) fn text(value: &Value, layout: Layout) -> String {
    match layout {
        Layout::Line => line(value),
        Layout::Lines => lines(value, 0, true),
    }
}

fn lines(value: &Value, indent: usize, outermost: bool) -> String {
    let short = line(value);
    let breaks = match value {
        Value::Map(members) => outermost && members.len() > 1,
        Value::Array(items) => outermost && items.iter().any(Value::is_map),
        _ => return short,
    };
    if !breaks && indent + short.chars().count() <= WIDTH {
        return short;
    }
    let inner = indent + 2;
    let (open, parts, close) = match value {
        Value::Map(members) => {
            let member = |(key, value): &(Value, Value)| {
                let key = line(key);
                let value_indent = inner + key.chars().count() + 2;
                let mut text = lines(value, value_indent, false);
                if text.contains('\n') {
                    text = lines(value, inner, false);
                }
                format!("{key}: {text}")
            };
            ('{', members.iter().map(member).collect::<Vec<_>>(), '}')
        }
        Value::Array(items) => {
            ('[', items.iter().map(|item| lines(item, inner, false)).collect(), ']')
        }
        _ => return short,
    };
    let pad = " ".repeat(inner);
    let parts = parts.join(&format!(",\n{pad}"));
    format!("{open}\n{pad}{parts}\n{}{close}", " ".repeat(indent))
}

fn line(value: &Value) -> String {
    let list = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Text(text) => quoted(text),
        Value::Bytes(bytes) => format!("h'{}'", hex(bytes)),
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Bool(value) => value.to_string(),
        Value::Null => "null".into(),
        Value::Tag(tag, value) => format!("{tag}({})", line(value)),
        Value::Array(items) => format!("[{}]", list(items.iter().map(line).collect())),
        Value::Map(members) => {
            let member = |(key, value): &(Value, Value)| format!("{}: {}", line(key), line(value));
            format!("{{{}}}", list(members.iter().map(member).collect()))
        }
        _ => "undefined".into(),
    }
}

/// A JSON string without anything that could drive a terminal.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    // JSON escapes the controls below 0x20 itself, the others not.
    text::printable(&json)
}

/// CBOR as JSON proper: byte strings become texts of the form h'..', tags vanish.
pub(crate) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Integer(number) => match i64::try_from(*number) {
            Ok(number) => number.into(),
            Err(_) => u64::try_from(*number).map_or_else(|_| line(value).into(), Into::into),
        },
        Value::Float(number) => (*number).into(),
        Value::Bool(value) => (*value).into(),
        Value::Null => serde_json::Value::Null,
        Value::Tag(_, value) => json(value),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Map(members) => members
            .iter()
            .map(|(key, value)| {
                let key = key.as_text().map_or_else(|| line(key), str::to_owned);
                (key, json(value))
            })
            .collect(),
        other => line(other).into(),
    }
}

/// JSON as CBOR.
pub(crate) fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Integer(number.into()),
            (None, Some(number)) => Value::Integer(number.into()),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::Array(items) => Value::Array(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(members) => Value::Map(
            members.into_iter().map(|(key, value)| (Value::Text(key), from_json(value))).collect(),
        ),
    }
}

/// `key=value` as a member: the value is JSON where it can be, and a text otherwise.
pub(crate) fn member(pair: &str) -> Result<(String, Value), String> {
    let (key, value) = pair.split_once('=').ok_or("write it as key=value")?;
    if key.is_empty() {
        return Err("there is no key before the =".into());
    }
    let value = serde_json::from_str(value).map_or_else(|_| Value::Text(value.into()), from_json);
    Ok((key.to_owned(), value))
}

/// The member `key` of a map.
pub(crate) fn get<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let members = value.as_map()?;
    members.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
}

/// The text `key` of a map.
pub(crate) fn get_text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    get(value, key)?.as_text()
}

/// The number `key` of a map.
pub(crate) fn get_number(value: &Value, key: &str) -> Option<u64> {
    get(value, key)?.as_integer()?.try_into().ok()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of hexadecimal digits; spaces between them do not matter.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16)).collect();
    let digits = digits.ok_or("not hexadecimal digits")?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("an odd number of hexadecimal digits".into());
    }
    let byte = |[high, low]: &[u32; 2]| (high << 4 | low) as u8;
    Ok(pairs.iter().map(byte).collect())
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;

    use super::*;

    #[test]
    fn cbor_reads_like_json() {
        let value = cbor!({
            "n" => "Kü\u{1b}che", "on" => true, "level" => -3, "x" => 1.5, "none" => null,
            "data" => Value::Bytes(vec![0, 255]),
            "time" => Value::Tag(1, Box::new(Value::from(7)))
        })
        .unwrap();
        assert_eq!(
            text(&value, Layout::Line),
            "{\"n\": \"Kü\\u001bche\", \"on\": true, \"level\": -3, \"x\": 1.5, \"none\": null, \
             \"data\": h'00ff', \"time\": 1(7)}"
        );
        let json = json(&value).to_string();
        assert!(json.contains("\"data\":\"h'00ff'\"") && json.contains("\"time\":7"), "{json}");
    }

    #[test]
    fn long_bodies_are_laid_out_and_short_parts_stay_together() {
        let value = cbor!([{
            "href" => "/oic/d", "rt" => ["oic.wk.d", "oic.d.virtual"], "p" => {"bm" => 1},
            "eps" => [{"ep" => "coap://192.0.2.1:40001"}, {"ep" => "coaps://192.0.2.1:40002"},
                      {"ep" => "coap://192.0.2.2:40001"}]
        }])
        .unwrap();
        assert_eq!(
            text(&value, Layout::Lines),
            r#"[
  {
    "href": "/oic/d",
    "rt": ["oic.wk.d", "oic.d.virtual"],
    "p": {"bm": 1},
    "eps": [
      {"ep": "coap://192.0.2.1:40001"},
      {"ep": "coaps://192.0.2.1:40002"},
      {"ep": "coap://192.0.2.2:40001"}
    ]
  }
]"#
        );
        assert_eq!(text(&cbor!({"bm" => 1}).unwrap(), Layout::Lines), r#"{"bm": 1}"#);
        assert_eq!(text(&cbor!([1, 2, 3]).unwrap(), Layout::Lines), "[1, 2, 3]");
    }

    #[test]
    fn values_are_json_where_they_can_be() {
        let as_text = |pair| {
            let (key, value) = member(pair).unwrap();
            format!("{key} {}", line(&value))
        };
        assert_eq!(as_text("tm=256"), "tm 256");
        assert_eq!(as_text("purl=https://x/y?a=b"), "purl \"https://x/y?a=b\"");
        assert_eq!(as_text("n=\"256\""), "n \"256\"");
        assert_eq!(as_text("dos={\"s\": 3}"), "dos {\"s\": 3}");
        assert_eq!(as_text("owned=true"), "owned true");
        assert_eq!(as_text("purl="), "purl \"\"");
        assert!(member("purl").is_err() && member("=x").is_err());
    }

    #[test]
    fn only_one_whole_item_is_decoded() {
        assert!(decode(&[0x01]).is_some());
        assert!(decode(&[0x01, 0x01]).is_none());
        assert!(decode(&[0x82, 0x01]).is_none());
        assert!(decode(&[0x81; 100_000]).is_none());
        let value = cbor!({"a" => [1, "b"]}).unwrap();
        assert_eq!(decode(&encode(&value)), Some(value));
    }

    #[test]
    fn hexadecimal_digits_are_read() {
        assert_eq!(from_hex("a1 61\n6E").unwrap(), [0xa1, 0x61, 0x6e]);
        assert!(from_hex("a").is_err() && from_hex("zz").is_err());
        assert_eq!(hex(&[0, 16]), "0010");
    }
}
