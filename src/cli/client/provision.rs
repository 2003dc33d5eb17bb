//! `freshen provision`: what the owner of a device gives to it and to others.

mod subject;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use ciborium::Value;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::access::Directory;
use super::{DEVICE_HELP, PATIENCE_DEFAULT, seconds, with_client};
use crate::client::keyring::{Device, Keyring};
use crate::client::place::Place;
use crate::client::svr::{self, Conversation, permission};
use crate::client::target::Target;
use crate::client::transport::Client;
use crate::client::{body, links, locate};
use subject::{Permission, Subject, Wildcard};

/// Say who may do what with a device that is ours, and hand out keys and certificates
#[derive(clap::Args)]
#[command(after_help = "\
Who has a key or a certificate can open a session; what they may do then is in the access control
list. `client` gives both at once. To see what a device has:
  freshen get ocf://DEVICE/oic/sec/cred
  freshen get ocf://DEVICE/oic/sec/acl2

Examples:
  freshen provision client DEVICE --to ~/camera-client
  freshen get --credentials ~/camera-client ocf://DEVICE/softwareupdateResURI
  freshen provision client DEVICE --to ~/libcoap --key 30313233343536373839616263646566
  freshen provision access DEVICE --subject auth-crypt --href /light --permission r
  freshen provision certificate DEVICE
  freshen provision pair DEVICE OTHER-DEVICE")]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    what: What,
    /// Print one JSON object, for scripts
    #[arg(long, global = true)]
    json: bool,
    /// How long to wait for an answer
    #[arg(long, global = true, value_name = "SECONDS", default_value = PATIENCE_DEFAULT, value_parser = seconds)]
    timeout: Duration,
    #[command(flatten)]
    directory: Directory,
}

#[derive(clap::Subcommand)]
enum What {
    Client(ClientArgs),
    Access(AccessArgs),
    Certificate(CertificateArgs),
    Pair(PairArgs),
}

/// Make somebody a client of the device: a key or certificate, and the right to update it
///
/// What the client needs is written into a directory for its --credentials. Give that directory to
/// the client, and to nobody else.
#[derive(clap::Args)]
struct ClientArgs {
    /// The device: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
    /// The client's credentials directory; made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The client's uuid, for a new directory [default: a new one]
    #[arg(long, value_name = "UUID")]
    uuid: Option<Uuid>,
    /// A certificate instead of a key; the device needs one too (`freshen provision certificate`)
    #[arg(long)]
    certificate: bool,
    /// The key, for a client that has one already [default: a new one]
    #[arg(long, value_name = "KEYHEX", value_parser = key, conflicts_with = "certificate")]
    key: Option<Key>,
    /// What the client may use [default: the software update, its status, and pstat]
    #[arg(long, value_name = "PATH")]
    href: Vec<String>,
    /// What it may do there, of c(reate) r(ead) u(pdate) d(elete) n(otify)
    #[arg(long, value_name = "LETTERS", default_value = "run")]
    permission: Permission,
}

/// Let somebody use resources of the device
#[derive(clap::Args)]
struct AccessArgs {
    /// The device: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
    /// Who: a uuid, me, auth-crypt (everybody with a session), anon-clear (everybody), or role:NAME
    #[arg(long)]
    subject: Subject,
    /// A resource, by its path; may be given several times
    #[arg(long, value_name = "PATH", required_unless_present = "wildcard")]
    href: Vec<String>,
    /// Many resources at once; software updates are never among them
    #[arg(long, value_enum)]
    wildcard: Option<Wildcard>,
    /// What they may do there, of c(reate) r(ead) u(pdate) d(elete) n(otify)
    #[arg(long, value_name = "LETTERS")]
    permission: Permission,
}

/// Give the device an identity certificate of our own authority
#[derive(clap::Args)]
struct CertificateArgs {
    /// The device: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
}

/// Give two devices that are ours a key for each other
#[derive(clap::Args)]
struct PairArgs {
    /// The one: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
    /// The other
    other: Target,
}

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    with_client(args.directory.keys()?, async |client| {
        let told = match &args.what {
            What::Client(what) => make_client(client, what, args.timeout).await?,
            What::Access(what) => give_access(client, what, args.timeout).await?,
            What::Certificate(what) => give_certificate(client, &what.device, args.timeout).await?,
            What::Pair(what) => pair(client, what, args.timeout).await?,
        };
        match args.json {
            true => println!("{}", told.json),
            false => println!("{}", told.text),
        }
        Ok(())
    })
}

/// What was done.
struct Told {
    text: String,
    json: serde_json::Value,
}

