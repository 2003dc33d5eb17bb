//! SQLite: one connection that writes, a few that read. It is in this process, so that its futures are
//! ready when they are made; slow questions are asked on threads that may wait.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};

use super::ask::Question;
use super::batch::{Batch, Committed};
use super::commit;
use super::schema;
use super::sql::{Failure, Later, Row, Sql, Value};
use crate::access::Tenant;

/// Connections that read at once. Each is asked by one thread; two cores are busy with four.
const READERS_MAX: usize = 8;
/// Prepared statements that a connection keeps: more than this store has.
const STATEMENTS_MAX: usize = 256;
/// How long a backup that holds the file may make others wait.
const BUSY: Duration = Duration::from_secs(5);

/// The file, and connections that read it.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    readers: Arc<Mutex<Vec<Link>>>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link(Connection);

impl Sqlite {
    /// Opens the file or makes it, brings its tables up to date, and gives the connection that writes.
    pub(super) fn open(path: &Path) -> Result<(Self, Link), Failure> {
        let mut writer = Link::open(path)?;
        // WAL: those who read do not wait for who writes. FULL: a commit is on the disk.
        for pragma in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"] {
            writer.ask_now(pragma)?;
        }
        writer.ask_now("BEGIN IMMEDIATE")?;
        now(schema::migrate(&mut writer, str::to_owned))?;
        writer.ask_now("COMMIT")?;
        Ok((Self { path: path.to_owned(), readers: Arc::default() }, writer))
    }

    pub(super) async fn ask<Q: Question>(
        &self,
        tenant: Tenant,
        question: Q,
    ) -> Result<Q::Answer, Failure> {
        let this = self.clone();
        let answered = tokio::task::spawn_blocking(move || this.ask_here(tenant, &question));
        answered.await.unwrap_or_else(|_| Err(Failure::Broken("a question panicked".into())))
    }

    fn ask_here<Q: Question>(&self, tenant: Tenant, question: &Q) -> Result<Q::Answer, Failure> {
        let idle = self.readers.lock().ok().and_then(|mut readers| readers.pop());
        let mut link = idle.map_or_else(|| Link::open(&self.path), Ok)?;
        // One snapshot for all statements of a question.
        link.ask_now("BEGIN")?;
        let answer = now(question.sql(tenant, &mut link));
        link.ask_now("COMMIT")?;
        if let Ok(mut readers) = self.readers.lock()
            && readers.len() < READERS_MAX
        {
            readers.push(link);
        }
        answer
    }

    /// Copies the whole database to another file while it is in use.
    pub(super) fn copy(&self, to: &Path) -> Result<(), Failure> {
        let from = Link::open(&self.path)?;
        let mut copy = Connection::open(to).map_err(failure)?;
        let backup = rusqlite::backup::Backup::new(&from.0, &mut copy).map_err(failure)?;
        backup.run_to_completion(1024, Duration::ZERO, None).map_err(failure)?;
        drop(backup);
        copy.close().map_err(|(_, error)| failure(error))
    }
}

impl Link {
    fn open(path: &Path) -> Result<Self, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failure)?;
        connection.busy_timeout(BUSY).map_err(failure)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self(connection))
    }

    /// Commits a group of batches.
    pub(super) fn commit(
        &mut self,
        batches: &[Batch],
    ) -> Result<Vec<Result<Committed, Failure>>, Failure> {
        now(commit::commit(self, "BEGIN IMMEDIATE", batches))
    }

    fn ask_now(&mut self, text: &str) -> Result<Vec<Row>, Failure> {
        let mut statement = self.0.prepare_cached(text).map_err(failure)?;
        read(&mut statement, &[])
    }
}

/// The result of a future that never waits.
fn now<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let ready = future.now_or_never();
    ready.unwrap_or_else(|| Err(Failure::Broken("SQLite was waited for".into())))
}

impl Sql for Link {
    fn run<'a>(&'a mut self, sql: &'a str, values: &'a [Value]) -> Later<'a, Result<u64, Failure>> {
        let ran = self.0.prepare_cached(sql).map_err(failure).and_then(|mut statement| {
            let changed = statement.execute(rusqlite::params_from_iter(values)).map_err(failure)?;
            Ok(changed as u64)
        });
        Box::pin(std::future::ready(ran))
    }

    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        values: &'a [Value],
    ) -> Later<'a, Result<Vec<Row>, Failure>> {
        let rows = self.0.prepare_cached(sql).map_err(failure);
        Box::pin(std::future::ready(rows.and_then(|mut statement| read(&mut statement, values))))
    }
}

fn read(statement: &mut rusqlite::Statement<'_>, values: &[Value]) -> Result<Vec<Row>, Failure> {
    let columns = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(values)).map_err(failure)?;
    let mut all = vec![];
    while let Some(row) = rows.next().map_err(failure)? {
        let mut read = Vec::with_capacity(columns);
        for column in 0..columns {
            read.push(match row.get_ref(column).map_err(failure)? {
                ValueRef::Integer(value) => Value::Int(value),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
                ValueRef::Null | ValueRef::Real(_) => Value::Null,
            });
        }
        all.push(Row(read));
    }
    Ok(all)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn failure(error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Failure::Full,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly,
        ) => Failure::Away(error.to_string()),
        _ => Failure::Broken(error.to_string()),
    }
}
