//! Waking devices: a webhook or a command is told which device has work, and reaches it by whatever
//! way the device has. What is told is a hint; a device that never hears it asks by itself one day.

use std::time::Duration;

use super::{Refusal, Server};
use crate::access::Scope;
use crate::store::{Batch, Change, DevicesByNumber};

/// Devices that one round wakes; the next round goes on.
pub(crate) const WAKES_MAX: usize = 10_000;
/// How long a command may take for one device.
const COMMAND: Duration = Duration::from_secs(10);

/// How devices are woken.
#[derive(Clone, Debug, Default)]
pub enum Waker {
    /// Not at all: they ask by themselves.
    #[default]
    Nobody,
    /// A program, called with the device's id as its only argument.
    Command(String),
    /// An address that gets `{"device": id}` by POST.
    Webhook(String),
}

impl Waker {
    /// Tells that a device has work. Whether that helped is not known.
    async fn wake(&self, device: &str) -> Result<(), String> {
        match self {
            Self::Nobody => Ok(()),
            Self::Command(program) => {
                let mut command = tokio::process::Command::new(program);
                command.arg(device).kill_on_drop(true).stdin(std::process::Stdio::null());
                match tokio::time::timeout(COMMAND, command.status()).await {
                    Ok(Ok(status)) if status.success() => Ok(()),
                    Ok(Ok(status)) => Err(format!("`{program}` ended with {status}")),
                    Ok(Err(error)) => Err(format!("`{program}`: {error}")),
                    Err(_) => Err(format!("`{program}` takes too long")),
                }
            }
            Self::Webhook(url) => {
                let (url, body) =
                    (url.clone(), serde_json::json!({ "device": device }).to_string());
                let sent = tokio::task::spawn_blocking(move || {
                    let config = ureq::Agent::config_builder().timeout_global(Some(COMMAND));
                    let agent = ureq::Agent::new_with_config(config.build());
                    agent.post(&url).content_type("application/json").send(&body)
                });
                match sent.await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }
}

impl Server {
    /// Wakes the devices that have work that may begin now and were not tried within their interval.
    /// How many were woken.
    ///
    /// # Errors
    ///
    /// The store cannot be read or written.
    pub async fn run_queue(&self, scope: &Scope) -> Result<u64, Refusal> {
        if matches!(self.waker, Waker::Nobody) {
            return Ok(0);
        }
        let now = self.now();
        let numbers = {
            let fleet = self.fleet(scope)?;
            let index = fleet.index();
            let queue = fleet.queue.read().map_err(super::follow::poisoned)?;
            let mut all = roaring::RoaringBitmap::new();
            for entry in queue.entries() {
                if entry.is_open(now) {
                    all |= entry.waiting();
                }
                all |= &entry.in_flight;
            }
            let asked = queue.inventories.iter();
            let asked = asked.filter(|one| one.not_before <= now && now <= one.not_after);
            all.extend(asked.map(|one| one.device));
            all -= index.online();
            all
        };
        let mut woken = 0;
        for equipped in self.store.ask(scope, DevicesByNumber { numbers }).await? {
            let device = equipped.device;
            let interval = i64::from(device.about.reconnect_interval_s) * 1000;
            if device.woken_at.is_some_and(|at| now < at.saturating_add(interval.max(1))) {
                continue;
            }
            // An update that is too large stays pending and wakes nobody.
            if !self.has_work(scope, &device).await? {
                continue;
            }
            // Written first: a device is never tried twice within its interval, even by a node that
            // was killed in between.
            let batch = Batch::new(scope, "device.wake", &device.id, now)
                .with(Change::Woken { number: device.number, at: now });
            self.store.commit(batch).await?;
            if let Err(why) = self.waker.wake(&device.id).await {
                tracing::warn!(device = device.id, "not woken: {why}");
                continue;
            }
            woken += 1;
            if woken as usize >= WAKES_MAX {
                break;
            }
        }
        Ok(woken)
    }
}
