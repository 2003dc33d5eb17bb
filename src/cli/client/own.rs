//! `freshen own`: takes ownership of a device (OCF Security 7.3).

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use ciborium::Value;
use serde_json::json;
use uuid::Uuid;

use super::access::Directory;
use super::{DEVICE_HELP, PATIENCE_DEFAULT, seconds, with_client};
use crate::client::own::{self as transfer, Proof};
use crate::client::place::Place;
use crate::client::svr::{self, Conversation};
use crate::client::target::Target;
use crate::client::transport::Client;
use crate::client::{body, locate};
use crate::dtls::OwnerTransfer;

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
    method: Option<Method>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Method {
    Jw,
    Pin,
    Mfgcert,
}

impl Method {
    /// The number in `oxms` and `oxmsel`.
    fn number(self) -> u8 {
        match self {
            Self::Jw => 0,
            Self::Pin => 1,
            Self::Mfgcert => 2,
        }
    }

    fn transfer(self) -> OwnerTransfer {
        match self {
            Self::Jw => OwnerTransfer::JustWorks,
            Self::Pin => OwnerTransfer::RandomPin,
            Self::Mfgcert => OwnerTransfer::ManufacturerCertificate,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Jw => "jw",
            Self::Pin => "pin",
            Self::Mfgcert => "mfgcert",
        }
    }
}

const METHODS: [Method; 3] = [Method::Jw, Method::Pin, Method::Mfgcert];

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    let roots = match &args.mfg_roots {
        Some(file) => {
            let pem = std::fs::read(file);
            Some(pem.with_context(|| format!("cannot read {}", file.display()))?)
        }
        None => None,
    };
    with_client(args.directory.keys()?, async |client| {
        let place = locate::find(client, &args.device, args.timeout).await?;
        anyhow::ensure!(
            place.told_by.session == 0,
            "name the device by its address in clear: a device that nobody owns takes no sessions"
        );
        let doxm = read_doxm(client, &place, args.timeout).await?;
        let method = choose(&doxm, &args)?;
        let temporary = body::get_text(&doxm, "deviceuuid").and_then(uuid_of);
        let temporary = temporary.context("the device does not say who it is (deviceuuid)")?;
        select(client, &place, method, args.timeout).await?;
        let proof = match method {
            Method::Jw => Proof::Nothing,
            Method::Pin => Proof::Pin(match &args.pin {
                Some(pin) => pin.clone(),
                None => ask_pin()?,
            }),
            Method::Mfgcert => Proof::Manufacturer(
                roots.clone().context("--method mfgcert needs --mfg-roots FILE")?,
            ),
        };
        let owned =
            transfer::run(client, &place, method.transfer(), proof, temporary, args.timeout);
        let owned = owned.await?;
        tell(client, &owned, method, args.json)
    })
}

/// What a device says of its ownership, if it can be owned.
async fn read_doxm(
    client: &mut Client,
    place: &Place,
    patience: Duration,
) -> anyhow::Result<Value> {
    let keyring = &client.keys.keyring;
    let ours = place.device.and_then(|device| keyring.device(device)).is_some_and(|it| it.owner);
    let whose = if ours { "it is ours" } else { "somebody owns it" };
    let owned = || {
        format!(
            "cannot be owned: {whose} already. Its owner can give it up with `freshen reset`; whoever \
             has it in hand can reset it there"
        )
    };
    let peer = place.told_by;
    let doxm = Conversation::new(client, peer, patience).get(svr::DOXM).await.map_err(|error| {
        match error.downcast_ref::<svr::Refusal>() {
            // An owner closes the clear door to this resource.
            Some(_) => error.context(owned()),
            None => error,
        }
    })?;
    let is_owned = body::get(&doxm, "owned").and_then(Value::as_bool).unwrap_or(false);
    anyhow::ensure!(!is_owned, owned());
    Ok(doxm)
}

/// The method: the one asked for, or the best that needs nothing more than what was given.
fn choose(doxm: &Value, args: &Args) -> anyhow::Result<Method> {
    let numbers = body::get(doxm, "oxms").and_then(Value::as_array);
    let numbers: Vec<u64> = numbers
        .into_iter()
        .flatten()
        .filter_map(|number| number.as_integer()?.try_into().ok())
        .collect();
    let offered: Vec<Method> =
        METHODS.into_iter().filter(|method| numbers.contains(&method.number().into())).collect();
    let names: Vec<&str> = offered.iter().map(|method| method.name()).collect();
    let wanted = args.method.or_else(|| {
        let has = |method| offered.contains(&method).then_some(method);
        (args.mfg_roots.as_ref().and_then(|_| has(Method::Mfgcert)))
            .or_else(|| args.pin.as_ref().and_then(|_| has(Method::Pin)))
            .or_else(|| has(Method::Jw))
            .or_else(|| has(Method::Pin).filter(|_| stdin().is_terminal()))
    });
    match wanted {
        Some(method) if offered.contains(&method) => Ok(method),
        Some(method) => anyhow::bail!(
            "the device does not offer --method {}; it offers: {}",
            method.name(),
            names.join(", ")
        ),
        None => anyhow::bail!(
            "the device offers only: {}; give --pin NUMBER or --mfg-roots FILE, or see --help",
            if names.is_empty() { "nothing that is known here".into() } else { names.join(", ") }
        ),
    }
}

/// Tells the device the method. Only in clear, and only before a session.
async fn select(
    client: &mut Client,
    place: &Place,
    method: Method,
    patience: Duration,
) -> anyhow::Result<()> {
    let body = svr::map([("oxmsel", method.number().into())]);
    Conversation::new(client, place.told_by, patience).post(svr::DOXM, body).await.context(
        "the device does not take the method; another tool may be about to own it: try again in a \
         minute",
    )
}

fn ask_pin() -> anyhow::Result<String> {
    let mut out = stderr().lock();
    write!(out, "The number that the device shows: ")?;
    out.flush()?;
    let mut pin = String::new();
    stdin().lock().read_line(&mut pin)?;
    let pin = pin.trim();
    anyhow::ensure!(!pin.is_empty(), "without its number the device cannot be owned: --pin NUMBER");
    Ok(pin.to_owned())
}

fn tell(
    client: &Client,
    owned: &transfer::Owned,
    method: Method,
    as_json: bool,
) -> anyhow::Result<()> {
    let own = client.keys.keyring.own().map(|own| own.to_string());
    let name = owned.name.as_deref().unwrap_or("the device");
    if as_json {
        println!(
            "{}",
            json!({
                "device": owned.device.to_string(), "name": owned.name, "owner": own,
                "method": method.name(), "coaps": owned.address.to_string(),
            })
        );
    } else {
        println!("{name} is ours: {} at coaps://{}", owned.device, owned.address);
    }
    Ok(())
}

/// A uuid as others write it: a zero or more may follow.
fn uuid_of(text: &str) -> Option<Uuid> {
    text.get(..36)?.parse().ok()
}
