//! This room moves datagrams: UDP sockets, the multicast groups of OCF, and the way an answer goes.
//!
//! It does not know what is in a datagram, nor who may send one. What comes in waits in an
//! [`Inbox`]; every datagram names the [`Path`] by which an answer reaches its sender: the right
//! socket, and from the address that the sender used (a client takes an answer only from the
//! address it asked, RFC 7252 section 5.3.2; on a machine with several addresses the kernel would
//! often choose another). A request to a group is answered from the unicast socket, by the
//! interface on which it came.
//!
//! One turn of the caller's loop:
//!
//! ```text
//! sockets.ready().await;
//! while sockets.receive(&mut inbox) {
//!     for arrival in inbox.arrivals() { ... }
//!     sockets.send(path, remote, bytes); ...
//!     sockets.flush();
//! }
//! ```

mod inbox;
mod interfaces;
mod outbox;
mod path;
mod socket;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;

use tokio::io::Interest;

pub use inbox::{Arrival, Inbox};
pub use interfaces::Interface;
pub use path::Path;

use path::{Paths, Route};
use socket::{Purpose, Socket};

/// The longest datagram taken, bytes; what is longer is dropped and counted. A CoAP message keeps
/// within 1152 bytes (RFC 7252 section 4.6); IoTivity-Lite sends DTLS handshake messages of up to
/// about 2240.
pub const DATAGRAM_BYTES_MAX: usize = 2304;

/// Datagrams handed over in one system call; beyond this number the gain is lost in the noise.
pub const BATCH: usize = 64;

/// The port of CoAP, and of the groups below (RFC 7252 section 12.6).
pub const COAP_PORT: u16 = 5683;

/// All CoAP Nodes, IPv4 (RFC 7252 section 12.8).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 1, 187);

/// All OCF Nodes, IPv6: link-local, realm-local and site-local (OCF Core, clause 10).
pub const GROUPS_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x158),
    Ipv6Addr::new(0xff03, 0, 0, 0, 0, 0, 0, 0x158),
    Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x158),
];

/// Addresses of one interface that [`Sockets::endpoints`] names; each of them appears in every link
/// of `/oic/res`.
const ENDPOINTS_MAX: usize = 4;

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// CoAP.
    Clear,
    /// CoAP over DTLS.
    Secure,
}

