//! Campaigns and the queue.

use axum::Json;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::{Created, Tagged};
use super::call::{Asked, Body, Call, Operate, Place, View};
use super::paging::{Paged, limit};
use super::place::AtCampaign;
use super::problem::Problem;
use super::types::{
    Campaign, Count, DryRun, Example, Excluded, List, Member, NewCampaign, Planned,
};
use crate::plan::queue::Interval;
use crate::plan::resolve::Reinstall;
use crate::plan::time::Time;
use crate::plan::words::PackageId;
use crate::server;

/// Whether to do it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whether {
    /// Only says who would get what.
    dry_run: bool,
}

fn ordered(new: NewCampaign) -> Result<server::NewCampaign, Problem> {
    let NewCampaign { package, priority, not_before, not_after, description, .. } = new;
    let priority = priority.try_into();
    let priority = priority.map_err(|error: crate::plan::queue::PriorityError| {
        Problem::senseless(error.to_string())
    })?;
    let time = |time: chrono::DateTime<chrono::Utc>| Time::from_millis(time.timestamp_millis());
    let interval = Interval::new(not_before.map(time), not_after.map(time))
        .map_err(|error| Problem::senseless(error.to_string()))?;
    Ok(server::NewCampaign {
        package: PackageId::new(&package.name, &package.version)?,
        priority,
        interval,
        description,
        filters: new.filters,
        expression: new.expression.as_deref().map(str::parse).transpose()?,
        reinstall: if new.reinstall { Reinstall::Yes } else { Reinstall::No },
    })
}

/// Orders a package for all devices that its filters mean; with `dry_run` only says who they are.
#[utoipa::path(post, path = "/campaigns", tag = "campaigns", params(Whether),
    request_body = NewCampaign,
    responses((status = 201, body = Campaign), (status = 200, body = DryRun), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn add(
    call: Call<Operate>,
    Asked(whether): Asked<Whether>,
    body: Body<NewCampaign>,
) -> Result<Response, Problem> {
    let new = ordered(body.value)?;
    if whether.dry_run {
        let planned = call.server.dry_run(&call.scope, &new).await?;
        return Ok(Json(DryRun::from(planned)).into_response());
    }
    let id = call.server.add_campaign(&call.scope, &new, body.once).await?;
    let campaign = call.server.campaign(&call.scope, &id).await?;
    let revision = campaign.revision;
    Ok(Created::new(&["campaigns", &id], revision, Campaign::from(campaign)).into_response())
}

impl From<server::Planned> for DryRun {
    fn from(planned: server::Planned) -> Self {
        let server::Planned { resolution, filters, examples } = planned;
        let packages = resolution.members.iter().map(|member| Planned {
            name: member.package.name.to_string(),
            version: member.package.version.to_string(),
            bytes: member.bytes,
            devices: member.devices.len(),
        });
        let excluded = resolution.excluded.iter().map(|(reason, devices)| Excluded {
            code: reason.code().to_owned(),
            reason: reason.to_string(),
            devices: devices.len(),
        });
        let example = |(device, excluded)| Example { device, excluded };
        Self {
            total: resolution.devices.len(),
            packages: packages.collect(),
            filters,
            excluded: excluded.collect(),
            bytes: resolution.bytes(),
            examples: examples.into_iter().map(example).collect(),
        }
    }
}

/// Lists campaigns, by id.
#[utoipa::path(get, path = "/campaigns", tag = "campaigns", params(Paged),
    responses((status = 200, body = List<Campaign>), Problem), security(("token" = ["view"])))]
pub(super) async fn list(
    call: Call<View>,
    Asked(paged): Asked<Paged>,
) -> Result<Json<List<Campaign>>, Problem> {
    let mut all = call.server.campaigns(&call.scope).await?;
    all.sort_by(|a, b| a.id.cmp(&b.id));
    paged.page(all, |campaign| &campaign.id).map(Json)
}

/// Shows a campaign with its counts.
#[utoipa::path(get, path = "/campaigns/{campaign}", tag = "campaigns", params(AtCampaign),
    responses((status = 200, body = Campaign), Problem), security(("token" = ["view"])))]
