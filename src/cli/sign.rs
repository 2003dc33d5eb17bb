//! `freshen sign`: one more signature on a package.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use zeroize::Zeroizing;

use super::inspect::{overview, read_envelope};
use super::table::Table;
use crate::package::{self, SigningKey, add_signature};

/// Add a signature to a package, for devices that want several
///
/// Shows what is being signed. The signatures that are there stay.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen sign --key second.key.pem site/cam.suit")]
pub(super) struct Args {
    /// The private key (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The envelope, which is replaced by the signed one
    #[arg(value_name = "FILE")]
    envelope: PathBuf,
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
    let mut part = file.clone().into_os_string();
    part.push(".part");
    fs::write(&part, &signed)
        .and_then(|()| fs::rename(&part, file))
        .with_context(|| format!("cannot write {}", file.display()))?;
    overview(Table::new(file.display()), &inspection.manifest)
        .row("signatures", inspection.signatures.len())
        .print();
    Ok(())
}
