//! Where a device is, and what it serves where.

use std::net::SocketAddr;

use uuid::Uuid;

use super::links::Link;
use super::transport::Client;
use super::{Error, Patience};
use crate::coap::Peer;

/// Where a device tells of its resources.
pub(super) const LINKS: &str = "/oic/res";

/// A device, who told of its links, and the links.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its identifier, if it says.
    pub device: Option<Uuid>,
    /// Who told of it, and can be asked.
    pub told_by: Peer,
    /// What it serves.
    pub links: Vec<Link>,
}

impl Place {
    pub(super) fn new(told_by: Peer, links: Vec<Link>) -> Self {
        let device = links.iter().find_map(Link::device_id);
        Self { device, told_by, links }
    }

    /// The first resource of this type (`rt`).
    pub fn link_of_type(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.has_type(name))
    }

    /// Where the device takes sessions.
    pub fn secure(&self) -> Option<SocketAddr> {
        if self.told_by.session != 0 {
            return Some(self.told_by.remote);
        }
        self.links.iter().find_map(|link| link.secure_address(self.told_by.remote))
    }

    /// Whom to ask for a resource: where its link says, or where the device is.
    ///
    /// # Errors
    ///
    /// Where that cannot be reached, or no session comes about.
    pub async fn serves(
        &self,
        client: &mut Client,
        path: &str,
        patience: Patience,
    ) -> Result<Peer, Error> {
        let path = if path.is_empty() { LINKS } else { path };
        match self.links.iter().find(|link| link.href == path) {
            Some(link) => client.reach_link(link, self.told_by, patience).await,
            None => match self.secure() {
                Some(address) => client.secure(address, self.device, patience).await,
                None => Ok(self.told_by),
            },
        }
    }
}