pub(super) async fn show(
    call: Call<View>,
    Place(at): Place<AtCampaign>,
) -> Result<Tagged<Campaign>, Problem> {
    let campaign = call.server.campaign(&call.scope, &at.campaign.to_string()).await?;
    Ok(Tagged(campaign.revision, campaign.into()))
}

/// Cancels what waits; what is in flight goes on.
#[utoipa::path(post, path = "/campaigns/{campaign}/cancel", tag = "campaigns",
    params(AtCampaign), responses((status = 200, body = Campaign), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn cancel(
    call: Call<Operate>,
    Place(at): Place<AtCampaign>,
) -> Result<Tagged<Campaign>, Problem> {
    let id = at.campaign.to_string();
    call.server.cancel_campaign(&call.scope, &id).await?;
    let campaign = call.server.campaign(&call.scope, &id).await?;
    Ok(Tagged(campaign.revision, campaign.into()))
}

/// Which devices of a campaign.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InState {
    /// `pending`, `in_flight`, `completed`, `failed` or `cancelled`.
    state: Option<String>,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// Lists the devices of a campaign, in one state or in all; all at once as lines (NDJSON) where
/// `Accept` asks for them.
#[utoipa::path(get, path = "/campaigns/{campaign}/devices", tag = "campaigns",
    params(AtCampaign, InState),
    responses((status = 200, content((List<Member> = "application/json"),
        (String = "application/x-ndjson"))), Problem),
    security(("token" = ["view"])))]
pub(super) async fn devices(
    call: Call<View>,
    Place(at): Place<AtCampaign>,
    Asked(asked): Asked<InState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    const STATES: [&str; 5] = ["pending", "in_flight", "completed", "failed", "cancelled"];
    if let Some(state) = asked.state.as_deref().filter(|state| !STATES.contains(state)) {
        return Err(Problem::senseless(format!(
            "state is one of {}, not {state:?}",
            STATES.join(", ")
        )));
    }
    let (limit, id) = (limit(asked.limit)?, at.campaign.to_string());
    let after = asked.cursor.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| Problem::senseless("cursor is the `next` of a page before"))?;
    let accept = headers.get("accept").and_then(|value| value.to_str().ok());
    if !accept.is_some_and(|accept| accept.contains("ndjson")) {
        let state = asked.state.as_deref();
        let page = call.server.campaign_devices(&call.scope, &id, state, after, limit).await?;
        let items = page.items.into_iter().map(Member::from).collect();
        return Ok(Json(List { items, next: page.next, total: None }).into_response());
    }
    let lines = move |after: Option<u32>| {
        let (server, scope) = (call.server.clone(), call.scope.clone());
        let (id, state) = (id.clone(), asked.state.clone());
        async move {
            let page = server.campaign_devices(&scope, &id, state.as_deref(), after, 1000).await?;
            let next = page.next.and_then(|next| next.parse().ok()).unwrap_or(u32::MAX);
            let items: Vec<Member> = page.items.into_iter().map(Member::from).collect();
            Ok::<_, server::Refusal>((!items.is_empty()).then_some((items, next)))
        }
    };
    let first = lines(None).await?;
    Ok(super::answer::lines(first, move |after| lines(Some(after))))
}

/// Wakes devices that have work and were not tried within their interval; how many.
#[utoipa::path(post, path = "/queue:run", tag = "queue",
    responses((status = 200, body = Count), Problem), security(("token" = ["operate"])))]
pub(super) async fn run(call: Call<Operate>) -> Result<Json<Count>, Problem> {
    Ok(Json(Count { count: call.server.run_queue(&call.scope).await? }))
}

/// Ends what still waits and whose time is over with `expired`; how many.
#[utoipa::path(post, path = "/queue:purge", tag = "queue",
    responses((status = 200, body = Count), Problem), security(("token" = ["operate"])))]
pub(super) async fn purge(call: Call<Operate>) -> Result<Json<Count>, Problem> {
    Ok(Json(Count { count: call.server.purge(&call.scope).await? }))
}
