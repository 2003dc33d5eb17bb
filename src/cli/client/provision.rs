//! `freshen provision`: what the owner of a device gives to it and to others.

mod subject;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::access::Directory;
use super::{DEVICE_HELP, PATIENCE_DEFAULT, body, seconds, with_client};
use crate::client::provision::{self, Rights};
use crate::client::{self, Client, Keyring, Patience, Target};
use subject::{Permission, Who, WildcardWord};

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
#[command(after_help = "Examples:\n  \
    freshen provision client DEVICE --to ~/camera-client\n  \
    freshen provision client DEVICE --to ~/camera-client --certificate\n  \
    freshen provision client DEVICE --to ~/reader --href /oic/d --permission r")]
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
#[command(after_help = "Examples:\n  \
    freshen provision access DEVICE --subject auth-crypt --href /light --permission r\n  \
    freshen provision access DEVICE --subject role:admin --wildcard secure --permission crudn")]
struct AccessArgs {
    /// The device: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
    /// Who: a uuid, me, auth-crypt (everybody with a session), anon-clear (everybody), or role:NAME
    #[arg(long)]
    subject: Who,
    /// A resource, by its path; may be given several times
    #[arg(long, value_name = "PATH", required_unless_present = "wildcard")]
    href: Vec<String>,
    /// Many resources at once; software updates are never among them
    #[arg(long, value_enum)]
    wildcard: Option<WildcardWord>,
    /// What they may do there, of c(reate) r(ead) u(pdate) d(elete) n(otify)
    #[arg(long, value_name = "LETTERS")]
    permission: Permission,
}

/// Give the device an identity certificate of our own authority
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen provision certificate DEVICE")]
struct CertificateArgs {
    /// The device: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
}

/// Give two devices that are ours a key for each other
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen provision pair DEVICE OTHER-DEVICE")]
struct PairArgs {
    /// The one: HOST:PORT or its uuid
    #[arg(long_help = DEVICE_HELP)]
    device: Target,
    /// The other
    other: Target,
}

pub(in crate::cli) fn run(args: Args) -> anyhow::Result<()> {
    let patience = Patience::new(args.timeout);
    with_client(args.directory.keys()?, async |client| {
        let told = match &args.what {
            What::Client(what) => make_client(client, what, patience).await?,
            What::Access(what) => give_access(client, what, patience).await?,
            What::Certificate(what) => give_certificate(client, &what.device, patience).await?,
            What::Pair(what) => pair(client, what, patience).await?,
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
    patience: Patience,
) -> anyhow::Result<Told> {
    let mut theirs = Keyring::open(args.to.clone())?;
    let subject = match (args.uuid, theirs.own()) {
        (Some(uuid), _) => theirs.belong_to(uuid)?,
        (None, _) => theirs.own_or_new()?,
    };
    let place = client::find(client, &args.device, patience).await?;
    let permission = args.permission.bits();
    let rights = match args.href.is_empty() {
        false => vec![Rights { paths: args.href.clone(), wildcard: None, permission }],
        true => provision::update_rights(&place, permission)
            .map_err(|error| anyhow::anyhow!("{error}; say with --href what the client may use"))?,
    };
    let authority = args.certificate.then(|| client.keys.keyring.authority()).transpose()?;
    let key = match &args.key {
        _ if authority.is_some() => None,
        Some(Key(key)) => Some(key.clone()),
        None => Some(provision::new_key()?),
    };
    let key = key.as_deref();
    let known = provision::add_client(client, &place, subject, key, &rights, patience).await?;
    let device = known.device;
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

async fn give_access(
    client: &mut Client,
    args: &AccessArgs,
    patience: Patience,
) -> anyhow::Result<Told> {
    let subject = args.subject.subject(client.keys.keyring.own())?;
    let rights = Rights {
        paths: args.href.clone(),
        wildcard: args.wildcard.map(Into::into),
        permission: args.permission.bits(),
    };
    let place = client::find(client, &args.device, patience).await?;
    let device = provision::allow(client, &place, &subject, &rights, patience).await?;
    Ok(Told {
        text: format!("{device} lets them"),
        json: json!({"device": device.to_string(), "permission": rights.permission}),
    })
}

async fn give_certificate(
    client: &mut Client,
    target: &Target,
    patience: Patience,
) -> anyhow::Result<Told> {
    let authority = client.keys.keyring.authority()?;
    let place = client::find(client, target, patience).await?;
    let device = provision::give_certificate(client, &place, &authority, patience).await?;
    Ok(Told {
        text: format!("{device} has a certificate of our authority"),
        json: json!({"device": device.to_string()}),
    })
}

async fn pair(client: &mut Client, args: &PairArgs, patience: Patience) -> anyhow::Result<Told> {
    let one = client::find(client, &args.device, patience).await?;
    let other = client::find(client, &args.other, patience).await?;
    let devices = provision::pair(client, &one, &other, patience).await?;
    let devices = devices.map(|device| device.to_string());
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
