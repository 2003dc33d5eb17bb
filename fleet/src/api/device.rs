//! A device's own routes: what it asks and says, with a device token.

use axum::Json;
use axum::http::StatusCode;

use super::call::{AsDevice, Body, Call, Place};
use super::devices::task;
use super::place::AtCampaign;
use super::problem::Problem;
use super::types::{Key, NewReport, Running, Standing, Task};
use crate::plan::words::{DeviceId, PackageId};
use crate::server::{Report, Said};
use crate::store::Stage;

impl Call<AsDevice> {
    /// Which device calls.
    fn device(&self) -> Result<DeviceId, Problem> {
        Ok(self.scope.device().unwrap_or_default().parse()?)
    }
}

fn ids(keys: &[Key]) -> Result<Vec<PackageId>, Problem> {
    let id = |key: &Key| Ok(PackageId::new(&key.name, &key.version)?);
    keys.iter().map(id).collect()
}

/// Says what to do next; nothing: 204.
#[utoipa::path(get, path = "/device/updates/next", tag = "device",
    responses((status = 200, body = Task), (status = 204), Problem),
    security(("token" = ["device"])))]
pub(super) async fn next(call: Call<AsDevice>) -> Result<Result<Json<Task>, StatusCode>, Problem> {
    Ok(task(call.server.next(&call.scope, &call.device()?).await?))
}

/// Begins an update, or goes on with it.
#[utoipa::path(post, path = "/device/updates/{campaign}/start", tag = "device",
    params(AtCampaign), responses((status = 200, body = Task), Problem),
    security(("token" = ["device"])))]
pub(super) async fn start(
    call: Call<AsDevice>,
    Place(at): Place<AtCampaign>,
) -> Result<Json<Task>, Problem> {
    let campaign = at.campaign.to_string();
    let offer = call.server.begin(&call.scope, &call.device()?, &campaign).await?;
    Ok(Json(offer.into()))
}

/// Does not want an update.
#[utoipa::path(post, path = "/device/updates/{campaign}/decline", tag = "device",
    params(AtCampaign), responses((status = 200, body = Standing), Problem),
    security(("token" = ["device"])))]
pub(super) async fn decline(
    call: Call<AsDevice>,
    Place(at): Place<AtCampaign>,
) -> Result<Json<Standing>, Problem> {
    said(&call, &at, Said::Declined).await
}

/// Says how far an update is, or how it ended.
#[utoipa::path(post, path = "/device/updates/{campaign}/report", tag = "device",
    params(AtCampaign), request_body = NewReport,
    responses((status = 200, body = Standing), Problem), security(("token" = ["device"])))]
pub(super) async fn report(
    call: Call<AsDevice>,
    Place(at): Place<AtCampaign>,
    body: Body<NewReport>,
) -> Result<Json<Standing>, Problem> {
    let NewReport { phase, result, running, code, text } = body.value;
    let what = match (phase.as_deref(), result.as_deref()) {
        (Some(phase), None) => Said::Now(match phase {
            "notified" => Stage::Notified,
            "downloading" => Stage::Downloading,
            "downloaded" => Stage::Downloaded,
            "installing" => Stage::Installing,
            "verifying" => Stage::Verifying,
            other => {
                return Err(Problem::senseless(format!(
                    "phase is one of notified, downloading, downloaded, installing, verifying, not \
                     {other:?}"
                )));
            }
        }),
        (None, Some("success")) => Said::Succeeded { running: ids(&running)? },
        (None, Some("failure")) => {
            let code = code.as_deref().unwrap_or("general_error").parse()?;
            Said::Failed { code, text }
        }
        _ => {
            let what = "a report has a `phase`, or a `result` of `success` or `failure`";
            return Err(Problem::senseless(what));
        }
    };
    said(&call, &at, what).await
}

async fn said(
    call: &Call<AsDevice>,
    at: &AtCampaign,
    what: Said,
) -> Result<Json<Standing>, Problem> {
    let campaign = at.campaign.to_string();
    let Report { state, phase } =
        call.server.report(&call.scope, &call.device()?, &campaign, what).await?;
    Ok(Json(Standing { state: state.into(), phase: phase.map(str::to_owned) }))
}

/// Says what is installed: this and nothing else.
#[utoipa::path(post, path = "/device/inventory", tag = "device", request_body = Running,
    responses((status = 204), Problem), security(("token" = ["device"])))]
pub(super) async fn inventory(
    call: Call<AsDevice>,
    body: Body<Running>,
) -> Result<StatusCode, Problem> {
    let running = ids(&body.value.packages)?;
    call.server.inventory(&call.scope, &call.device()?, &running).await?;
    Ok(StatusCode::NO_CONTENT)
}
