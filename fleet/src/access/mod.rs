//! This room says who may: credentials come in as values, a [`Scope`] goes out, and nothing else makes
//! one. Without a scope the store is neither asked nor changed. It reads no clock and opens no socket.

mod token;

pub use token::{Credential, Digest, Secret, SecretError};

/// A tenant's number; everything belongs to one.
pub type Tenant = i64;

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads everything of the tenant, changes nothing.
    Viewer,
    /// Changes the fleet, packages, filters and campaigns.
    Operator,
    /// Reads everything and approves campaigns.
    Approver,
    /// Everything, and hands out tokens.
    Admin,
    /// One device, and only its own routes.
    Device(String),
}

/// What a call needs at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// To be anybody but a device.
    View,
    /// To change the fleet.
    Operate,
    /// To approve.
    Approve,
    /// To say who may.
    Administer,
    /// To be a device.
    Device,
}

impl Role {
    /// Whether this role is enough.
    pub fn may(&self, need: Need) -> bool {
        match self {
            Self::Viewer => need == Need::View,
            Self::Operator => matches!(need, Need::View | Need::Operate),
            Self::Approver => matches!(need, Need::View | Need::Approve),
            Self::Admin => need != Need::Device,
            Self::Device(_) => need == Need::Device,
        }
    }

    /// The word for it, as tokens and answers have it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
            Self::Device(_) => "device",
        }
    }

    /// The role with this word; a device's role also names the device.
    pub fn from_word(word: &str, device: Option<&str>) -> Option<Self> {
        match (word, device) {
            ("viewer", None) => Some(Self::Viewer),
            ("operator", None) => Some(Self::Operator),
            ("approver", None) => Some(Self::Approver),
            ("admin", None) => Some(Self::Admin),
            ("device", Some(device)) => Some(Self::Device(device.to_owned())),
            _ => None,
        }
    }
}

/// Who asks, for which tenant, and what they may do. Made by [`admit`] and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    tenant: Tenant,
    who: String,
    role: Role,
}

impl Scope {
    /// The tenant that every question and every change is bound to.
    pub fn tenant(&self) -> Tenant {
        self.tenant
    }

    /// Who it is, as the audit names them.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// What they may do.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The device that asks, when it is one.
    pub fn device(&self) -> Option<&str> {
        match &self.role {
            Role::Device(id) => Some(id),
            _ => None,
        }
    }
}

/// Lets somebody in.
///
/// # Errors
///
/// The credential has ended, or is not enough.
pub fn admit(credential: &Credential, now: i64, need: Need) -> Result<Scope, Denied> {
    if credential.not_after.is_some_and(|end| end <= now) {
        return Err(Denied::Ended);
    }
    if !credential.role.may(need) {
        return Err(Denied::TooLittle { has: credential.role.word(), need });
    }
    Ok(Scope {
        tenant: credential.tenant,
        who: credential.name.clone(),
        role: credential.role.clone(),
    })
}

/// The server's own rounds for one tenant: purging, waking. The name stands in the audit.
pub fn housekeeping(tenant: Tenant) -> Scope {
    Scope { tenant, who: "server".into(), role: Role::Operator }
}

/// Whoever has a hand on the data directory: the command line beside it, and the first start.
pub fn console(tenant: Tenant) -> Scope {
    Scope { tenant, who: "console".into(), role: Role::Admin }
}

/// Why somebody was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody in particular.
    #[error("a token is needed: send it as `Authorization: Bearer TOKEN`")]
    Nobody,
    /// The token's time is over.
    #[error("the token has ended; ask an administrator for another")]
    Ended,
    /// Somebody, but not enough.
    #[error("the role `{has}` may not do this: {need:?} is needed")]
    TooLittle {
        /// What they have.
        has: &'static str,
        /// What it takes.
        need: Need,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(role: Role) -> Credential {
        Credential {
            id: "1".into(),
            tenant: 1,
            name: "ann".into(),
            role,
            created_at: 0,
            not_after: Some(10),
        }
    }

    #[test]
    fn a_token_that_has_ended_admits_nobody() {
        let admin = credential(Role::Admin);
        assert!(admit(&admin, 9, Need::Administer).is_ok());
        assert_eq!(admit(&admin, 10, Need::View), Err(Denied::Ended));
    }

    #[test]
    fn each_role_may_what_it_is_for_and_no_more() {
        let needs = [Need::View, Need::Operate, Need::Approve, Need::Administer, Need::Device];
        let table = [
            (Role::Viewer, [true, false, false, false, false]),
            (Role::Operator, [true, true, false, false, false]),
            (Role::Approver, [true, false, true, false, false]),
            (Role::Admin, [true, true, true, true, false]),
            (Role::Device("V1".into()), [false, false, false, false, true]),
        ];
        for (role, may) in table {
            for (need, expected) in needs.iter().zip(may) {
                let admitted = admit(&credential(role.clone()), 0, *need);
                assert_eq!(admitted.is_ok(), expected, "{role:?} {need:?}");
            }
        }
    }

    #[test]
    fn words_of_roles_lead_back_to_them() {
        for role in [Role::Viewer, Role::Operator, Role::Approver, Role::Admin] {
            assert_eq!(Role::from_word(role.word(), None), Some(role.clone()));
            assert_eq!(Role::from_word(role.word(), Some("V1")), None);
        }
        assert_eq!(Role::from_word("device", None), None);
    }
}
