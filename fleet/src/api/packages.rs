//! Packages, their files, and what they need.

use axum::Json;
use axum::body::Body as RawBody;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::{Created, Tagged, encoded, patient};
use super::call::{Asked, Call, Operate, Place, View, once};
use super::devices::Which;
use super::paging::{limit, pattern};
use super::place::{AtFile, AtNeeds, AtPackage, AtPackageFilter, AtVendor};
use super::problem::Problem;
use super::types::{Device, Edge, File, List, NewPackage, Package, Vendor};
use crate::plan::words::PackageId;
use crate::server::{Complete, Depth, Progress, Promise, Refusal};
use crate::store::{self, Listed};

/// Bytes of metadata.
const METADATA_BYTES_MAX: usize = 64 * 1024;

/// Which packages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichPackages {
    /// Whose name this regular expression finds a part of.
    regex: Option<String>,
    /// Whose version this regular expression finds a part of.
    version_regex: Option<String>,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// Lists packages, by name and version.
#[utoipa::path(get, path = "/packages", tag = "packages", params(WhichPackages),
    responses((status = 200, body = List<Package>), Problem), security(("token" = ["view"])))]
pub(super) async fn list(
    call: Call<View>,
    Asked(which): Asked<WhichPackages>,
) -> Result<Json<List<Package>>, Problem> {
    let names = pattern(which.regex.as_deref())?;
    let versions = pattern(which.version_regex.as_deref())?;
    let limit = limit(which.limit)?;
    let mut all = call.server.packages(&call.scope).await?;
    all.retain(|package| {
        names.as_ref().is_none_or(|names| names.is_match(&package.key.name))
            && versions.as_ref().is_none_or(|versions| versions.is_match(&package.key.version))
    });
    let total = Some(all.len() as u64);
    let place = |package: &store::Package| {
        format!("{}/{}", encoded(&package.key.name), encoded(&package.key.version))
    };
    if let Some(cursor) = &which.cursor {
        // The place of a package in the order is its key, and the cursor is the key in words.
        let after = all.iter().position(|package| place(package) == *cursor);
        all.drain(..after.map_or(all.len(), |after| after + 1));
    }
    let next = all.get(limit).and_then(|_| all.get(limit - 1)).map(place);
    let items = all.into_iter().take(limit).map(Package::from).collect();
    Ok(Json(List { items, next, total }))
}

/// What comes with the bytes of a package of one file.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WithBytes {
    /// Who makes it, when the body is the package's bytes.
    vendor: Option<String>,
    /// For people, when the body is the package's bytes.
    description: Option<String>,
    /// The file's path, when the body is the package's bytes; the package's name unless said.
    path: Option<String>,
    /// What SHA-256 the bytes have, hexadecimal.
    sha256: Option<String>,
    /// What SHA-1 the bytes have, hexadecimal.
    sha1: Option<String>,
}

/// Adds a package: with JSON its metadata alone; with any other body, its bytes as its one file.
#[utoipa::path(put, path = "/packages/{name}/{version}", tag = "packages",
    params(AtPackage, WithBytes),
    request_body(content((NewPackage = "application/json"), (Vec<u8> = "application/octet-stream"))),
    responses((status = 201, body = Package), Problem), security(("token" = ["operate"])))]
