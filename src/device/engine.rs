//! The engine as a door sees it: order, cancel, look, watch. All that a door needs, and nothing of
//! OCF's or of any other's.
//!
//! [`Engine`] is the loop's end: it owns the durable state, the thread that works, and what is shown of
//! both. A door that runs as a task of its own has a [`Handle`], a bounded channel to it. Whichever way an
//! order comes: it is decided and on disk, then answered, then told to all who watch, and only then
//! carried out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::keeper::{Keeper, Rejected, Taken};
use super::watchers::Meter;
use super::workshop::Workshop;
use crate::clock::{Instant, Now};
use crate::ocf::Progress;
use crate::store::Ledger;
use crate::update::{
    self, Cancel, Command, Door, Effect, Failure, Input, JobId, Order, Origin, Refusal, Report,
    Rules, State, WorkId,
};

/// How long to wait before a report that could not be committed is tried again.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);

/// Requests of doors that wait for the loop; a door that has more waits itself.
pub const REQUESTS_MAX: usize = 16;

/// Steps that a door may be behind; one that sleeps longer is told how many it has missed.
pub const STEPS_MAX: usize = 64;

/// Whether orders are taken, as ownership has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Somebody owns the device, or nobody has to.
    Open,
    /// Nobody owns the device yet. A door lets in those whom its configuration names, or nobody.
    Unowned,
    /// Its owner repairs it (SRESET): other doors wait.
    Repairing,
    /// It is being reset: nothing is taken.
    Resetting,
    /// Who owns it cannot be read: nothing is taken before somebody at the device resets it.
    Locked,
}

/// Why an order was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    /// The engine says no.
    #[error("{0}")]
    Refused(Refusal),
    /// The device takes no orders now.
    #[error("the device takes no orders now: {}", match .0 {
        Gate::Resetting => "it is being reset",
        Gate::Locked => "the record of who owns it cannot be read",
        Gate::Repairing => "its owner repairs it",
        Gate::Unowned => "nobody owns it",
        Gate::Open => "it stops",
    })]
    Closed(Gate),
    /// The disk says no: the device's own fault. Nothing has changed.
    #[error("the device could not store this; nothing has changed ({0})")]
    NotDurable(String),
}

/// A committed step.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its number in this life, from 1. Numbers follow each other without a gap.
    pub step: u64,
    /// The state after it.
    pub state: Arc<State>,
    /// Whether a job has ended with it.
    pub terminal: bool,
}

/// The engine at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The last step before it. What [`Watch`] tells with a number above it is news.
    pub step: u64,
    /// The state on disk: what runs, what waits, what is under way, how the last orders ended.
    pub state: Arc<State>,
    /// How far the work under way is, and what it waits for (window, veto).
    pub progress: Progress,
    /// Whether orders are taken.
    pub gate: Gate,
}

/// What a door that is a task asks of the loop.
pub(super) enum Request {
    /// Take this.
    Take(Command, oneshot::Sender<Result<Option<JobId>, Declined>>),
    /// Show how things stand.
    View(oneshot::Sender<View>),
}

/// A door's way to the engine, for a door that is a task or a thread of its own.
#[derive(Clone, Debug)]
pub struct Handle {
    door: Door,
    rules: Arc<Rules>,
    requests: mpsc::Sender<Request>,
    steps: broadcast::Sender<Told>,
}

impl Handle {
    /// Whose order it is, at this door. `reference` is what the door knows the order by.
    pub fn origin(&self, principal: impl Into<String>, reference: impl Into<String>) -> Origin {
        Origin::new(self.door.clone(), principal, reference)
    }

    /// Judges a source before an order for it is given.
    ///
    /// # Errors
    ///
    /// What a job would fail with.
    pub fn judge(&self, source: &str) -> Result<(), Failure> {
        self.rules.judge_source(source)
    }

    /// Orders; once this returns, the order is on disk. Its number finds it in [`State::entry`].
    ///
    /// # Errors
    ///
    /// [`Declined`]; then nothing has changed.
    pub async fn order(&self, order: Order) -> Result<JobId, Declined> {
        let id = self.take(Command::Order(order)).await?;
        Ok(id.expect("an order that is taken has a number"))
    }

    /// Cancels what is this door's own: all of it, or one order.
    ///
    /// # Errors
    ///
    /// [`Declined`]; then nothing has changed.
    pub async fn cancel(&self, cancel: Cancel) -> Result<(), Declined> {
        self.take(Command::Cancel(cancel)).await.map(drop)
    }

    /// Frees the package that rests on the device.
    ///
    /// # Errors
    ///
    /// [`Declined`]; then nothing has changed.
    pub async fn discard(&self, origin: Origin) -> Result<(), Declined> {
        self.take(Command::Discard(origin)).await.map(drop)
    }

