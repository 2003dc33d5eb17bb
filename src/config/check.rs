//! From the file's shapes to settings that make sense.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;

use crate::coap::limits::{MAX_PAYLOADS, MAX_PAYLOADS_AGREED_MAX};
use crate::install as installers;
use crate::update::Window;

use super::{
    COMPONENTS_MAX, Ca, Certified, Credentials, Device, Error, Install, InstallKind, Listen,
    Method, Onboarding, Overrides, PreSharedKey, Secret, Settings, Update, raw, read,
};

/// The longest text of the OCF models' string properties, characters.
const TEXT_MAX: usize = 64;

/// Clients that can be known by a shared key before there is an owner.
const PSK_MAX: usize = 64;

/// Bytes of a shared key: OCF uses 16; below that a key can be guessed.
const PSK_BYTES: RangeInclusive<usize> = 16..=64;

/// Schemes that can be spoken at all.
const SCHEMES: [&str; 4] = ["https", "coaps", "http", "coap"];

pub(super) fn settings(
    file: raw::File,
    base: &Path,
    overrides: &Overrides,
) -> Result<Settings, Error> {
    Ok(Settings {
        device: device(file.device)?,
        listen: listen(file.listen, overrides)?,
        onboarding: onboarding(file.onboarding, base)?,
        credentials: credentials(file.credentials, base)?,
        update: update(file.update, base)?,
        install: install(file.install, base)?,
    })
}

fn device(raw: raw::Device) -> Result<Device, Error> {
    let manufactured = raw.manufactured.unwrap_or("1970-01-01T00:00:00Z".into());
    let vendor = text("device.vendor", raw.vendor, "example.com")?;
    if !is_host_name(&vendor) {
        return wrong("device.vendor", &vendor, "a domain of the vendor, such as \"example.com\"");
    }
    Ok(Device {
        name: text("device.name", raw.name, "freshen device")?,
        manufacturer: text("device.manufacturer", raw.manufacturer, "freshen")?,
        vendor,
        class: text("device.class", raw.class, "device-1")?,
        version: text("device.version", raw.version, "0.0.0")?,
        manufactured: match DateTime::parse_from_rfc3339(&manufactured) {
            Ok(time) => time.with_timezone(&Utc),
            Err(_) => {
                return wrong(
                    "device.manufactured",
                    &manufactured,
                    "a date and time in quotes, such as \"2026-01-09T14:30:00Z\"",
                );
            }
        },
    })
}

fn listen(raw: raw::Listen, overrides: &Overrides) -> Result<Listen, Error> {
    let insecure = overrides.insecure || raw.insecure.unwrap_or(false);
    let resolve = |key, texts: Option<Vec<String>>, given: &[SocketAddr]| match texts {
        _ if !given.is_empty() => Ok(given.to_vec()),
        Some(texts) => addresses(key, &texts),
        // What nobody chose must not stand in the way.
        None if insecure => addresses(key, &["127.0.0.1:0".into(), "[::1]:0".into()]),
        None => addresses(key, &["0.0.0.0:0".into(), "[::]:0".into()]),
    };
    let coap = resolve("listen.coap", raw.coap, &overrides.coap)?;
    let coaps = resolve("listen.coaps", raw.coaps, &overrides.coaps)?;
    if insecure && let Some(open) = coap.iter().chain(&coaps).find(|a| !a.ip().is_loopback()) {
        return Err(Error::Insecure(*open));
    }
    if coap.is_empty() && coaps.is_empty() {
        return wrong("listen.coap", "[]", "an address here or in listen.coaps");
    }
    Ok(Listen { coap, coaps, multicast: raw.multicast.unwrap_or(true), insecure })
}

fn addresses(key: &str, texts: &[String]) -> Result<Vec<SocketAddr>, Error> {
    let address = |text: &String| match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => wrong(key, text, "ADDRESS:PORT, such as \"0.0.0.0:5683\" or \"[::]:0\""),
    };
    texts.iter().map(address).collect()
}

