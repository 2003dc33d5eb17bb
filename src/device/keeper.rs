//! The four lines: decide, commit, adopt, and only then let anything be seen.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Now;
use crate::ocf::security::{self, Security};
use crate::store::{self, Ledger};
use crate::update::{self, Effect, Input, Refusal, Rules, State, Step};

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
    ) -> Result<(Self, Vec<Effect>), Rejected> {
        let Step { next, effects } = update::resume(state, rules);
        ledger.commit(&next).map_err(Rejected::NotDurable)?;
        Ok((Self { ledger, state: next }, effects))
    }

    /// Takes one input; gives the effects to carry out, in order.
    ///
    /// # Errors
    ///
    /// [`Rejected`]; then nothing has changed.
    pub fn take(&mut self, input: Input, rules: &Rules, now: Now) -> Result<Vec<Effect>, Rejected> {
        let Step { next, effects } =
            update::step(&self.state, input, rules, now).map_err(Rejected::Refused)?;
        self.adopt(next, effects)
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

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let state = State::new("1.0.0", chrono::DateTime::UNIX_EPOCH);
        assert_eq!(decode::<State>(&encode(&state)), Some(state));
    }
}
