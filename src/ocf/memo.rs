//! The representations that were encoded last: most GETs, and all watchers of one step, ask for the same.

use std::cell::RefCell;

use uuid::Uuid;

use super::resource::{Resource, TOPICS};
use super::security::OnboardingState;
use super::site::{Progress, Site};

/// The last representation of each resource that can be watched, without what the baseline interface
/// adds.
#[derive(Debug, Default)]
pub struct Memo([RefCell<Last>; TOPICS.len()]);

/// What was shown last, and its bytes.
type Last = Option<(Shown, Vec<u8>)>;

/// All that such a representation depends on; what is equal here is equal there.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// The engine's state, by its step.
    step: u64,
    /// The progress of its work, where that is shown.
    progress: Option<Progress>,
    /// The state of ownership, where that is shown.
    security: Option<(OnboardingState, Uuid)>,
}

impl Shown {
    fn of(site: &Site<'_>, resource: Resource) -> Self {
        let progress = resource == Resource::UpdateStatus;
        let security = site.guard.filter(|_| resource == Resource::ProvisioningStatus);
        Self {
            step: site.step,
            progress: progress.then(|| site.progress.clone()),
            security: security.map(|guard| (guard.state.onboarding, guard.state.pstat_owner)),
        }
    }
}

impl Memo {
    /// The representation, encoded anew only if something that it shows has changed.
    pub(super) fn encoded(
        &self,
        site: &Site<'_>,
        resource: Resource,
        encode: impl FnOnce() -> Vec<u8>,
    ) -> Vec<u8> {
        let Some(topic) = resource.topic() else { return encode() };
        let shown = Shown::of(site, resource);
        let mut place = self.0[topic.0 as usize].borrow_mut();
        if let Some((last, bytes)) = &*place
            && *last == shown
        {
            return bytes.clone();
        }
        let bytes = encode();
        *place = Some((shown, bytes.clone()));
        bytes
    }
}
