//! `freshen update`: orders an update, and stays with it to its end.

mod progress;

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use ciborium::{Value, cbor};
use uuid::Uuid;

use super::{Common, DEVICE_HELP, with_client};
use crate::client::place::Place;
use crate::client::request::Way;
use crate::client::standing::{Action, Follow, Standing};
use crate::client::target::Target;
use crate::client::transport::{Client, Event, accepted};
use crate::client::{body, discover, links, locate, request, text};
use crate::clock::{self, Instant};
use crate::coap::{Call, Code, Peer, Request, option};
use progress::Progress;

/// Order an update of a device's software, and follow it to the end
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    freshen update 127.0.0.1:5683 --purl https://updates.example.com/camera.suit\n  \
    freshen update 127.0.0.1:5683 --purl https://updates.example.com/camera.suit --action isac\n  \
    freshen update 127.0.0.1:5683 --purl https://updates.example.com/camera.suit --at 2030-01-09T02:00:00Z --no-wait\n  \
    freshen update b566b283-ef1a-46ef-791d-9b9068a91386 --purl https://updates.example.com/camera.suit\n\n\
    Exit code 0: the device did what was ordered. 1: it did not, and the last line says why.")]
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
    /// Only give the order; do not wait for the outcome
    #[arg(long)]
    no_wait: bool,
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

/// How often a device that tells nothing is asked: notifications can be lost with a restart.
const POLL_EVERY: Duration = Duration::from_secs(3);

/// The same while nothing is expected: the time of the order has not come.
const POLL_WAITING_EVERY: Duration = Duration::from_secs(30);

/// How long one such question waits.
const POLL_WAIT: Duration = Duration::from_secs(5);

/// After this much silence the device is looked for under another address.
const SEARCH_AFTER: Duration = Duration::from_secs(10);

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    with_client(args.common.access.keys()?, async |client| {
        let mut order = Order::find(client, &args).await?;
        order.watch_first(client, &args).await;
        order.give(client, &args).await?;
        if args.no_wait {
            return Ok(());
        }
        let ended = tokio::select! {
            ended = order.follow(client, &args) => ended,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!(
                "stopped watching; the device goes on by itself"
            )),
        };
        order.progress.end();
        order.unwatch(client);
        ended
    })
}

/// One of the device's resources that are watched.
#[derive(Debug)]
struct Watched {
    what: What,
    peer: Peer,
    href: String,
    call: Option<Call>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Update,
    Status,
    Pstat,
}

/// An update that was ordered, or is about to be.
struct Order {
    device: Option<Uuid>,
    name: String,
    version: Option<String>,
    watched: Vec<Watched>,
    /// Who told of its links.
    told_by: Peer,
    /// Where the device has to be reached anew.
    moved_to: Option<Peer>,
    follow: Follow,
    progress: Progress,
    /// When the device was heard last.
    heard: Instant,
    /// What the software update resource said last.
    last: Option<Value>,
    given: bool,
}

