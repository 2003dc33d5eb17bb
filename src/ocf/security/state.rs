//! Everything about ownership and access that must survive a power cut.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Acl, AuditLog, Category, Credentials, Doxm, Event, OnboardingState, Secret, SecurityDomain,
};
use crate::clock::Now;

/// The durable security state: one record, committed before anything rests on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// `pstat.dos.s`.
    pub onboarding: OnboardingState,
    /// `/oic/sec/doxm`.
    pub doxm: Doxm,
    /// `pstat.rowneruuid`.
    pub pstat_owner: Uuid,
    /// `/oic/sec/cred`.
    pub cred: Credentials,
    /// `/oic/sec/acl2`.
    pub acl2: Acl,
    /// `/oic/sec/sdi`.
    pub sdi: SecurityDomain,
    /// `/oic/sec/ael`.
    pub ael: AuditLog,
    /// The device's own key for certificates, PKCS#8; empty only while the device resets.
    pub key: Secret,
}

/// What a device has anew after each reset. The caller makes it: it is random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// The temporary `deviceuuid`.
    pub device: Uuid,
    /// A new key for certificates, PKCS#8.
    pub key: Secret,
}

impl Security {
    /// A device that nobody owns yet.
    pub fn new(fresh: Fresh) -> Self {
        let blank = Self::resetting();
        Self {
            onboarding: OnboardingState::Rfotm,
            doxm: Doxm { device: fresh.device, ..blank.doxm },
            key: fresh.key,
            ..blank
        }
    }

    /// A device in RESET, all defaults.
    pub fn resetting() -> Self {
        Self {
            onboarding: OnboardingState::Reset,
            doxm: Doxm::default(),
            pstat_owner: Uuid::nil(),
            cred: Credentials::default(),
            acl2: Acl::default(),
            sdi: SecurityDomain::default(),
            ael: AuditLog::default(),
            key: Secret::default(),
        }
    }

    /// The same, with the word of how it came about, for the next owner.
    pub fn reset_by(how: &str, now: Now) -> Self {
        let mut state = Self::resetting();
        state.ael.push(Event::new(Category::Onboarding, 1, now.wall, "the device was reset", how));
        state
    }

    /// What of it is kept on disk. The transfer method of a device that nobody owns is not: anybody
    /// can choose one, as often as he likes, and it means nothing without the connection that follows.
    pub fn kept(&self) -> Cow<'_, Self> {
        if self.doxm.owned || self.doxm.selected.is_none() {
            return Cow::Borrowed(self);
        }
        let mut kept = self.clone();
        kept.doxm.selected = None;
        Cow::Owned(kept)
    }

    /// Whether somebody owns it and it may leave the owner transfer: an owner, an owner of each
    /// resource, and a credential for each of them (OCF Security 13.8, preconditions of RFPRO).
    ///
    /// # Errors
    ///
    /// What is missing.
    pub(super) fn is_complete(&self) -> Result<(), &'static str> {
        if !self.doxm.owned {
            return Err("doxm.owned is not true");
        }
        let owners = [
            (self.doxm.device, "doxm.deviceuuid is nil"),
            (self.doxm.owner, "doxm.devowneruuid is nil"),
            (self.doxm.resource_owner, "doxm.rowneruuid is nil"),
            (self.pstat_owner, "pstat.rowneruuid is nil"),
            (self.cred.owner, "cred.rowneruuid is nil"),
            (self.acl2.owner, "acl2.rowneruuid is nil"),
        ];
        if let Some((_, missing)) = owners.iter().find(|(owner, _)| owner.is_nil()) {
            return Err(missing);
        }
        let known = owners[2..].iter().all(|(owner, _)| self.cred.has_subject(*owner));
        if known { Ok(()) } else { Err("there is no credential for each rowneruuid") }
    }
}
