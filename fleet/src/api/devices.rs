//! Devices, and what is on them.

use axum::Json;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::{Created, NDJSON, Tagged, lines};
use super::call::{Asked, Body, Call, IfMatch, Operate, Place, View};
use super::paging::{limit, pattern};
use super::place::{AtDevice, AtDevicePackage, AtDevicePart, AtDeviceUpdate};
use super::problem::Problem;
use super::types::{
    AboutDevice, Device, Imported, Key, List, Made, NewDevice, NewTraffic, Past, PlanOf,
    RefusedLine, Task, Traffic, time,
};
use crate::server::{Next, Search, Unknown};

/// Which devices, and how much of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Whose id this regular expression finds a part of.
    regex: Option<String>,
    /// That this filter expression means.
    filter: Option<String>,
    /// `components,packages`: what is on them, too.
    expand: Option<String>,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

impl Which {
    /// The page of devices that is asked for, among those that are given.
    pub(super) async fn page<L>(
        self,
        call: &Call<L>,
        among: Option<roaring::RoaringBitmap>,
    ) -> Result<List<Device>, Problem> {
        let filter = self.filter.as_deref().map(str::parse).transpose()?;
        let search = Search { regex: pattern(self.regex.as_deref())?, filter, among };
        let after = self.cursor.as_deref().map(str::parse).transpose()?;
        let limit = limit(self.limit)?;
        let page = call.server.search(&call.scope, &search, after.as_ref(), limit).await?;
        let expand = self.expand.unwrap_or_default();
        let wants = |what: &str| expand.split(',').any(|word| word == what);
        let shown = page.items.into_iter().map(|equipped| {
            let mut device = Device::from(equipped);
            device.packages = device.packages.filter(|_| wants("packages"));
            device.components = device.components.filter(|_| wants("components"));
            device
        });
        Ok(List { items: shown.collect(), next: page.next, total: Some(page.total) })
    }
}

/// Adds a device.
#[utoipa::path(post, path = "/devices", tag = "devices", request_body = NewDevice,
    responses((status = 201, body = Device), Problem), security(("token" = ["operate"])))]
pub(super) async fn add(
    call: Call<Operate>,
    body: Body<NewDevice>,
) -> Result<Created<Device>, Problem> {
    let id = body.value.id.clone();
    call.server.add_device(&call.scope, &id, &body.value.into(), body.once).await?;
    let device = call.server.device(&call.scope, &id).await?;
    Ok(Created::new(&["devices", id.as_str()], device.device.revision, device.into()))
}

/// Lists devices, in the order of their ids.
#[utoipa::path(get, path = "/devices", tag = "devices", params(Which),
    responses((status = 200, body = List<Device>), Problem), security(("token" = ["view"])))]
pub(super) async fn list(
    call: Call<View>,
    Asked(which): Asked<Which>,
) -> Result<Json<List<Device>>, Problem> {
    which.page(&call, None).await.map(Json)
}

/// Shows a device.
#[utoipa::path(get, path = "/devices/{id}", tag = "devices", params(AtDevice),
    responses((status = 200, body = Device), Problem), security(("token" = ["view"])))]
pub(super) async fn show(
    call: Call<View>,
    Place(at): Place<AtDevice>,
) -> Result<Tagged<Device>, Problem> {
    let device = call.server.device(&call.scope, &at.id).await?;
    Ok(Tagged(device.device.revision, device.into()))
}

/// Says anew what is told about a device.
#[utoipa::path(put, path = "/devices/{id}", tag = "devices", params(AtDevice),
    request_body = AboutDevice, responses((status = 200, body = Device), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn edit(
    call: Call<Operate>,
    Place(at): Place<AtDevice>,
    IfMatch(revision): IfMatch,
    body: Body<AboutDevice>,
) -> Result<Tagged<Device>, Problem> {
    call.server.edit_device(&call.scope, &at.id, &body.value.into(), revision).await?;
    let device = call.server.device(&call.scope, &at.id).await?;
    Ok(Tagged(device.device.revision, device.into()))
}

/// Takes a device away, with all that hangs on it.
#[utoipa::path(delete, path = "/devices/{id}", tag = "devices", params(AtDevice),
    responses((status = 204), Problem), security(("token" = ["operate"])))]
