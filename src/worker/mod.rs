//! This room is what slow work and the loop that started it share: how far it is, and whether to
//! stop.
//!
//! A download or an installation runs in a thread of its own and blocks there. The loop keeps a clone
//! of [`Progress`] to show and of [`Cancel`] to stop it; neither ever blocks the loop.

mod flushing;
mod hashing;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use flushing::Flushing;
pub use hashing::Hashing;

/// Asks a worker to stop. Clones share one answer, and it never goes back.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every worker that holds a clone to stop at the next good moment.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a worker is. Clones share one count.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    expected: AtomicU64,
    attempt: AtomicU32,
    trouble: Mutex<Option<String>>,
    waits_for: Mutex<Option<String>>,
}

impl Progress {
    /// Nothing done of `expected` bytes.
    pub fn new(expected: u64) -> Self {
        let progress = Self::default();
        progress.0.expected.store(expected, Ordering::Relaxed);
        progress
    }

    /// Bytes done, counting those that an earlier life left on the disk.
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Bytes expected in all, as whoever started the work said.
    pub fn expected(&self) -> u64 {
        self.0.expected.load(Ordering::Relaxed)
    }

    /// Which attempt is running, from 1; 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.0.attempt.load(Ordering::Relaxed)
    }

    /// What went wrong last, in words; `None` while all is well.
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the worker waits although it could go on, in words; `None` while it does not.
    pub fn waits_for(&self) -> Option<String> {
        self.0.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The worker waits for somebody's leave, or no longer.
    pub fn set_waits_for(&self, words: Option<String>) {
        *self.0.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// `bytes` more are done.
    pub fn add(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `bytes` have to be done again.
    pub fn take_back(&self, bytes: u64) {
        let less = |done: u64| Some(done.saturating_sub(bytes));
        let _ = self.0.done.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// What was expected is not to be had; this many bytes come in its place.
    pub fn expect_again(&self, bytes: u64) {
        self.0.expected.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The next attempt begins.
    pub fn next_attempt(&self) {
        self.0.attempt.fetch_add(1, Ordering::Relaxed);
    }

    /// Something went wrong that the worker tries to get over.
    pub fn set_trouble(&self, words: Option<String>) {
        *self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_count_and_taking_back_stops_at_zero() {
        let ours = Progress::new(10);
        let theirs = ours.clone();
        theirs.add(4);
        assert_eq!((ours.done(), ours.expected()), (4, 10));
        theirs.take_back(9);
        assert_eq!(ours.done(), 0);
    }

    #[test]
    fn a_clone_of_cancel_asks_everyone() {
        let ours = Cancel::new();
        assert!(!ours.is_cancelled());
        ours.clone().cancel();
        assert!(ours.is_cancelled());
    }
}
