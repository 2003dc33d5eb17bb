//! What the owner of a device gives to it and to others: keys, certificates and rights.

use ciborium::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::authority::Authority;
use super::error::no_random;
use super::keyring::DeviceKey;
use super::place::Place;
use super::svr::{self, Conversation};
use super::transport::Client;
use super::{Error, Patience, body, links};

/// Whom an access control entry is about (OCF Security 12.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One device or client.
    Uuid(Uuid),
    /// Everybody with a session (`auth-crypt`).
    Encrypted,
    /// Everybody (`anon-clear`).
    Clear,
    /// Whoever shows a certificate with this role.
    Role {
        /// The role.
        name: String,
        /// Who must have given it.
        authority: Option<String>,
    },
}

impl Subject {
    /// As in an access control entry.
    fn value(&self) -> Value {
        match self {
            Self::Uuid(uuid) => svr::uuid_subject(*uuid),
            Self::Encrypted => svr::connection_subject("auth-crypt"),
            Self::Clear => svr::connection_subject("anon-clear"),
            Self::Role { name, authority: None } => svr::map([("role", name.as_str().into())]),
            Self::Role { name, authority: Some(authority) } => {
                svr::map([("role", name.as_str().into()), ("authority", authority.as_str().into())])
            }
        }
    }
}

/// Many resources at once (`wc`); the resources that configure a device are never among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// All.
    All,
    /// Those served over DTLS.
    Secure,
    /// Those served in clear.
    Clear,
}

/// What somebody may do, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Resources, by their paths.
    pub paths: Vec<String>,
    /// More of them.
    pub wildcard: Option<Wildcard>,
    /// Some of [`Rights::CREATE`] and so on.
    pub permission: u8,
}

impl Rights {
    /// To create.
    pub const CREATE: u8 = svr::permission::CREATE;
    /// To read.
    pub const RETRIEVE: u8 = svr::permission::RETRIEVE;
    /// To write.
    pub const UPDATE: u8 = svr::permission::UPDATE;
    /// To delete.
    pub const DELETE: u8 = svr::permission::DELETE;
    /// To observe.
    pub const NOTIFY: u8 = svr::permission::NOTIFY;

    fn entry(&self, subject: Value) -> Value {
        let mut resources: Vec<Value> = self.paths.iter().map(|path| svr::href(path)).collect();
        resources.extend(self.wildcard.map(|which| {
            svr::wildcard(match which {
                Wildcard::All => "*",
                Wildcard::Secure => "+",
                Wildcard::Clear => "-",
            })
        }));
        svr::entry(subject, resources, self.permission)
    }
}

/// The rights of a client that updates the device: the software update resource with `permission`, and
/// to see its status and pstat.
///
/// # Errors
///
/// Where the device lists no such resource.
pub fn update_rights(place: &Place, permission: u8) -> Result<Vec<Rights>, Error> {
    let update = place.link_of_type(links::SOFTWARE_UPDATE).ok_or_else(|| {
        Error::Unexpected("the device does not list a software update resource".into())
    })?;
    let mut watched = vec![svr::PSTAT.to_owned()];
    watched.extend(place.link_of_type(links::UPDATE_STATUS).map(|link| link.href.clone()));
    let see = Rights::RETRIEVE | Rights::NOTIFY;
    Ok(vec![
        Rights { paths: vec![update.href.clone()], wildcard: None, permission },
        Rights { paths: watched, wildcard: None, permission: see },
    ])
}

/// Makes `subject` a client of the device: it gets a key, unless it has a certificate, and rights. What
/// comes back is what that client has to know of the device.
///
/// # Errors
///
/// Where the device is not ours, or does not take one of these.
pub async fn add_client(
    client: &mut Client,
    place: &Place,
    subject: Uuid,
    key: Option<&[u8; 16]>,
    rights: &[Rights],
    patience: Patience,
) -> Result<DeviceKey, Error> {
    let (mut talk, device) = Conversation::as_owner(client, place, patience).await?;
    talk.open().await?;
    let mut done = Ok(());
    if let Some(key) = key {
        done = talk.trust(svr::shared_key(subject, key)).await;
    }
    if done.is_ok() {
        let entries = rights.iter().map(|rights| rights.entry(svr::uuid_subject(subject)));
        done = talk.allow(entries.collect()).await;
    }
    talk.close(done).await?;
    let mut known = DeviceKey::new(device, key.map_or(&[][..], |key| key), false);
    if let Some(ours) = client.keys.keyring.device(device) {
        known.name = ours.name.clone();
    }
    known.clear = Some(place.told_by.remote).filter(|_| place.told_by.session == 0);
    known.secure = place.secure();
    Ok(known)
}

