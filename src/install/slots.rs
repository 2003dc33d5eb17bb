//! Two directories and a symbolic link: one version runs, the other can be written.
//!
//! ```text
//! <state>/slots/a/…            what was unpacked, and .freshen/: the listing and the marker
//! <state>/slots/b/…
//! <state>/current -> slots/a   what runs; replaced in one step
//! <state>/previous -> slots/b  what ran before; `none` where nothing did
//! ```
//!
//! Where the agent itself is in a slot, one more file counts how often it may still be started:
//!
//! ```text
//! <state>/trial                `slots/b 3`: written before the switch, decremented by `freshen launch`
//!                              before it starts the agent, removed when the version stays
//! ```
//!
//! The slot behind `current` is never written. A slot without a whole marker is not whole; the marker
//! is written last, after all of the slot is safe on the disk and was read back. `previous` goes before
//! the slot it leads to is cleared, and is set before `current` changes.

use std::path::{Path, PathBuf};

use super::Settings;
use super::beneath::{Attributes, Beneath};
use super::error::Error;
use super::fit::{self, Unpacking};
use super::listing::{self, Listing};
use super::marker::{self, Marker, with_suffix};
use super::unpack;
use crate::package::{Digest, Format, Manifest};
use crate::worker::{Cancel, Progress};

/// The two directories and the link.
#[derive(Debug)]
pub(super) struct Slots {
    state: Beneath,
    /// Which version this process has read back already.
    read_back: Option<Digest>,
    /// Where the agent is in a slot, and how many times a new one may be started.
    trial: Option<(PathBuf, u8)>,
}

impl Slots {
    pub(super) fn open(state: Beneath, trial: Option<(PathBuf, u8)>) -> Result<Self, Error> {
        state.make_directory(Path::new("slots"), Attributes::of_mode(0o755))?;
        state.sync_directory(Path::new(""))?;
        let slots = Self { state, read_back: None, trial };
        slots.current()?;
        Ok(slots)
    }

    /// What runs, and where it is.
    pub(super) fn running(&self) -> Result<Option<(Marker, PathBuf)>, Error> {
        let Some(slot) = self.current()? else { return Ok(None) };
        Ok(self.marker(slot)?.map(|marker| (marker, self.state.path().join(slot))))
    }

    /// The agent in the slot that runs.
    pub(super) fn agent(&self) -> Option<PathBuf> {
        let (agent, _) = self.trial.as_ref()?;
        Some(self.state.path().join(CURRENT).join(agent))
    }

    pub(super) fn write(
        &mut self,
        manifest: &Manifest,
        payloads: &Path,
        settings: &Settings,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let spare = self.spare()?;
        let runs = match self.current()? {
            Some(slot) => self.holds(slot, manifest.digest)?,
            None => false,
        };
        if runs || self.is_written(spare, manifest.digest, cancel)? {
            progress.add(manifest.components.iter().map(|component| component.size).sum());
            return Ok(());
        }
        self.state.remove(Path::new(PREVIOUS))?;
        self.state.sync_directory(Path::new(""))?;
        let written = self.write_anew(spare, manifest, payloads, settings, progress, cancel);
        if written.is_err() {
            // The space is worth more than half a slot; what made it fail is told first.
            let _ = self.clear(spare);
        }
        written
    }

    /// Makes `current` lead to the version with this digest.
    pub(super) fn switch(&mut self, digest: Digest, cancel: &Cancel) -> Result<(), Error> {
        let current = self.current()?;
        if let Some(slot) = current
            && self.holds(slot, digest)?
        {
            return self.state.sync_directory(Path::new(""));
        }
        let spare = self.spare()?;
        if !self.is_written(spare, digest, cancel)? {
            return Err(Error::NotWritten(digest));
        }
        self.count_tries(spare, digest)?;
        self.set_link(PREVIOUS, current.unwrap_or(NONE))?;
        self.set_link(CURRENT, spare)
    }

    /// The version with this digest stays: its starts are not counted any more.
    pub(super) fn confirm(&mut self, digest: Digest) -> Result<(), Error> {
        self.switch(digest, &Cancel::new())?;
        self.forget_tries()
    }

    /// Gives the launcher its count before there is anything to count. A slot that has none left was
    /// given up by the launcher, and is not switched to again.
    fn count_tries(&self, slot: &'static str, digest: Digest) -> Result<(), Error> {
        let Some((_, tries)) = &self.trial else { return Ok(()) };
        let spent = format!("{slot} 0\n");
        if marker::read_note(&self.state, Path::new(TRIAL))?.as_ref() == Some(&spent) {
            return Err(Error::TriesSpent(digest));
        }
        let note = format!("{slot} {tries}\n");
        marker::write_note(&self.state, Path::new(TRIAL), note.as_bytes())
    }

    fn forget_tries(&self) -> Result<(), Error> {
        if self.trial.is_none() {
            return Ok(());
        }
        self.state.remove(Path::new(TRIAL))?;
        self.state.sync_directory(Path::new(""))
    }

    /// Makes `current` lead to what it led to before the version with this digest.
    pub(super) fn roll_back(&mut self, failed: Digest) -> Result<(), Error> {
        let current = self.current()?;
        let previous = self.state.read_link(Path::new(PREVIOUS));
        match current {
            Some(slot) if self.holds(slot, failed)? => {
                let previous = previous.ok_or(Error::NothingToRollBackTo)?;
                match known(&previous) {
                    _ if previous == Path::new(NONE) => self.state.remove(Path::new(CURRENT))?,
                    Some(other) if other != slot && self.marker(other)?.is_some() => {
                        self.set_link(CURRENT, other)?;
                    }
                    _ => return Err(Error::NothingToRollBackTo),
                }
                self.state.sync_directory(Path::new(""))?;
            }
            // Back already. Only the other link may still be there.
            _ => {}
        }
        self.state.remove(Path::new(PREVIOUS))?;
        self.state.sync_directory(Path::new(""))?;
        self.forget_tries()
    }