/// Datagrams that went no further, by reason. The numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Longer than [`DATAGRAM_BYTES_MAX`].
    pub truncated: u64,
    /// From a sender that cannot or must not be answered: port 0; to a group, or to port 5683, at an
    /// interface where no unicast socket listens.
    pub unanswerable: u64,
    /// Not sent, because too many waited already.
    pub queue_full: u64,
    /// Not sent, because the kernel refused.
    pub refused: u64,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A unicast socket.
    #[error("cannot listen on {address}: {}", explain(.source))]
    Listen {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A socket for the multicast groups.
    #[error("cannot take multicast on port {COAP_PORT} ({family}), so others cannot discover \
             this device there: {}", explain(.source))]
    Group {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A socket of a client.
    #[error("cannot reach {remote}: {}", explain(.source))]
    Reach {
        /// Whom it should have reached.
        remote: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Every UDP socket of the process. Make and use it inside a tokio runtime with I/O enabled.
#[derive(Debug, Default)]
pub struct Sockets {
    sockets: Vec<Socket>,
    paths: Paths,
    interfaces: Vec<Interface>,
    /// The socket that [`Self::receive`] asks first, so that no socket starves another.
    next: usize,
    counts: Counts,
}

impl Sockets {
    /// No sockets yet.
    pub fn new() -> Self {
        let mut sockets = Self::default();
        sockets.refresh();
        sockets
    }

    /// Opens a unicast socket that serves others; port 0 takes any free one. Returns the address
    /// it really has.
    pub fn listen(&mut self, address: SocketAddr, service: Service) -> Result<SocketAddr, Error> {
        self.open(address, service, Purpose::Serve)
            .map_err(|source| Error::Listen { address, source })
    }

    /// Opens the sockets that take multicast for the clear sockets opened before. Call
    /// [`Self::refresh`] now and then, so that interfaces that appear later are joined too.
    ///
    /// # Errors
    /// Where another program holds port 5683 for itself alone. The device works on without.
    pub fn join_groups(&mut self) -> Result<(), Error> {
        let clear: Vec<SocketAddr> = self.served(Service::Clear).map(|s| s.local).collect();
        let mut result = Ok(());
        for (any, family) in
            [(Ipv4Addr::UNSPECIFIED.into(), "IPv4"), (Ipv6Addr::UNSPECIFIED.into(), "IPv6")]
        {
            let address = SocketAddr::new(any, COAP_PORT);
            let wanted = clear.iter().any(|a| a.is_ipv4() == address.is_ipv4());
            // A socket that listens there already joins the groups itself.
            if wanted && !clear.contains(&address) {
                let opened = self.open(address, Service::Clear, Purpose::Group);
                result =
                    result.and(opened.map(drop).map_err(|source| Error::Group { family, source }));
            }
        }
        self.refresh();
        result
    }

    /// Opens a client's socket that can send to anyone of the family, groups included. Returns the
    /// path of what leaves by the usual route.
    pub fn ask_any(&mut self, family_of: SocketAddr) -> Result<Path, Error> {
        let any = socket::unspecified(family_of);
        self.open(any, Service::Clear, Purpose::Ask)
            .map_err(|source| Error::Reach { remote: family_of, source })?;
        Ok(self.path_of_last())
    }

    /// Opens a client's socket that exchanges datagrams with `remote` only, and so learns when
    /// nobody listens there ([`Inbox::failure`]).
    pub fn ask(&mut self, remote: SocketAddr) -> Result<Path, Error> {
        self.open(socket::unspecified(remote), Service::Clear, Purpose::AskOne(remote))
            .map_err(|source| Error::Reach { remote, source })?;
        Ok(self.path_of_last())
    }

    /// Reads the interfaces anew and joins the groups on those that are up. Cheap; a few system
    /// calls for each interface.
    pub fn refresh(&mut self) {
        match interfaces::list() {
            Ok(list) => self.interfaces = list,
            Err(error) => {
                return tracing::warn!("cannot list the network interfaces: {error}");
            }
        }
        for socket in &mut self.sockets {
            socket.interface = interface_of(&self.interfaces, socket.local);
        }
        for socket in self.sockets.iter().filter(|socket| socket.takes_groups()) {
            for interface in self.interfaces.iter().filter(|interface| interface.multicast) {
                if self.answering(socket, interface.index).is_some() {
                    socket.join(interface);
                }
            }
        }
    }

    /// The interfaces as of the last [`Self::refresh`].
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Where the device serves those who came by `interface` over the family of `like`: what
    /// `eps` in a link names. No zone identifiers.
    pub fn endpoints(
        &self,
        interface: u32,
        like: SocketAddr,
    ) -> impl Iterator<Item = (Service, SocketAddr)> {
        let addresses = self.addresses(interface);
        self.sockets
            .iter()
            .filter(move |socket| {
                socket.purpose == Purpose::Serve && socket.local.is_ipv4() == like.is_ipv4()
            })
            .flat_map(move |socket| {
                addresses
                    .iter()
                    .filter(|address| socket.answers_from(**address))
                    .take(ENDPOINTS_MAX)
                    .map(|address| (socket.service, SocketAddr::new(*address, socket.local.port())))
            })
    }

    /// The path that leaves by `interface` whatever the routes say, for requests to a group; its
    /// answers arrive by `path`.
    pub fn through(&mut self, path: Path, interface: u32) -> Option<Path> {
        let route = self.paths.route(path)?;
        let local = self.sockets.get(usize::from(route.socket))?.local;
        // Left alone, the kernel sends from another interface's address over the loopback one.
        let first = self.addresses(interface).iter().find(|address| address.is_ipv4()).copied();
        let source = first.filter(|_| local.is_ipv4());
        Some(self.paths.number(Route { source, interface, ..route }))
    }

    /// Waits until a datagram has come, or until one that waits can leave. Then call
    /// [`Self::receive`] and [`Self::flush`].
    pub async fn ready(&self) {
        // Errors wake nobody who waits for data alone, and only connected sockets learn of any.
        let mut asking: Vec<_> = self
            .sockets
            .iter()
            .filter(|socket| socket.asks_one())
            .map(|socket| Box::pin(socket.udp.ready(Interest::ERROR)))
            .collect();
        poll_fn(|context| {
            let mut ready = false;
            for future in &mut asking {
                ready |= future.as_mut().poll(context).is_ready();
            }
            for socket in &self.sockets {
                ready |= socket.failed.is_some();
                ready |= socket.udp.poll_recv_ready(context).is_ready();
                ready |= !socket.queue.is_empty() && socket.udp.poll_send_ready(context).is_ready();
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }

    /// Takes what has come to one of the sockets into `inbox` (at most [`BATCH`] datagrams), and
    /// says whether there may be more. The inbox can be empty even so.
    pub fn receive(&mut self, inbox: &mut Inbox) -> bool {
        inbox.clear();
        for turn in 0..self.sockets.len() {
            let index = (self.next + turn) % self.sockets.len();
            if self.receive_from(index, inbox) {
                self.next = index + 1;
                return true;
            }
        }
        false
    }

    /// Queues a datagram; it leaves with [`Self::flush`], or when a batch is complete. Datagrams
    /// that find no room are dropped and counted: UDP promises nothing, and what must arrive is
    /// sent again by those above.
    pub fn send(&mut self, path: Path, remote: SocketAddr, bytes: Vec<u8>) {
        let Some(route) = self.paths.route(path) else {
            self.counts.unanswerable += 1;
            return;
        };
        let Some(socket) = self.sockets.get_mut(usize::from(route.socket)) else { return };
        if !socket.push(route, remote, bytes) {
            self.counts.queue_full += 1;
        }
        if socket.queue.len() >= BATCH {
            outbox::flush(socket, &mut self.counts);
        }
    }

    /// Sends what waits, as far as the kernel takes it.
    pub fn flush(&mut self) {
        for socket in self.sockets.iter_mut().filter(|socket| !socket.queue.is_empty()) {
            outbox::flush(socket, &mut self.counts);
        }
    }

    /// What was dropped so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn open(
        &mut self,
        address: SocketAddr,
        service: Service,
        purpose: Purpose,
    ) -> io::Result<SocketAddr> {
        let mut socket = Socket::open(address, service, purpose)?;
        let local = socket.local;
        socket.interface = interface_of(&self.interfaces, local);
        let index = u16::try_from(self.sockets.len()).map_err(io::Error::other)?;
        self.sockets.push(socket);
        self.paths.number(Route::plain(index));
        Ok(local)
    }

    fn path_of_last(&mut self) -> Path {
        let index = u16::try_from(self.sockets.len() - 1).expect("open() has counted them");
        self.paths.number(Route::plain(index))
    }

    fn served(&self, service: Service) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(move |s| s.purpose == Purpose::Serve && s.service == service)
    }

    /// Whether a client can reach a clear socket at that address of ours.
    fn serves_at(&self, address: IpAddr) -> bool {
        self.served(Service::Clear).any(|socket| socket.answers_from(address))
    }

    fn addresses(&self, interface: u32) -> &[IpAddr] {
        self.interfaces
            .iter()
            .find(|candidate| candidate.index == interface)
            .map_or(&[], |interface| &interface.addresses)
    }

    /// The socket from which a group's request that came to `socket` by `interface` is answered.
    fn answering(&self, socket: &Socket, interface: u32) -> Option<u16> {
        let addresses = self.addresses(interface);
        let index = self.sockets.iter().position(|candidate| {
            candidate.purpose == Purpose::Serve
                && candidate.service == Service::Clear
                && candidate.local.is_ipv4() == socket.local.is_ipv4()
                && (candidate.local.ip().is_unspecified()
                    || addresses.contains(&candidate.local.ip()))
        })?;
        u16::try_from(index).ok()
    }
}

/// The interface that has this address; 0 if none has. A link-local one says so itself.
fn interface_of(interfaces: &[Interface], local: SocketAddr) -> u32 {
    match local {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => v6.scope_id(),
        _ => {
            let own = interfaces.iter().find(|own| own.addresses.contains(&local.ip()));
            own.map_or(0, |own| own.index)
        }
    }
}

/// The system's word, and what a person can do about it.
fn explain(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it: choose another port, or 0 for any",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need more rights",
        _ => "",
    };
    format!("{error}{advice}")
}
