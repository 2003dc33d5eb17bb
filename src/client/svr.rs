//! A conversation with the security resources of one device (SVRs, OCF Security clause 13).

use std::time::Duration;

use anyhow::Context;
use ciborium::{Value, cbor};
use uuid::Uuid;

use super::keys;
use super::place::Place;
use super::transport::{Client, accepted};
use super::{body, request, text};
use crate::coap::{Code, Peer, Request, Response};

pub(crate) const DOXM: &str = "/oic/sec/doxm";
pub(crate) const PSTAT: &str = "/oic/sec/pstat";
pub(crate) const AEL: &str = "/oic/sec/ael";
pub(crate) const CRED: &str = "/oic/sec/cred";
pub(crate) const ACL: &str = "/oic/sec/acl2";
pub(crate) const CSR: &str = "/oic/sec/csr";
pub(crate) const SDI: &str = "/oic/sec/sdi";
pub(crate) const SP: &str = "/oic/sec/sp";
pub(crate) const ROLES: &str = "/oic/sec/roles";

/// The states of a device (`dos.s`, OCF Security clause 8).
pub(crate) const RESET: u8 = 0;
pub(crate) const READY_FOR_PROVISIONING: u8 = 2;
pub(crate) const READY_FOR_NORMAL_OPERATION: u8 = 3;

/// One device, and the way to it.
pub(crate) struct Conversation<'a> {
    pub(crate) client: &'a mut Client,
    pub(crate) peer: Peer,
    patience: Duration,
}

/// The device said no.
#[derive(Debug, thiserror::Error)]
#[error("the device refuses {what}: {why}")]
pub(crate) struct Refusal {
    what: String,
    pub(crate) code: Code,
    why: String,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(client: &'a mut Client, peer: Peer, patience: Duration) -> Self {
        Self { client, peer, patience }
    }

    /// With a device that we own, under its owner's key.
    pub(crate) async fn as_owner(
        client: &'a mut Client,
        place: &Place,
        patience: Duration,
    ) -> anyhow::Result<(Self, Uuid)> {
        let device = place.device.context("the device does not say who it is (/oic/res)")?;
        let keyring = &client.keys.keyring;
        let directory = keyring.directory().display().to_string();
        let known = keyring.device(device).filter(|known| known.owner).with_context(|| {
            format!(
                "{directory} has no owner's key for device {device}; own it first (`freshen own`), \
                 or say --credentials DIR of its owner"
            )
        })?;
        let policy = keys::with_key(keyring.psk(known)?);
        let peer = match place.told_by {
            peer if peer.session != 0 => peer,
            _ => {
                let address = place.secure().context("the device names no address for coaps")?;
                client
                    .connect(address, policy, patience)
                    .await
                    .with_context(|| format!("coaps://{address} (device {device})"))?
            }
        };
        Ok((Self { client, peer, patience }, device))
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let response = self.ask(Request::new(Code::GET, path), format!("GET {path}")).await?;
        request::cbor(&response).with_context(|| format!("{path} is not CBOR"))
    }

    pub(crate) async fn delete(&mut self, path: &str) -> anyhow::Result<()> {
        self.ask(Request::new(Code::DELETE, path), format!("DELETE {path}")).await.map(drop)
    }

    pub(crate) async fn post(&mut self, path: &str, value: Value) -> anyhow::Result<()> {
        let mut request = Request::new(Code::POST, path);
        request.payload = body::encode(&value);
        // The names only: values may be keys.
        let names = value.as_map().into_iter().flatten().filter_map(|(name, _)| name.as_text());
        let what = format!("POST {path} ({})", names.collect::<Vec<_>>().join(", "));
        self.ask(request, what).await.map(drop)
    }

