//! The security half of `oic.r.pstat`: the onboarding state and the ways from one to another.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::step::Write;
use super::{Refusal, Security};

/// `dos.s` (OCF Security 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OnboardingState {
    /// 0: everything goes back to its defaults.
    Reset,
    /// 1, ready for owner transfer method.
    Rfotm,
    /// 2, ready for provisioning.
    Rfpro,
    /// 3, ready for normal operation.
    Rfnop,
    /// 4, soft reset: owners may repair.
    Sreset,
}

impl OnboardingState {
    /// Every state, by number.
    pub const ALL: [Self; 5] = [Self::Reset, Self::Rfotm, Self::Rfpro, Self::Rfnop, Self::Sreset];

    /// The value of `dos.s`.
    pub fn number(self) -> i64 {
        self as i64
    }

    /// The state with this number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// Whether an owner may change credentials and access (2.3 of the tables: not in RFNOP).
    pub(super) fn is_provisioning(self) -> bool {
        matches!(self, Self::Rfotm | Self::Rfpro | Self::Sreset)
    }
}

/// The bits of `cm` and `tm` that the state itself sets (OCF Security 13.8): manufacturer reset (1)
/// and owner transfer (2). The software bits are the engine's and stay across changes of state.
pub(in crate::ocf) fn state_bits(state: OnboardingState) -> (u16, u16) {
    match state {
        OnboardingState::Reset => (1, 2),
        OnboardingState::Rfotm => (2, 0),
        OnboardingState::Rfpro | OnboardingState::Rfnop => (0, 0),
        OnboardingState::Sreset => (1, 0),
    }
}

/// What a POST changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// `dos.s`.
    pub(in crate::ocf) state: Option<OnboardingState>,
    /// `rowneruuid`.
    pub(in crate::ocf) owner: Option<Uuid>,
}

impl Update {
    pub(super) fn apply(self, next: &mut Security, write: &Write) -> Result<(), Refusal> {
        if let Some(owner) = self.owner {
            next.resource_owner_is_writable(write)?;
            next.pstat_owner = owner;
        }
        if let Some(to) = self.state {
            enter(next, to)?;
        }
        Ok(())
    }
}

/// Every transition that a client may ask for, but for the one to RESET.
fn enter(next: &mut Security, to: OnboardingState) -> Result<(), Refusal> {
    use OnboardingState::{Rfnop, Rfotm, Rfpro, Sreset};
    let from = next.onboarding;
    match (from, to) {
        (from, to) if from == to => {}
        (Rfotm | Sreset, Rfpro) | (Rfpro, Rfnop) | (Rfnop, Rfpro) | (Rfpro | Rfnop, Sreset) => {
            next.is_complete().map_err(|missing| {
                let text = format!("dos.s cannot go to {}: {missing}", to.number());
                Refusal::WrongState(text)
            })?;
            next.onboarding = to;
        }
        (from, to) => {
            let text = format!("dos.s cannot go from {} to {}", from.number(), to.number());
            return Err(Refusal::WrongState(text));
        }
    }
    Ok(())
}
