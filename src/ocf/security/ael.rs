//! `oic.r.ael`: the auditable events, kept for the owner.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};

use super::{Refusal, Security, read};
use crate::ocf::body::{self, Fault};
use crate::ocf::representation::{Names, common};
use crate::ocf::resource::Resource;
use crate::ocf::time;
use crate::update::State;

/// Events kept; the oldest goes first.
const EVENTS_MAX: usize = 64;

/// Longest message or piece of information of an event, bytes.
const TEXT_BYTES_MAX: usize = 160;

/// What `maxspace` says, bytes: what [`EVENTS_MAX`] events take at most, about, and two for each order.
const SPACE_BYTES_MAX: usize = (EVENTS_MAX + 2 * State::JOURNAL_MAX) * (2 * TEXT_BYTES_MAX + 80);

/// Every category and every priority.
const CATEGORIES_ALL: u8 = 255;
const PRIORITY_LOWEST: u8 = 4;

/// The durable part of ael.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLog {
    /// The events, the oldest first.
    pub events: VecDeque<Event>,
    /// `categoryfilter`: the categories that are kept.
    pub categories: u8,
    /// `priorityfilter`: what is less urgent (a higher number) is not kept.
    pub priority: u8,
}

/// Something that the owner may want to know of later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it is about.
    pub category: Category,
    /// 0, the most urgent, to 4.
    pub priority: u8,
    /// When.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub at: DateTime<Utc>,
    /// What happened.
    pub message: String,
    /// To whom or what.
    pub about: String,
}

/// `category`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Category {
    /// 1: access control.
    Access,
    /// 2: onboarding.
    Onboarding,
    /// 4: the device; orders to update it.
    Device,
    /// 8: authentication.
    Authentication,
    /// 16: a security resource was changed.
    Modification,
}

impl Category {
    fn bit(self) -> u8 {
        match self {
            Self::Access => 1,
            Self::Onboarding => 2,
            Self::Device => 4,
            Self::Authentication => 8,
            Self::Modification => 16,
        }
    }

    /// `aeid`: the category's short name.
    fn id(self) -> &'static str {
        match self {
            Self::Access => "AC-1",
            Self::Onboarding => "OB-1",
            Self::Device => "DEV-1",
            Self::Authentication => "AUTH-1",
            Self::Modification => "SVR-1",
        }
    }
}

impl Event {
    /// An event, its texts cut to what is kept.
    pub fn new(
        category: Category,
        priority: u8,
        at: DateTime<Utc>,
        message: impl Into<String>,
        about: impl Into<String>,
    ) -> Self {
        let cut = |mut text: String| {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text
        };
        Self { category, priority, at, message: cut(message.into()), about: cut(about.into()) }
    }
}

impl Default for AuditLog {
    fn default() -> Self {
        Self { events: VecDeque::new(), categories: CATEGORIES_ALL, priority: PRIORITY_LOWEST }
    }
}

impl AuditLog {
    fn is_wanted(&self, event: &Event) -> bool {
        event.category.bit() & self.categories != 0 && event.priority <= self.priority
    }

    pub(super) fn push(&mut self, event: Event) {
        if !self.is_wanted(&event) {
            return;
        }
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

#[derive(Serialize)]
pub(super) struct Representation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    events: Vec<Shown<'a>>,
    usedspace: usize,
    maxspace: usize,
    unit: &'static str,
    categoryfilter: u8,
    priorityfilter: u8,
}

#[derive(Serialize)]
struct Shown<'a> {
    aeid: &'static str,
    category: u8,
    priority: u8,
    #[serde(serialize_with = "written")]
    timestamp: DateTime<Utc>,
    message: &'a str,
    auxiliaryinfo: [&'a str; 1],
}

fn written<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::written(*at))
}

impl<'a> Representation<'a> {
    /// `orders`: what the engine's own record says of updates; it is written with the order itself, and
    /// shown here among what is kept of the rest.
    pub(super) fn new(log: &'a AuditLog, orders: &'a [Event], baseline: bool) -> Self {
        let (rt, r#if) = common(Resource::AuditLog, baseline);
        let shown = |event: &'a Event| Shown {
            aeid: event.category.id(),
            category: event.category.bit(),
            priority: event.priority,
            timestamp: event.at,
            message: &event.message,
            auxiliaryinfo: [&event.about],
        };
        let orders = orders.iter().filter(|event| log.is_wanted(event));
        let mut events: Vec<&Event> = log.events.iter().chain(orders).collect();
        events.sort_by_key(|event| event.at);
        let bytes = events.iter().map(|event| event.message.len() + event.about.len() + 80);
        Self {
            rt,
            r#if,
            usedspace: bytes.sum(),
            maxspace: SPACE_BYTES_MAX,
            unit: "Byte",
            events: events.into_iter().map(shown).collect(),
            categoryfilter: log.categories,
            priorityfilter: log.priority,
        }
    }
}

/// What a POST changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    categories: Option<u8>,
    priority: Option<u8>,
}

impl Update {
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut update = Self::default();
        for (name, value) in body::members(body)? {
            match &*name {
                "categoryfilter" => update.categories = Some(read::number(&name, &value)?),
                "priorityfilter" => update.priority = Some(read::number(&name, &value)?),
                "events" | "usedspace" | "maxspace" | "unit" => {
                    return Err(format!("{name} can only be read"));
                }
                name if read::is_common(name) => {}
                name => return Err(read::unknown(name)),
            }
        }
        if update.priority.is_some_and(|priority| priority > PRIORITY_LOWEST) {
            return Err("priorityfilter is more than 4".into());
        }
        Ok(update)
    }

    pub(super) fn apply(self, next: &mut Security) -> Result<(), Refusal> {
        if !next.onboarding.is_provisioning() {
            let text = "the filters are written in RFOTM, RFPRO and SRESET";
            return Err(Refusal::Forbidden(text.into()));
        }
        let log = &mut next.ael;
        log.categories = self.categories.unwrap_or(log.categories);
        log.priority = self.priority.unwrap_or(log.priority);
        Ok(())
    }
}
