//! `oic.r.sp`: the security profile. This device claims one, the baseline.

use serde::Serialize;

use super::{Refusal, Security, read};
use crate::ocf::body::{self, Fault};
use crate::ocf::representation::{Names, common};
use crate::ocf::resource::Resource;

/// The baseline security profile (OCF Security 14.8.3).
const BASELINE: &str = "1.3.6.1.4.1.51414.0.0.1.0";

#[derive(Serialize)]
pub(super) struct Representation {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    currentprofile: &'static str,
    supportedprofiles: [&'static str; 1],
}

impl Representation {
    pub(super) fn new(baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::SecurityProfile, baseline);
        Self { rt, r#if, currentprofile: BASELINE, supportedprofiles: [BASELINE] }
    }
}

/// What a POST changes: nothing can change, but the right value may be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    current: Option<String>,
}

impl Update {
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut update = Self::default();
        for (name, value) in body::members(body)? {
            match &*name {
                "currentprofile" => update.current = Some(read::text(&name, value)?),
                "supportedprofiles" => return Err("supportedprofiles can only be read".into()),
                name if read::is_common(name) => {}
                name => return Err(read::unknown(name)),
            }
        }
        Ok(update)
    }

    pub(super) fn apply(self, next: &Security) -> Result<(), Refusal> {
        let Some(profile) = self.current else { return Ok(()) };
        if !next.onboarding.is_provisioning() {
            let text = "currentprofile is written in RFOTM, RFPRO and SRESET";
            return Err(Refusal::WrongState(text.into()));
        }
        if profile != BASELINE {
            let text = "currentprofile is not one of supportedprofiles";
            return Err(Refusal::Malformed(text.into()));
        }
        Ok(())
    }
}
