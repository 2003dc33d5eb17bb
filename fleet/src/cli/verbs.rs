//! Nouns and verbs of the command line: each is one request, and the columns that people see of its
//! answer.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::Client;
use crate::api::encoded;

const DEVICE: &[&str] = &["id", "plan", "tags", "attributes", "packages", "components", "seen_at"];
const PACKAGE: &[&str] = &["name", "version", "vendor", "size", "blacklisted", "description"];
const CAMPAIGN: &[&str] = &[
    "id",
    "package.name",
    "package.version",
    "state",
    "priority",
    "counts.total",
    "counts.pending",
    "counts.in_flight",
    "counts.completed",
    "counts.failed",
    "counts.cancelled",
];
const TOKEN: &[&str] = &["id", "name", "role", "device", "not_after", "token"];

/// A package's name and version.
#[derive(Debug, Args)]
pub(super) struct Key {
    /// The package's name
    name: String,
    /// Its version
    version: String,
}

impl Key {
    fn path(&self, rest: &str) -> String {
        format!("/packages/{}/{}{rest}", encoded(&self.name), encoded(&self.version))
    }

    fn json(&self) -> Value {
        json!({ "name": self.name, "version": self.version })
    }
}

/// `a=b` as a member; `b` is JSON where it is JSON, else text.
fn member(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("an attribute is NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((key.to_owned(), value))
}

#[derive(Debug, Subcommand)]
pub(super) enum Device {
    /// Add a device: `freshen-fleet device add WVW1 --tag test --attribute colour=red`
    Add {
        /// Its id
        id: String,
        /// Its data plan
        #[arg(long)]
        plan: Option<String>,
        /// A word about it
        #[arg(long = "tag")]
        tags: Vec<String>,
        /// NAME=VALUE
        #[arg(long = "attribute", value_parser = member)]
        attributes: Vec<(String, Value)>,
    },
    /// Show a device
    Show { id: String },
    /// List devices: `freshen-fleet device list --filter 'has_package "nav" "^1"'`
    List {
        /// A filter expression
        #[arg(long)]
        filter: Option<String>,
        /// A regular expression for ids
        #[arg(long)]
        regex: Option<String>,
    },
    /// Take a device away, with all that hangs on it
    Delete { id: String },
    /// List what was, is and is to be done on a device
    History { id: String },
    /// Say that a component is in a device
    Fit { id: String, part: String },
    /// Say that a package is installed on a device
    Install {
        id: String,
        #[command(flatten)]
        key: Key,
    },
    /// Give a device a data plan
    SetPlan { id: String, plan: String },
    /// Ask a device for the list of what it has installed
    AskInventory { id: String },
    /// Add the devices of a file, a line of JSON a device
    Import {
        /// The file
        file: PathBuf,
        /// Add packages and components that nobody knows
        #[arg(long)]
        create: bool,
    },
    /// Print all devices, a line of JSON a device
    Export,
}

impl Device {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        let at = |id: &str, rest: &str| format!("/devices/{}{rest}", encoded(id));
        match self {
            Self::Add { id, plan, tags, attributes } => {
                let attributes: Map<String, Value> = attributes.into_iter().collect();
                let mut body = json!({ "id": id, "tags": tags, "attributes": attributes });
                if let Some(plan) = plan {
                    body["plan"] = plan.into();
                }
                client.show(&client.call(Method::POST, "/devices", Some(&body))?, DEVICE)
            }
            Self::Show { id } => {
                client.show(&client.call(Method::GET, &at(&id, ""), None)?, DEVICE)
            }
            Self::List { filter, regex } => {
                let mut path = "/devices?expand=components,packages&limit=1000".to_owned();
                for (name, value) in [("filter", filter), ("regex", regex)] {
                    if let Some(value) = value {
                        path.push_str(&format!("&{name}={}", encoded(&value)));
                    }
                }
                client.show(&client.all(&path)?, DEVICE)
            }
            Self::Delete { id } => {
                client.show(&client.call(Method::DELETE, &at(&id, ""), None)?, &[])
            }
            Self::History { id } => {
                let found = client.all(&at(&id, "/history"))?;
                client
                    .show(&found, &["id", "kind", "packages", "state", "phase", "code", "ended_at"])
            }
            Self::Fit { id, part } => {
                let path = at(&id, &format!("/components/{}", encoded(&part)));
                client.show(&client.call(Method::PUT, &path, None)?, &[])
            }
            Self::Install { id, key } => {
                let path = at(&id, &key.path(""));
                client.show(&client.call(Method::PUT, &path, None)?, &[])
            }
            Self::SetPlan { id, plan } => {
                let body = json!({ "plan": plan });
                client.show(&client.call(Method::PUT, &at(&id, "/plan"), Some(&body))?, &["plan"])
            }
            Self::AskInventory { id } => {
                let path = at(&id, "/inventory-requests");
                client.show(&client.call(Method::POST, &path, None)?, &["id"])
            }
            Self::Import { file, create } => {
                let path = format!("/devices:import?create={create}");
                let done = client.upload(Method::POST, &path, "application/x-ndjson", &file)?;
                client.show(&done, &["added", "refused"])?;
                if done["refused"].as_u64() == Some(0) {
                    return Ok(());
                }
                client.show(&done["errors"], &["line", "code", "description"])?;
                anyhow::bail!("some lines were refused; the others are there")
            }
            Self::Export => client.pour("/devices:export"),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Component {
    /// Add a component
    Add {
        /// Its part number
        part: String,
        /// For people
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List components
    List,
    /// Take a component away that no device has
    Delete { part: String },
    /// List the devices that have a component
    Devices { part: String },
}

impl Component {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Add { part, description } => {
                let body = json!({ "part": part, "description": description });
                let added = client.call(Method::POST, "/components", Some(&body))?;
                client.show(&added, &["part", "description"])
            }
            Self::List => client.show(&client.all("/components")?, &["part", "description"]),
            Self::Delete { part } => {
                let path = format!("/components/{}", encoded(&part));
                client.show(&client.call(Method::DELETE, &path, None)?, &[])
            }
            Self::Devices { part } => {
                let path = format!("/components/{}/devices", encoded(&part));
                client.show(&client.all(&path)?, &["id", "plan", "tags"])
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Package {
    /// Add a package with its bytes: `freshen-fleet package add nav 2.0 nav.swu`
    Add {
        #[command(flatten)]
        key: Key,
        /// Its one file; without it the package has metadata only
        file: Option<PathBuf>,
        /// Who makes it
        #[arg(long, default_value = "")]
        vendor: String,
        /// For people
        #[arg(long, default_value = "")]
        description: String,
        /// What SHA-256 the bytes have
        #[arg(long)]
        sha256: Option<String>,
    },
    /// Upload one more file of a package
    Upload {
        #[command(flatten)]
        key: Key,
        /// The file
        file: PathBuf,
        /// Its path in the package; its name unless said
        #[arg(long)]
        path: Option<String>,
    },
    /// Show a package
    Show {
        #[command(flatten)]
        key: Key,
    },
    /// List packages
    List {
        /// A regular expression for names
        #[arg(long, default_value = "")]
        regex: String,
    },
    /// Say that a package needs another: `freshen-fleet package need nav 2.0 maps 7`
    Need {
        #[command(flatten)]
        key: Key,
        /// The name of what it needs
        needed: String,
        /// The version of it
        needed_version: String,
    },
    /// Say which devices a package is for
    Link {
        #[command(flatten)]
        key: Key,
        /// The label of a filter
        label: String,
    },
    /// Put a package on the blacklist
    Blacklist {
        #[command(flatten)]
        key: Key,
        /// Take it off again
        #[arg(long)]
        off: bool,
    },
}

impl Package {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Add { key, file: None, vendor, description, sha256: _ } => {
                let body = json!({ "vendor": vendor, "description": description });
                client.show(&client.call(Method::PUT, &key.path(""), Some(&body))?, PACKAGE)
            }
            Self::Add { key, file: Some(file), vendor, description, sha256 } => {
                let mut path = key.path("");
                path.push_str(&format!("?vendor={}", encoded(&vendor)));
                path.push_str(&format!("&description={}", encoded(&description)));
                if let Some(name) = file.file_name().and_then(|name| name.to_str()) {
                    path.push_str(&format!("&path={}", encoded(name)));
                }
                if let Some(sha256) = sha256 {
                    path.push_str(&format!("&sha256={}", encoded(&sha256)));
                }
                let kind = "application/octet-stream";
                client.show(&client.upload(Method::PUT, &path, kind, &file)?, PACKAGE)
            }
            Self::Upload { key, file, path } => {
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("file");
                let name = path.unwrap_or_else(|| name.to_owned());
                let path = key.path(&format!("/files/{}", encoded(&name)));
                let kind = "application/octet-stream";
                let done = client.upload(Method::PUT, &path, kind, &file)?;
                client.show(&done, &["path", "size", "sha256"])
            }
            Self::Show { key } => {
                client.show(&client.call(Method::GET, &key.path(""), None)?, PACKAGE)
            }
            Self::List { regex } => {
                let path = format!("/packages?regex={}", encoded(&regex));
                client.show(&client.all(&path)?, PACKAGE)
            }
            Self::Need { key, needed, needed_version } => {
                let needed = format!("{}/{}", encoded(&needed), encoded(&needed_version));
                let path = key.path(&format!("/dependencies/{needed}"));
                client.show(&client.call(Method::PUT, &path, None)?, &[])
            }
            Self::Link { key, label } => {
                let path = key.path(&format!("/filters/{}", encoded(&label)));
                client.show(&client.call(Method::PUT, &path, None)?, &[])
            }
            Self::Blacklist { key, off } => {
                let method = if off { Method::DELETE } else { Method::PUT };
                client.show(&client.call(method, &key.path("/blacklist"), None)?, &[])
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Filter {
    /// Add a filter: `freshen-fleet filter add golfs 'vin_matches "^WVW"'`
    Add {
        /// Its label
        label: String,
        /// Which devices it means
        expression: String,
    },
    /// Try an expression, and count the devices that it means
    Try { expression: String },
    /// List filters
    List,
    /// Give a filter another expression
    Edit { label: String, expression: String },
    /// Take a filter away, and its links
    Delete { label: String },
}

impl Filter {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        const FILTER: &[&str] = &["label", "expression"];
        match self {
            Self::Add { label, expression } => {
                let body = json!({ "label": label, "expression": expression });
                client.show(&client.call(Method::POST, "/filters", Some(&body))?, FILTER)
            }
            Self::Try { expression } => {
                let body = json!({ "expression": expression, "count": true });
                let tried = client.call(Method::POST, "/filters:validate", Some(&body))?;
                client.show(&tried, &["count", "expression"])
            }
            Self::List => client.show(&client.all("/filters")?, FILTER),
            Self::Edit { label, expression } => {
                let path = format!("/filters/{}", encoded(&label));
                let body = json!({ "expression": expression });
                client.show(&client.call(Method::PUT, &path, Some(&body))?, FILTER)
            }
            Self::Delete { label } => {
                let path = format!("/filters/{}", encoded(&label));
                client.show(&client.call(Method::DELETE, &path, None)?, &[])
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Plan {
    /// Add a data plan
    Add {
        /// Its name
        name: String,
        /// An update that is too large lets smaller ones pass
        #[arg(long)]
        skip_oversize: bool,
    },
    /// List data plans
    List,
    /// Add a billing cycle: `freshen-fleet plan add-cycle basic 2030-01-01T00:00:00Z 5000000`
    AddCycle {
        /// The plan
        plan: String,
        /// When it begins
        start: String,
        /// Bytes that may be sent in it
        pool: u64,
    },
    /// List the billing cycles of a plan
    Cycles { plan: String },
}

impl Plan {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Add { name, skip_oversize } => {
                let body = json!({ "name": name, "skip_oversize": skip_oversize });
                let added = client.call(Method::POST, "/plans", Some(&body))?;
                client.show(&added, &["name", "skip_oversize"])
            }
            Self::List => client.show(&client.all("/plans")?, &["name", "skip_oversize"]),
            Self::AddCycle { plan, start, pool } => {
                let path = format!("/plans/{}/cycles", encoded(&plan));
                let body = json!({ "start": start, "pool": pool });
                let added = client.call(Method::POST, &path, Some(&body))?;
                client.show(&added, &["start", "pool", "used"])
            }
            Self::Cycles { plan } => {
                let path = format!("/plans/{}/cycles", encoded(&plan));
                client.show(&client.all(&path)?, &["start", "pool", "used"])
            }
        }
    }
}

/// What a campaign orders.
#[derive(Debug, Args)]
pub(super) struct Order {
    #[command(flatten)]
    key: Key,
    /// 1 (first) to 100 (last)
    #[arg(long, default_value_t = 10)]
    priority: u64,
    /// Nothing starts before this time
    #[arg(long)]
    not_before: Option<String>,
    /// What still waits then has failed
    #[arg(long)]
    not_after: Option<String>,
    /// The label of a filter, instead of those that are linked to the package
    #[arg(long = "filter")]
    filters: Vec<String>,
    /// An expression that must mean a device, too
    #[arg(long)]
    expression: Option<String>,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
}

impl Order {
    fn json(self) -> Value {
        let mut body = json!({
            "package": self.key.json(), "priority": self.priority,
            "description": self.description, "not_before": self.not_before,
            "not_after": self.not_after, "expression": self.expression,
        });
        if !self.filters.is_empty() {
            body["filters"] = self.filters.into();
        }
        body
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Campaign {
    /// Say who would get what, and change nothing: `freshen-fleet campaign try nav 2.0`
    Try {
        #[command(flatten)]
        order: Order,
    },
    /// Order a package for all devices that its filters mean
    Create {
        #[command(flatten)]
        order: Order,
    },
    /// List campaigns
    List,
    /// Show a campaign
    Show { id: String },
    /// List the devices of a campaign
    Devices {
        id: String,
        /// pending, in_flight, completed, failed or cancelled
        #[arg(long)]
        state: Option<String>,
    },
    /// Cancel what waits; what is in flight goes on
    Cancel { id: String },
}

impl Campaign {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Try { order } => {
                let path = "/campaigns?dry_run=true";
                let planned = client.call(Method::POST, path, Some(&order.json()))?;
                client.show(&planned, &["total", "bytes", "packages", "filters"])?;
                if planned["excluded"].as_array().is_some_and(|all| !all.is_empty()) {
                    client.show(&planned["excluded"], &["devices", "code", "reason"])?;
                }
                Ok(())
            }
            Self::Create { order } => {
                let made = client.call(Method::POST, "/campaigns", Some(&order.json()))?;
                client.show(&made, CAMPAIGN)
            }
            Self::List => client.show(&client.all("/campaigns")?, CAMPAIGN),
            Self::Show { id } => {
                let path = format!("/campaigns/{}", encoded(&id));
                client.show(&client.call(Method::GET, &path, None)?, CAMPAIGN)
            }
            Self::Devices { id, state } => {
                let state = state.map_or(String::new(), |state| format!("&state={state}"));
                let path = format!("/campaigns/{}/devices?limit=1000{state}", encoded(&id));
                let columns = &["device", "state", "phase", "code", "text", "changed_at"];
                client.show(&client.all(&path)?, columns)
            }
            Self::Cancel { id } => {
                let path = format!("/campaigns/{}/cancel", encoded(&id));
                client.show(&client.call(Method::POST, &path, None)?, CAMPAIGN)
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token: `freshen-fleet token add ann operator`. It is shown this one time
    Add {
        /// Who holds it
        name: String,
        /// viewer, operator, approver, admin or device
        role: String,
        /// With `device`: which
        #[arg(long)]
        device: Option<String>,
        /// When it ends
        #[arg(long)]
        not_after: Option<String>,
    },
    /// List tokens, without the tokens
    List,
    /// End a token
    Delete { id: String },
}

impl Token {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Add { name, role, device, not_after } => {
                let body =
                    json!({ "name": name, "role": role, "device": device, "not_after": not_after });
                client.show(&client.call(Method::POST, "/tokens", Some(&body))?, TOKEN)
            }
            Self::List => client.show(&client.all("/tokens")?, &TOKEN[..5]),
            Self::Delete { id } => {
                let path = format!("/tokens/{}", encoded(&id));
                client.show(&client.call(Method::DELETE, &path, None)?, &[])
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List who did what
    List {
        /// After this line
        #[arg(long, default_value_t = 0)]
        after: i64,
    },
    /// Check the chain from the first line to the last
    Verify,
}

impl Audit {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::List { after } => {
                let path = format!("/audit?limit=1000&after={after}");
                let page = client.call(Method::GET, &path, None)?;
                client.show(&page["items"], &["number", "at", "who", "action", "subject"])
            }
            Self::Verify => {
                let found = client.call(Method::POST, "/audit:verify", None)?;
                client.show(&found, &["lines", "whole", "broken"])?;
                anyhow::ensure!(found["whole"] == true, "the audit was changed");
                Ok(())
            }
        }
    }
}
