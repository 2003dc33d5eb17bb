//! Problem details (RFC 9457), and the only place that knows which refusal has which status. `code` and
//! `description` are the words of the first server of this kind.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Denied;
use crate::plan::filter::FilterError;
use crate::plan::words::WordError;
use crate::server::{BlobError, Refusal};
use crate::store::{Failure, Noun, Refused};

/// Seconds after which a client may try again when the database is away.
const RETRY_S: &str = "2";

/// What went wrong, as RFC 9457 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:freshen:problem:missing_device")]
    pub kind: Box<str>,
    /// The status, in words.
    #[schema(value_type = String)]
    pub title: &'static str,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened, to what, and what to do next.
    pub detail: String,
    /// One word, which programs compare.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// The same as `detail`.
    #[schema(value_type = String)]
    pub description: Box<str>,
    /// Where in an expression it went wrong: the character, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>)]
    pub column: Option<u32>,
    /// Where an upload stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl utoipa::IntoResponses for Problem {
    fn responses()
    -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
        use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description("It was not done, and nothing changed")
            .content("application/problem+json", content)
            .build();
        std::collections::BTreeMap::from([("default".to_owned(), response.into())])
    }
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            kind: format!("urn:freshen:problem:{code}").into(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            description: detail.as_str().into(),
            detail,
            code,
            column: None,
            offset: None,
        }
    }

    /// What was said makes no sense.
    pub(super) fn senseless(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_entity", detail)
    }

    /// The body is of another type.
    pub(super) fn unsupported(wanted: &str) -> Self {
        let detail = format!("the body has to be {wanted}; say so in Content-Type");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// The body could not be read.
    pub(super) fn unread(status: StatusCode, detail: String) -> Self {
        let code =
            if status == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "invalid_entity" };
        Self::new(status, code, detail)
    }

    /// There is no such route.
    pub(super) fn no_route() -> Self {
        let detail = "there is nothing at this address; /openapi.json has all routes";
        Self::new(StatusCode::NOT_FOUND, "missing_route", detail)
    }

    /// The route has other methods.
    pub(super) fn no_method() -> Self {
        let detail = "this address has other methods; /openapi.json has all routes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_S));
            }
            StatusCode::UNAUTHORIZED => {
                let how = HeaderValue::from_static("Bearer");
                headers.insert(header::WWW_AUTHENTICATE, how);
            }
            _ => {}
        }
        if let Some(offset) = self.offset {
            headers.insert("upload-offset", HeaderValue::from(offset));
        }
        response
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Nobody | Denied::Ended => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthorized", denied.to_string())
            }
            Denied::TooLittle { .. } => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", denied.to_string())
            }
        }
    }
}

impl From<WordError> for Problem {
    fn from(error: WordError) -> Self {
        Self::senseless(error.to_string())
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Self {
        let column = u32::try_from(error.column).ok();
        Self { column, ..Self::senseless(error.to_string()) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let said = refusal.to_string();
        match refusal {
            Refusal::Denied(denied) => denied.into(),
            Refusal::Word(error) => error.into(),
            Refusal::Filter(error) => error.into(),
            Refusal::Senseless(_) => Self::senseless(said),
            Refusal::Store(failure) => stored(failure),
            Refusal::Blob(error) => blob(&error),
            Refusal::Envelope(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "envelope_refused", said)
            }
            Refusal::NotReady(_) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "package_not_ready", said)
            }
            Refusal::KeyReused => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", said),
            Refusal::Oversize { .. } => Self::new(StatusCode::CONFLICT, "oversize", said),
            Refusal::WrongState { .. } => Self::new(StatusCode::CONFLICT, "wrong_state", said),
        }
    }
}

fn stored(failure: Failure) -> Problem {
    let said = failure.to_string();
    match failure {
        Failure::Refused(refused) => match refused {
            Refused::Exists(_) => Problem::new(StatusCode::CONFLICT, "conflicting_entity", said),
            Refused::Missing(noun) => Problem::new(StatusCode::NOT_FOUND, missing(noun), said),
            Refused::InUse(_) => Problem::new(StatusCode::CONFLICT, "component_is_installed", said),
            Refused::Circle => Problem::new(StatusCode::CONFLICT, "dependency_circle", said),
            Refused::Blacklisted => {
                Problem::new(StatusCode::BAD_REQUEST, "blacklisted_package", said)
            }
            Refused::Stale(_) => Problem::new(StatusCode::PRECONDITION_FAILED, "stale", said),
            Refused::Repeated => Problem::new(StatusCode::CONFLICT, "conflicting_entity", said),
        },
        Failure::Away(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database_away", said),
        Failure::Full => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", said),
        Failure::Broken(_) => {
            // What it says is for those who run the server, not for whoever asks.
            tracing::error!("{said}");
            let detail = "the server has a defect; its log says which";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
        }
    }
}

fn missing(noun: Noun) -> &'static str {
    match noun {
        Noun::Device => "missing_device",
        Noun::Package => "missing_package",
        Noun::Needed => "missing_needed_package",
        Noun::Component => "missing_component",
        Noun::Filter => "missing_filter",
        Noun::Link => "package_filter_not_found",
        Noun::Dependency => "missing_dependency",
        Noun::Installation => "not_installed",
        Noun::Plan => "missing_plan",
        Noun::Campaign => "missing_campaign",
        Noun::Update => "missing_update",
        _ => "missing_entity",
    }
}

fn blob(error: &BlobError) -> Problem {
    let said = error.to_string();
    let at = |offset: &u64, problem: Problem| Problem { offset: Some(*offset), ..problem };
    match error {
        BlobError::Offset(offset) => {
            at(offset, Problem::new(StatusCode::CONFLICT, "wrong_offset", said))
        }
        BlobError::BrokeOff(offset) => {
            at(offset, Problem::new(StatusCode::BAD_REQUEST, "upload_broke_off", said))
        }
        BlobError::Broken { .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_digest", said)
        }
        BlobError::TooLarge(_) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", said),
        BlobError::Missing => Problem::new(StatusCode::NOT_FOUND, "missing_entity", said),
        BlobError::Full => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", said),
        BlobError::Away(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "packages_away", said),
    }
}
