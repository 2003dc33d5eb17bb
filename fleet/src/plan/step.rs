//! A campaign from one state to the next. Pure: what is returned is committed first, then its effects
//! are carried out; an effect that is lost with a power cut follows again from the state.

use super::campaign::{Campaign, Executed, Miscounted, Place, Policy, Stage, State, Why};
use super::failure::Failure;
use super::judge::{self, Verdict};
use super::rate::Rate;
use super::time::Time;
use super::update::{By, Count, State as UpdateState};

/// Something that happened to a campaign.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Its author wants it to begin.
    Start,
    /// Somebody says yes to it.
    Approve(Approver),
    /// Somebody wants it to wait.
    Pause,
    /// Somebody wants it to go on.
    Resume,
    /// Somebody wants it to end.
    Cancel,
    /// Time went by.
    Tick,
    /// Updates of a wave moved.
    Moved(Move),
    /// Devices came to match, and wait in this wave.
    Joined {
        /// Which wave.
        wave: usize,
        /// How many.
        devices: u64,
    },
    /// A device is gone, with its update that stood there.
    Left {
        /// Which wave.
        wave: usize,
        /// Where its update stood.
        place: Place,
    },
    /// What was asked about a wave's health is answered.
    Health {
        /// Which wave.
        wave: usize,
        /// What was said.
        answer: Health,
    },
}

/// Who approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approver {
    /// The one who made the campaign.
    Author,
    /// Somebody else.
    Another,
}

/// What is said about a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Good,
    /// It is not.
    Bad,
}

/// Updates of a wave that moved from one place to another together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// Which wave.
    pub wave: usize,
    /// Where they stood.
    pub from: Place,
    /// Where they stand.
    pub to: Place,
    /// How many.
    pub devices: u64,
    /// How many bytes those that begin will fetch together.
    pub bytes: u64,
}

/// What follows from an input.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The campaign as it is now.
    pub next: Campaign,
    /// What is to be done once that is on disk.
    pub effects: Vec<Effect>,
}

/// Something to be done in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The wave's devices may begin: wake those that sleep.
    Begin(usize),
    /// All that wait are cancelled, in the same transaction.
    CancelPending,
    /// All that wait have expired, in the same transaction.
    ExpirePending,
    /// Somebody has to look.
    Paused(Why),
    /// Ask whether the wave's devices are well.
    AskHealth(usize),
    /// Everything has ended.
    Finished,
}

/// Why an input changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is somewhere else.
    #[error("the campaign is {0}, so it cannot be {1}")]
    State(&'static str, &'static str),
    /// Four eyes.
    #[error("somebody other than its author has to approve the campaign")]
    OwnCampaign,
    /// A wave that cannot succeed does not let the next one begin.
    #[error("wave {} cannot reach its success threshold: retry its failed updates, or cancel the campaign", .0 + 1)]
    StillMissed(usize),
    /// No such wave.
    #[error("the campaign has no such wave")]
    NoWave,
    /// Its interval is over.
    #[error("the campaign's interval is over")]
    Over,
    /// The store's counts are wrong.
    #[error(transparent)]
    Miscounted(#[from] Miscounted),
}

/// What a campaign makes of an input.
///
/// # Errors
///
/// A [`Refusal`] when the input does not belong to where the campaign stands.
pub fn step(
    campaign: &Campaign,
    input: &Input,
    policy: &Policy,
    now: Time,
) -> Result<Step, Refusal> {
    let mut step = Step { next: campaign.clone(), effects: vec![] };
    match input {
        Input::Start => step.start(policy, now)?,
        Input::Approve(approver) => step.approve(*approver, policy, now)?,
        Input::Pause => step.pause()?,
        Input::Resume => step.resume(policy, now)?,
        Input::Cancel => step.cancel()?,
        Input::Tick => {}
        Input::Moved(moved) => step.moved(moved, policy, now)?,
        Input::Joined { wave, devices } => step.joined(*wave, *devices, policy, now)?,
        Input::Left { wave, place } => {
            step.next.waves.get_mut(*wave).ok_or(Refusal::NoWave)?.leave(*place, 1)?;
        }
        Input::Health { wave, answer } => step.health(*wave, *answer)?,
    }
    step.settle(policy, now);
    Ok(step)
}

