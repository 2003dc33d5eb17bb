//! `oic.r.doxm`: who owns the device, and how it may be taken into ownership.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::step::{Rules, Write};
use super::{OnboardingState, Refusal, Security, read};
use crate::coap::Request;
use crate::ocf::body::{self, Fault};
use crate::ocf::representation::{Names, common, uuid};
use crate::ocf::resource::Resource;

/// A way to take ownership (OCF Security 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// `oic.sec.doxm.jw`: whoever comes first.
    JustWorks,
    /// `oic.sec.doxm.rdp`: whoever knows the PIN that the device shows.
    RandomPin,
    /// `oic.sec.doxm.mfgcert`: the device proves where it comes from.
    ManufacturerCertificate,
}

impl Method {
    /// The number in `oxms` and `oxmsel`.
    pub fn number(self) -> u8 {
        match self {
            Self::JustWorks => 0,
            Self::RandomPin => 1,
            Self::ManufacturerCertificate => 2,
        }
    }
}

/// The value of `oxmsel` while no method is chosen. The models have none for that; IoTivity-Lite
/// has this one.
const NONE_SELECTED: u8 = 4;

/// `sct`: symmetric pair-wise keys (1) and certificates (8).
const CREDENTIAL_TYPES: u16 = 1 | 8;

/// The durable part of doxm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doxm {
    /// `oxmsel`.
    pub selected: Option<Method>,
    /// `owned`.
    pub owned: bool,
    /// `deviceuuid`, which is also `di`.
    pub device: Uuid,
    /// `devowneruuid`.
    pub owner: Uuid,
    /// `rowneruuid`.
    pub resource_owner: Uuid,
}

#[derive(Serialize)]
pub(super) struct Representation {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    oxms: Vec<u8>,
    oxmsel: u8,
    sct: u16,
    owned: bool,
    #[serde(rename = "devowneruuid", serialize_with = "uuid")]
    owner: Uuid,
    #[serde(rename = "deviceuuid", serialize_with = "uuid")]
    device: Uuid,
    #[serde(rename = "rowneruuid", serialize_with = "uuid")]
    resource_owner: Uuid,
}

impl Representation {
    pub(super) fn new(state: &Security, rules: &Rules, baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::OwnerTransfer, baseline);
        let doxm = &state.doxm;
        Self {
            rt,
            r#if,
            oxms: rules.methods.iter().map(|method| method.number()).collect(),
            oxmsel: doxm.selected.map_or(NONE_SELECTED, Method::number),
            sct: CREDENTIAL_TYPES,
            owned: doxm.owned,
            owner: doxm.owner,
            device: doxm.device,
            resource_owner: doxm.resource_owner,
        }
    }
}

/// Whether a search `owned=TRUE` or `owned=FALSE` is for this device; any other word is for none.
pub(in crate::ocf) fn matches_query(doxm: &Doxm, request: &Request) -> bool {
    let wanted = request.queries().flatten().find_map(|query| query.strip_prefix("owned="));
    match wanted {
        None => true,
        Some(word) => word.eq_ignore_ascii_case(if doxm.owned { "true" } else { "false" }),
    }
}

/// What a POST changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    selected: Option<i64>,
    owned: Option<bool>,
    device: Option<Uuid>,
    owner: Option<Uuid>,
    resource_owner: Option<Uuid>,
}

impl Update {
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut update = Self::default();
        for (name, value) in body::members(body)? {
            match &*name {
                "oxmsel" => update.selected = Some(body::integer(&name, &value)?),
                "owned" => update.owned = Some(read::boolean(&name, &value)?),
                "deviceuuid" => update.device = Some(read::uuid(&name, value)?),
                "devowneruuid" => update.owner = Some(read::uuid(&name, value)?),
                "rowneruuid" => update.resource_owner = Some(read::uuid(&name, value)?),
                "oxms" | "sct" => return Err(format!("{name} can only be read")),
                name if read::is_common(name) => {}
                name => return Err(read::unknown(name)),
            }
        }
        Ok(update)
    }

    /// Whether a method is chosen, again or anew.
    pub(super) fn selects(&self) -> bool {
        self.selected.is_some()
    }

    pub(super) fn apply(
        self,
        next: &mut Security,
        write: &Write,
        rules: &Rules,
    ) -> Result<(), Refusal> {
        let transfer = next.onboarding == OnboardingState::Rfotm;
        let wrong = |text: &str| Err(Refusal::WrongState(text.into()));
        if let Some(number) = self.selected {
            if !transfer || write.onboarding {
                return wrong("oxmsel is written in RFOTM, before the secure session");
            }
            let method = rules.methods.iter().find(|one| i64::from(one.number()) == number);
            next.doxm.selected = Some(
                *method.ok_or_else(|| Refusal::Malformed("oxmsel is not one of oxms".into()))?,
            );
        }
        let sets = self.owned.is_some() || self.device.is_some() || self.owner.is_some();
        if sets && !(transfer && write.onboarding) {
            return wrong(
                "owned, deviceuuid and devowneruuid are written in RFOTM, inside the secure session",
            );
        }
        if self.resource_owner.is_some() {
            next.resource_owner_is_writable(write)?;
        }
        let doxm = &mut next.doxm;
        doxm.owned = self.owned.unwrap_or(doxm.owned);
        doxm.device = self.device.unwrap_or(doxm.device);
        doxm.owner = self.owner.unwrap_or(doxm.owner);
        doxm.resource_owner = self.resource_owner.unwrap_or(doxm.resource_owner);
        if doxm.device.is_nil() {
            return Err(Refusal::Malformed("deviceuuid cannot be nil".into()));
        }
        Ok(())
    }
}

impl Security {
    /// Whether a `rowneruuid` may be written: in RFOTM inside the secure session, and in SRESET.
    pub(super) fn resource_owner_is_writable(&self, write: &Write) -> Result<(), Refusal> {
        let may = match self.onboarding {
            OnboardingState::Rfotm => write.onboarding,
            OnboardingState::Sreset => true,
            _ => false,
        };
        let text = "rowneruuid is written in RFOTM, inside the secure session, and in SRESET";
        if may { Ok(()) } else { Err(Refusal::WrongState(text.into())) }
    }
}
