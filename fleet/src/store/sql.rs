//! The words in which both databases are asked: statements with `?1`, `?2` … and values of four types.
//! SQLite and PostgreSQL understand the same statements here (PostgreSQL writes `$1`), so that there is
//! one text of every change and every question, and one suite that judges it over both.

use std::future::Future;
use std::pin::Pin;

use super::batch::Refused;

/// A future that may be sent to another thread.
pub(super) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One value of a statement or of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}
impl From<u64> for Value {
    /// Sizes above 2^63 are refused at the border, so that none is cut off here.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}
impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The values of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::sql::Value::from($value)),*] };
}
pub(super) use values;

/// A row of an answer.
#[derive(Clone, Debug)]
pub(super) struct Row(pub(super) Vec<Value>);

impl Row {
    pub(super) fn int(&self, column: usize) -> i64 {
        match self.0.get(column) {
            Some(Value::Int(value)) => *value,
            _ => 0,
        }
    }

    pub(super) fn maybe_int(&self, column: usize) -> Option<i64> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn number(&self, column: usize) -> u32 {
        u32::try_from(self.int(column)).unwrap_or(u32::MAX)
    }

    pub(super) fn size(&self, column: usize) -> u64 {
        u64::try_from(self.int(column)).unwrap_or(0)
    }

    pub(super) fn text(&self, column: usize) -> String {
        self.maybe_text(column).unwrap_or_default()
    }

    pub(super) fn maybe_text(&self, column: usize) -> Option<String> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Some(value.clone()),
            _ => None,
        }
    }

    pub(super) fn blob(&self, column: usize) -> &[u8] {
        match self.0.get(column) {
            Some(Value::Blob(value)) => value,
            _ => &[],
        }
    }
}

/// Why a statement did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The batch is not to be.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database cannot be reached, or is busy for too long.
    #[error("the database is away: {0}")]
    Away(String),
    /// There is no room on its disk.
    #[error("the database's disk is full")]
    Full,
    /// What it says makes no sense to us: a defect, here or there.
    #[error("the database says: {0}")]
    Broken(String),
}

/// A connection: one statement after the other.
pub(super) trait Sql: Send {
    /// Runs a statement; how many rows it changed.
    fn run<'a>(&'a mut self, sql: &'a str, values: &'a [Value]) -> Later<'a, Result<u64, Failure>>;

    /// Asks; all rows of the answer.
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        values: &'a [Value],
    ) -> Later<'a, Result<Vec<Row>, Failure>>;
}

/// Asks; the first row of the answer.
pub(super) async fn row(
    sql: &mut dyn Sql,
    text: &str,
    values: &[Value],
) -> Result<Option<Row>, Failure> {
    Ok(sql.rows(text, values).await?.into_iter().next())
}

/// A document in a column.
pub(super) fn document<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Broken(format!("a document: {error}")))
}

/// A document for a column.
pub(super) fn written<T: serde::Serialize>(document: &T) -> String {
    serde_json::to_string(document).expect("records have text for keys, so that JSON has them")
}

/// A bitmap in a column.
pub(super) fn bitmap(bytes: &[u8]) -> Result<roaring::RoaringBitmap, Failure> {
    if bytes.is_empty() {
        return Ok(roaring::RoaringBitmap::new());
    }
    roaring::RoaringBitmap::deserialize_from(bytes)
        .map_err(|error| Failure::Broken(format!("a bitmap: {error}")))
}

/// A bitmap for a column.
pub(super) fn bits(bitmap: &roaring::RoaringBitmap) -> Vec<u8> {
    if bitmap.is_empty() {
        return vec![];
    }
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut bytes).expect("a vector takes every byte");
    bytes
}
