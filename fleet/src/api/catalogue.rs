//! Components, filters and data plans.

use axum::Json;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::{Created, Tagged};
use super::call::{Asked, Body, Call, IfMatch, Operate, Place, View};
use super::devices::Which;
use super::paging::Paged;
use super::place::{AtFilter, AtPart, AtPlan};
use super::problem::Problem;
use super::types::{
    Component, Cycle, Device, Expression, Filter, Key, List, NewCycle, Plan, Valid,
};
use crate::plan::filter::Filter as Parsed;
use crate::server::Search;
use crate::store;

impl From<store::Component> for Component {
    fn from(component: store::Component) -> Self {
        let part = component.part.parse().expect("it was one when it came in");
        Self { part, description: component.description }
    }
}

impl From<store::Filter> for Filter {
    fn from(filter: store::Filter) -> Self {
        let label = filter.label.parse().expect("it was one when it came in");
        Self { label, expression: filter.expression }
    }
}

impl From<store::Plan> for Plan {
    fn from(plan: store::Plan) -> Self {
        let name = plan.name.parse().expect("it was one when it came in");
        Self { name, skip_oversize: plan.skip_oversize }
    }
}

/// Adds a component.
#[utoipa::path(post, path = "/components", tag = "components", request_body = Component,
    responses((status = 201, body = Component), Problem), security(("token" = ["operate"])))]
pub(super) async fn add_component(
    call: Call<Operate>,
    body: Body<Component>,
) -> Result<Created<Component>, Problem> {
    let Component { part, description } = body.value.clone();
    call.server.add_component(&call.scope, &part, description, body.once).await?;
    Ok(Created::new(&["components", part.as_str()], 1, body.value))
}

/// Lists components, by part number.
#[utoipa::path(get, path = "/components", tag = "components", params(Paged),
    responses((status = 200, body = List<Component>), Problem), security(("token" = ["view"])))]
pub(super) async fn components(
    call: Call<View>,
    Asked(paged): Asked<Paged>,
) -> Result<Json<List<Component>>, Problem> {
    let all = call.server.components(&call.scope).await?;
    paged.page(all, |component| &component.part).map(Json)
}

/// Takes a component away that no device has.
#[utoipa::path(delete, path = "/components/{part}", tag = "components", params(AtPart),
    responses((status = 204), Problem), security(("token" = ["operate"])))]
pub(super) async fn delete_component(
    call: Call<Operate>,
    Place(at): Place<AtPart>,
) -> Result<StatusCode, Problem> {
    call.server.delete_component(&call.scope, &at.part).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the devices that have a component.
#[utoipa::path(get, path = "/components/{part}/devices", tag = "components",
    params(AtPart, Which), responses((status = 200, body = List<Device>), Problem),
    security(("token" = ["view"])))]
pub(super) async fn component_devices(
    call: Call<View>,
    Place(at): Place<AtPart>,
    Asked(which): Asked<Which>,
) -> Result<Json<List<Device>>, Problem> {
    let among = call.server.devices_with_part(&call.scope, &at.part).await?;
    which.page(&call, Some(among)).await.map(Json)
}

/// Adds a filter.
#[utoipa::path(post, path = "/filters", tag = "filters", request_body = Filter,
    responses((status = 201, body = Filter), Problem), security(("token" = ["operate"])))]
pub(super) async fn add_filter(
    call: Call<Operate>,
    body: Body<Filter>,
) -> Result<Created<Filter>, Problem> {
    let Filter { label, expression } = &body.value;
    call.server.add_filter(&call.scope, label, expression, body.once).await?;
    let label = label.clone();
    let filter = call.server.filter(&call.scope, &label).await?;
    Ok(Created::new(&["filters", label.as_str()], filter.revision, filter.into()))
}

/// Lists filters, by label.
#[utoipa::path(get, path = "/filters", tag = "filters", params(Paged),
    responses((status = 200, body = List<Filter>), Problem), security(("token" = ["view"])))]
pub(super) async fn filters(
    call: Call<View>,
    Asked(paged): Asked<Paged>,
) -> Result<Json<List<Filter>>, Problem> {
    let all = call.server.filters(&call.scope).await?;
    paged.page(all, |filter| &filter.label).map(Json)
}

/// Shows a filter.
#[utoipa::path(get, path = "/filters/{label}", tag = "filters", params(AtFilter),
    responses((status = 200, body = Filter), Problem), security(("token" = ["view"])))]
pub(super) async fn filter(
    call: Call<View>,
    Place(at): Place<AtFilter>,
) -> Result<Tagged<Filter>, Problem> {
    let filter = call.server.filter(&call.scope, &at.label).await?;
    Ok(Tagged(filter.revision, filter.into()))
}

