//! Finds a device, however it is named.

use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;

use super::links::Link;
use super::place::{LINKS, Place};
use super::request::accepted;
use super::target::Target;
use super::transport::Client;
use super::{Error, Patience, body, discover, links, request, svr};
use crate::clock;
use crate::coap::{Code, Peer};

/// How long a device may take to answer at the address where it was last.
const REMEMBERED_WAIT: Duration = Duration::from_secs(2);

/// How long a group is listened to: devices take up to 5 s before they answer.
const GROUP_WAIT: Duration = Duration::from_secs(7);

/// The place of a target, however it is named.
///
/// # Errors
///
/// Where nobody answers, or whoever answers is no OCF device.
pub async fn find(
    client: &mut Client,
    target: &Target,
    patience: Patience,
) -> Result<Place, Error> {
    if let Some(device) = target.device() {
        return find_device(client, device, patience).await;
    }
    let all = |_| request::get(LINKS);
    let asked = client.ask_target(&target.without_path(), patience, all).await?;
    let peer = asked.answer.peer;
    if peer.session != 0
        && asked.answer.response.code == Code::UNAUTHORIZED
        && let Some(place) = read_owned(client, peer, patience).await
    {
        return Ok(place);
    }
    let response = accepted(asked.answer.response).map_err(|refusal| {
        let what = "to tell of its resources (/oic/res)".into();
        Error::Refused { what, refusal }.doing(format!("{target} is no OCF device, or not ours"))
    })?;
    let links = request::cbor(&response).map(|value| links::links(&value)).unwrap_or_default();
    Ok(Place::new(peer, links))
}

/// A device that tells only its owner who it is, and nobody what it serves: its provisioning broke
/// off before it had an access control list. Enough to go on with that, or to reset it.
async fn read_owned(client: &mut Client, peer: Peer, patience: Patience) -> Option<Place> {
    let answer = client.ask(peer, request::get(svr::DOXM), patience).await.ok()?;
    let doxm = request::cbor(&answer.response)?;
    let device = body::get_text(&doxm, "deviceuuid")?.parse().ok()?;
    Some(Place { device: Some(device), told_by: peer, links: Vec::new() })
}

/// A device that is ours and tells nobody in clear who it is, because its transfer broke off: asked for
/// where it took sessions when it was last seen at `remote`. [`super::own::resume`] goes on with it.
pub async fn find_silent(
    client: &mut Client,
    remote: SocketAddr,
    patience: Patience,
) -> Option<Place> {
    let devices = client.keys.keyring.devices().iter();
    let seen = devices.filter(|known| known.owner && known.clear == Some(remote));
    let seen: Vec<(Uuid, SocketAddr)> =
        seen.filter_map(|known| Some((known.device, known.secure?))).collect();
    for (device, address) in seen {
        if let Ok(peer) = client.secure(address, Some(device), patience).await
            && let Some(place) = read_owned(client, peer, patience).await
        {
            return Some(place);
        }
    }
    None
}

/// Asks where the device was last, and then everyone in the neighbourhood.
///
/// # Errors
///
/// Where it does not answer.
pub async fn find_device(
    client: &mut Client,
    device: Uuid,
    patience: Patience,
) -> Result<Place, Error> {
    let remembered = client.keys.keyring.device(device).and_then(|known| known.clear);
    if let Some(address) = remembered {
        let peer = client.reach(address)?;
        if let Some(place) = read(client, peer, device, patience.at_most(REMEMBERED_WAIT)).await {
            return Ok(place);
        }
    }
    discover::ask_everyone(client, GROUP_WAIT)?;
    let deadline = patience.whole(clock::now().mono, GROUP_WAIT);
    while let Some(event) = client.event_until(deadline).await {
        let Ok(answer) = event.outcome else { continue };
        let links = request::cbor(&answer.response).map(|value| links::links(&value));
        let is_it = |link: &Link| link.device_id() == Some(device);
        if links.is_some_and(|links| links.iter().any(is_it))
            && let Some(place) = read(client, answer.peer, device, patience).await
        {
            remember(client, device, &place)?;
            return Ok(place);
        }
    }
    // The last resort: it may be silent in clear.
    let known = client.keys.keyring.device(device).filter(|known| known.owner);
    if let Some(address) = known.and_then(|known| known.secure)
        && let Ok(peer) = client.secure(address, Some(device), patience).await
        && let Some(place) = read_owned(client, peer, patience).await
    {
        return Ok(place);
    }
    Err(Error::NotFound(device))
}

/// Notes where the device is now, for the next command.
fn remember(client: &mut Client, device: Uuid, place: &Place) -> Result<(), Error> {
    let Some(known) = client.keys.keyring.device(device) else { return Ok(()) };
    let mut known = known.clone();
    known.clear = Some(place.told_by.remote);
    known.secure = place.secure();
    client.keys.keyring.keep(known)
}

/// The links of the device at that address, if it is the right one.
pub(super) async fn read(
    client: &mut Client,
    peer: Peer,
    device: Uuid,
    patience: Patience,
) -> Option<Place> {
    let answer = client.ask(peer, request::get(LINKS), patience).await.ok()?;
    let links = request::cbor(&answer.response).map(|value| links::links(&value))?;
    // Several answers of one device: all but the first socket have done their work.
    Some(Place::new(peer, links)).filter(|place| place.device == Some(device))
}
