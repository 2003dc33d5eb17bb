//! The world: everything that the device shell touches, with a seed in place of fate.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use freshen::clock::{Instant, Now};
use freshen::device::{Commit, Keeper, Rejected};
use freshen::package::Digest;
use freshen::source;
use freshen::store;
use freshen::update::{
    Cancel, Command, Door, Effect, Expected, Failure, FailureKind, Input, Offer, Order, Origin,
    Phase, Replaces, Report, Rules, Stage, State, Task, Unusable, WorkId, next_wake,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A package that some server offers.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub offer: Offer,
    pub health: Health,
}

/// How a release does in its trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Health {
    Good,
    /// Its health check fails.
    Bad,
    /// It takes the whole device down, each time.
    Crashes,
}

/// What is in a slot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Software {
    /// `None`: what the device was made with.
    pub package: Option<Digest>,
    /// Whether it was written to its end.
    pub whole: bool,
}

/// What survives a power cut.
pub(crate) struct Disk {
    pub state: Option<State>,
    /// The disk refuses commits.
    pub refuses: bool,
    pub slots: [Option<Software>; 2],
    pub current: usize,
    /// Packages whose manifest is kept.
    pub manifests: Vec<Digest>,
    /// Packages whose payloads are kept.
    pub payloads: Vec<Digest>,
}

/// The disk as the keeper sees it. The fuse is the world's: a commit has a point on either side.
pub(crate) struct SimulatedLedger {
    disk: Rc<RefCell<Disk>>,
    fuse: Rc<RefCell<Option<u64>>>,
}

/// A piece of work under way.
pub(crate) struct Worker {
    pub work: WorkId,
    pub task: Task,
    ends: Instant,
    /// It ended, but its report could not be kept yet.
    report: Option<Report>,
}

/// A device that has power.
pub(crate) struct Device {
    pub keeper: Keeper<SimulatedLedger>,
    pub worker: Option<Worker>,
}

/// How often things happened, over all seeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub cuts: u64,
    pub commits_refused: u64,
    pub upgrades: u64,
    pub rollbacks: u64,
    pub failures: u64,
    pub scheduled_starts: u64,
    pub resets: u64,
    pub cancels: u64,
    pub late: u64,
    pub replaced: u64,
}

pub(crate) struct World {
    pub rng: ChaCha8Rng,
    pub wall: DateTime<Utc>,
    pub mono: Instant,
    pub rules: Rules,
    pub disk: Rc<RefCell<Disk>>,
    pub device: Option<Device>,
    pub releases: BTreeMap<String, Release>,
    /// How many more points are passed before the power fails.
    pub fuse: Option<u64>,
    stale: Option<WorkId>,
    shared_fuse: Rc<RefCell<Option<u64>>>,
    pub log: Vec<String>,
    pub seen: Seen,
    pub memory: super::invariants::Memory,
}

/// The power failed.
struct Cut;

impl Commit for SimulatedLedger {
    fn commit(&mut self, state: &State) -> Result<(), store::Error> {
        let refused = || store::Error::TooLong(0);
        let mut fuse = self.fuse.borrow_mut();
        if burn(&mut fuse) || self.disk.borrow().refuses {
            return Err(refused());
        }
        self.disk.borrow_mut().state = Some(state.clone());
        // Cut right after: the record is kept, but nobody lives to act on it.
        if burn(&mut fuse) { Err(refused()) } else { Ok(()) }
    }
}

