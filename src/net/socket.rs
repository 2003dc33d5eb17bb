//! One UDP socket: how it is opened, which groups it joins, and what waits to leave by it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::path::Route;
use super::{COAP_PORT, GROUP_V4, GROUPS_V6, Interface, Service};

/// What the kernel may hold for us, bytes: the acknowledgements of 5,000 observers at about 770
/// bytes of kernel memory each. The system's own limit (`net.core.rmem_max`) may be lower.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// What the kernel may hold of ours before it says "not now", bytes.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// What may wait in our own queue when the kernel's is full, bytes: 5,000 notifications of 256
/// bytes, and as much again.
const QUEUE_BYTES_MAX: usize = 2 << 20;

/// What a waiting datagram costs beside its bytes.
const QUEUE_ENTRY_BYTES: usize = size_of::<Outgoing>();

/// What a socket is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Takes requests to our own addresses.
    Serve,
    /// Takes requests to the groups on [`COAP_PORT`], and to our own addresses there.
    Group,
    /// A client that sends to many.
    Ask,
    /// A client that speaks with one.
    AskOne(SocketAddr),
}

/// A datagram that waits.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) route: Route,
    pub(super) remote: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) udp: UdpSocket,
    pub(super) local: SocketAddr,
    pub(super) service: Service,
    pub(super) purpose: Purpose,
    pub(super) queue: VecDeque<Outgoing>,
    pub(super) queue_bytes: usize,
    /// The interface that has the socket's address; 0 if it has none or many. Known from the last look
    /// at the interfaces.
    pub(super) interface: u32,
    /// What a client learned about its one peer while it sent.
    pub(super) failed: Option<io::Error>,
    /// Whether the kernel cuts one long piece into many datagrams: Linux 4.18 and later, until it
    /// refuses once.
    pub(super) cuts: bool,
}

/// Routers that what is asked of a group may pass: a site's, where they forward its groups at all.
const GROUP_HOPS: u32 = 8;

impl Socket {
    pub(super) fn open(
        address: SocketAddr,
        service: Service,
        purpose: Purpose,
    ) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // What comes to a socket of one address came to that one: the kernel need not tell.
        let asks_where = address.ip().is_unspecified();
        if address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &asks_where)?;
            // Only groups joined by this socket, not all that anyone on this machine has joined.
            socket.set_multicast_all_v4(false)?;
        } else {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &asks_where)?;
            socket.set_multicast_all_v6(false)?;
            socket.set_multicast_hops_v6(GROUP_HOPS)?;
        }
        if address.port() == COAP_PORT {
            // Several devices share one machine and this port. Some programs set only one of the
            // two, and all must have one in common.
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
        }
        enlarge_buffers(&socket);
        socket.bind(&address.into())?;
        if let Purpose::AskOne(remote) = purpose {
            socket.connect(&remote.into())?;
        }
        let udp = UdpSocket::from_std(socket.into())?;
        let local = udp.local_addr()?;
        let cuts = getsockopt(&udp, sockopt::UdpGsoSegment).is_ok();
        Ok(Self {
            udp,
            local,
            service,
            purpose,
            queue: VecDeque::new(),
            queue_bytes: 0,
            interface: 0,
            failed: None,
            cuts,
        })
    }

    /// Whether multicast is expected here.
    pub(super) fn takes_groups(&self) -> bool {
        self.purpose == Purpose::Group
            || self.purpose == Purpose::Serve
                && self.service == Service::Clear
                && self.local.port() == COAP_PORT
                && self.local.ip().is_unspecified()
    }

    /// Whether what comes to this socket may have come to any of several addresses of ours.
    pub(super) fn has_many_addresses(&self) -> bool {
        matches!(self.purpose, Purpose::Serve | Purpose::Group) && self.local.ip().is_unspecified()
    }

    /// Whether the kernel says where each datagram was sent to.
    pub(super) fn asks_where(&self) -> bool {
        // A connected socket has been given an address since it asked.
        self.asks_one() || self.local.ip().is_unspecified()
    }

    /// Whether a client can reach this socket at that address of this machine.
    pub(super) fn answers_from(&self, address: IpAddr) -> bool {
        let ip = self.local.ip();
        address.is_ipv4() == ip.is_ipv4() && (ip.is_unspecified() || ip == address)
    }

    /// What ICMP said about the one peer of a client.
    pub(super) fn failure(&mut self) -> Option<io::Error> {
        if !self.asks_one() {
            return None;
        }
        let none = || io::Error::from(io::ErrorKind::WouldBlock);
        let told = self.udp.try_io(Interest::ERROR, || self.udp.take_error()?.ok_or_else(none));
        told.ok().or_else(|| self.failed.take())
    }

    /// Whether it has one peer only.
    pub(super) fn asks_one(&self) -> bool {
        matches!(self.purpose, Purpose::AskOne(_))
    }

    /// Joins the groups on that interface. To join again does no harm.
    pub(super) fn join(&self, interface: &Interface) {
        let socket = socket2::SockRef::from(&self.udp);
        let joined = |result: io::Result<()>, group: &dyn std::fmt::Display| match result {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                tracing::debug!("cannot join {group} on {}: {error}", interface.name);
            }
            _ => {}
        };
        if self.local.is_ipv4() {
            let index = InterfaceIndexOrAddress::Index(interface.index);
            joined(socket.join_multicast_v4_n(&GROUP_V4, &index), &GROUP_V4);
        } else {
            for group in GROUPS_V6 {
                joined(socket.join_multicast_v6(&group, interface.index), &group);
            }
        }
    }

    /// Queues a datagram; `false` when there is no room.
    pub(super) fn push(&mut self, route: Route, remote: SocketAddr, bytes: Vec<u8>) -> bool {
        let cost = bytes.len() + QUEUE_ENTRY_BYTES;
        if self.queue_bytes + cost > QUEUE_BYTES_MAX {
            return false;
        }
        self.queue_bytes += cost;
        self.queue.push_back(Outgoing { route, remote, bytes });
        true
    }

    /// Forgets the `count` oldest of the queue.
    pub(super) fn pop(&mut self, count: usize) {
        for outgoing in self.queue.drain(..count.min(self.queue.len())) {
            self.queue_bytes -= outgoing.bytes.len() + QUEUE_ENTRY_BYTES;
        }
    }
}

/// The address of the same family that means "any", with any port.
pub(super) fn unspecified(family_of: SocketAddr) -> SocketAddr {
    match family_of {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// As large as the system allows; beyond its limit with the right to.
fn enlarge_buffers(socket: &socket2::Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
        // A smaller buffer loses more under bursts, and nothing else.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    }
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
}
