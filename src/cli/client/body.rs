//! Bodies as a person reads them, and as a person writes them.

use ciborium::Value;

pub(super) use crate::client::body::{encode, from_hex, hex, line};

/// CBOR as JSON, one property a line, with h'..' for byte strings and 1(..) for tags (RFC 8949 section
/// 8); a line is broken where it is longer than `width` characters and has parts.
pub(super) fn lines(value: &Value, width: usize) -> String {
    laid_out(value, 0, true, width)
}

fn laid_out(value: &Value, indent: usize, outermost: bool, width: usize) -> String {
    let short = line(value);
    let breaks = match value {
        Value::Map(members) => outermost && members.len() > 1,
        Value::Array(items) => outermost && items.iter().any(Value::is_map),
        _ => return short,
    };
    if !breaks && indent + short.chars().count() <= width {
        return short;
    }
    let inner = indent + 2;
    let (open, parts, close) = match value {
        Value::Map(members) => {
            let member = |(key, value): &(Value, Value)| {
                let key = line(key);
                let value_indent = inner + key.chars().count() + 2;
                let mut text = laid_out(value, value_indent, false, width);
                if text.contains('\n') {
                    text = laid_out(value, inner, false, width);
                }
                format!("{key}: {text}")
            };
            ('{', members.iter().map(member).collect::<Vec<_>>(), '}')
        }
        Value::Array(items) => {
            ('[', items.iter().map(|item| laid_out(item, inner, false, width)).collect(), ']')
        }
        _ => return short,
    };
    let pad = " ".repeat(inner);
    let parts = parts.join(&format!(",\n{pad}"));
    format!("{open}\n{pad}{parts}\n{}{close}", " ".repeat(indent))
}

/// CBOR as JSON proper: byte strings become texts of the form h'..', tags vanish.
pub(super) fn json(value: &Value) -> serde_json::Value {
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
pub(super) fn from_json(value: serde_json::Value) -> Value {
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
pub(super) fn member(pair: &str) -> Result<(String, Value), String> {
    let (key, value) = pair.split_once('=').ok_or("write it as key=value")?;
    if key.is_empty() {
        return Err("there is no key before the =".into());
    }
    let value = serde_json::from_str(value).map_or_else(|_| Value::Text(value.into()), from_json);
    Ok((key.to_owned(), value))
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
            line(&value),
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
            lines(&value, 78),
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
        assert_eq!(lines(&cbor!({"bm" => 1}).unwrap(), 78), r#"{"bm": 1}"#);
        assert_eq!(lines(&cbor!([1, 2, 3]).unwrap(), 78), "[1, 2, 3]");
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
    fn a_narrow_screen_gets_short_lines() {
        let value = cbor!({
            "purl" => "https://x/y", "if" => ["oic.if.baseline", "oic.if.rw", "oic.if.r"], "cm" => 0
        });
        let text = lines(&value.unwrap(), 38);
        assert!(text.lines().all(|line| line.chars().count() <= 38), "{text}");
        assert_eq!(text.lines().count(), 9, "{text}");
    }
}
