//! What the tests have in common. It knows programs, files and sockets, and nothing of freshen.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod certs;
pub mod line;
pub mod nginx;
pub mod ports;
pub mod process;

use std::io::Write;
use std::time::Duration;

/// How long anything may take before a test gives up on it: longer than anything honest takes on a
/// busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until something holds, and panics with `what` was waited for when it never does.
#[track_caller]
pub fn until(what: impl std::fmt::Display, holds: impl FnMut() -> bool) {
    assert!(within(PATIENCE, holds), "waited in vain: {what}");
}

/// Waits until something holds; whether it did before the limit. Only what must *not* come to pass
/// needs a limit of its own.
pub fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let looks = limit.as_millis() / LOOK_AGAIN.as_millis();
    for _ in 0..=looks {
        if holds() {
            return true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    false
}

/// Says that this test cannot run here, and why; return from the test behind it. Its line reaches the
/// log of a test that passes, where `tests/run` counts it as skipped.
pub fn skipped(why: impl std::fmt::Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not `eprintln`: what that says is thrown away where a test passes.
    let _ = std::io::stderr().write_all(format!("\nSKIPPED: {test}: {why}\n").as_bytes());
}
