//! This room is the truth: what was acknowledged is here, on disk. Reads are questions ([`Question`]),
//! writes are values ([`Batch`]); nobody outside knows a table. SQLite, PostgreSQL and memory answer
//! alike, and one suite judges all three. It does not decide anything, and it keeps no bytes of
//! packages.

mod apply;
mod ask;
mod batch;
pub mod chain;
mod commit;
mod memory;
mod postgres;
mod record;
mod schema;
mod sql;
mod sqlite;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

pub use ask::*;
pub use batch::{Batch, Change, Committed, Happened, Listed, Noun, Refused};
pub use record::*;
pub use sql::Failure;

use crate::access::{Credential, Digest, Scope, Tenant};
use memory::{Fleet, Memory};
use postgres::Postgres;
use sqlite::Sqlite;
use writer::Writer;

/// The name of the tenant that needs no mention.
pub const DEFAULT_TENANT: &str = "default";
/// Whom questions about all tenants are asked for.
const NOBODY: Tenant = 0;

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    kind: Kind,
    writer: Writer,
}

#[derive(Clone, Debug)]
enum Kind {
    Sqlite(Sqlite),
    Postgres(Postgres),
    Memory(Arc<Mutex<Memory>>),
}

impl Store {
    /// A file of SQLite, made when it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is newer than this program.
    pub async fn sqlite(path: &Path) -> Result<Self, Failure> {
        let (sqlite, mut link) = Sqlite::open(path)?;
        let head = sqlite.ask(NOBODY, EventHead {}).await?;
        let writer = Writer::begin(head, move |batches| link.commit(batches)).map_err(thread)?;
        Self { kind: Kind::Sqlite(sqlite), writer }.founded().await
    }

    /// A database of PostgreSQL; `address` is as libpq has it
    /// (`host=/run/postgresql user=fleet dbname=fleet`).
    ///
    /// # Errors
    ///
    /// It cannot be reached, or is newer than this program.
    pub async fn postgres(address: &str) -> Result<Self, Failure> {
        let postgres = Postgres::open(address).await?;
        let head = postgres.ask(NOBODY, EventHead {}).await?;
        let (runtime, hand) = (tokio::runtime::Handle::current(), postgres.clone());
        let writer = Writer::begin(head, move |batches| runtime.block_on(hand.commit(batches)))
            .map_err(thread)?;
        Self { kind: Kind::Postgres(postgres), writer }.founded().await
    }

    /// Memory, gone with the process: for tests and the simulator.
    ///
    /// # Errors
    ///
    /// No thread can be begun.
    pub async fn memory() -> Result<Self, Failure> {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let hand = memory.clone();
        let writer = Writer::begin(0, move |batches| {
            let mut memory = hand.lock().map_err(|_| Failure::Broken("poisoned".into()))?;
            Ok(batches.iter().map(|batch| memory.commit(batch).map_err(Failure::from)).collect())
        });
        Self { kind: Kind::Memory(memory), writer: writer.map_err(thread)? }.founded().await
    }

    /// Makes the default tenant where there is none.
    async fn founded(self) -> Result<Self, Failure> {
        if self.tenants().await?.is_empty() {
            match &self.kind {
                Kind::Memory(memory) => {
                    let mut memory =
                        memory.lock().map_err(|_| Failure::Broken("poisoned".into()))?;
                    memory.found(DEFAULT_TENANT);
                }
                Kind::Sqlite(_) | Kind::Postgres(_) => {
                    self.ask_as(NOBODY, Found { name: DEFAULT_TENANT.into() }).await?;
                }
            }
        }
        Ok(self)
    }

    async fn ask_as<Q: Question>(&self, tenant: Tenant, question: Q) -> Result<Q::Answer, Failure> {
        match &self.kind {
            Kind::Sqlite(sqlite) => sqlite.ask(tenant, question).await,
            Kind::Postgres(postgres) => postgres.ask(tenant, question).await,
            Kind::Memory(memory) => {
                let memory = memory.lock().map_err(|_| Failure::Broken("poisoned".into()))?;
                let nobody = Fleet::default();
                Ok(question.memory(memory.fleets.get(&tenant).unwrap_or(&nobody), &memory))
            }
        }
    }

    /// Asks a question about the scope's tenant.
    ///
    /// # Errors
    ///
    /// The database cannot answer.
    pub async fn ask<Q: Question>(&self, scope: &Scope, question: Q) -> Result<Q::Answer, Failure> {
        self.ask_as(scope.tenant(), question).await
    }

    /// Commits a batch: it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// It was refused and nothing of it happened; or the database is away.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, Failure> {
        self.writer.commit(batch).await
    }

    /// The credential behind a token.
    ///
    /// # Errors
    ///
    /// The database cannot answer.
    pub async fn credential(&self, digest: Digest) -> Result<Option<Credential>, Failure> {
        self.ask_as(NOBODY, TokenByDigest { digest }).await
    }

    /// All tenants.
    ///
    /// # Errors
    ///
    /// The database cannot answer.
    pub async fn tenants(&self) -> Result<Vec<TenantName>, Failure> {
        self.ask_as(NOBODY, Tenants {}).await
    }

    /// What happened after an event, of all tenants: for the one that follows.
    ///
    /// # Errors
    ///
    /// The database cannot answer.
    pub async fn events_after(&self, after: i64, limit: u32) -> Result<Vec<Event>, Failure> {
        self.ask_as(NOBODY, EventsAfter { after, limit }).await
    }

    /// The number of the last event.
    ///
    /// # Errors
    ///
    /// The database cannot answer.
    pub async fn event_head(&self) -> Result<i64, Failure> {
        self.ask_as(NOBODY, EventHead {}).await
    }

    /// The number of the last event that this process committed, as it grows.
    pub fn committed(&self) -> watch::Receiver<i64> {
        self.writer.head()
    }

    /// Whether other processes may write to it too.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Postgres(_))
    }

    /// Copies the whole store to a file while it is in use.
    ///
    /// # Errors
    ///
    /// It cannot be copied; only SQLite can, PostgreSQL has `pg_dump`.
    pub async fn copy(&self, to: &Path) -> Result<(), Failure> {
        let Kind::Sqlite(sqlite) = &self.kind else {
            let what = "only the embedded database is copied here; for PostgreSQL use pg_dump";
            return Err(Failure::Broken(what.into()));
        };
        let (sqlite, to) = (sqlite.clone(), to.to_owned());
        let copied = tokio::task::spawn_blocking(move || sqlite.copy(&to));
        copied.await.unwrap_or_else(|_| Err(Failure::Broken("the copy panicked".into())))
    }
}

fn thread(error: std::io::Error) -> Failure {
    Failure::Broken(format!("no thread to write with: {error}"))
}