fn onboarding(raw: raw::Onboarding, base: &Path) -> Result<Onboarding, Error> {
    let keys = ["onboarding.mfg_cert", "onboarding.mfg_key", "onboarding.mfg_roots"];
    let manufacturer = certified(keys, raw.mfg_cert, raw.mfg_key, raw.mfg_roots, base)?;
    let methods = match raw.methods {
        None if manufacturer.is_some() => {
            vec![Method::JustWorks, Method::RandomPin, Method::ManufacturerCertificate]
        }
        None => vec![Method::JustWorks, Method::RandomPin],
        Some(words) => words.iter().map(|word| method(word)).collect::<Result<_, _>>()?,
    };
    if methods.contains(&Method::ManufacturerCertificate) && manufacturer.is_none() {
        return wrong("onboarding.methods", "mfgcert", "mfg_cert, mfg_key and mfg_roots beside it");
    }
    let pin_command = command("onboarding.pin_command", raw.pin_command, base)?;
    Ok(Onboarding { methods, pin_command, manufacturer })
}

fn method(word: &str) -> Result<Method, Error> {
    match word {
        "jw" => Ok(Method::JustWorks),
        "rdp" => Ok(Method::RandomPin),
        "mfgcert" => Ok(Method::ManufacturerCertificate),
        _ => wrong("onboarding.methods", word, "\"jw\", \"rdp\" or \"mfgcert\""),
    }
}

fn credentials(raw: raw::Credentials, base: &Path) -> Result<Credentials, Error> {
    let keys = ["credentials.cert", "credentials.key", "credentials.roots"];
    if raw.psk.len() > PSK_MAX {
        return wrong("credentials.psk", &raw.psk.len(), format!("at most {PSK_MAX} entries"));
    }
    let mut psk: Vec<PreSharedKey> = Vec::new();
    for entry in raw.psk {
        let entry = pre_shared_key("credentials.psk", entry)?;
        if psk.iter().any(|known| known.identity == entry.identity) {
            return wrong("credentials.psk.identity", &entry.identity, "each identity only once");
        }
        psk.push(entry);
    }
    let certificate = certified(keys, raw.cert, raw.key, raw.roots, base)?;
    Ok(Credentials { psk, certificate })
}

fn pre_shared_key(place: &str, raw: raw::PreSharedKey) -> Result<PreSharedKey, Error> {
    let identity = text(&format!("{place}.identity"), Some(raw.identity), "")?;
    let Some(key) = hex(&raw.key_hex).filter(|key| PSK_BYTES.contains(&key.len())) else {
        let key = format!("{place}.key_hex (of {identity})");
        let (least, most) = PSK_BYTES.into_inner();
        let expected = format!("{} to {} hexadecimal digits", least * 2, most * 2);
        return Err(Error::Value { key, value: "(not shown)".into(), expected });
    };
    Ok(PreSharedKey { identity, key: Secret::new(key) })
}

/// All three or none.
fn certified(
    [chain_key, key_key, roots_key]: [&str; 3],
    chain: Option<String>,
    key: Option<String>,
    roots: Option<Vec<String>>,
    base: &Path,
) -> Result<Option<Certified>, Error> {
    let (chain, key, roots) = match (chain, key, roots) {
        (None, None, None) => return Ok(None),
        (Some(chain), Some(key), Some(roots)) => (chain, key, roots),
        (None, ..) => return wrong(chain_key, "(absent)", "a file, as the others are given"),
        (_, None, _) => return wrong(key_key, "(absent)", "a file, as the others are given"),
        (.., None) => {
            return wrong(roots_key, "(absent)", "a list of files, as the others are given");
        }
    };
    let roots: Vec<String> = roots
        .iter()
        .map(|file| pem(roots_key, file, base, "CERTIFICATE"))
        .collect::<Result<_, _>>()?;
    Ok(Some(Certified {
        chain: pem(chain_key, &chain, base, "CERTIFICATE")?,
        key: Secret::new(pem(key_key, &key, base, "PRIVATE KEY")?.into_bytes()),
        roots,
    }))
}

