//! Envelopes and payloads over CoAP: a block-wise GET whose blocks go to the disk as they come.

use std::time::Duration;

use super::address::CANCEL_POLL;
use super::channel::Channel;
use super::pace::{Bandwidth, Patience, TooSlow};
use super::partial::Partial;
use super::retry::Failure;
use super::way::Way;
use super::wire;
use super::{Asked, Error, Fetched};
use crate::clock;
use crate::clock::Instant;
use crate::coap::{Call, CallError, Code, Config, Request, Response, option};
use crate::coaps::Output;
use crate::package::ENVELOPE_BYTES_MAX;
use crate::source::Target;
use crate::worker::Progress;

/// Some bytes of a body.
struct Part {
    /// Where they begin.
    offset: u64,
    bytes: Vec<u8>,
    /// The length of the whole body, where the server says so.
    size: Option<u64>,
}

/// Reads a whole envelope into memory.
pub(super) fn envelope(
    way: &Way<'_>,
    target: &Target,
    deadline: Instant,
) -> Result<Fetched, Failure> {
    let mut bytes = Vec::new();
    let too_large = || Error::TooLarge(ENVELOPE_BYTES_MAX);
    let mut take = |part: Part| {
        let end = part.offset.saturating_add(part.bytes.len() as u64).max(part.size.unwrap_or(0));
        if end > ENVELOPE_BYTES_MAX as u64 {
            return Err(too_large());
        }
        // At the end, or anew from the beginning.
        bytes.truncate(part.offset as usize);
        bytes.extend_from_slice(&part.bytes);
        Ok(())
    };
    let response = get(way, target, 0, deadline, &mut take)?;
    if !response.payload.is_empty() {
        take(Part { offset: 0, bytes: response.payload, size: None })?;
    }
    Ok(Fetched { bytes, final_url: target.url.clone() })
}

/// Reads what is missing of a payload onto the disk. What is there counts from the last whole block;
/// the signed digest protects the join.
pub(super) fn payload(
    way: &Way<'_>,
    target: &Target,
    partial: &mut Partial,
    deadline: Instant,
    progress: &Progress,
) -> Result<(), Failure> {
    let from = partial.at();
    let response = get(way, target, from, deadline, &mut |part| take(partial, part, progress));
    let response = match response {
        // It has no such block: what is there is of another version.
        Err(Failure { error: Error::CoapStatus(400 | 402 | 408, _), .. }) if from > 0 => {
            partial.restart(progress)?;
            get(way, target, 0, deadline, &mut |part| take(partial, part, progress))?
        }
        other => other?,
    };
    if !response.payload.is_empty() {
        take(partial, Part { offset: 0, bytes: response.payload, size: None }, progress)?;
    }
    if partial.at() < partial.size() {
        return Err(Error::SizeMismatch { signed: partial.size(), got: partial.at() }.into());
    }
    Ok(())
}

/// Appends what is new in a part; one that begins anew begins the file anew.
fn take(partial: &mut Partial, part: Part, progress: &Progress) -> Result<(), Error> {
    if let Some(size) = part.size
        && size != partial.size()
    {
        return Err(Error::SizeMismatch { signed: partial.size(), got: size });
    }
    let end = part.offset.saturating_add(part.bytes.len() as u64);
    if part.offset == 0 && partial.at() >= end.max(1) {
        partial.restart(progress)?;
    }
    if part.offset > partial.at() {
        return Err(Error::SizeMismatch { signed: partial.size(), got: part.offset });
    }
    let known = partial.at().saturating_sub(part.offset).min(part.bytes.len() as u64);
    partial.append(part.bytes.get(known as usize..).unwrap_or_default(), progress)
}

/// One GET. A body in blocks goes to `take`, part by part; one in a single message is in the response.
fn get(
    way: &Way<'_>,
    target: &Target,
    from: u64,
    deadline: Instant,
    take: &mut dyn FnMut(Part) -> Result<(), Error>,
) -> Result<Response, Failure> {
    let request = request(target)?;
    let config = Config { max_payloads: way.settings.max_payloads, ..Config::default() };
    let mut channel = Channel::open(way, target, config)?;
    let call = channel.download(request, from);
    let result = converse(way, target, &mut channel, call, deadline, take);
    // Nobody waits for our acknowledgements any more; the server will find out by itself.
    channel.close();
    let response = result?;
    if response.code == Code::CONTENT {
        return Ok(response);
    }
    let error = match response.code.class() {
        4 | 5 => Error::CoapStatus(
            u16::from(response.code.class()) * 100 + u16::from(response.code.detail()),
            Asked::of(&target.url),
        ),
        _ => Error::BadAnswer {
            host: target.host.clone(),
            why: "its code is neither the file nor an error",
        },
    };
    let retry_after = response.options.uint(option::MAX_AGE).filter(|_| response.code.class() == 5);
    Err(Failure { error, retry_after: retry_after.map(|s| Duration::from_secs(s.into())) })
}

