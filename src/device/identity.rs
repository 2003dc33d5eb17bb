//! What the device is called by others, made once and kept.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keeper::{decode, encode};
use crate::ocf::security::{Fresh, Secret};
use crate::store::{self, Found, Ledger};

/// The device's own identifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// `di`.
    pub(super) device: Uuid,
    /// `piid`.
    pub(super) protocol_independent: Uuid,
    /// `pi`.
    pub(super) platform: Uuid,
}

impl Identity {
    /// Reads the identity below `directory`, or makes one and keeps it.
    pub(super) fn load(directory: &Path) -> Result<Self, store::Error> {
        let (mut ledger, found) = Ledger::open(directory, "identity")?;
        if let Found::Record(body) = &found
            && let Some(identity) = decode(body)
        {
            return Ok(identity);
        }
        if found != Found::Nothing {
            tracing::error!("the identity record is damaged; the device gets new identifiers");
        }
        let identity = Self {
            device: Uuid::new_v4(),
            protocol_independent: Uuid::new_v4(),
            platform: Uuid::new_v4(),
        };
        ledger.commit(&encode(&identity))?;
        Ok(identity)
    }
}

/// What a device has anew after each reset.
pub(super) fn fresh() -> Result<Fresh, String> {
    let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
    Ok(Fresh { device: Uuid::new_v4(), key: Secret::new(key.serialize_der()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let first = Identity::load(directory.path()).unwrap();
        assert_eq!(Identity::load(directory.path()).unwrap(), first);
    }
}
