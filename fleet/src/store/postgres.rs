//! PostgreSQL 15 or newer, or what speaks its protocol: several nodes may use one. Neither
//! LISTEN/NOTIFY nor advisory locks nor extensions are needed.

use std::time::Duration;

use bytes::BytesMut;
use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Config, NoTls};

use super::ask::Question;
use super::batch::{Batch, Committed};
use super::commit;
use super::schema;
use super::sql::{Failure, Later, Row, Sql, Value};
use crate::access::Tenant;

/// Connections of one node, the writer's among them.
const CONNECTIONS_MAX: usize = 12;
/// How long a caller waits for a connection before it is told that the database is away.
const WAIT: Duration = Duration::from_secs(5);
/// How often a transaction that lost against another node's is tried anew.
const TRIES_MAX: usize = 5;

/// A pool of connections.
#[derive(Clone)]
pub(super) struct Postgres(Pool);

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres")
    }
}

impl Postgres {
    /// Connects and brings the tables up to date. `address` is as libpq has it.
    pub(super) async fn open(address: &str) -> Result<Self, Failure> {
        let mut config: Config =
            address.parse().map_err(|error| Failure::Broken(format!("its address: {error}")))?;
        config.connect_timeout(WAIT).keepalives_idle(Duration::from_secs(30));
        config.application_name("freshen-fleet");
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, NoTls, recycling);
        let timeouts = Timeouts { wait: Some(WAIT), create: Some(WAIT), recycle: Some(WAIT) };
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Failure::Broken(error.to_string()))?;
        let this = Self(pool);
        let mut link = this.link().await?;
        link.run("BEGIN", &[]).await?;
        // Two nodes that start at once on an empty database: the second waits here.
        link.run("LOCK TABLE pg_catalog.pg_namespace IN SHARE ROW EXCLUSIVE MODE", &[]).await.ok();
        let migrated = schema::migrate(&mut link, dialect).await;
        link.run(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" }, &[]).await?;
        migrated.map(|()| this)
    }

    async fn link(&self) -> Result<Link, Failure> {
        match self.0.get().await {
            Ok(client) => Ok(Link(client)),
            Err(error) => Err(Failure::Away(error.to_string())),
        }
    }

    pub(super) async fn ask<Q: Question>(
        &self,
        tenant: Tenant,
        question: Q,
    ) -> Result<Q::Answer, Failure> {
        question.sql(tenant, &mut self.link().await?).await
    }

    /// Commits a group of batches; anew when another node's transaction was in the way.
    pub(super) async fn commit(
        &self,
        batches: &[Batch],
    ) -> Result<Vec<Result<Committed, Failure>>, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut link = self.link().await?;
            match commit::commit(&mut link, "BEGIN", batches).await {
                Err(Failure::Away(why)) if why == AGAIN && tries < TRIES_MAX => {}
                Err(failure) => {
                    // Whatever state it is in: nobody uses this connection again.
                    drop(Client::take(link.0));
                    return Err(failure);
                }
                answers => return answers,
            }
        }
    }
}

/// A connection out of the pool.
struct Link(Client);

/// PostgreSQL writes `$1`.
fn words(sql: &str) -> String {
    sql.replace('?', "$")
}

/// A table as PostgreSQL has it. Text is ordered by its bytes, as in SQLite and in memory.
fn dialect(sql: &str) -> String {
    sql.replace(" TEXT", " TEXT COLLATE \"C\"").replace(" BLOB", " BYTEA")
}

impl Sql for Link {
    fn run<'a>(&'a mut self, sql: &'a str, values: &'a [Value]) -> Later<'a, Result<u64, Failure>> {
        Box::pin(async move {
            if values.is_empty() {
                return self.0.batch_execute(sql).await.map(|()| 0).map_err(failure);
            }
            let statement = self.0.prepare_cached(&words(sql)).await.map_err(failure)?;
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            self.0.execute(&statement, &values).await.map_err(failure)
        })
    }

    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        values: &'a [Value],
    ) -> Later<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            let statement = self.0.prepare_cached(&words(sql)).await.map_err(failure)?;
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            let rows = self.0.query(&statement, &values).await.map_err(failure)?;
            Ok(rows.iter().map(read).collect())
        })
    }
}

fn read(row: &tokio_postgres::Row) -> Row {
    let column = |n: usize| match *row.columns()[n].type_() {
        Type::INT8 => row.get::<_, Option<i64>>(n).map_or(Value::Null, Value::Int),
        Type::INT4 => {
            row.get::<_, Option<i32>>(n).map_or(Value::Null, |value| Value::Int(value.into()))
        }
        Type::BYTEA => row.get::<_, Option<Vec<u8>>>(n).map_or(Value::Null, Value::Blob),
        _ => row.get::<_, Option<String>>(n).map_or(Value::Null, Value::Text),
    };
    Row((0..row.len()).map(column).collect())
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) if *ty == Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
            Self::Int(value) => value.to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Blob(bytes) => bytes.as_slice().to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    to_sql_checked!();
}

/// What a transaction says that lost against another one: it can be tried again as it was.
const AGAIN: &str = "another node was faster";

fn failure(error: tokio_postgres::Error) -> Failure {
    let Some(state) = error.code() else {
        // No answer at all: the connection is gone.
        return Failure::Away(error.to_string());
    };
    match *state {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
            Failure::Away(AGAIN.into())
        }
        SqlState::DISK_FULL => Failure::Full,
        _ if state.code().starts_with("57") || state.code().starts_with("08") => {
            Failure::Away(error.to_string())
        }
        SqlState::TOO_MANY_CONNECTIONS | SqlState::READ_ONLY_SQL_TRANSACTION => {
            Failure::Away(error.to_string())
        }
        _ => Failure::Broken(match error.as_db_error() {
            Some(error) => error.message().to_owned(),
            None => error.to_string(),
        }),
    }
}
