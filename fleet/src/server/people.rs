//! Tokens, tenants and the audit.

use serde_json::json;

use super::{Refusal, Server, random};
use crate::access::{Credential, Digest, Need, Role, Scope, Secret, admit, console};
use crate::store::chain::{self, Broken};
use crate::store::{AuditHead, Batch, Change, DEFAULT_TENANT, Failure, Line, Lines, Tokens};

/// Lines of the audit that are read at once.
const LINES: u32 = 10_000;
/// Bytes of a token holder's name.
pub(crate) const NAME_BYTES_MAX: usize = 100;

/// A new token: the only time that it is seen.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub secret: Secret,
    /// What is known of it from now on.
    pub credential: Credential,
}

/// What the check of the audit found.
#[derive(Debug)]
pub struct Audited {
    /// Lines that were read.
    pub lines: i64,
    /// Where the chain is broken, if it is.
    pub broken: Option<Broken>,
}

impl Server {
    /// Lets somebody in with a token.
    ///
    /// # Errors
    ///
    /// It is none of ours, has ended, or is not enough.
    pub async fn admit(&self, digest: Digest, need: Need) -> Result<Scope, Refusal> {
        let credential = self.store.credential(digest).await?;
        let credential = credential.ok_or(crate::access::Denied::Nobody)?;
        Ok(admit(&credential, self.now(), need)?)
    }

    /// Makes a token.
    ///
    /// # Errors
    ///
    /// The device that it is for is not there.
    pub async fn mint(
        &self,
        scope: &Scope,
        name: &str,
        role: Role,
        not_after: Option<i64>,
    ) -> Result<Minted, Refusal> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Refusal::Senseless(format!(
                "a token's name has 1 to {NAME_BYTES_MAX} bytes and no control characters"
            )));
        }
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        let secret = Secret::new(bytes);
        let credential = Credential {
            id: super::new_id()?,
            tenant: scope.tenant(),
            name: name.to_owned(),
            role,
            created_at: self.now(),
            not_after,
        };
        let batch = Batch::new(scope, "token.add", &credential.id, self.now())
            .with(Change::AddToken(secret.digest(), credential.clone()))
            .telling("token.added", json!({ "name": name, "role": credential.role.word() }));
        self.write(batch).await?;
        Ok(Minted { secret, credential })
    }

    /// Ends a token.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn revoke(&self, scope: &Scope, id: &str) -> Result<(), Refusal> {
        let batch = Batch::new(scope, "token.delete", id, self.now())
            .with(Change::DeleteToken(id.to_owned()))
            .telling("token.deleted", json!({}));
        self.write(batch).await.map(|_| ())
    }

    /// The tenant's tokens, the oldest first.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn tokens(&self, scope: &Scope) -> Result<Vec<Credential>, Refusal> {
        Ok(self.store.ask(scope, Tokens {}).await?)
    }

    /// The administrator's token of the first start: made when no tenant has any token yet.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub async fn first_token(&self) -> Result<Option<Minted>, Refusal> {
        let tenants = self.store.tenants().await?;
        for name in &tenants {
            if !self.tokens(&console(name.tenant)).await?.is_empty() {
                return Ok(None);
            }
        }
        let Some(first) = tenants.first() else { return Ok(None) };
        self.mint(&console(first.tenant), "administrator", Role::Admin, None).await.map(Some)
    }

    /// Makes a tenant, and a token for its administrator. Only administrators of the default tenant
    /// can.
    ///
    /// # Errors
    ///
    /// It is there already, or who asks may not.
    pub async fn add_tenant(&self, scope: &Scope, name: &str) -> Result<Minted, Refusal> {
        let first = self.store.tenants().await?.into_iter().next();
        let owner = first.filter(|first| first.name == DEFAULT_TENANT);
        if owner.is_none_or(|owner| owner.tenant != scope.tenant()) {
            return Err(Refusal::Senseless("only the default tenant makes tenants".into()));
        }
        let label: crate::plan::words::FilterLabel = name.parse()?;
        let batch = Batch::new(scope, "tenant.add", label.as_str(), self.now())
            .with(Change::AddTenant(label.as_str().into()))
            .telling("tenant.added", json!({}));
        self.write(batch).await?;
        let made = self.store.tenants().await?.into_iter().find(|one| one.name == name);
        let made = made.ok_or_else(|| Failure::Broken("the new tenant is gone".into()))?;
        let scope = console(made.tenant);
        self.mint(&scope, "administrator", Role::Admin, None).await
    }

    /// Lines of the audit after a number.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn audit(&self, scope: &Scope, after: i64, limit: u32) -> Result<Vec<Line>, Refusal> {
        Ok(self.store.ask(scope, Lines { after, limit }).await?)
    }

    /// Follows the audit's chain from its first line to its last.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn audit_verify(&self, scope: &Scope) -> Result<Audited, Refusal> {
        let head = self.store.ask(scope, AuditHead {}).await?;
        let (mut number, mut hash) = (0, chain::BEGIN);
        while number < head.0 {
            let lines = self.audit(scope, number, LINES).await?;
            if lines.is_empty() {
                let broken = Broken::Cut { expected: head.0, found: number };
                return Ok(Audited { lines: number, broken: Some(broken) });
            }
            match chain::check(number, hash, &lines) {
                Ok(end) => (number, hash) = end,
                Err(broken) => return Ok(Audited { lines: number, broken: Some(broken) }),
            }
        }
        // Lines that were written since the head was read are behind it.
        let same = number != head.0 || hash == head.1;
        let broken = if same { None } else { Some(Broken::Changed(number)) };
        Ok(Audited { lines: number, broken })
    }
}
