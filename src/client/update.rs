//! An update: ordered, and followed to its end, over restarts of the device and to other addresses.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use ciborium::Value;
use uuid::Uuid;

use super::place::Place;
use super::progress::{Action, Progress, Standing};
use super::request::{self, Way, accepted};
use super::svr::map;
use super::target::Target;
use super::transport::{Client, Event};
use super::{Error, Failure, Patience, body, discover, links, locate, text};
use crate::clock::{self, Instant};
use crate::coap::{Call, Code, Peer, Request, option};

/// What is ordered.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where the device finds the package; empty where its vendor says.
    pub purl: String,
    /// How far to go.
    pub action: Action,
    /// When, by the device's clock; `None` at once.
    pub at: Option<DateTime<Utc>>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The software update resource.
    Update,
    /// Our own devices' status beside it.
    Status,
    /// The provisioning status.
    Pstat,
}

/// What [`Update::next`] has to tell.
#[derive(Debug)]
pub enum News {
    /// The device told something.
    Told(What, Value),
    /// The device does not answer.
    Silent,
    /// It has ended, well or not.
    Ended(Standing),
}

/// The time of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceClock {
    /// It tells none (`st` in `/oic/p`).
    Untold,
    /// It was so far ahead of ours.
    Ahead(TimeDelta),
}

/// How often a device that tells nothing is asked: notifications can be lost with a restart.
const POLL_EVERY: Duration = Duration::from_secs(3);

/// The same while nothing is expected: the time of the order has not come.
const POLL_WAITING_EVERY: Duration = Duration::from_secs(30);

/// How long one such question waits.
const POLL_WAIT: Duration = Duration::from_secs(5);

/// After this much silence the device is looked for under another address.
const SEARCH_AFTER: Duration = Duration::from_secs(10);

/// How much later than now "at once" is for a device that does not tell its time: the way of the order,
/// rounding to seconds, and two clocks that are not quite the same.
const MARGIN: TimeDelta = TimeDelta::seconds(3);

/// How often a device that was called off is asked whether it has stopped.
const STOPPED_EVERY: Duration = Duration::from_millis(500);

/// One of the device's resources that are watched.
#[derive(Debug)]
struct Watched {
    what: What,
    peer: Peer,
    href: String,
    call: Option<Call>,
}

/// The updates of one device.
pub struct Update {
    target: Target,
    device: Option<Uuid>,
    name: String,
    watched: Vec<Watched>,
    /// Who told of its links.
    told_by: Peer,
    /// Where the device has to be reached anew.
    moved_to: Option<Peer>,
    clock: DeviceClock,
    progress: Progress,
    /// What the software update resource said last.
    last: Option<Value>,
    given: bool,
    /// When the device was heard last.
    heard: Instant,
    poll: Option<Call>,
    polled: Instant,
    searched: Instant,
}

impl Update {
    /// Finds the device and its resources, and begins to watch them: what they say before the order is
    /// what news differs from.
    ///
    /// # Errors
    ///
    /// Where the device cannot be found, or has no such resource.
    pub async fn find(
        client: &mut Client,
        target: &Target,
        patience: Patience,
    ) -> Result<Self, Error> {
        let place = locate::find(client, target, patience).await?;
        let watched = watched(client, &place, target, patience).await?;
        let now = clock::now().mono;
        let mut update = Self {
            target: target.clone(),
            device: place.device,
            name: place.told_by.remote.to_string(),
            watched,
            told_by: place.told_by,
            moved_to: None,
            clock: DeviceClock::Untold,
            progress: Progress::new(Action::Upgrade),
            last: None,
            given: false,
            heard: now,
            poll: None,
            polled: now,
            searched: now,
        };
        if let Some(description) = update.describe(client, patience).await {
            let name = body::get_text(&description, "n").filter(|name| !name.is_empty());
            update.name = name.map_or(update.name, text::printable);
            update.progress.was_running(version(&description));
        }
        update.clock = update.read_clock(client, patience).await;
        Ok(update)
    }

    /// How the device calls itself, or where it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which device it is, where it says.
    pub fn device(&self) -> Option<Uuid> {
        self.device
    }

    /// The device's time, when it was found.
    pub fn clock(&self) -> DeviceClock {
        self.clock
    }

