//! The workshop: one thread that carries out the engine's tasks, one after the other.
//!
//! Work that was given up is asked to stop, and the next begins only when it has: two tasks are
//! never at the same slot. What a task did is reported to the loop as an ordinary input.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io, thread};

use tokio::sync::mpsc as reports;
use url::Url;

use super::failure;
use super::image::Bringer;
use super::trust::Trusted;
use crate::clock;
use crate::fetch::Fetcher;
use crate::install::{self, Installer};
use crate::package::{self, DecryptionKey, Digest, Manifest, Names, Verified};
use crate::store;
use crate::update::{Failure, FailureKind, Offer, Report, Task, WorkId};
use crate::worker::{Cancel, Progress};

/// Orders that may wait while one is carried out. The engine has one job at a time: an order to
/// tidy and one to work can be behind one that was given up, and a reset can do that again.
const ORDERS_MAX: usize = 16;

/// The first pause before a rollback that failed is tried again; it doubles each time.
const ROLL_BACK_PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The longest of these pauses.
const ROLL_BACK_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Between two questions to the veto command.
const VETO_PAUSE: Duration = Duration::from_secs(60);

/// How often a pausing worker looks whether it is to stop.
const CANCEL_EVERY: Duration = Duration::from_millis(50);

/// The loop's end of the workshop.
pub(super) struct Workshop {
    orders: mpsc::SyncSender<Order>,
    reports: reports::Receiver<(WorkId, Report)>,
    current: Option<(Cancel, Progress)>,
}

enum Order {
    Work { work: WorkId, task: Task, cancel: Cancel, progress: Progress },
    Tidy { keep: Option<Digest> },
}

/// What the workshop works with.
pub(super) struct Bench {
    pub(super) fetcher: Fetcher,
    pub(super) installer: Installer,
    pub(super) trust: Trusted,
    /// Reads what was encrypted for this device.
    pub(super) key: Option<DecryptionKey>,
    /// What people call this device; packages are for others or for it.
    pub(super) names: Names,
    /// Packages are kept here, each in a folder named by its digest.
    pub(super) stage: PathBuf,
    /// How long new software has to prove itself.
    pub(super) confirm_timeout: Duration,
    /// The program and arguments that may put an installation off; empty for none.
    pub(super) veto: Vec<String>,
    /// Where the agent is that `freshen launch` has started from a slot.
    pub(super) launched: Option<PathBuf>,
}

impl Workshop {
    /// Opens the workshop.
    pub(super) fn open(bench: Bench) -> io::Result<Self> {
        let (orders, inbox) = mpsc::sync_channel(ORDERS_MAX);
        let (outbox, reports) = reports::channel(1);
        thread::Builder::new()
            .name("workshop".into())
            .spawn(move || bench.work(&inbox, &outbox))?;
        Ok(Self { orders, reports, current: None })
    }

    /// Begins a piece of work on `expected` bytes.
    pub(super) fn begin(&mut self, work: WorkId, task: Task, expected: u64) {
        let (cancel, progress) = (Cancel::new(), Progress::new(expected));
        self.current = Some((cancel.clone(), progress.clone()));
        self.order(Order::Work { work, task, cancel, progress });
    }

    /// Frees what is kept of packages, but for one.
    pub(super) fn tidy(&self, keep: Option<Digest>) {
        self.order(Order::Tidy { keep });
    }

    /// Asks the work under way to stop.
    pub(super) fn abort(&mut self) {
        if let Some((cancel, _)) = self.current.take() {
            cancel.cancel();
        }
    }

    /// How far the work under way is.
    pub(super) fn progress(&self) -> Option<&Progress> {
        self.current.as_ref().map(|(_, progress)| progress)
    }

    /// The next report; none if the thread is gone, which only a panic in it brings about.
    pub(super) async fn report(&mut self) -> Option<(WorkId, Report)> {
        self.reports.recv().await
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::error!("the workshop has too many orders; one is left to the next start");
        }
    }
}

