//! This room is REST: it takes requests apart, makes one call into the server, and shapes the answer. It
//! decides nothing about the fleet. Every route stands in the OpenAPI document, which is made from the
//! same lines that route it.

mod answer;
mod call;
mod campaigns;
mod catalogue;
mod device;
mod devices;
mod packages;
mod paging;
mod people;
mod place;
pub mod problem;
mod resolver;
pub mod types;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use answer::encoded;
use call::App;
use problem::Problem;

use crate::server::Server;

/// Bytes of a JSON body: an expression of 64 KiB in which every character is escaped fits.
pub const BODY_BYTES_MAX: usize = 1 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "freshen-fleet",
        description = "What runs where in a fleet, what should, and the \
        queue between. Errors are problem details (RFC 9457)."
    ),
    components(schemas(problem::Problem))
)]
struct Document;

/// All operations, and the document of them.
fn operations() -> OpenApiRouter<App> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(devices::add, devices::list))
        .routes(routes!(devices::import))
        .routes(routes!(devices::export))
        .routes(routes!(devices::show, devices::edit, devices::delete))
        .routes(routes!(devices::set_plan))
        .routes(routes!(devices::history))
        .routes(routes!(devices::add_traffic))
        .routes(routes!(devices::components))
        .routes(routes!(devices::fit, devices::unfit))
        .routes(routes!(devices::packages))
        .routes(routes!(devices::install, devices::uninstall))
        .routes(routes!(devices::next))
        .routes(routes!(devices::cancel_update))
        .routes(routes!(devices::ask_inventory))
        .routes(routes!(packages::list))
        .routes(routes!(packages::add, packages::show))
        .routes(routes!(packages::blacklist, packages::unblacklist))
        .routes(routes!(packages::devices))
        .routes(routes!(packages::upload, packages::upload_more, packages::download))
        .routes(routes!(packages::filters))
        .routes(routes!(packages::link, packages::unlink))
        .routes(routes!(packages::dependencies))
        .routes(routes!(packages::need, packages::unneed))
        .routes(routes!(packages::put_vendor))
        .routes(routes!(catalogue::add_component, catalogue::components))
        .routes(routes!(catalogue::delete_component))
        .routes(routes!(catalogue::component_devices))
        .routes(routes!(catalogue::add_filter, catalogue::filters))
        .routes(routes!(catalogue::validate))
        .routes(routes!(catalogue::filter, catalogue::edit_filter, catalogue::delete_filter))
        .routes(routes!(catalogue::filter_packages))
        .routes(routes!(catalogue::add_plan, catalogue::plans))
        .routes(routes!(catalogue::add_cycle, catalogue::cycles))
        .routes(routes!(campaigns::add, campaigns::list))
        .routes(routes!(campaigns::show))
        .routes(routes!(campaigns::cancel))
        .routes(routes!(campaigns::devices))
        .routes(routes!(campaigns::run))
        .routes(routes!(campaigns::purge))
        .routes(routes!(device::next))
        .routes(routes!(device::start))
        .routes(routes!(device::decline))
        .routes(routes!(device::report))
        .routes(routes!(device::inventory))
        .routes(routes!(people::add_token, people::tokens))
        .routes(routes!(people::delete_token))
        .routes(routes!(people::add_tenant))
        .routes(routes!(people::audit))
        .routes(routes!(people::verify_audit))
        .routes(routes!(people::events))
        .merge(resolver::operations());
    let public = OpenApiRouter::new().routes(routes!(health)).routes(routes!(metrics));
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", v1).merge(public)
}

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = operations().into_openapi();
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("token", SecurityScheme::Http(token));
    document
}

/// The service for a server.
pub fn router(server: Arc<Server>) -> Router {
    let app = App::new(server);
    let text: Arc<str> = document().to_pretty_json().unwrap_or_default().into();
    let openapi = axum::routing::get(move || {
        let text = text.to_string();
        async move { ([(header::CONTENT_TYPE, "application/json")], text) }
    });
    let (router, _) = operations().split_for_parts();
    router
        .route("/openapi.json", openapi)
        .fallback(async || Problem::no_route())
        .method_not_allowed_fallback(async || Problem::no_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// Says whether the server is there.
#[utoipa::path(get, path = "/health", tag = "server", responses((status = 200, body = String)))]
async fn health() -> &'static str {
    "ok\n"
}

/// Says whether the server has what it needs, in numbers (Prometheus text).
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, body = String)))]
async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let numbers = app.in_public().numbers();
    let mut text = String::new();
    for (name, what, number) in numbers {
        text.push_str(&format!("# HELP {name} {what}\n# TYPE {name} gauge\n{name} {number}\n"));
    }
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
