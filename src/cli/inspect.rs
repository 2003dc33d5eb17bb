//! `freshen inspect`: what an envelope says, whoever signed it.

use std::fs::File;
use std::io::{Read, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::SecondsFormat;

use super::table::{Table, size};
use crate::clock;
use crate::package::{
    self, Component, ENVELOPE_BYTES_MAX, Encoding, Entry, Format, Inspection, Manifest, Refusal,
    Source, Way,
};

/// Show what an envelope says, without checking who signed it
///
/// Any SUIT envelope is shown as far as it can be read, whoever made it; where no device of freshen
/// would take it, it says why.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen inspect site/cam.suit\n\n\
    To check its signature too: freshen verify --trust vendor.pub.pem \
    --vendor example.com --class cam-1 site/cam.suit")]
pub(super) struct Args {
    /// The envelope
    #[arg(value_name = "FILE")]
    envelope: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Prints the tables.
pub(super) fn run(args: Args) -> Result<()> {
    let bytes = read_up_to(&args.envelope, INSPECTED_BYTES_MAX)?;
    let inspection = match package::inspect(&bytes) {
        Ok(inspection) => inspection,
        Err(refusal) => return as_far_as_it_goes(&args, &bytes, refusal),
    };
    if args.json {
        println!("{}", json(&inspection));
        return Ok(());
    }
    let table = Table::new(args.envelope.display());
    let table = overview(table, &inspection.manifest)
        .row("signed", signatures(&inspection))
        .row("envelope", size(bytes.len() as u64));
    let table = match inspection.severed.join(", ") {
        severed if severed.is_empty() => table,
        severed => table.row("severed", severed),
    };
    table.print();
    print_components(&inspection.manifest);
    Ok(())
}

/// Shows an envelope that no device takes, and why.
fn as_far_as_it_goes(args: &Args, bytes: &[u8], refusal: Refusal) -> Result<()> {
    let Some(entries) = package::outline(bytes) else {
        return Err(refusal).with_context(|| args.envelope.display().to_string());
    };
    if args.json {
        let inside: Vec<_> = entries.iter().map(entry_json).collect();
        let words = serde_json::json!({
            "refused": refusal.to_string(), "bytes": bytes.len(), "inside": inside,
        });
        println!("{words}");
        return Ok(());
    }
    Table::new(args.envelope.display())
        .row("kept out", refusal)
        .row("envelope", size(bytes.len() as u64))
        .print();
    let mut text = String::new();
    entries.iter().for_each(|entry| write_entry(entry, 1, &mut text));
    // A reader that has gone away is no reason to complain.
    let _ = stdout().write_all(text.as_bytes());
    Ok(())
}

fn write_entry(entry: &Entry, depth: usize, to: &mut String) {
    let Entry { name, value, inside } = entry;
    let value = value.as_ref().map_or(String::new(), |value| format!("  {value}"));
    to.push_str(&format!("{}{name}{value}\n", "  ".repeat(depth)));
    inside.iter().for_each(|entry| write_entry(entry, depth + 1, to));
}

fn entry_json(entry: &Entry) -> serde_json::Value {
    let Entry { name, value, inside } = entry;
    let inside: Vec<_> = inside.iter().map(entry_json).collect();
    match value {
        Some(value) => serde_json::json!({ "name": name, "value": value }),
        None => serde_json::json!({ "name": name, "inside": inside }),
    }
}

/// The largest envelope that is shown, bytes: those of other tools may have their payloads in them.
const INSPECTED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads an envelope, and not one byte more than an envelope may have.
pub(super) fn read_envelope(path: &Path) -> Result<Vec<u8>> {
    read_up_to(path, ENVELOPE_BYTES_MAX)
}

fn read_up_to(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let limit = limit as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// What a manifest says about the package as a whole.
pub(super) fn overview(table: Table, manifest: &Manifest) -> Table {
    let use_before = manifest.use_before.map_or("always usable".to_owned(), |moment| {
        let text = moment.to_rfc3339_opts(SecondsFormat::Secs, true);
        if moment <= clock::now().wall { format!("{text}  expired") } else { text }
    });
    let requires = match &*manifest.requires {
        [] => "any version".to_owned(),
        requires => requires.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
    };
    let approval = match manifest.needs_approval {
        true => "installed only for an order given when it is known",
        false => "not needed",
    };
    table
        .row("version", &manifest.version)
        .row("sequence", manifest.sequence)
        .row(
            "for",
            manifest
                .names
                .as_ref()
                .map_or("(it has no names for its devices)".to_owned(), |names| names.to_string()),
        )
        .row("vendor id", manifest.identity.vendor)
        .row("class id", manifest.identity.class)
        .row("use before", use_before)
        .row("over", requires)
        .row("approval", approval)
        .row("digest", manifest.digest)
}

/// One table for each component.
pub(super) fn print_components(manifest: &Manifest) {
    for component in &manifest.components {
        let table = Table::new(format!("Component {}", shown(component)))
            .row("payload", source(component))
            .row("size", size(component.size))
            .row("sha-256", component.digest);
        match component.format {
            Format::Raw => table.row("becomes", "the file itself"),
            Format::Tar => table.row("becomes", "the contents of the tar archive"),
            Format::TarZstd { unpacked_bytes_max } => table
                .row("becomes", "the contents of the tar archive, compressed with zstd")
                .row("unpacked", format!("at most {}", size(unpacked_bytes_max))),
        }
        .print();
    }
}

/// A component's path, with whatever a terminal could stumble over made visible.
pub(super) fn shown(component: &Component) -> String {
    // A quotation mark is as harmless as it is in print.
    component.id.join("/").escape_debug().to_string().replace("\\'", "'")
}

fn source(component: &Component) -> String {
    match &component.source {
        Source::Integrated(_) => "in the envelope".to_owned(),
        Source::Uri(uri) => uri.clone(),
        Source::Ways(ways) => {
            let ways: Vec<_> =
                ways.iter().map(|way| format!("{} ({})", way.uri, kind(way))).collect();
            ways.join(", or ")
        }
    }
}

/// What a way leads to.
fn kind(way: &Way) -> String {
    let Some(coding) = &way.coding else { return "as it is".to_owned() };
    let what = match coding.encoding {
        Encoding::Identity => "as it is".to_owned(),
        Encoding::Zstd => "compressed with zstd".to_owned(),
        Encoding::Delta { precursor } => format!("a patch for {precursor}"),
    };
    let sealed = match &coding.encryption {
        Some(info) => format!(", encrypted for {} devices", info.recipients()),
        None => String::new(),
    };
    format!("{what}{sealed}, {}", size(coding.size))
}

/// An encoding in one word, as JSON has it.
pub(super) fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Identity => "identity",
        Encoding::Zstd => "zstd",
        Encoding::Delta { .. } => "delta",
    }
}

fn signatures(inspection: &Inspection) -> String {
    if inspection.signatures.is_empty() {
        return "no; no device installs it".to_owned();
    }
    let kinds: Vec<_> = inspection
        .signatures
        .iter()
        .map(|(kind, code)| match kind {
            Some(kind) => format!("{kind} ({code})"),
            None => format!("unknown algorithm ({code})"),
        })
        .collect();
    format!("{}, not checked here", kinds.join(", "))
}

fn ways(component: &Component) -> Vec<serde_json::Value> {
    let Source::Ways(ways) = &component.source else { return vec![] };
    let way = |way: &Way| {
        let coding = way.coding.as_ref();
        let encoding = coding.map_or(Encoding::Identity, |coding| coding.encoding);
        let precursor = match encoding {
            Encoding::Delta { precursor } => Some(precursor.to_string()),
            Encoding::Identity | Encoding::Zstd => None,
        };
        serde_json::json!({
            "uri": way.uri,
            "size": coding.map_or(component.size, |coding| coding.size),
            "sha256": coding.map_or(Some(component.digest), |it| it.digest).map(|it| it.to_string()),
            "encoding": encoding_name(encoding),
            "precursor": precursor,
            "encrypted": coding.is_some_and(|coding| coding.encryption.is_some()),
        })
    };
    ways.iter().map(way).collect()
}

fn json(inspection: &Inspection) -> serde_json::Value {
    let manifest = &inspection.manifest;
    let components: Vec<_> = manifest
        .components
        .iter()
        .map(|component| {
            let (format, unpacked) = match component.format {
                Format::Raw => ("raw", None),
                Format::Tar => ("tar", None),
                Format::TarZstd { unpacked_bytes_max } => ("tar+zstd", Some(unpacked_bytes_max)),
            };
            serde_json::json!({
                "id": component.id,
                "uri": match &component.source { Source::Uri(uri) => Some(uri), _ => None },
                "ways": ways(component),
                "size": component.size,
                "sha256": component.digest.to_string(),
                "format": format,
                "unpacked_bytes_max": unpacked,
            })
        })
        .collect();
    serde_json::json!({
        "version": manifest.version,
        "sequence": manifest.sequence,
        "vendor": manifest.names.as_ref().map(|names| &names.vendor),
        "class": manifest.names.as_ref().map(|names| &names.class),
        "vendor_id": manifest.identity.vendor,
        "class_id": manifest.identity.class,
        "requires": manifest.requires.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "needs_approval": manifest.needs_approval,
        "use_before": manifest.use_before.map(|m| m.to_rfc3339_opts(SecondsFormat::Secs, true)),
        "digest": manifest.digest.to_string(),
        "signature_algorithms": inspection.signatures.iter().map(|(_, c)| *c).collect::<Vec<_>>(),
        "severed": inspection.severed,
        "components": components,
    })
}
