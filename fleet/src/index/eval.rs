//! Which devices a filter means: leaf by leaf to bitmaps, the cheap leaves first, so that what has to
//! look at each id looks at as few as possible. [`Filter::matches`] is the definition and the oracle.

use roaring::RoaringBitmap;

use super::matcher::Matcher;
use super::term::{self, Extent, Term};
use super::{Index, NEVER_SEEN};
use crate::plan::filter::{Filter, Pattern, Shape};
use crate::plan::time::Time;

impl Index {
    /// The devices that the filter means, at this time.
    pub fn select(&self, filter: &Filter, now: Time) -> RoaringBitmap {
        self.select_within(&self.all, filter, now)
    }

    /// Those among `within` that the filter means. What of `within` is no device is left out.
    pub fn select_within(
        &self,
        within: &RoaringBitmap,
        filter: &Filter,
        now: Time,
    ) -> RoaringBitmap {
        Evaluation { index: self, now }.among(within, filter)
    }

    /// The devices whose id matches.
    pub fn matching(&self, pattern: &Pattern) -> RoaringBitmap {
        Evaluation { index: self, now: Time::default() }.ids(&self.all, pattern)
    }
}

/// What finding the devices of a filter costs, roughly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    /// Bitmaps that are there.
    Bitmaps,
    /// A number for each device.
    Numbers,
    /// A text for each device.
    Texts,
}

pub(super) fn cost(filter: &Filter) -> Cost {
    match filter {
        Filter::Seen(..) => Cost::Numbers,
        Filter::VinMatches(_) => Cost::Texts,
        Filter::Not(inner) => cost(inner),
        Filter::And(parts) | Filter::Or(parts) => {
            parts.iter().map(cost).max().unwrap_or(Cost::Bitmaps)
        }
        _ => Cost::Bitmaps,
    }
}

struct Evaluation<'a> {
    index: &'a Index,
    now: Time,
}

impl Evaluation<'_> {
    fn among(&self, within: &RoaringBitmap, filter: &Filter) -> RoaringBitmap {
        match filter {
            Filter::True => within & &*self.index.all,
            Filter::False => RoaringBitmap::new(),
            Filter::Online => within & &*self.index.online,
            Filter::Not(inner) => (within & &*self.index.all) - self.among(within, inner),
            Filter::And(parts) => {
                let mut found: Option<RoaringBitmap> = None;
                for part in cheap_first(parts) {
                    found = Some(self.among(found.as_ref().unwrap_or(within), part));
                }
                found.unwrap_or_else(|| within & &*self.index.all)
            }
            Filter::Or(parts) => {
                let mut found = RoaringBitmap::new();
                for part in cheap_first(parts) {
                    if found.is_empty() || cost(part) == Cost::Bitmaps {
                        found |= self.among(within, part);
                    } else {
                        found |= self.among(&(within - &found), part);
                    }
                }
                found
            }
            Filter::VinMatches(pattern) => self.ids(within, pattern),
            Filter::Seen(comparison, age) => {
                let age = age.duration();
                self.scan(within, |number| {
                    self.index.seen.get(number).is_some_and(|at| {
                        let ago = self.now.since(Time::from_millis(*at));
                        *at != NEVER_SEEN && comparison.holds(ago.cmp(&age))
                    })
                })
            }
            leaf => self.terms(leaf) & within,
        }
    }

    /// The devices of which a term is true that satisfies the leaf.
    fn terms(&self, leaf: &Filter) -> RoaringBitmap {
        let mut sum = RoaringBitmap::new();
        let Some((text, extent)) = term::candidates(leaf) else { return sum };
        let index = self.index;
        match extent {
            Extent::One => {
                if let Some(term) = index.terms.find(&text) {
                    index.posting(term).add_to(&mut sum);
                }
            }
            Extent::Range => {
                for term in index.terms.starting_with(&text) {
                    let satisfies = Term::decode(index.terms.text(term))
                        .is_some_and(|term| term.satisfies(leaf));
                    if satisfies {
                        index.posting(term).add_to(&mut sum);
                    }
                }
            }
        }
        sum
    }

    /// Those among `within` whose id matches.
    fn ids(&self, within: &RoaringBitmap, pattern: &Pattern) -> RoaringBitmap {
        /// Where a range of the order costs more than to look at everything.
        const RANGE_TO_SCAN: u64 = 8;
        let ids = &self.index.ids;
        match pattern.shape() {
            Shape::Everything => return within & &*self.index.all,
            Shape::Exactly(id) => {
                return within & ids.find(id).into_iter().collect::<RoaringBitmap>();
            }
            Shape::Prefix(id)
                if ids.roughly_starting_with(id) as u64 * RANGE_TO_SCAN < within.len() =>
            {
                return within & ids.starting_with(id).collect::<RoaringBitmap>();
            }
            _ => {}
        }
        let matcher = Matcher::new(pattern);
        self.scan(within, |number| matcher.is_match(ids.bytes(number)))
    }

    /// Those among `within` for which the test holds, asked of each.
    fn scan(&self, within: &RoaringBitmap, test: impl Fn(u32) -> bool) -> RoaringBitmap {
        let mut found = Found::default();
        for number in (within & &*self.index.all).iter().filter(|number| test(*number)) {
            found.push(number);
        }
        found.into_bitmap()
    }
}

/// Numbers that come in order, on their way into a bitmap: bits of a plain array first, which costs
/// less for each of a million.
#[derive(Default)]
struct Found {
    bits: Vec<u8>,
}

impl Found {
    fn push(&mut self, number: u32) {
        let byte = number as usize / 8;
        if self.bits.len() <= byte {
            self.bits.resize(byte + 1, 0);
        }
        self.bits[byte] |= 1 << (number % 8);
    }

    fn into_bitmap(self) -> RoaringBitmap {
        RoaringBitmap::from_lsb0_bytes(0, &self.bits)
    }
}

fn cheap_first(parts: &[Filter]) -> Vec<&Filter> {
    let mut parts: Vec<&Filter> = parts.iter().collect();
    parts.sort_by_key(|part| cost(part));
    parts
}
