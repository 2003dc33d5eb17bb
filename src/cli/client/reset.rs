//! `freshen reset`: gives a device up.

use std::time::Duration;

use serde_json::json;

use super::access::Directory;
use super::{DEVICE_HELP, PATIENCE_DEFAULT, seconds, with_client};
use crate::client::{self, Patience, Target};

/// Give up a device: it forgets its owner and everybody else, and can be owned anew
#[derive(clap::Args)]
#[command(after_help = "\
The device forgets all keys and rights; what software it runs stays. Only its owner can do that from
afar; whoever has the device in hand can reset it there, and then --forget removes what is left here.

Examples:
  freshen reset b566b283-ef1a-46ef-791d-9b9068a91386
  freshen reset 192.0.2.7:40001
  freshen reset b566b283-ef1a-46ef-791d-9b9068a91386 --forget")]
pub(in crate::cli) struct Args {
    /// The device: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
    /// Do not ask the device; only remove its key from the credentials directory
    #[arg(long)]
    forget: bool,
    /// Print one JSON object, for scripts
    #[arg(long)]
    json: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = PATIENCE_DEFAULT, value_parser = seconds)]
    timeout: Duration,
    #[command(flatten)]
    directory: Directory,
}

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    with_client(args.directory.keys()?, async |client| {
        let device = match (args.forget, args.device.device()) {
            (true, Some(device)) => device,
            (true, None) => {
                return Err(crate::cli::usage("--forget needs the uuid of the device"));
            }
            (false, _) => {
                let patience = Patience::new(args.timeout);
                let place = client::find(client, &args.device, patience).await?;
                client::reset(client, &place, patience).await?
            }
        };
        client.keys.keyring.forget(device)?;
        match (args.json, args.forget) {
            (true, forgotten) => {
                println!("{}", json!({"device": device.to_string(), "reset": !forgotten}));
            }
            (false, true) => println!("the key of {device} is gone"),
            (false, false) => {
                println!("{device} is reset; in a few seconds it can be owned again");
            }
        }
        Ok(())
    })
}
