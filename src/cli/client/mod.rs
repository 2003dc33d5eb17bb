//! The client commands: each asks OCF devices (any vendor's, and plain CoAP servers) over CoAP.

mod access;
pub(super) mod discover;
pub(super) mod get;
pub(super) mod observe;
pub(super) mod own;
pub(super) mod post;
pub(super) mod provision;
pub(super) mod reset;
pub(super) mod update;

use std::time::Duration;

use anyhow::Context;

use access::Access;

use crate::client::keys::Keys;
use crate::client::transport::Client;

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
    #[command(flatten)]
    access: Access,
}

/// How a person names a resource.
const RESOURCE_HELP: &str = "\
The resource, in one of these ways:
  coap://HOST:PORT/PATH    in clear; HOST:PORT/PATH means the same
  coaps://HOST:PORT/PATH   over DTLS
  ocf://DEVICE/PATH        by the uuid that `freshen discover` prints, over DTLS where the device
                           wants it; DEVICE/PATH means the same
Keys come from the credentials directory, where `freshen own` and `freshen provision client` put
them, unless --psk or --cert gives others.";

/// How a person names a device.
const DEVICE_HELP: &str = "\
The device, in one of these ways:
  HOST:PORT            its address in clear, as `freshen discover` prints it; coap:// may be before it
  coaps://HOST:PORT    its address for DTLS
  DEVICE               its uuid, as `freshen discover` prints it; found in the neighbourhood, or where
                       it was last";

/// Does a job with a client, and lets the client take its leave.
fn with_client(
    keys: Keys,
    job: impl AsyncFnOnce(&mut Client) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    block_on(async {
        let mut client = Client::new(keys)?;
        let done = job(&mut client).await;
        client.finish().await;
        done
    })
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
