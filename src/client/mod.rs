//! This room is an OCF client: it finds devices, takes ownership of them and provisions them, reads and
//! watches their resources, and orders updates and follows them to their end.
//!
//! It knows nothing of command lines: [`crate::cli`] has the words, the tables and the exit codes. It
//! prints nothing, ends no process and has no state but what is in a [`Client`] and its [`Keyring`].
//!
//! **Threads.** Everything is a future over a [`Client`], which belongs to one task at a time and to no
//! thread: the futures are `Send`, so that a server runs thousands of such tasks on a few threads of
//! one tokio runtime. A client is cheap, one socket for each address that it asks; make one for each
//! conversation, and hand it the keys that it needs ([`Keyring::in_memory`]). Nothing blocks, but for
//! the small files of a [`Keyring::open`]ed directory when something is kept there.
//!
//! **Time.** Everything that asks takes a [`Patience`]: how long each answer may take, and until when
//! the whole may. What is dropped while it waits is cancelled: nothing more is sent for it, and the
//! client can go on. What a device was told before that holds: an order that was given goes on by
//! itself, a [`Claim`] that is dropped makes the device reset itself, and provisioning that breaks off
//! is done again.
//!
//! **Without sockets.** Under the client is [`crate::coaps::Endpoint`], datagrams in and datagrams out;
//! what a device's words mean is in [`Progress`], [`Link`] and [`Refusal`]. Both can be used from any
//! loop.
//!
//! ```no_run
//! use std::time::Duration;
//! use freshen::client::{Action, Client, Keyring, News, Order, Patience, Update};
//!
//! # async fn update() -> Result<(), freshen::client::Error> {
//! let keyring = Keyring::open("/var/lib/fleet/keys".into())?;
//! let mut client = Client::new(keyring.into())?;
//! let patience = Patience::new(Duration::from_secs(20));
//! let target = "ocf://b566b283-ef1a-46ef-791d-9b9068a91386".parse().expect("it is well formed");
//! let mut update = Update::find(&mut client, &target, patience).await?;
//! let purl = "https://updates.example.com/camera.suit".into();
//! update.order(&mut client, &Order { purl, action: Action::Upgrade, at: None }, patience).await?;
//! let silence_max = Duration::from_secs(600);
//! while !matches!(update.next(&mut client, silence_max, patience).await?, News::Ended(_)) {}
//! client.finish().await;
//! # Ok(())
//! # }
//! ```

mod ask;
mod authority;
pub mod body;
mod discover;
mod error;
mod keyring;
mod keys;
mod links;
mod locate;
mod observe;
pub mod own;
mod patience;
mod place;
mod progress;
pub mod provision;
pub mod request;
mod reset;
mod svr;
mod target;
pub mod text;
mod transport;
mod update;

pub use ask::Asked;
pub use authority::Authority;
pub use discover::{Found, Search};
pub use error::{Error, Failure, Refusal};
pub use keyring::{DeviceKey, Keyring};
pub use keys::{Given, Keys};
pub use links::Link;
pub use locate::{find, find_device, find_silent};
pub use observe::{Change, Observation};
pub use own::Claim;
pub use patience::Patience;
pub use place::Place;
pub use progress::{Action, End, Progress, Standing};
pub use reset::reset;
pub use target::Target;
pub use transport::{Answer, Client, Event};
pub use update::{DeviceClock, News, Order, Update, What};

/// The bounds of this room.
pub mod limits {
    pub use super::discover::DEVICES_MAX;
    pub use super::observe::REGISTER_AGAIN_AFTER;
    pub use super::transport::{BODY_BYTES_MAX, SOCKETS_MAX};
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn is_send<T: Send>(value: T) -> T {
        value
    }

    fn client() -> Client {
        Client::new(Keyring::in_memory(Uuid::from_u128(1), vec![]).into()).unwrap()
    }

    #[tokio::test]
    async fn a_server_can_hand_any_of_it_from_thread_to_thread() {
        let patience = Patience::new(Duration::from_millis(1));
        let nobody: Target = "127.0.0.1:9".parse().unwrap();
        let mut one = is_send(client());
        assert!(is_send(find(&mut one, &nobody, patience)).await.is_err());
        assert!(is_send(Update::find(&mut one, &nobody, patience)).await.is_err());
        assert!(is_send(Observation::begin(&mut one, &nobody, patience)).await.is_err());
        let told_by = one.reach("127.0.0.1:9".parse().unwrap()).unwrap();
        let place = Place { device: None, told_by, links: vec![] };
        assert!(is_send(own::offer(&mut one, &place, patience)).await.is_err());
        assert!(is_send(own::resume(&mut one, &place, patience)).await.is_err());
        assert!(is_send(reset(&mut one, &place, patience)).await.is_err());
        let rights = provision::Rights::default();
        let subject = provision::Subject::Clear;
        let allowed = provision::allow(&mut one, &place, &subject, &rights, patience);
        assert!(is_send(allowed).await.is_err());
    }

    #[tokio::test]
    async fn whoever_gives_a_time_for_the_whole_has_it_back_by_then() {
        let mut client = client();
        // Nobody answers a datagram to this port, and nobody says so: it is a socket that listens.
        let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let target: Target = deaf.local_addr().unwrap().to_string().parse().unwrap();
        let now = crate::clock::now().mono;
        let patience =
            Patience::new(Duration::from_secs(3600)).until(now + Duration::from_millis(200));
        let error = find(&mut client, &target, patience).await.unwrap_err();
        assert!(matches!(error.failure(), Some(Failure::TimeOver)), "{error}");
        // And what is dropped leaves a client that can go on.
        let patience = Patience::new(Duration::from_secs(3600));
        let asking = find(&mut client, &target, patience);
        assert!(tokio::time::timeout(Duration::from_millis(50), asking).await.is_err());
        let patience = Patience::new(Duration::from_millis(50));
        let error = find(&mut client, &target, patience).await.unwrap_err();
        assert!(matches!(error.failure(), Some(Failure::NoAnswer)), "{error}");
    }

    #[tokio::test]
    async fn a_client_has_a_limit_of_sockets_and_says_so() {
        let mut client = client();
        for port in 1..=limits::SOCKETS_MAX as u16 {
            client.reach(([127, 0, 0, 1], port).into()).unwrap();
        }
        // The same address needs no other.
        client.reach(([127, 0, 0, 1], 1).into()).unwrap();
        let error = client.reach(([127, 0, 0, 1], 9999).into()).unwrap_err();
        assert!(error.to_string().contains("256 sockets"), "{error}");
    }
}
