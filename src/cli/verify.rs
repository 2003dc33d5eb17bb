//! `freshen verify`: would a device believe this package?

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::inspect::{overview, read_envelope, shown};
use super::payload;
use super::table::{Table, size};
use crate::clock;
use crate::package::{self, Component, Digest, Names, Source, Trust, TrustSet};

/// Check a package as a device does: signature, identity, expiry, and the payloads beside it
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen verify --trust vendor.pub.pem --vendor example.com \
    --class cam-1 site/cam.suit\n\n\
    Exit code 0: a device of that class installs it, unless it runs something newer. 1: it does not, \
    or a payload is\nmissing beside it, and why.")]
pub(super) struct Args {
    /// The envelope
    #[arg(value_name = "FILE")]
    envelope: PathBuf,
    /// A public key that the device trusts (PEM); repeatable
    #[arg(long, required = true, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// A trust set that the device has; repeatable, numbers 1, 2, 3 and so on
    #[arg(long, value_name = "FILE")]
    trust_set: Vec<PathBuf>,
    /// The vendor's domain in the configuration of the device
    #[arg(long, value_name = "DOMAIN")]
    vendor: String,
    /// The class in the configuration of the device
    #[arg(long)]
    class: String,
    /// Check the envelope alone, wherever its payloads are
    #[arg(long)]
    envelope_only: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Verifies; the error is the reason not to install it.
pub(super) fn run(args: Args) -> Result<()> {
    let file = &args.envelope;
    let envelope = read_envelope(file)?;
    let names = Names { vendor: args.vendor.clone(), class: args.class.clone() };
    let manifest = package::verify(&envelope, &trust(&args)?, &names.identity())
        .map_err(|refusal| refusal.on(&names))
        .with_context(|| format!("{} is refused", file.display()))?;
    if let Some(moment) = manifest.use_before {
        ensure!(
            clock::now().wall < moment,
            "{} is refused: it expired on {moment}; pack it again with a later --use-before",
            file.display()
        );
    }
    let directory = file.parent().unwrap_or(Path::new(""));
    let payloads = manifest
        .components
        .iter()
        .map(|component| match args.envelope_only {
            true => Ok(Checked::NotLookedAt),
            false => check(directory, component),
        })
        .collect::<Result<Vec<_>>>()?;
    let missing: Vec<_> = payloads.iter().flat_map(Checked::missing).cloned().collect();
    ensure!(
        missing.is_empty(),
        "{} is signed, but devices would not find all of it: {}; put it there, or add \
         --envelope-only to check no more than the envelope",
        file.display(),
        missing.join(", ")
    );
    if args.json {
        let payloads: Vec<_> = payloads.iter().map(Checked::word).collect();
        println!(
            "{}",
            serde_json::json!({
                "verified": true, "version": manifest.version, "sequence": manifest.sequence,
                "digest": manifest.digest.to_string(), "payloads": payloads,
            })
        );
        return Ok(());
    }
    let table = Table::new(format!("{} is signed by a trusted key", file.display()));
    let table = overview(table, &manifest);
    manifest
        .components
        .iter()
        .zip(&payloads)
        .fold(table, |table, (component, checked)| {
            let words =
                format!("{}, {}, {}", shown(component), size(component.size), checked.words());
            table.row("payload", words)
        })
        .print();
    Ok(())
}

/// The keys that the device believes: those of its configuration, or of its last trust set.
fn trust(args: &Args) -> Result<Trust> {
    let mut current = TrustSet::configured(read_trust(&args.trust)?);
    for file in &args.trust_set {
        let document = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let next = package::verify_trust_set(&document, &current)
            .with_context(|| format!("{} is refused", file.display()))?;
        current = TrustSet::clone(&next);
    }
    Ok(current.packages)
}

/// The keys in these files, any one of which may sign.
pub(super) fn read_trust(files: &[PathBuf]) -> Result<Trust> {
    let mut pems = vec![];
    for file in files {
        let pem = fs::read_to_string(file)
            .with_context(|| format!("cannot read the key {}", file.display()))?;
        // One by one first, so that the error names the file.
        Trust::from_pem(&[&pem]).with_context(|| file.display().to_string())?;
        pems.push(pem);
    }
    Ok(Trust::from_pem(&pems)?)
}

/// What became of a payload.
enum Checked {
    Integrated,
    Matches,
    NotLookedAt,
    /// What is not there, in words; and a place that only the network can show.
    Missing(Vec<String>),
}

impl Checked {
    fn words(&self) -> &'static str {
        match self {
            Self::Integrated => "in the envelope, matches",
            Self::Matches => "matches",
            Self::NotLookedAt | Self::Missing(_) => "not checked",
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Integrated => "integrated",
            Self::Matches => "matches",
            Self::NotLookedAt | Self::Missing(_) => "not checked",
        }
    }

