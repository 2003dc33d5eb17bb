//! Who may do what, as a person writes it.

use std::str::FromStr;

use anyhow::Context;
use uuid::Uuid;

use crate::client::provision::{Rights, Subject, Wildcard};

/// Whom an access control entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// This tool.
    Me,
    /// Somebody else, or many.
    Is(Subject),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let subject = match (text, text.strip_prefix("role:")) {
            ("me", _) => return Ok(Self::Me),
            ("auth-crypt", _) => Subject::Encrypted,
            ("anon-clear", _) => Subject::Clear,
            (_, Some("")) => return Err("the role has no name".into()),
            (_, Some(role)) => {
                let (name, authority) = match role.split_once('@') {
                    Some((name, authority)) => (name, Some(authority.to_owned())),
                    None => (role, None),
                };
                Subject::Role { name: name.to_owned(), authority }
            }
            (_, None) => text.parse().map(Subject::Uuid).map_err(
                |_| "write a uuid, me, auth-crypt, anon-clear, role:NAME or role:NAME@AUTHORITY",
            )?,
        };
        Ok(Self::Is(subject))
    }
}

impl Who {
    /// Who that is; `own` is who we are.
    pub(super) fn subject(&self, own: Option<Uuid>) -> anyhow::Result<Subject> {
        match self {
            Self::Me => own.map(Subject::Uuid).context("this tool has no identity yet"),
            Self::Is(subject) => Ok(subject.clone()),
        }
    }
}

/// [`Wildcard`], as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum WildcardWord {
    /// All that is of the device's own kind
    All,
    /// Of these, those served over DTLS
    Secure,
    /// Of these, those served in clear
    Clear,
}

impl From<WildcardWord> for Wildcard {
    fn from(word: WildcardWord) -> Self {
        match word {
            WildcardWord::All => Self::All,
            WildcardWord::Secure => Self::Secure,
            WildcardWord::Clear => Self::Clear,
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
                'c' => Rights::CREATE,
                'r' => Rights::RETRIEVE,
                'u' => Rights::UPDATE,
                'd' => Rights::DELETE,
                'n' => Rights::NOTIFY,
                _ => return Err(format!("{letter} is none of c, r, u, d, n")),
            };
        }
        if bits == 0 { Err("some of c, r, u, d, n".into()) } else { Ok(Self(bits)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_written_as_a_person_says_them() {
        let own = Uuid::from_u128(1);
        let role = |authority: Option<&str>| Subject::Role {
            name: "admin".into(),
            authority: authority.map(str::to_owned),
        };
        for (text, wanted) in [
            ("me", Subject::Uuid(own)),
            ("00000000-0000-0000-0000-000000000002", Subject::Uuid(Uuid::from_u128(2))),
            ("auth-crypt", Subject::Encrypted),
            ("anon-clear", Subject::Clear),
            ("role:admin", role(None)),
            ("role:admin@house", role(Some("house"))),
        ] {
            assert_eq!(text.parse::<Who>().unwrap().subject(Some(own)).unwrap(), wanted);
        }
        assert!("somebody".parse::<Who>().is_err() && "role:".parse::<Who>().is_err());
        assert!(Who::Me.subject(None).is_err());
    }

    #[test]
    fn permissions_are_letters() {
        assert_eq!("run".parse(), Ok(Permission(22)));
        assert_eq!("crudn".parse(), Ok(Permission(31)));
        assert!("".parse::<Permission>().is_err() && "rw".parse::<Permission>().is_err());
    }
}
