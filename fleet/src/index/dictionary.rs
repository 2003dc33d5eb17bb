//! Texts by number, and numbers in the order of their texts: to find one, a range that begins alike,
//! or all of them for a list.

use std::ops::Range;
use std::sync::Arc;

use super::paged::Runs;

/// Numbers of one piece of the order; a piece that grows beyond is cut in two.
const PIECE: usize = 512;

/// Texts, none twice, each with a number of its own.
#[derive(Clone, Default)]
pub(super) struct Dictionary {
    texts: Runs<u8>,
    /// All numbers in the order of their texts. No piece is empty.
    order: Vec<Arc<Vec<u32>>>,
}

impl Dictionary {
    /// The bytes of a text; none where there is no text.
    pub(super) fn bytes(&self, number: u32) -> &[u8] {
        self.texts.get(number)
    }

    pub(super) fn text(&self, number: u32) -> &str {
        std::str::from_utf8(self.bytes(number)).expect("only texts are put in")
    }

    /// The number of a text.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let (piece, slot) = self.place(text.as_bytes());
        let number = *self.order.get(piece)?.get(slot)?;
        (self.bytes(number) == text.as_bytes()).then_some(number)
    }

    /// Puts in a text that is not there, under a number that is free.
    pub(super) fn insert(&mut self, number: u32, text: &str) {
        let (piece, slot) = self.place(text.as_bytes());
        self.texts.set(number, text.as_bytes());
        // A piece is only found full by the one that comes after everything, or belongs into it.
        if self.order.is_empty() || (slot == PIECE && piece + 1 == self.order.len()) {
            return self.order.push(Arc::new(vec![number]));
        }
        let found = Arc::make_mut(&mut self.order[piece]);
        found.insert(slot, number);
        if found.len() > PIECE {
            let upper = found.split_off(PIECE / 2);
            self.order.insert(piece + 1, Arc::new(upper));
        }
    }

    /// Takes a text out.
    pub(super) fn remove(&mut self, number: u32) {
        let (piece, slot) = self.place(self.bytes(number));
        self.texts.set(number, &[]);
        let found = Arc::make_mut(&mut self.order[piece]);
        found.remove(slot);
        if found.is_empty() {
            self.order.remove(piece);
        }
    }

    /// The numbers of all texts after this one, in their order.
    pub(super) fn after(&self, text: Option<&str>) -> impl Iterator<Item = u32> {
        let start = text.map_or((0, 0), |text| {
            let (piece, slot) = self.place(text.as_bytes());
            let found = self.order.get(piece).and_then(|piece| piece.get(slot));
            let there = found.is_some_and(|number| self.bytes(*number) == text.as_bytes());
            (piece, slot + usize::from(there))
        });
        self.from(start)
    }

    /// The numbers of the texts that begin so.
    pub(super) fn starting_with(&self, prefix: &str) -> impl Iterator<Item = u32> {
        self.from(self.place(prefix.as_bytes()))
            .take_while(move |number| self.bytes(*number).starts_with(prefix.as_bytes()))
    }

    /// How many texts begin so, at most as wrong as two pieces are long.
    pub(super) fn roughly_starting_with(&self, prefix: &str) -> usize {
        let (first, _) = self.place(prefix.as_bytes());
        let begins = |piece: &Arc<Vec<u32>>| self.bytes(piece[0]).starts_with(prefix.as_bytes());
        let after = &self.order[(first + 1).min(self.order.len())..];
        (1 + after.partition_point(begins)) * PIECE
    }

    fn from(&self, (piece, slot): (usize, usize)) -> impl Iterator<Item = u32> {
        let pieces = self.order.get(piece..).unwrap_or(&[]);
        pieces.iter().flat_map(|piece| piece.iter().copied()).skip(slot)
    }

    /// Where in the order a text is, or would be: behind the last one of a piece rather than before
    /// the first one of the next, unless it is exactly that.
    fn place(&self, text: &[u8]) -> (usize, usize) {
        let piece = self.order.partition_point(|piece| self.bytes(piece[0]) <= text);
        let piece = piece.saturating_sub(1);
        let slot = self.order.get(piece).map_or(0, |numbers| {
            let Range { start: mut low, end: mut high } = 0..numbers.len();
            while low < high {
                let middle = low.midpoint(high);
                if self.bytes(numbers[middle]) < text { low = middle + 1 } else { high = middle }
            }
            low
        });
        (piece, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn texts_are_found_whatever_the_order_in_which_they_come_and_go() {
        for step in [1_u32, 7_919, 9_999] {
            let mut dictionary = Dictionary::default();
            let texts: Vec<String> =
                (0..10_000_u32).map(|n| format!("{:05}", (n * step) % 10_000)).collect();
            for (n, text) in texts.iter().enumerate() {
                dictionary.insert(n as u32, text);
            }
            for (n, text) in texts.iter().enumerate() {
                assert_eq!(dictionary.find(text), Some(n as u32));
            }
            assert!(dictionary.after(None).map(|n| dictionary.text(n)).is_sorted());
            assert_eq!(dictionary.starting_with("042").count(), 100);
            assert_eq!(dictionary.after(Some("09989")).count(), 10);
            assert_eq!(dictionary.after(Some("0998")).count(), 20);
            for n in (0..10_000).filter(|n| n % 3 > 0) {
                dictionary.remove(n);
            }
            assert_eq!(dictionary.after(None).count(), 3_334);
            assert_eq!(dictionary.find(&texts[1]), None);
            assert_eq!(dictionary.find(&texts[3]), Some(3));
        }
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(commands in proptest::collection::vec(("[ab]{0,4}", any::<bool>()), 0..200)) {
            let mut dictionary = Dictionary::default();
            let mut model = BTreeMap::new();
            for (n, (text, put)) in commands.iter().enumerate() {
                match (model.get(text), put) {
                    (None, true) => { dictionary.insert(n as u32, text); model.insert(text.clone(), n as u32); }
                    (Some(number), false) => { dictionary.remove(*number); model.remove(text); }
                    _ => {}
                }
                prop_assert!(dictionary.after(None).eq(model.values().copied()));
                prop_assert_eq!(dictionary.find(text), model.get(text).copied());
                let after = model.range::<String, _>((std::ops::Bound::Excluded(text.clone()), std::ops::Bound::Unbounded));
                prop_assert!(dictionary.after(Some(text)).eq(after.map(|(_, n)| *n)));
                let alike = model.iter().filter(|(known, _)| known.starts_with(text)).map(|(_, n)| *n);
                prop_assert!(dictionary.starting_with(text).eq(alike));
            }
        }
    }
}
