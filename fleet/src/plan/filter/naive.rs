//! Whether one device is meant, asked of its facts one after the other: the definition of the
//! language, and the oracle of the index, which answers the same question for a whole fleet.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Filter;
use crate::plan::time::Time;
use crate::plan::version;
use crate::plan::words::{AttributeKey, DeviceId, PackageId, PartNumber, Tag};

/// What is known about one device, as far as a filter can ask for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What it is called.
    pub id: DeviceId,
    /// What is installed.
    pub packages: BTreeSet<PackageId>,
    /// What it is made of.
    pub components: BTreeSet<PartNumber>,
    /// Its attributes: strings as they are, everything else as its JSON text.
    pub attributes: BTreeMap<AttributeKey, String>,
    /// Marks that people put on it.
    pub tags: BTreeSet<Tag>,
    /// When it was last heard of.
    pub seen: Option<Time>,
    /// Whether it is connected.
    pub online: bool,
}

impl Facts {
    /// A device of which nothing is known but what it is called.
    pub fn new(id: DeviceId) -> Self {
        Self {
            id,
            packages: BTreeSet::new(),
            components: BTreeSet::new(),
            attributes: BTreeMap::new(),
            tags: BTreeSet::new(),
            seen: None,
            online: false,
        }
    }
}

impl Filter {
    /// Whether the filter means this device, at this time.
    pub fn matches(&self, device: &Facts, now: Time) -> bool {
        match self {
            Self::True => true,
            Self::False => false,
            Self::VinMatches(id) => id.is_match(device.id.as_str()),
            Self::HasPackage(name, version) => device.packages.iter().any(|package| {
                name.is_match(package.name.as_str()) && version.is_match(package.version.as_str())
            }),
            Self::HasComponent(part) => {
                device.components.iter().any(|number| part.is_match(number.as_str()))
            }
            Self::Attribute(key, value) => device.attributes.get(key) == Some(value),
            Self::Tag(tag) => device.tags.contains(tag),
            Self::Runs(name, comparison, wanted) => device.packages.iter().any(|package| {
                package.name == *name
                    && comparison.holds(version::compare(package.version.as_str(), wanted.as_str()))
            }),
            Self::Seen(comparison, age) => device
                .seen
                .is_some_and(|seen| comparison.holds(now.since(seen).cmp(&age.duration()))),
            Self::Online => device.online,
            Self::Not(inner) => !inner.matches(device, now),
            Self::And(parts) => parts.iter().all(|part| part.matches(device, now)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(device, now)),
        }
    }
}
