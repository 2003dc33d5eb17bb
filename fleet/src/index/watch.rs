//! A changed device against all filters that somebody watches, in microseconds: leaves that several
//! filters share are asked once, what a term says to the leaves is remembered, and a filter is only
//! evaluated when one of its leaves changed its mind.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::eval::cost;
use super::term::{self, Term};
use crate::plan::filter::Filter;
use crate::plan::time::Time;

/// What the owner of a watched filter calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterKey(pub u64);

/// A device came under a watched filter, or no longer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Which filter.
    pub filter: FilterKey,
    /// Which device.
    pub device: u32,
    /// In which direction.
    pub way: Way,
}

/// In which direction a device crossed the border of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is meant now.
    In,
    /// It is no longer meant.
    Out,
}

/// A device as filters see it.
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) terms: Vec<u32>,
    pub(super) seen: Option<Time>,
    pub(super) online: bool,
}

/// The watched filters.
#[derive(Default)]
pub(super) struct Watch {
    filters: BTreeMap<FilterKey, Node>,
    leaves: Vec<Leaf>,
    numbers: HashMap<Filter, usize>,
    /// Which leaves a term makes true; of the terms that some device had since they were learnt.
    of_term: HashMap<u32, Vec<u32>>,
}

struct Leaf {
    filter: Arc<Filter>,
    users: Vec<FilterKey>,
}

/// A filter whose leaves are numbers.
enum Node {
    Leaf(usize),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
}

impl Watch {
    pub(super) fn insert(&mut self, key: FilterKey, filter: &Filter) {
        self.remove(key);
        let node = self.node(key, filter);
        self.filters.insert(key, node);
    }

    pub(super) fn remove(&mut self, key: FilterKey) {
        if self.filters.remove(&key).is_none() {
            return;
        }
        for leaf in &mut self.leaves {
            leaf.users.retain(|user| *user != key);
        }
        // Leaves keep their numbers; when most of them are nobody's, everything is numbered anew.
        let used = self.leaves.iter().filter(|leaf| !leaf.users.is_empty()).count();
        if used * 2 < self.leaves.len() {
            let old = std::mem::take(self);
            for (key, node) in &old.filters {
                self.insert(*key, &old.filter(node));
            }
        }
    }

    fn filter(&self, node: &Node) -> Filter {
        let all = |nodes: &[Node]| nodes.iter().map(|node| self.filter(node)).collect();
        match node {
            Node::Leaf(leaf) => (*self.leaves[*leaf].filter).clone(),
            Node::Not(inner) => Filter::Not(Box::new(self.filter(inner))),
            Node::And(parts) => Filter::And(all(parts)),
            Node::Or(parts) => Filter::Or(all(parts)),
        }
    }

    fn node(&mut self, key: FilterKey, filter: &Filter) -> Node {
        let mut nodes = |parts: &[Filter]| {
            let mut parts: Vec<&Filter> = parts.iter().collect();
            parts.sort_by_key(|part| cost(part));
            parts.into_iter().map(|part| self.node(key, part)).collect()
        };
        match filter {
            Filter::Not(inner) => Node::Not(Box::new(self.node(key, inner))),
            Filter::And(parts) => Node::And(nodes(parts)),
            Filter::Or(parts) => Node::Or(nodes(parts)),
            leaf => Node::Leaf(self.leaf(key, leaf)),
        }
    }

    fn leaf(&mut self, key: FilterKey, filter: &Filter) -> usize {
        let number = self.numbers.get(filter).copied().unwrap_or_else(|| {
            let number = self.leaves.len();
            self.leaves.push(Leaf { filter: Arc::new(filter.clone()), users: vec![] });
            self.numbers.insert(filter.clone(), number);
            if term::candidates(filter).is_some() {
                // What is known about terms is known about other leaves.
                self.of_term.clear();
            }
            number
        });
        let users = &mut self.leaves[number].users;
        if !users.contains(&key) {
            users.push(key);
        }
        number
    }

