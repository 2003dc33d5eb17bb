//! `oic.r.softwareupdate`: the engine's phases in OCF's words, POST bodies as commands.
//!
//! Source: the model of 2019-04-08 and the draft CR 2303; where they differ, `docs/decisions.md`.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::body::{self, Fault};
use super::orders::{self, Wish};
use super::representation::{Names, common};
use super::resource::Resource;
use super::time;
use crate::clock::Now;
use crate::update::{FailureKind, Outcome, Phase, Stage, State};

/// The properties, in the words of the wire.
#[derive(Serialize)]
pub(super) struct Representation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    #[serde(rename = "nv", skip_serializing_if = "Option::is_none")]
    new_version: Option<&'a str>,
    #[serde(rename = "purl")]
    package_url: &'a str,
    #[serde(rename = "swupdateaction")]
    action: &'static str,
    #[serde(rename = "swupdatestate")]
    state: &'static str,
    #[serde(rename = "swupdateresult")]
    result: u16,
    #[serde(rename = "lastupdate")]
    last_update: String,
    signed: &'static str,
    #[serde(rename = "updatetime")]
    update_time: String,
}

impl<'a> Representation<'a> {
    pub(super) fn new(state: &'a State, baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::SoftwareUpdate, baseline);
        let standing = orders::standing(state);
        Self {
            rt,
            r#if,
            new_version: state.phase.offer().map(|offer| &*offer.version),
            package_url: standing.map_or("", |standing| &standing.source),
            action: action_word(standing.and_then(|standing| standing.stage)),
            state: state_word(&state.phase),
            result: result_code(&state.outcome),
            last_update: time::written(state.last_update),
            signed: "vendor",
            // A time is always shown; without one, that of the software.
            update_time: time::written(standing.map_or(state.last_update, |standing| standing.at)),
        }
    }
}

fn action_word(stage: Option<Stage>) -> &'static str {
    match stage {
        None => "idle",
        Some(Stage::Check) => "isac",
        Some(Stage::Validate) => "isvv",
        Some(Stage::Upgrade) => "upgrade",
    }
}

/// The value of `swupdatestate` (Table 3 of the draft). A check under way shows as idle.
pub fn state_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Idle | Phase::Checking(_) => "idle",
        Phase::Available(_) => "nsa",
        Phase::Fetching(_) => "svv",
        Phase::Staged(_) => "sva",
        Phase::Installing(_)
        | Phase::Switching(_)
        | Phase::Trial { .. }
        | Phase::Confirming(_)
        | Phase::RollingBack { .. } => "upgrading",
    }
}

/// The value of `swupdateresult` (Table 5 of the draft): the one table from our failures to OCF's.
/// CoAP errors have no code of their own and take the place of HTTP's (4.04 is 404).
pub fn result_code(outcome: &Outcome) -> u16 {
    let failure = match outcome {
        Outcome::None => return 0,
        Outcome::Success => return 1,
        Outcome::Failed(failure) => failure,
    };
    match failure.kind {
        FailureKind::NoMemory => 2,
        FailureKind::NoSpace => 3,
        FailureKind::ConnectionLost | FailureKind::NameUnknown => 4,
        FailureKind::Malformed
        | FailureKind::Digest
        | FailureKind::Signature
        | FailureKind::WrongDevice
        | FailureKind::OlderSequence
        | FailureKind::Expired
        | FailureKind::WrongVersion
        | FailureKind::OtherVersion => 5,
        // Nothing went wrong: whoever may do that did not want it any more.
        FailureKind::Cancelled | FailureKind::Replaced | FailureKind::Late => 0,
        FailureKind::BadUrl | FailureKind::SourceRefused | FailureKind::NoSource => 6,
        FailureKind::UnsupportedScheme => 7,
        FailureKind::Install
        | FailureKind::Unfit
        | FailureKind::Trial
        | FailureKind::Interrupted
        | FailureKind::NothingBefore
        | FailureKind::Storage => 8,
        FailureKind::Http(status) | FailureKind::Coap(status) => status.clamp(400, 600),
    }
}

/// An UPDATE, as the engine takes it. All three writable properties must be there.
pub(super) fn command(body: &[u8], purl_max: usize, now: Now) -> Result<Wish, Fault> {
    let mut purl = None;
    let mut action = None;
    let mut update_time: Option<(String, Option<DateTime<Utc>>)> = None;
    for (name, value) in body::members(body)? {
        match &*name {
            "purl" => purl = Some(package_url(body::text("purl", value)?, purl_max)?),
            "swupdateaction" => action = Some(stage(&body::text("swupdateaction", value)?)?),
            // The draft has three more spellings; its own examples use them.
            "updatetime" | "updateTime" | "updateatime" | "update time" => {
                let time = instant(&name, &body::text(&name, value)?, now)?;
                if let Some((other, _)) = update_time.as_ref().filter(|(_, known)| *known != time) {
                    return Err(format!("{other} and {name} name different times; send one"));
                }
                update_time = Some((name, time));
            }
            "rt" | "if" => {}
            "nv" | "swupdatestate" | "swupdateresult" | "lastupdate" | "signed" => {
                return Err(format!("{name} can only be read"));
            }
            _ => return Err(format!("there is no property {} here", body::quoted(&name))),
        }
    }
    let missing =
        |name| format!("{name} is missing; purl, swupdateaction and updatetime go together");
    let source = purl.ok_or_else(|| missing("purl"))?;
    let stage = action.ok_or_else(|| missing("swupdateaction"))?;
    let (_, at) = update_time.ok_or_else(|| missing("updatetime"))?;
    Ok(Wish { source, stage, at })
}

