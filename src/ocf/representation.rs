//! What representations have in common.

use serde::Serializer;
use uuid::Uuid;

use super::resource::Resource;

/// Names that the baseline interface shows and the others leave out.
pub(super) type Names = Option<&'static [&'static str]>;

/// Types and interfaces of a resource: what the baseline interface adds (OCF Core 7.3.2).
pub(super) fn common(resource: Resource, baseline: bool) -> (Names, Names) {
    (baseline.then(|| resource.types()), baseline.then(|| resource.interfaces()))
}

/// A UUID as the models have it: 36 characters, where serde's own way for CBOR is 16 bytes.
pub(super) fn uuid<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(uuid)
}
