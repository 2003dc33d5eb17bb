//! The client commands: each asks OCF devices (any vendor's, and plain CoAP servers) over CoAP.
//!
//! What they do is in [`crate::client`]; here are their arguments, tables and advice.

mod access;
mod body;
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

use super::in_words;
use crate::client::{Client, Error, Failure, Keys, Patience, Refusal};
use crate::coap::Code;
use crate::dtls;

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

impl Common {
    fn patience(&self) -> Patience {
        Patience::new(self.timeout)
    }
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
        done.map_err(advised)
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

/// The same error, and which command or option helps.
fn advised(error: anyhow::Error) -> anyhow::Error {
    let causes = || error.chain();
    let of_client = causes().find_map(|cause| cause.downcast_ref::<Error>());
    let refused = causes().find_map(|cause| cause.downcast_ref::<Refusal>());
    let refused = refused.or_else(|| of_client?.refusal());
    let advice = match (refused, of_client) {
        (Some(refusal), _) if refusal.code == Code::UNAUTHORIZED => Some(NOT_ALLOWED),
        (Some(_), _) | (None, None) => None,
        (None, Some(error)) => advice(error),
    };
    match advice {
        Some(advice) => anyhow::anyhow!("{}; {advice}", in_words(&error)),
        None => error,
    }
}

/// What to do about 4.01: a device says no more.
const NOT_ALLOWED: &str = "only those may whom the device's owner named (`freshen provision access`), \
                           and mostly over coaps";

fn advice(error: &Error) -> Option<&'static str> {
    match error.innermost() {
        Error::NotFound(_) => Some(
            "`freshen discover` shows who is there; HOST:PORT instead of the uuid reaches further",
        ),
        Error::NoKey { .. } => Some(
            "own the device first (`freshen own`), have its owner make you its client (`freshen \
             provision client`), or say --psk or --cert",
        ),
        Error::NoOwnerKey { .. } => {
            Some("own it first (`freshen own`), or say --credentials DIR of its owner")
        }
        Error::AlreadyOwned { .. } => Some("its owner gives it up with `freshen reset`"),
        Error::Method { .. } => Some("see `freshen own --help`"),
        Error::Unproved { failure: Failure::Handshake(_), method, .. } => match method {
            crate::client::own::Method::RandomPin => Some("`freshen own --pin NUMBER`"),
            crate::client::own::Method::ManufacturerCertificate => {
                Some("is --mfg-roots that of its manufacturer, and are both clocks right?")
            }
            crate::client::own::Method::JustWorks => None,
        },
        Error::Exchange { failure: Failure::Handshake(reason), .. } => about_handshake(reason),
        _ => None,
    }
}

/// What to do about a handshake that failed.
fn about_handshake(error: &dtls::Error) -> Option<&'static str> {
    match error {
        dtls::Error::TimedOut => Some(
            "is the address right, and is it the one for coaps? (`freshen discover` tells); some \
             servers are also silent when our key is wrong",
        ),
        // What they say of a wrong key: OpenSSL nothing, GnuTLS 0, Mbed TLS and others 20, 51 or 115.
        dtls::Error::NoKey | dtls::Error::KeyMismatch | dtls::Error::Alert(0 | 20 | 51 | 115) => {
            Some(
                "the device does not know our key: it may have been reset, or have another owner; \
             check --credentials or --psk",
            )
        }
        dtls::Error::Alert(40) => Some(
            "the device takes neither this kind of key nor of certificate, or is not owned yet",
        ),
        dtls::Error::Alert(42..=49) | dtls::Error::Certificate(_) => Some(
            "check who signed the certificates (--cert, --roots), and the clocks of both sides",
        ),
        _ => None,
    }
}

/// A time that a person gives in seconds, such as `20` or `0.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.001..=86_400.0).contains(&seconds) {
        return Err("not between 0.001 and 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}
