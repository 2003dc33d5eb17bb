//! OCF's door to the engine: its two resources' words as commands, the engine's refusals as its codes.

use chrono::{DateTime, Utc};

use super::security::{Category, Event};
use super::site::{Site, Subject};
use super::time;
use crate::coap::{Code, Response, option};
use crate::update::{
    Cancel, Command, Door, Draft, Entry, Expected, Fate, Order, Origin, Outcome, Refusal, Replaces,
    Stage, Standing, State, Unusable,
};

/// The name of this door. `swupdateaction` and `tm` are one: a client that orders by the one watches
/// the other, and the resource shows one order.
pub const DOOR: Door = Door::named("ocf");

/// How soon a client that found the device busy may ask again, seconds (Max-Age; RFC 7252 section
/// 5.9.3.4). An update takes minutes.
const BUSY_S: u32 = 30;

/// What an UPDATE of the software update resource asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// `purl`.
    pub(super) source: String,
    /// `swupdateaction`; `None` for `idle`.
    pub(super) stage: Option<Stage>,
    /// `updatetime`; `None` for IoTivity-Lite's `none`.
    pub(super) at: Option<DateTime<Utc>>,
}

/// What stands in the name of this door.
pub(super) fn standing(state: &State) -> Option<&Standing> {
    state.standing(&DOOR)
}

/// POST softwareupdate.
///
/// # Errors
///
/// The answer, where the engine need not be asked.
pub(super) fn written(wish: Wish, site: &Site<'_>, subject: &Subject) -> Result<Command, Response> {
    let Wish { source, stage, at } = wish;
    let Some((stage, at)) = stage.zip(at) else {
        if let Some(job) = site.state.phase.job().filter(|_| stage.is_some()) {
            // To keep a URL for later does not mean to stop what runs.
            let busy = Refusal::Busy { running: job.stage, door: job.origin.door.clone() };
            return Err(refused(&busy));
        }
        let draft = Some(Draft { source, at: at.unwrap_or_default() });
        return Ok(Command::Cancel(Cancel { origin: origin(subject), job: None, draft }));
    };
    Ok(Command::Order(order(source, stage, Some(at), site, subject)))
}

/// POST pstat with `tm`: now, from the source that was written last.
pub(super) fn started(stage: Stage, site: &Site<'_>, subject: &Subject) -> Command {
    let source = standing(site.state).map_or_else(String::new, |standing| standing.source.clone());
    Command::Order(order(source, stage, None, site, subject))
}

fn order(
    source: String,
    stage: Stage,
    at: Option<DateTime<Utc>>,
    site: &Site<'_>,
    subject: &Subject,
) -> Order {
    Order {
        origin: origin(subject),
        source,
        stage,
        at,
        // The model has no words for what the package is to be.
        expected: Expected::default(),
        replaces: if is_owner(site, subject) { Replaces::Anyones } else { Replaces::Own },
        // The model tells a source that cannot be used by `swupdateresult` (6 and 7), not by a code.
        unusable: Unusable::Fail,
    }
}

fn origin(subject: &Subject) -> Origin {
    Origin::new(DOOR, subject.to_string(), "")
}

fn is_owner(site: &Site<'_>, subject: &Subject) -> bool {
    let owner = site.guard.map(|guard| guard.state.doxm.owner);
    matches!(subject, Subject::Peer(peer) if Some(peer.uuid) == owner && !peer.uuid.is_nil())
}

/// The one table from the engine's refusals to OCF's answers.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let code = match refusal {
        // IoTivity-Lite does not know 4.09 and takes it for success.
        Refusal::Busy { .. } | Refusal::TooLate { .. } | Refusal::NotYours { .. } => {
            Code::SERVICE_UNAVAILABLE
        }
        Refusal::Past { .. } | Refusal::Unusable(_) => Code::BAD_REQUEST,
        Refusal::Waiting { .. } => Code::FORBIDDEN,
        Refusal::NoSuchOrder(_) => Code::NOT_FOUND,
        Refusal::TooManyDoors | Refusal::Stale | Refusal::NotDue => Code::INTERNAL_SERVER_ERROR,
    };
    let mut response = Response::diagnostic(code, words(refusal));
    if code == Code::SERVICE_UNAVAILABLE {
        response.options.set_uint(option::MAX_AGE, BUSY_S);
    }
    response
}

/// A refusal with the properties that it is about.
fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Past { .. } => format!("updatetime: {refusal}"),
        Refusal::Unusable(_) => format!("purl: {refusal}"),
        Refusal::Waiting { .. } => format!("{refusal} (swupdateaction idle cancels it)"),
        refusal => refusal.to_string(),
    }
}

/// What the journal says, as auditable events: each order, and its end.
pub(super) fn events(journal: &[Entry]) -> Vec<Event> {
    let mut events = vec![];
    for entry in journal {
        let Entry { origin, source, stage, at, replaced, version, fate, ordered, .. } = entry;
        let mut about = format!("{origin} asks: {} from '{}'", stage.verb(), source.escape_debug());
        if let Some(at) = at {
            about += &format!(" at {}", time::written(*at));
        }
        let event = |at, message: String| Event::new(Category::Device, 3, at, message, &about);
        let taken = match replaced {
            None => "an order was taken".to_owned(),
            Some(other) => format!("an order was taken, and replaced that of {other}"),
        };
        events.push(event(*ordered, taken));
        if let Fate::Ended { at, outcome } = fate {
            let version = version.as_deref().unwrap_or("no version");
            let end = match outcome {
                Outcome::None => format!("an order ended: {version} was found"),
                Outcome::Success => format!("an order ended: done, {version}"),
                Outcome::Failed(failure) => format!("an order ended: {}", failure.detail),
            };
            events.push(event(*at, end));
        }
    }
    events
}
