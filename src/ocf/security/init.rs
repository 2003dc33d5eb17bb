//! The first step of a new life.

use super::step::{Step, reset, still};
use super::{OnboardingState, Security};
use crate::clock::Now;

/// What to do after a start, whatever moment the last life ended in: afterwards the device is owned
/// or unowned, never between.
///
/// An owner transfer cannot be taken up again, because the connection it needs is gone; so whatever
/// one wrote is undone. A record that contradicts itself is no ownership either.
pub fn resume(state: &Security, now: Now) -> Step {
    let keeps = match state.onboarding {
        OnboardingState::Rfotm => is_untouched(state),
        // The last life ended before the reset was complete.
        OnboardingState::Reset => false,
        OnboardingState::Rfpro | OnboardingState::Rfnop | OnboardingState::Sreset => {
            state.is_complete().is_ok()
        }
    };
    if keeps { still(state) } else { reset(state, "start", now) }
}

fn is_untouched(state: &Security) -> bool {
    let fresh = super::Fresh { device: state.doxm.device, key: state.key.clone() };
    let untouched = Security { ael: state.ael.clone(), ..Security::new(fresh) };
    *state == untouched && !state.key.is_empty() && !state.doxm.device.is_nil()
}
