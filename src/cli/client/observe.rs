//! `freshen observe`: prints a resource at each change.

use std::io::{IsTerminal, Write, stderr, stdout};

use chrono::SecondsFormat;
use serde_json::json;

use super::{Common, RESOURCE_HELP, body, get, with_client};
use crate::client::request::{self, accepted};
use crate::client::{Change, Client, Observation, Target, text};
use crate::clock;
use crate::coap::Response;

/// Watch a resource of a device and print every change, until Ctrl-C
#[derive(clap::Args)]
#[command(
    after_help = "A device that starts anew forgets who watches it. So after 10 s without a \
    change it is asked once more, and what has changed meanwhile is printed.\n\n\
    Examples:\n  \
    freshen observe coap://127.0.0.1:5683/softwareupdateResURI\n  \
    freshen observe --count 3 --json coap://127.0.0.1:5683/oic/sec/pstat\n  \
    freshen observe ocf://b566b283-ef1a-46ef-791d-9b9068a91386/softwareupdateResURI"
)]
pub(in crate::cli) struct Args {
    /// The resource: coap://HOST:PORT/PATH, coaps://HOST:PORT/PATH or ocf://DEVICE/PATH
    #[arg(long_help = RESOURCE_HELP)]
    uri: Target,
    /// End after so many, the first representation included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    with_client(args.common.access.keys()?, async |client| {
        let patience = args.common.patience();
        let (mut observation, first) = Observation::begin(client, &args.uri, patience).await?;
        let printed = Printed { count: 0, is_silent: false };
        let ended = tokio::select! {
            ended = watch(client, &mut observation, first.response, first.more, printed, &args) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        observation.end(client);
        ended
    })
}

/// What was printed so far.
struct Printed {
    count: u64,
    /// Whether it was said that the device does not answer.
    is_silent: bool,
}

/// Until the count is reached or the device ends it.
async fn watch(
    client: &mut Client,
    observation: &mut Observation,
    first: Response,
    more: bool,
    mut printed: Printed,
    args: &Args,
) -> anyhow::Result<()> {
    let mut change = Change::Told { response: first, more };
    loop {
        match change {
            Change::Told { response, more } => {
                print(&accepted(response)?, args.common.json)?;
                printed.count += 1;
                printed.is_silent = false;
                if args.count.is_some_and(|count| printed.count >= count) {
                    return Ok(());
                }
                anyhow::ensure!(
                    more,
                    "{} cannot be watched: the device gives it, but tells of no changes",
                    args.uri
                );
            }
            Change::Silent(failure) if !printed.is_silent => {
                printed.is_silent = true;
                // Standard output is for what the device says.
                let words = format!("{}: {failure}; it is asked until it answers", args.uri);
                writeln!(stderr(), "{}  {words}", time())?;
            }
            Change::Silent(_) => {}
        }
        change = observation.next(client).await?;
    }
}

fn print(response: &Response, as_json: bool) -> anyhow::Result<()> {
    let time = time();
    let mut out = stdout().lock();
    if as_json {
        let code = text::number(response.code);
        let payload = get::payload(response);
        writeln!(out, "{}", json!({ "time": time, "code": code, "payload": payload }))?;
        return Ok(());
    }
    let text = match request::cbor(response) {
        // A person reads properties, a program that is no friend of JSON reads lines.
        Some(_) if out.is_terminal() => {
            writeln!(out, "{time}")?;
            return get::print(response, false);
        }
        Some(value) => body::line(&value),
        None if request::is_cbor(response) => no_text(response),
        None => match std::str::from_utf8(&response.payload) {
            Ok(text) => text::printable(text.trim_end()),
            Err(_) => no_text(response),
        },
    };
    writeln!(out, "{time}  {text}")?;
    Ok(())
}

fn no_text(response: &Response) -> String {
    format!("{} bytes that are no text", response.payload.len())
}

fn time() -> String {
    clock::now().wall.to_rfc3339_opts(SecondsFormat::Millis, true)
}