    /// Learns which leaves a term makes true, unless it is known.
    pub(super) fn learn<'a>(&mut self, term: u32, text: impl FnOnce() -> Option<Term<'a>>) {
        if self.leaves.is_empty() || self.of_term.contains_key(&term) {
            return;
        }
        let Some(meaning) = text() else { return };
        let leaves = (0_u32..).zip(&self.leaves);
        let satisfied =
            leaves.filter(|(_, leaf)| meaning.satisfies(&leaf.filter)).map(|(n, _)| n).collect();
        self.of_term.insert(term, satisfied);
    }

    /// The number of a term is free, and will mean something else.
    pub(super) fn forget(&mut self, term: u32) {
        self.of_term.remove(&term);
    }

    pub(super) fn crossings(
        &self,
        device: u32,
        before: Option<&Seen>,
        after: Option<&Seen>,
        now: Time,
    ) -> Vec<Crossing> {
        if self.filters.is_empty() {
            return vec![];
        }
        let (before, after) = (self.asked(before, now), self.asked(after, now));
        let crossing = |key: &FilterKey, node: &Node| {
            let meant =
                |asked: &Option<Asked<'_>>| asked.as_ref().is_some_and(|asked| asked.holds(node));
            let way = match (meant(&before), meant(&after)) {
                (false, true) => Way::In,
                (true, false) => Way::Out,
                _ => return None,
            };
            Some(Crossing { filter: *key, device, way })
        };
        let (Some(old), Some(new)) = (&before, &after) else {
            return self.filters.iter().filter_map(|(key, node)| crossing(key, node)).collect();
        };
        let mut touched: Vec<FilterKey> = (0..self.leaves.len())
            .filter(|leaf| old.changed(new, *leaf))
            .flat_map(|leaf| self.leaves[leaf].users.iter().copied())
            .collect();
        touched.sort_unstable();
        touched.dedup();
        touched.iter().filter_map(|key| crossing(key, self.filters.get(key)?)).collect()
    }

    fn asked<'a>(&'a self, device: Option<&'a Seen>, now: Time) -> Option<Asked<'a>> {
        let device = device?;
        let mut by_terms = vec![0_u64; self.leaves.len().div_ceil(64)];
        for leaf in device.terms.iter().filter_map(|term| self.of_term.get(term)).flatten() {
            by_terms[*leaf as usize / 64] |= 1 << (leaf % 64);
        }
        Some(Asked { watch: self, device, by_terms, now })
    }
}

/// A device about which the leaves are asked.
struct Asked<'a> {
    watch: &'a Watch,
    device: &'a Seen,
    /// The leaves that its terms make true, as bits.
    by_terms: Vec<u64>,
    now: Time,
}

impl Asked<'_> {
    fn holds(&self, node: &Node) -> bool {
        match node {
            Node::Leaf(leaf) => self.leaf(*leaf),
            Node::Not(inner) => !self.holds(inner),
            Node::And(parts) => parts.iter().all(|part| self.holds(part)),
            Node::Or(parts) => parts.iter().any(|part| self.holds(part)),
        }
    }

    fn leaf(&self, leaf: usize) -> bool {
        match &*self.watch.leaves[leaf].filter {
            Filter::True => true,
            Filter::False => false,
            Filter::Online => self.device.online,
            Filter::VinMatches(pattern) => pattern.is_match(&self.device.id),
            Filter::Seen(comparison, age) => self
                .device
                .seen
                .is_some_and(|at| comparison.holds(self.now.since(at).cmp(&age.duration()))),
            _ => self.bit(leaf),
        }
    }

    fn bit(&self, leaf: usize) -> bool {
        self.by_terms[leaf / 64] >> (leaf % 64) & 1 == 1
    }

    /// Whether a leaf may say something else about the device as it is now.
    fn changed(&self, new: &Self, leaf: usize) -> bool {
        match &*self.watch.leaves[leaf].filter {
            Filter::True | Filter::False => false,
            Filter::Online => self.device.online != new.device.online,
            Filter::VinMatches(_) => self.device.id != new.device.id,
            Filter::Seen(..) => self.device.seen != new.device.seen,
            _ => self.bit(leaf) != new.bit(leaf),
        }
    }
}