impl Order {
    /// Finds the resources of the device.
    async fn find(client: &mut Client, args: &Args) -> anyhow::Result<Self> {
        let patience = args.common.timeout;
        let place = locate::find(client, &args.device, patience).await?;
        let watched = watched(client, &place, &args.device, patience).await?;
        let peer = place.told_by;
        let description = describe(client, peer, args.common.timeout).await;
        let text = |key| {
            description.as_ref().and_then(|value| body::get_text(value, key)).map(text::printable)
        };
        Ok(Self {
            device: place.device,
            name: text("n")
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| peer.remote.to_string()),
            version: text("sv"),
            watched,
            told_by: place.told_by,
            moved_to: None,
            follow: Follow::new(args.action.into()),
            progress: Progress::new(args.common.json),
            heard: clock::now().mono,
            last: None,
            given: false,
        })
    }

    /// Begins to watch what is not watched.
    fn watch(&mut self, client: &mut Client) {
        for watched in self.watched.iter_mut().filter(|watched| watched.call.is_none()) {
            let mut request = request::get(&watched.href);
            request.options.set_uint(option::OBSERVE, 0);
            watched.call = Some(client.request(watched.peer, request));
        }
    }

    /// As [`Self::watch`], until each has told how it was before the order: what comes later is news.
    async fn watch_first(&mut self, client: &mut Client, args: &Args) {
        self.watch(client);
        for watched in &mut self.watched {
            let Some(call) = watched.call else { continue };
            let answer = client.wait(call, args.common.timeout).await;
            watched.call = answer.is_ok_and(|answer| answer.more).then_some(call);
        }
    }

    fn unwatch(&mut self, client: &mut Client) {
        for call in self.watched.iter_mut().filter_map(|watched| watched.call.take()) {
            client.cancel(call);
        }
    }

    async fn give(&mut self, client: &mut Client, args: &Args) -> anyhow::Result<()> {
        let update = self.update();
        let (peer, href) = (update.peer, update.href.clone());
        let at = match args.at {
            Some(at) => at,
            None => device_time(client, peer, args.common.timeout).await,
        };
        let order = cbor!({
            "purl" => args.purl,
            "swupdateaction" => Action::from(args.action).word(),
            "updatetime" => at.to_rfc3339_opts(SecondsFormat::Secs, true)
        });
        let mut request = Request::new(Code::POST, &href);
        request.payload = body::encode(&order.context("the order cannot be written")?);
        let call = client.request(peer, request::dressed(request, Way::Ocf));
        let answer = client.wait(call, args.common.timeout).await?;
        let response = accepted(answer.response).context("the device refuses the order")?;
        // What was told before this answer may be older than the order; a poll brings what is not.
        while let Some(event) = client.event_now() {
            self.event(event);
        }
        self.given = true;
        if let Some(value) = request::cbor(&response) {
            self.heard(What::Update, value);
        }
        Ok(())
    }

    /// Until the device is done, or silent for too long.
    async fn follow(&mut self, client: &mut Client, args: &Args) -> anyhow::Result<()> {
        let begun = clock::now().mono;
        let mut poll = None;
        let mut polled = begun;
        let mut searched = begun;
        loop {
            if let Some(end) = self.end(client, begun, args).await {
                return end;
            }
            let now = clock::now();
            let waits = self.follow.waits(now.wall);
            let every = if waits { POLL_WAITING_EVERY } else { POLL_EVERY };
            if poll.is_none() && now.mono.since(polled) >= every {
                let update = self.update();
                poll = Some(client.request(update.peer, request::get(&update.href)));
                polled = now.mono;
            } else if poll.is_some() && now.mono.since(polled) >= POLL_WAIT {
                poll.take().into_iter().for_each(|call| client.cancel(call));
                self.lost(client);
            }
            let silence = now.mono.since(self.heard);
            anyhow::ensure!(
                silence < args.patience,
                "{} has been silent for {} s; its update may still end well: ask again with \
                 `freshen get`",
                self.name,
                silence.as_secs()
            );
            if !waits && silence >= SEARCH_AFTER && now.mono.since(searched) >= SEARCH_AFTER {
                searched = now.mono;
                self.search(client);
            }
            if let Some(peer) = self.moved_to.take() {
                self.follow_it(client, peer, args).await;
            }
            let Some(event) = client.event_until(now.mono + POLL_EVERY / 4).await else { continue };
            if poll == Some(event.call) {
                poll = None;
                self.polled(client, event);
            } else {
                self.event(event);
            }
        }
    }

    /// What to say at the end, once it is there.
    async fn end(
        &mut self,
        client: &mut Client,
        begun: Instant,
        args: &Args,
    ) -> Option<anyhow::Result<()>> {
        match self.follow.standing() {
            Standing::Running => None,
            Standing::Failed(reason) => {
                // The reason in the device's own words may come a moment after the result.
                self.read_status(client, args.common.timeout).await;
                let reason = match self.follow.standing() {
                    Standing::Failed(reason) => reason,
                    _ => reason,
                };
                self.progress.outcome(self.follow.result(), &reason);
                Some(Err(anyhow::anyhow!("{}: {reason}", self.name)))
            }
            Standing::Done(words) => {
                self.read_status(client, args.common.timeout).await;
                let seconds = clock::now().mono.since(begun).as_secs_f32();
                let versions = match (&self.version, self.follow.running()) {
                    (Some(old), Some(new)) if old != new => format!(", {old} before and {new} now"),
                    (_, Some(new)) => format!(", {new} runs"),
                    _ => String::new(),
                };
                let text = format!("{}: {words}{versions} ({seconds:.1} s)", self.name);
                self.progress.outcome(self.follow.result(), &text);
                Some(Ok(()))
            }
        }
    }

    async fn read_status(&mut self, client: &mut Client, patience: Duration) {
        let status = self.watched.iter().find(|watched| watched.what == What::Status);
        let Some((peer, href)) = status.map(|status| (status.peer, status.href.clone())) else {
            return;
        };
        if let Ok(answer) = client.ask(peer, request::get(&href), patience).await
            && let Some(value) = request::cbor(&answer.response)
        {
            self.follow.heard_status(&value);
        }
    }

    fn event(&mut self, event: Event) {
        let Some(watched) = self.watched.iter_mut().find(|it| it.call == Some(event.call)) else {
            if let Ok(answer) = event.outcome {
                self.found(answer.peer, request::cbor(&answer.response));
            }
            return;
        };
        match event.outcome {
            Ok(answer) => {
                if !answer.more {
                    watched.call = None;
                }
                let what = watched.what;
                let value = request::cbor(&answer.response);
                if let Some(value) = value.filter(|_| answer.response.code.is_success()) {
                    self.heard(what, value);
                }
            }
            Err(failure) => {
                tracing::debug!("{}: {failure}", watched.href);
                watched.call = None;
            }
        }
    }

    /// The answer to a question asked now and then. If it has news that nobody told us, the device has
    /// forgotten that we watch.
    fn polled(&mut self, client: &mut Client, event: Event) {
        let Ok(answer) = event.outcome else { return self.lost(client) };
        let Some(value) =
            request::cbor(&answer.response).filter(|_| answer.response.code.is_success())
        else {
            return;
        };
        if self.last.as_ref() != Some(&value) {
            self.unwatch(client);
        }
        self.heard(What::Update, value);
        self.watch(client);
    }

    fn heard(&mut self, what: What, value: Value) {
        self.heard = clock::now().mono;
        if !self.given {
            return;
        }
        self.progress.heard(what, &value);
        match what {
            What::Update => {
                self.follow.heard_update(&value);
                self.last = Some(value);
            }
            What::Status => self.follow.heard_status(&value),
            What::Pstat => {}
        }
        self.progress.show(&self.follow);
    }

    fn lost(&mut self, client: &mut Client) {
        self.unwatch(client);
        self.progress.silent(&self.name);
        self.moved_to = self.moved_to.or(Some(self.told_by));
    }

    /// Looks for the device everywhere: after a start it may have other ports.
    fn search(&mut self, client: &mut Client) {
        if self.device.is_some()
            && let Err(error) = discover::ask_everyone(client, POLL_WAIT)
        {
            tracing::debug!("cannot search: {error:#}");
        }
    }

    /// Somebody answered the search.
    fn found(&mut self, peer: Peer, links: Option<Value>) {
        let links = links.map(|value| links::links(&value)).unwrap_or_default();
        let same =
            links.iter().any(|link| self.device.is_some() && link.device_id() == self.device);
        if same && self.told_by.remote != peer.remote {
            tracing::info!("{} is at {} now", self.name, peer.remote);
            self.moved_to = Some(peer);
        }
    }

    /// Reaches the device anew, where it is now.
    async fn follow_it(&mut self, client: &mut Client, peer: Peer, args: &Args) {
        let is_clear = self.update().peer.session == 0;
        if is_clear && peer.remote == self.told_by.remote {
            return self.watch(client);
        }
        let Some(device) = self.device else { return self.watch(client) };
        let Some(place) = locate::read(client, peer, device, POLL_WAIT).await else { return };
        match watched(client, &place, &args.device, POLL_WAIT).await {
            Ok(watched) => {
                self.unwatch(client);
                self.watched = watched;
                self.told_by = place.told_by;
                self.watch(client);
            }
            Err(error) => tracing::info!("{error:#}"),
        }
    }

    fn update(&self) -> &Watched {
        let update = self.watched.iter().find(|watched| watched.what == What::Update);
        update.expect("find() ends without one")
    }
}

