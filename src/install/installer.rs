//! The verbs, the same for every kind of place.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::beneath::Beneath;
use super::file::OneFile;
use super::marker::Marker;
use super::precursor;
use super::program::Programmed;
use super::run::{self, Environment};
use super::slots::Slots;
use super::{Error, Kind, Settings, fit};
use crate::clock;
use crate::clock::Instant;
use crate::package::{Component, Digest, Manifest, Verified};
use crate::worker::Cancel;
use crate::worker::Progress;

/// Installs versions, switches between them, and says how the new one is.
#[derive(Debug)]
pub struct Installer {
    settings: Settings,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Slots(Slots),
    File(OneFile),
    Program(Programmed),
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Digest of its manifest.
    pub digest: Digest,
    /// As its manifest calls it.
    pub version: String,
    /// The sequence number of its manifest; `None` where it was installed by an older freshen.
    pub sequence: Option<u64>,
}

impl Installer {
    /// Opens the place that the settings name; `state_dir` keeps what has to be remembered.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] and [`Error::Disk`].
    pub fn open(settings: Settings, state_dir: &Path) -> Result<Self, Error> {
        let state_dir = std::path::absolute(state_dir).map_err(Error::disk(state_dir))?;
        let state = Beneath::open_or_make(&state_dir)?;
        let place = match &settings.kind {
            Kind::Slots => {
                let trial = settings.agent.clone().map(|agent| (agent, settings.tries));
                Place::Slots(Slots::open(state, trial)?)
            }
            Kind::File(path) => Place::File(OneFile::open(state, path)?),
            Kind::Program(program) => Place::Program(Programmed::open(state, program)?),
        };
        Ok(Self { settings, place })
    }

    /// What runs; `None` before the first update.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`].
    pub fn running(&self) -> Result<Option<Running>, Error> {
        let running = self.place.running()?;
        Ok(running.map(|(Marker { manifest: digest, version, sequence, .. }, _)| Running {
            digest,
            version,
            sequence,
        }))
    }

    /// What patches for this component are made for, and its digest: the file that runs in its place,
    /// or the archive of all that runs, written to `scratch`. `None` where nothing runs yet, or only
    /// a program of the system knows what.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`], [`Error::Cancelled`].
    pub fn precursor(
        &self,
        component: &Component,
        scratch: &Path,
        cancel: &Cancel,
    ) -> Result<Option<(Digest, File)>, Error> {
        match self.place.running()? {
            Some((_, path)) if !matches!(self.place, Place::Program(_)) => {
                precursor::open(&path, component, &self.settings, scratch, cancel)
            }
            _ => Ok(None),
        }
    }

    /// Whether a package can be installed here: every component has a place.
    ///
    /// # Errors
    ///
    /// [`Error::Unfit`].
    pub fn judge(&self, manifest: &Manifest) -> Result<(), Error> {
        fit::judge(manifest, &self.settings)
    }

    /// Whether there is space to fetch a package into `folder` and to unpack it from there. What a
    /// program of the system needs, only that knows.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] with all that is needed in one place, [`Error::Disk`].
    pub fn has_room(&self, manifest: &Manifest, folder: &Path) -> Result<(), Error> {
        let unpacking = match &self.place {
            Place::Slots(slots) => Some(slots.unpacking(manifest)?),
            Place::File(file) => Some(file.unpacking(manifest)),
            Place::Program(_) => None,
        };
        fit::room(manifest, folder, unpacking.as_ref())
    }

