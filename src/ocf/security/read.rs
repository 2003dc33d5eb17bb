//! Values as onboarding tools really send them.

use ciborium::Value;
use uuid::Uuid;

use crate::ocf::body::{self, Fault};

/// A text; IoTivity-Lite's tool sends some with the NUL that ends them in C.
pub(super) fn text(name: &str, value: Value) -> Result<String, Fault> {
    let mut text = body::text(name, value)?;
    text.truncate(text.trim_end_matches('\0').len());
    Ok(text)
}

/// A text that keeps within `max` bytes.
pub(super) fn short_text(name: &str, value: Value, max: usize) -> Result<String, Fault> {
    let text = text(name, value)?;
    if text.len() > max {
        return Err(format!("{name} is longer than {max} bytes"));
    }
    Ok(text)
}

/// A UUID in its 36 characters.
pub(in crate::ocf) fn uuid(name: &str, value: Value) -> Result<Uuid, Fault> {
    let text = text(name, value)?;
    Some(&text)
        .filter(|text| text.len() == 36)
        .and_then(|text| Uuid::try_parse(text).ok())
        .ok_or_else(|| format!("{name} is not a UUID in 36 characters"))
}

pub(super) fn boolean(name: &str, value: &Value) -> Result<bool, Fault> {
    value.as_bool().ok_or_else(|| format!("{name} is neither true nor false"))
}

pub(super) fn array(name: &str, value: Value, max: usize) -> Result<Vec<Value>, Fault> {
    let Value::Array(values) = value else { return Err(format!("{name} is not an array")) };
    if values.len() > max {
        return Err(format!("{name} has more than {max} entries"));
    }
    Ok(values)
}

/// An integer in its range.
pub(super) fn number<T: TryFrom<i64>>(name: &str, value: &Value) -> Result<T, Fault> {
    T::try_from(body::integer(name, value)?).map_err(|_| format!("{name} is out of its range"))
}

/// Properties that every resource has and nobody can change here; tools send them back.
pub(super) fn is_common(name: &str) -> bool {
    matches!(name, "rt" | "if" | "n" | "id")
}

/// The refusal of a property that is not there.
pub(super) fn unknown(name: &str) -> Fault {
    format!("there is no property {} here", body::quoted(name))
}
