//! `oic.r.pstat`: what the engine does as mode bits, and the bits that start it.
//!
//! The onboarding state and its rules are in `security`; while everything is open to everyone
//! (`insecure`) the device shows itself as an owned one in normal operation (RFNOP).

use serde::Serialize;
use uuid::Uuid;

use super::body::{self, Fault};
use super::representation::{Names, common, uuid};
use super::resource::Resource;
use super::security::{self, OnboardingState, Security};
use crate::update::{Phase, Stage};

/// Bits of `cm` and `tm` (OCF Security 13.8, Table 37).
mod mode {
    /// In `tm`: validate. In `cm`: valid software is here.
    pub(super) const SOFTWARE_VERSION_VALIDATION: u16 = 64;
    /// In `tm`: install. In `cm`: being installed.
    pub(super) const SECURE_SOFTWARE_UPDATE: u16 = 128;
    /// In `tm`: check. In `cm`: new software exists.
    pub(super) const SOFTWARE_AVAILABILITY_CHECK: u16 = 256;
}

/// Client-directed provisioning, the only operation mode (`om`, `sm`).
const CLIENT_DIRECTED: i64 = 4;

#[derive(Serialize)]
pub(super) struct Representation {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    dos: State,
    #[serde(rename = "isop")]
    is_operational: bool,
    #[serde(rename = "cm")]
    current_mode: u16,
    #[serde(rename = "tm")]
    target_mode: u16,
    #[serde(rename = "om")]
    operation_mode: i64,
    #[serde(rename = "sm")]
    supported_mode: i64,
    #[serde(rename = "rowneruuid", serialize_with = "uuid")]
    resource_owner: Uuid,
}

#[derive(Serialize)]
struct State {
    #[serde(rename = "s")]
    state: i64,
    #[serde(rename = "p")]
    pending: bool,
}

impl Representation {
    pub(super) fn new(phase: &Phase, security: Option<&Security>, baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::ProvisioningStatus, baseline);
        let state = security.map_or(OnboardingState::Rfnop, |security| security.onboarding);
        let (current, target) = security::state_bits(state);
        Self {
            rt,
            r#if,
            dos: State { state: state.number(), pending: state == OnboardingState::Reset },
            is_operational: state == OnboardingState::Rfnop,
            current_mode: current | provisioning_mode(phase),
            // Work starts in the very step that takes the order: there is no moment in between.
            target_mode: target,
            operation_mode: CLIENT_DIRECTED,
            supported_mode: CLIENT_DIRECTED,
            resource_owner: security.map_or(Uuid::nil(), |security| security.pstat_owner),
        }
    }
}

/// The software bits of `cm` for a phase (Table 3 of the draft).
pub fn provisioning_mode(phase: &Phase) -> u16 {
    let available = mode::SOFTWARE_AVAILABILITY_CHECK;
    let valid = available | mode::SOFTWARE_VERSION_VALIDATION;
    match phase {
        Phase::Idle | Phase::Checking(_) => 0,
        Phase::Available(_) | Phase::Fetching(_) => available,
        Phase::Staged(_) => valid,
        Phase::Installing(_)
        | Phase::Switching(_)
        | Phase::Trial { .. }
        | Phase::Confirming(_)
        | Phase::RollingBack { .. } => valid | mode::SECURE_SOFTWARE_UPDATE,
    }
}

/// What an UPDATE tells the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Go so far, now.
    Stage(Stage),
    /// Go back to the defaults.
    Reset,
}

/// An UPDATE: what it says of the security state, and how far it tells the engine to go.
pub(super) fn read(body: &[u8]) -> Result<(security::StateUpdate, Option<Stage>), Fault> {
    let mut update = security::StateUpdate::default();
    let mut stage = None;
    for (name, value) in body::members(body)? {
        match &*name {
            "tm" => stage = target(body::integer("tm", &value)?)?,
            "dos" => update.state = onboarding_state(value)?,
            "om" if body::integer("om", &value)? == CLIENT_DIRECTED => {}
            "om" => return Err("om can only be 4 (client-directed)".into()),
            "rowneruuid" => update.owner = Some(security::uuid(&name, value)?),
            "rt" | "if" | "n" | "id" => {}
            "cm" | "isop" | "sm" => return Err(format!("{name} can only be read")),
            _ => return Err(format!("there is no property {} here", body::quoted(&name))),
        }
    }
    Ok((update, stage))
}