impl Bench {
    fn work(mut self, orders: &mpsc::Receiver<Order>, reports: &reports::Sender<(WorkId, Report)>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Tidy { keep } => self.tidy(keep),
                Order::Work { cancel, .. } if cancel.is_cancelled() => {}
                Order::Work { work, task, cancel, progress } => {
                    tracing::debug!("work {}: {task:?}", work.0);
                    let report = self.carry_out(task, &cancel, &progress);
                    if reports.blocking_send((work, report)).is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, task: Task, cancel: &Cancel, progress: &Progress) -> Report {
        match task {
            Task::Check { url } => Report::Checked(self.check(&url, cancel)),
            Task::Fetch(package) => Report::Fetched(self.fetch(package, cancel, progress)),
            Task::Install(package) => Report::Installed(self.install(package, cancel, progress)),
            Task::Switch(package) => Report::Switched(
                self.installer.switch(&package, cancel).map_err(|error| failure::install(&error)),
            ),
            Task::Try(package) => Report::Tried(self.try_out(&package, cancel)),
            Task::Confirm(package) => Report::Confirmed(
                self.installer.confirm(&package).map_err(|error| failure::install(&error)),
            ),
            Task::RollBack(package) => Report::RolledBack(self.roll_back(package, cancel)),
        }
    }

    /// Fetches and verifies the manifest, and keeps the envelope for the steps that follow.
    fn check(&mut self, url: &str, cancel: &Cancel) -> Result<Offer, Failure> {
        let fetched = self.fetcher.envelope(url, cancel).map_err(|error| failure::fetch(&error))?;
        self.trust.refresh(&self.fetcher, &fetched.final_url, cancel)?;
        let manifest = self.believed(&fetched.bytes)?;
        self.installer.judge(&manifest).map_err(|error| failure::install(&error))?;
        let folder = self.folder(manifest.digest);
        store::write_durably(&folder.join(ENVELOPE), &fetched.bytes)
            .and_then(|()| {
                store::write_durably(&folder.join(SOURCE), fetched.final_url.as_str().as_bytes())
            })
            .map_err(|error| failure::disk(&error))?;
        Ok(self.offer(&manifest, Digest::of(&fetched.bytes)))
    }

    fn believed(&self, envelope: &[u8]) -> Result<Verified<Manifest>, Failure> {
        package::verify(envelope, self.trust.packages(), &self.names.identity())
            .map_err(|refusal| failure::package(&refusal.on(&self.names)))
    }

    fn offer(&self, manifest: &Verified<Manifest>, envelope: Digest) -> Offer {
        Offer {
            package: manifest.digest,
            envelope: Some(envelope),
            sequence: manifest.sequence,
            version: manifest.version.clone(),
            size: manifest.components.iter().map(|component| component.transfer_size()).sum(),
            use_before: manifest.use_before,
            epoch: self.trust.epoch(),
            trusted_until: self.trust.expires(),
            requires: manifest.requires.clone(),
            needs_approval: manifest.needs_approval,
        }
    }

    /// The kept envelope, believed anew.
    fn kept(&self, package: Digest) -> Result<(Verified<Manifest>, Url), Failure> {
        let folder = self.folder(package);
        let read = |name| fs::read(folder.join(name)).map_err(|error| failure::lost(&error));
        let manifest = self.believed(&read(ENVELOPE)?)?;
        let source = String::from_utf8(read(SOURCE)?).ok().and_then(|text| text.parse().ok());
        match source {
            Some(source) if manifest.digest == package => Ok((manifest, source)),
            _ => Err(Failure::new(FailureKind::Storage, "the kept package was changed on disk")),
        }
    }

    fn fetch(&self, package: Digest, cancel: &Cancel, progress: &Progress) -> Result<(), Failure> {
        let (manifest, source) = self.kept(package)?;
        let folder = self.folder(package);
        self.installer.has_room(&manifest, &folder).map_err(|error| failure::install(&error))?;
        let bringer = Bringer {
            fetcher: &self.fetcher,
            installer: &self.installer,
            key: self.key.as_ref(),
            base: &source,
            folder: &folder,
            progress,
            cancel,
        };
        let mut components = manifest.components.iter().enumerate();
        components.try_for_each(|(index, component)| bringer.bring(index, component))
    }

    fn install(
        &mut self,
        package: Digest,
        cancel: &Cancel,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let (manifest, _) = self.kept(package)?;
        self.wait_for_leave(&manifest, cancel, progress)?;
        self.installer
            .write(&manifest, &self.folder(package), progress, cancel)
            .map_err(|error| failure::install(&error))
    }

    /// Asks the veto command until it lets the installation begin. Nothing has been touched yet.
    fn wait_for_leave(
        &self,
        manifest: &Manifest,
        cancel: &Cancel,
        progress: &Progress,
    ) -> Result<(), Failure> {
        while let Err(error) = self.installer.may_begin(&self.veto, manifest, cancel) {
            if cancel.is_cancelled() {
                return Err(failure::install(&error));
            }
            let words = error.to_string();
            if progress.waits_for().as_ref() != Some(&words) {
                tracing::info!("the installation of {} is put off: {words}", manifest.version);
            }
            progress.set_waits_for(Some(words));
            pause(VETO_PAUSE, cancel);
        }
        progress.set_waits_for(None);
        Ok(())
    }

    fn try_out(&self, package: &Digest, cancel: &Cancel) -> Result<(), Failure> {
        if self.leave_if_replaced() {
            // The agent that is on trial does the rest.
            while !cancel.is_cancelled() {
                pause(CANCEL_EVERY, cancel);
            }
        }
        let running = self.installer.running().map_err(|error| failure::install(&error))?;
        if running.is_none_or(|running| running.digest != *package) {
            let detail = "the new software was started too often without success, and the launcher \
                          has brought back the old";
            return Err(Failure::new(FailureKind::Trial, detail));
        }
        let deadline = clock::now().mono + self.confirm_timeout;
        self.installer.health(deadline, cancel).map_err(|error| failure::install(&error))
    }

    /// There is nothing else to fall back on: tried until it works or somebody asks to stop.
    fn roll_back(&mut self, package: Digest, cancel: &Cancel) -> Result<(), Failure> {
        let mut pause = ROLL_BACK_PAUSE_FIRST;
        loop {
            let error = match self.installer.roll_back(&package, cancel) {
                Ok(()) => return Ok(()),
                Err(error @ install::Error::NothingToRollBackTo) => {
                    return Err(failure::install(&error));
                }
                Err(error) if cancel.is_cancelled() => return Err(failure::install(&error)),
                Err(error) => error,
            };
            tracing::error!("cannot bring back the old software: {error}; trying again");
            self::pause(pause, cancel);
            pause = (pause * 2).min(ROLL_BACK_PAUSE_MAX);
        }
    }

    fn tidy(&mut self, keep: Option<Digest>) {
        let keep = keep.map(|package| package.to_string());
        let Ok(folders) = fs::read_dir(&self.stage) else { return };
        for folder in folders.flatten() {
            if folder.file_name().to_str() != keep.as_deref()
                && let Err(error) = fs::remove_dir_all(folder.path())
            {
                tracing::warn!("cannot remove {}: {error}", folder.path().display());
            }
        }
        if keep.is_none()
            && let Err(error) = self.installer.discard()
        {
            tracing::warn!("cannot free the spare slot: {error}");
        }
        self.leave_if_replaced();
    }

    /// Ends this process where it is the agent of a slot and another slot runs now: the launcher starts
    /// that one's agent. What has to be known by it is on the disk.
    fn leave_if_replaced(&self) -> bool {
        let Some((launched, agent)) = self.launched.as_ref().zip(self.installer.agent()) else {
            return false;
        };
        let replaced = fs::canonicalize(agent).is_ok_and(|agent| agent != *launched);
        if replaced {
            tracing::info!("another agent is to run; this one ends");
            let own = rustix::process::getpid();
            let _ = rustix::process::kill_process(own, rustix::process::Signal::TERM);
        }
        replaced
    }

    fn folder(&self, package: Digest) -> PathBuf {
        self.stage.join(package.to_string())
    }
}

fn pause(length: Duration, cancel: &Cancel) {
    let until = clock::now().mono + length;
    while clock::now().mono < until && !cancel.is_cancelled() {
        thread::sleep(CANCEL_EVERY);
    }
}

/// Name of the envelope in a package's folder. Payloads are there by the number of their component.
const ENVELOPE: &str = "envelope.suit";
/// Name of the file that says where the envelope came from.
const SOURCE: &str = "source";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workshop_whose_thread_has_panicked_says_so_instead_of_nothing() {
        let (orders, _inbox) = mpsc::sync_channel(ORDERS_MAX);
        let (outbox, reports) = reports::channel(1);
        let mut workshop = Workshop { orders, reports, current: None };
        let thread = thread::spawn(move || {
            outbox.blocking_send((WorkId(1), Report::Fetched(Ok(())))).unwrap();
            panic!("as a defect would");
        });
        assert!(thread.join().is_err());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let next = |workshop: &mut Workshop| runtime.block_on(workshop.report());
        assert!(next(&mut workshop).is_some(), "what it did before counts");
        assert!(next(&mut workshop).is_none());
    }
}
