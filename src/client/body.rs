//! Bodies: CBOR as the client takes and gives it, and as one line of text.

use ciborium::Value;

use super::text;

/// One CBOR item, and nothing after it.
pub fn decode(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).ok()?;
    rest.is_empty().then_some(value)
}

/// Encodes an item.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a vector takes everything");
    bytes
}

/// CBOR as JSON on one line, with h'..' for byte strings and 1(..) for tags (RFC 8949 section 8). What
/// could drive a terminal is taken out.
pub fn line(value: &Value) -> String {
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

/// The member `key` of a map.
pub fn get<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let members = value.as_map()?;
    members.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
}

/// The text `key` of a map.
pub fn get_text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    get(value, key)?.as_text()
}

/// The number `key` of a map.
pub fn get_number(value: &Value, key: &str) -> Option<u64> {
    get(value, key)?.as_integer()?.try_into().ok()
}

/// Hexadecimal digits, two for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of hexadecimal digits; spaces between them do not matter.
pub fn from_hex(text: &str) -> Result<Vec<u8>, String> {
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
