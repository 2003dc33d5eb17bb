//! This room answers at once which devices a filter means: what the whole fleet looks like is held in
//! memory as bitmaps over dense device numbers.
//!
//! An [`Index`] is a snapshot of one tenant's fleet. Everything in it that is large stands behind an
//! `Arc` in small pieces, so that a reader keeps its snapshot for as long as it likes while the one
//! writer, [`Live`], goes on: what a change touches is copied, the rest is shared. The truth is in
//! the store; an index can be built anew from it at any time.
//!
//! Device numbers are the store's. They may be used again after a device was removed.
//!
//! ```
//! use freshen_fleet::index::{Change, Live};
//! use freshen_fleet::plan::filter::Facts;
//! use freshen_fleet::plan::time::Time;
//!
//! let now = Time::from_secs(1_800_000_000);
//! let mut live = Live::default();
//! live.apply(Change::Put(0, Facts::new("V1".parse()?)), now);
//! live.apply(Change::Put(1, Facts::new("V2".parse()?)), now);
//! let index = live.snapshot();
//! live.apply(Change::Remove(0), now);
//! assert_eq!(index.select(&"vin_matches \"V\"".parse()?, now).len(), 2);
//! assert_eq!(live.snapshot().select(&"vin_matches \"V\"".parse()?, now).len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use roaring::RoaringBitmap;

pub use apply::{Change, Live};
pub use watch::{Crossing, FilterKey, Way};

use crate::plan::filter::Facts;
use crate::plan::time::Time;
use crate::plan::words::{DeviceId, PackageId, PartNumber};
use dictionary::Dictionary;
use paged::{Paged, Runs};
use term::Term;

mod apply;
mod dictionary;
mod eval;
mod matcher;
mod paged;
mod term;
#[cfg(test)]
mod tests;
mod watch;

/// Of a device that was never seen.
const NEVER_SEEN: i64 = i64::MIN;

/// One tenant's fleet at one moment.
#[derive(Clone, Default)]
pub struct Index {
    /// The devices that there are.
    all: Arc<RoaringBitmap>,
    online: Arc<RoaringBitmap>,
    /// What the devices are called.
    ids: Dictionary,
    /// What can be true of a device: a package, a component, an attribute with its value, a tag.
    terms: Dictionary,
    /// Of which devices a term is true.
    postings: Paged<Posting>,
    /// Which terms are true of a device.
    held: Runs<u32>,
    /// When a device was last seen, in milliseconds.
    seen: Paged<i64>,
}

/// The devices of which a term is true. Many terms, serial numbers for instance, have one.
#[derive(Clone, Default)]
enum Posting {
    #[default]
    None,
    One(u32),
    Many(Arc<RoaringBitmap>),
}

impl Index {
    /// The devices that there are.
    pub fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The devices that are connected.
    pub fn online(&self) -> &RoaringBitmap {
        &self.online
    }

    /// How many devices there are.
    pub fn len(&self) -> u64 {
        self.all.len()
    }

    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of a device.
    pub fn number(&self, id: &DeviceId) -> Option<u32> {
        self.ids.find(id.as_str())
    }

    /// The id of the device with this number.
    pub fn id(&self, number: u32) -> Option<DeviceId> {
        self.all.contains(number).then(|| self.ids.text(number).parse().ok())?
    }

    /// The numbers of devices in the order of their ids, those after `cursor`: for lists in pages.
    pub fn in_order(&self, cursor: Option<&DeviceId>) -> impl Iterator<Item = u32> {
        self.ids.after(cursor.map(DeviceId::as_str))
    }

    /// When the device was last seen.
    pub fn seen(&self, number: u32) -> Option<Time> {
        self.seen.get(number).copied().filter(|at| *at != NEVER_SEEN).map(Time::from_millis)
    }

    /// Everything that a filter can know about a device.
    pub fn facts(&self, number: u32) -> Option<Facts> {
        let mut facts = Facts::new(self.id(number)?);
        for term in self.held.get(number) {
            Term::decode(self.terms.text(*term))?.add_to(&mut facts);
        }
        facts.seen = self.seen(number);
        facts.online = self.online.contains(number);
        Some(facts)
    }

    /// The devices that have this version of this package installed.
    pub fn with_package(&self, package: &PackageId) -> RoaringBitmap {
        self.with(Term::package(package))
    }

    /// The devices that have this component.
    pub fn with_component(&self, part: &PartNumber) -> RoaringBitmap {
        self.with(Term::Component(part.as_str()))
    }

    /// The packages that are installed somewhere, in the order of their names, and on how many devices.
    pub fn packages(&self) -> impl Iterator<Item = (PackageId, u64)> {
        self.terms.starting_with(Term::PACKAGES).filter_map(|term| {
            let Term::Package(name, version) = Term::decode(self.terms.text(term))? else {
                return None;
            };
            Some((PackageId::new(name, version).ok()?, self.posting(term).len()))
        })
    }

    fn with(&self, term: Term<'_>) -> RoaringBitmap {
        self.terms.find(&term.encode()).map(|term| self.posting(term).bitmap()).unwrap_or_default()
    }

    fn posting(&self, term: u32) -> &Posting {
        self.postings.get(term).unwrap_or(&Posting::None)
    }
}

impl Posting {
    fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(devices) => devices.len(),
        }
    }

    fn bitmap(&self) -> RoaringBitmap {
        match self {
            Self::None => RoaringBitmap::new(),
            Self::One(number) => RoaringBitmap::from([*number]),
            Self::Many(devices) => (**devices).clone(),
        }
    }

    fn add_to(&self, sum: &mut RoaringBitmap) {
        match self {
            Self::None => {}
            Self::One(number) => {
                sum.insert(*number);
            }
            Self::Many(devices) => *sum |= &**devices,
        }
    }

    fn insert(&mut self, number: u32) {
        match self {
            Self::None => *self = Self::One(number),
            Self::One(first) => {
                *self = Self::Many(Arc::new(RoaringBitmap::from([*first, number])));
            }
            Self::Many(devices) => {
                Arc::make_mut(devices).insert(number);
            }
        }
    }

    fn remove(&mut self, number: u32) {
        match self {
            Self::One(only) if *only == number => *self = Self::None,
            Self::Many(devices) => {
                let devices = Arc::make_mut(devices);
                devices.remove(number);
                if devices.is_empty() {
                    *self = Self::None;
                }
            }
            Self::None | Self::One(_) => {}
        }
    }
}
