//! The only writer: one change, applied to the index and told to those who watch.

use std::sync::Arc;

use super::term::Term;
use super::watch::{Crossing, FilterKey, Seen, Watch};
use super::{Index, NEVER_SEEN, Posting};
use crate::plan::filter::{Facts, Filter};
use crate::plan::time::Time;

/// What happened to a device, by its number.
#[derive(Clone, Debug)]
pub enum Change {
    /// There is such a device, and this is all that is true of it from now on.
    Put(u32, Facts),
    /// There is no such device any more.
    Remove(u32),
    /// It was seen.
    Seen(u32, Time),
    /// It is connected now.
    Connected(u32),
    /// It is no longer connected.
    Disconnected(u32),
}

/// The index of one tenant as it grows, and the filters that are watched. It has one owner.
#[derive(Default)]
pub struct Live {
    index: Arc<Index>,
    watch: Watch,
    /// Numbers of terms that are free again, and the first that was never used.
    free_terms: Vec<u32>,
    next_term: u32,
}

impl Live {
    /// The fleet as it is now, for as long as the reader likes.
    pub fn snapshot(&self) -> Arc<Index> {
        Arc::clone(&self.index)
    }

    /// The fleet as it is now.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// From now on [`Self::apply`] tells who comes under this filter, and who no longer does. A key
    /// that is watched already gets the new filter.
    pub fn watch(&mut self, key: FilterKey, filter: &Filter) {
        self.watch.insert(key, filter);
    }

    /// Nobody watches this filter any more.
    pub fn unwatch(&mut self, key: FilterKey) {
        self.watch.remove(key);
    }

    /// Applies a change and says which of the watched filters it moved the device into or out of. A
    /// change about a device that there is not changes nothing, unless it puts it there.
    ///
    /// Filters that depend on time ([`Filter::depends_on_time`]) are told of as of `now`; what only
    /// the passing of time changes is not told of.
    pub fn apply(&mut self, change: Change, now: Time) -> Vec<Crossing> {
        let number = match &change {
            Change::Put(number, _)
            | Change::Remove(number)
            | Change::Seen(number, _)
            | Change::Connected(number)
            | Change::Disconnected(number) => *number,
        };
        let known = self.index.all.contains(number);
        if !known && !matches!(change, Change::Put(..)) {
            return vec![];
        }
        let before = known.then(|| self.view(number));
        match change {
            Change::Put(_, facts) => self.put(number, &facts),
            Change::Remove(_) => self.remove(number),
            Change::Seen(_, at) => {
                Arc::make_mut(&mut self.index).seen.set(number, at.as_millis(), &NEVER_SEEN);
            }
            Change::Connected(_) => {
                Arc::make_mut(&mut Arc::make_mut(&mut self.index).online).insert(number);
            }
            Change::Disconnected(_) => {
                Arc::make_mut(&mut Arc::make_mut(&mut self.index).online).remove(number);
            }
        }
        let after = self.index.all.contains(number).then(|| self.view(number));
        let crossings = self.watch.crossings(number, before.as_ref(), after.as_ref(), now);
        self.drop_unused(before.into_iter().flat_map(|view| view.terms));
        crossings
    }

    /// What the watched filters can see of a device.
    fn view(&mut self, number: u32) -> Seen {
        let index = &*self.index;
        let terms = index.held.get(number).to_vec();
        for term in &terms {
            self.watch.learn(*term, || Term::decode(index.terms.text(*term)));
        }
        Seen {
            id: index.ids.text(number).to_owned(),
            terms,
            seen: index.seen(number),
            online: index.online.contains(number),
        }
    }

    #[cfg(test)]
    pub(super) fn next_term(&self) -> u32 {
        self.next_term
    }

    fn put(&mut self, number: u32, facts: &Facts) {
        let index = Arc::make_mut(&mut self.index);
        let known = index.all.contains(number);
        if !known || index.ids.bytes(number) != facts.id.as_str().as_bytes() {
            if known {
                index.ids.remove(number);
            }
            index.ids.insert(number, facts.id.as_str());
            Arc::make_mut(&mut index.all).insert(number);
        }
        let mut terms: Vec<u32> = Term::of(facts)
            .map(|term| {
                let text = term.encode();
                index.terms.find(&text).unwrap_or_else(|| {
                    let free = self.free_terms.pop().unwrap_or_else(|| {
                        self.next_term += 1;
                        self.next_term - 1
                    });
                    index.terms.insert(free, &text);
                    free
                })
            })
            .collect();
        terms.sort_unstable();
        let before = index.held.get(number).to_vec();
        for gone in before.iter().filter(|term| terms.binary_search(term).is_err()) {
            index.postings.slot(*gone, &Posting::None).remove(number);
        }
        for new in terms.iter().filter(|term| before.binary_search(term).is_err()) {
            index.postings.slot(*new, &Posting::None).insert(number);
        }
        if before != terms {
            index.held.set(number, &terms);
        }
        let seen = facts.seen.map_or(NEVER_SEEN, Time::as_millis);
        index.seen.set(number, seen, &NEVER_SEEN);
        if facts.online != index.online.contains(number) {
            let online = Arc::make_mut(&mut index.online);
            if facts.online {
                online.insert(number)
            } else {
                online.remove(number)
            };
        }
    }

    fn remove(&mut self, number: u32) {
        let index = Arc::make_mut(&mut self.index);
        for term in index.held.get(number).to_vec() {
            index.postings.slot(term, &Posting::None).remove(number);
        }
        index.held.set(number, &[]);
        index.ids.remove(number);
        index.seen.set(number, NEVER_SEEN, &NEVER_SEEN);
        Arc::make_mut(&mut index.all).remove(number);
        Arc::make_mut(&mut index.online).remove(number);
    }

    /// Forgets terms that are true of no device any more: an attribute that changes with each report
    /// does not fill the memory.
    fn drop_unused(&mut self, terms: impl Iterator<Item = u32>) {
        for term in terms {
            if matches!(self.index.posting(term), Posting::None) {
                Arc::make_mut(&mut self.index).terms.remove(term);
                self.watch.forget(term);
                self.free_terms.push(term);
            }
        }
    }
}
