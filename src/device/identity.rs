//! What the device is called by others, made once and kept.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::Error;
use super::keeper::{decode, encode};
use crate::ocf::security::{Fresh, Secret};
use crate::store::{Form, Found, Ledger};

const RECORD: &str = "identity";
const FORM: Form = Form::FIRST;

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
    ///
    /// # Errors
    ///
    /// The disk refuses, or what is kept there cannot be read.
    pub(super) fn load(directory: &Path) -> Result<Self, Error> {
        let (mut ledger, found) = Ledger::open(directory, RECORD, FORM)?;
        match found {
            Found::Record(body) => return decode(&body).ok_or(Error::nonsense(RECORD)),
            Found::Newer { form } => return Err(Error::newer(RECORD, form, FORM)),
            Found::Damaged => {
                tracing::error!("the identity record is damaged; the device gets new identifiers");
            }
            Found::Nothing => {}
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