    /// What writing this package takes: the spare slot is cleared first, whatever is in it.
    pub(super) fn unpacking(&self, manifest: &Manifest) -> Result<Unpacking, Error> {
        let place = self.state.path().to_owned();
        let freed = fit::held_below(&place.join(self.spare()?));
        Ok(Unpacking { place, needed: needed(manifest), freed })
    }

    /// Frees the spare slot, unless it is what we would go back to.
    pub(super) fn discard(&mut self) -> Result<(), Error> {
        let spare = self.spare()?;
        if self.state.read_link(Path::new(PREVIOUS)).as_deref().and_then(known) == Some(spare) {
            return Ok(());
        }
        self.clear(spare)
    }

    fn write_anew(
        &mut self,
        spare: &'static str,
        manifest: &Manifest,
        payloads: &Path,
        settings: &Settings,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        self.clear(spare)?;
        self.forget_tries()?;
        let needed = needed(manifest);
        if self.state.free_bytes()? < needed {
            return Err(Error::NoSpace { path: self.state.path().join(spare), needed });
        }
        self.state.make_directory(Path::new(spare), Attributes::of_mode(0o755))?;
        let slot = self.state.enter(Path::new(spare))?;
        let mut listing = Listing::begin(&slot)?;
        for (n, component) in manifest.components.iter().enumerate() {
            let payload = payloads.join(n.to_string());
            unpack::component(
                &slot,
                &mut listing,
                component,
                &payload,
                settings,
                progress,
                cancel,
            )?;
        }
        let content = listing.end()?;
        slot.sync_all()?;
        listing::verify(&slot, content, cancel)?;
        Marker::of(manifest, content).write(&slot, Path::new(MARKER))?;
        // The names above the slot were safe with `sync_all`; this covers what changed since.
        self.state.sync_directory(Path::new("slots"))?;
        self.read_back = Some(manifest.digest);
        Ok(())
    }

    /// Whether the slot holds this version, as the disk says and not only its marker.
    fn is_written(
        &mut self,
        slot: &'static str,
        digest: Digest,
        cancel: &Cancel,
    ) -> Result<bool, Error> {
        let Some(marker) = self.marker(slot)?.filter(|marker| marker.manifest == digest) else {
            return Ok(false);
        };
        if self.read_back == Some(digest) {
            return Ok(true);
        }
        let read = listing::verify(&self.state.enter(Path::new(slot))?, marker.content, cancel);
        match read {
            Ok(()) => {
                self.read_back = Some(digest);
                Ok(true)
            }
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(error) => {
                tracing::warn!(%error, "what was written before is not whole any more");
                Ok(false)
            }
        }
    }

    fn clear(&mut self, slot: &'static str) -> Result<(), Error> {
        self.read_back = None;
        let slot = Path::new(slot);
        if self.state.look(&slot.join(MARKER))?.is_some() {
            self.state.remove(&slot.join(MARKER))?;
        }
        self.state.remove_tree(slot)
    }

    fn holds(&self, slot: &'static str, digest: Digest) -> Result<bool, Error> {
        Ok(self.marker(slot)?.is_some_and(|marker| marker.manifest == digest))
    }

    fn marker(&self, slot: &'static str) -> Result<Option<Marker>, Error> {
        Marker::read(&self.state, &Path::new(slot).join(MARKER))
    }

    fn current(&self) -> Result<Option<&'static str>, Error> {
        let path = Path::new(CURRENT);
        if self.state.look(path)?.is_none() {
            return Ok(None);
        }
        let target = self.state.read_link(path);
        let no =
            Error::Settings("`current` in the state directory is not a link to one of its slots");
        target.as_deref().and_then(known).ok_or(no).map(Some)
    }

    fn spare(&self) -> Result<&'static str, Error> {
        let [first, second] = SLOTS;
        Ok(if self.current()? == Some(first) { second } else { first })
    }

    fn set_link(&self, name: &str, target: &str) -> Result<(), Error> {
        let new = with_suffix(Path::new(name), ".new");
        self.state.remove(&new)?;
        self.state.make_link(Path::new(target), &new)?;
        self.state.rename(&new, Path::new(name))?;
        self.state.sync_directory(Path::new(""))
    }
}

fn known(target: &Path) -> Option<&'static str> {
    SLOTS.into_iter().find(|slot| Path::new(slot) == target)
}

/// What a package may become on the disk, bytes.
fn needed(manifest: &Manifest) -> u64 {
    let unpacked = manifest.components.iter().map(|it| unpacked_max(it.format, it.size));
    unpacked.fold(0, u64::saturating_add)
}

/// What a payload may become on the disk, bytes.
fn unpacked_max(format: Format, size: u64) -> u64 {
    match format {
        Format::Raw | Format::Tar => size,
        Format::TarZstd { unpacked_bytes_max } => unpacked_bytes_max,
    }
}

const SLOTS: [&str; 2] = ["slots/a", "slots/b"];
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const TRIAL: &str = "trial";

/// What `previous` says where nothing ran before.
const NONE: &str = "none";

const MARKER: &str = ".freshen/slot";