    async fn take(&self, mut command: Command) -> Result<Option<JobId>, Declined> {
        // A door speaks in its own name, whatever the order says.
        match &mut command {
            Command::Order(order) => order.origin.door = self.door.clone(),
            Command::Cancel(cancel) => cancel.origin.door = self.door.clone(),
            Command::Discard(origin) => origin.door = self.door.clone(),
            Command::Reset => {}
        }
        let (answer, answered) = oneshot::channel();
        let stops = || Declined::Closed(Gate::Open);
        self.requests.send(Request::Take(command, answer)).await.map_err(|_| stops())?;
        answered.await.map_err(|_| stops())?
    }

    /// How things stand; `None` when the device stops.
    pub async fn view(&self) -> Option<View> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::View(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Every step from now on.
    pub fn watch(&self) -> Watch {
        Watch(self.steps.subscribe())
    }
}

/// Steps, in order.
#[derive(Debug)]
pub struct Watch(broadcast::Receiver<Told>);

/// What a door that watches gets.
#[derive(Clone, Debug)]
pub enum News {
    /// The next step.
    Step(Told),
    /// So many were missed: the door slept for more than [`STEPS_MAX`] of them. The next is a later one.
    Missed(u64),
}

impl Watch {
    /// The next news; `None` when the device stops.
    pub async fn next(&mut self) -> Option<News> {
        match self.0.recv().await {
            Ok(told) => Some(News::Step(told)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(News::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The loop's end.
pub(super) struct Engine {
    keeper: Keeper<Ledger>,
    rules: Arc<Rules>,
    workshop: Workshop,
    meter: Meter,
    /// A report that the disk refused to let us act on.
    held: Option<(WorkId, Report, Instant)>,
    step: u64,
    /// Steps that nobody has been told of yet.
    untold: VecDeque<Told>,
    /// What they want done.
    effects: VecDeque<Effect>,
    inbox: mpsc::Receiver<Request>,
    requests: mpsc::Sender<Request>,
    steps: broadcast::Sender<Told>,
}

impl Engine {
    /// Begins a new life with the state of the last one; its first effects wait for [`Self::act`].
    ///
    /// # Errors
    ///
    /// The first step could not be kept; nothing was done.
    pub(super) fn start(
        ledger: Ledger,
        state: &State,
        rules: Rules,
        workshop: Workshop,
        now: Now,
    ) -> Result<Self, Rejected> {
        let (keeper, effects) = Keeper::resume(ledger, state, &rules, now)?;
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (steps, _) = broadcast::channel(STEPS_MAX);
        Ok(Self {
            keeper,
            rules: Arc::new(rules),
            workshop,
            meter: Meter::default(),
            held: None,
            step: 0,
            untold: VecDeque::new(),
            effects: effects.into(),
            inbox,
            requests,
            steps,
        })
    }

    /// For a door that is a task of its own.
    #[cfg_attr(not(test), expect(dead_code, reason = "the first such door is the tests'"))]
    pub(super) fn handle(&self, door: Door) -> Handle {
        Handle {
            door,
            rules: self.rules.clone(),
            requests: self.requests.clone(),
            steps: self.steps.clone(),
        }
    }

    /// The state, as it is on disk.
    pub(super) fn state(&self) -> &State {
        self.keeper.state()
    }

    /// The number of the last step.
    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// What is shown of the work under way.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Takes a command of a door. The answer is given before [`Self::poll_told`] and [`Self::act`].
    ///
    /// # Errors
    ///
    /// [`Declined`]; then nothing has changed.
    pub(super) fn command(
        &mut self,
        command: Command,
        now: Now,
    ) -> Result<Option<JobId>, Declined> {
        self.take(Input::Command(command), now).map_err(|rejected| match rejected {
            Rejected::Refused(refusal) => Declined::Refused(refusal),
            Rejected::NotDurable(error) => {
                tracing::error!("{error}");
                Declined::NotDurable(error.to_string())
            }
        })
    }

    /// Decide, commit, adopt; the rest waits.
    fn take(&mut self, input: Input, now: Now) -> Result<Option<JobId>, Rejected> {
        let Taken { job, effects } = self.keeper.take(input, &self.rules, now)?;
        let terminal =
            effects.iter().any(|effect| matches!(effect, Effect::Notify { terminal: true }));
        self.step += 1;
        let state = Arc::new(self.keeper.state().clone());
        self.untold.push_back(Told { step: self.step, state, terminal });
        self.effects.extend(effects);
        Ok(job)
    }

    /// Answers a door that is a task. Gives the command and why it was declined, for the audit.
    pub(super) fn serve(
        &mut self,
        request: Request,
        gate: Gate,
        now: Now,
    ) -> Option<(Command, Declined)> {
        match request {
            Request::View(answer) => {
                let state = Arc::new(self.keeper.state().clone());
                let progress = self.meter.shown().clone();
                // A door that has gone needs no answer.
                let _ = answer.send(View { step: self.step, state, progress, gate });
                None
            }
            Request::Take(command, answer) => {
                let result = match (gate, &command) {
                    (Gate::Repairing | Gate::Resetting | Gate::Locked, Command::Order(_)) => {
                        Err(Declined::Closed(gate))
                    }
                    _ => self.command(command.clone(), now),
                };
                let declined = result.as_ref().err().cloned();
                let _ = answer.send(result);
                declined.map(|declined| (command, declined))
            }
        }
    }

    /// The next request of a door that is a task.
    async fn request(inbox: &mut mpsc::Receiver<Request>) -> Request {
        match inbox.recv().await {
            Some(request) => request,
            // The engine has a sender itself.
            None => std::future::pending().await,
        }
    }

    /// What the loop waits for on behalf of the engine; none if the workshop is gone.
    pub(super) async fn woken(&mut self) -> Option<Woken> {
        tokio::select! {
            report = self.workshop.report() => {
                report.map(|(work, report)| Woken::Report(work, report))
            }
            request = Self::request(&mut self.inbox) => Some(Woken::Request(request)),
        }
    }

    /// A piece of work has ended.
    pub(super) fn reported(&mut self, work: WorkId, report: Report, now: Now) {
        match self.take(Input::Reported { work, report: report.clone() }, now) {
            Ok(_) => {}
            Err(Rejected::Refused(refusal)) => tracing::debug!("work {}: {refusal}", work.0),
            Err(rejected @ Rejected::NotDurable(_)) => {
                tracing::error!("{rejected}");
                self.held = Some((work, report, now.mono + COMMIT_AGAIN));
            }
        }
    }

    /// The next step that watchers have to be told of. Doors that are tasks learn of it here.
    pub(super) fn poll_told(&mut self) -> Option<Told> {
        let told = self.untold.pop_front()?;
        // Nobody may be watching.
        let _ = self.steps.send(told.clone());
        Some(told)
    }

    /// Carries out what the steps so far want done.
    pub(super) fn act(&mut self, now: Now) {
        if self.effects.is_empty() {
            return;
        }
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                // Told already.
                Effect::Notify { .. } => {}
                Effect::Abort => self.workshop.abort(),
                Effect::Tidy { keep } => self.workshop.tidy(keep),
                Effect::Work { work, task } => {
                    let offer = self.keeper.state().phase.offer();
                    let expected = offer.map_or(0, |offer| offer.size);
                    self.workshop.begin(work, task, expected);
                }
            }
        }
        self.meter.restart(self.workshop.progress(), now.mono);
    }

    /// Takes the next step that time alone brings; whether there was one.
    pub(super) fn tick(&mut self, now: Now) -> bool {
        self.held.is_none()
            && update::is_due(self.keeper.state(), &self.rules, now)
            && self.take(Input::Tick, now).is_ok()
    }

    /// Does what has fallen due beside that; whether what is shown of the work has changed.
    pub(super) fn wake(&mut self, now: Now) -> bool {
        if self.held.as_ref().is_some_and(|(_, _, at)| *at <= now.mono)
            && let Some((work, report, _)) = self.held.take()
        {
            self.reported(work, report, now);
        }
        let progressed =
            self.workshop.progress().is_some_and(|work| self.meter.read(work, now.mono));
        let deferred = self.deferred(now);
        self.meter.defer(deferred) || progressed
    }

    /// What the start of an installation waits for, in words.
    fn deferred(&self, now: Now) -> Option<String> {
        let opens = update::waits_for_window(self.keeper.state(), &self.rules, now);
        let opens = opens.map(|opens| opens.format("waits for the maintenance window, %FT%RZ"));
        let leave = || self.workshop.progress().and_then(crate::worker::Progress::waits_for);
        opens.map(|words| words.to_string()).or_else(leave)
    }

    /// When to wake at the latest.
    pub(super) fn deadline(&self, now: Now) -> Option<Instant> {
        let due = update::next_wake(self.keeper.state(), &self.rules, now)
            .filter(|_| self.held.is_none())
            .map(|wait| now.mono + wait);
        [due, self.held.as_ref().map(|(_, _, at)| *at), self.meter.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Stops what is under way; it is taken up again in the next life.
    pub(super) fn stop(&mut self) {
        self.workshop.abort();
    }
}

/// What the loop was woken by.
pub(super) enum Woken {
    /// A piece of work has ended.
    Report(WorkId, Report),
    /// A door asks.
    Request(Request),
}

#[cfg(test)]
mod tests;