/// What there is to watch, and whom to ask for it.
async fn watched(
    client: &mut Client,
    place: &Place,
    target: &Target,
    patience: Duration,
) -> anyhow::Result<Vec<Watched>> {
    let mut watched: Vec<Watched> = Vec::new();
    for (what, name) in [
        (What::Update, links::SOFTWARE_UPDATE),
        (What::Status, links::UPDATE_STATUS),
        (What::Pstat, links::PSTAT),
    ] {
        let Some(link) = place.link_of_type(name) else {
            if what == What::Update {
                anyhow::ensure!(target.has_path(), "{target} has no software update resource");
                let peer = place.serves(client, &target.path(), patience).await?;
                watched.push(Watched { what, peer, href: target.path(), call: None });
            }
            continue;
        };
        // One session is enough for all that is served at one address.
        let known = watched.iter().map(|it| it.peer).find(|peer| link.is_served_at(*peer));
        let reached = match known {
            Some(peer) => Ok(peer),
            None => client.reach_link(link, place.told_by, patience).await,
        };
        match reached {
            Ok(peer) => watched.push(Watched { what, peer, href: link.href.clone(), call: None }),
            Err(error) if what == What::Update => return Err(error),
            Err(error) => tracing::debug!("{}: {error:#}", link.href),
        }
    }
    Ok(watched)
}

async fn describe(client: &mut Client, peer: Peer, patience: Duration) -> Option<Value> {
    let answer = client.ask(peer, request::get("/oic/d"), patience).await.ok()?;
    request::cbor(&answer.response)
}

/// How much later than now "at once" is for a device that does not tell its time: the way of the order,
/// rounding to seconds, and two clocks that are not quite the same.
const MARGIN: TimeDelta = TimeDelta::seconds(3);

/// The device's own time (`st` in `/oic/p`), because by that it judges whether a time has passed.
/// Ours where it tells none, and a little more: it takes no time that has passed.
async fn device_time(client: &mut Client, peer: Peer, patience: Duration) -> DateTime<Utc> {
    let answer = client.ask(peer, request::get("/oic/p"), patience).await.ok();
    let value = answer.and_then(|answer| request::cbor(&answer.response));
    let told = value.as_ref().and_then(|value| body::get_text(value, "st"));
    let time = told.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    time.map_or_else(|| clock::now().wall + MARGIN, |time| time.to_utc())
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "write it as 2030-01-09T14:30:00Z or 2030-01-09T14:30:00+01:00".into())
}
