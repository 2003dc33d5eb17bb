//! Envelopes and payloads over http: what to ask for, and whether what comes follows what is there.

use super::https::{self, Answer, Ask};
use super::partial::{BUFFER_BYTES, Partial, Tag};
use super::retry::Failure;
use super::way::Way;
use super::{Asked, Error, Fetched};
use crate::clock;
use crate::clock::Instant;
use crate::package::ENVELOPE_BYTES_MAX;
use crate::source::Target;
use crate::worker::Progress;

/// Reads a whole envelope into memory.
pub(super) fn envelope(
    way: &Way<'_>,
    target: &Target,
    deadline: Instant,
) -> Result<Fetched, Failure> {
    let time_left = deadline - clock::now().mono;
    let ask = Ask { accept: ENVELOPE_ACCEPT, from: 0, if_range: None, time_left };
    let mut answer = way.https.get(target, ask, way.settings, way.lookup, way.cancel)?;
    if !https::is_whole(answer.status) {
        return Err(status_failure(&answer));
    }
    if answer.length().is_some_and(|length| length > ENVELOPE_BYTES_MAX as u64) {
        return Err(Error::TooLarge(ENVELOPE_BYTES_MAX).into());
    }
    let mut bytes = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match answer.read(&mut buffer)? {
            0 => return Ok(Fetched { bytes, final_url: answer.target.url }),
            n if bytes.len() + n > ENVELOPE_BYTES_MAX => {
                return Err(Error::TooLarge(ENVELOPE_BYTES_MAX).into());
            }
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Reads what is missing of a payload onto the disk.
pub(super) fn payload(
    way: &Way<'_>,
    target: &Target,
    partial: &mut Partial,
    deadline: Instant,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut answer = go_on(way, target, partial, deadline, progress)?;
    receive(&mut answer, partial, progress)
}

/// Asks for what is missing, and makes sure that what comes follows what is there.
///
/// The signed digest protects the join, so a server need not prove that its file is still the same;
/// an entity tag only saves us from finding out late.
fn go_on(
    way: &Way<'_>,
    target: &Target,
    partial: &mut Partial,
    deadline: Instant,
    progress: &Progress,
) -> Result<Answer, Failure> {
    let etag = partial.etag_of(target.url.as_str()).map(str::to_owned);
    let mut if_range = etag.as_deref();
    loop {
        let from = partial.at();
        let time_left = deadline - clock::now().mono;
        let ask = Ask { accept: "*/*", from, if_range, time_left };
        let answer = way.https.get(target, ask, way.settings, way.lookup, way.cancel)?;
        let same = etag.is_none() || answer.strong_etag() == etag.as_deref();
        if https::is_part(answer.status) && from > 0 {
            match answer.range() {
                Some((_, Some(total))) if total != partial.size() => {
                    let mismatch = Error::SizeMismatch { signed: partial.size(), got: total };
                    return Err(mismatch.into());
                }
                Some((first, _)) if first == from && same => return Ok(answer),
                // Another part than we asked for, or of another version: begin again.
                _ => partial.restart(progress)?,
            }
        } else if https::is_whole(answer.status) {
            if from > 0 && if_range.is_some() && same {
                // It is the version that we have a part of; some servers answer If-Range so.
                if_range = None;
                continue;
            }
            if from > 0 {
                partial.restart(progress)?;
            }
            let tag = answer
                .strong_etag()
                .map(|etag| Tag { url: target.url.to_string(), etag: etag.to_owned() });
            partial.set_tag(tag)?;
            return Ok(answer);
        } else if answer.status == RANGE_NOT_SATISFIABLE && from > 0 {
            partial.restart(progress)?;
        } else {
            return Err(status_failure(&answer));
        }
    }
}

fn receive(answer: &mut Answer, partial: &mut Partial, progress: &Progress) -> Result<(), Failure> {
    let signed = partial.size();
    if !answer.is_plain() {
        let host = answer.target.host.clone();
        return Err(
            Error::BadAnswer { host, why: "it is packed in a way we did not ask for" }.into()
        );
    }
    if let Some(length) = answer.length()
        && partial.at().checked_add(length) != Some(signed)
    {
        let got = partial.at().saturating_add(length);
        return Err(Error::SizeMismatch { signed, got }.into());
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match answer.read(&mut buffer)? {
            0 if partial.at() == signed => return Ok(()),
            0 => {
                let host = answer.target.host.clone();
                let why = "the answer ended early".to_owned();
                return Err(Error::ConnectionLost { host, why }.into());
            }
            n => partial.append(&buffer[..n], progress)?,
        }
    }
}

fn status_failure(answer: &Answer) -> Failure {
    let error = match answer.status {
        400..=600 => Error::HttpStatus(answer.status, Asked::of(&answer.target.url)),
        _ => Error::BadAnswer {
            host: answer.target.host.clone(),
            why: "its status is neither the file nor an error",
        },
    };
    Failure { error, retry_after: answer.retry_after() }
}

/// What we like to be sent (IANA media type of SUIT envelopes), and what servers that do not know it
/// call it.
const ENVELOPE_ACCEPT: &str = "application/suit-envelope+cose, application/octet-stream;q=0.5";

/// RFC 9110 section 15.5.17.
const RANGE_NOT_SATISFIABLE: u16 = 416;
