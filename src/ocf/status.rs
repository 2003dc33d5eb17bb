//! `x.freshen.r.updatestatus`: how far an update is.
//!
//! The OCF model has no place for progress. Nobody needs this resource to drive an update.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::representation::{Names, common};
use super::resource::Resource;
use super::site::Progress;
use super::time;
use crate::update::{Outcome, State};

#[derive(Serialize)]
pub(super) struct Representation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    running: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: Option<&'a str>,
    phase: &'static str,
    #[serde(rename = "bytesdone")]
    bytes_done: u64,
    #[serde(rename = "bytesexpected")]
    bytes_expected: u64,
    /// Bytes a second.
    rate: u64,
    attempt: u32,
    #[serde(rename = "lasterror", skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deferred: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled: Option<String>,
}

impl<'a> Representation<'a> {
    pub(super) fn new(state: &'a State, progress: &'a Progress, baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::UpdateStatus, baseline);
        Self {
            rt,
            r#if,
            running: &state.running.version,
            offered: state.phase.offer().map(|offer| &*offer.version),
            phase: phase_word(state),
            bytes_done: progress.done,
            bytes_expected: progress.expected,
            rate: progress.rate,
            attempt: progress.attempt,
            last_error: match &state.outcome {
                Outcome::Failed(failure) => Some(&failure.detail),
                Outcome::None | Outcome::Success => progress.trouble.as_deref(),
            },
            deferred: progress.deferred.as_deref(),
            scheduled: scheduled(state).map(time::written),
        }
    }
}

/// When the next order of any door begins.
pub(super) fn scheduled(state: &State) -> Option<DateTime<Utc>> {
    state.waiting().map(|order| order.at).min()
}

fn phase_word(state: &State) -> &'static str {
    use crate::update::Phase;
    match state.phase {
        Phase::Idle => "idle",
        Phase::Checking(_) => "checking",
        Phase::Available(_) => "available",
        Phase::Fetching(_) => "fetching",
        Phase::Staged(_) => "staged",
        Phase::Installing(_) => "installing",
        Phase::Switching(_) => "switching",
        Phase::Trial { .. } => "trial",
        Phase::Confirming(_) => "confirming",
        Phase::RollingBack { .. } => "rolling back",
    }
}
