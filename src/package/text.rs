//! What people call the devices that a package is for: the signed text beside the identifiers.
//!
//! The identifiers are digests of the words (UUID version 5), so the words can be checked, and nothing
//! is believed that does not fit. The text is for people alone: one that cannot be read is no reason to
//! refuse a package.

use std::fmt;

use ciborium::Value;

use super::Identity;
use super::cbor::Writer;
use super::component;

/// What people call the devices of an [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The vendor's domain.
    pub vendor: String,
    /// The class.
    pub class: String,
}

impl Names {
    /// The identifiers that are made of them.
    pub fn identity(&self) -> Identity {
        Identity::new(&self.vendor, &self.class)
    }

    /// `SUIT_Text_Map` (draft 8.4.4) that says so, about a component.
    pub(super) fn section(&self, id: &[String]) -> Vec<u8> {
        let id = id
            .iter()
            .fold(Writer::default().array(id.len()), |id, name| id.bytes(&component::bytes(name)));
        Writer::default()
            .map(1)
            .text("en")
            .map(1)
            .raw(&id.done())
            .map(2)
            .int(MODEL_NAME)
            .text(&self.class)
            .int(VENDOR_DOMAIN)
            .text(&self.vendor)
            .done()
    }

    /// The names in a text section, if they are those of this identity.
    pub(super) fn read(section: &[u8], identity: &Identity) -> Option<Self> {
        let languages: Value = ciborium::from_reader(section).ok()?;
        let texts = languages.as_map()?.iter().filter_map(|(_, texts)| texts.as_map());
        let components = texts.flatten().filter(|(key, _)| key.is_array());
        let mut names = components.filter_map(|(_, texts)| {
            let text = |number: i64| {
                let is_it = |(key, _): &&(Value, Value)| *key == Value::from(number);
                let text = texts.as_map()?.iter().find(is_it)?.1.as_text()?;
                let shown = text.len() <= CHARS_MAX && !text.contains(char::is_control);
                shown.then(|| text.to_owned())
            };
            Some(Self { vendor: text(VENDOR_DOMAIN)?, class: text(MODEL_NAME)? })
        });
        names.find(|names| names.identity() == *identity)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.class, self.vendor)
    }
}

/// suit-text-model-name and suit-text-vendor-domain.
const MODEL_NAME: i64 = 2;
const VENDOR_DOMAIN: i64 = 3;

/// The longest name that is shown: that of a domain, bytes.
const CHARS_MAX: usize = 253;
