//! Matching a pattern against a million ids: what its shape allows, else a small automaton that is
//! built once and then costs about a nanosecond a byte, else the regular expression itself.

use regex_automata::Input;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

use crate::plan::filter::{Pattern, Shape};

/// An automaton that would be larger is not built.
const AUTOMATON_BYTES_MAX: usize = 256 * 1024;

/// A pattern, made ready for many texts.
pub(super) enum Matcher<'a> {
    Everything,
    Prefix(&'a [u8]),
    Exactly(&'a [u8]),
    Contains(Box<memchr::memmem::Finder<'a>>),
    Automaton(Box<dense::DFA<Vec<u32>>>, StateID),
    Regex(&'a Pattern),
}

impl<'a> Matcher<'a> {
    pub(super) fn new(pattern: &'a Pattern) -> Self {
        match pattern.shape() {
            Shape::Everything => Self::Everything,
            Shape::Prefix(text) => Self::Prefix(text.as_bytes()),
            Shape::Exactly(text) => Self::Exactly(text.as_bytes()),
            Shape::Contains(text) => Self::Contains(Box::new(memchr::memmem::Finder::new(text))),
            Shape::Other => automaton(pattern)
                .map_or(Self::Regex(pattern), |(a, s)| Self::Automaton(Box::new(a), s)),
        }
    }

    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Self::Everything => true,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Exactly(whole) => text == *whole,
            Self::Contains(part) => part.find(text).is_some(),
            Self::Automaton(automaton, start) => run(automaton, *start, text),
            Self::Regex(pattern) => {
                std::str::from_utf8(text).is_ok_and(|text| pattern.is_match(text))
            }
        }
    }
}

fn automaton(pattern: &Pattern) -> Option<(dense::DFA<Vec<u32>>, StateID)> {
    let config = dense::Config::new()
        .start_kind(StartKind::Unanchored)
        .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .determinize_size_limit(Some(2 * AUTOMATON_BYTES_MAX));
    // Refused for what an automaton cannot decide byte by byte too, such as Unicode's word boundaries.
    let automaton = dense::Builder::new().configure(config).build(pattern.as_str()).ok()?;
    let start = automaton.start_state(&start::Config::from_input_forward(&Input::new(""))).ok()?;
    Some((automaton, start))
}

/// Whether the automaton comes to a match somewhere in the text. It says so one byte late.
fn run(automaton: &dense::DFA<Vec<u32>>, start: StateID, text: &[u8]) -> bool {
    let mut state = start;
    for byte in text {
        state = automaton.next_state(state, *byte);
        if automaton.is_special_state(state) {
            if automaton.is_match_state(state) {
                return true;
            }
            if automaton.is_dead_state(state) {
                return false;
            }
        }
    }
    automaton.is_match_state(automaton.next_eoi_state(state))
}
