//! Which keys a command uses for secure sessions.

use std::path::PathBuf;

use anyhow::Context;

use super::body;
use crate::client::{Given, Keyring, Keys};
use crate::dtls::{Anchor, OwnCertificate, PreSharedKey};

/// Where this tool keeps its keys.
#[derive(clap::Args)]
pub(super) struct Directory {
    /// The directory with this tool's own keys [default: ~/.local/share/freshen]
    #[arg(long, global = true, value_name = "DIR")]
    credentials: Option<PathBuf>,
}

/// The options of every command that can open a secure session.
#[derive(clap::Args)]
#[command(next_help_heading = "Keys for coaps")]
pub(super) struct Access {
    #[command(flatten)]
    directory: Directory,
    /// A shared key instead; the identity is text, or 0x and hexadecimal digits
    #[arg(long, value_name = "IDENTITY:KEYHEX", value_parser = psk, conflicts_with = "cert")]
    psk: Option<PreSharedKey>,
    /// A certificate instead, as PEM: our own first, then what leads to a root
    #[arg(long, value_name = "FILE", requires_all = ["key", "roots"])]
    cert: Option<PathBuf>,
    /// The private key of --cert, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Who may vouch for the device's certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    roots: Option<PathBuf>,
}

impl Directory {
    /// Reads it.
    pub(super) fn keys(&self) -> anyhow::Result<Keys> {
        let directory = match &self.credentials {
            Some(directory) => directory.clone(),
            None => default_directory()?,
        };
        Ok(Keyring::open(directory)?.into())
    }
}

/// `~/.local/share/freshen`, or where the user keeps such things.
fn default_directory() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(data) = set("XDG_DATA_HOME") {
        return Ok(PathBuf::from(data).join("freshen"));
    }
    let home = set("HOME").context("there is no HOME; say --credentials DIR")?;
    Ok(PathBuf::from(home).join(".local/share/freshen"))
}

impl Access {
    /// Reads what the options name.
    pub(super) fn keys(&self) -> anyhow::Result<Keys> {
        let given = match (&self.psk, &self.cert, &self.key, &self.roots) {
            (Some(psk), ..) => Some(Given::Psk(psk.clone())),
            (None, Some(cert), Some(key), Some(roots)) => {
                let own = OwnCertificate::from_pem(&file(cert)?, &file(key)?)?;
                Some(Given::Certificate(own, Anchor::from_pem(&file(roots)?)?))
            }
            _ => None,
        };
        Ok(Keys { given, ..self.directory.keys()? })
    }
}

fn file(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// `IDENTITY:KEYHEX`. The key is after the last colon: an identity may have some.
fn psk(text: &str) -> Result<PreSharedKey, String> {
    let (identity, key) = text.rsplit_once(':').ok_or("write it as IDENTITY:KEYHEX")?;
    let key = body::from_hex(key).map_err(|why| format!("the key: {why}"))?;
    if identity.is_empty() || key.is_empty() {
        return Err("neither the identity nor the key may be empty".into());
    }
    let identity = match identity.strip_prefix("0x") {
        Some(digits) => body::from_hex(digits).map_err(|why| format!("the identity: {why}"))?,
        None => identity.as_bytes().to_vec(),
    };
    Ok(PreSharedKey::new(identity, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_the_command_line() {
        let read = |text| psk(text).unwrap();
        assert_eq!(read("client-1:00ff"), PreSharedKey::new(*b"client-1", [0, 0xff]));
        assert_eq!(read("a:b:01"), PreSharedKey::new(*b"a:b", [1]));
        assert_eq!(read("0x0001:01"), PreSharedKey::new([0, 1], [1]));
        for text in ["", "x", ":00", "x:", "x:0", "x:zz", "0xz:00"] {
            assert!(psk(text).is_err(), "{text}");
        }
    }
}
