//! `freshen trust`: which keys devices believe, handed on from one document to the next.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use zeroize::Zeroizing;

use super::output::{Force, Kind, Output};
use super::pack::moment;
use super::table::Table;
use super::verify::read_trust;
use crate::clock;
use crate::package::{SigningKey, Trust, TrustSet, sign_trust_set, verify_trust_set};

/// Make, sign and check trust sets: which keys devices believe
///
/// A trust set names the keys that sign packages and the root keys that sign the next trust set.
/// Devices take number N+1 when enough root keys of number N and of N+1 have signed it. The keys in a
/// device's configuration are its number 0. A key is revoked by leaving it out of the next one.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    freshen trust new --number 1 --root a.pub.pem --root b.pub.pem --root c.pub.pem --roots 2 \\\n    \
    --package vendor.pub.pem --expires 2030-01-01 --out trust.1\n  \
    freshen trust sign --key a.key.pem trust.1     (on the computer of whoever has that key)\n  \
    freshen trust sign --key b.key.pem trust.1\n  \
    freshen trust check --trust a.pub.pem trust.1")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(New),
    Sign(Sign),
    Check(Check),
}

/// Write a trust set that nobody has signed yet
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  freshen trust new --number 1 --root a.pub.pem --root b.pub.pem \
    --roots 2 \\\n    --package vendor.pub.pem --expires 2030-01-01 --out trust.1"
)]
struct New {
    /// Its number: one more than that of the trust set before it; 1 follows the configuration
    #[arg(long)]
    number: u64,
    /// A public key (PEM) that signs the next trust set; repeatable
    #[arg(long, required = true, value_name = "FILE")]
    root: Vec<PathBuf>,
    /// How many of the root keys have to sign
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    roots: usize,
    /// A public key (PEM) that signs packages; repeatable
    #[arg(long, required = true, value_name = "FILE")]
    package: Vec<PathBuf>,
    /// How many of the package keys have to sign a package
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    packages: usize,
    /// There has to be a newer one by then: 2030-01-31, or 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires: Option<DateTime<Utc>>,
    /// Let packages count as newer than all before, whatever their sequence numbers: for when a stolen
    /// key has signed a huge one. One more than in the trust set before; all package keys must be new
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    epoch: u64,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Add a signature to a trust set
///
/// A key signs once: what it has signed already stays as it is.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen trust sign --key a.key.pem trust.1")]
struct Sign {
    /// The private key (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The trust set, which is replaced by the signed one
    #[arg(value_name = "FILE")]
    set: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Check trust sets as a device does, from its configuration on
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen trust check --trust a.pub.pem trust.1 trust.2")]
struct Check {
    /// A public key in the configuration of the device (PEM); repeatable
    #[arg(long, required = true, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// The trust sets 1, 2, 3 and so on
    #[arg(required = true, value_name = "FILE")]
    sets: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<()> {
    match args.command {
        Command::New(new) => make(&new),
        Command::Sign(order) => sign(&order),
        Command::Check(check) => verify(&check),
    }
}

fn make(new: &New) -> Result<()> {
    let keys = |files: &[PathBuf], threshold, option| -> Result<Trust> {
        let trust = read_trust(files)?;
        trust.with_threshold(threshold).with_context(|| format!("{option} {threshold}"))
    };
    let set = TrustSet {
        version: new.number,
        expires: new.expires,
        epoch: new.epoch,
        roots: keys(&new.root, new.roots, "--roots")?,
        packages: keys(&new.package, new.packages, "--packages")?,
    };
    ensure!(new.number > 0, "--number starts at 1: number 0 is the configuration of a device");
    let inputs: Vec<&Path> = new.root.iter().chain(&new.package).map(PathBuf::as_path).collect();
    Output::new(&new.out, Kind::New, Force::No, &inputs)?.write(&set.document())?;
    let signed = "nobody yet: `freshen trust sign` adds signatures";
    print(&new.out, &set, signed, new.json);
    Ok(())
}

fn sign(order: &Sign) -> Result<()> {
    let document = read(&order.set)?;
    let pem = fs::read_to_string(&order.key)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read {}", order.key.display()))?;
    let key = SigningKey::from_pem(&pem).with_context(|| order.key.display().to_string())?;
    let signed =
        sign_trust_set(&document, &key).with_context(|| order.set.display().to_string())?;
    let words = if signed == document {
        "the same keys as before, this one among them: nothing is changed"
    } else {
        Output::new(&order.set, Kind::TrustSet, Force::No, &[&order.key])?.write(&signed)?;
        "one more key; `freshen trust check` says if it is enough"
    };
    print(&order.set, &TrustSet::read(&signed)?, words, order.json);
    Ok(())
}

fn verify(check: &Check) -> Result<()> {
    let mut current = TrustSet::configured(read_trust(&check.trust)?);
    for file in &check.sets {
        let next = verify_trust_set(&read(file)?, &current)
            .with_context(|| format!("{} is refused", file.display()))?;
        current = TrustSet::clone(&next);
    }
    let last = check.sets.last().context("no trust set was given")?;
    if let Some(moment) = current.expires {
        ensure!(
            clock::now().wall < moment,
            "{} expired on {moment}: make the next one with `freshen trust new`",
            last.display()
        );
    }
    print(last, &current, "enough keys", check.json);
    Ok(())
}

fn print(file: &Path, set: &TrustSet, signed: &str, json: bool) {
    if json {
        let moment = |moment: DateTime<Utc>| moment.to_rfc3339_opts(SecondsFormat::Secs, true);
        let keys = |trust: &Trust| serde_json::json!({ "keys": trust.keys(), "threshold": trust.threshold() });
        let words = serde_json::json!({
            "file": file, "number": set.version, "roots": keys(&set.roots),
            "packages": keys(&set.packages), "expires": set.expires.map(moment),
            "epoch": set.epoch, "signed": signed,
        });
        println!("{words}");
        return;
    }
    let threshold = |trust: &Trust| format!("{} of {}", trust.threshold(), trust.keys());
    let expires = set
        .expires
        .map_or("never".to_owned(), |moment| moment.to_rfc3339_opts(SecondsFormat::Secs, true));
    Table::new(file.display())
        .row("number", set.version)
        .row("root keys", format!("{} sign the next trust set", threshold(&set.roots)))
        .row("package keys", format!("{} sign a package", threshold(&set.packages)))
        .row("expires", expires)
        .row("epoch", set.epoch)
        .row("signed by", signed)
        .print();
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