async fn make_client(
    client: &mut Client,
    args: &ClientArgs,
    patience: Duration,
) -> anyhow::Result<Told> {
    let mut theirs = Keyring::open(args.to.clone())?;
    let subject = match (args.uuid, theirs.own()) {
        (Some(uuid), _) => theirs.belong_to(uuid)?,
        (None, _) => theirs.own_or_new()?,
    };
    let place = locate::find(client, &args.device, patience).await?;
    let entries = client_entries(subject, &place, args)?;
    let authority = args.certificate.then(|| client.keys.keyring.authority()).transpose()?;
    let (mut talk, device) = Conversation::as_owner(client, &place, patience).await?;
    let key = match &args.key {
        Some(Key(key)) => key.clone(),
        None => Zeroizing::new(new_key()?),
    };
    talk.open().await?;
    let mut done = Ok(());
    if authority.is_none() {
        done = talk.trust(svr::shared_key(subject, &*key)).await;
    }
    if done.is_ok() {
        done = talk.allow(entries).await;
    }
    talk.close(done).await?;
    let mut known = Device::new(device, &*key, false);
    if let Some(ours) = client.keys.keyring.device(device) {
        known.name = ours.name.clone();
    }
    known.clear = Some(place.told_by.remote).filter(|_| place.told_by.session == 0);
    known.secure = place.secure();
    match authority {
        Some(authority) => {
            let (chain, key) = authority.issue(subject)?;
            theirs.keep_certificate(&chain, &key, authority.certificate_pem())?;
        }
        None => theirs.keep(known)?,
    }
    let directory = args.to.display();
    Ok(Told {
        text: format!("{subject} is a client of {device}; its keys are in {directory}"),
        json: json!({
            "device": device.to_string(), "client": subject.to_string(),
            "credentials": directory.to_string(),
        }),
    })
}

/// What a client may use: what was asked for, or all that concerns updates.
fn client_entries(subject: Uuid, place: &Place, args: &ClientArgs) -> anyhow::Result<Vec<Value>> {
    let who = || svr::uuid_subject(subject);
    if !args.href.is_empty() {
        let resources = args.href.iter().map(|path| svr::href(path)).collect();
        return Ok(vec![svr::entry(who(), resources, args.permission.bits())]);
    }
    let update = place.link_of_type(links::SOFTWARE_UPDATE).context(
        "the device does not list a software update resource; say with --href what the client may use",
    )?;
    let mut entries =
        vec![svr::entry(who(), vec![svr::href(&update.href)], args.permission.bits())];
    let mut watched = vec![svr::href(svr::PSTAT)];
    watched.extend(place.link_of_type(links::UPDATE_STATUS).map(|link| svr::href(&link.href)));
    entries.push(svr::entry(who(), watched, permission::RETRIEVE | permission::NOTIFY));
    Ok(entries)
}

async fn give_access(
    client: &mut Client,
    args: &AccessArgs,
    patience: Duration,
) -> anyhow::Result<Told> {
    let own = client.keys.keyring.own();
    let subject = args.subject.value(own)?;
    let mut resources: Vec<Value> = args.href.iter().map(|path| svr::href(path)).collect();
    resources.extend(args.wildcard.map(|which| svr::wildcard(which.sign())));
    let place = locate::find(client, &args.device, patience).await?;
    let (mut talk, device) = Conversation::as_owner(client, &place, patience).await?;
    talk.open().await?;
    let entry = svr::entry(subject, resources, args.permission.bits());
    let done = talk.allow(vec![entry]).await;
    talk.close(done).await?;
    Ok(Told {
        text: format!("{device} lets them"),
        json: json!({"device": device.to_string(), "permission": args.permission.bits()}),
    })
}

async fn give_certificate(
    client: &mut Client,
    target: &Target,
    patience: Duration,
) -> anyhow::Result<Told> {
    let authority = client.keys.keyring.authority()?;
    let place = locate::find(client, target, patience).await?;
    let (mut talk, device) = Conversation::as_owner(client, &place, patience).await?;
    talk.open().await?;
    let done = async {
        let root = svr::certificate("oic.sec.cred.trustca", authority.certificate_pem());
        talk.trust(root).await?;
        let request = talk.get(svr::CSR).await?;
        let request = body::get(&request, "csr").and_then(Value::as_text);
        let request = request.context("the device's certificate request is not a text (csr)")?;
        let certificate = authority.sign(request, device)?;
        talk.trust(svr::certificate("oic.sec.cred.cert", &certificate)).await
    };
    let done = done.await;
    talk.close(done).await?;
    Ok(Told {
        text: format!("{device} has a certificate of our authority"),
        json: json!({"device": device.to_string()}),
    })
}

async fn pair(client: &mut Client, args: &PairArgs, patience: Duration) -> anyhow::Result<Told> {
    let one = locate::find(client, &args.device, patience).await?;
    let other = locate::find(client, &args.other, patience).await?;
    let [one_id, other_id] = [&one, &other].map(|place| place.device);
    anyhow::ensure!(one_id != other_id, "a device needs no key for itself");
    let key = Zeroizing::new(new_key()?);
    let mut devices = Vec::new();
    for (place, subject) in [(&one, other_id), (&other, one_id)] {
        let subject = subject.context("a device does not say who it is (/oic/res)")?;
        let (mut talk, device) = Conversation::as_owner(client, place, patience).await?;
        talk.open().await?;
        let done = talk.trust(svr::shared_key(subject, &*key)).await;
        talk.close(done).await?;
        devices.push(device.to_string());
    }
    Ok(Told {
        text: format!("{} have a key for each other", devices.join(" and ")),
        json: json!({"devices": devices}),
    })
}

/// A shared key from the command line.
#[derive(Clone)]
struct Key(Zeroizing<[u8; 16]>);

fn key(text: &str) -> Result<Key, String> {
    let bytes = Zeroizing::new(body::from_hex(text)?);
    let key = bytes.as_slice().try_into().map_err(|_| "OCF's keys have 16 bytes")?;
    Ok(Key(Zeroizing::new(key)))
}

fn new_key() -> anyhow::Result<[u8; 16]> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).context("the system gives no random numbers")?;
    Ok(key)
}
