//! Which options we know, and what happens to the others (RFC 7252 section 5.4).

use super::{Options, option};

/// What a known option must look like; outside of it, it counts as unknown (section 5.4.3, 5.4.5).
struct Form {
    lengths: std::ops::RangeInclusive<usize>,
    repeatable: bool,
}

/// Removes what has to be ignored. The error is a critical option that we do not understand.
///
/// `known` are the options that the rooms above understand, of any length.
pub(super) fn sift(options: &mut Options, known: &[u16]) -> Result<(), u16> {
    let mut previous = None;
    let mut faults = false;
    for (number, value) in options.iter() {
        if !acceptable(number, value, previous == Some(number), known) {
            if is_critical(number) {
                return Err(number);
            }
            faults = true;
        }
        previous = Some(number);
    }
    if faults {
        let mut kept = Options::default();
        for (number, value) in options.iter() {
            if acceptable(number, value, kept.first(number).is_some(), known) {
                kept.push(number, value);
            }
        }
        *options = kept;
    }
    Ok(())
}

/// Odd numbers must not be ignored (RFC 7252 section 5.4.6).
fn is_critical(number: u16) -> bool {
    number & 1 == 1
}

fn acceptable(number: u16, value: &[u8], repeated: bool, known: &[u16]) -> bool {
    match form(number) {
        Some(form) => form.lengths.contains(&value.len()) && (form.repeatable || !repeated),
        None if known.contains(&number) => !repeated,
        None => false,
    }
}

/// The forms of the options that this room understands by itself. If-Match and If-None-Match are not
/// among them: only who keeps the resource can honour them.
fn form(number: u16) -> Option<Form> {
    let (lengths, repeatable) = match number {
        option::URI_HOST | option::PROXY_SCHEME => (1..=255, false),
        option::ETAG => (1..=8, true),
        option::OBSERVE | option::BLOCK1 | option::BLOCK2 => (0..=3, false),
        option::Q_BLOCK2 => (0..=3, true),
        option::URI_PORT | option::CONTENT_FORMAT | option::ACCEPT => (0..=2, false),
        option::LOCATION_PATH | option::URI_PATH | option::URI_QUERY | option::LOCATION_QUERY => {
            (0..=255, true)
        }
        option::MAX_AGE | option::SIZE1 | option::SIZE2 => (0..=4, false),
        option::HOP_LIMIT => (1..=1, false),
        option::PROXY_URI => (1..=1034, false),
        option::ECHO => (1..=40, false),
        option::NO_RESPONSE => (0..=1, false),
        option::REQUEST_TAG => (0..=8, true),
        _ => return None,
    };
    Some(Form { lengths, repeatable })
}
