//! One file, replaced in one step; the old one is kept beside it.
//!
//! ```text
//! <path>               what runs
//! <path>.freshen-new   what was written and not switched to
//! <path>.freshen-old   what ran before
//! <state>/file/{new,current,previous}   what each of them is: a marker with the file's digest
//! <state>/file/none    that nothing ran before
//! ```
//!
//! The file's own bytes say which marker is its: so the one rename that replaces it is all that has to
//! happen at once.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::beneath::{Attributes, Beneath};
use super::error::Error;
use super::fit::{self, Unpacking};
use super::listing::{self, BUFFER_BYTES, digest_of};
use super::marker::{Marker, with_suffix};
use crate::package::{Component, Digest, Manifest};
use crate::worker::{Cancel, Progress};

/// The file, and what is known of it.
#[derive(Debug)]
pub(super) struct OneFile {
    /// Where its markers are.
    notes: Beneath,
    /// The directory that it is in.
    place: Beneath,
    name: PathBuf,
    new: PathBuf,
    old: PathBuf,
}

impl OneFile {
    pub(super) fn open(state: Beneath, path: &Path) -> Result<Self, Error> {
        let no = || Error::Settings("the file to install has to be an absolute path");
        let name = PathBuf::from(path.file_name().filter(|_| path.is_absolute()).ok_or_else(no)?);
        let place = Beneath::open_or_make(path.parent().ok_or_else(no)?)?;
        state.make_directory(Path::new("file"), Attributes::of_mode(0o755))?;
        state.sync_directory(Path::new(""))?;
        let notes = state.enter(Path::new("file"))?;
        let (new, old) = (with_suffix(&name, ".freshen-new"), with_suffix(&name, ".freshen-old"));
        Ok(Self { notes, place, name, new, old })
    }

    /// What runs, and where it is.
    pub(super) fn running(&self) -> Result<Option<(Marker, PathBuf)>, Error> {
        let Some(content) = self.content(&self.name)? else { return Ok(None) };
        for note in [CURRENT, NEW, PREVIOUS] {
            if let Some(marker) = self.note(note)?.filter(|marker| marker.content == content) {
                return Ok(Some((marker, self.place.path().join(&self.name))));
            }
        }
        Ok(None)
    }

    pub(super) fn write(
        &mut self,
        manifest: &Manifest,
        payloads: &Path,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let component = fit::one_file(manifest)?;
        let marker = Marker::of(manifest, component.digest);
        let running = self.running()?.map(|(marker, _)| marker);
        let runs = running.as_ref().is_some_and(|running| running.manifest == manifest.digest);
        let written = self.note(NEW)?.as_ref() == Some(&marker)
            && self.content(&self.new)? == Some(marker.content);
        if runs || written {
            progress.add(component.size);
            return Ok(());
        }
        // The marker of what runs may be the one that is about to be replaced.
        if let Some(running) = running {
            running.write(&self.notes, Path::new(CURRENT))?;
        }
        let written = self.write_anew(&marker, component, &payloads.join("0"), progress, cancel);
        if written.is_err() {
            let _ = self.place.remove(&self.new);
        }
        written
    }

    /// What writing this package takes.
    pub(super) fn unpacking(&self, manifest: &Manifest) -> Unpacking {
        let place = self.place.path().to_owned();
        let new = std::fs::symlink_metadata(place.join(&self.new));
        let freed = new.map_or(0, |metadata| metadata.len());
        let needed = manifest.components.iter().map(|it| it.size).fold(0, u64::saturating_add);
        Unpacking { place, needed, freed }
    }

    /// Gives the file with this digest the name of what runs.
    pub(super) fn switch(&mut self, digest: Digest) -> Result<(), Error> {
        let running = self.running()?.map(|(marker, _)| marker);
        let new = self.note(NEW)?.filter(|marker| marker.manifest == digest);
        if running.as_ref().is_some_and(|marker| marker.manifest == digest) {
            return self.place.sync_directory(Path::new(""));
        }
        let new = new.ok_or(Error::NotWritten(digest))?;
        if self.content(&self.new)? != Some(new.content) {
            return Err(Error::NotWritten(digest));
        }
        self.keep_old(running.as_ref())?;
        self.place.rename(&self.new, &self.name)?;
        self.place.sync_directory(Path::new(""))?;
        new.write(&self.notes, Path::new(CURRENT))
    }

