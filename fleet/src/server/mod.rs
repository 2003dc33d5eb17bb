//! The shell: what is asked for becomes questions, what is ordered becomes a batch; it commits, and
//! answers when the index has seen it. Whatever door an order comes through, it ends here. It knows no
//! HTTP, and it decides nothing that `plan` can decide.

mod campaigns;
mod catalogue;
mod device;
mod devices;
mod fleet;
mod follow;
mod packages;
mod people;
mod queue;
mod refusal;
mod transfer;
mod wake;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use tokio::sync::watch;

pub use campaigns::{NewCampaign, Planned, Where};
pub use catalogue::{Depth, Edge};
pub use device::{Next, Offer, Report, Said};
pub use devices::{Found, NewDevice, Page, Search};
pub use fleet::{Feed, Told};
pub use packages::{Complete, Download, FileInfo, NewPackage, Progress};
pub use people::{Audited, Minted};
pub use refusal::Refusal;
pub use transfer::{Imported, Line, LineError, Unknown};
pub use wake::Waker;

use crate::access::{Scope, Tenant};
use crate::blob::Blobs;
pub use crate::blob::{BlobError, Promise};
use crate::clock::Clock;
use crate::store::{Answered, AnsweredTo, Batch, Committed, Failure, Noun, Refused, Store};
use fleet::Fleet;
use refusal::missing;

/// The server: its store, its bytes, and what it holds in memory to be fast.
pub struct Server {
    store: Store,
    blobs: Blobs,
    clock: Clock,
    waker: Waker,
    fleets: RwLock<BTreeMap<Tenant, Arc<Fleet>>>,
    applied: watch::Sender<i64>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("store", &self.store).finish_non_exhaustive()
    }
}

/// A request that may be repeated: its `Idempotency-Key`, and a digest of what it asks for.
#[derive(Clone, Debug)]
pub struct Once {
    /// The key.
    pub key: String,
    /// The digest.
    pub request: String,
}

/// Whether it happened now or before.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It happened now.
    Done(Committed),
    /// It happened before, to this subject.
    Again(String),
}

impl Server {
    /// Begins with what is in the store, and follows it from then on.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn start(
        store: Store,
        blobs: Blobs,
        clock: Clock,
        waker: Waker,
    ) -> Result<Arc<Self>, Refusal> {
        let fleets = RwLock::default();
        let server = Self { store, blobs, clock, waker, fleets, applied: watch::Sender::new(0) };
        let server = Arc::new(server);
        server.load().await?;
        server.sweep().await?;
        tokio::spawn(follow::follow(Arc::downgrade(&server)));
        Ok(server)
    }

    /// The time.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// All tenants.
    pub fn tenants(&self) -> Vec<Tenant> {
        let fleets = self.fleets.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        fleets.keys().copied().collect()
    }

    /// Numbers for those who watch the server: name, meaning, number.
    pub fn numbers(&self) -> Vec<(&'static str, &'static str, u64)> {
        let fleets = self.fleets.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let devices = fleets.values().map(|fleet| fleet.index().len()).sum();
        let applied = u64::try_from(*self.applied.borrow()).unwrap_or(0);
        vec![
            ("freshen_fleet_tenants", "Tenants.", fleets.len() as u64),
            ("freshen_fleet_devices", "Devices of all tenants.", devices),
            ("freshen_fleet_event", "The last event that the index has seen.", applied),
        ]
    }

    /// Commits, and returns when the index of this node has seen it.
    async fn write(&self, batch: Batch) -> Result<Committed, Refusal> {
        let committed = self.store.commit(batch).await?;
        self.seen(committed.event).await;
        Ok(committed)
    }

    /// Commits what is to happen once under a key; a repetition changes nothing.
    async fn write_once(
        &self,
        scope: &Scope,
        batch: Batch,
        once: Option<Once>,
        subject: &str,
    ) -> Result<Outcome, Refusal> {
        let Some(once) = once else { return Ok(Outcome::Done(self.write(batch).await?)) };
        // Asked before, so that a repetition is not refused because what it made is there.
        if let Some(again) = self.again(scope, &once).await? {
            return Ok(again);
        }
        let answered = Answered {
            key: once.key.clone(),
            request: once.request.clone(),
            status: 201,
            location: None,
            body: subject.to_owned(),
            at: self.now(),
        };
        match self.write(batch.once(Some(answered))).await {
            Err(Refusal::Store(Failure::Refused(Refused::Repeated))) => {
                self.again(scope, &once).await?.ok_or_else(|| Refused::Repeated.into())
            }
            committed => committed.map(Outcome::Done),
        }
    }

    /// What a request with this key made before.
    async fn again(&self, scope: &Scope, once: &Once) -> Result<Option<Outcome>, Refusal> {
        let asked = AnsweredTo { key: once.key.clone() };
        match self.store.ask(scope, asked).await? {
            Some(answered) if answered.request == once.request => {
                Ok(Some(Outcome::Again(answered.body)))
            }
            Some(_) => Err(Refusal::KeyReused),
            None => Ok(None),
        }
    }

    /// Waits until the index has seen an event.
    async fn seen(&self, event: i64) {
        let mut applied = self.applied.subscribe();
        // The follower lives as long as this server.
        let _ = applied.wait_for(|applied| *applied >= event).await;
    }

    /// What is in memory of the scope's tenant.
    fn fleet(&self, scope: &Scope) -> Result<Arc<Fleet>, Refusal> {
        self.fleet_of(scope.tenant()).ok_or_else(|| missing(Noun::Tenant))
    }

    fn fleet_of(&self, tenant: Tenant) -> Option<Arc<Fleet>> {
        let fleets = self.fleets.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        fleets.get(&tenant).cloned()
    }
}

/// A new id, a random UUID.
fn new_id() -> Result<String, Refusal> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

fn random(bytes: &mut [u8]) -> Result<(), Refusal> {
    getrandom::fill(bytes)
        .map_err(|error| Failure::Broken(format!("no random numbers: {error}")).into())
}