    /// Where the update stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Gives the order; [`Self::next`] tells what comes of it.
    ///
    /// # Errors
    ///
    /// Where the device refuses it ([`Error::refusal`]), or does not answer: then it may have it.
    pub async fn order(
        &mut self,
        client: &mut Client,
        order: &Order,
        patience: Patience,
    ) -> Result<(), Error> {
        let before = self.progress.running_before().map(str::to_owned);
        self.progress = Progress::new(order.action);
        self.progress.was_running(before);
        if let DeviceClock::Ahead(ahead) = self.clock {
            self.progress.set_clock(ahead);
        }
        self.given = false;
        self.watch(client);
        for n in 0..self.watched.len() {
            let Some(call) = self.watched[n].call else { continue };
            let answer = client.wait(call, patience).await;
            let what = self.watched[n].what;
            self.watched[n].call = answer.as_ref().is_ok_and(|it| it.more).then_some(call);
            let value = answer.ok().and_then(|answer| request::cbor(&answer.response));
            match (what, value) {
                (What::Update, Some(value)) => self.progress.was_update(&value),
                (What::Status, Some(value)) => {
                    let running = body::get_text(&value, "running").map(text::printable);
                    self.progress.was_running(running);
                }
                _ => {}
            }
        }
        // For "at once" its own time counts, because by that it judges whether a time has passed. It
        // takes none that has: a little more where it tells none.
        let at = order.at.unwrap_or_else(|| match self.clock {
            DeviceClock::Ahead(ahead) => clock::now().wall + ahead,
            DeviceClock::Untold => clock::now().wall + MARGIN,
        });
        let told = self.post(client, &order.purl, order.action.word(), at, patience).await;
        let told = told?;
        // What was told before this answer may be older than the order; a poll brings what is not.
        while let Some(event) = client.event_now() {
            self.event(event);
        }
        self.given = true;
        let now = clock::now().mono;
        (self.heard, self.polled, self.searched) = (now, now, now);
        if let Some(value) = told {
            self.told(What::Update, &value);
        }
        Ok(())
    }

    /// Calls off what is under way or waiting (`swupdateaction` idle), and waits until the device says
    /// that nothing is; what it says then.
    ///
    /// # Errors
    ///
    /// Where the device refuses that, as it may once it has switched to other software, or where it
    /// takes it and goes on all the same.
    pub async fn cancel(
        &mut self,
        client: &mut Client,
        patience: Patience,
    ) -> Result<Value, Error> {
        let (peer, href) = (self.update().peer, self.update().href.clone());
        let before = self.read(client, peer, &href, patience).await?;
        let purl = body::get_text(&before, "purl").unwrap_or_default();
        // Any time will do, but there must be one.
        let at = match self.clock {
            DeviceClock::Ahead(ahead) => clock::now().wall + ahead,
            DeviceClock::Untold => clock::now().wall,
        };
        self.post(client, purl, "idle", at, patience).await?;
        self.given = true;
        let deadline = patience.deadline(clock::now().mono);
        loop {
            self.read_status(client, patience).await;
            let value = self.read(client, peer, &href, patience).await?;
            self.progress.heard_update(&value);
            if self.progress.is_called_off() {
                return Ok(value);
            }
            let now = clock::now();
            if now.mono >= deadline {
                return Err(Error::Unexpected(format!(
                    "the device has taken it, and goes on: {}",
                    self.progress.doing(now.wall)
                )));
            }
            let until = (now.mono + STOPPED_EVERY).min(deadline);
            while let Some(event) = client.event_until(until).await {
                self.event(event);
            }
        }
    }

    async fn post(
        &self,
        client: &mut Client,
        purl: &str,
        action: &str,
        at: DateTime<Utc>,
        patience: Patience,
    ) -> Result<Option<Value>, Error> {
        let update = self.update();
        let order = map([
            ("purl", purl.into()),
            ("swupdateaction", action.into()),
            ("updatetime", at.to_rfc3339_opts(SecondsFormat::Secs, true).into()),
        ]);
        let mut request = Request::new(Code::POST, &update.href);
        request.payload = body::encode(&order);
        let request = request::dressed(request, Way::Ocf);
        let answer = client.ask(update.peer, request, patience).await;
        let answer = answer.map_err(|failure| self.unanswered(failure))?;
        match accepted(answer.response) {
            Ok(response) => Ok(request::cbor(&response)),
            Err(refusal) => Err(Error::Refused { what: "the order".into(), refusal }),
        }
    }