    async fn ask(&mut self, request: Request, what: String) -> anyhow::Result<Response> {
        let request = request::dressed(request, request::Way::Ocf);
        let answer = self.client.ask(self.peer, request, self.patience).await;
        let response = answer.with_context(|| what.clone())?.response;
        let code = response.code;
        tracing::info!("{what}: {}", text::code(code));
        accepted(response).map_err(|why| Refusal { what, code, why: why.to_string() }.into())
    }

    pub(crate) async fn go_to(&mut self, state: u8) -> anyhow::Result<()> {
        self.post(PSTAT, cbor!({"dos" => {"s" => state}})?).await
    }

    /// Adds access control entries.
    pub(crate) async fn allow(&mut self, entries: Vec<Value>) -> anyhow::Result<()> {
        self.post(ACL, cbor!({"aclist2" => entries})?).await
    }

    /// Adds a credential.
    pub(crate) async fn trust(&mut self, credential: Value) -> anyhow::Result<()> {
        self.post(CRED, cbor!({"creds" => [credential]})?).await
    }

    /// Opens the device for provisioning; close it with [`Self::close`], whatever happens.
    pub(crate) async fn open(&mut self) -> anyhow::Result<()> {
        self.go_to(READY_FOR_PROVISIONING).await
    }

    /// Puts the device back to work, and says what came of the provisioning.
    pub(crate) async fn close<T>(&mut self, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let closed = self.go_to(READY_FOR_NORMAL_OPERATION).await;
        let done = done?;
        closed.context(
            "provisioned, but the device does not go back to normal operation; run the command again",
        )?;
        Ok(done)
    }
}

/// Passes over a refusal that a step can do without.
pub(crate) fn optional(done: anyhow::Result<()>) -> anyhow::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) => match error.downcast_ref::<Refusal>() {
            Some(refusal) if refusal.code.class() == 4 => {
                tracing::info!("{refusal}; going on without");
                Ok(false)
            }
            _ => Err(error),
        },
    }
}

/// A key that we share with `subject`; an empty one means: derive the owner's key (OCF Security 7.3.2).
pub(crate) fn shared_key(subject: Uuid, key: &[u8]) -> Value {
    map([
        ("credtype", Value::from(1)),
        ("subjectuuid", subject.to_string().into()),
        (
            "privatedata",
            map([
                ("encoding", "oic.sec.encoding.raw".into()),
                ("data", Value::Bytes(key.to_vec())),
            ]),
        ),
    ])
}

/// A certificate for `usage` (`oic.sec.cred.cert`, `oic.sec.cred.trustca`).
pub(crate) fn certificate(usage: &str, pem: &str) -> Value {
    map([
        ("credtype", Value::from(8)),
        ("subjectuuid", "*".into()),
        ("credusage", usage.into()),
        ("publicdata", map([("encoding", "oic.sec.encoding.pem".into()), ("data", pem.into())])),
    ])
}

/// An access control entry; the device numbers it.
pub(crate) fn entry(subject: Value, resources: Vec<Value>, permission: u8) -> Value {
    map([
        ("subject", subject),
        ("resources", Value::Array(resources)),
        ("permission", permission.into()),
    ])
}

pub(crate) fn uuid_subject(uuid: Uuid) -> Value {
    map([("uuid", uuid.to_string().into())])
}

pub(crate) fn connection_subject(kind: &str) -> Value {
    map([("conntype", kind.into())])
}

pub(crate) fn href(path: &str) -> Value {
    map([("href", path.into())])
}

pub(crate) fn wildcard(which: &str) -> Value {
    map([("wc", which.into())])
}

pub(crate) fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// The bits of an access control entry (OCF Security clause 12): create, retrieve, update, delete,
/// notify.
pub(crate) mod permission {
    pub(crate) const CREATE: u8 = 1;
    pub(crate) const RETRIEVE: u8 = 2;
    pub(crate) const UPDATE: u8 = 4;
    pub(crate) const DELETE: u8 = 8;
    pub(crate) const NOTIFY: u8 = 16;
    pub(crate) const ALL: u8 = 31;
}
