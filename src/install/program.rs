//! Hands the work to a program of the system, and remembers what it was asked for.
//!
//! ```text
//! <state>/program/new       what it has written
//! <state>/program/current   what it was last told to run
//! <state>/program/previous  what ran before
//! ```

use std::path::{Path, PathBuf};

use super::beneath::{Attributes, Beneath};
use super::marker::Marker;
use super::run::{self, Failed, Listener};
use super::{Error, Program};
use crate::package::{Digest, Manifest};
use crate::worker::{Cancel, Progress};

/// The program, and what is known of its work.
#[derive(Debug)]
pub(super) struct Programmed {
    notes: Beneath,
    program: Program,
}

impl Programmed {
    pub(super) fn open(state: Beneath, program: &Program) -> Result<Self, Error> {
        if program.write.is_empty() {
            return Err(Error::Settings("the program to install with has no name"));
        }
        state.make_directory(Path::new("program"), Attributes::of_mode(0o755))?;
        state.sync_directory(Path::new(""))?;
        Ok(Self { notes: state.enter(Path::new("program"))?, program: program.clone() })
    }

    /// What it was last told to run. Where that is, only the program knows.
    pub(super) fn running(&self) -> Result<Option<(Marker, PathBuf)>, Error> {
        Ok(self.note(CURRENT)?.map(|marker| (marker, PathBuf::new())))
    }

    pub(super) fn write(
        &mut self,
        manifest: &Manifest,
        payloads: &Path,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let marker = Marker::of(manifest, manifest.digest);
        let size = manifest.components.iter().map(|component| component.size).sum();
        if self.note(CURRENT)?.as_ref() == Some(&marker)
            || self.note(NEW)?.as_ref() == Some(&marker)
        {
            progress.add(size);
            return Ok(());
        }
        self.forget(NEW)?;
        let listen = percent_to_bytes(progress.clone(), size);
        self.run(&self.program.write, &marker, payloads, Some(listen), cancel)?;
        marker.write(&self.notes, Path::new(NEW))
    }

    pub(super) fn switch(&mut self, digest: Digest, cancel: &Cancel) -> Result<(), Error> {
        let current = self.note(CURRENT)?;
        if current.as_ref().is_some_and(|marker| marker.manifest == digest) {
            return Ok(());
        }
        let new = self.note(NEW)?.filter(|marker| marker.manifest == digest);
        let new = new.ok_or(Error::NotWritten(digest))?;
        match current {
            Some(current) => current.write(&self.notes, Path::new(PREVIOUS))?,
            None => self.forget(PREVIOUS)?,
        }
        self.run(&self.program.switch, &new, Path::new(""), None, cancel)?;
        new.write(&self.notes, Path::new(CURRENT))
    }

    pub(super) fn confirm(&mut self, digest: Digest) -> Result<(), Error> {
        let current = self.note(CURRENT)?.filter(|marker| marker.manifest == digest);
        let current = current.ok_or(Error::NotWritten(digest))?;
        self.run(&self.program.confirm, &current, Path::new(""), None, &Cancel::new())?;
        self.forget(NEW)
    }

    pub(super) fn roll_back(&mut self, failed: Digest, cancel: &Cancel) -> Result<(), Error> {
        let is_failed = |marker: &Marker| marker.manifest == failed;
        let current = self.note(CURRENT)?.filter(is_failed);
        // A switch that failed half way has not become `current` and is taken back all the same.
        let Some(marker) = current.clone().or(self.note(NEW)?.filter(is_failed)) else {
            return Ok(());
        };
        self.run(&self.program.roll_back, &marker, Path::new(""), None, cancel)?;
        if current.is_some() {
            match self.note(PREVIOUS)? {
                Some(previous) => previous.write(&self.notes, Path::new(CURRENT))?,
                None => self.forget(CURRENT)?,
            }
        }
        self.forget(NEW)
    }

    pub(super) fn discard(&mut self) -> Result<(), Error> {
        let nothing = Marker {
            manifest: Digest([0; 32]),
            version: String::new(),
            sequence: None,
            content: Digest([0; 32]),
        };
        self.forget(NEW)?;
        self.run(&self.program.discard, &nothing, Path::new(""), None, &Cancel::new())
    }

    fn run(
        &self,
        argv: &[String],
        marker: &Marker,
        payloads: &Path,
        listen: Option<Listener>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let argv: Vec<String> = argv.iter().map(|word| filled_in(word, marker, payloads)).collect();
        let environment = vec![
            ("FRESHEN_VERSION", marker.version.clone().into()),
            ("FRESHEN_DIGEST", marker.manifest.to_string().into()),
        ];
        let ran = run::run_and_listen(&argv, environment, self.program.limit, true, cancel, listen);
        ran.map_err(|Failed { code, words }| match code {
            _ if cancel.is_cancelled() => Error::Cancelled,
            Some(NO_SPACE) => Error::NoSpace { path: payloads.to_owned(), needed: 0 },
            _ => Error::InstallerFailed {
                program: argv.first().cloned().unwrap_or_default(),
                why: words,
            },
        })
    }

    fn note(&self, name: &str) -> Result<Option<Marker>, Error> {
        Marker::read(&self.notes, Path::new(name))
    }

    fn forget(&self, name: &str) -> Result<(), Error> {
        self.notes.remove(Path::new(name))?;
        self.notes.sync_directory(Path::new(""))
    }
}

fn filled_in(word: &str, marker: &Marker, payloads: &Path) -> String {
    word.replace("{payloads}", &payloads.display().to_string())
        .replace("{payload}", &payloads.join("0").display().to_string())
        .replace("{version}", &marker.version)
        .replace("{digest}", &marker.manifest.to_string())
}

/// Lines that say how far the program is, as bytes of payload.
fn percent_to_bytes(progress: Progress, size: u64) -> Listener {
    let mut given = 0;
    Box::new(move |line| {
        let Some(percent) = percent(line) else { return };
        let bytes = (u128::from(size) * u128::from(percent.min(100)) / 100) as u64;
        progress.add(bytes.saturating_sub(given));
        given = given.max(bytes);
    })
}

/// `42% doing this`, or `{"percent": 42}`.
fn percent(line: &str) -> Option<u64> {
    if let Some((number, _)) = line.split_once('%') {
        return number.trim().parse().ok();
    }
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("percent")?.as_u64()
}

const NEW: &str = "new";
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";

/// The exit code of a program that finds no space.
const NO_SPACE: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_in_either_form_and_never_goes_back() {
        let progress = Progress::new(200);
        let mut listen = percent_to_bytes(progress.clone(), 200);
        for (line, done) in [
            ("  0% Installing", 0),
            ("{\"percent\": 10, \"doing\": \"x\"}", 20),
            ("nonsense", 20),
            (" 50% Copying", 100),
            ("20% again", 100),
            ("900%", 200),
            ("{\"percent\":\"x\"}", 200),
        ] {
            listen(line);
            assert_eq!(progress.done(), done, "{line}");
        }
    }
}
