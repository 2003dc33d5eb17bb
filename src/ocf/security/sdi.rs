//! `oic.r.sdi`: the security domain that the owner puts the device in.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{OnboardingState, Refusal, Security, read};
use crate::ocf::body::{self, Fault};
use crate::ocf::representation::{Names, common, uuid};
use crate::ocf::resource::Resource;

/// Longest name of a domain, bytes.
const NAME_BYTES_MAX: usize = 64;

/// The durable part of sdi.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityDomain {
    /// `uuid`.
    pub domain: Uuid,
    /// `name`.
    pub name: String,
    /// `priv`: whether discovery keeps it to itself.
    pub private: bool,
}

#[derive(Serialize)]
pub(super) struct Representation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    #[serde(rename = "uuid", serialize_with = "uuid")]
    domain: Uuid,
    name: &'a str,
    #[serde(rename = "priv")]
    private: bool,
}

impl<'a> Representation<'a> {
    pub(super) fn new(sdi: &'a SecurityDomain, baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::SecurityDomain, baseline);
        Self { rt, r#if, domain: sdi.domain, name: &sdi.name, private: sdi.private }
    }
}

/// What a POST changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    domain: Option<Uuid>,
    name: Option<String>,
    private: Option<bool>,
}

impl Update {
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut update = Self::default();
        for (name, value) in body::members(body)? {
            match &*name {
                "uuid" => update.domain = Some(read::uuid(&name, value)?),
                "name" => update.name = Some(read::short_text(&name, value, NAME_BYTES_MAX)?),
                "priv" => update.private = Some(read::boolean(&name, &value)?),
                name if read::is_common(name) => {}
                name => return Err(read::unknown(name)),
            }
        }
        Ok(update)
    }

    pub(super) fn apply(self, next: &mut Security) -> Result<(), Refusal> {
        let wrong = |text: &str| Err(Refusal::WrongState(text.into()));
        if self.domain.is_some() && next.onboarding != OnboardingState::Rfotm {
            return wrong("uuid is written in RFOTM only");
        }
        let names = self.name.is_some() || self.private.is_some();
        if names && !next.onboarding.is_provisioning() {
            return wrong("name and priv are written in RFOTM, RFPRO and SRESET");
        }
        let sdi = &mut next.sdi;
        sdi.domain = self.domain.unwrap_or(sdi.domain);
        sdi.name = self.name.unwrap_or_else(|| std::mem::take(&mut sdi.name));
        sdi.private = self.private.unwrap_or(sdi.private);
        Ok(())
    }
}