pub(super) async fn add(
    call: Call<Operate>,
    Place(at): Place<AtPackage>,
    Asked(with): Asked<WithBytes>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Created<Package>, Problem> {
    let key = at.package();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("application/json")) {
        let bytes = axum::body::to_bytes(body, METADATA_BYTES_MAX).await;
        let bytes = bytes
            .map_err(|error| Problem::unread(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
        let new: NewPackage = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::senseless(error.to_string()))?;
        let once = once(&headers, &[b"package", key.to_string().as_bytes(), &bytes])?;
        call.server.add_package(&call.scope, &key, &new.into(), once).await?;
        return created(&call, &key).await;
    }
    let promise = promise(&with)?;
    let path = with.path.unwrap_or_else(|| key.name.as_str().to_owned());
    let new = NewPackage {
        vendor: with.vendor.unwrap_or_default(),
        description: with.description.unwrap_or_default(),
    };
    let body = Box::pin(patient(body));
    call.server.add_whole(&call.scope, &key, &new.into(), &path, promise, body).await?;
    created(&call, &key).await
}

impl From<NewPackage> for crate::server::NewPackage {
    fn from(new: NewPackage) -> Self {
        Self { vendor: new.vendor, description: new.description }
    }
}

async fn created<L>(call: &Call<L>, key: &PackageId) -> Result<Created<Package>, Problem> {
    let package = call.server.package(&call.scope, key).await?;
    let path = ["packages", key.name.as_str(), key.version.as_str()];
    Ok(Created::new(&path, package.revision, package.into()))
}

fn promise(with: &WithBytes) -> Result<Promise, Problem> {
    let hex = |what: &str, digits: usize, text: &Option<String>| match text {
        Some(text) if text.len() != digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Err(Problem::senseless(format!("{what} has {digits} hexadecimal digits")))
        }
        Some(text) => Ok(Some(text.to_ascii_lowercase())),
        None => Ok(None),
    };
    let sha256 = hex("sha256", 64, &with.sha256)?;
    Ok(Promise { size: None, sha256, sha1: hex("sha1", 40, &with.sha1)? })
}

/// Shows a package.
#[utoipa::path(get, path = "/packages/{name}/{version}", tag = "packages", params(AtPackage),
    responses((status = 200, body = Package), Problem), security(("token" = ["view"])))]
pub(super) async fn show(
    call: Call<View>,
    Place(at): Place<AtPackage>,
) -> Result<Tagged<Package>, Problem> {
    let package = call.server.package(&call.scope, &at.package()).await?;
    Ok(Tagged(package.revision, package.into()))
}

/// Puts a package on the blacklist.
#[utoipa::path(put, path = "/packages/{name}/{version}/blacklist", tag = "packages",
    params(AtPackage), responses((status = 204), Problem), security(("token" = ["operate"])))]
pub(super) async fn blacklist(
    call: Call<Operate>,
    Place(at): Place<AtPackage>,
) -> Result<StatusCode, Problem> {
    call.server.blacklist(&call.scope, &at.package(), Listed::On).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a package off the blacklist.
#[utoipa::path(delete, path = "/packages/{name}/{version}/blacklist", tag = "packages",
    params(AtPackage), responses((status = 204), Problem), security(("token" = ["operate"])))]
pub(super) async fn unblacklist(
    call: Call<Operate>,
    Place(at): Place<AtPackage>,
) -> Result<StatusCode, Problem> {
    call.server.blacklist(&call.scope, &at.package(), Listed::Off).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the devices on which a package is installed.
#[utoipa::path(get, path = "/packages/{name}/{version}/devices", tag = "packages",
    params(AtPackage, Which), responses((status = 200, body = List<Device>), Problem),
    security(("token" = ["view"])))]
pub(super) async fn devices(
    call: Call<View>,
    Place(at): Place<AtPackage>,
    Asked(which): Asked<Which>,
) -> Result<Json<List<Device>>, Problem> {
    let among = call.server.devices_with_package(&call.scope, &at.package()).await?;
    which.page(&call, Some(among)).await.map(Json)
}

/// What is said with bytes of a file.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Digests {
    /// What SHA-256 the whole file has, hexadecimal.
    sha256: Option<String>,
    /// What SHA-1 the whole file has, hexadecimal.
    sha1: Option<String>,
}

