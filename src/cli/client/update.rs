//! `freshen update`: orders an update, and stays with it to its end.

mod display;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Common, DEVICE_HELP, with_client};
use crate::client::{
    Action, Client, DeviceClock, Error, News, Order, Patience, Standing, Target, Update,
};
use crate::clock;
use display::Display;

/// Order an update of a device's software, and follow it to the end
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    freshen update 127.0.0.1:5683 --purl https://updates.example.com/camera.suit\n  \
    freshen update 127.0.0.1:5683 --purl https://updates.example.com/camera.suit --action isac\n  \
    freshen update 127.0.0.1:5683 --purl https://updates.example.com/camera.suit --at 2030-01-09T02:00:00Z\n  \
    freshen update b566b283-ef1a-46ef-791d-9b9068a91386 --purl https://updates.example.com/camera.suit\n  \
    freshen update b566b283-ef1a-46ef-791d-9b9068a91386 --cancel\n\n\
    An order whose time is more than ten minutes away is not waited for, unless --wait says so.\n\n\
    Exit code 0: the device did what was ordered, or has the order, where it was not waited for. \
    1: it did not, and the last line says why.")]
pub(in crate::cli) struct Args {
    /// The device: HOST:PORT or its uuid, or the URI of its software update resource
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
    /// Where the device finds the package; without it, where its vendor says
    #[arg(long, value_name = "URL", default_value = "")]
    purl: String,
    /// How far to go
    #[arg(long, value_enum, default_value = "upgrade")]
    action: ActionWord,
    /// When: a time such as 2030-01-09T14:30:00Z; without it, at once
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<DateTime<Utc>>,
    /// Call off what is under way or waiting, instead of ordering
    #[arg(long, conflicts_with_all = ["purl", "action", "at", "no_wait", "wait"])]
    cancel: bool,
    /// Only give the order; do not wait for the outcome
    #[arg(long)]
    no_wait: bool,
    /// Wait for the outcome, however far away the time of the order is
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// How long the device may stay silent, as when it starts anew
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = super::seconds)]
    patience: Duration,
    #[command(flatten)]
    common: Common,
}

/// [`Action`], as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ActionWord {
    /// Only ask whether there is new software
    Isac,
    /// Download and verify it
    Isvv,
    /// Download, verify and install it
    Upgrade,
}

impl From<ActionWord> for Action {
    fn from(word: ActionWord) -> Self {
        match word {
            ActionWord::Isac => Self::Isac,
            ActionWord::Isvv => Self::Isvv,
            ActionWord::Upgrade => Self::Upgrade,
        }
    }
}

/// An order that begins later than this is not waited for.
const FAR_AHEAD: TimeDelta = TimeDelta::minutes(10);

/// Clocks that differ by less than this are not worth a word.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(60);

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    with_client(args.common.access.keys()?, async |client| {
        let patience = args.common.patience();
        let mut update = Update::find(client, &args.device, patience).await?;
        let mut display = Display::new(args.common.json);
        if args.cancel {
            return cancel(client, &mut update, &display, patience).await;
        }
        warn_of_clocks(&update, &args, &display);
        let order = Order { purl: args.purl.clone(), action: args.action.into(), at: args.at };
        update.order(client, &order, patience).await?;
        display.progress(update.progress());
        let ended = tokio::select! {
            ended = stay(client, &mut update, &mut display, &args) => ended,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!(
                "stopped watching; the device goes on by itself"
            )),
        };
        display.end();
        update.end(client);
        ended
    })
}

/// Until the device is done or silent for too long, or as long as there is a sense in it.
async fn stay(
    client: &mut Client,
    update: &mut Update,
    display: &mut Display,
    args: &Args,
) -> anyhow::Result<()> {
    let begun = clock::now().mono;
    loop {
        if !args.wait
            && let Some(words) = not_waited_for(update, args)
        {
            display.ordered(update, &words);
            return Ok(());
        }
        match update.next(client, args.patience, args.common.patience()).await? {
            News::Told(what, value) => {
                display.told(what, &value);
                display.progress(update.progress());
            }
            News::Silent => display.silent(update.name()),
            News::Ended(Standing::Done(end)) => {
                let seconds = clock::now().mono.since(begun).as_secs_f32();
                display.done(update, end, seconds);
                return Ok(());
            }
            News::Ended(Standing::Failed(reason)) => {
                display.failed(update, &reason);
                anyhow::bail!("{}: {reason}", update.name());
            }
            News::Ended(Standing::Running) => {}
        }
    }
}

/// Why the end is not waited for, if it is not.
fn not_waited_for(update: &Update, args: &Args) -> Option<String> {
    let progress = update.progress();
    let begins_in = progress.begins_in(clock::now().wall);
    let due = progress.update_time().filter(|_| begins_in.is_some_and(|wait| wait > FAR_AHEAD));
    match (args.no_wait, due, begins_in) {
        (_, Some(due), Some(wait)) => Some(format!(
            "the device has the order and begins at {}, in {}; --wait stays with it",
            due.to_rfc3339(),
            span(wait)
        )),
        (true, ..) => {
            Some(format!("the device has the order: {}", progress.doing(clock::now().wall)))
        }
        _ => None,
    }
}

/// A time of an order means little to a device with another one.
fn warn_of_clocks(update: &Update, args: &Args, display: &Display) {
    match update.clock() {
        DeviceClock::Ahead(ahead) if ahead.abs() > CLOCKS_DIFFER => display.warning(&format!(
            "{}: its clock is {} {} ours, and it goes by its own",
            update.name(),
            span(ahead.abs()),
            if ahead < TimeDelta::zero() { "behind" } else { "ahead of" }
        )),
        DeviceClock::Untold if args.at.is_some() => display.warning(&format!(
            "{} does not tell its time: whether its clock is that of --at is not known",
            update.name()
        )),
        _ => {}
    }
}

async fn cancel(
    client: &mut Client,
    update: &mut Update,
    display: &Display,
    patience: Patience,
) -> anyhow::Result<()> {
    let called_off = update.cancel(client, patience).await;
    match called_off {
        Ok(value) => display.called_off(update, &value),
        Err(error @ Error::Refused { .. }) => {
            return Err(anyhow::Error::from(error).context("it cannot be called off now"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// A length of time in its two largest units.
fn span(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, length) in units {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            parts.push(format!("{count} {name}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0 s".into() } else { parts.join(" ") }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "write it as 2030-01-09T14:30:00Z or 2030-01-09T14:30:00+01:00".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_said_in_two_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (3600, "1 h"),
            (3725, "1 h 2 min"),
            (3601, "1 h"),
            (1_800_000_000, "20833 d 8 h"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), words);
        }
    }
}
