//! Who calls, and what they say: the only way from HTTP to the server. A handler that does not name what
//! its caller needs gets no scope, and without a scope the server is not to be had.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::{Json, RequestExt};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::access::{Denied, Need, Scope, Secret};
use crate::server::{Once, Server};

/// Bytes of an `Idempotency-Key`.
pub(crate) const KEY_BYTES_MAX: usize = 100;

/// What handlers are given; only this room reaches into it.
#[derive(Clone, Debug)]
pub(super) struct App {
    server: Arc<Server>,
}

impl App {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    /// For the few routes that everybody may ask: health and numbers.
    pub(super) fn in_public(&self) -> &Arc<Server> {
        &self.server
    }
}

/// What a caller needs, as a type.
pub(super) trait Level: Send + Sync {
    const NEED: Need;
}

macro_rules! levels {
    ($($name:ident => $need:ident),*) => { $(
        #[derive(Debug)]
        pub(super) struct $name;
        impl Level for $name {
            const NEED: Need = Need::$need;
        }
    )* };
}
levels!(View => View, Operate => Operate, Administer => Administer, AsDevice => Device);

/// A call by somebody who may.
#[derive(Debug)]
pub(super) struct Call<L> {
    pub(super) server: Arc<Server>,
    pub(super) scope: Scope,
    level: PhantomData<L>,
}

impl<L: Level> FromRequestParts<App> for Call<L> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let secret = token.and_then(|token| Secret::read(token.trim()).ok());
        let secret = secret.ok_or_else(|| Problem::from(Denied::Nobody))?;
        let scope = app.server.admit(secret.digest(), L::NEED).await?;
        Ok(Self { server: app.server.clone(), scope, level: PhantomData })
    }
}

/// The names in a path.
#[derive(Debug)]
pub(super) struct Place<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Place<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let found = Path::<T>::from_request_parts(parts, app).await;
        found
            .map(|Path(place)| Self(place))
            .map_err(|error: PathRejection| Problem::senseless(error.body_text()))
    }
}

/// What stands behind the `?`.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let found = Query::<T>::from_request_parts(parts, app).await;
        found
            .map(|Query(asked)| Self(asked))
            .map_err(|error: QueryRejection| Problem::senseless(error.body_text()))
    }
}

/// A JSON body, and the key under which the request is done once.
#[derive(Debug)]
pub(super) struct Body<T> {
    pub(super) value: T,
    pub(super) once: Option<Once>,
}

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let headers = request.headers().clone();
        let typed = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let typed = typed.is_some_and(|value| value.starts_with("application/json"));
        if !typed {
            return Err(Problem::unsupported("application/json"));
        }
        let bytes: Bytes = request.extract().await.map_err(
            |error: axum::extract::rejection::BytesRejection| {
                Problem::unread(error.status(), error.body_text())
            },
        )?;
        let Json(value) = Json::from_bytes(&bytes)
            .map_err(|error: JsonRejection| Problem::senseless(error.body_text()))?;
        let once = once(&headers, &[method.as_str().as_bytes(), uri.path().as_bytes(), &bytes])?;
        Ok(Self { value, once })
    }
}

/// The request's key, with a digest of what it asks for.
pub(super) fn once(headers: &HeaderMap, request: &[&[u8]]) -> Result<Option<Once>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let what = format!("an Idempotency-Key has 1 to {KEY_BYTES_MAX} visible ASCII characters");
        return Err(Problem::senseless(what));
    }
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for part in request {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finish();
    let request = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(Once { key: key.to_owned(), request }))
}

/// The revision of `If-Match`.
#[derive(Clone, Copy, Debug)]
pub(super) struct IfMatch(pub(super) Option<i64>);

impl FromRequestParts<App> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        // What is none of our tags matches nothing.
        Ok(Self(Some(number.and_then(|number| number.parse().ok()).unwrap_or(-1))))
    }
}
