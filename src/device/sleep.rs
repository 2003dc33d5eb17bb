//! Sleeping until the nearest deadline.

use std::time::Duration;

use crate::clock::Instant;

/// Sleeps until the deadline, measured from `now`; for ever without one.
pub(super) async fn until(deadline: Option<Instant>, now: Instant) {
    match deadline {
        Some(deadline) if deadline <= now => {}
        // Timers count milliseconds; one more, so that the deadline has passed on waking.
        Some(deadline) => tokio::time::sleep(deadline - now + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}