impl Step {
    fn start(&mut self, policy: &Policy, now: Time) -> Result<(), Refusal> {
        match self.next.state {
            State::Draft if policy.approval => self.next.state = State::WaitingForApproval,
            State::Draft => self.go(policy, now),
            // Said before.
            State::WaitingForApproval | State::Scheduled | State::Running => {}
            state => return Err(Refusal::State(word(state), "started")),
        }
        Ok(())
    }

    fn approve(&mut self, approver: Approver, policy: &Policy, now: Time) -> Result<(), Refusal> {
        match (self.next.state, approver) {
            (State::WaitingForApproval, Approver::Author) => Err(Refusal::OwnCampaign),
            (State::WaitingForApproval, Approver::Another) => {
                self.go(policy, now);
                Ok(())
            }
            (state, _) => Err(Refusal::State(word(state), "approved")),
        }
    }

    fn go(&mut self, policy: &Policy, now: Time) {
        let ahead = policy.interval.is_ahead(now);
        self.next.state = if ahead { State::Scheduled } else { State::Running };
    }

    fn pause(&mut self) -> Result<(), Refusal> {
        match self.next.state {
            State::Scheduled | State::Running => self.next.state = State::Paused(Why::Person),
            State::Paused(_) => {}
            state => return Err(Refusal::State(word(state), "paused")),
        }
        Ok(())
    }

    fn resume(&mut self, policy: &Policy, now: Time) -> Result<(), Refusal> {
        match self.next.state {
            State::Scheduled | State::Running => return Ok(()),
            State::Paused(Why::Aborted { .. }) => {
                for wave in &mut self.next.waves {
                    let failures = wave.failures.clone();
                    wave.forgiven = Executed { completed: wave.counts.completed, failures };
                }
            }
            State::Paused(Why::Unhealthy { wave }) => {
                self.next.waves[wave].stage = Stage::Asked;
                self.effects.push(Effect::AskHealth(wave));
            }
            State::Paused(Why::Person | Why::Missed { .. }) => {}
            state => return Err(Refusal::State(word(state), "resumed")),
        }
        if let Some(wave) = judge::missed(&self.next, policy) {
            return Err(Refusal::StillMissed(wave));
        }
        self.go(policy, now);
        Ok(())
    }

    fn cancel(&mut self) -> Result<(), Refusal> {
        match self.next.state {
            State::Cancelled => {}
            State::Finished => return Err(Refusal::State("finished", "cancelled")),
            _ => {
                self.next.state = State::Cancelled;
                let cancelled = UpdateState::Cancelled(By::Campaign);
                self.sweep((&cancelled).into(), Effect::CancelPending);
            }
        }
        Ok(())
    }

    fn sweep(&mut self, place: Place, effect: Effect) {
        let swept: u64 = self.next.waves.iter_mut().map(|wave| wave.sweep(place)).sum();
        if swept > 0 {
            self.effects.push(effect);
        }
    }

    fn moved(&mut self, moved: &Move, policy: &Policy, now: Time) -> Result<(), Refusal> {
        let (from, to) = (moved.from.count(), moved.to.count());
        let again = to == Count::Pending;
        let begins = from == Count::Pending && to == Count::InFlight;
        if begins && (self.next.state != State::Running || moved.wave >= self.next.begun) {
            // Somebody decided by what was so a moment ago.
            return Err(Refusal::State(word(self.next.state), "begun in this wave"));
        }
        match self.next.state {
            State::Cancelled if again && from == Count::Failed => {
                return Err(Refusal::State("cancelled", "tried again"));
            }
            State::Finished if again && policy.interval.is_over(now) => return Err(Refusal::Over),
            State::Finished if again => self.next.state = State::Running,
            _ => {}
        }
        let wave = self.next.waves.get_mut(moved.wave).ok_or(Refusal::NoWave)?;
        wave.leave(moved.from, moved.devices)?;
        let cancelled = self.next.state == State::Cancelled;
        if again && cancelled {
            // A retry of what was in flight when the campaign was cancelled: nobody wants it.
            wave.enter((&UpdateState::Cancelled(By::Campaign)).into(), moved.devices);
            self.effects.push(Effect::CancelPending);
            return Ok(());
        }
        wave.enter(moved.to, moved.devices);
        if from == Count::InFlight && again {
            self.next.retries = self.next.retries.saturating_add(moved.devices);
        }
        if begins {
            if let Some(rate) = policy.starts_per_minute {
                self.next.starts.take(Rate::per_minute(rate), moved.devices, now);
            }
            if let Some(rate) = policy.bytes_per_second {
                self.next.bytes.take(Rate::per_second(rate), moved.bytes, now);
            }
        }
        Ok(())
    }