    /// Where the agent is that runs now, if agents are part of what is installed.
    pub fn agent(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Slots(slots) => slots.agent(),
            Place::File(_) | Place::Program(_) => None,
        }
    }

    /// Asks the program `veto` whether the installation of this version may begin; empty: it may.
    ///
    /// # Errors
    ///
    /// [`Error::Vetoed`] with what it says.
    pub fn may_begin(
        &self,
        veto: &[String],
        manifest: &Manifest,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let environment = vec![
            ("FRESHEN_VERSION", OsString::from(&manifest.version)),
            ("FRESHEN_DIGEST", manifest.digest.to_string().into()),
        ];
        run::run(veto, environment, self.settings.health_timeout, true, cancel)
            .map_err(|failed| Error::Vetoed(failed.words))
    }

    /// Writes a version beside the one that runs, and reads it back. `payloads` is a directory with one
    /// file a component, named by its index. What is written already is not written again. `progress`
    /// counts bytes of payloads.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; the space it took is free again, and what runs is as it was.
    pub fn write(
        &mut self,
        manifest: &Verified<Manifest>,
        payloads: &Path,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        self.write_manifest(manifest, payloads, progress, cancel)
    }

    /// What [`Self::write`] does; for the tests in this room.
    pub(super) fn write_manifest(
        &mut self,
        manifest: &Manifest,
        payloads: &Path,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let Self { settings, place } = self;
        match place {
            Place::Slots(slots) => slots.write(manifest, payloads, settings, progress, cancel),
            Place::File(file) => file.write(manifest, payloads, progress, cancel),
            Place::Program(program) => program.write(manifest, payloads, progress, cancel),
        }
    }

    /// Makes the version with this digest the one that runs, in one step, and runs the activate
    /// command. The one that ran is kept.
    ///
    /// # Errors
    ///
    /// [`Error::NotWritten`], [`Error::ActivateFailed`] (the switch has happened), [`Error::Disk`].
    pub fn switch(&mut self, digest: &Digest, cancel: &Cancel) -> Result<(), Error> {
        match &mut self.place {
            Place::Slots(slots) => slots.switch(*digest, cancel)?,
            Place::File(file) => file.switch(*digest)?,
            Place::Program(program) => program.switch(*digest, cancel)?,
        }
        self.activate(cancel)
    }

    /// Runs the health command until it succeeds or `deadline` has come. Each failure is told in the log
    /// at once: until the deadline there is nothing else to see.
    ///
    /// # Errors
    ///
    /// [`Error::HealthFailed`] with how it ended last.
    pub fn health(&self, deadline: Instant, cancel: &Cancel) -> Result<(), Error> {
        if let Place::Program(program) = &self.place
            && program.ask_until(deadline, cancel)?
        {
            let why = "was not run: the system came back with the old software";
            return Err(Error::HealthFailed(why.into()));
        }
        let mut last = "was not run: there was no time left".to_owned();
        loop {
            let left = deadline - clock::now().mono;
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if left.is_zero() {
                return Err(Error::HealthFailed(last));
            }
            let limit = self.settings.health_timeout.min(left);
            match run::run(&self.settings.health, self.environment(), limit, true, cancel) {
                Ok(()) => return Ok(()),
                Err(failed) => last = failed.words,
            }
            let left = deadline - clock::now().mono;
            if !cancel.is_cancelled() {
                let seconds = left.as_secs();
                tracing::warn!("the health command {last}; it may succeed within {seconds} s yet");
            }
            std::thread::sleep(HEALTH_PAUSE.min(left));
        }
    }

    /// The version with this digest stays. Whoever calls keeps that fact; the place only makes sure that
    /// it is the one that runs, and that this is safe on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::NotWritten`] where another one runs, [`Error::Disk`].
    pub fn confirm(&mut self, digest: &Digest) -> Result<(), Error> {
        match self.running()? {
            Some(running) if running.digest == *digest => match &mut self.place {
                Place::Slots(slots) => slots.confirm(*digest),
                Place::File(file) => file.switch(*digest),
                Place::Program(program) => program.confirm(*digest),
            },
            _ => Err(Error::NotWritten(*digest)),
        }
    }

    /// Goes back to what ran before the version with this digest, in one step, and runs the activate
    /// command. Where another one runs, that has happened already.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToRollBackTo`], [`Error::ActivateFailed`] (the switch has happened),
    /// [`Error::Disk`].
    pub fn roll_back(&mut self, failed: &Digest, cancel: &Cancel) -> Result<(), Error> {
        match &mut self.place {
            Place::Slots(slots) => slots.roll_back(*failed)?,
            Place::File(file) => file.roll_back(*failed)?,
            Place::Program(program) => program.roll_back(*failed, cancel)?,
        }
        self.activate(cancel)
    }

    /// Frees the space of a version that was written, or partly, and is not wanted any more.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`].
    pub fn discard(&mut self) -> Result<(), Error> {
        match &mut self.place {
            Place::Slots(slots) => slots.discard(),
            Place::File(file) => file.discard(),
            Place::Program(program) => program.discard(),
        }
    }

    fn activate(&self, cancel: &Cancel) -> Result<(), Error> {
        let Settings { activate, activate_timeout, .. } = &self.settings;
        let run = || {
            run::run(activate, self.environment(), *activate_timeout, false, cancel)
                .map_err(|failed| Error::ActivateFailed(failed.words))
        };
        match &self.place {
            Place::Program(program) if program.needs_restarts() => {
                let deadline = || clock::now().mono + *activate_timeout;
                // A restart that has happened already is not asked for again.
                if program.ask_until(deadline(), cancel)? {
                    run()?;
                }
                program.wait_for_restart(deadline(), cancel)
            }
            _ => run(),
        }
    }

    /// What a command may want to know: which version this is about, and where it is.
    fn environment(&self) -> Environment {
        let Ok(Some((marker, path))) = self.place.running() else { return vec![] };
        vec![
            ("FRESHEN_VERSION", OsString::from(marker.version)),
            ("FRESHEN_DIGEST", marker.manifest.to_string().into()),
            ("FRESHEN_PATH", path.into()),
        ]
    }
}

impl Place {
    fn running(&self) -> Result<Option<(Marker, PathBuf)>, Error> {
        match self {
            Self::Slots(slots) => slots.running(),
            Self::File(file) => file.running(),
            Self::Program(program) => program.running(),
        }
    }
}

/// Between two runs of the health command: time for the new version to come up.
const HEALTH_PAUSE: Duration = Duration::from_secs(1);