    fn missing(&self) -> &[String] {
        match self {
            Self::Missing(words) => words,
            _ => &[],
        }
    }
}

/// Compares what lies beside the envelope with what was signed. A way to another server leads to what is
/// here as well, or to nothing that can be checked.
fn check(directory: &Path, component: &Component) -> Result<Checked> {
    let whole = (Some(component.digest), component.size);
    let ways = match &component.source {
        Source::Integrated(_) => return Ok(Checked::Integrated),
        Source::Uri(uri) => vec![(uri, whole)],
        Source::Ways(ways) => ways
            .iter()
            .map(|way| match &way.coding {
                Some(coding) => (&way.uri, (coding.digest, coding.size)),
                None => (&way.uri, whole),
            })
            .collect(),
    };
    let (mut here, mut missing) = (vec![], vec![]);
    for (uri, signed) in &ways {
        let Some(path) = relative(uri).map(|path| directory.join(path)) else { continue };
        if path.is_file() {
            compare(&path, *signed)?;
            here.push(*signed);
        } else {
            missing.push(format!("{} is missing", path.display()));
        }
    }
    let elsewhere = ways.iter().filter(|(uri, signed)| {
        relative(uri).is_none() && missing.is_empty() && !here.contains(signed)
    });
    let elsewhere: Vec<_> =
        elsewhere.map(|(uri, _)| format!("{uri} cannot be seen from here")).collect();
    missing.extend(elsewhere);
    Ok(if missing.is_empty() { Checked::Matches } else { Checked::Missing(missing) })
}

fn compare(path: &Path, (digest, size): (Option<Digest>, u64)) -> Result<()> {
    let (actual_size, actual_digest) = payload::measure(path)?;
    if actual_size != size {
        bail!("{} has {actual_size} bytes, but {size} were signed", path.display());
    }
    ensure!(
        digest.is_none_or(|digest| actual_digest == digest),
        "{} was changed after signing: its digest differs",
        path.display()
    );
    Ok(())
}

/// The file that a URI reference names when it names one in the same directory or below it.
fn relative(uri: &str) -> Option<PathBuf> {
    let names = uri.split('/').map(file_name).collect::<Option<Vec<_>>>()?;
    Some(names.iter().collect())
}

/// One name of such a reference.
fn file_name(uri: &str) -> Option<String> {
    let mut bytes = vec![];
    let mut rest = uri.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'?' | b'#' | b':' => return None,
            byte => byte,
        });
    }
    let name = String::from_utf8(bytes).ok()?;
    let plain = !name.contains(['/', '\0']) && !["", ".", ".."].contains(&&*name);
    plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_the_same_directory_and_below_are_looked_up() {
        for (uri, path) in [("cam.tar", "cam.tar"), ("my%20cam.tar", "my cam.tar"), ("a/b", "a/b")]
        {
            assert_eq!(relative(uri), Some(path.into()));
        }
        for uri in [
            "",
            "..",
            "%2e%2e",
            "a/../b",
            "a%2fb",
            "https://x/y",
            "//x",
            "/x",
            "a%0",
            "a%zz",
            "%00",
        ] {
            assert_eq!(relative(uri), None, "{uri}");
        }
    }
}
