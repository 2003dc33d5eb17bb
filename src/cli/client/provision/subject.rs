//! Who may do what, as a person writes it.

use std::str::FromStr;

use anyhow::Context;
use ciborium::Value;
use uuid::Uuid;

use crate::client::svr::{self, permission};

/// Whom an access control entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Uuid(Uuid),
    /// This tool.
    Me,
    /// Everybody with a session, or everybody.
    Connection(&'static str),
    Role {
        name: String,
        authority: Option<String>,
    },
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "me" => Ok(Self::Me),
            "auth-crypt" => Ok(Self::Connection("auth-crypt")),
            "anon-clear" => Ok(Self::Connection("anon-clear")),
            _ => match text.strip_prefix("role:") {
                Some("") => Err("the role has no name".into()),
                Some(role) => {
                    let (name, authority) = match role.split_once('@') {
                        Some((name, authority)) => (name, Some(authority.to_owned())),
                        None => (role, None),
                    };
                    Ok(Self::Role { name: name.to_owned(), authority })
                }
                None => text.parse().map(Self::Uuid).map_err(|_| {
                    "write a uuid, me, auth-crypt, anon-clear, role:NAME or role:NAME@AUTHORITY"
                        .into()
                }),
            },
        }
    }
}

impl Subject {
    /// As in an access control entry; `own` is who we are.
    pub(super) fn value(&self, own: Option<Uuid>) -> anyhow::Result<Value> {
        Ok(match self {
            Self::Uuid(uuid) => svr::uuid_subject(*uuid),
            Self::Me => svr::uuid_subject(own.context("this tool has no identity yet")?),
            Self::Connection(kind) => svr::connection_subject(kind),
            Self::Role { name, authority: None } => svr::map([("role", name.as_str().into())]),
            Self::Role { name, authority: Some(authority) } => {
                svr::map([("role", name.as_str().into()), ("authority", authority.as_str().into())])
            }
        })
    }
}

/// Many resources at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Wildcard {
    /// All that is of the device's own kind
    All,
    /// Of these, those served over DTLS
    Secure,
    /// Of these, those served in clear
    Clear,
}

impl Wildcard {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::All => "*",
            Self::Secure => "+",
            Self::Clear => "-",
        }
    }
}

/// Some of c r u d n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permission(u8);

impl Permission {
    pub(super) fn bits(self) -> u8 {
        self.0
    }
}

impl FromStr for Permission {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bits = 0;
        for letter in text.chars() {
            bits |= match letter {
                'c' => permission::CREATE,
                'r' => permission::RETRIEVE,
                'u' => permission::UPDATE,
                'd' => permission::DELETE,
                'n' => permission::NOTIFY,
                _ => return Err(format!("{letter} is none of c, r, u, d, n")),
            };
        }
        if bits == 0 { Err("some of c, r, u, d, n".into()) } else { Ok(Self(bits)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::body;

    #[test]
    fn subjects_are_written_as_the_device_reads_them() {
        let own = Some(Uuid::from_u128(1));
        for (text, wanted) in [
            ("me", r#"{"uuid": "00000000-0000-0000-0000-000000000001"}"#),
            (
                "00000000-0000-0000-0000-000000000002",
                r#"{"uuid": "00000000-0000-0000-0000-000000000002"}"#,
            ),
            ("auth-crypt", r#"{"conntype": "auth-crypt"}"#),
            ("role:admin", r#"{"role": "admin"}"#),
            ("role:admin@house", r#"{"role": "admin", "authority": "house"}"#),
        ] {
            let value = text.parse::<Subject>().unwrap().value(own).unwrap();
            assert_eq!(body::text(&value, body::Layout::Line), wanted);
        }
        assert!("somebody".parse::<Subject>().is_err() && "role:".parse::<Subject>().is_err());
        assert!(Subject::Me.value(None).is_err());
    }

    #[test]
    fn permissions_are_letters() {
        assert_eq!("run".parse(), Ok(Permission(22)));
        assert_eq!("crudn".parse(), Ok(Permission(31)));
        assert!("".parse::<Permission>().is_err() && "rw".parse::<Permission>().is_err());
    }
}
