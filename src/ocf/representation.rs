//! What the baseline interface adds to every representation.

use serde::Serialize;

use super::resource::Resource;

/// Common properties (OCF Core 7.3.2).
#[derive(Serialize)]
pub(super) struct Common {
    rt: &'static [&'static str],
    r#if: &'static [&'static str],
}

impl Common {
    pub(super) fn of(resource: Resource) -> Self {
        Self { rt: resource.types(), r#if: resource.interfaces() }
    }
}