    async fn read(
        &self,
        client: &mut Client,
        peer: Peer,
        href: &str,
        patience: Patience,
    ) -> Result<Value, Error> {
        let answer = client.ask(peer, request::get(href), patience).await;
        let answer = answer.map_err(|failure| self.unanswered(failure))?;
        let response = accepted(answer.response)
            .map_err(|refusal| Error::Refused { what: format!("GET {href}"), refusal })?;
        request::cbor(&response).ok_or_else(|| Error::Unexpected(format!("{href} is not CBOR")))
    }

    fn unanswered(&self, failure: Failure) -> Error {
        Error::Exchange { whom: self.name.clone(), failure }
    }

    /// What comes next of an order that was given. The device may be silent for so long, as when it
    /// starts anew; `patience` is for what has to be asked on the way.
    ///
    /// # Errors
    ///
    /// Where it is silent for longer, or the whole takes too long.
    pub async fn next(
        &mut self,
        client: &mut Client,
        silence_max: Duration,
        patience: Patience,
    ) -> Result<News, Error> {
        loop {
            match self.progress.standing() {
                Standing::Running => {}
                ended => {
                    self.read_end(client, patience).await;
                    // What was read last can say more.
                    let ended = match self.progress.standing() {
                        Standing::Running => ended,
                        now => now,
                    };
                    return Ok(News::Ended(ended));
                }
            }
            let now = clock::now();
            if patience.is_over(now.mono) {
                return Err(self.unanswered(Failure::TimeOver));
            }
            let silence = now.mono.since(self.heard);
            if silence >= silence_max {
                return Err(Error::Unexpected(format!(
                    "{} has been silent for {} s; its update may still end well: ask again",
                    self.name,
                    silence.as_secs()
                )));
            }
            let waits = self.progress.waits(now.wall);
            if self.ask_now_and_then(client, waits, now.mono) {
                return Ok(News::Silent);
            }
            if !waits && silence >= SEARCH_AFTER && now.mono.since(self.searched) >= SEARCH_AFTER {
                self.searched = now.mono;
                self.search(client);
            }
            if let Some(peer) = self.moved_to.take() {
                self.follow(client, peer).await;
            }
            let until = patience.whole(clock::now().mono, POLL_EVERY / 4);
            let Some(event) = client.event_until(until).await else { continue };
            let news = if self.poll == Some(event.call) {
                self.poll = None;
                self.polled(client, event)
            } else {
                self.event(event)
            };
            if let Some(news) = news {
                return Ok(news);
            }
        }
    }

    /// Stops watching; the device goes on by itself.
    pub fn end(&mut self, client: &mut Client) {
        self.unwatch(client);
        self.poll.take().into_iter().for_each(|call| client.cancel(call));
    }

    /// Begins to watch what is not watched.
    fn watch(&mut self, client: &mut Client) {
        for watched in self.watched.iter_mut().filter(|watched| watched.call.is_none()) {
            let mut request = request::get(&watched.href);
            request.options.set_uint(option::OBSERVE, 0);
            watched.call = Some(client.request(watched.peer, request));
        }
    }

    fn unwatch(&mut self, client: &mut Client) {
        for call in self.watched.iter_mut().filter_map(|watched| watched.call.take()) {
            client.cancel(call);
        }
    }

    /// Asks again where nothing was told for a while; whether that has shown that nobody answers.
    fn ask_now_and_then(&mut self, client: &mut Client, waits: bool, now: Instant) -> bool {
        let every = if waits { POLL_WAITING_EVERY } else { POLL_EVERY };
        let since = now.since(self.polled);
        if self.poll.is_none() && since >= every {
            let update = self.update();
            self.poll = Some(client.request(update.peer, request::get(&update.href)));
            self.polled = now;
        } else if self.poll.is_some() && since >= POLL_WAIT {
            self.poll.take().into_iter().for_each(|call| client.cancel(call));
            self.lost(client);
            return true;
        }
        false
    }

    fn event(&mut self, event: Event) -> Option<News> {
        let Some(watched) = self.watched.iter_mut().find(|it| it.call == Some(event.call)) else {
            if let Ok(answer) = event.outcome {
                self.found(answer.peer, request::cbor(&answer.response));
            }
            return None;
        };
        match event.outcome {
            Ok(answer) => {
                if !answer.more {
                    watched.call = None;
                }
                let what = watched.what;
                let value = request::cbor(&answer.response);
                let value = value.filter(|_| answer.response.code.is_success())?;
                self.told(what, &value)
            }
            Err(failure) => {
                tracing::debug!("{}: {failure}", watched.href);
                watched.call = None;
                None
            }
        }
    }