fn update(raw: raw::Update, base: &Path) -> Result<Update, Error> {
    let allow_schemes =
        raw.allow_schemes.unwrap_or_else(|| vec!["https".to_owned(), "coaps".to_owned()]);
    if let Some(odd) = allow_schemes.iter().find(|scheme| !SCHEMES.contains(&&***scheme)) {
        return wrong("update.allow_schemes", odd, "\"https\", \"coaps\", \"http\" or \"coap\"");
    }
    if let Some(odd) = raw.allow_hosts.iter().find(|host| !is_host_pattern(host)) {
        return wrong(
            "update.allow_hosts",
            odd,
            "a host such as \"updates.example.com\", all of a domain as \".example.com\", an \
             address, or \"*\"; no scheme, port or path",
        );
    }
    let port = |port: i64| number("update.allow_ports", Some(port), 1, 1..=65_535);
    Ok(Update {
        href: href(raw.href.unwrap_or("/softwareupdateResURI".into()))?,
        builtin_url: builtin_url(raw.builtin_url.unwrap_or_default(), &allow_schemes)?,
        purl_max: number("update.purl_max", raw.purl_max, 64, 64..=1024)?,
        trust: raw
            .trust
            .iter()
            .map(|file| pem("update.trust", file, base, "PUBLIC KEY"))
            .collect::<Result<_, _>>()?,
        trust_sets: match raw.trust_sets.filter(|reference| !reference.is_empty()) {
            Some(reference) if !is_reference(&reference) => {
                return wrong(
                    "update.trust_sets",
                    &reference,
                    "a URL or the beginning of a file name, such as \"trust.\", without ? and #",
                );
            }
            reference => reference,
        },
        decryption_key: raw
            .decryption_key
            .filter(|file| !file.is_empty())
            .map(|file| pem("update.decryption_key", &file, base, "PRIVATE KEY"))
            .transpose()?
            .map(|pem| Secret::new(pem.into_bytes())),
        ca: match raw.ca.as_deref() {
            None | Some("webpki") => Ca::WebPki,
            Some(file) => Ca::Pem(pem("update.ca", file, base, "CERTIFICATE")?),
        },
        coaps_psk: raw.coaps_psk.map(|psk| pre_shared_key("update.coaps_psk", psk)).transpose()?,
        allow_hosts: raw.allow_hosts,
        allow_schemes,
        allow_ports: raw.allow_ports.into_iter().map(port).collect::<Result<_, _>>()?,
        allow_private: raw.allow_private,
        allow_loopback: raw.allow_loopback,
        bandwidth_max: number("update.bandwidth_max", raw.bandwidth_max, 0, 0..=i64::MAX)?,
        max_payloads: number(
            "update.max_payloads",
            raw.max_payloads,
            MAX_PAYLOADS.into(),
            1..=MAX_PAYLOADS_AGREED_MAX.into(),
        )?,
        mirrors: raw.mirrors.iter().map(|text| mirror(text)).collect::<Result<_, _>>()?,
        window: raw.window.map(|text| window(&text)).transpose()?,
        lateness_max: seconds("update.lateness_max_s", raw.lateness_max_s, 3600)?,
        veto: command("update.veto", raw.veto, base)?,
    })
}

/// A length of time, at most a day.
fn seconds(key: &str, value: Option<i64>, default: i64) -> Result<Duration, Error> {
    number(key, value, default, 1..=86_400).map(Duration::from_secs)
}

/// A URI reference that a number can be appended to.
fn is_reference(reference: &str) -> bool {
    reference.len() <= 1024
        && reference.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte))
}

/// A whole URL of a directory.
fn mirror(text: &str) -> Result<Url, Error> {
    match Url::parse(text) {
        Ok(url)
            if SCHEMES.contains(&url.scheme())
                && url.has_host()
                && url.path().ends_with('/')
                && url.query().is_none()
                && url.fragment().is_none() =>
        {
            Ok(url)
        }
        _ => wrong("update.mirrors", text, "whole URLs of directories, each with a / at its end"),
    }
}

/// `HH:MM-HH:MM`, UTC or with an offset for both.
fn window(text: &str) -> Result<Window, Error> {
    let expected = "a time of day in UTC such as \"02:00-04:30\", or with another offset as in \
                    \"02:00-04:30+01:00\"; the end is not the beginning";
    Window::parse(text).map_or_else(|| wrong("update.window", text, expected), Ok)
}

/// A path that no other resource has.
fn href(path: String) -> Result<String, Error> {
    let segments = path.strip_prefix('/').unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let good = path.len() <= 256
        && segments.split('/').all(|segment| !segment.is_empty() && segment.chars().all(plain));
    let taken = ["/oic/", "/oc/wk/", "/.well-known/"].iter().any(|own| path.starts_with(own))
        || path == "/updatestatus";
    if good && !taken {
        return Ok(path);
    }
    wrong("update.href", &path, "a path such as \"/softwareupdateResURI\" that is not taken")
}

