//! The http client's connection, watched from below TLS: where a server that sends one byte a second
//! inside one long TLS record can still be seen, and where somebody's wish to stop is noticed soon.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, Transport, time,
};

use super::Settings;
use super::address::CANCEL_POLL;
use super::pace::{Bandwidth, Patience, TooSlow};
use crate::clock;
use crate::worker::Cancel;

/// Hands the client the addresses that were judged, whatever it asks for.
#[derive(Debug)]
pub(super) struct Judged(pub(super) Vec<SocketAddr>);

impl Resolver for Judged {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        self.0.iter().for_each(|address| addresses.push(*address));
        Ok(addresses)
    }
}

/// Why a watched connection was given up by us. Asked for after the client has failed: its own errors
/// cannot carry it through TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Cancelled,
    TooSlow,
}

/// Puts [`Watched`] around every connection.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    stop: Arc<Mutex<Option<Stop>>>,
    cancel: Cancel,
    window: Duration,
    rate_min: u64,
    bandwidth_max: u64,
}

impl Watch {
    pub(super) fn new(settings: &Settings, cancel: &Cancel) -> Self {
        Self {
            stop: Arc::default(),
            cancel: cancel.clone(),
            window: settings.limits.rate_window,
            rate_min: settings.limits.rate_min,
            bandwidth_max: settings.bandwidth_max,
        }
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, why: Stop) -> ureq::Error {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        ureq::Error::Other("given up".into())
    }
}

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|inner| Watched {
            inner,
            watch: self.clone(),
            patience: Patience::new(self.window, self.rate_min),
            bandwidth: Bandwidth::new(self.bandwidth_max, clock::now().mono),
        }))
    }
}

/// A connection that is given up when it is too slow or no longer wanted.
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    watch: Watch,
    patience: Patience,
    bandwidth: Bandwidth,
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let limit = timeout.for_read();
        let before = self.inner.buffers().input().len();
        let mut waited = Duration::ZERO;
        loop {
            if self.watch.cancel.is_cancelled() {
                return Err(self.watch.give_up(Stop::Cancelled));
            }
            let slice = limit.after.saturating_sub(waited).min(CANCEL_POLL);
            let begun = clock::now().mono;
            let result = self.inner.await_input(short(timeout, slice));
            let took = clock::now().mono - begun;
            waited += took;
            let came = self.inner.buffers().input().len().saturating_sub(before) as u64;
            if self.patience.waited(took, came) == Err(TooSlow) {
                return Err(self.watch.give_up(Stop::TooSlow));
            }
            match result {
                Err(ureq::Error::Timeout(_)) if waited < *limit.after => {}
                Err(ureq::Error::Timeout(_)) => return Err(ureq::Error::Timeout(limit.reason)),
                other => {
                    let hold_back = self.bandwidth.take(came, clock::now().mono);
                    return pause(hold_back, &self.watch.cancel)
                        .map_err(|Cancelled| self.watch.give_up(Stop::Cancelled))
                        .and(other);
                }
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

fn short(timeout: NextTimeout, slice: Duration) -> NextTimeout {
    let after = time::Duration::from_millis(slice.as_millis().max(1) as u64);
    NextTimeout { after, per_read: None, ..timeout }
}

/// Somebody asked to stop while we waited.
#[derive(Debug)]
pub(super) struct Cancelled;

/// Sleeps, unless somebody asks to stop.
pub(super) fn pause(mut left: Duration, cancel: &Cancel) -> Result<(), Cancelled> {
    while !left.is_zero() {
        if cancel.is_cancelled() {
            return Err(Cancelled);
        }
        let slice = left.min(CANCEL_POLL);
        std::thread::sleep(slice);
        left -= slice;
    }
    Ok(())
}