/// Turns the channel until the call ends.
fn converse(
    way: &Way<'_>,
    target: &Target,
    channel: &mut Channel,
    call: Call,
    deadline: Instant,
    take: &mut dyn FnMut(Part) -> Result<(), Error>,
) -> Result<Response, Error> {
    let limits = &way.settings.limits;
    let mut patience = Patience::new(limits.rate_window, limits.rate_min);
    let mut bandwidth = Bandwidth::new(way.settings.bandwidth_max, clock::now().mono);
    let slow = |what| Error::TimedOut { host: target.host.clone(), what };
    let lost = |why: String| Error::ConnectionLost { host: target.host.clone(), why };
    loop {
        while let Some(output) = channel.told() {
            match output {
                Output::Part { offset, bytes, size } => take(Part { offset, bytes, size })?,
                Output::Response { call: answered, response, .. } if answered == call => {
                    return Ok(response);
                }
                // The call fails with its session, and says so less clearly.
                Output::Closed { .. } => return Err(lost("the server ended the session".into())),
                Output::CallFailed { call: failed, error } if failed == call => {
                    return Err(explain(error, target));
                }
                _ => {}
            }
        }
        let begun = clock::now().mono;
        if way.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if begun >= deadline {
            return Err(slow("the whole download"));
        }
        let length = channel.turn(CANCEL_POLL).map_err(|error| lost(error.to_string()))?;
        let now = clock::now().mono;
        if patience.waited(now - begun, length) == Err(TooSlow) {
            return Err(slow("a fair share of the bytes"));
        }
        let hold_back = bandwidth.take(length, now);
        wire::pause(hold_back, way.cancel).map_err(|_| Error::Cancelled)?;
    }
}

/// The options of a URI (RFC 7252 section 6.4).
fn request(target: &Target) -> Result<Request, Error> {
    let mut request = Request::new(Code::GET, "");
    if target.host.parse::<std::net::IpAddr>().is_err() {
        request.options.push(option::URI_HOST, target.host.as_str());
    }
    let bad = || Error::BadUrl { url: target.url.to_string(), why: "a part of it is too long" };
    let mut push = |number, text: &str| {
        let value = percent_decoded(text);
        let fits = value.len() <= URI_OPTION_BYTES_MAX;
        fits.then(|| request.options.push(number, value)).ok_or_else(bad)
    };
    let path = target.url.path().trim_start_matches('/');
    for segment in path.split('/').filter(|_| !path.is_empty()) {
        push(option::URI_PATH, segment)?;
    }
    for text in target.url.query().unwrap_or_default().split('&').filter(|text| !text.is_empty()) {
        push(option::URI_QUERY, text)?;
    }
    Ok(request)
}

/// What is not a valid escape stays as it is.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| byte == b'%');
        let value = escaped
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    bytes
}

fn explain(error: CallError, target: &Target) -> Error {
    let host = target.host.clone();
    match error {
        CallError::TimedOut => Error::TimedOut { host, what: "its next answer" },
        CallError::Blocks(why) => Error::BadAnswer { host, why },
        CallError::NotUnderstood => Error::BadAnswer { host, why: "it has an unknown option" },
        CallError::Reset | CallError::Busy | CallError::SessionEnded => {
            Error::ConnectionLost { host, why: error.to_string() }
        }
    }
}

/// The longest value of Uri-Path and Uri-Query, bytes (RFC 7252 section 5.10).
const URI_OPTION_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Settings;
    use crate::source;

    fn options_of(url: &str) -> Vec<(u16, String)> {
        let settings = Settings {
            allow_hosts: vec!["*".into()],
            allow_schemes: vec!["coap".into()],
            ..Settings::default()
        };
        let request = request(&source::judge(url, &settings.sources()).unwrap()).unwrap();
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        request.options.iter().map(|(number, value)| (number, text(value))).collect()
    }

    #[test]
    fn a_uri_becomes_the_options_of_section_6_4() {
        let text = |list: &[(u16, &str)]| {
            list.iter().map(|(number, value)| (*number, (*value).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(options_of("coap://127.0.0.1"), []);
        assert_eq!(options_of("coap://[::1]:99/"), []);
        assert_eq!(
            options_of("coap://Depot.example/a%20b/%2F/c?x=1&y=%26"),
            text(&[
                (3, "depot.example"),
                (11, "a b"),
                (11, "/"),
                (11, "c"),
                (15, "x=1"),
                (15, "y=&")
            ])
        );
        assert_eq!(options_of("coap://127.0.0.1/50%"), text(&[(11, "50%")]));
    }
}
