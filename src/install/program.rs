//! Hands the work to a program of the system, and remembers what it was asked for.
//!
//! ```text
//! <state>/program/new       what it has written
//! <state>/program/current   what it was last told to run
//! <state>/program/previous  what ran before
//! <state>/program/boot      what was booted before the switch, and in which life of the system
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::beneath::{Attributes, Beneath};
use super::marker::{self, Marker};
use super::run::{self, Failed, Listener};
use super::{Error, Program};
use crate::clock;
use crate::clock::Instant;
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
        if let Some(booted) = self.booted(cancel)? {
            let note = format!("{}\n{digest}\n{booted}", life_of_the_system()?);
            marker::write_note(&self.notes, Path::new(BOOT), note.as_bytes())?;
        }
        self.run(&self.program.switch, &new, Path::new(""), None, cancel)?;
        new.write(&self.notes, Path::new(CURRENT))
    }

    /// Whether new software runs only after a restart of the system.
    pub(super) fn needs_restarts(&self) -> bool {
        !self.program.booted.is_empty()
    }

    /// Whether what was switched to last, or back to, is not what the system has booted.
    ///
    /// # Errors
    ///
    /// [`Error::ActivateFailed`] where the system was restarted and came back with the old software.
    pub(super) fn waits_for_restart(&self, cancel: &Cancel) -> Result<bool, Error> {
        let Some(boot) = self.boot(cancel)? else { return Ok(false) };
        let switched = self.note(CURRENT)?.is_some_and(|it| it.manifest.to_string() == boot.to);
        if switched && boot.restarted && !boot.is_new {
            let why = "restarted the system, and the boot loader came back with the old software";
            return Err(Error::ActivateFailed(why.into()));
        }
        Ok(boot.is_new != switched)
    }

    /// As [`Self::waits_for_restart`]; a system that is going down, or has just come up, is asked again.
    pub(super) fn ask_until(&self, deadline: Instant, cancel: &Cancel) -> Result<bool, Error> {
        loop {
            match self.waits_for_restart(cancel) {
                Err(Error::InstallerFailed { .. }) if clock::now().mono < deadline => {
                    std::thread::sleep(BOOTED_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    /// Waits for the restart that the activate command has begun, which ends this process as well.
    pub(super) fn wait_for_restart(&self, deadline: Instant, cancel: &Cancel) -> Result<(), Error> {
        while self.ask_until(deadline, cancel)? {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if clock::now().mono >= deadline {
                let why = "was run, and the system goes on with what was booted before";
                return Err(Error::ActivateFailed(why.into()));
            }
            std::thread::sleep(BOOTED_PAUSE);
        }
        Ok(())
    }

    pub(super) fn confirm(&mut self, digest: Digest) -> Result<(), Error> {
        let current = self.note(CURRENT)?.filter(|marker| marker.manifest == digest);
        let current = current.ok_or(Error::NotWritten(digest))?;
        self.run(&self.program.confirm, &current, Path::new(""), None, &Cancel::new())?;
        self.forget(BOOT)?;
        self.forget(NEW)
    }

    pub(super) fn roll_back(&mut self, failed: Digest, cancel: &Cancel) -> Result<(), Error> {
        let is_failed = |marker: &Marker| marker.manifest == failed;
        let current = self.note(CURRENT)?.filter(is_failed);
        // A switch that failed half way has not become `current` and is taken back all the same.
        let Some(marker) = current.clone().or(self.note(NEW)?.filter(is_failed)) else {
            return Ok(());
        };
        tracing::info!("the installer is told to go back from {}", marker.version);
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
        let new_is_booted = self.boot_is_new(argv, cancel)?;
        let (new, old) = if new_is_booted { ("booted", "other") } else { ("other", "booted") };
        let fill = |word: &String| {
            filled_in(word, marker, payloads).replace("{new}", new).replace("{old}", old)
        };
        let argv: Vec<String> = argv.iter().map(fill).collect();
        let environment = vec![
            ("FRESHEN_VERSION", marker.version.clone().into()),
            ("FRESHEN_DIGEST", marker.manifest.to_string().into()),
        ];
        let ran = run::run_and_listen(&argv, environment, self.program.limit, true, cancel, listen);
        ran.map_err(|failed| self.failed(&argv, failed, payloads, cancel))
    }

    /// Asked only where a word depends on it: the question costs a program.
    fn boot_is_new(&self, argv: &[String], cancel: &Cancel) -> Result<bool, Error> {
        let depends = argv.iter().any(|word| word.contains("{new}") || word.contains("{old}"));
        Ok(depends && self.boot(cancel)?.is_some_and(|boot| boot.is_new))
    }

    /// What is booted, beside what was before the last switch.
    fn boot(&self, cancel: &Cancel) -> Result<Option<Boot>, Error> {
        let Some(note) = marker::read_note(&self.notes, Path::new(BOOT))? else { return Ok(None) };
        let Some(booted) = self.booted(cancel)? else { return Ok(None) };
        let [life, to, before] = *note.splitn(3, '\n').collect::<Vec<_>>() else { return Ok(None) };
        let (restarted, is_new) = (life != life_of_the_system()?, booted != before);
        Ok(Some(Boot { to: to.to_owned(), restarted, is_new }))
    }

    /// Which copy is booted, in the words of the program that knows; `None` where there is none.
    fn booted(&self, cancel: &Cancel) -> Result<Option<String>, Error> {
        let argv = &self.program.booted;
        if argv.is_empty() {
            return Ok(None);
        }
        let said = Arc::new(Mutex::new(String::new()));
        let keep = said.clone();
        let listen: Listener = Box::new(move |line| {
            let mut said = keep.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() + line.len() < BOOTED_BYTES_MAX {
                said.push_str(line);
            }
        });
        run::run_and_listen(argv, vec![], BOOTED_LIMIT, true, cancel, Some(listen))
            .map_err(|failed| self.failed(argv, failed, Path::new(""), cancel))?;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let name = match serde_json::from_str::<serde_json::Value>(&said) {
            Ok(object) => object.get("booted").and_then(|name| name.as_str()).map(str::to_owned),
            Err(_) => Some(said.clone()),
        };
        match name.filter(|name| !name.is_empty()) {
            Some(name) => Ok(Some(name)),
            None => Err(self.failed(
                argv,
                "does not say what is booted".to_owned().into(),
                Path::new(""),
                cancel,
            )),
        }
    }

    fn failed(&self, argv: &[String], failed: Failed, at: &Path, cancel: &Cancel) -> Error {
        match failed.code {
            _ if cancel.is_cancelled() => Error::Cancelled,
            Some(NO_SPACE) => Error::NoSpace { path: at.to_owned(), needed: 0 },
            _ => Error::InstallerFailed {
                program: argv.first().cloned().unwrap_or_default(),
                why: failed.words,
            },
        }
    }

    fn note(&self, name: &str) -> Result<Option<Marker>, Error> {
        Marker::read(&self.notes, Path::new(name))
    }

    fn forget(&self, name: &str) -> Result<(), Error> {
        self.notes.remove(Path::new(name))?;
        self.notes.sync_directory(Path::new(""))
    }
}

/// What is booted, beside what was before the last switch.
struct Boot {
    /// The version that the switch was to.
    to: String,
    /// The system was restarted since.
    restarted: bool,
    /// Another copy is booted than before the switch.
    is_new: bool,
}

/// Differs after each start of the system.
fn life_of_the_system() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let id = std::fs::read_to_string(path).map_err(Error::disk(path))?;
    Ok(id.trim().to_owned())
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
const BOOT: &str = "boot";

/// How long the question may take which copy is booted.
const BOOTED_LIMIT: Duration = Duration::from_secs(30);

/// Between two such questions while a restart is waited for.
const BOOTED_PAUSE: Duration = Duration::from_millis(200);

/// The longest answer to it, bytes: the whole status of a system with a dozen slots.
const BOOTED_BYTES_MAX: usize = 64 * 1024;

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