/// Uploads a file, or its first part (`Upload-Complete: ?0`).
#[utoipa::path(put, path = "/packages/{name}/{version}/files/{path}", tag = "packages",
    params(AtFile, Digests),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = File), (status = 202), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn upload(
    call: Call<Operate>,
    Place(at): Place<AtFile>,
    Asked(digests): Asked<Digests>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, Problem> {
    part(&call, &at, digests, 0, is_last(&headers).unwrap_or(Last::Yes), body).await
}

/// Uploads more of a file: `Upload-Offset` says from where on, `Upload-Complete: ?1` that it is all.
#[utoipa::path(patch, path = "/packages/{name}/{version}/files/{path}", tag = "packages",
    params(AtFile, Digests),
    request_body(content = Vec<u8>, content_type = "application/partial-upload"),
    responses((status = 201, body = File), (status = 202), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn upload_more(
    call: Call<Operate>,
    Place(at): Place<AtFile>,
    Asked(digests): Asked<Digests>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, Problem> {
    let offset = headers.get("upload-offset").and_then(|value| value.to_str().ok());
    let offset = offset.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Problem::senseless("PATCH needs Upload-Offset: the byte from which on it goes on")
    })?;
    part(&call, &at, digests, offset, is_last(&headers).unwrap_or(Last::No), body).await
}

/// Whether these are the last bytes.
#[derive(Clone, Copy, Debug)]
enum Last {
    Yes,
    No,
}

fn is_last(headers: &HeaderMap) -> Option<Last> {
    match headers.get("upload-complete")?.to_str().ok()? {
        "?1" => Some(Last::Yes),
        "?0" => Some(Last::No),
        _ => None,
    }
}

async fn part(
    call: &Call<Operate>,
    at: &AtFile,
    Digests { sha256, sha1 }: Digests,
    offset: u64,
    last: Last,
    body: RawBody,
) -> Result<Response, Problem> {
    let promise = promise(&WithBytes { sha256, sha1, ..WithBytes::default() })?;
    let complete = match last {
        Last::Yes => Complete::Yes(promise),
        Last::No => Complete::No,
    };
    let bytes = Box::pin(patient(body));
    let progress =
        call.server.upload(&call.scope, &at.package(), &at.path, offset, complete, bytes).await?;
    Ok(match progress {
        Progress::At(offset) => {
            let headers = [
                ("upload-offset", HeaderValue::from(offset)),
                ("upload-complete", HeaderValue::from_static("?0")),
            ];
            (StatusCode::ACCEPTED, headers).into_response()
        }
        Progress::Complete(file) => {
            let headers = [("upload-complete", HeaderValue::from_static("?1"))];
            (StatusCode::CREATED, headers, Json(File::from(file))).into_response()
        }
    })
}

/// Gives the bytes of a file; `HEAD` says how far its upload is.
#[utoipa::path(get, path = "/packages/{name}/{version}/files/{path}", tag = "packages",
    params(AtFile),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, body = Vec<u8>, content_type = "application/octet-stream"), Problem),
    security(("token" = ["view"])))]