pub(super) async fn delete(
    call: Call<Operate>,
    Place(at): Place<AtDevice>,
) -> Result<StatusCode, Problem> {
    call.server.delete_device(&call.scope, &at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a device a data plan.
#[utoipa::path(put, path = "/devices/{id}/plan", tag = "devices", params(AtDevice),
    request_body = PlanOf, responses((status = 200, body = PlanOf), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn set_plan(
    call: Call<Operate>,
    Place(at): Place<AtDevice>,
    body: Body<PlanOf>,
) -> Result<Json<PlanOf>, Problem> {
    call.server.set_plan(&call.scope, &at.id, &body.value.plan).await?;
    Ok(Json(body.value))
}

/// Lists what was, is and is to be done on a device.
#[utoipa::path(get, path = "/devices/{id}/history", tag = "devices", params(AtDevice),
    responses((status = 200, body = List<Past>), Problem), security(("token" = ["view"])))]
pub(super) async fn history(
    call: Call<View>,
    Place(at): Place<AtDevice>,
) -> Result<Json<List<Past>>, Problem> {
    let history = call.server.history(&call.scope, &at.id).await?;
    Ok(Json(List::whole(history.into_iter().map(Past::from).collect())))
}

/// Counts bytes that were sent to a device in the billing cycle of their time.
#[utoipa::path(post, path = "/devices/{id}/traffic", tag = "devices", params(AtDevice),
    request_body = NewTraffic, responses((status = 200, body = Traffic), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn add_traffic(
    call: Call<Operate>,
    Place(at): Place<AtDevice>,
    body: Body<NewTraffic>,
) -> Result<Json<Traffic>, Problem> {
    let NewTraffic { bytes, at: when } = body.value;
    let when = when.map(|when| when.timestamp_millis());
    let counted = call.server.add_traffic(&call.scope, &at.id, bytes, when, body.once).await?;
    let (plan, cycle) = counted.unzip();
    Ok(Json(Traffic {
        plan,
        start: cycle.as_ref().map(|cycle| time(cycle.start)),
        pool: cycle.as_ref().map(|cycle| cycle.pool),
        used: cycle.as_ref().map(|cycle| cycle.used),
    }))
}

/// Lists the part numbers of a device.
#[utoipa::path(get, path = "/devices/{id}/components", tag = "devices", params(AtDevice),
    responses((status = 200, body = List<String>), Problem), security(("token" = ["view"])))]
pub(super) async fn components(
    call: Call<View>,
    Place(at): Place<AtDevice>,
) -> Result<Json<List<String>>, Problem> {
    let device = call.server.device(&call.scope, &at.id).await?;
    Ok(Json(List::whole(device.components)))
}

/// Says that a component is in a device.
#[utoipa::path(put, path = "/devices/{id}/components/{part}", tag = "devices",
    params(AtDevicePart), responses((status = 204), Problem), security(("token" = ["operate"])))]
pub(super) async fn fit(
    call: Call<Operate>,
    Place(at): Place<AtDevicePart>,
) -> Result<StatusCode, Problem> {
    call.server.fit(&call.scope, &at.id, &at.part).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says that a component is no longer in a device.
#[utoipa::path(delete, path = "/devices/{id}/components/{part}", tag = "devices",
    params(AtDevicePart), responses((status = 204), Problem), security(("token" = ["operate"])))]
pub(super) async fn unfit(
    call: Call<Operate>,
    Place(at): Place<AtDevicePart>,
) -> Result<StatusCode, Problem> {
    call.server.unfit(&call.scope, &at.id, &at.part).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists what is installed on a device.
#[utoipa::path(get, path = "/devices/{id}/packages", tag = "devices", params(AtDevice),
    responses((status = 200, body = List<Key>), Problem), security(("token" = ["view"])))]
pub(super) async fn packages(
    call: Call<View>,
    Place(at): Place<AtDevice>,
) -> Result<Json<List<Key>>, Problem> {
    let device = call.server.device(&call.scope, &at.id).await?;
    Ok(Json(List::whole(device.packages.into_iter().map(Key::from).collect())))
}

