//! Shapes of answers: created, tagged with a revision, a line an item; and bodies that are waited for,
//! but not for ever.

use std::future::Future;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use crate::server::Refusal;

/// A line an item.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// How long a sender may send nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that was made: 201, where it is, its revision, and what it is.
#[derive(Debug)]
pub(super) struct Created<T> {
    location: String,
    revision: i64,
    made: T,
}

impl<T> Created<T> {
    pub(super) fn new(path: &[&str], revision: i64, made: T) -> Self {
        let mut location = "/api/v1".to_owned();
        for part in path {
            location.push('/');
            location.push_str(&encoded(part));
        }
        Self { location, revision, made }
    }
}

/// A name as it stands in a path.
pub(crate) fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = Tagged(self.revision, self.made).into_response();
        *response.status_mut() = StatusCode::CREATED;
        if let Ok(location) = HeaderValue::from_str(&self.location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// Something with its revision as `ETag`.
#[derive(Debug)]
pub(super) struct Tagged<T>(pub(super) i64, pub(super) T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.1).into_response();
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.0)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// Pages as a stream of lines. What cannot be read on the way breaks the stream off, so that nobody
/// takes a part for the whole.
pub(super) fn lines<T, F, N>(first: Option<(Vec<T>, u32)>, next: N) -> Response
where
    T: Serialize + Send + 'static,
    N: Fn(u32) -> F + Send + 'static,
    F: Future<Output = Result<Option<(Vec<T>, u32)>, Refusal>> + Send,
{
    let pages = stream::unfold((Some(first), next), |(page, next)| async move {
        let (items, after) = page??;
        let mut text = Vec::new();
        for item in &items {
            serde_json::to_writer(&mut text, item).ok()?;
            text.push(b'\n');
        }
        match next(after).await {
            Ok(page) => Some((Ok(Bytes::from(text)), (Some(page), next))),
            Err(refusal) => Some((Err(std::io::Error::other(refusal.to_string())), (None, next))),
        }
    });
    let kind = HeaderValue::from_static(NDJSON);
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(pages)).into_response()
}

/// The bytes of a body; of a sender who sends nothing for a while, an end that is an error.
pub(super) fn patient(body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    stream::unfold(Some(body.into_data_stream()), |bytes| async move {
        let mut bytes = bytes?;
        match tokio::time::timeout(PATIENCE, bytes.next()).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(bytes))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(axum::Error::new("nothing came for a minute")), None)),
        }
    })
}