    fn joined(
        &mut self,
        wave: usize,
        devices: u64,
        policy: &Policy,
        now: Time,
    ) -> Result<(), Refusal> {
        match self.next.state {
            State::Cancelled | State::Finished => {
                return Err(Refusal::State(word(self.next.state), "joined"));
            }
            _ if !policy.join => return Err(Refusal::State("closed", "joined")),
            _ if policy.interval.is_over(now) => return Err(Refusal::Over),
            _ => {}
        }
        let wave = self.next.waves.get_mut(wave).ok_or(Refusal::NoWave)?;
        wave.enter((&UpdateState::Pending).into(), devices);
        Ok(())
    }

    fn health(&mut self, wave: usize, answer: Health) -> Result<(), Refusal> {
        let asked = self.next.waves.get_mut(wave).ok_or(Refusal::NoWave)?;
        if asked.stage != Stage::Asked {
            // Said before, or about what has changed since.
            return Ok(());
        }
        match answer {
            Health::Good => asked.stage = Stage::Passed,
            Health::Bad if self.next.state == State::Running => self.stop(Why::Unhealthy { wave }),
            Health::Bad => {}
        }
        Ok(())
    }

    fn stop(&mut self, why: Why) {
        self.next.state = State::Paused(why);
        self.effects.push(Effect::Paused(why));
    }

    /// Goes on until nothing more follows.
    fn settle(&mut self, policy: &Policy, now: Time) {
        if self.next.state == State::Scheduled && !policy.interval.is_ahead(now) {
            self.next.state = State::Running;
        }
        let open = matches!(self.next.state, State::Scheduled | State::Running | State::Paused(_));
        if open && policy.interval.is_over(now) {
            let expired = UpdateState::Failed(Failure::expired());
            self.sweep((&expired).into(), Effect::ExpirePending);
        }
        // Each turn moves a wave one stage on, or one wave further, or ends.
        for _ in 0..6 * self.next.waves.len() + 6 {
            if self.finish(policy, now) || self.next.state != State::Running {
                return;
            }
            match judge::judge(&self.next, policy, now) {
                Verdict::GoOn => return,
                Verdict::Pause(why) => return self.stop(why),
                Verdict::Cancel(_) => {
                    self.next.state = State::Cancelled;
                    let cancelled = UpdateState::Cancelled(By::Campaign);
                    self.sweep((&cancelled).into(), Effect::CancelPending);
                }
                Verdict::Stage(wave, stage) => {
                    self.next.waves[wave].stage = stage;
                    if stage == Stage::Asked {
                        self.effects.push(Effect::AskHealth(wave));
                        return;
                    }
                }
                Verdict::Begin(wave) => {
                    self.next.begun = wave + 1;
                    self.next.waves[wave].stage = Stage::Begun;
                    self.effects.push(Effect::Begin(wave));
                }
            }
        }
    }

    /// Whether everything has ended. A campaign that others may join ends with its interval.
    fn finish(&mut self, policy: &Policy, now: Time) -> bool {
        let over = self.next.counts().is_over() && (!policy.join || policy.interval.is_over(now));
        let ends =
            over && matches!(self.next.state, State::Running | State::Paused(_) | State::Scheduled);
        if ends {
            self.next.state = State::Finished;
            self.effects.push(Effect::Finished);
        }
        ends
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Draft => "a draft",
        State::WaitingForApproval => "waiting for approval",
        State::Scheduled => "scheduled",
        State::Running => "running",
        State::Paused(_) => "paused",
        State::Finished => "finished",
        State::Cancelled => "cancelled",
    }
}