fn builtin_url(text: String, schemes: &[String]) -> Result<Option<String>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let good = Url::parse(&text)
        .is_ok_and(|url| schemes.iter().any(|scheme| scheme == url.scheme()) && url.has_host());
    if good {
        return Ok(Some(text));
    }
    let expected = format!("a whole URL that begins with one of {}", schemes.join(", "));
    wrong("update.builtin_url", &text, expected)
}

fn install(mut raw: raw::Install, base: &Path) -> Result<Install, Error> {
    let mut kind = match (raw.kind.as_deref().unwrap_or("slots"), raw.file.take()) {
        ("slots", None) => InstallKind::Slots,
        ("slots", Some(file)) => {
            return wrong("install.file", &file, "it only with kind = \"file\"");
        }
        ("file", Some(file)) if !file.is_empty() => InstallKind::File(relative(base, &file)),
        ("file", _) => {
            return wrong("install.file", "(absent)", "the path of the file to replace");
        }
        ("command" | "rauc" | "swupdate", Some(file)) => {
            return wrong("install.file", &file, "it only with kind = \"file\"");
        }
        ("command", None) if raw.command.is_empty() => {
            return wrong("install.command", "[]", "the program that installs, and its arguments");
        }
        ("command", None) => {
            let argv = command("install.command", std::mem::take(&mut raw.command), base)?;
            InstallKind::Program(installers::Program::command(&argv).into())
        }
        ("rauc", None) => InstallKind::Program(installers::Program::rauc().into()),
        ("swupdate", None) => InstallKind::Program(installers::Program::swupdate().into()),
        (other, _) => {
            let known = "\"slots\", \"file\", \"command\", \"rauc\" or \"swupdate\"";
            return wrong("install.kind", other, known);
        }
    };
    if let Some(word) = raw.command.first() {
        return wrong("install.command", word, "it only with kind = \"command\"");
    }
    if let InstallKind::Program(program) = &mut kind {
        verbs(program, &mut raw, base)?;
    } else if let Some((key, _)) = given_verbs(&mut raw).into_iter().find(|(_, it)| it.is_some()) {
        let expected = "it only with kind = \"command\", \"rauc\" or \"swupdate\"";
        return wrong(key, "(given)", expected);
    }
    let agent = raw.agent.map(|agent| inside_a_slot(&kind, agent)).transpose()?;
    let components = components(&kind, raw.components)?;
    let install = Install {
        kind,
        agent,
        activate: command("install.activate", raw.activate, base)?,
        activate_timeout: seconds("install.activate_timeout_s", raw.activate_timeout_s, 60)?,
        health: command("install.health", raw.health, base)?,
        health_timeout: seconds("install.health_timeout_s", raw.health_timeout_s, 30)?,
        confirm_timeout: seconds("install.confirm_timeout_s", raw.confirm_timeout_s, 120)?,
        tries: number("install.tries", raw.tries, 3, 1..=10)?,
        components,
    };
    if install.confirm_timeout < install.health_timeout {
        let value = install.confirm_timeout.as_secs();
        return wrong("install.confirm_timeout_s", &value, "at least health_timeout_s");
    }
    Ok(install)
}

/// What the device's maker says otherwise about an installer.
fn verbs(
    program: &mut installers::Program,
    raw: &mut raw::Install,
    base: &Path,
) -> Result<(), Error> {
    let limit = raw.program_timeout_s;
    program.limit =
        Duration::from_secs(number("install.program_timeout_s", limit, 3600, 1..=86_400)?);
    for (key, given) in given_verbs(raw) {
        let Some(words) = given else { continue };
        let words = command(key, words, base)?;
        match key {
            "install.write" if words.is_empty() => {
                return wrong(key, "[]", "a program; without one nothing is installed");
            }
            "install.write" => program.write = words,
            "install.switch" => program.switch = words,
            "install.confirm" => program.confirm = words,
            "install.roll_back" => program.roll_back = words,
            "install.discard" => program.discard = words,
            _ => program.booted = words,
        }
    }
    Ok(())
}