/// Says that a package is installed on a device.
#[utoipa::path(put, path = "/devices/{id}/packages/{name}/{version}", tag = "devices",
    params(AtDevicePackage), responses((status = 204), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn install(
    call: Call<Operate>,
    Place(at): Place<AtDevicePackage>,
) -> Result<StatusCode, Problem> {
    call.server.install(&call.scope, &at.id, &at.package()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says that a package is no longer installed on a device.
#[utoipa::path(delete, path = "/devices/{id}/packages/{name}/{version}", tag = "devices",
    params(AtDevicePackage), responses((status = 204), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn uninstall(
    call: Call<Operate>,
    Place(at): Place<AtDevicePackage>,
) -> Result<StatusCode, Problem> {
    call.server.uninstall(&call.scope, &at.id, &at.package()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says what a device has to do next; nothing: 204.
#[utoipa::path(get, path = "/devices/{id}/updates/next", tag = "queue", params(AtDevice),
    responses((status = 200, body = Task), (status = 204), Problem),
    security(("token" = ["view"])))]
pub(super) async fn next(
    call: Call<View>,
    Place(at): Place<AtDevice>,
) -> Result<Result<Json<Task>, StatusCode>, Problem> {
    Ok(task(call.server.next(&call.scope, &at.id).await?))
}

/// What is next, as an answer.
pub(super) fn task(next: Next) -> Result<Json<Task>, StatusCode> {
    match next {
        Next::Nothing => Err(StatusCode::NO_CONTENT),
        Next::Update(offer) => Ok(Json(offer.into())),
        Next::Inventory(id) => Ok(Json(Task {
            kind: "inventory".into(),
            id,
            packages: vec![],
            size: None,
            description: String::new(),
            phase: None,
        })),
    }
}

/// Cancels one update of a device by force, also when it is in flight.
#[utoipa::path(post, path = "/devices/{id}/updates/{campaign}/cancel", tag = "queue",
    params(AtDeviceUpdate), responses((status = 204), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn cancel_update(
    call: Call<Operate>,
    Place(at): Place<AtDeviceUpdate>,
) -> Result<StatusCode, Problem> {
    call.server.cancel_update(&call.scope, &at.id, &at.campaign.to_string()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks a device for the list of what it has installed.
#[utoipa::path(post, path = "/devices/{id}/inventory-requests", tag = "queue", params(AtDevice),
    responses((status = 202, body = Made), Problem), security(("token" = ["operate"])))]
pub(super) async fn ask_inventory(
    call: Call<Operate>,
    Place(at): Place<AtDevice>,
    headers: axum::http::HeaderMap,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let once = super::call::once(&headers, &[b"inventory", at.id.as_str().as_bytes()])?;
    let id = call.server.ask_inventory(&call.scope, &at.id, once).await?;
    Ok((StatusCode::ACCEPTED, Json(Made { id })))
}

/// What an import may do.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Whether packages and components that nobody knows are added.
    create: bool,
}

/// Adds the devices of a stream, a line a device (NDJSON).
#[utoipa::path(post, path = "/devices:import", tag = "devices", params(How),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = Imported), Problem), security(("token" = ["operate"])))]
pub(super) async fn import(
    call: Call<Operate>,
    Asked(how): Asked<How>,
    body: axum::body::Body,
) -> Result<Json<Imported>, Problem> {
    let unknown = if how.create { Unknown::Create } else { Unknown::Refuse };
    let bytes = Box::pin(super::answer::patient(body));
    let done = call.server.import(&call.scope, unknown, bytes).await?;
    let refused = done.errors.into_iter().map(|error| {
        let problem = Problem::from(error.why);
        RefusedLine { line: error.line, code: problem.code.into(), description: problem.detail }
    });
    let errors = refused.collect();
    Ok(Json(Imported { added: done.added, refused: done.refused, errors }))
}

/// Gives all devices, a line a device (NDJSON), as an import takes them.
#[utoipa::path(get, path = "/devices:export", tag = "devices",
    responses((status = 200, body = String, content_type = NDJSON), Problem),
    security(("token" = ["view"])))]
pub(super) async fn export(call: Call<View>) -> Result<axum::response::Response, Problem> {
    let first = call.server.export(&call.scope, None).await?;
    Ok(lines(first, move |after| {
        let (server, scope) = (call.server.clone(), call.scope.clone());
        async move { server.export(&scope, Some(after)).await }
    }))
}
