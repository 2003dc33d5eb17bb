//! Watching a resource for as long as one likes, over restarts of the device.
//!
//! A device that has started anew has forgotten who watches, and tells nobody. So an observation that
//! hears nothing for a while registers once more under its own token, which costs one exchange where
//! all is well, and is the new registration where it is not. What is the same as before is not told
//! again.

use std::time::Duration;

use super::locate;
use super::request::{self, accepted};
use super::target::Target;
use super::transport::{Answer, Client, Event};
use super::{Error, Failure, Patience};
use crate::clock::{self, Instant};
use crate::coap::{Call, Code, Peer, Request, Response, option};

/// After so much silence an observation is registered once more.
pub const REGISTER_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long the answer to that may take before the device counts as silent.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Pauses between attempts to reach a silent device: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// A resource that is watched.
pub struct Observation {
    target: Target,
    request: Request,
    peer: Peer,
    call: Call,
    patience: Patience,
    /// What was told last.
    last: Vec<u8>,
    heard: Instant,
    /// When it was asked once more, as long as no answer has come.
    asked: Option<Instant>,
    /// When to try again to reach a device that is silent.
    retry: Option<Instant>,
    pause: Duration,
}

/// What [`Observation::next`] has to tell.
#[derive(Debug)]
pub enum Change {
    /// The resource is like this now. Without `more` the device tells of no changes.
    Told {
        /// The representation, or the refusal.
        response: Response,
        /// Whether more may follow.
        more: bool,
    },
    /// The device does not answer; it is tried again.
    Silent(Failure),
}

impl Observation {
    /// Begins to watch; the first representation is the first [`Change`].
    ///
    /// # Errors
    ///
    /// Where the target does not answer.
    pub async fn begin(
        client: &mut Client,
        target: &Target,
        patience: Patience,
    ) -> Result<(Self, Answer), Error> {
        let request = |way| {
            let mut request = request::dressed(target.request(Code::GET), way);
            request.options.set_uint(option::OBSERVE, 0);
            request
        };
        let asked = client.ask_target(target, patience, request).await?;
        let answer = asked.answer;
        let observation = Self {
            target: target.clone(),
            request: request(asked.way),
            peer: answer.peer,
            call: asked.call,
            patience,
            last: answer.response.payload.clone(),
            heard: clock::now().mono,
            asked: None,
            retry: None,
            pause: PAUSES[0],
        };
        Ok((observation, answer))
    }

    /// The next change. Can be dropped while it waits for one.
    ///
    /// # Errors
    ///
    /// Where the time for the whole is over.
    pub async fn next(&mut self, client: &mut Client) -> Result<Change, Error> {
        loop {
            let now = clock::now().mono;
            if self.patience.is_over(now) {
                let whom = self.target.to_string();
                return Err(Error::Exchange { whom, failure: Failure::TimeOver });
            }
            let due = match (self.retry, self.asked) {
                (Some(retry), _) => retry,
                (None, Some(asked)) => asked + ANSWER_WAIT,
                (None, None) => self.heard + REGISTER_AGAIN_AFTER,
            };
            if due <= now {
                match (self.retry, self.asked) {
                    (Some(_), _) => self.reach(client).await,
                    (None, Some(_)) => return Ok(self.lost(client, Failure::NoAnswer)),
                    (None, None) => {
                        client.register_again(self.call);
                        self.asked = Some(now);
                    }
                }
                continue;
            }
            let until = self.patience.whole(now, due - now);
            let Some(event) = client.event_until(until).await else { continue };
            if event.call == self.call
                && let Some(change) = self.event(client, event)
            {
                return Ok(change);
            }
        }
    }

    /// Stops watching; the device is told.
    pub fn end(self, client: &mut Client) {
        client.cancel(self.call);
    }

    fn event(&mut self, client: &mut Client, event: Event) -> Option<Change> {
        let answer = match event.outcome {
            Ok(answer) => answer,
            Err(failure) => return Some(self.lost(client, failure)),
        };
        self.heard = clock::now().mono;
        self.pause = PAUSES[0];
        // A refusal is told once and for all.
        let was_asked = self.asked.take().is_some() && accepted(answer.response.clone()).is_ok();
        if was_asked && answer.more && answer.response.payload == self.last {
            return None;
        }
        self.last.clone_from(&answer.response.payload);
        Some(Change::Told { response: answer.response, more: answer.more })
    }

    fn lost(&mut self, client: &mut Client, failure: Failure) -> Change {
        client.cancel(self.call);
        self.asked = None;
        self.retry = Some(clock::now().mono + self.pause);
        self.pause = (self.pause * 2).min(PAUSES[1]);
        Change::Silent(failure)
    }

    /// Asks anew, over a new session if there was one, wherever the device is now: it has forgotten the
    /// old one.
    async fn reach(&mut self, client: &mut Client) {
        let patience = self.patience.at_most(ANSWER_WAIT);
        if self.peer.session != 0 {
            client.close(self.peer);
        }
        let reached = match self.target.device() {
            Some(device) => match locate::find_device(client, device, patience).await {
                Ok(place) => place.serves(client, &self.target.path(), patience).await,
                Err(error) => Err(error),
            },
            None if self.peer.session != 0 => client.secure(self.peer.remote, None, patience).await,
            None => Ok(self.peer),
        };
        let now = clock::now().mono;
        match reached {
            Ok(peer) => {
                self.peer = peer;
                self.call = client.request(peer, self.request.clone());
                (self.retry, self.asked) = (None, Some(now));
            }
            Err(error) => {
                tracing::info!("{error}");
                self.retry = Some(now + self.pause);
                self.pause = (self.pause * 2).min(PAUSES[1]);
            }
        }
    }
}