fn package_url(text: String, purl_max: usize) -> Result<String, Fault> {
    match text.chars().count() {
        length if length > purl_max => Err(format!(
            "purl has {length} characters; this device takes {purl_max} (update.purl_max)"
        )),
        _ => Ok(text),
    }
}

fn stage(word: &str) -> Result<Option<Stage>, Fault> {
    match word {
        "idle" => Ok(None),
        "isac" => Ok(Some(Stage::Check)),
        // The schema of the draft has `isv`.
        "isvv" | "isv" => Ok(Some(Stage::Validate)),
        "upgrade" => Ok(Some(Stage::Upgrade)),
        _ => Err(format!(
            "swupdateaction {} is not one of idle, isac, isvv, upgrade",
            body::quoted(word)
        )),
    }
}

/// `now` and `none`, which IoTivity-Lite's clients send, mean what they say.
fn instant(name: &str, text: &str, now: Now) -> Result<Option<DateTime<Utc>>, Fault> {
    match text {
        "now" => return Ok(Some(now.wall)),
        "none" => return Ok(None),
        _ => {}
    }
    time::read(text)
        .map(Some)
        .ok_or_else(|| format!("{name} is not an RFC 3339 time such as 2030-01-09T14:30:00Z"))
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;

    use super::*;
    use crate::clock::Instant;

    fn now() -> Now {
        Now { wall: "2026-01-09T14:30:00Z".parse().unwrap(), mono: Instant::ZERO }
    }

    fn ask(body: ciborium::Value) -> Result<Wish, Fault> {
        command(&body::encoded(&body), 64, now())
    }

    #[test]
    fn the_drafts_own_example_is_taken_as_printed() {
        let body = cbor!({
            "purl" => "https://myvendor/newversion",
            "swupdateaction" => "upgrade",
            "updateatime" => "2030-01-09T14:30Z",
        });
        let at = Some("2030-01-09T14:30:00Z".parse().unwrap());
        let source = "https://myvendor/newversion".to_owned();
        assert_eq!(ask(body.unwrap()), Ok(Wish { source, stage: Some(Stage::Upgrade), at }));
    }

    #[test]
    fn every_property_is_needed_and_no_other_is_taken() {
        let full = [
            ("purl", "https://v/a"),
            ("swupdateaction", "isv"),
            ("updatetime", "2026-01-09T14:30:00Z"),
        ];
        let with = |changes: &[(&str, ciborium::Value)], without: &str| {
            let mut members: Vec<_> = full
                .iter()
                .filter(|(name, _)| *name != without)
                .map(|(name, value)| (ciborium::Value::from(*name), ciborium::Value::from(*value)))
                .collect();
            for (name, value) in changes {
                members.retain(|(other, _)| other.as_text() != Some(name));
                members.push((ciborium::Value::from(*name), value.clone()));
            }
            ask(ciborium::Value::Map(members))
        };
        assert!(with(&[], "").is_ok());
        assert!(with(&[("rt", "oic.r.softwareupdate".into()), ("if", "x".into())], "").is_ok());
        for without in ["purl", "swupdateaction", "updatetime"] {
            assert!(with(&[], without).unwrap_err().starts_with(without));
        }
        for (name, value) in [
            ("purl", 1.into()),
            ("purl", "x".repeat(65).into()),
            ("swupdateaction", "isx".into()),
            ("swupdateaction", 1.into()),
            ("updatetime", "tomorrow".into()),
            ("updatetime", 7.into()),
            ("nv", "1".into()),
            ("swupdatestate", "idle".into()),
            ("swupdateresult", 0.into()),
            ("lastupdate", "2026-01-09T14:30:00Z".into()),
            ("signed", "vendor".into()),
        ] {
            let fault = with(&[(name, value)], "").unwrap_err();
            assert!(fault.contains(name), "{fault}");
        }
        assert!(with(&[("colour", 1.into())], "").unwrap_err().contains("colour"));
    }

    #[test]
    fn a_purl_that_is_too_long_is_told_the_bound_and_who_sets_it() {
        let ask = |length| {
            ask(cbor!({
                "purl" => "x".repeat(length),
                "swupdateaction" => "isac",
                "updatetime" => "now",
            })
            .unwrap())
        };
        assert!(ask(64).is_ok());
        let told = "purl has 80 characters; this device takes 64 (update.purl_max)";
        assert_eq!(ask(80).unwrap_err(), told);
    }

    #[test]
    fn two_spellings_of_one_time_agree_or_are_refused() {
        let body = |other: &str| {
            ask(cbor!({
                "purl" => "",
                "swupdateaction" => "idle",
                "updatetime" => "2030-01-09T14:30:00Z",
                "updateTime" => other,
            })
            .unwrap())
        };
        assert!(body("2030-01-09T15:30+01:00").is_ok());
        assert!(body("2030-01-09T15:30Z").unwrap_err().contains("different times"));
    }
}
