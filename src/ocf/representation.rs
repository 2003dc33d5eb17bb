//! What representations have in common.

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::resource::Resource;

/// What the baseline interface adds (OCF Core 7.3.2).
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

/// A UUID as the models have it: 36 characters, where serde's own way for CBOR is 16 bytes.
pub(super) fn uuid<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(uuid)
}