    /// Gives the file that ran before the one with this digest its name back.
    pub(super) fn roll_back(&mut self, failed: Digest) -> Result<(), Error> {
        let running = self.running()?.map(|(marker, _)| marker);
        if running.is_none_or(|marker| marker.manifest != failed) {
            return self.place.sync_directory(Path::new(""));
        }
        if self.place.look(&self.old)?.is_some() {
            self.place.rename(&self.old, &self.name)?;
        } else if self.notes.look(Path::new(NONE))?.is_some() {
            self.place.remove(&self.name)?;
        } else {
            return Err(Error::NothingToRollBackTo);
        }
        self.place.sync_directory(Path::new(""))
    }

    /// Removes what was written and not switched to.
    pub(super) fn discard(&mut self) -> Result<(), Error> {
        self.place.remove(&self.new)
    }

    fn write_anew(
        &mut self,
        marker: &Marker,
        component: &Component,
        payload: &Path,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        self.place.remove(&self.new)?;
        if self.place.free_bytes()? < component.size {
            let path = self.place.path().join(&self.new);
            return Err(Error::NoSpace { path, needed: component.size });
        }
        let mut source = std::fs::File::open(payload).map_err(Error::disk(payload))?;
        let mut file = self.place.create(&self.new)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match source.read(&mut buffer).map_err(Error::disk(payload))? {
                0 => break,
                n => {
                    file.write_all(&buffer[..n]).map_err(Error::disk(file.path()))?;
                    hash.update(&buffer[..n]);
                    progress.add(n as u64);
                }
            }
        }
        if Digest(hash.finalize().into()) != component.digest {
            return Err(Error::PayloadChanged { path: payload.to_owned() });
        }
        file.set(self.attributes()?)?;
        file.sync()?;
        self.place.sync_directory(Path::new(""))?;
        if self.content(&self.new)? != Some(component.digest) {
            return Err(Error::Damaged { path: self.place.path().join(&self.new) });
        }
        marker.write(&self.notes, Path::new(NEW))
    }

    /// Keeps what runs under a second name, so that the first is never without a file.
    fn keep_old(&self, running: Option<&Marker>) -> Result<(), Error> {
        if self.place.look(&self.name)?.is_none() {
            self.place.remove(&self.old)?;
            self.place.sync_directory(Path::new(""))?;
            let nothing = Marker {
                manifest: Digest([0; 32]),
                version: String::new(),
                sequence: None,
                content: Digest([0; 32]),
            };
            return nothing.write(&self.notes, Path::new(NONE));
        }
        match running {
            Some(marker) => marker.write(&self.notes, Path::new(PREVIOUS))?,
            None => self.notes.remove(Path::new(PREVIOUS))?,
        }
        let fresh = with_suffix(&self.old, ".new");
        self.place.remove(&fresh)?;
        self.place.link(&self.name, &fresh)?;
        self.place.rename(&fresh, &self.old)?;
        self.place.sync_directory(Path::new(""))?;
        self.notes.remove(Path::new(NONE))?;
        self.notes.sync_directory(Path::new(""))
    }

    /// As the file that is replaced; a first one may be a program.
    fn attributes(&self) -> Result<Attributes, Error> {
        if self.place.look(&self.name)?.is_none() {
            return Ok(Attributes::of_mode(0o755));
        }
        let path = self.place.path().join(&self.name);
        let file = self.place.open(&self.name)?;
        let metadata = file.metadata().map_err(Error::disk(&path))?;
        let root = rustix::process::geteuid().is_root();
        let owner = Some((metadata.uid(), metadata.gid())).filter(|_| root);
        Ok(Attributes { mode: listing::mode_of(&file, &path)?, owner, mtime: None })
    }

    /// Digest of a file, if it is there.
    fn content(&self, name: &Path) -> Result<Option<Digest>, Error> {
        if self.place.look(name)?.is_none() {
            return Ok(None);
        }
        let mut file = self.place.open(name)?;
        let (_, digest) = digest_of(&mut file, &self.place.path().join(name), &Cancel::new())?;
        Ok(Some(digest))
    }

    fn note(&self, name: &str) -> Result<Option<Marker>, Error> {
        Marker::read(&self.notes, Path::new(name))
    }
}

const NEW: &str = "new";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const NONE: &str = "none";
