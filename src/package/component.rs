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
/// otherwise (draft-ietf-suit-update-management, security considerations).
fn read_id(reader: &mut Reader<'_>) -> Result<Vec<String>, Refusal> {
    let count = reader.array()?;
    let limit = COMPONENT_NAMES_MAX as u64;
    if count > limit {
        return Err(Refusal::OverLimit { what: "names in a component identifier", limit });
    }
    let names = (0..count).map(|_| reader.bytes()).collect::<Result<Vec<_>, _>>()?;
    names
        .iter()
        .map(|name| safe_name(name).map(str::to_owned))
        .collect::<Option<Vec<_>>>()
        .filter(|names| !names.is_empty())
        .ok_or_else(|| Refusal::ComponentPath(shown(&names)))
}

fn safe_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let safe = !name.is_empty()
        && name.len() <= COMPONENT_NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c.is_control());
    safe.then_some(name)
}

/// An identifier as text that cannot harm a terminal or a log.
fn shown(names: &[&[u8]]) -> String {
    let names: Vec<_> = names.iter().map(|name| name.escape_ascii().to_string()).collect();
    format!("[{}]", names.join(", "))
}

/// An identifier that is the same as another one, or a directory on the way to it.
fn overlapping(ids: &[Vec<String>]) -> Option<&Vec<String>> {
    ids.iter()
        .enumerate()
        .find(|(n, id)| ids.iter().enumerate().any(|(m, other)| *n != m && other.starts_with(id)))
        .map(|(_, id)| id)
}
