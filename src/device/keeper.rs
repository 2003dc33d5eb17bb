//! The four lines: decide, commit, adopt, and only then let anything be seen.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Now;
use crate::ocf::security::{self, Security};
use crate::store::{self, Ledger};
use crate::update::{self, Effect, Input, JobId, Refusal, Rules, State, Step};

/// Somewhere a state can be kept: the disk, or the simulator's disk with its power cuts.
pub trait Commit<S = State> {
    /// Keeps the state. When this returns, it outlives a power cut.
    ///
    /// # Errors
    ///
    /// The former state is still the one that is kept.
    fn commit(&mut self, state: &S) -> Result<(), store::Error>;
}

impl<S: Serialize> Commit<S> for Ledger {
    fn commit(&mut self, state: &S) -> Result<(), store::Error> {
        Self::commit(self, &encode(state))
    }
}

/// What of a state is kept.
pub trait Kept: Clone + PartialEq {
    /// What outlives a power cut; the rest is of this life only.
    fn kept(&self) -> Cow<'_, Self>;
}

impl Kept for State {
    fn kept(&self) -> Cow<'_, Self> {
        Cow::Borrowed(self)
    }
}

impl Kept for Security {
    fn kept(&self) -> Cow<'_, Self> {
        Self::kept(self)
    }
}

/// Holds a state: the engine's, or that of ownership and access. Nobody can see a state that is not
/// on disk.
#[derive(Debug)]
pub struct Keeper<L, S = State> {
    ledger: L,
    state: S,
}

/// Why an input was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejected<R = Refusal> {
    /// The engine says no: the asker's fault.
    #[error("{0}")]
    Refused(R),
    /// The disk says no: ours. The state is as it was.
    #[error("the new state could not be kept: {0}")]
    NotDurable(store::Error),
}

/// An input that was taken, and is on disk.
#[derive(Debug)]
#[must_use]
pub struct Taken {
    /// The order that was taken, or the one under way that it is the same as.
    pub job: Option<JobId>,
    /// What is to be done now, in order.
    pub effects: Vec<Effect>,
}

impl<L: Commit<S>, S: Kept> Keeper<L, S> {
    /// The state: what is kept of it is on disk.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Commit, adopt, and only then give out the effects.
    fn adopt<E, R>(&mut self, next: S, effects: Vec<E>) -> Result<Vec<E>, Rejected<R>> {
        let kept = next.kept();
        if kept != self.state.kept() {
            self.ledger.commit(&kept).map_err(Rejected::NotDurable)?;
        }
        drop(kept);
        self.state = next;
        Ok(effects)
    }
}

impl<L: Commit<State>> Keeper<L, State> {
    /// Begins a new life with the state of the last one.
    ///
    /// # Errors
    ///
    /// The first step of the new life could not be kept; nothing was done.
    pub fn resume(
        mut ledger: L,
        state: &State,
        rules: &Rules,
        now: Now,
    ) -> Result<(Self, Vec<Effect>), Rejected> {
        let Step { next, effects, .. } = update::resume(state, rules, now);
        ledger.commit(&next).map_err(Rejected::NotDurable)?;
        Ok((Self { ledger, state: next }, effects))
    }

    /// Takes one input; gives what can be answered now, and the effects to carry out after that, in
    /// order.
    ///
    /// # Errors
    ///
    /// [`Rejected`]; then nothing has changed.
    pub fn take(&mut self, input: Input, rules: &Rules, now: Now) -> Result<Taken, Rejected> {
        let Step { next, effects, job } =
            update::step(&self.state, input, rules, now).map_err(Rejected::Refused)?;
        let effects = self.adopt(next, effects)?;
        Ok(Taken { job, effects })
    }
}

impl<L: Commit<Security>> Keeper<L, Security> {
    /// Begins a new life with the state of the last one: owned or unowned, never between.
    ///
    /// # Errors
    ///
    /// The first step of the new life could not be kept; nothing was done.
    pub fn resume_security(
        mut ledger: L,
        state: &Security,
        now: Now,
    ) -> Result<(Self, Vec<security::Effect>), Rejected<security::Refusal>> {
        let security::Step { next, effects } = security::resume(state, now);
        ledger.commit(&next.kept()).map_err(Rejected::NotDurable)?;
        Ok((Self { ledger, state: next }, effects))
    }

    /// Begins a life without what the last one left, which nobody here can read: nothing is written
    /// over it before [`Self::replace`].
    pub fn without_record(ledger: L) -> Self {
        Self { ledger, state: Security::resetting() }
    }

    /// Writes over whatever was there.
    ///
    /// # Errors
    ///
    /// It could not be kept; nothing has changed.
    pub fn replace(&mut self, next: Security) -> Result<(), Rejected<security::Refusal>> {
        self.ledger.commit(&next.kept()).map_err(Rejected::NotDurable)?;
        self.state = next;
        Ok(())
    }

    /// Takes one input; gives the effects to carry out, in order.
    ///
    /// # Errors
    ///
    /// [`Rejected`]; then nothing has changed.
    pub fn take(
        &mut self,
        input: security::Input,
        world: &security::World<'_>,
    ) -> Result<Vec<security::Effect>, Rejected<security::Refusal>> {
        let security::Step { next, effects } =
            security::step(&self.state, input, world).map_err(Rejected::Refused)?;
        self.adopt(next, effects)
    }
}

/// A record's body.
pub(super) fn encode(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(record, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// A record from its body; `None` when it is not one.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    ciborium::from_reader(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::setup::UPDATE_FORM;

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let state = State::new("1.0.0", chrono::DateTime::UNIX_EPOCH);
        assert_eq!(decode::<State>(&encode(&state)), Some(state));
    }

    /// Written by 0.1: one order waits for 2030, and one was being checked when the power failed.
    #[test]
    fn records_of_earlier_releases_are_read_and_their_orders_kept() {
        let read = |name: &str| {
            let directory = tempfile::tempdir().unwrap();
            let kept = std::path::Path::new("tests/vectors/records-0.1").join(name);
            for side in ["update.0", "update.1"] {
                std::fs::copy(kept.join(side), directory.path().join(side)).unwrap();
            }
            let open = |path: &std::path::Path| Ledger::open(path, "update", UPDATE_FORM).unwrap();
            let (mut ledger, found) = open(directory.path());
            let store::Found::Record(body) = found else { panic!("{found:?}") };
            let state: State = decode(&body).unwrap();
            ledger.commit(&encode(&state)).unwrap();
            let store::Found::Record(body) = open(directory.path()).1 else { panic!() };
            assert_eq!(decode::<State>(&body).as_ref(), Some(&state), "and written anew");
            state
        };
        let waiting = read("waiting");
        let order = waiting.standing(&crate::ocf::DOOR).unwrap();
        assert_eq!(order.source, "https://updates.example.com/camera.suit");
        assert_eq!((order.waiting, order.stage), (true, Some(update::Stage::Upgrade)));
        assert_eq!(order.origin.principal, "anyone in clear");
        let checking = read("checking");
        let job = checking.phase.job().unwrap();
        assert_eq!(job.origin.door, crate::ocf::DOOR);
        assert_eq!(job.stage, update::Stage::Validate);
    }
}
