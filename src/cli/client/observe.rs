//! `freshen observe`: prints a resource at each change.

use std::io::{Write, stdout};
use std::time::Duration;

use chrono::SecondsFormat;
use serde_json::json;

use super::{Common, RESOURCE_HELP, get, with_client};
use crate::client::target::Target;
use crate::client::transport::{Answer, Client, accepted};
use crate::client::{request, text};
use crate::clock;
use crate::coap::{Call, Code, Peer, Request, Response, option};

/// Watch a resource of a device and print every change, until Ctrl-C
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    freshen observe coap://127.0.0.1:5683/softwareupdateResURI\n  \
    freshen observe --count 3 --json coap://127.0.0.1:5683/oic/sec/pstat\n  \
    freshen observe ocf://b566b283-ef1a-46ef-791d-9b9068a91386/softwareupdateResURI")]
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

/// Pauses between attempts to watch again, after a device has gone silent.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    with_client(args.common.access.keys()?, async |client| {
        let mut watch = Watch::begin(client, &args).await?;
        let ended = tokio::select! {
            ended = watch.go_on(client, &args) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        client.cancel(watch.call);
        ended
    })
}

/// An observation and what is needed to begin it anew.
struct Watch {
    call: Call,
    peer: Peer,
    request: Request,
    printed: u64,
}

impl Watch {
    async fn begin(client: &mut Client, args: &Args) -> anyhow::Result<Self> {
        let request = |way| {
            let mut request = request::dressed(args.uri.request(Code::GET), way);
            request.options.set_uint(option::OBSERVE, 0);
            request
        };
        let asked = client.ask_target(&args.uri, args.common.timeout, request).await?;
        let peer = asked.answer.peer;
        let mut watch = Self { call: asked.call, peer, request: request(asked.way), printed: 0 };
        watch.heard(asked.answer, args)?;
        Ok(watch)
    }

    /// Until the count is reached or the device ends it.
    async fn go_on(&mut self, client: &mut Client, args: &Args) -> anyhow::Result<()> {
        let mut pause = AGAIN_AFTER[0];
        while args.count.is_none_or(|count| self.printed < count) {
            let event = client.event().await;
            if event.call != self.call {
                continue;
            }
            match event.outcome {
                Ok(answer) => {
                    self.heard(answer, args)?;
                    pause = AGAIN_AFTER[0];
                }
                Err(failure) => {
                    tracing::warn!("{}: {failure}; watching again", self.peer.remote);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AFTER[1]);
                    self.again(client, args).await;
                }
            }
        }
        Ok(())
    }

    /// Watches again, over a new session if there was one: the device may have forgotten the old one.
    async fn again(&mut self, client: &mut Client, args: &Args) {
        if self.peer.session != 0 {
            client.close(self.peer);
            let device = args.uri.device();
            match client.secure(self.peer.remote, device, args.common.timeout).await {
                Ok(peer) => self.peer = peer,
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
        self.call = client.request(self.peer, self.request.clone());
    }

    fn heard(&mut self, answer: Answer, args: &Args) -> anyhow::Result<()> {
        let response = accepted(answer.response)?;
        print(&response, args.common.json)?;
        self.printed += 1;
        let enough = args.count.is_some_and(|count| self.printed >= count);
        anyhow::ensure!(
            answer.more || enough,
            "{} cannot be watched: the device gives it, but tells of no changes",
            args.uri
        );
        Ok(())
    }
}

fn print(response: &Response, as_json: bool) -> anyhow::Result<()> {
    let time = clock::now().wall.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut out = stdout().lock();
    if as_json {
        let code = text::number(response.code);
        writeln!(
            out,
            "{}",
            json!({ "time": time, "code": code, "payload": get::payload(response) })
        )?;
    } else {
        let text = get::shown(response, false);
        let text = text.map(|text| text::printable(&text));
        let text =
            text.unwrap_or_else(|| format!("{} bytes that are no text", response.payload.len()));
        writeln!(out, "{time}  {text}")?;
    }
    Ok(())
}
