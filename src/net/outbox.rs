//! What leaves: batches of datagrams that share a route.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use tokio::io::Interest;

use super::path::Route;
use super::socket::Socket;
use super::{BATCH, Counts};

/// The kernel's structures for a batch, used again and again: without and with an address to leave
/// from.
#[derive(Default)]
pub(super) struct Outbox {
    plain: Option<MultiHeaders<SockaddrStorage>>,
    from_v4: Option<MultiHeaders<SockaddrStorage>>,
    from_v6: Option<MultiHeaders<SockaddrStorage>>,
}

impl Outbox {
    /// Sends what waits in the socket's queue until it is empty or the kernel takes no more.
    pub(super) fn flush(&mut self, socket: &mut Socket, counts: &mut Counts) {
        while let Some(first) = socket.queue.front() {
            let route = first.route;
            match self.send_run(socket, route) {
                Ok(sent) => socket.pop(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // One datagram's fault (no route, a filter, a full device queue, nobody there):
                    // the others may still leave.
                    tracing::debug!("sending from {}: {error}", socket.local);
                    counts.refused += 1;
                    socket.pop(1);
                    socket.failed = socket.asks_one().then_some(error);
                }
            }
        }
    }

    /// Sends the oldest of the queue that share `route`; how many the kernel took, at least one.
    fn send_run(&mut self, socket: &Socket, route: Route) -> io::Result<usize> {
        let run = || socket.queue.iter().take(BATCH).take_while(|out| out.route == route);
        let slices: Vec<[IoSlice<'_>; 1]> = run().map(|out| [IoSlice::new(&out.bytes)]).collect();
        // A connected socket knows its peer.
        let connected = socket.asks_one();
        let remotes: Vec<Option<SockaddrStorage>> =
            run().map(|out| (!connected).then(|| out.remote.into())).collect();
        socket.udp.try_io(Interest::WRITABLE, || {
            let fd = socket.udp.as_raw_fd();
            let flags = MsgFlags::MSG_DONTWAIT;
            let sent = if route == Route::plain(route.socket) {
                let headers = prepare(&mut self.plain, None::<fn() -> Vec<u8>>);
                sendmmsg(fd, headers, &slices, &remotes, [], flags)?.count()
            } else if socket.local.is_ipv4() {
                let info = info_v4(route);
                let control = [ControlMessage::Ipv4PacketInfo(&info)];
                let room = || nix::cmsg_space!(libc::in_pktinfo);
                let headers = prepare(&mut self.from_v4, Some(room));
                sendmmsg(fd, headers, &slices, &remotes, control, flags)?.count()
            } else {
                let info = info_v6(route);
                let control = [ControlMessage::Ipv6PacketInfo(&info)];
                let room = || nix::cmsg_space!(libc::in6_pktinfo);
                let headers = prepare(&mut self.from_v6, Some(room));
                sendmmsg(fd, headers, &slices, &remotes, control, flags)?.count()
            };
            Ok(sent)
        })
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

fn prepare(
    headers: &mut Option<MultiHeaders<SockaddrStorage>>,
    control: Option<impl FnOnce() -> Vec<u8>>,
) -> &mut MultiHeaders<SockaddrStorage> {
    headers.get_or_insert_with(|| MultiHeaders::preallocate(BATCH, control.map(|room| room())))
}

fn info_v4(route: Route) -> libc::in_pktinfo {
    let source = match route.source {
        Some(IpAddr::V4(address)) => u32::from_ne_bytes(address.octets()),
        _ => libc::INADDR_ANY,
    };
    libc::in_pktinfo {
        ipi_ifindex: route.interface.try_into().unwrap_or(0),
        ipi_spec_dst: libc::in_addr { s_addr: source },
        ipi_addr: libc::in_addr { s_addr: libc::INADDR_ANY },
    }
}

fn info_v6(route: Route) -> libc::in6_pktinfo {
    let source = match route.source {
        Some(IpAddr::V6(address)) => address.octets(),
        _ => [0; 16],
    };
    libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: source },
        ipi6_ifindex: route.interface,
    }
}
