//! Asks a server over HTTP, and shows what it answers: as JSON, or as a table.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body, SendBody};

use super::To;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read at most, but for an export.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A server, and who asks.
pub(super) struct Client {
    agent: Agent,
    to: To,
}

impl Client {
    pub(super) fn new(to: To) -> anyhow::Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .build();
        Ok(Self { agent: Agent::new_with_config(config), to })
    }

    /// Asks, with a JSON body if there is one; what is not 2xx is told in the server's words.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (kind, bytes) = match body {
            Some(body) => ("application/json", body.to_string()),
            None => ("", String::new()),
        };
        let mut answer = if body.is_some() {
            self.send(method, path, kind, SendBody::from_owned_reader(std::io::Cursor::new(bytes)))?
        } else {
            self.send(method, path, kind, SendBody::none())?
        };
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }

    /// Sends a body of any kind.
    pub(super) fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: SendBody<'_>,
    ) -> anyhow::Result<Response<Body>> {
        let Some(token) = &self.to.token else {
            bail!(
                "a token is needed: set FRESHEN_FLEET_TOKEN, or give --token; the first start of \
                 `freshen-fleet serve` prints the administrator's"
            );
        };
        let uri = format!("{}/api/v1{path}", self.to.url.trim_end_matches('/'));
        let mut request = Request::builder()
            .method(method)
            .uri(&uri)
            .header("authorization", format!("Bearer {token}"));
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let request = request.body(body)?;
        let mut answer = self
            .agent
            .run(request)
            .with_context(|| format!("{} does not answer; does the server run?", self.to.url))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("it does not say why");
        Err(anyhow!("{detail} ({})", problem["code"].as_str().unwrap_or(answer.status().as_str())))
    }

    /// Sends a file with a progress bar.
    pub(super) fn upload(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        file: &Path,
    ) -> anyhow::Result<Value> {
        let opened = std::fs::File::open(file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let bar = ProgressBar::new(opened.metadata()?.len());
        let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        bar.set_style(ProgressStyle::with_template(style)?);
        let reader = bar.wrap_read(opened);
        let sent = self.send(method, path, kind, SendBody::from_owned_reader(reader));
        bar.finish_and_clear();
        let text = sent?.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Copies an answer to standard output as it comes.
    pub(super) fn pour(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.send(Method::GET, path, "", SendBody::none())?;
        let mut reader = answer.into_body().into_with_config().limit(u64::MAX).reader();
        let mut out = std::io::stdout().lock();
        let mut chunk = [0; 64 * 1024];
        loop {
            let read = reader.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            std::io::Write::write_all(&mut out, &chunk[..read])?;
        }
    }

    /// All pages of a list.
    pub(super) fn all(&self, path: &str) -> anyhow::Result<Value> {
        let mut items = vec![];
        let mut cursor: Option<String> = None;
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let at = cursor.as_deref().map_or(String::new(), |cursor| {
                format!("{sign}cursor={}", crate::api::encoded(cursor))
            });
            let mut page = self.call(Method::GET, &format!("{path}{at}"), None)?;
            if let Some(more) = page["items"].as_array_mut() {
                items.append(more);
            }
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    /// Shows an answer: JSON, or for people the columns that are named.
    pub(super) fn show(&self, answer: &Value, columns: &[&str]) -> anyhow::Result<()> {
        if self.to.json {
            return super::print(&answer.to_string());
        }
        match answer {
            Value::Null => super::print("done"),
            Value::Array(rows) => super::print(&table(rows, columns)),
            one => super::print(&table(std::slice::from_ref(one), columns)),
        }
    }
}

/// Rows under their columns; `a.b` is member `b` of member `a`.
fn table(rows: &[Value], columns: &[&str]) -> String {
    let head: Vec<String> = columns
        .iter()
        .map(|column| column.rsplit('.').next().unwrap_or(column).to_uppercase())
        .collect();
    let mut lines = vec![head];
    for row in rows {
        let cell = |column: &&str| {
            let found = column.split('.').fold(row, |value, member| &value[member]);
            text(found)
        };
        lines.push(columns.iter().map(cell).collect());
    }
    let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut all = String::new();
    for line in &lines {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            shown.push_str(&format!("{cell:width$}  "));
        }
        all.push_str(shown.trim_end());
        all.push('\n');
    }
    all.trim_end().to_owned()
}

/// A value on one line, without what could move a cursor.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of_item).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn text_of_item(item: &Value) -> String {
    match (&item["name"], &item["version"]) {
        (Value::String(name), Value::String(version)) => format!("{name} {version}"),
        _ => text(item),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_line_up_and_cannot_move_the_cursor() {
        let rows = [
            json!({ "id": "V1", "counts": { "total": 7 }, "tags": ["a", "b"] }),
            json!({ "id": "V\u{1b}[2J", "packages": [] }),
        ];
        let shown = table(&rows, &["id", "counts.total", "tags"]);
        assert_eq!(shown, "ID     TOTAL  TAGS\nV1     7      a, b\nV?[2J");
    }
}
