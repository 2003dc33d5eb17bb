//! This room decides what the device should do next about its software.
//!
//! One pure function, [`step()`], takes the state that is on disk, one thing that happened, the rules
//! and the time, and gives the next state and the effects to carry out once that state is on disk.
//! [`resume()`] does the same for the start of a new life. Nothing here knows which doors there are,
//! where packages come from or how they are installed; no socket, file, task or clock.

mod cancel;
mod failure;
mod journal;
mod order;
mod ordered;
mod report;
mod resume;
mod rules;
mod schedule;
mod state;
mod step;
mod window;

pub use failure::{Failure, FailureKind};
pub use journal::{Entry, Fate, JobId};
pub use order::{Cancel, Command, Door, Draft, Expected, Order, Origin, Replaces, Stage, Unusable};
pub use report::Report;
pub use resume::resume;
pub use rules::{Rules, Verdict, judge};
pub use schedule::{NOW_TOLERANCE, WAKE_MAX, is_due, next_wake, waits_for_window};
pub use state::{
    Checking, Failed, Floor, Job, Offer, Outcome, Phase, Running, Standing, State, Stop, Update,
    WorkId,
};
pub use step::{Effect, Input, Refusal, Step, Task, step};
pub use window::Window;

#[cfg(test)]
mod tests;
