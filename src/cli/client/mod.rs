//! The client commands: each asks OCF devices (any vendor's, and plain CoAP servers) over CoAP.

mod body;
pub(super) mod discover;
mod follow;
pub(super) mod get;
pub(super) mod observe;
mod ocf;
pub(super) mod post;
mod talk;
mod target;
pub(super) mod update;
mod words;

use std::time::Duration;

use anyhow::Context;

/// How long a person waits for an answer before wondering, seconds.
const PATIENCE_DEFAULT: &str = "20";

/// What all commands that ask one device have in common.
#[derive(clap::Args)]
struct Common {
    /// Print one JSON object a line, for scripts
    #[arg(long)]
    json: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = PATIENCE_DEFAULT, value_parser = seconds)]
    timeout: Duration,
}

/// Runs the future on this thread.
fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(future)
}

/// A time that a person gives in seconds, such as `20` or `0.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("not between 0.001 and 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}
