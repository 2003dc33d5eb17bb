//! Component identifiers: where in the device's software a payload belongs.

use super::Refusal;
use super::cbor::Reader;
use super::codes::{COMPONENT_NAME_BYTES_MAX, COMPONENT_NAMES_MAX, COMPONENTS_MAX};

/// `SUIT_Components`: one to sixteen identifiers that do not overlap.
pub(super) fn read_components(reader: &mut Reader<'_>) -> Result<Vec<Vec<String>>, Refusal> {
    let count = reader.array()?;
    let limit = COMPONENTS_MAX as u64;
    if count > limit {
        return Err(Refusal::OverLimit { what: "components", limit });
    }
    let ids = (0..count).map(|_| read_id(reader)).collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() {
        return Err(Refusal::Missing("a component"));
    }
    match overlapping(&ids) {
        Some(id) => Err(Refusal::Overlap(id.join("/"))),
        None => Ok(ids),
    }
}

/// An identifier is a path (draft 8.4.5.1), and a path from a stranger is an attack until shown
/// otherwise (draft-ietf-suit-update-management, security considerations). What is no text is the number
/// of a place that only the device knows.
pub(super) fn read_id(reader: &mut Reader<'_>) -> Result<Vec<String>, Refusal> {
    let count = reader.array()?;
    let limit = COMPONENT_NAMES_MAX as u64;
    if count > limit {
        return Err(Refusal::OverLimit { what: "names in a component identifier", limit });
    }
    let names = (0..count).map(|_| reader.bytes()).collect::<Result<Vec<_>, _>>()?;
    let safe = |name: &&[u8]| match text(name) {
        _ if name.is_empty() || name.len() > COMPONENT_NAME_BYTES_MAX => false,
        Some(text) => text != "." && text != ".." && !text.contains('/'),
        None => true,
    };
    let ids = names.iter().map(|name| shown(name)).collect();
    if names.iter().all(safe) && !names.is_empty() {
        Ok(ids)
    } else {
        Err(Refusal::ComponentPath(format!("[{}]", ids.join(", "))))
    }
}

/// A name that is meant as text.
fn text(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok().filter(|text| !text.contains(char::is_control))
}

/// One name of an identifier in print: text as it is, anything else as `h'00'` (RFC 8949, 8). No two
/// names look alike, and none can harm a terminal or a log.
pub(super) fn shown(name: &[u8]) -> String {
    match text(name) {
        Some(text) if !text.starts_with(OPAQUE) => text.to_owned(),
        _ => format!("{OPAQUE}{}'", name.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

/// The name that is shown so.
pub(super) fn bytes(shown: &str) -> Vec<u8> {
    let digits = shown.strip_prefix(OPAQUE).and_then(|rest| rest.strip_suffix('\''));
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let opaque = digits.and_then(|digits| digits.as_bytes().chunks(2).map(byte).collect());
    opaque.unwrap_or_else(|| shown.as_bytes().to_vec())
}

/// Whether a name of an identifier is no text, so that it names no file by itself.
pub fn is_opaque(name: &str) -> bool {
    name.starts_with(OPAQUE)
}

const OPAQUE: &str = "h'";

/// An identifier that is the same as another one, or a directory on the way to it.
fn overlapping(ids: &[Vec<String>]) -> Option<&Vec<String>> {
    ids.iter()
        .enumerate()
        .find(|(n, id)| ids.iter().enumerate().any(|(m, other)| *n != m && other.starts_with(id)))
        .map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_name_and_no_other() {
        for name in
            [&b"app"[..], b"\0", b"\x01", b"h'00'", b"h'", b"h''", b"\xff\xfe", "größe".as_bytes()]
        {
            assert_eq!(bytes(&shown(name)), name, "{}", shown(name));
        }
        assert_eq!(shown(b"\0"), "h'00'");
        assert_eq!(shown(b"h'00'"), "h'6827303027'");
        assert_eq!(bytes("h'0'"), b"h'0'");
    }
}
