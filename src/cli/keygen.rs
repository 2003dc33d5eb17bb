//! `freshen keygen`: the key pair with which a vendor signs packages, or for which packages are encrypted.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

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
    if public.exists() {
        bail!("{}", exists(&public));
    }
    create(&private, SECRET, &Zeroizing::new(pair.serialize_pem()))?;
    create(&public, PUBLIC, &pair.public_key_pem())?;
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

fn exists(path: &Path) -> String {
    format!("{} exists and is not overwritten: choose another --out", path.display())
}

/// Writes a file that did not exist, with these permissions from its first moment.
fn create(path: &Path, mode: u32, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{}", exists(path)),
        file => file.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}
