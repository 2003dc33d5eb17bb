//! `freshen sign`: one more signature on a package.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use zeroize::Zeroizing;

use super::inspect::{overview, read_envelope};
use super::output::{Force, Kind, Output};
use super::table::Table;
use crate::package::{self, SigningKey, add_signature};

/// Add a signature to a package, for devices that want several
///
/// Shows what is being signed. The signatures that are there stay; a key signs once.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen sign --key second.key.pem site/cam.suit")]
pub(super) struct Args {
    /// The private key (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The envelope, which is replaced by the signed one
    #[arg(value_name = "FILE")]
    envelope: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Signs.
pub(super) fn run(args: Args) -> Result<()> {
    let file = &args.envelope;
    let envelope = read_envelope(file)?;
    let pem = fs::read_to_string(&args.key)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read {}", args.key.display()))?;
    let key = SigningKey::from_pem(&pem).with_context(|| args.key.display().to_string())?;
    let signed = add_signature(&envelope, &key).with_context(|| file.display().to_string())?;
    let inspection = package::inspect(&signed)?;
    let is_new = signed != envelope;
    if is_new {
        Output::new(file, Kind::Envelope, Force::No, &[&args.key])?.write(&signed)?;
    }
    let count = inspection.signatures.len();
    if args.json {
        let digest = inspection.manifest.digest.to_string();
        let words = serde_json::json!({
            "envelope": file, "signatures": count, "added": is_new, "digest": digest,
        });
        println!("{words}");
        return Ok(());
    }
    let words = if is_new { "" } else { "; this key had signed it already, nothing is changed" };
    overview(Table::new(file.display()), &inspection.manifest)
        .row("signatures", format!("{count}{words}"))
        .print();
    Ok(())
}
