//! The order of things: judge, ask, go on where it broke, compare, try elsewhere.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::address::{Lookup, system_lookup};
use super::coap;
use super::http;
use super::https::Https;
use super::partial::{self, Opened, Partial, Signed};
use super::retry::{Failure, Retry};
use super::way::{Fetched, Way};
use super::wire;
use super::{Error, Settings};
use crate::clock;
use crate::clock::Instant;
use crate::package::{Component, Source};
use crate::source::{self, Scheme, Target};
use crate::worker::{Cancel, Progress};

/// Fetches envelopes and payloads.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
    lookup: Lookup,
    https: Https,
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

    /// Which URLs may be asked for.
    pub fn sources(&self) -> source::Policy {
        self.settings.sources()
    }

    /// Fetches an envelope. Tries again while the trouble is a passing one.
    ///
    /// # Errors
    ///
    /// Everything in [`Error`] that is not about payloads or the disk; where there are mirrors, that of
    /// the first server.
    pub fn envelope(&self, url: &str, cancel: &Cancel) -> Result<Fetched, Error> {
        let target = source::judge(url, &self.settings.sources())?;
        let deadline = clock::now().mono + self.settings.limits.total_min;
        let mut retry = Retry::new(&self.settings.limits);
        let elsewhere = mirrored(&target.url, &target.url, &self.settings.mirrors);
        let elsewhere: Vec<Target> = elsewhere
            .into_iter()
            .filter_map(|url| source::judge_url(url, &self.settings.sources()).ok())
            .collect();
        loop {
            let failure = match self.envelope_once(&target, deadline, cancel) {
                Ok(fetched) => return Ok(fetched),
                Err(failure) => failure,
            };
            // What the first server has decided, another one does not overrule.
            for mirror in elsewhere.iter().filter(|_| failure.error.is_passing()) {
                tracing::warn!(url = %mirror.url, error = %failure.error, "asking a mirror");
                match self.envelope_once(mirror, deadline, cancel) {
                    Ok(fetched) => return Ok(fetched),
                    Err(Failure { error: Error::Cancelled, .. }) => return Err(Error::Cancelled),
                    Err(failed) => tracing::warn!(url = %mirror.url, error = %failed.error),
                }
            }
            let time_left = deadline - clock::now().mono;
            let wait = retry.after(failure, false, time_left, chance())?;
            wire::pause(wait, cancel).map_err(|_| Error::Cancelled)?;
        }
    }

    /// Brings what there is to transfer of `component` to the file `into`, going on with what an earlier life left
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
        let (digest, size) = component.transfer();
        let signed = Signed { digest, size };
        let mut partial = match partial::open(into, signed, progress, cancel)? {
            Opened::Complete => return Ok(()),
            Opened::Partial(partial) => partial,
        };
        let result = match &component.source {
            Source::Integrated(bytes) => self.write(bytes, &mut partial, progress),
            Source::Uri(reference) => {
                let first = resolve(base, reference)?;
                let mut sources = mirrored(base, &first, &self.settings.mirrors);
                sources.insert(0, first);
                self.download(&sources, &mut partial, progress, cancel)
            }
            // Whoever knows about codings has made these ways to one and the same payload.
            Source::Ways(ways) => {
                let sources = ways.iter().map(|way| resolve(base, &way.uri));
                let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
                let first = sources.iter();
                let elsewhere: Vec<_> =
                    first.flat_map(|first| mirrored(base, first, &self.settings.mirrors)).collect();
                sources.extend(elsewhere);
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
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Fetched, Failure> {
        match target.scheme {
            Scheme::Https | Scheme::Http => http::envelope(&self.way(cancel), target, deadline),
            Scheme::Coap | Scheme::Coaps => coap::envelope(&self.way(cancel), target, deadline),
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
            let target =
                source::judge_url(source.clone(), &self.settings.sources()).map_err(Error::from)?;
            let way = self.way(cancel);
            match target.scheme {
                Scheme::Https | Scheme::Http => {
                    http::payload(&way, &target, partial, deadline, progress)?;
                }
                Scheme::Coap | Scheme::Coaps => {
                    coap::payload(&way, &target, partial, deadline, progress)?;
                }
            }
        }
        Ok(partial.finish()?)
    }

    fn way<'a>(&'a self, cancel: &'a Cancel) -> Way<'a> {
        let Self { settings, lookup, https } = self;
        Way { settings, lookup: *lookup, https, cancel }
    }
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

/// Where else `url` may be found, if it lies in the directory of the envelope or below: there are
/// mirrors of that directory.
fn mirrored(envelope: &Url, url: &Url, mirrors: &[Url]) -> Vec<Url> {
    let below = envelope.join(".").ok().and_then(|directory| directory.make_relative(url));
    let Some(below) = below.filter(|below| !below.is_empty() && !below.starts_with("..")) else {
        return vec![];
    };
    let there = mirrors.iter().filter_map(|mirror| mirror.join(&below).ok());
    there.filter(|it| it != url).collect()
}

fn chance() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the pause is the shortest, which is still a pause.
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(texts: &[&str]) -> Vec<Url> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn mirrors_have_what_is_in_the_directory_of_the_envelope_and_below() {
        let envelope = Url::parse("https://v.example/cam/1.suit").unwrap();
        let mirrors = urls(&["https://m.example/a/", "coaps://n.example/"]);
        for (reference, there) in [
            ("1.bin", &["https://m.example/a/1.bin", "coaps://n.example/1.bin"][..]),
            (
                "big/1.bin?x=2",
                &["https://m.example/a/big/1.bin?x=2", "coaps://n.example/big/1.bin?x=2"],
            ),
            (
                "https://v.example/cam/1.bin",
                &["https://m.example/a/1.bin", "coaps://n.example/1.bin"],
            ),
            ("1.suit", &["https://m.example/a/1.suit", "coaps://n.example/1.suit"]),
            ("../other/1.bin", &[]),
            ("https://w.example/cam/1.bin", &[]),
            ("https://m.example/a/1.bin", &[]),
        ] {
            let url = envelope.join(reference).unwrap();
            assert_eq!(mirrored(&envelope, &url, &mirrors), urls(there), "{reference}");
        }
        // The envelope came from a mirror: the others are left, and it is not asked twice.
        let url = mirrors[0].join("1.bin").unwrap();
        assert_eq!(mirrored(&mirrors[0], &url, &mirrors), urls(&["coaps://n.example/1.bin"]));
    }
}
