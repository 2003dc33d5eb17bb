//! The configuration as written: every key there is, nothing checked but the types.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) device: Device,
    pub(super) listen: Listen,
    pub(super) onboarding: Onboarding,
    pub(super) credentials: Credentials,
    pub(super) update: Update,
    pub(super) install: Install,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) vendor: Option<String>,
    pub(super) class: Option<String>,
    pub(super) version: Option<String>,
    pub(super) manufactured: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) coap: Option<Vec<String>>,
    pub(super) coaps: Option<Vec<String>>,
    pub(super) multicast: Option<bool>,
    pub(super) insecure: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Onboarding {
    pub(super) methods: Option<Vec<String>>,
    pub(super) pin_command: Vec<String>,
    pub(super) mfg_cert: Option<String>,
    pub(super) mfg_key: Option<String>,
    pub(super) mfg_roots: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Credentials {
    pub(super) psk: Vec<PreSharedKey>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) roots: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PreSharedKey {
    pub(super) identity: String,
    pub(super) key_hex: zeroize::Zeroizing<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Update {
    pub(super) href: Option<String>,
    pub(super) builtin_url: Option<String>,
    pub(super) purl_max: Option<i64>,
    pub(super) trust: Vec<String>,
    pub(super) trust_sets: Option<String>,
    pub(super) decryption_key: Option<String>,
    pub(super) ca: Option<String>,
    pub(super) coaps_psk: Option<PreSharedKey>,
    pub(super) allow_hosts: Vec<String>,
    pub(super) allow_schemes: Option<Vec<String>>,
    pub(super) allow_ports: Vec<i64>,
    pub(super) allow_private: bool,
    pub(super) allow_loopback: bool,
    pub(super) bandwidth_max: Option<i64>,
    pub(super) max_payloads: Option<i64>,
    pub(super) mirrors: Vec<String>,
    pub(super) window: Option<String>,
    pub(super) lateness_max_s: Option<i64>,
    pub(super) veto: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Install {
    pub(super) kind: Option<String>,
    pub(super) file: Option<String>,
    pub(super) command: Vec<String>,
    pub(super) write: Option<Vec<String>>,
    pub(super) switch: Option<Vec<String>>,
    pub(super) confirm: Option<Vec<String>>,
    pub(super) roll_back: Option<Vec<String>>,
    pub(super) discard: Option<Vec<String>>,
    pub(super) booted: Option<Vec<String>>,
    pub(super) program_timeout_s: Option<i64>,
    pub(super) agent: Option<String>,
    pub(super) activate: Vec<String>,
    pub(super) activate_timeout_s: Option<i64>,
    pub(super) health: Vec<String>,
    pub(super) health_timeout_s: Option<i64>,
    pub(super) confirm_timeout_s: Option<i64>,
    pub(super) tries: Option<i64>,
    pub(super) components: BTreeMap<String, String>,
}

/// Text to [`File`]; on failure the line and what is wrong there.
pub(super) fn parse(text: &str) -> Result<File, (usize, String)> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        (before.matches('\n').count() + 1, without_values(error.message()))
    })
}

/// The message of a deserializer, without the value that it quotes: that may be a secret.
fn without_values(message: &str) -> String {
    let Some((start, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let found = match start.split_once(": ") {
        Some(("invalid type" | "invalid value", found)) => found,
        _ => return message.to_owned(),
    };
    let kind = found.split([' ', '`', '"']).next().unwrap_or_default();
    let kind = match kind {
        "string" => "a text",
        "integer" => "a whole number",
        "floating" => "a number with a fraction",
        "boolean" => "true or false",
        "map" => "a table",
        "sequence" => "a list",
        _ => "something else",
    };
    let expected = match expected {
        "a string" => "a text in quotes",
        "a sequence" => "a list such as [\"...\"]",
        "a boolean" => "true or false",
        "i64" => "a whole number",
        other => other,
    };
    format!("expected {expected}, found {kind}")
}
