//! `freshen verify`: would a device believe this package?

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::inspect::{overview, read_envelope, shown};
use super::payload;
use super::table::{Table, size};
use crate::clock;
use crate::package::{self, Component, Identity, Source, Trust, TrustSet};

/// Check a package as a device does: signature, identity, expiry, and the payloads beside it
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen verify --trust vendor.pub.pem --vendor example.com \
    --class cam-1 site/cam.suit\n\n\
    Exit code 0: a device of that class installs it, unless it runs something newer. 1: it does not, and why.")]
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
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Verifies; the error is the reason not to install it.
pub(super) fn run(args: Args) -> Result<()> {
    let file = &args.envelope;
    let envelope = read_envelope(file)?;
    let identity = Identity::new(&args.vendor, &args.class);
    let manifest = package::verify(&envelope, &trust(&args)?, &identity)
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
        .map(|component| check(directory, component))
        .collect::<Result<Vec<_>>>()?;
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
    Elsewhere(String),
}

impl Checked {
    fn words(&self) -> String {
        match self {
            Self::Integrated => "in the envelope, matches".to_owned(),
            Self::Matches => "matches".to_owned(),
            Self::Elsewhere(uri) => format!("not beside the envelope, so not checked: {uri}"),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Integrated => "integrated",
            Self::Matches => "matches",
            Self::Elsewhere(_) => "not checked",
        }
    }
}

/// Compares what lies beside the envelope with what was signed.
fn check(directory: &Path, component: &Component) -> Result<Checked> {
    let whole = (component.size, component.digest);
    let ways = match &component.source {
        Source::Integrated(_) => return Ok(Checked::Integrated),
        Source::Uri(uri) => vec![(uri, whole)],
        Source::Ways(ways) => ways
            .iter()
            .map(|way| match &way.coding {
                Some(coding) => (&way.uri, (coding.size, coding.digest)),
                None => (&way.uri, whole),
            })
            .collect(),
    };
    let elsewhere = ways.first().map_or(String::new(), |(uri, _)| (*uri).clone());
    let mut checked = Checked::Elsewhere(elsewhere);
    for (uri, (size, digest)) in ways {
        let path = file_name(uri).map(|name| directory.join(name));
        let Some(path) = path.filter(|path| path.is_file()) else { continue };
        let (actual_size, actual_digest) = payload::measure(&path)?;
        if actual_size != size {
            bail!("{} has {actual_size} bytes, but {size} were signed", path.display());
        }
        ensure!(
            actual_digest == digest,
            "{} was changed after signing: its digest differs",
            path.display()
        );
        checked = Checked::Matches;
    }
    Ok(checked)
}

/// The file that a URI reference names when it names one in the same directory.
fn file_name(uri: &str) -> Option<String> {
    let mut bytes = vec![];
    let mut rest = uri.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'/' | b'?' | b'#' | b':' => return None,
            byte => byte,
        });
    }
    let name = String::from_utf8(bytes).ok()?;
    (!name.contains(['/', '\0']) && name != "..").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_the_same_directory_are_looked_up() {
        assert_eq!(file_name("cam.tar").as_deref(), Some("cam.tar"));
        assert_eq!(file_name("my%20cam.tar").as_deref(), Some("my cam.tar"));
        for uri in ["..", "%2e%2e", "a/b", "a%2fb", "https://x/y", "//x", "a%0", "a%zz", "%00"] {
            assert_eq!(file_name(uri), None, "{uri}");
        }
    }
}