/// What an UPDATE asks of the engine while everything is open and there is no security state.
pub(super) fn open_start(
    update: &security::StateUpdate,
    stage: Option<Stage>,
) -> Result<Option<Start>, Fault> {
    if update.owner.is_some() {
        return Err("rowneruuid cannot be written in this state".into());
    }
    match update.state {
        Some(OnboardingState::Reset) => Ok(Some(Start::Reset)),
        None | Some(OnboardingState::Rfnop) => Ok(stage.map(Start::Stage)),
        Some(other) => Err(format!("dos.s cannot go from 3 to {}", other.number())),
    }
}

/// Of several bits the highest step: it includes the others.
fn target(bits: i64) -> Result<Option<Stage>, Fault> {
    let software = mode::SOFTWARE_VERSION_VALIDATION
        | mode::SECURE_SOFTWARE_UPDATE
        | mode::SOFTWARE_AVAILABILITY_CHECK;
    let bits = u16::try_from(bits).ok().filter(|bits| bits & !software == 0);
    let bits = bits.ok_or("tm can only have the bits 64, 128 and 256")?;
    Ok(if bits & mode::SECURE_SOFTWARE_UPDATE != 0 {
        Some(Stage::Upgrade)
    } else if bits & mode::SOFTWARE_VERSION_VALIDATION != 0 {
        Some(Stage::Validate)
    } else if bits & mode::SOFTWARE_AVAILABILITY_CHECK != 0 {
        Some(Stage::Check)
    } else {
        None
    })
}

fn onboarding_state(value: ciborium::Value) -> Result<Option<OnboardingState>, Fault> {
    let mut state = None;
    for (name, value) in body::properties(value)? {
        match &*name {
            "s" => {
                let number = body::integer("dos.s", &value)?;
                state = Some(OnboardingState::from_number(number).ok_or("dos.s is not 0 to 4")?);
            }
            "p" => return Err("dos.p can only be read".into()),
            _ => return Err(format!("there is no property {} in dos", body::quoted(&name))),
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;

    use super::*;

    fn ask(body: ciborium::Value) -> Result<Option<Start>, Fault> {
        let (update, stage) = read(&body::encoded(&body))?;
        open_start(&update, stage)
    }

    #[test]
    fn of_several_bits_the_highest_step_is_taken() {
        for (bits, stage) in [
            (0, None),
            (256, Some(Stage::Check)),
            (64, Some(Stage::Validate)),
            (320, Some(Stage::Validate)),
            (128, Some(Stage::Upgrade)),
            (448, Some(Stage::Upgrade)),
        ] {
            assert_eq!(ask(cbor!({"tm" => bits}).unwrap()), Ok(stage.map(Start::Stage)), "{bits}");
        }
        for bits in [1, 2, 32, 65, 512, 65536, -1, i64::MIN] {
            assert!(ask(cbor!({"tm" => bits}).unwrap()).is_err(), "{bits}");
        }
    }

    #[test]
    fn one_illegal_property_keeps_the_legal_ones_from_starting_anything() {
        for body in [
            cbor!({"tm" => 128, "dos" => {"s" => 1}}),
            cbor!({"tm" => 128, "cm" => 0}),
            cbor!({"tm" => 128, "isop" => true}),
            cbor!({"tm" => 128, "dos" => {"s" => 3, "p" => false}}),
            cbor!({"tm" => 128, "om" => 1}),
            cbor!({"tm" => 128, "colour" => 1}),
            cbor!({"tm" => "128"}),
        ] {
            let body = body.unwrap();
            assert!(ask(body.clone()).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_reset_goes_before_any_other_order() {
        let body = cbor!({"tm" => 128, "dos" => {"s" => 0}}).unwrap();
        assert_eq!(ask(body), Ok(Some(Start::Reset)));
    }
}
