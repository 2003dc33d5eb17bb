//! `freshen device`: runs a device.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::Mode;

use crate::config::{Overrides, Settings};
use crate::device;

/// Run a device: an OCF server that keeps its own software fresh
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "tool", derive(clap::Args))]
#[cfg_attr(
    feature = "tool",
    command(after_help = "Example: a device in clear on this machine, for trying things out:\n  \
    freshen device --state /tmp/camera --coap 127.0.0.1:5683 --insecure\n\n\
    When it can be used, it prints one JSON line with its addresses.")
)]
pub(super) struct Args {
    /// Configuration file; resources/device.toml explains every key
    #[cfg_attr(feature = "tool", arg(long, value_name = "FILE"))]
    pub(super) config: Option<PathBuf>,
    /// Directory for everything the device keeps: its state, packages and slots
    #[cfg_attr(feature = "tool", arg(long, value_name = "DIR"))]
    pub(super) state: Option<PathBuf>,
    /// Address to serve in clear, instead of the configured ones; port 0 takes any free one
    #[cfg_attr(feature = "tool", arg(long, value_name = "ADDR:PORT"))]
    pub(super) coap: Vec<SocketAddr>,
    /// Address to serve over DTLS, instead of the configured ones
    #[cfg_attr(feature = "tool", arg(long, value_name = "ADDR:PORT"))]
    pub(super) coaps: Vec<SocketAddr>,
    /// Serve everything in clear and without access control; loopback addresses only
    #[cfg_attr(feature = "tool", arg(long))]
    pub(super) insecure: bool,
}

/// Where a device keeps its state when nobody says.
const STATE_DEFAULT: &str = "freshen-state";

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let overrides = Overrides { coap: args.coap, coaps: args.coaps, insecure: args.insecure };
    let settings = Settings::load(args.config.as_deref(), &overrides)?;
    let state = args.state.unwrap_or_else(|| {
        tracing::warn!("no --state; everything is kept in ./{STATE_DEFAULT}");
        STATE_DEFAULT.into()
    });
    keep_private(&state);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(device::run(settings, &state, |ready| {
        let line = serde_json::to_string(ready).expect("a line of texts can be written");
        println!("{line}");
    }))?;
    // A worker that cannot be interrupted must not hold up the end.
    runtime.shutdown_background();
    Ok(())
}

/// What this process makes is for nobody else: keys, PINs, and software that was encrypted for this
/// device. The installer sets by itself what a package says of its files. Programs that the agent runs
/// inherit this.
fn keep_private(state: &Path) {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // What is no directory is told of where it is taken.
    let open = |state: std::fs::Metadata| state.is_dir() && state.permissions().mode() & 0o007 != 0;
    if std::fs::metadata(state).is_ok_and(open) {
        let state = state.display();
        tracing::warn!("every user of this machine can look into {state}; chmod 700 closes it");
    }
}
