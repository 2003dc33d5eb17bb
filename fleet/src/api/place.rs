//! The names that stand in paths, checked by their types.

use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::plan::words::{
    DeviceId, FilterLabel, PackageId, PackageName, PackageVersion, PartNumber, PlanName,
};

macro_rules! places {
    ($($(#[$doc:meta])* $place:ident { $($field:ident: $type:ty = $text:literal),* })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Deserialize, IntoParams)]
        #[into_params(parameter_in = Path)]
        pub(super) struct $place {
            $(#[doc = $text] #[param(value_type = String)] pub(super) $field: $type,)*
        }
    )* };
}

places! {
    AtDevice { id: DeviceId = "The device's id, percent-encoded" }
    AtDevicePart { id: DeviceId = "The device's id", part: PartNumber = "The part number" }
    AtDevicePackage {
        id: DeviceId = "The device's id",
        name: PackageName = "The package's name",
        version: PackageVersion = "Its version"
    }
    AtDeviceUpdate { id: DeviceId = "The device's id", campaign: Uuid = "The campaign's id" }
    AtPackage { name: PackageName = "The package's name", version: PackageVersion = "Its version" }
    AtFile {
        name: PackageName = "The package's name",
        version: PackageVersion = "Its version",
        path: String = "The file's path in the package, percent-encoded"
    }
    AtPackageFilter {
        name: PackageName = "The package's name",
        version: PackageVersion = "Its version",
        label: FilterLabel = "The filter's label"
    }
    AtNeeds {
        name: PackageName = "The package's name",
        version: PackageVersion = "Its version",
        needed_name: PackageName = "The name of the package that it needs",
        needed_version: PackageVersion = "The version that it needs"
    }
    AtPart { part: PartNumber = "The part number" }
    AtFilter { label: FilterLabel = "The filter's label" }
    AtPlan { plan: PlanName = "The data plan's name" }
    AtCampaign { campaign: Uuid = "The campaign's id" }
    AtToken { token: Uuid = "The token's id" }
    AtVendor { vendor: PlanName = "The vendor's name, as its devices have it" }
}

macro_rules! packages {
    ($($place:ident),*) => { $(
        impl $place {
            /// The package that is named.
            pub(super) fn package(&self) -> PackageId {
                PackageId { name: self.name.clone(), version: self.version.clone() }
            }
        }
    )* };
}
packages!(AtDevicePackage, AtPackage, AtFile, AtPackageFilter, AtNeeds);

impl AtNeeds {
    /// The package that is needed.
    pub(super) fn needed(&self) -> PackageId {
        PackageId { name: self.needed_name.clone(), version: self.needed_version.clone() }
    }
}
