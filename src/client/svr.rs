//! A conversation with the security resources of one device (SVRs, OCF Security clause 13).

use ciborium::Value;
use uuid::Uuid;

use super::error::Doing;
use super::place::Place;
use super::request::accepted;
use super::transport::Client;
use super::{Error, Patience, body, keys, request, text};
use crate::coap::{Code, Peer, Request, Response};

pub(super) const DOXM: &str = "/oic/sec/doxm";
pub(super) const PSTAT: &str = "/oic/sec/pstat";
pub(super) const AEL: &str = "/oic/sec/ael";
pub(super) const CRED: &str = "/oic/sec/cred";
pub(super) const ACL: &str = "/oic/sec/acl2";
pub(super) const CSR: &str = "/oic/sec/csr";
pub(super) const SDI: &str = "/oic/sec/sdi";
pub(super) const SP: &str = "/oic/sec/sp";
pub(super) const ROLES: &str = "/oic/sec/roles";

/// The states of a device (`dos.s`, OCF Security clause 8).
pub(super) const RESET: u8 = 0;
pub(super) const READY_FOR_PROVISIONING: u8 = 2;
pub(super) const READY_FOR_NORMAL_OPERATION: u8 = 3;

/// One device, and the way to it.
pub(super) struct Conversation<'a> {
    pub(super) client: &'a mut Client,
    pub(super) peer: Peer,
    patience: Patience,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(client: &'a mut Client, peer: Peer, patience: Patience) -> Self {
        Self { client, peer, patience }
    }

    /// With a device that we own, under its owner's key.
    pub(super) async fn as_owner(
        client: &'a mut Client,
        place: &Place,
        patience: Patience,
    ) -> Result<(Self, Uuid), Error> {
        let device = place.device.ok_or_else(nameless)?;
        let keyring = &client.keys.keyring;
        let known = keyring.device(device).filter(|known| known.owner);
        let known = known.ok_or_else(|| Error::NoOwnerKey { device, directory: keyring.name() })?;
        let policy = keys::with_key(keyring.psk(known)?);
        let peer = match place.told_by {
            peer if peer.session != 0 => peer,
            _ => {
                let address = place.secure().ok_or_else(no_coaps)?;
                client.connect(address, policy, patience).await.map_err(|failure| {
                    let whom = format!("coaps://{address} (device {device})");
                    Error::Exchange { whom, failure }
                })?
            }
        };
        Ok((Self { client, peer, patience }, device))
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Value, Error> {
        let response = self.ask(Request::new(Code::GET, path), format!("GET {path}")).await?;
        request::cbor(&response).ok_or_else(|| Error::Unexpected(format!("{path} is not CBOR")))
    }

    pub(super) async fn delete(&mut self, path: &str) -> Result<(), Error> {
        self.ask(Request::new(Code::DELETE, path), format!("DELETE {path}")).await.map(drop)
    }

    pub(super) async fn post(&mut self, path: &str, value: Value) -> Result<(), Error> {
        let mut request = Request::new(Code::POST, path);
        request.payload = body::encode(&value);
        // The names only: values may be keys.
        let names = value.as_map().into_iter().flatten().filter_map(|(name, _)| name.as_text());
        let what = format!("POST {path} ({})", names.collect::<Vec<_>>().join(", "));
        self.ask(request, what).await.map(drop)
    }

    async fn ask(&mut self, request: Request, what: String) -> Result<Response, Error> {
        let request = request::dressed(request, request::Way::Ocf);
        let answer = self.client.ask(self.peer, request, self.patience).await;
        let response = answer
            .map_err(|failure| {
                Error::Exchange { whom: self.peer.remote.to_string(), failure }.doing(&*what)
            })?
            .response;
        tracing::info!("{what}: {}", text::code(response.code));
        accepted(response).map_err(|refusal| Error::Refused { what, refusal })
    }

    pub(super) async fn go_to(&mut self, state: u8) -> Result<(), Error> {
        self.post(PSTAT, map([("dos", map([("s", state.into())]))])).await
    }

    /// Adds access control entries.
    pub(super) async fn allow(&mut self, entries: Vec<Value>) -> Result<(), Error> {
        self.post(ACL, map([("aclist2", Value::Array(entries))])).await
    }

    /// Adds a credential.
    pub(super) async fn trust(&mut self, credential: Value) -> Result<(), Error> {
        self.post(CRED, map([("creds", Value::Array(vec![credential]))])).await
    }

    /// Opens the device for provisioning; close it with [`Self::close`], whatever happens.
    pub(super) async fn open(&mut self) -> Result<(), Error> {
        self.go_to(READY_FOR_PROVISIONING).await
    }

    /// Puts the device back to work, and says what came of the provisioning.
    pub(super) async fn close<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        let closed = self.go_to(READY_FOR_NORMAL_OPERATION).await;
        let done = done?;
        closed.doing(
            "provisioned, but the device does not go back to normal operation; do it again",
        )?;
        Ok(done)
    }
}

/// A device that answers without saying who it is.
pub(super) fn nameless() -> Error {
    Error::Unexpected("the device does not say who it is (/oic/res)".into())
}

/// A device that cannot be asked in secret.
pub(super) fn no_coaps() -> Error {
    Error::Unexpected("the device names no address for coaps in /oic/res".into())
}

/// Passes over a refusal that a step can do without.
pub(super) fn optional(done: Result<(), Error>) -> Result<bool, Error> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.refusal().is_some_and(|refusal| refusal.code.class() == 4) => {
            tracing::info!("{error}; going on without");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A key that we share with `subject`; an empty one means: derive the owner's key (OCF Security 7.3.2).
pub(super) fn shared_key(subject: Uuid, key: &[u8]) -> Value {
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
pub(super) fn certificate(usage: &str, pem: &str) -> Value {
    map([
        ("credtype", Value::from(8)),
        ("subjectuuid", "*".into()),
        ("credusage", usage.into()),
        ("publicdata", map([("encoding", "oic.sec.encoding.pem".into()), ("data", pem.into())])),
    ])
}

/// An access control entry; the device numbers it.
pub(super) fn entry(subject: Value, resources: Vec<Value>, permission: u8) -> Value {
    map([
        ("subject", subject),
        ("resources", Value::Array(resources)),
        ("permission", permission.into()),
    ])
}

pub(super) fn uuid_subject(uuid: Uuid) -> Value {
    map([("uuid", uuid.to_string().into())])
}

pub(super) fn connection_subject(kind: &str) -> Value {
    map([("conntype", kind.into())])
}

pub(super) fn href(path: &str) -> Value {
    map([("href", path.into())])
}

pub(super) fn wildcard(which: &str) -> Value {
    map([("wc", which.into())])
}

pub(super) fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Map(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// The bits of an access control entry (OCF Security clause 12): create, retrieve, update, delete,
/// notify.
pub(super) mod permission {
    pub(crate) const CREATE: u8 = 1;
    pub(crate) const RETRIEVE: u8 = 2;
    pub(crate) const UPDATE: u8 = 4;
    pub(crate) const DELETE: u8 = 8;
    pub(crate) const NOTIFY: u8 = 16;
    pub(crate) const ALL: u8 = 31;
}
