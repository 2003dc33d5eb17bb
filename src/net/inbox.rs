//! What has come: one batch of datagrams, in buffers that are used again and again.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
};
use tokio::io::Interest;

use super::path::{Path, Route};
use super::socket::{Purpose, Socket};
use super::{BATCH, DATAGRAM_BYTES_MAX, Service, Sockets};

/// A datagram that has come.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// By which an answer reaches the sender.
    pub path: Path,
    /// What is spoken on the socket it came to.
    pub service: Service,
    /// Who sent it, with the scope if the address is link-local.
    pub remote: SocketAddr,
    /// The interface it came by; 0 if unknown.
    pub interface: u32,
    /// Whether it was sent to a group, or to everyone (broadcast).
    pub multicast: bool,
    /// What it says.
    pub bytes: &'a [u8],
}

/// One batch of datagrams.
pub struct Inbox {
    buffers: Vec<[u8; DATAGRAM_BYTES_MAX]>,
    envelopes: Vec<Envelope>,
    failure: Option<(Path, io::Error)>,
    headers_plain: Option<MultiHeaders<SockaddrStorage>>,
    /// One for each family, because the kernel leaves the lengths it used behind in them.
    headers_v4: Option<MultiHeaders<SockaddrStorage>>,
    headers_v6: Option<MultiHeaders<SockaddrStorage>>,
}

/// An [`Arrival`] without its bytes.
struct Envelope {
    path: Path,
    service: Service,
    remote: SocketAddr,
    interface: u32,
    multicast: bool,
    buffer: usize,
    len: usize,
}

/// What the kernel said about a datagram.
struct Slip {
    remote: Option<SocketAddr>,
    destination: Option<Destination>,
    len: usize,
    truncated: bool,
}

/// Where a datagram was sent to.
#[derive(Clone, Copy)]
struct Destination {
    address: IpAddr,
    interface: u32,
    multicast: bool,
}

impl Inbox {
    /// An empty one, with room for [`BATCH`] datagrams.
    pub fn new() -> Self {
        Self {
            buffers: vec![[0; DATAGRAM_BYTES_MAX]; BATCH],
            envelopes: Vec::with_capacity(BATCH),
            failure: None,
            headers_plain: None,
            headers_v4: None,
            headers_v6: None,
        }
    }

    /// The datagrams of this batch.
    pub fn arrivals(&self) -> impl Iterator<Item = Arrival<'_>> {
        self.envelopes.iter().filter_map(|envelope| {
            Some(Arrival {
                path: envelope.path,
                service: envelope.service,
                remote: envelope.remote,
                interface: envelope.interface,
                multicast: envelope.multicast,
                bytes: self.buffers.get(envelope.buffer)?.get(..envelope.len)?,
            })
        })
    }

    /// What a socket of [`Sockets::ask`] learned about its one peer, such as that nobody listens
    /// there.
    pub fn failure(&self) -> Option<(Path, &io::Error)> {
        self.failure.as_ref().map(|(path, error)| (*path, error))
    }

    pub(super) fn clear(&mut self) {
        self.envelopes.clear();
        self.failure = None;
    }

    /// Reads from a socket into the buffers.
    fn read(&mut self, socket: &Socket) -> io::Result<Vec<Slip>> {
        let headers = if !socket.asks_where() {
            self.headers_plain.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, None))
        } else if socket.local.is_ipv4() {
            self.headers_v4.get_or_insert_with(|| {
                MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(libc::in_pktinfo)))
            })
        } else {
            self.headers_v6.get_or_insert_with(|| {
                MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(libc::in6_pktinfo)))
            })
        };
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let slips: Vec<Slip> = socket.udp.try_io(Interest::READABLE, || {
            let fd = socket.udp.as_raw_fd();
            let messages = recvmmsg(fd, headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)?;
            Ok(messages.map(|message| Slip::read(&message)).collect())
        })?;
        if socket.asks_where() && slips.iter().any(|slip| slip.destination.is_none()) {
            // The kernel leaves behind how much room for control messages it used; a datagram that
            // had none would leave none for the next.
            self.headers_v4 = None;
            self.headers_v6 = None;
        }
        Ok(slips)
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.arrivals()).finish()
    }
}

impl Slip {
    fn read(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Self {
        Self {
            remote: message.address.as_ref().and_then(socket_addr),
            destination: message
                .cmsgs()
                .ok()
                .and_then(|mut messages| messages.find_map(|message| destination(&message))),
            len: message.bytes,
            truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
        }
    }
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
}

fn destination(message: &ControlMessageOwned) -> Option<Destination> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Destination {
            address: Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into(),
            interface: info.ipi_ifindex.try_into().ok()?,
            // Groups and broadcast alike: the address in the header is not ours.
            multicast: info.ipi_addr.s_addr != info.ipi_spec_dst.s_addr,
        }),
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let multicast = address.is_multicast();
            Some(Destination { address: address.into(), interface: info.ipi6_ifindex, multicast })
        }
        _ => None,
    }
}

impl Sockets {
    /// Takes a batch from one socket; `false` when it has none.
    pub(super) fn receive_from(&mut self, index: usize, inbox: &mut Inbox) -> bool {
        let Some(socket) = self.sockets.get_mut(index) else { return false };
        let number = u16::try_from(index).expect("open() has counted them");
        if let Some(error) = socket.failure() {
            inbox.failure = Some((self.paths.number(Route::plain(number)), error));
            return true;
        }
        match inbox.read(socket) {
            Ok(slips) => {
                for (buffer, slip) in slips.into_iter().enumerate() {
                    self.accept(number, buffer, &slip, inbox);
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::debug!("receiving on {}: {error}", socket.local);
                true
            }
        }
    }

    fn accept(&mut self, socket: u16, buffer: usize, slip: &Slip, inbox: &mut Inbox) {
        if slip.truncated {
            self.counts.truncated += 1;
            return;
        }
        let own = self.sockets.get(usize::from(socket)).map_or(0, |socket| socket.interface);
        let multicast = slip.destination.is_some_and(|destination| destination.multicast);
        let route = self.route_back(socket, slip.destination);
        let (Some(remote), Some((service, route))) = (slip.remote, route) else {
            self.counts.unanswerable += 1;
            return;
        };
        if remote.port() == 0 {
            self.counts.unanswerable += 1;
            return;
        }
        inbox.envelopes.push(Envelope {
            path: self.paths.number(route),
            service,
            remote,
            interface: slip.destination.map_or(own, |destination| destination.interface),
            multicast,
            buffer,
            len: slip.len,
        });
    }

    /// How an answer leaves for whoever sent to `destination` through the socket numbered `number`.
    fn route_back(
        &self,
        number: u16,
        destination: Option<Destination>,
    ) -> Option<(Service, Route)> {
        let socket = self.sockets.get(usize::from(number))?;
        let route = match destination {
            Some(to) if to.multicast => {
                let answering = match socket.purpose {
                    Purpose::Group => self.answering(socket, to.interface)?,
                    _ => number,
                };
                let own = self.sockets.get(usize::from(answering))?.local.ip();
                let source = Some(own).filter(|own| !own.is_unspecified());
                Route { socket: answering, source, interface: to.interface }
            }
            // Who listens on one address only must not become reachable at all of them.
            Some(to) if socket.purpose == Purpose::Group && !self.serves_at(to.address) => {
                return None;
            }
            Some(to) if socket.has_many_addresses() => {
                Route { socket: number, source: Some(to.address), interface: 0 }
            }
            _ => Route::plain(number),
        };
        Some((socket.service, route))
    }
}
