//! What the device knows and has on disk: about its software, and about who owns it.

use super::engine::Engine;
use super::keeper::{Keeper, Rejected};
use crate::clock::Now;
use crate::ocf::security::{Effect, Refusal, Rules, Security};
use crate::ocf::{About, Guard, Memo, Site};
use crate::store::Ledger;

/// The engine with its record, the record of ownership, and what is shown beside them.
pub(super) struct Records {
    pub(super) about: About,
    pub(super) engine: Engine,
    /// None while everything is open to everyone.
    pub(super) ownership: Option<Ownership>,
    pub(super) memo: Memo,
}

/// Who owns the device, and how it may be owned.
pub(super) struct Ownership {
    pub(super) keeper: Keeper<Ledger, Security>,
    pub(super) rules: Rules,
    /// The record cannot be read: nobody is served before a reset by hand.
    pub(super) locked: bool,
}

impl Ownership {
    /// Gives up the record that cannot be read: the device is being reset from now.
    ///
    /// # Errors
    ///
    /// The disk refuses; the device is still locked.
    pub(super) fn unlock(&mut self, how: &str, now: Now) -> Result<Vec<Effect>, Rejected<Refusal>> {
        self.keeper.replace(Security::reset_by(how, now))?;
        self.locked = false;
        Ok(vec![Effect::PolicyChanged, Effect::Reset])
    }
}

impl Records {
    pub(super) fn security(&self) -> Option<&Security> {
        self.ownership.as_ref().map(|ownership| ownership.keeper.state())
    }

    /// Now, and not before what is known to have passed: by this credentials and certificates are
    /// judged, so that what has ended stays ended when the clock is put back.
    pub(super) fn judged(&self, now: Now) -> Now {
        Now { wall: self.engine.state().time(now.wall), ..now }
    }

    /// What an answer may depend on. `connected`: an onboarding connection stands.
    pub(super) fn site<'a>(
        &'a self,
        endpoints: &'a [String],
        connected: bool,
        now: Now,
    ) -> Site<'a> {
        let guard = self.ownership.as_ref().map(|ownership| Guard {
            state: ownership.keeper.state(),
            rules: &ownership.rules,
            connected,
            locked: ownership.locked,
        });
        Site {
            about: &self.about,
            state: self.engine.state(),
            step: self.engine.step(),
            memo: &self.memo,
            progress: self.engine.meter().shown(),
            endpoints,
            guard,
            now,
        }
    }
}