pub(super) async fn download(
    call: Call<View>,
    Place(at): Place<AtFile>,
    method: axum::http::Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if method == axum::http::Method::HEAD {
        return how_far(&call, &at).await;
    }
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let mut partial = false;
    let range = |size: u64| {
        let range = wanted.and_then(|wanted| range(wanted, size));
        partial = range.is_some();
        range
    };
    let out = call.server.download(&call.scope, &at.package(), &at.path, range).await?;
    let length = out.range.end - out.range.start;
    let mut response = RawBody::from_stream(out.bytes).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", out.file.sha256)) {
        headers.insert(header::ETAG, tag);
    }
    if partial {
        let last = out.range.end.saturating_sub(1);
        let text = format!("bytes {}-{last}/{}", out.range.start, out.file.size);
        if let Ok(text) = HeaderValue::from_str(&text) {
            headers.insert(header::CONTENT_RANGE, text);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

async fn how_far(call: &Call<View>, at: &AtFile) -> Result<Response, Problem> {
    let progress = call.server.progress(&call.scope, &at.package(), &at.path).await?;
    let (offset, complete) = match progress {
        Progress::At(offset) => (offset, "?0"),
        Progress::Complete(file) => (file.size, "?1"),
    };
    let headers = [
        ("upload-offset", HeaderValue::from(offset)),
        ("upload-complete", HeaderValue::from_static(complete)),
        ("cache-control", HeaderValue::from_static("no-store")),
    ];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// One range of bytes (RFC 9110 section 14); `None` for what is served whole.
fn range(text: &str, size: u64) -> Option<std::ops::Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        _ => return None,
    };
    (range.start < range.end).then_some(range)
}

/// From now on a filter says which devices a package is for.
#[utoipa::path(put, path = "/packages/{name}/{version}/filters/{label}", tag = "filters",
    params(AtPackageFilter), responses((status = 204), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn link(
    call: Call<Operate>,
    Place(at): Place<AtPackageFilter>,
) -> Result<StatusCode, Problem> {
    call.server.link(&call.scope, &at.package(), &at.label).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The filter no longer says so.
#[utoipa::path(delete, path = "/packages/{name}/{version}/filters/{label}", tag = "filters",
    params(AtPackageFilter), responses((status = 204), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn unlink(
    call: Call<Operate>,
    Place(at): Place<AtPackageFilter>,
) -> Result<StatusCode, Problem> {
    call.server.unlink(&call.scope, &at.package(), &at.label).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the labels of the filters of a package.
#[utoipa::path(get, path = "/packages/{name}/{version}/filters", tag = "filters",
    params(AtPackage), responses((status = 200, body = List<String>), Problem),
    security(("token" = ["view"])))]
pub(super) async fn filters(
    call: Call<View>,
    Place(at): Place<AtPackage>,
) -> Result<Json<List<String>>, Problem> {
    Ok(Json(List::whole(call.server.filters_of(&call.scope, &at.package()).await?)))
}

/// How far dependencies are followed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Deep {
    /// With what is needed by what is needed, and so on.
    recursive: bool,
}

/// Lists what a package needs.
#[utoipa::path(get, path = "/packages/{name}/{version}/dependencies", tag = "packages",
    params(AtPackage, Deep), responses((status = 200, body = List<Edge>), Problem),
    security(("token" = ["view"])))]
pub(super) async fn dependencies(
    call: Call<View>,
    Place(at): Place<AtPackage>,
    Asked(deep): Asked<Deep>,
) -> Result<Json<List<Edge>>, Problem> {
    let depth = if deep.recursive { Depth::All } else { Depth::One };
    let edges = call.server.dependencies(&call.scope, &at.package(), depth).await?;
    let edge = |edge: crate::server::Edge| Edge {
        needed: edge.needed.into(),
        dependent: edge.dependent.into(),
    };
    Ok(Json(List::whole(edges.into_iter().map(edge).collect())))
}

/// From now on a package needs another.
#[utoipa::path(put,
    path = "/packages/{name}/{version}/dependencies/{needed_name}/{needed_version}",
    tag = "packages", params(AtNeeds), responses((status = 204), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn need(
    call: Call<Operate>,
    Place(at): Place<AtNeeds>,
) -> Result<StatusCode, Problem> {
    call.server.add_dependency(&call.scope, &at.package(), &at.needed()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// It no longer needs it.
#[utoipa::path(delete,
    path = "/packages/{name}/{version}/dependencies/{needed_name}/{needed_version}",
    tag = "packages", params(AtNeeds), responses((status = 204), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn unneed(
    call: Call<Operate>,
    Place(at): Place<AtNeeds>,
) -> Result<StatusCode, Problem> {
    call.server.delete_dependency(&call.scope, &at.package(), &at.needed()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Registers a vendor: whose envelopes are believed.
#[utoipa::path(put, path = "/vendors/{vendor}", tag = "packages", params(AtVendor),
    request_body = Vendor, responses((status = 204), Problem),
    security(("token" = ["administer"])))]
pub(super) async fn put_vendor(
    call: Call<super::call::Administer>,
    Place(at): Place<AtVendor>,
    body: super::call::Body<Vendor>,
) -> Result<StatusCode, Problem> {
    let Vendor { keys, classes } = body.value;
    if keys.iter().chain(&classes).any(|text| text.contains('\0')) {
        return Err(Refusal::Senseless("a key or class has no NUL".into()).into());
    }
    let vendor = store::Vendor { name: at.vendor.as_str().into(), keys, classes };
    call.server.put_vendor(&call.scope, vendor).await?;
    Ok(StatusCode::NO_CONTENT)
}
