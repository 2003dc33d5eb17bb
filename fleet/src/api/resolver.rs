//! The second server of the first design, as aliases: what its clients of 2015 said under
//! `/api/v1/resolver` and `/api/v1/vehicles` is done by this one server, in one transaction.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::call::{App, Asked, Body, Call, Operate, Place, View};
use super::paging::pattern;
use super::place::{AtDevice, AtPackage};
use super::problem::Problem;
use super::types::{Filter, Key, NewPackage};
use crate::plan::queue::{Interval, Priority};
use crate::plan::resolve::Reinstall;
use crate::plan::words::PackageId;
use crate::server::{NewCampaign, Search};

pub(super) fn operations() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(add_vehicle, delete_vehicle))
        .routes(routes!(vehicles))
        .routes(routes!(add_package))
        .routes(routes!(add_filter, filters))
        .routes(routes!(validate))
        .routes(routes!(resolve))
}

/// A vehicle as the first design had it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Vehicle {
    /// Its id.
    vin: String,
}

/// Adds a vehicle, or finds it there.
#[utoipa::path(put, path = "/resolver/vehicles/{id}", tag = "resolver", params(AtDevice),
    responses((status = 204), Problem), security(("token" = ["operate"])))]
async fn add_vehicle(
    call: Call<Operate>,
    Place(at): Place<AtDevice>,
) -> Result<StatusCode, Problem> {
    let added = call.server.add_device(&call.scope, &at.id, &Default::default(), None).await;
    match added.map_err(Problem::from) {
        Err(problem) if problem.code != "conflicting_entity" => Err(problem),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Takes a vehicle away.
#[utoipa::path(delete, path = "/resolver/vehicles/{id}", tag = "resolver", params(AtDevice),
    responses((status = 200), Problem), security(("token" = ["operate"])))]
async fn delete_vehicle(
    call: Call<Operate>,
    Place(at): Place<AtDevice>,
) -> Result<StatusCode, Problem> {
    call.server.delete_device(&call.scope, &at.id).await?;
    Ok(StatusCode::OK)
}

/// What is looked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Found {
    /// What this regular expression finds a part of.
    regex: Option<String>,
}

/// Lists vehicles: the first thousand.
#[utoipa::path(get, path = "/resolver/vehicles", tag = "resolver", params(Found),
    responses((status = 200, body = Vec<Vehicle>), Problem), security(("token" = ["view"])))]
async fn vehicles(
    call: Call<View>,
    Asked(found): Asked<Found>,
) -> Result<Json<Vec<Vehicle>>, Problem> {
    let search = Search { regex: pattern(found.regex.as_deref())?, ..Search::default() };
    let page = call.server.search(&call.scope, &search, None, 1000).await?;
    Ok(Json(page.items.into_iter().map(|one| Vehicle { vin: one.device.id }).collect()))
}

/// Adds a package's metadata.
#[utoipa::path(put, path = "/resolver/packages/{name}/{version}", tag = "resolver",
    params(AtPackage), request_body = NewPackage, responses((status = 200, body = Key), Problem),
    security(("token" = ["operate"])))]
async fn add_package(
    call: Call<Operate>,
    Place(at): Place<AtPackage>,
    body: Body<NewPackage>,
) -> Result<Json<Key>, Problem> {
    let key = at.package();
    call.server.add_package(&call.scope, &key, &body.value.into(), body.once).await?;
    Ok(Json(Key { name: key.name.to_string(), version: key.version.to_string() }))
}

/// A filter as the first design had it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OldFilter {
    /// Its label.
    #[schema(value_type = String)]
    name: crate::plan::words::FilterLabel,
    /// Which devices it means.
    expression: String,
}

/// Adds a filter.
#[utoipa::path(post, path = "/resolver/filters", tag = "resolver", request_body = OldFilter,
    responses((status = 200, body = OldFilter), Problem), security(("token" = ["operate"])))]
async fn add_filter(
    call: Call<Operate>,
    body: Body<OldFilter>,
) -> Result<Json<OldFilter>, Problem> {
    let OldFilter { name, expression } = &body.value;
    call.server.add_filter(&call.scope, name, expression, body.once).await?;
    Ok(Json(body.value.clone()))
}

/// Lists filters.
#[utoipa::path(get, path = "/resolver/filters", tag = "resolver", params(Found),
    responses((status = 200, body = Vec<OldFilter>), Problem), security(("token" = ["view"])))]
async fn filters(
    call: Call<View>,
    Asked(found): Asked<Found>,
) -> Result<Json<Vec<OldFilter>>, Problem> {
    let pattern = pattern(found.regex.as_deref())?;
    let all = call.server.filters(&call.scope).await?.into_iter().map(Filter::from);
    let all = all
        .filter(|one| pattern.as_ref().is_none_or(|pattern| pattern.is_match(one.label.as_str())));
    Ok(Json(all.map(|one| OldFilter { name: one.label, expression: one.expression }).collect()))
}

/// Tries a filter.
#[utoipa::path(post, path = "/resolver/validate/filter", tag = "resolver",
    request_body = OldFilter, responses((status = 200, body = String), Problem),
    security(("token" = ["view"])))]
async fn validate(_: Call<View>, body: Body<OldFilter>) -> Result<Json<&'static str>, Problem> {
    body.value.expression.parse::<crate::plan::filter::Filter>()?;
    Ok(Json("OK"))
}

/// Lists the vehicles that would get a package, with all that each would get: the first hundred.
#[utoipa::path(get, path = "/resolver/resolve/{name}/{version}", tag = "resolver",
    params(AtPackage), responses((status = 200, body = Vec<(String, Vec<Key>)>), Problem),
    security(("token" = ["view"])))]
async fn resolve(
    call: Call<View>,
    Place(at): Place<AtPackage>,
) -> Result<Json<Vec<(String, Vec<Key>)>>, Problem> {
    let new = NewCampaign {
        package: at.package(),
        priority: Priority::default(),
        interval: Interval::default(),
        description: String::new(),
        filters: None,
        expression: None,
        reinstall: Reinstall::No,
    };
    let planned = call.server.bundles(&call.scope, &new).await?;
    let key = |id: PackageId| Key { name: id.name.to_string(), version: id.version.to_string() };
    let bundles = planned.into_iter();
    let bundles =
        bundles.map(|(device, packages)| (device, packages.into_iter().map(key).collect()));
    Ok(Json(bundles.collect()))
}
