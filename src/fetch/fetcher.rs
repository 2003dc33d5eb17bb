//! The order of things: judge, ask, go on where it broke, compare, try elsewhere.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::address::{Lookup, system_lookup};
use super::https::{self, Answer, Ask, Https};
use super::partial::{self, BUFFER_BYTES, Opened, Partial, Signed, Tag};
use super::policy::{self, Scheme, Target};
use super::retry::{Failure, Retry};
use super::wire;
use super::{Error, Settings};
use crate::clock;
use crate::clock::Instant;
use crate::package::{Component, Source};
use crate::worker::{Cancel, Progress};

/// The longest envelope that is read, bytes: the profile's own limit.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// Fetches envelopes and payloads.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
    lookup: Lookup,
    https: Https,
}

/// An envelope and where it finally came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The envelope, not verified.
    pub bytes: Vec<u8>,
    /// What the payloads' URIs are relative to.
    pub final_url: Url,
}

impl Fetcher {
    /// A fetcher that asks the system for addresses.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] when the root certificates cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Self::with_lookup(settings, system_lookup)
    }

    /// As [`Self::new`], with another way from names to addresses.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_lookup(settings: Settings, lookup: Lookup) -> Result<Self, Error> {
        let https = Https::new(&settings.roots)?;
        Ok(Self { settings, lookup, https })
    }

    /// Fetches an envelope; an empty `url` means the built-in one. Tries again while the trouble is a
    /// passing one.
    ///
    /// # Errors
    ///
    /// Everything in [`Error`] that is not about payloads or the disk.
    pub fn envelope(&self, url: &str, cancel: &Cancel) -> Result<Fetched, Error> {
        let url = if url.is_empty() { &self.settings.builtin_url } else { url };
        let target = policy::judge(url, &self.settings)?;
        let deadline = clock::now().mono + self.settings.limits.total_min;
        let mut retry = Retry::new(&self.settings.limits);
        loop {
            let time_left = deadline - clock::now().mono;
            let failure = match self.envelope_once(&target, time_left, cancel) {
                Ok(fetched) => return Ok(fetched),
                Err(failure) => failure,
            };
            let time_left = deadline - clock::now().mono;
            let wait = retry.after(failure, false, time_left, chance())?;
            wire::pause(wait, cancel).map_err(|_| Error::Cancelled)?;
        }
    }

    /// Brings the payload of `component` to the file `into`, going on with what an earlier life left
    /// beside it. `base` is where the envelope came from. Nothing has the name `into` that is not what
    /// the vendor signed; if it is there already, nothing is fetched. `progress` counts bytes.
    ///
    /// After an error that is not passing nothing is left behind; after a passing one, or a
    /// cancellation, what came so far waits for the next call.
    ///
    /// # Errors
    ///
    /// Any of [`Error`].
    pub fn payload(
        &self,
        base: &Url,
        component: &Component,
        into: &Path,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let signed = Signed { digest: component.digest, size: component.size };
        let mut partial = match partial::open(into, signed, progress, cancel)? {
            Opened::Complete => return Ok(()),
            Opened::Partial(partial) => partial,
        };
        let result = match &component.source {
            Source::Integrated(bytes) => self.write(bytes, &mut partial, progress),
            Source::Uri(reference) => {
                let sources = [resolve(base, reference)?];
                self.download(&sources, &mut partial, progress, cancel)
            }
        };
        if let Err(error) = &result
            && !error.is_passing()
            && !matches!(error, Error::Cancelled)
        {
            partial.remove();
        }
        result
    }

    fn write(&self, bytes: &[u8], partial: &mut Partial, progress: &Progress) -> Result<(), Error> {
        partial.restart(progress)?;
        partial.append(bytes, progress)?;
        partial.finish()
    }

    /// Tries every source in turn; all of them have to fail before we wait.
    fn download(
        &self,
        sources: &[Url],
        partial: &mut Partial,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let deadline = clock::now().mono + self.time_for(partial.size());
        let mut retry = Retry::new(&self.settings.limits);
        let mut sources: Vec<&Url> = sources.iter().collect();
        let mut turn = 0;
        let mut before = partial.at();
        let mut clean = before == 0;
        loop {
            let source = sources[turn % sources.len()];
            progress.next_attempt();
            let failure = match self.payload_once(source, partial, deadline, progress, cancel) {
                Ok(()) => {
                    progress.set_trouble(None);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            tracing::warn!(url = %source, error = %failure.error, "the download was interrupted");
            progress.set_trouble(Some(failure.error.to_string()));
            if matches!(failure.error, Error::DigestMismatch { .. }) && !clean {
                // Pieces of different versions may have been put together: once more from one piece.
                partial.restart(progress)?;
                clean = true;
                continue;
            }
            if matches!(failure.error, Error::DigestMismatch { .. }) {
                partial.restart(progress)?;
            }
            if is_final(&failure.error) {
                return Err(failure.error);
            }
            if !failure.error.is_passing() && sources.len() > 1 {
                sources.remove(turn % sources.len());
                continue;
            }
            turn += 1;
            if turn % sources.len() != 0 {
                continue;
            }
            let time_left = deadline - clock::now().mono;
            let wait = retry.after(failure, partial.at() > before, time_left, chance())?;
            before = partial.at();
            clean = before == 0;
            wire::pause(wait, cancel).map_err(|_| Error::Cancelled)?;
        }
    }

    /// What a download of this size may take: longer than the slowest server that is still bearable.
    fn time_for(&self, size: u64) -> Duration {
        let limits = &self.settings.limits;
        let rate = match self.settings.bandwidth_max {
            0 => limits.rate_min,
            held_back => limits.rate_min.min(held_back / 2),
        };
        limits.total_min.max(Duration::from_secs(size / rate.max(1)))
    }

    fn envelope_once(
        &self,
        target: &Target,
        time_left: Duration,
        cancel: &Cancel,
    ) -> Result<Fetched, Failure> {
        let ask = Ask { accept: ENVELOPE_ACCEPT, from: 0, if_range: None, time_left };
        let mut answer = self.ask(target, ask, cancel)?;
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

    fn payload_once(
        &self,
        source: &Url,
        partial: &mut Partial,
        deadline: Instant,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        if partial.at() < partial.size() {
            let target = policy::judge_url(source.clone(), &self.settings)?;
            let mut answer = self.go_on(&target, partial, deadline, progress, cancel)?;
            receive(&mut answer, partial, progress)?;
        }
        Ok(partial.finish()?)
    }

    /// Asks for what is missing, and makes sure that what comes follows what is there.
    ///
    /// The signed digest protects the join, so a server need not prove that its file is still the same;
    /// an entity tag only saves us from finding out late.
    fn go_on(
        &self,
        target: &Target,
        partial: &mut Partial,
        deadline: Instant,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Answer, Failure> {
        let etag = partial.etag_of(target.url.as_str()).map(str::to_owned);
        let mut if_range = etag.as_deref();
        loop {
            let from = partial.at();
            let time_left = deadline - clock::now().mono;
            let ask = Ask { accept: "*/*", from, if_range, time_left };
            let answer = self.ask(target, ask, cancel)?;
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

    fn ask(&self, target: &Target, ask: Ask<'_>, cancel: &Cancel) -> Result<Answer, Error> {
        match target.scheme {
            Scheme::Https | Scheme::Http => {
                self.https.get(target, ask, &self.settings, self.lookup, cancel)
            }
            Scheme::Coap | Scheme::Coaps => {
                Err(Error::UnsupportedScheme(target.url.scheme().to_owned()))
            }
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
        400..=600 => Error::HttpStatus(answer.status),
        _ => Error::BadAnswer {
            host: answer.target.host.clone(),
            why: "its status is neither the file nor an error",
        },
    };
    Failure { error, retry_after: answer.retry_after() }
}

/// Nothing that another server could help with.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::Cancelled | Error::NoSpace { .. } | Error::Disk { .. })
}

fn resolve(base: &Url, reference: &str) -> Result<Url, Error> {
    base.join(reference).map_err(|_| Error::BadUrl {
        url: reference.to_owned(),
        why: "it does not lead anywhere from where the envelope is",
    })
}

fn chance() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the pause is the shortest, which is still a pause.
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

/// What we like to be sent (IANA media type of SUIT envelopes), and what servers that do not know it
/// call it.
const ENVELOPE_ACCEPT: &str = "application/suit-envelope+cose, application/octet-stream;q=0.5";

/// RFC 9110 section 15.5.17.
const RANGE_NOT_SATISFIABLE: u16 = 416;