fn given_verbs(raw: &mut raw::Install) -> [(&'static str, Option<Vec<String>>); 6] {
    [
        ("install.write", raw.write.take()),
        ("install.switch", raw.switch.take()),
        ("install.confirm", raw.confirm.take()),
        ("install.roll_back", raw.roll_back.take()),
        ("install.discard", raw.discard.take()),
        ("install.booted", raw.booted.take()),
    ]
}

fn inside_a_slot(kind: &InstallKind, agent: String) -> Result<PathBuf, Error> {
    let path = PathBuf::from(&agent);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    if *kind == InstallKind::Slots && !agent.is_empty() && path.components().all(plain) {
        return Ok(path);
    }
    wrong("install.agent", &agent, "a path inside a slot, such as \"bin/freshen\", with slots")
}

/// Where in a slot components go.
fn components(
    kind: &InstallKind,
    raw: BTreeMap<String, String>,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    const KEY: &str = "install.components";
    if raw.len() > COMPONENTS_MAX {
        return wrong(KEY, &raw.len(), format!("at most {COMPONENTS_MAX} entries"));
    }
    let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (id, path) in raw {
        let place = PathBuf::from(&path);
        let plain = |part| matches!(part, std::path::Component::Normal(_));
        let good = *kind == InstallKind::Slots
            && !path.is_empty()
            && !path.chars().any(char::is_control)
            && place.components().all(plain);
        if !good {
            return wrong(KEY, &path, "a path inside a slot, such as \"firmware.bin\", with slots");
        }
        places.insert(id, place);
    }
    Ok(places)
}

/// A program and its arguments. A program given by a path is looked for beside the configuration;
/// one given by its name alone, where the system looks.
fn command(key: &str, mut words: Vec<String>, base: &Path) -> Result<Vec<String>, Error> {
    let Some(program) = words.first_mut() else { return Ok(words) };
    if program.is_empty() || words.iter().any(|word| word.contains('\0')) {
        return wrong(key, "[\"\"]", "a program and its arguments, such as [\"/usr/bin/check\"]");
    }
    if let Some(program) = words.first_mut()
        && program.contains('/')
    {
        *program = relative(base, program).to_string_lossy().into_owned();
    }
    Ok(words)
}

/// What the path means, seen from the configuration file.
fn relative(base: &Path, path: &str) -> PathBuf {
    base.join(path)
}

/// The text of a PEM file that holds at least one `label`.
fn pem(key: &str, file: &str, base: &Path, label: &str) -> Result<String, Error> {
    let path = relative(base, file);
    let text = read(&path).map_err(|source| Error::Named { key: key.into(), path, source })?;
    let begins = |line: &str| {
        line.strip_prefix("-----BEGIN ")
            .is_some_and(|rest| rest.ends_with(&format!("{label}-----")))
    };
    if text.lines().any(|line| begins(line.trim_end())) {
        return Ok(text);
    }
    wrong(key, file, format!("a PEM file with a line \"-----BEGIN {label}-----\""))
}

fn text(key: &str, value: Option<String>, default: &str) -> Result<String, Error> {
    let value = value.unwrap_or_else(|| default.to_owned());
    let length = value.chars().count();
    if (1..=TEXT_MAX).contains(&length) && !value.chars().any(char::is_control) {
        return Ok(value);
    }
    wrong(key, &value, format!("1 to {TEXT_MAX} characters, none of them control characters"))
}

fn number<T: TryFrom<i64>>(
    key: &str,
    value: Option<i64>,
    default: i64,
    range: RangeInclusive<i64>,
) -> Result<T, Error> {
    let value = value.unwrap_or(default);
    match T::try_from(value) {
        Ok(number) if range.contains(&value) => Ok(number),
        _ if *range.end() == i64::MAX => wrong(key, &value, "0 or more"),
        _ => wrong(key, &value, format!("{} to {}", range.start(), range.end())),
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_host_pattern(pattern: &str) -> bool {
    let name = pattern.strip_prefix('*').unwrap_or(pattern);
    match name.strip_prefix('.') {
        Some(domain) => is_host_name(domain),
        None => {
            pattern == "*" || is_host_name(pattern) || pattern.parse::<std::net::IpAddr>().is_ok()
        }
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn wrong<T>(
    key: &str,
    value: &(impl std::fmt::Display + ?Sized),
    expected: impl Into<String>,
) -> Result<T, Error> {
    let quoted = |value: String| match value.parse::<i64>() {
        Err(_) if !value.starts_with(['(', '[']) => format!("{value:?}"),
        _ => value,
    };
    let value = quoted(value.to_string());
    Err(Error::Value { key: key.into(), value, expected: expected.into() })
}
