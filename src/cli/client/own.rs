//! `freshen own`: takes ownership of a device (OCF Security 7.3).

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use zeroize::Zeroizing;

use super::access::Directory;
use super::{DEVICE_HELP, PATIENCE_DEFAULT, seconds, with_client};
use crate::client::own::{self, Method, Offer, Owned, Proof};
use crate::client::{self, Client, Error, Patience, Place, Target};

/// Take ownership of a device that nobody owns yet
#[derive(clap::Args)]
#[command(after_help = "\
Whoever owns a device decides who else may use it (`freshen provision`), and can give it up
(`freshen reset`). The owner's key is kept in the credentials directory: keep that safe, because a
device whose owner's key is lost has to be reset by hand.

How the two get to know each other is up to the device; `--method` chooses from what it offers:
  jw       just works: anybody who is in the network at that moment can be the owner
  pin      the device shows a number; give it with --pin, or type it when asked
  mfgcert  the device has a certificate of its manufacturer; --mfg-roots says which ones you believe
Without --method: mfgcert where --mfg-roots is given, pin where --pin is given, else what the device
offers that needs neither.

Examples:
  freshen discover --unowned
  freshen own 192.0.2.7:40001
  freshen own 6e0e35f3-6281-4ff8-6a5b-4a8b0d8dca21 --method pin
  freshen own 192.0.2.7:40001 --method mfgcert --mfg-roots maker.pem

If the tool is killed on the way, own the device once more: what broke off is finished, or begun anew.

Then:
  freshen update DEVICE --purl URL         order an update as the owner
  freshen provision client DEVICE --to DIR make somebody else its client
  freshen get ocf://DEVICE/oic/sec/acl2    see who may do what")]
pub(in crate::cli) struct Args {
    /// The device: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
    /// How the device and we get to know each other
    #[arg(long, value_enum)]
    method: Option<MethodWord>,
    /// The number that the device shows
    #[arg(long, value_name = "NUMBER")]
    pin: Option<String>,
    /// The manufacturers' root certificates to believe, as PEM
    #[arg(long, value_name = "FILE")]
    mfg_roots: Option<PathBuf>,
    /// Print one JSON object, for scripts
    #[arg(long)]
    json: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = PATIENCE_DEFAULT, value_parser = seconds)]
    timeout: Duration,
    #[command(flatten)]
    directory: Directory,
}

/// [`Method`], as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum MethodWord {
    Jw,
    Pin,
    Mfgcert,
}

impl From<MethodWord> for Method {
    fn from(word: MethodWord) -> Self {
        match word {
            MethodWord::Jw => Self::JustWorks,
            MethodWord::Pin => Self::RandomPin,
            MethodWord::Mfgcert => Self::ManufacturerCertificate,
        }
    }
}

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    let roots = match &args.mfg_roots {
        Some(file) => {
            let pem = std::fs::read(file);
            Some(pem.with_context(|| format!("cannot read {}", file.display()))?)
        }
        None => None,
    };
    with_client(args.directory.keys()?, async |client| {
        let patience = Patience::new(args.timeout);
        let place = find(client, &args.device, patience).await?;
        // A device that tells only its owner who it is: its transfer broke off.
        if place.told_by.session != 0 {
            let owned = own::resume(client, &place, patience).await?;
            return tell(client, &owned, None, args.json);
        }
        let offer = match own::offer(client, &place, patience).await {
            Err(error @ Error::AlreadyOwned { ours: true }) => {
                // The same, while it tells others that it is there.
                let resumed = own::resume(client, &place, patience).await;
                let owned = resumed.map_err(|other| {
                    tracing::info!("{other}");
                    error
                })?;
                return tell(client, &owned, None, args.json);
            }
            other => other?,
        };
        let method = choose(&offer, &args)?;
        own::select(client, &place, method, patience).await?;
        let proof = match method {
            Method::JustWorks => Proof::JustWorks,
            Method::RandomPin => Proof::Pin(match &args.pin {
                Some(pin) => Zeroizing::new(pin.clone()),
                None => ask_pin()?,
            }),
            Method::ManufacturerCertificate => Proof::Manufacturer(
                roots.clone().context("--method mfgcert needs --mfg-roots FILE")?,
            ),
        };
        let owned = own::own(client, &place, &offer, proof, patience).await?;
        tell(client, &owned, Some(method), args.json)
    })
}

/// The device; also one that is ours and tells nobody in clear who it is.
async fn find(client: &mut Client, target: &Target, patience: Patience) -> anyhow::Result<Place> {
    let error = match client::find(client, target, patience).await {
        Ok(place) => return Ok(place),
        Err(error) => error,
    };
    if target.device().is_none() && !target.is_secure() {
        for remote in target.resolve().await? {
            if let Some(place) = client::find_silent(client, remote, patience).await {
                return Ok(place);
            }
        }
    }
    match error.refusal() {
        Some(_) => Err(anyhow::Error::from(error).context(
            "the device tells us nothing: somebody owns it or is about to, or a transfer broke off. If \
             it was to be ours, try again in a minute, and then at its address for coaps (`freshen \
             own coaps://HOST:PORT`); whoever has it in hand can reset it there",
        )),
        None => Err(error.into()),
    }
}

/// The method: the one asked for, or the best that needs nothing more than what was given.
fn choose(offer: &Offer, args: &Args) -> Result<Method, Error> {
    let offered = &offer.methods;
    let has = |method| offered.contains(&method).then_some(method);
    let wanted = args.method.map(Method::from).or_else(|| {
        (args.mfg_roots.as_ref().and_then(|_| has(Method::ManufacturerCertificate)))
            .or_else(|| args.pin.as_ref().and_then(|_| has(Method::RandomPin)))
            .or_else(|| has(Method::JustWorks))
            .or_else(|| has(Method::RandomPin).filter(|_| stdin().is_terminal()))
    });
    let names: Vec<&str> = offered.iter().map(|method| method.name()).collect();
    let names =
        if names.is_empty() { "nothing that is known here".into() } else { names.join(", ") };
    match wanted {
        Some(method) if offered.contains(&method) => Ok(method),
        Some(method) => Err(Error::Method { wanted: method.name(), offered: names }),
        None => Err(Error::Invalid(format!(
            "the device offers only: {names}; give --pin NUMBER or --mfg-roots FILE, or see --help"
        ))),
    }
}

fn ask_pin() -> anyhow::Result<Zeroizing<String>> {
    let mut out = stderr().lock();
    write!(out, "The number that the device shows: ")?;
    out.flush()?;
    let mut pin = Zeroizing::new(String::new());
    stdin().lock().read_line(&mut pin)?;
    anyhow::ensure!(
        !pin.trim().is_empty(),
        "without its number the device cannot be owned: --pin NUMBER"
    );
    Ok(Zeroizing::new(pin.trim().to_owned()))
}

/// `method` is none where an earlier transfer was finished.
fn tell(
    client: &Client,
    owned: &Owned,
    method: Option<Method>,
    as_json: bool,
) -> anyhow::Result<()> {
    let own = client.keys.keyring.own().map(|own| own.to_string());
    let name = owned.name.as_deref().unwrap_or("the device");
    if as_json {
        println!(
            "{}",
            json!({
                "device": owned.device.to_string(), "name": owned.name, "owner": own,
                "method": method.map(Method::name), "resumed": method.is_none(),
                "coaps": owned.address.to_string(),
            })
        );
    } else {
        let again = if method.is_none() { "; what had broken off is finished" } else { "" };
        println!("{name} is ours: {} at coaps://{}{again}", owned.device, owned.address);
    }
    Ok(())
}
