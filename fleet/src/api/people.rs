//! Tokens, tenants, the audit, and events as they happen.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, stream};
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::Created;
use super::call::{Administer, Asked, Body, Call, Place, View};
use super::paging::limit;
use super::place::AtToken;
use super::problem::Problem;
use super::types::{AuditLine, AuditState, List, NewTenant, NewToken, Token, time};
use crate::access::Role;
use crate::server::Minted;

/// How often a reader of events is told that the line is alive.
const ALIVE: Duration = Duration::from_secs(15);

fn shown(minted: Minted) -> Token {
    Token { token: Some(minted.secret.reveal().to_owned()), ..Token::from(minted.credential) }
}

/// Makes a token. It is shown this one time.
#[utoipa::path(post, path = "/tokens", tag = "people", request_body = NewToken,
    responses((status = 201, body = Token), Problem), security(("token" = ["administer"])))]
pub(super) async fn add_token(
    call: Call<Administer>,
    body: Body<NewToken>,
) -> Result<Created<Token>, Problem> {
    let NewToken { name, role, device, not_after } = body.value;
    let device = device.as_ref().map(|id| id.as_str());
    let Some(role) = Role::from_word(&role, device) else {
        let what = "role is viewer, operator, approver or admin; or device, and then `device` says \
                    which";
        return Err(Problem::senseless(what));
    };
    let not_after = not_after.map(|end| end.timestamp_millis());
    let token = shown(call.server.mint(&call.scope, &name, role, not_after).await?);
    let id = token.id.clone();
    Ok(Created::new(&["tokens", &id], 1, token))
}

/// Lists tokens, without the tokens.
#[utoipa::path(get, path = "/tokens", tag = "people",
    responses((status = 200, body = List<Token>), Problem),
    security(("token" = ["administer"])))]
pub(super) async fn tokens(call: Call<Administer>) -> Result<Json<List<Token>>, Problem> {
    let tokens = call.server.tokens(&call.scope).await?;
    Ok(Json(List::whole(tokens.into_iter().map(Token::from).collect())))
}

/// Ends a token.
#[utoipa::path(delete, path = "/tokens/{token}", tag = "people", params(AtToken),
    responses((status = 204), Problem), security(("token" = ["administer"])))]
pub(super) async fn delete_token(
    call: Call<Administer>,
    Place(at): Place<AtToken>,
) -> Result<StatusCode, Problem> {
    call.server.revoke(&call.scope, &at.token.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a tenant, and a token for its administrator.
#[utoipa::path(post, path = "/tenants", tag = "people", request_body = NewTenant,
    responses((status = 201, body = Token), Problem), security(("token" = ["administer"])))]
pub(super) async fn add_tenant(
    call: Call<Administer>,
    body: Body<NewTenant>,
) -> Result<Created<Token>, Problem> {
    let token = shown(call.server.add_tenant(&call.scope, &body.value.name).await?);
    Ok(Created::new(&["tenants", &body.value.name], 1, token))
}

/// Which lines of the audit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct After {
    /// After this line.
    after: i64,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Lists who did what, in order.
#[utoipa::path(get, path = "/audit", tag = "people", params(After),
    responses((status = 200, body = List<AuditLine>), Problem),
    security(("token" = ["administer"])))]
pub(super) async fn audit(
    call: Call<Administer>,
    Asked(asked): Asked<After>,
) -> Result<Json<List<AuditLine>>, Problem> {
    let limit = limit(asked.limit)?;
    let asked_for = u32::try_from(limit).unwrap_or(u32::MAX);
    let lines = call.server.audit(&call.scope, asked.after, asked_for).await?;
    let next = lines.last().filter(|_| lines.len() == limit).map(|line| line.number.to_string());
    let items = lines.into_iter().map(AuditLine::from).collect();
    Ok(Json(List { items, next, total: None }))
}

/// Checks the chain of the audit from its first line to its last.
#[utoipa::path(post, path = "/audit:verify", tag = "people",
    responses((status = 200, body = AuditState), Problem),
    security(("token" = ["administer"])))]
pub(super) async fn verify_audit(call: Call<Administer>) -> Result<Json<AuditState>, Problem> {
    let found = call.server.audit_verify(&call.scope).await?;
    let broken = found.broken.map(|broken| broken.to_string());
    Ok(Json(AuditState { lines: found.lines, whole: broken.is_none(), broken }))
}

/// From where on events are told.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Since {
    /// After this event; from now on unless said, or unless `Last-Event-ID` says so.
    since: Option<i64>,
}

/// Tells what happens, as it happens (server-sent events). A reader that is too slow is cut off, and
/// comes back with `Last-Event-ID`.
#[utoipa::path(get, path = "/events", tag = "people", params(Since),
    responses((status = 200, body = String, content_type = "text/event-stream"), Problem),
    security(("token" = ["view"])))]
pub(super) async fn events(
    call: Call<View>,
    Asked(asked): Asked<Since>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let last = last.and_then(|text| text.parse().ok());
    let feed = call.server.listen(&call.scope, last.or(asked.since)).await?;
    let told = stream::unfold(feed, |mut feed| async move {
        let told = feed.next().await?;
        let data: serde_json::Value = serde_json::from_str(&told.data).unwrap_or_default();
        let body = serde_json::json!({
            "kind": told.kind, "subject": told.subject, "at": time(told.at), "data": data,
        });
        let event = Event::default().id(told.number.to_string()).event(told.kind);
        Some((Ok(event.data(body.to_string())), feed))
    });
    Ok(Sse::new(told).keep_alive(KeepAlive::new().interval(ALIVE)))
}
