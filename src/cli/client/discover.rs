//! `freshen discover`: finds devices, and says what a person wants to know of each.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::access::Directory;
use super::{seconds, with_client};
use crate::client::{Client, Found, Search, Target};
use crate::net::COAP_PORT;

mod show;

/// Find devices: everyone in the neighbourhood by multicast, or some by their addresses
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    freshen discover\n  \
    freshen discover --wait 2 --json\n  \
    freshen discover --unowned\n  \
    freshen discover --address 127.0.0.1:5683 --address '[fe80::1%eth0]:40001'")]
pub(in crate::cli) struct Args {
    /// Ask this device instead of everyone; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    address: Vec<Target>,
    /// Ask by this network interface only
    #[arg(long, value_name = "NAME", conflicts_with = "address")]
    interface: Option<String>,
    /// List only devices that somebody owns
    #[arg(long, conflicts_with = "unowned")]
    owned: bool,
    /// List only devices that nobody owns yet: those that `freshen own` can take
    #[arg(long)]
    unowned: bool,
    /// How long to wait for answers; devices take up to 5 s before they answer a multicast
    #[arg(long, value_name = "SECONDS", default_value = "6", value_parser = seconds)]
    wait: Duration,
    /// Print one JSON object a line, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    directory: Directory,
}

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    with_client(args.directory.keys()?, async |client| {
        let mut search = begin(client, &args).await?;
        let spinner = spinner(&args);
        tokio::select! {
            () = search.listen(client, |found| spinner.set_message(format!("{found} found"))) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        spinner.finish_and_clear();
        let mut devices = search.devices();
        anyhow::ensure!(!devices.is_empty(), "{}", nobody(&search, &args));
        let found = devices.len();
        devices.retain(|device| args.wants(device));
        for device in &mut devices {
            let di = device.di.as_ref().and_then(|di| di.parse().ok());
            device.ours =
                di.and_then(|di| client.keys.keyring.device(di)).is_some_and(|it| it.owner);
        }
        show::print(&devices, args.json)?;
        anyhow::ensure!(!devices.is_empty(), "found {found}, but none of them is such a device");
        Ok(())
    })
}

async fn begin(client: &mut Client, args: &Args) -> anyhow::Result<Search> {
    if args.address.is_empty() {
        return Ok(Search::everyone(client, args.interface.as_deref(), args.wait)?);
    }
    let mut addresses = Vec::new();
    for target in &args.address {
        addresses.push(*target.resolve().await?.first().context("the host has no address")?);
    }
    Ok(Search::at(client, &addresses, args.wait)?)
}

fn nobody(search: &Search, args: &Args) -> String {
    if let Some(failure) = search.failure().filter(|_| !args.address.is_empty()) {
        return format!("found nobody: {failure}");
    }
    format!(
        "nobody answered within {} s; is the device in this network, and does a firewall let \
         UDP port {COAP_PORT} through? Try --address HOST:PORT",
        args.wait.as_secs_f32()
    )
}

impl Args {
    /// Whether the device is one of those to list. One that does not say whether it is owned is not.
    fn wants(&self, device: &Found) -> bool {
        match (self.owned, self.unowned) {
            (false, false) => true,
            (owned, _) => device.owned == Some(owned),
        }
    }
}

fn spinner(args: &Args) -> ProgressBar {
    if args.json || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.set_style(
        ProgressStyle::with_template("{spinner} looking for devices ({elapsed}): {msg}")
            .expect("the template is well formed"),
    );
    spinner.set_message("0 found");
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
