//! Giving a device up.

use uuid::Uuid;

use super::place::Place;
use super::svr::{self, Conversation};
use super::transport::Client;
use super::{Error, Failure, Patience};
use crate::coap::CallError;

/// Tells a device that is ours to forget its owner and everybody else, and forgets its key.
///
/// # Errors
///
/// Where it is not ours, or does not take that; its key is kept then.
pub async fn reset(client: &mut Client, place: &Place, patience: Patience) -> Result<Uuid, Error> {
    let (mut conversation, device) = Conversation::as_owner(client, place, patience).await?;
    match conversation.go_to(svr::RESET).await {
        // Some devices end all sessions before they answer.
        Err(error) if !matches!(error.failure(), Some(Failure::Call(CallError::SessionEnded))) => {
            return Err(error);
        }
        _ => {}
    }
    client.keys.keyring.forget(device)?;
    Ok(device)
}
