//! What a step of the engine changes for those who watch.

use super::orders;
use super::resource::Resource;
use super::softwareupdate::{result_code, state_word};
use super::status;
use crate::update::State;

/// The resources whose watchers are told of a step from `before` to `after`.
///
/// softwareupdate and pstat show every change of `swupdatestate` together, also where `cm` stays the
/// same (`nsa` and `svv`). A step that ends a job is always told, so that a client that waits
/// for the end sees one. Steps that change nothing to be seen are told to nobody.
pub fn changed(before: &State, after: &State, terminal: bool) -> Vec<Resource> {
    let moved = state_word(&before.phase) != state_word(&after.phase) || terminal;
    let shown = |state: &State| {
        let offer = state.phase.offer().map(|offer| offer.version.clone());
        let order = orders::standing(state);
        let order = order.map(|order| (order.source.clone(), order.stage, order.at));
        (offer, order, result_code(&state.outcome), state.last_update)
    };
    let status = before.phase.name() != after.phase.name()
        || before.outcome != after.outcome
        || status::scheduled(before) != status::scheduled(after);
    let mut resources = Vec::new();
    if moved || shown(before) != shown(after) {
        resources.push(Resource::SoftwareUpdate);
    }
    if moved {
        resources.push(Resource::ProvisioningStatus);
    }
    if moved || status {
        resources.push(Resource::UpdateStatus);
    }
    resources
}