/// Gives a filter another expression.
#[utoipa::path(put, path = "/filters/{label}", tag = "filters", params(AtFilter),
    request_body = Expression, responses((status = 200, body = Filter), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn edit_filter(
    call: Call<Operate>,
    Place(at): Place<AtFilter>,
    IfMatch(revision): IfMatch,
    body: Body<Expression>,
) -> Result<Tagged<Filter>, Problem> {
    let expression = body.value.expression;
    let revision = call.server.edit_filter(&call.scope, &at.label, &expression, revision).await?;
    Ok(Tagged(revision, Filter { label: at.label, expression }))
}

/// Takes a filter away, and its links.
#[utoipa::path(delete, path = "/filters/{label}", tag = "filters", params(AtFilter),
    responses((status = 204), Problem), security(("token" = ["operate"])))]
pub(super) async fn delete_filter(
    call: Call<Operate>,
    Place(at): Place<AtFilter>,
) -> Result<StatusCode, Problem> {
    call.server.delete_filter(&call.scope, &at.label).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries an expression, and counts the devices that it means where that is asked for.
#[utoipa::path(post, path = "/filters:validate", tag = "filters", request_body = Expression,
    responses((status = 200, body = Valid), Problem), security(("token" = ["view"])))]
pub(super) async fn validate(
    call: Call<View>,
    body: Body<Expression>,
) -> Result<Json<Valid>, Problem> {
    let parsed: Parsed = body.value.expression.parse()?;
    let expression = parsed.to_string();
    let search = Search { filter: Some(parsed), ..Search::default() };
    let count =
        if body.value.count { Some(call.server.count(&call.scope, &search)?) } else { None };
    Ok(Json(Valid { expression, count }))
}

/// Lists the packages of a filter.
#[utoipa::path(get, path = "/filters/{label}/packages", tag = "filters", params(AtFilter),
    responses((status = 200, body = List<Key>), Problem), security(("token" = ["view"])))]
pub(super) async fn filter_packages(
    call: Call<View>,
    Place(at): Place<AtFilter>,
) -> Result<Json<List<Key>>, Problem> {
    let packages = call.server.packages_of(&call.scope, &at.label).await?;
    Ok(Json(List::whole(packages.into_iter().map(Key::from).collect())))
}

/// Adds a data plan.
#[utoipa::path(post, path = "/plans", tag = "plans", request_body = Plan,
    responses((status = 201, body = Plan), Problem), security(("token" = ["operate"])))]
pub(super) async fn add_plan(
    call: Call<Operate>,
    body: Body<Plan>,
) -> Result<Created<Plan>, Problem> {
    let Plan { name, skip_oversize } = &body.value;
    let plan = store::Plan { name: name.as_str().into(), skip_oversize: *skip_oversize };
    call.server.add_plan(&call.scope, plan, body.once).await?;
    Ok(Created::new(&["plans", name.as_str()], 1, body.value.clone()))
}

/// Lists data plans, by name.
#[utoipa::path(get, path = "/plans", tag = "plans", params(Paged),
    responses((status = 200, body = List<Plan>), Problem), security(("token" = ["view"])))]
pub(super) async fn plans(
    call: Call<View>,
    Asked(paged): Asked<Paged>,
) -> Result<Json<List<Plan>>, Problem> {
    let all = call.server.plans(&call.scope).await?;
    paged.page(all, |plan| &plan.name).map(Json)
}

/// Adds a billing cycle.
#[utoipa::path(post, path = "/plans/{plan}/cycles", tag = "plans", params(AtPlan),
    request_body = NewCycle, responses((status = 201, body = Cycle), Problem),
    security(("token" = ["operate"])))]
pub(super) async fn add_cycle(
    call: Call<Operate>,
    Place(at): Place<AtPlan>,
    body: Body<NewCycle>,
) -> Result<Created<Cycle>, Problem> {
    let NewCycle { start, pool } = body.value;
    let cycle = store::Cycle { start: start.timestamp_millis(), pool, used: 0 };
    call.server.add_cycle(&call.scope, &at.plan, cycle.clone(), body.once).await?;
    Ok(Created::new(&["plans", at.plan.as_str(), "cycles"], 1, cycle.into()))
}

/// Which cycles.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Between {
    /// That begin then or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<DateTime<Utc>>,
    /// That begin then or earlier.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<DateTime<Utc>>,
}

/// Lists the billing cycles of a plan.
#[utoipa::path(get, path = "/plans/{plan}/cycles", tag = "plans", params(AtPlan, Between),
    responses((status = 200, body = List<Cycle>), Problem), security(("token" = ["view"])))]
pub(super) async fn cycles(
    call: Call<View>,
    Place(at): Place<AtPlan>,
    Asked(between): Asked<Between>,
) -> Result<Json<List<Cycle>>, Problem> {
    let from = between.from.map_or(i64::MIN, |from| from.timestamp_millis());
    let to = between.to.map_or(i64::MAX, |to| to.timestamp_millis());
    let cycles = call.server.cycles(&call.scope, &at.plan, from, to).await?;
    Ok(Json(List::whole(cycles.into_iter().map(Cycle::from).collect())))
}