/// Passes one point; true when the power is gone.
fn burn(fuse: &mut Option<u64>) -> bool {
    match fuse {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

/// The doors of this world. Two principals share the first.
pub(crate) const DOORS: [Door; 2] = [Door::named("left"), Door::named("right")];
const PRINCIPALS: [(usize, &str); 3] = [(0, "alice"), (0, "bob"), (1, "carol")];

const URLS: [&str; 4] = ["https://v/a", "https://v/b", "https://v/bad", ""];

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let made = "2026-01-09T14:30:00Z".parse().unwrap();
        let disk = Disk {
            state: None,
            refuses: false,
            slots: [Some(Software { package: None, whole: true }), None],
            current: 0,
            manifests: vec![],
            payloads: vec![],
        };
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            wall: made,
            mono: Instant::ZERO,
            rules: Rules {
                sources: source::Policy {
                    hosts: vec!["v".into()],
                    schemes: vec!["https".into()],
                    ..source::Policy::default()
                },
                ..Rules::default()
            },
            disk: Rc::new(RefCell::new(disk)),
            device: None,
            releases: BTreeMap::new(),
            fuse: None,
            stale: None,
            shared_fuse: Rc::default(),
            log: vec![],
            seen: Seen::default(),
            memory: Default::default(),
        };
        if world.chance(2) {
            world.rules.builtin_url = Some("https://v/a".into());
        }
        world.publish("https://v/a", 1, Health::Good);
        world.power_on();
        world
    }

    pub(crate) fn now(&self) -> Now {
        Now { wall: self.wall, mono: self.mono }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn note(&mut self, text: String) {
        self.log.push(format!("{} +{:?} {text}", self.wall, self.mono.since(Instant::ZERO)));
    }

    fn publish(&mut self, url: &str, sequence: u64, health: Health) {
        let digest = Digest(
            [self.log.len() as u8, sequence as u8, url.len() as u8, health as u8]
                .repeat(8)
                .try_into()
                .unwrap(),
        );
        let use_before = self.chance(8).then(|| self.wall + TimeDelta::minutes(10));
        let version = format!("{sequence}.0-{health:?}");
        let offer = Offer {
            package: digest,
            envelope: Some(digest),
            sequence,
            version,
            size: 1000,
            use_before,
            epoch: 0,
            trusted_until: None,
            requires: vec![],
            needs_approval: false,
        };
        self.note(format!("published {url}: {offer:?}"));
        self.releases.insert(url.into(), Release { offer, health });
    }

    /// One thing that may happen to a device.
    pub(crate) fn event(&mut self) {
        if self.device.is_none() {
            self.pass(Duration::from_secs(20));
            self.power_on();
            return;
        }
        match self.below(16) {
            0..3 => self.schedule_something(),
            3 => self.order_something(None),
            4 => self.cancel_something(),
            5 if self.chance(4) => {
                self.seen.resets += 1;
                self.command(Command::Reset);
            }
            5 if self.chance(4) => {
                let origin = self.somebody();
                self.command(Command::Discard(origin));
            }
            6 => {
                let hours = self.below(48) as i64 - 24;
                self.wall += TimeDelta::hours(hours);
                self.note(format!("wall clock jumps {hours} h"));
            }
            7 => {
                let refuses = self.chance(3);
                self.disk.borrow_mut().refuses = refuses;
                self.note(format!("disk refuses: {refuses}"));
            }
            8 => {
                let points = self.below(25);
                self.fuse = Some(points);
                self.note(format!("power fails after {points} points"));
            }
            9 => {
                let (url, sequence) = (self.below(3) as usize, self.below(9));
                let bad = if self.chance(2) { Health::Bad } else { Health::Crashes };
                let health = if url == 2 { bad } else { Health::Good };
                self.publish(URLS[url], sequence, health);
            }
            10 => {
                let seconds = self.below(7200);
                self.pass(Duration::from_secs(seconds));
            }
            11 => {
                let Some(work) = self.stale.take() else { return };
                let report = [
                    Report::Fetched(Ok(())),
                    Report::Installed(Ok(())),
                    Report::Switched(Ok(())),
                    Report::Tried(Ok(())),
                    Report::RolledBack(Ok(())),
                ];
                let report = report[self.below(5) as usize].clone();
                self.note(format!("stale report of {work:?}"));
                self.input(Input::Reported { work, report }, |_, taken| {
                    assert!(!taken, "work that was given up is not believed");
                });
            }
            _ => self.advance(),
        }
    }

    fn some_stage(&mut self) -> Stage {
        [Stage::Check, Stage::Validate, Stage::Upgrade, Stage::Upgrade][self.below(4) as usize]
    }

    fn somebody(&mut self) -> Origin {
        let (door, principal) = PRINCIPALS[self.below(3) as usize];
        Origin::new(DOORS[door].clone(), principal, "")
    }

    fn schedule_something(&mut self) {
        let seconds = [0, 3, 60, 3600, -60][self.below(5) as usize];
        self.order_something(Some(self.wall + TimeDelta::seconds(seconds)));
    }

    fn order_something(&mut self, at: Option<DateTime<Utc>>) {
        let source = URLS[self.below(4) as usize].to_owned();
        let version = self.releases.get(&source).map(|release| release.offer.version.clone());
        let order = Order {
            origin: self.somebody(),
            source,
            stage: self.some_stage(),
            at,
            expected: Expected { version: version.filter(|_| self.chance(3)), digest: None },
            replaces: if self.chance(4) { Replaces::Anyones } else { Replaces::Own },
            unusable: if self.chance(2) { Unusable::Refuse } else { Unusable::Fail },
        };
        self.command(Command::Order(order));
    }

    fn cancel_something(&mut self) {
        let origin = self.somebody();
        let job = self
            .disk
            .borrow()
            .state
            .as_ref()
            .and_then(|state| state.journal.last().map(|entry| entry.id));
        let job = job.filter(|_| self.chance(3));
        self.command(Command::Cancel(Cancel { origin, job, draft: None }));
    }

    /// One upgrade on a sunny day (but for the fuse).
    pub(crate) fn upgrade_once(&mut self) {
        self.publish("https://v/b", 5, Health::Good);
        self.command(Command::Order(Order {
            origin: Origin::new(DOORS[0].clone(), "alice", ""),
            source: "https://v/b".to_owned(),
            stage: Stage::Upgrade,
            at: Some(self.wall),
            expected: Expected::default(),
            replaces: Replaces::Own,
            unusable: Unusable::Refuse,
        }));
        for _ in 0..60 {
            self.advance();
            self.check();
        }
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.note(format!("asked: {command:?}"));
        self.memory.asked(&command);
        self.input(Input::Command(command.clone()), |world, taken| {
            world.memory.answered(&command, taken, world.disk.borrow().state.as_ref());
        });
    }

    /// Time goes on to the next thing that is bound to happen.
    pub(crate) fn advance(&mut self) {
        let Some(device) = &self.device else { return self.power_on() };
        let now = self.now();
        let work = device.worker.as_ref().map(|worker| worker.ends.since(self.mono));
        let wake = next_wake(device.keeper.state(), &self.rules, now);
        let sleep = [work, wake].into_iter().flatten().min();
        self.pass(sleep.unwrap_or(Duration::from_secs(30)));
    }

    /// Lets time pass; what falls due on the way happens.
    fn pass(&mut self, duration: Duration) {
        self.mono = self.mono + duration;
        self.wall += TimeDelta::from_std(duration).unwrap();
        let Some(device) = &self.device else { return };
        if device.worker.as_ref().is_some_and(|worker| worker.ends <= self.mono) {
            return self.work_ends();
        }
        if next_wake(device.keeper.state(), &self.rules, self.now()) == Some(Duration::ZERO) {
            self.input(Input::Tick, |_, _| ());
        }
    }

    /// The shell's way with an input: take it, then see to the effects in order.
    fn input(&mut self, input: Input, answer: impl FnOnce(&mut Self, bool)) {
        let now = self.now();
        let Some(mut device) = self.device.take() else { return };
        *self.shared_fuse.borrow_mut() = self.fuse;
        let result = device.keeper.take(input, &self.rules, now);
        self.fuse = *self.shared_fuse.borrow();
        let ended = match result {
            // A commit that failed because the power is gone tells nobody anything.
            Err(Rejected::NotDurable(_)) if self.fuse == Some(0) => Err(Cut),
            Err(error) => {
                self.seen.commits_refused += u64::from(matches!(error, Rejected::NotDurable(_)));
                answer(self, false);
                Ok(())
            }
            Ok(taken) => {
                answer(self, true);
                self.carry_out(&mut device, taken.effects)
            }
        };
        match ended {
            Ok(()) => self.device = Some(device),
            Err(Cut) => self.power_off(),
        }
    }

    fn carry_out(&mut self, device: &mut Device, effects: Vec<Effect>) -> Result<(), Cut> {
        for effect in effects {
            self.point()?;
            self.note(format!("effect {effect:?}"));
            match effect {
                Effect::Notify { .. } => {
                    self.memory.announced(device.keeper.state(), self.disk.borrow().state.as_ref())
                }
                // What was given up may still report, later.
                Effect::Abort => self.stale = device.worker.take().map(|worker| worker.work),
                Effect::Tidy { keep } => {
                    let mut disk = self.disk.borrow_mut();
                    disk.manifests.retain(|package| Some(*package) == keep);
                    disk.payloads.retain(|package| Some(*package) == keep);
                }
                Effect::Work { work, task } => {
                    assert!(device.worker.is_none(), "one piece of work at a time");
                    self.memory.started(work, &task, self.disk.borrow().state.as_ref(), self.wall);
                    let ends = self.mono + Duration::from_secs(1 + self.below(30));
                    device.worker = Some(Worker { work, task, ends, report: None });
                }
            }
            self.point()?;
        }
        Ok(())
    }

    fn work_ends(&mut self) {
        let Some(mut device) = self.device.take() else { return };
        let Some(mut worker) = device.worker.take() else { return self.device = Some(device) };
        let report = match worker.report.take() {
            Some(report) => report,
            None => match self.work(&worker.task) {
                Ok(report) => report,
                Err(Cut) => return self.power_off(),
            },
        };
        self.note(format!("work {:?} ends: {report:?}", worker.work));
        let work = worker.work;
        let refused = self.disk.borrow().refuses;
        self.device = Some(device);
        self.input(Input::Reported { work, report: report.clone() }, |_, _| ());
        // The shell keeps a report that could not be committed and tries again.
        if let Some(device) = &mut self.device
            && refused
            && device.keeper.state().phase.work() == Some(work)
        {
            worker.ends = self.mono + Duration::from_secs(1);
            worker.report = Some(report);
            device.worker = Some(worker);
        }
    }

    /// What a task does to the world, with a point wherever the power can fail between two writes.
    fn work(&mut self, task: &Task) -> Result<Report, Cut> {
        let fails = self.chance(6);
        fn failed<T>(kind: FailureKind) -> Result<T, Failure> {
            Err(Failure::new(kind, "fate"))
        }
        Ok(match task {
            Task::Check { url } => Report::Checked(match self.releases.get(url).cloned() {
                _ if fails => failed(FailureKind::ConnectionLost),
                None => failed(FailureKind::Http(404)),
                Some(release) => {
                    self.point()?;
                    self.disk.borrow_mut().manifests.push(release.offer.package);
                    Ok(release.offer)
                }
            }),
            Task::Fetch(_) if fails => Report::Fetched(failed(FailureKind::ConnectionLost)),
            Task::Fetch(package) => {
                assert!(self.disk.borrow().manifests.contains(package), "the manifest is kept");
                self.point()?;
                self.disk.borrow_mut().payloads.push(*package);
                Report::Fetched(Ok(()))
            }
            Task::Install(package) => {
                assert!(self.disk.borrow().payloads.contains(package), "the payloads are kept");
                let spare = 1 - self.disk.borrow().current;
                for whole in [false, true] {
                    self.point()?;
                    let software = Software { package: Some(*package), whole };
                    self.disk.borrow_mut().slots[spare] = Some(software);
                    if fails {
                        return Ok(Report::Installed(failed(FailureKind::NoSpace)));
                    }
                }
                Report::Installed(Ok(()))
            }
            Task::Switch(package) => {
                self.point()?;
                self.point_current_at(|software| software.package == Some(*package));
                self.point()?;
                if fails {
                    Report::Switched(failed(FailureKind::Install))
                } else {
                    Report::Switched(Ok(()))
                }
            }
            Task::Try(package) => match self.memory.health(*package) {
                Health::Crashes => return Err(Cut),
                Health::Good if !fails => Report::Tried(Ok(())),
                _ => Report::Tried(failed(FailureKind::Trial)),
            },
            Task::Confirm(_) => Report::Confirmed(Ok(())),
            Task::RollBack(package) => {
                self.point()?;
                self.point_current_at(|software| software.package != Some(*package));
                self.point()?;
                if fails {
                    Report::RolledBack(failed(FailureKind::Storage))
                } else {
                    Report::RolledBack(Ok(()))
                }
            }
        })
    }

    /// One atomic rename; finds the link right already when it is repeated.
    fn point_current_at(&mut self, wanted: impl Fn(&Software) -> bool) {
        let mut disk = self.disk.borrow_mut();
        let side = (0..2).find(|side| {
            disk.slots[*side].as_ref().is_some_and(|software| software.whole && wanted(software))
        });
        disk.current = side.expect("a slot that can be switched to");
    }

    fn point(&mut self) -> Result<(), Cut> {
        if burn(&mut self.fuse) { Err(Cut) } else { Ok(()) }
    }

    fn power_off(&mut self) {
        self.note("power cut".into());
        self.seen.cuts += 1;
        self.fuse = None;
        self.device = None;
    }

    fn power_on(&mut self) {
        let state = self.disk.borrow().state.clone();
        let state = state.unwrap_or_else(|| State::new("0.9", self.wall));
        self.note(format!("power on in {}", state.phase.name()));
        let ledger = SimulatedLedger { disk: self.disk.clone(), fuse: self.shared_fuse.clone() };
        *self.shared_fuse.borrow_mut() = self.fuse;
        let resumed = Keeper::resume(ledger, &state, &self.rules, self.now());
        self.fuse = *self.shared_fuse.borrow();
        match resumed {
            Ok((keeper, effects)) => {
                let mut device = Device { keeper, worker: None };
                match self.carry_out(&mut device, effects) {
                    Ok(()) => self.device = Some(device),
                    Err(Cut) => self.power_off(),
                }
            }
            Err(_) if self.fuse == Some(0) => self.power_off(),
            // The disk refuses: the shell tries again later.
            Err(_) => self.seen.commits_refused += 1,
        }
    }

    /// The weather clears: no fault any more, and time enough.
    pub(crate) fn calm(&mut self) {
        self.fuse = None;
        self.disk.borrow_mut().refuses = false;
        for _ in 0..400 {
            self.advance();
            self.check();
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.disk.borrow().state.as_ref().map_or(Phase::Idle, |state| state.phase.clone())
    }
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.commits_refused += other.commits_refused;
        self.upgrades += other.upgrades;
        self.rollbacks += other.rollbacks;
        self.failures += other.failures;
        self.scheduled_starts += other.scheduled_starts;
        self.resets += other.resets;
        self.cancels += other.cancels;
        self.late += other.late;
        self.replaced += other.replaced;
    }

    /// Whether each kind of thing happened often enough.
    pub(crate) fn is_rich(&self, seeds: u64) -> bool {
        [
            self.cuts,
            self.commits_refused,
            self.upgrades,
            self.rollbacks,
            self.failures,
            self.scheduled_starts,
            self.resets,
            self.cancels,
            self.replaced,
        ]
        .iter()
        .all(|count| *count > seeds / 20)
            // Two doors, a long job and an hour on top: that is rarer.
            && self.late > seeds / 100
    }
}
