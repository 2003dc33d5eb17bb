//! `freshen keygen`: the key pair with which a vendor signs packages, or for which packages are encrypted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use zeroize::Zeroizing;

use super::output::{Force, Kind, Output};
use super::table::Table;

/// Make the key pair with which a vendor signs packages, or that a device decrypts them with
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  freshen keygen --out vendor\n  \
    writes vendor.key.pem (keep it secret) and vendor.pub.pem (give it to devices)\n  \
    freshen keygen --device --out camera-7\n  \
    writes camera-7.key.pem (the device's `decryption_key`) and camera-7.pub.pem (for `freshen pack \
    --encrypt-to`)")]
pub(super) struct Args {
    /// Where to write: NAME.key.pem and NAME.pub.pem; the directory must exist
    #[arg(long, value_name = "NAME")]
    out: PathBuf,
    /// Ed25519 instead of ECDSA with P-256
    #[arg(long, conflicts_with = "device")]
    ed25519: bool,
    /// For a device, to decrypt with, instead of for a vendor
    #[arg(long)]
    device: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Makes the pair and writes both halves.
pub(super) fn run(args: Args) -> Result<()> {
    let algorithm =
        if args.ed25519 { &rcgen::PKCS_ED25519 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
    let pair = rcgen::KeyPair::generate_for(algorithm).context("no key could be made")?;
    let (private, public) = (named(&args.out, "key.pem"), named(&args.out, "pub.pem"));
    // Both places are looked at before either is written: half a pair is of no use.
    let place = |path, mode| Output::with_mode(path, Kind::New, Force::No, &[], mode);
    let (secret, open) = (place(&private, SECRET)?, place(&public, PUBLIC)?);
    secret.write(Zeroizing::new(pair.serialize_pem()).as_bytes())?;
    open.write(pair.public_key_pem().as_bytes())?;
    if args.json {
        println!("{}", serde_json::json!({ "private": private, "public": public }));
        return Ok(());
    }
    let (algorithm, secret, public_use) = match (args.device, args.ed25519) {
        (true, _) => ("P-256", "its `decryption_key`: it stays there", "for `pack --encrypt-to`"),
        (_, true) => {
            ("Ed25519", "keep it secret: it signs packages", "list it in `trust` of devices")
        }
        _ => ("ECDSA P-256", "keep it secret: it signs packages", "list it in `trust` of devices"),
    };
    Table::new("Key pair")
        .row("algorithm", algorithm)
        .row("private key", format!("{}  {secret}", private.display()))
        .row("public key", format!("{}  {public_use}", public.display()))
        .print();
    Ok(())
}

/// `NAME.suffix`, where NAME may have dots of its own.
fn named(out: &Path, suffix: &str) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