/// Lets somebody use resources of the device; which device it was.
///
/// # Errors
///
/// Where the device is not ours, or does not take that.
pub async fn allow(
    client: &mut Client,
    place: &Place,
    subject: &Subject,
    rights: &Rights,
    patience: Patience,
) -> Result<Uuid, Error> {
    let (mut talk, device) = Conversation::as_owner(client, place, patience).await?;
    talk.open().await?;
    let done = talk.allow(vec![rights.entry(subject.value())]).await;
    talk.close(done).await?;
    Ok(device)
}

/// Gives the device an identity certificate of the authority, for the key that it has; which device it
/// was.
///
/// # Errors
///
/// Where the device is not ours, or does not take that.
pub async fn give_certificate(
    client: &mut Client,
    place: &Place,
    authority: &Authority,
    patience: Patience,
) -> Result<Uuid, Error> {
    let (mut talk, device) = Conversation::as_owner(client, place, patience).await?;
    talk.open().await?;
    let done = certify(&mut talk, authority, device).await;
    talk.close(done).await?;
    Ok(device)
}

async fn certify(
    talk: &mut Conversation<'_>,
    authority: &Authority,
    device: Uuid,
) -> Result<(), Error> {
    let root = svr::certificate("oic.sec.cred.trustca", authority.certificate_pem());
    talk.trust(root).await?;
    let request = talk.get(svr::CSR).await?;
    let request = body::get_text(&request, "csr").ok_or_else(|| {
        Error::Unexpected("the device's certificate request is not a text (csr)".into())
    })?;
    let certificate = authority.sign(request, device)?;
    talk.trust(svr::certificate("oic.sec.cred.cert", &certificate)).await
}

/// Gives two devices a key for each other; which devices they were.
///
/// # Errors
///
/// Where one of them is not ours, or does not take that: the first may have its key then.
pub async fn pair(
    client: &mut Client,
    one: &Place,
    other: &Place,
    patience: Patience,
) -> Result<[Uuid; 2], Error> {
    let [one_id, other_id] =
        [one.device.ok_or_else(svr::nameless)?, other.device.ok_or_else(svr::nameless)?];
    if one_id == other_id {
        return Err(Error::Invalid("a device needs no key for itself".into()));
    }
    let key = new_key()?;
    for (place, subject) in [(one, other_id), (other, one_id)] {
        let (mut talk, _) = Conversation::as_owner(client, place, patience).await?;
        talk.open().await?;
        let done = talk.trust(svr::shared_key(subject, &*key)).await;
        talk.close(done).await?;
    }
    Ok([one_id, other_id])
}

/// A shared key that nobody has.
///
/// # Errors
///
/// Where the system gives no random numbers.
pub fn new_key() -> Result<Zeroizing<[u8; 16]>, Error> {
    let mut key = Zeroizing::new([0; 16]);
    getrandom::fill(&mut *key).map_err(no_random)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_written_as_the_device_reads_them() {
        let role = |authority: Option<&str>| Subject::Role {
            name: "admin".into(),
            authority: authority.map(str::to_owned),
        };
        for (subject, wanted) in [
            (
                Subject::Uuid(Uuid::from_u128(2)),
                r#"{"uuid": "00000000-0000-0000-0000-000000000002"}"#,
            ),
            (Subject::Encrypted, r#"{"conntype": "auth-crypt"}"#),
            (role(None), r#"{"role": "admin"}"#),
            (role(Some("house")), r#"{"role": "admin", "authority": "house"}"#),
        ] {
            assert_eq!(body::line(&subject.value()), wanted);
        }
    }

    #[test]
    fn rights_are_one_entry_with_all_their_resources() {
        let rights = Rights {
            paths: vec!["/light".into()],
            wildcard: Some(Wildcard::Secure),
            permission: Rights::RETRIEVE | Rights::NOTIFY,
        };
        assert_eq!(
            body::line(&rights.entry(Subject::Clear.value())),
            r#"{"subject": {"conntype": "anon-clear"}, "resources": [{"href": "/light"}, {"wc": "+"}], "permission": 18}"#
        );
    }
}
