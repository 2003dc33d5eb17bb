//! Large tables in small pieces behind `Arc`s: a copy of the table shares all pieces, and who writes
//! copies the one piece that it touches. Persistent vectors from a library keep a tree of pointers
//! for each element; here an element costs what it is.

use std::sync::Arc;

/// Elements of one piece.
const PAGE: usize = 512;

fn place(number: u32) -> (usize, usize) {
    let number = number as usize;
    (number / PAGE, number % PAGE)
}

/// A table of elements by number.
#[derive(Clone, Default)]
pub(super) struct Paged<T>(Vec<Arc<Vec<T>>>);

impl<T: Clone> Paged<T> {
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let (page, slot) = place(number);
        self.0.get(page)?.get(slot)
    }

    /// Sets an element; those before it that are not there yet become `empty`.
    pub(super) fn set(&mut self, number: u32, value: T, empty: &T) {
        *self.slot(number, empty) = value;
    }

    /// An element to be changed.
    pub(super) fn slot(&mut self, number: u32, empty: &T) -> &mut T {
        let (page, slot) = place(number);
        if self.0.len() <= page {
            self.0.resize_with(page + 1, Arc::default);
        }
        let page = Arc::make_mut(&mut self.0[page]);
        if page.len() <= slot {
            page.resize(slot + 1, empty.clone());
        }
        &mut page[slot]
    }
}

/// A table of short runs of elements by number: texts, lists. The runs of one piece lie behind each
/// other in memory.
#[derive(Clone, Default)]
pub(super) struct Runs<T>(Vec<Arc<Page<T>>>);

#[derive(Clone, Default)]
struct Page<T> {
    items: Vec<T>,
    /// Where each run ends; it begins where the one before it does.
    ends: Vec<u32>,
}

impl<T: Copy> Runs<T> {
    /// A run; empty where none was set.
    pub(super) fn get(&self, number: u32) -> &[T] {
        let (page, slot) = place(number);
        self.0.get(page).map_or(&[], |page| page.get(slot))
    }

    pub(super) fn set(&mut self, number: u32, run: &[T]) {
        let (page, slot) = place(number);
        while self.0.len() <= page {
            self.0.push(Arc::new(Page { items: vec![], ends: vec![] }));
        }
        Arc::make_mut(&mut self.0[page]).set(slot, run);
    }
}

impl<T: Copy> Page<T> {
    fn get(&self, slot: usize) -> &[T] {
        let Some(end) = self.ends.get(slot) else { return &[] };
        &self.items[self.start(slot)..*end as usize]
    }

    fn start(&self, slot: usize) -> usize {
        slot.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    fn set(&mut self, slot: usize, run: &[T]) {
        if self.ends.len() <= slot {
            let end = u32::try_from(self.items.len()).expect("a page has no 4 Gi elements");
            self.ends.resize(slot + 1, end);
        }
        let (start, end) = (self.start(slot), self.ends[slot] as usize);
        let longer = run.len().wrapping_sub(end - start) as u32;
        if end == self.items.len() {
            self.items.truncate(start);
            self.items.extend_from_slice(run);
        } else {
            self.items.splice(start..end, run.iter().copied());
        }
        for end in &mut self.ends[slot..] {
            *end = end.wrapping_add(longer);
        }
        if slot == PAGE - 1 {
            self.items.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_are_what_was_set_last(
            writes in proptest::collection::vec((0_u32..1_200, proptest::collection::vec(any::<u8>(), 0..5)), 0..80)
        ) {
            let mut runs = Runs::default();
            let mut model: std::collections::BTreeMap<u32, Vec<u8>> = Default::default();
            for (number, run) in &writes {
                let before = runs.clone();
                runs.set(*number, run);
                for (n, expected) in &model {
                    prop_assert_eq!(before.get(*n), &expected[..], "a copy does not change");
                }
                model.insert(*number, run.clone());
            }
            for n in 0..1_300 {
                prop_assert_eq!(runs.get(n), model.get(&n).map_or(&[][..], Vec::as_slice));
            }
        }
    }

    #[test]
    fn a_copy_of_a_table_keeps_what_it_had() {
        let mut table = Paged::default();
        table.set(700, 'a', &'-');
        let copy = table.clone();
        table.set(700, 'b', &'-');
        assert_eq!((copy.get(700), table.get(700)), (Some(&'a'), Some(&'b')));
        assert_eq!((table.get(513), table.get(3), table.get(701)), (Some(&'-'), None, None));
    }
}
