//! One question to a target, wherever it is and however it wants to be asked.

use super::target::Target;
use super::transport::{Answer, Client};
use super::{Error, Patience, locate, request};
use crate::coap::{Call, Peer, Request};

/// What [`Client::ask_target`] has found.
#[derive(Debug)]
pub struct Asked {
    /// Which call it was: an observation goes on under it.
    pub call: Call,
    /// What came.
    pub answer: Answer,
    /// How the device had to be asked.
    pub way: request::Way,
}

impl Client {
    /// Asks the target at each of its addresses, until one answers. `request` makes the request in
    /// OCF's way, or without what only OCF knows, for servers that say they do not know it.
    ///
    /// # Errors
    ///
    /// Where none of its addresses answers.
    pub async fn ask_target(
        &mut self,
        target: &Target,
        patience: Patience,
        request: impl Fn(request::Way) -> Request,
    ) -> Result<Asked, Error> {
        let mut failure = None;
        for peer in self.peers(target, patience).await? {
            let peer = match peer {
                Ok(peer) => peer,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            let remote = peer.remote;
            let mut way = request::Way::Ocf;
            loop {
                let request = request(way);
                let method = request.code;
                let call = self.request(peer, request);
                match self.wait(call, patience).await {
                    Ok(answer)
                        if way == request::Way::Ocf
                            && request::unknown(method, &answer.response) =>
                    {
                        tracing::info!("{remote} does not know OCF's options; asking without");
                        way = request::Way::Plain;
                    }
                    Ok(answer) => return Ok(Asked { call, answer, way }),
                    Err(error) => {
                        failure =
                            Some(Error::Exchange { whom: remote.to_string(), failure: error });
                        break;
                    }
                }
            }
        }
        let none = || Error::Invalid("the host has no address".into());
        Err(failure.unwrap_or_else(none).doing(format!("cannot ask {target}")))
    }

    /// Where a target is, best first.
    async fn peers(
        &mut self,
        target: &Target,
        patience: Patience,
    ) -> Result<Vec<Result<Peer, Error>>, Error> {
        if let Some(device) = target.device() {
            let place = locate::find_device(self, device, patience).await?;
            return Ok(vec![place.serves(self, &target.path(), patience).await]);
        }
        let mut peers = Vec::new();
        for remote in target.resolve().await? {
            let peer = match target.is_secure() {
                true => self.secure(remote, None, patience).await,
                false => self.reach(remote),
            };
            peers.push(peer);
            // A second address is for when the first does not answer.
            if target.is_secure() && peers.last().is_some_and(Result::is_ok) {
                break;
            }
        }
        Ok(peers)
    }
}