    /// The answer to a question asked now and then. If it has news that nobody told us, the device has
    /// forgotten that we watch.
    fn polled(&mut self, client: &mut Client, event: Event) -> Option<News> {
        let Ok(answer) = event.outcome else {
            self.lost(client);
            return Some(News::Silent);
        };
        let value = request::cbor(&answer.response);
        let value = value.filter(|_| answer.response.code.is_success())?;
        if self.last.as_ref() != Some(&value) {
            self.unwatch(client);
        }
        let news = self.told(What::Update, &value);
        self.watch(client);
        news
    }

    fn told(&mut self, what: What, value: &Value) -> Option<News> {
        self.heard = clock::now().mono;
        if !self.given {
            return None;
        }
        match what {
            What::Update => {
                self.progress.heard_update(value);
                self.last = Some(value.clone());
            }
            What::Status => self.progress.heard_status(value),
            What::Pstat => {}
        }
        Some(News::Told(what, value.clone()))
    }

    fn lost(&mut self, client: &mut Client) {
        self.unwatch(client);
        self.moved_to = self.moved_to.or(Some(self.told_by));
    }

    /// Looks for the device everywhere: after a start it may have other ports.
    fn search(&mut self, client: &mut Client) {
        if self.device.is_some()
            && let Err(error) = discover::ask_everyone(client, POLL_WAIT)
        {
            tracing::debug!("cannot search: {error}");
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
    async fn follow(&mut self, client: &mut Client, peer: Peer) {
        let is_clear = self.update().peer.session == 0;
        if is_clear && peer.remote == self.told_by.remote {
            return self.watch(client);
        }
        let Some(device) = self.device else { return self.watch(client) };
        let patience = Patience::new(POLL_WAIT);
        let Some(place) = locate::read(client, peer, device, patience).await else { return };
        match watched(client, &place, &self.target, patience).await {
            Ok(watched) => {
                self.unwatch(client);
                self.watched = watched;
                self.told_by = place.told_by;
                self.watch(client);
            }
            Err(error) => tracing::info!("{error}"),
        }
    }

    fn update(&self) -> &Watched {
        let update = self.watched.iter().find(|watched| watched.what == What::Update);
        update.expect("find() ends without one")
    }

    /// What runs now, by whatever tells it.
    async fn read_end(&mut self, client: &mut Client, patience: Patience) {
        self.read_status(client, patience).await;
        if self.progress.running().is_none()
            && let Some(description) = self.describe(client, patience).await
        {
            self.progress.heard_running(version(&description));
        }
    }

    async fn read_status(&mut self, client: &mut Client, patience: Patience) {
        let status = self.watched.iter().find(|watched| watched.what == What::Status);
        let Some((peer, href)) = status.map(|status| (status.peer, status.href.clone())) else {
            return;
        };
        if let Ok(value) = self.read(client, peer, &href, patience).await {
            self.progress.heard_status(&value);
        }
    }

    /// `/oic/d`, from whoever tells it.
    async fn describe(&self, client: &mut Client, patience: Patience) -> Option<Value> {
        self.read(client, self.told_by, "/oic/d", patience).await.ok()
    }

    /// `st` in `/oic/p`: asked where the order goes, because what is said in clear anybody can have
    /// said.
    async fn read_clock(&self, client: &mut Client, patience: Patience) -> DeviceClock {
        let platform = self.read(client, self.update().peer, "/oic/p", patience).await.ok();
        let told = platform.as_ref().and_then(|value| body::get_text(value, "st"));
        let time = told.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        time.map_or(DeviceClock::Untold, |time| {
            DeviceClock::Ahead(time.to_utc() - clock::now().wall)
        })
    }
}

/// The version in a description.
fn version(description: &Value) -> Option<String> {
    body::get_text(description, "sv").filter(|text| !text.is_empty()).map(text::printable)
}

/// What there is to watch, and whom to ask for it.
async fn watched(
    client: &mut Client,
    place: &Place,
    target: &Target,
    patience: Patience,
) -> Result<Vec<Watched>, Error> {
    let mut watched: Vec<Watched> = Vec::new();
    for (what, name) in [
        (What::Update, links::SOFTWARE_UPDATE),
        (What::Status, links::UPDATE_STATUS),
        (What::Pstat, links::PSTAT),
    ] {
        let Some(link) = place.link_of_type(name) else {
            if what == What::Update {
                if !target.has_path() {
                    let words = format!("{target} has no software update resource");
                    return Err(Error::Unexpected(words));
                }
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
            Err(error) => tracing::debug!("{}: {error}", link.href),
        }
    }
    Ok(watched)
}
