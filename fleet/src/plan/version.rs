//! Which of two versions is newer: numbers by dots, then text.
//!
//! A version begins with numbers that are joined by dots; they are compared as numbers, one after the
//! other, and where one list ends before the other it is the older one. What follows the numbers is
//! compared as text. So `1.2` < `1.10` < `1.10-rc2` < `1.10.0` and `stable` is older than `1`: a version without
//! numbers is compared as text alone. Vendors disagree about what a suffix means; this order does
//! not pretend to know.

use std::cmp::Ordering;

/// Compares two versions as the filter language's `runs` does.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        match (number(&mut a), number(&mut b)) {
            (Some(x), Some(y)) => match by_value(x, y) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
            (Some(_), None) => return Ordering::Greater,
            (None, Some(_)) => return Ordering::Less,
            (None, None) => return a.cmp(b),
        }
    }
}

/// Takes a number off the front, and the dot before it if another number had been taken.
fn number<'a>(text: &mut &'a str) -> Option<&'a str> {
    let rest = text.strip_prefix('.').unwrap_or(text);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let (number, rest) = rest.split_at(digits);
    *text = rest;
    Some(number)
}

/// Numbers of any length: the one with more digits is larger, of equally long ones the text decides.
fn by_value(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_count_as_numbers_and_text_as_text() {
        let rising = [
            "",
            "-",
            "beta",
            "stable",
            "0.9",
            "1",
            "1-rc1",
            "1.2",
            "1.2a",
            "1.2b",
            "1.2.0",
            "1.10",
            "1.10-rc2",
            "1.10.0",
            "2",
            "10",
            "99999999999999999999999999",
            "100000000000000000000000000",
        ];
        for (n, a) in rising.iter().enumerate() {
            for (m, b) in rising.iter().enumerate() {
                assert_eq!(compare(a, b), n.cmp(&m), "{a:?} and {b:?}");
            }
        }
        assert_eq!(compare("01.002", "1.2"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn the_order_is_an_order(a in "[0-2.a]{0,6}", b in "[0-2.a]{0,6}", c in "[0-2.a]{0,6}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
