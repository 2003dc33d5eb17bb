//! The four lines: decide, commit, adopt, and only then let anything be seen.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Now;
use crate::store::{self, Ledger};
use crate::update::{self, Effect, Input, Refusal, Rules, State, Step};

/// Somewhere a state can be kept: the disk, or the simulator's disk with its power cuts.
pub trait Commit {
    /// Keeps the state. When this returns, it outlives a power cut.
    ///
    /// # Errors
    ///
    /// The former state is still the one that is kept.
    fn commit(&mut self, state: &State) -> Result<(), store::Error>;
}

impl Commit for Ledger {
    fn commit(&mut self, state: &State) -> Result<(), store::Error> {
        Self::commit(self, &encode(state))
    }
}

/// Holds the engine's state. Nobody can see a state that is not on disk.
#[derive(Debug)]
pub struct Keeper<L> {
    ledger: L,
    state: State,
}

/// Why an input was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The engine says no: the asker's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk says no: ours. The state is as it was.
    #[error("the new state could not be kept: {0}")]
    NotDurable(#[from] store::Error),
}

impl<L: Commit> Keeper<L> {
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
        ledger.commit(&next)?;
        Ok((Self { ledger, state: next }, effects))
    }

    /// The state, as it is on disk.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes one input; gives the effects to carry out, in order.
    ///
    /// # Errors
    ///
    /// [`Rejected`]; then nothing has changed.
    pub fn take(&mut self, input: Input, rules: &Rules, now: Now) -> Result<Vec<Effect>, Rejected> {
        let Step { next, effects } = update::step(&self.state, input, rules, now)?;
        if next != self.state {
            self.ledger.commit(&next)?;
        }
        self.state = next;
        Ok(effects)
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
