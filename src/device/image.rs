//! From a component to its image on the disk, by the first of its ways that works.
//!
//! A patch saves most of the transfer where it fits what runs; the whole is there where it does not.
//! Whichever way was taken, only what has the signed length and digest gets the component's name.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use url::Url;

use super::failure;
use crate::fetch::{self, Fetcher};
use crate::install::Installer;
use crate::package::{
    Coding, Component, DecodeError, DecryptionKey, Encoding, Image, Refusal, Source, Way,
};
use crate::update::{Failure, FailureKind};
use crate::worker::{Cancel, Progress};

/// What it takes to bring images.
pub(super) struct Bringer<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) installer: &'a Installer,
    pub(super) key: Option<&'a DecryptionKey>,
    /// What the ways are relative to.
    pub(super) base: &'a Url,
    /// Where images are kept, by the number of their component.
    pub(super) folder: &'a Path,
    pub(super) progress: &'a Progress,
    pub(super) cancel: &'a Cancel,
}

impl Bringer<'_> {
    /// Brings the image of one component.
    pub(super) fn bring(&self, index: usize, component: &Component) -> Result<(), Failure> {
        let image = self.folder.join(index.to_string());
        let Source::Ways(ways) = &component.source else {
            return self.fetch(component, &image);
        };
        if image.exists() {
            // Only what was whole has this name; the installer measures it again.
            self.progress.add(component.transfer_size());
            return Ok(());
        }
        let mut last = None;
        let mut rest = &**ways;
        for (n, group) in ways.chunk_by(|a, b| a.coding == b.coding).enumerate() {
            rest = rest.get(group.len()..).unwrap_or_default();
            let brought = match group.first().and_then(|way| way.coding.as_ref()) {
                None => self.fetch(&with_ways(component, group), &image),
                Some(coding) => self.decode(&image, n, component, coding, group),
            };
            match brought {
                Ok(()) => return Ok(()),
                Err(failure) if self.is_final(&failure, group, rest) => return Err(failure),
                Err(failure) => {
                    tracing::warn!("a way to {} fails: {}", component.id.join("/"), failure.detail);
                    last = Some(failure);
                }
            }
            if !rest.is_empty() {
                self.progress.expect_again(with_ways(component, rest).transfer_size());
            }
        }
        Err(last.unwrap_or_else(|| Failure::new(FailureKind::Malformed, "there is no way to it")))
    }

    /// Whether another way cannot help: nobody wants it any more, the disk is at fault, or the network
    /// is and all that is left leads to the same host.
    fn is_final(&self, failure: &Failure, tried: &[Way], rest: &[Way]) -> bool {
        let host = |way: &Way| {
            self.base.join(&way.uri).ok().and_then(|url| url.host_str().map(str::to_owned))
        };
        match failure.kind {
            FailureKind::Cancelled | FailureKind::Storage => true,
            FailureKind::ConnectionLost | FailureKind::NameUnknown => {
                rest.iter().all(|way| tried.iter().any(|tried| host(tried) == host(way)))
            }
            _ => false,
        }
    }

    fn fetch(&self, component: &Component, into: &Path) -> Result<(), Failure> {
        self.fetcher
            .payload(self.base, component, into, self.progress, self.cancel)
            .map_err(|error| failure::fetch(&error))
    }

    fn decode(
        &self,
        image: &Path,
        n: usize,
        component: &Component,
        coding: &Coding,
        ways: &[Way],
    ) -> Result<(), Failure> {
        let scratch = with_suffix(image, ".precursor");
        let precursor = self.precursor(component, coding, &scratch);
        let transferred = with_suffix(image, &format!(".way{n}"));
        let done = precursor.and_then(|mut precursor| {
            self.fetch(&with_ways(component, ways), &transferred)?;
            self.write(image, component, coding, &transferred, &mut precursor)
        });
        let _ = fs::remove_file(&scratch);
        if !matches!(&done, Err(failure) if failure.kind == FailureKind::Cancelled) {
            let _ = fs::remove_file(&transferred);
        }
        done
    }

    /// What a patch is for; an empty file where there is no patch.
    fn precursor(
        &self,
        component: &Component,
        coding: &Coding,
        scratch: &Path,
    ) -> Result<Precursor, Failure> {
        let Encoding::Delta { precursor: wanted } = coding.encoding else {
            return Ok(Precursor::None);
        };
        let found = self
            .installer
            .precursor(component, scratch, self.cancel)
            .map_err(|error| failure::install(&error))?;
        match found {
            Some((digest, file)) if digest == wanted => Ok(Precursor::File(file)),
            _ => Err(failure::package(&Refusal::Coding("is a patch for something else"))),
        }
    }

    fn write(
        &self,
        image: &Path,
        component: &Component,
        coding: &Coding,
        transferred: &Path,
        precursor: &mut Precursor,
    ) -> Result<(), Failure> {
        let part = with_suffix(image, ".image");
        let signed = Image { digest: component.digest, size: component.size };
        let written = File::open(transferred).map_err(DecodeError::Input).and_then(|from| {
            let from = Watched { inner: from, cancel: self.cancel };
            let mut file = File::create(&part).map_err(DecodeError::Output)?;
            coding.decode(signed, self.key, from, precursor, &mut file)?;
            file.sync_all().map_err(DecodeError::Output)?;
            fs::rename(&part, image).map_err(DecodeError::Output)?;
            File::open(self.folder).and_then(|it| it.sync_all()).map_err(DecodeError::Output)
        });
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        match written {
            Ok(()) => Ok(()),
            Err(_) if self.cancel.is_cancelled() => Err(failure::fetch(&fetch::Error::Cancelled)),
            Err(DecodeError::Refused(refusal)) => Err(failure::package(&refusal)),
            Err(DecodeError::Output(error)) => Err(failure::disk(&error)),
            Err(DecodeError::Input(error)) => Err(failure::lost(&error)),
        }
    }
}

fn with_ways(component: &Component, ways: &[Way]) -> Component {
    Component { source: Source::Ways(ways.to_vec()), ..component.clone() }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

enum Precursor {
    None,
    File(File),
}

impl Read for Precursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None => Ok(0),
            Self::File(file) => file.read(buffer),
        }
    }
}

impl Seek for Precursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::None => Ok(0),
            Self::File(file) => file.seek(to),
        }
    }
}

/// A file that ends early when somebody asks to stop.
struct Watched<'a> {
    inner: File,
    cancel: &'a Cancel,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        self.inner.read(buffer)
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
