//! What leaves: batches of datagrams that share a route, and those of one length for one peer as one
//! piece that the kernel cuts again (`UDP_SEGMENT`), so that a train of answers or blocks passes its
//! stack once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use tokio::io::Interest;

use super::path::Route;
use super::socket::{Outgoing, Socket};
use super::{BATCH, Counts};

/// The longest datagram that becomes part of a piece, bytes: what is cut has to fit the way's MTU,
/// and no link of IPv6 has a smaller one than 1280 (RFC 8200 section 5).
const SEGMENT_BYTES_MAX: usize = 1232;

/// The longest piece, bytes: what IP can carry, less its longest headers.
const PIECE_BYTES_MAX: usize = 65_000;

type Headers = HashMap<usize, MultiHeaders<SockaddrStorage>>;

thread_local! {
    /// The kernel's structures for a batch, used again and again, by the room that each datagram has
    /// for control messages. Scratch paper of the thread and no part of the sockets, which can go from
    /// thread to thread while these, with pointers in them, cannot.
    static HEADERS: RefCell<Headers> = RefCell::default();
}

/// Sends what waits in the socket's queue until it is empty or the kernel takes no more.
pub(super) fn flush(socket: &mut Socket, counts: &mut Counts) {
    while !socket.queue.is_empty() {
        match HEADERS.with_borrow_mut(|headers| send_some(headers, socket)) {
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

/// Sends the oldest of the queue that can leave together; how many datagrams the kernel took.
fn send_some(headers: &mut Headers, socket: &mut Socket) -> io::Result<usize> {
    // A connected socket knows its peer.
    let (connected, v4) = (socket.asks_one(), socket.local.is_ipv4());
    let waiting = socket.queue.make_contiguous();
    let (pieces, segment) = pieces(waiting, socket.cuts);
    let Some(route) = waiting.first().map(|first| first.route) else { return Ok(0) };

    let (info_v4, info_v6) = (info_v4(route), info_v6(route));
    let info = match v4 {
        true => ControlMessage::Ipv4PacketInfo(&info_v4),
        false => ControlMessage::Ipv6PacketInfo(&info_v6),
    };
    let sourced = Some(info).filter(|_| route != Route::plain(route.socket));
    let cut = segment.as_ref().map(ControlMessage::UdpGsoSegments);
    let control: Vec<ControlMessage<'_>> = sourced.into_iter().chain(cut).collect();
    let room = control.iter().map(room_for).sum();
    let headers = headers.entry(room).or_insert_with(|| {
        MultiHeaders::preallocate(BATCH, (room > 0).then(|| Vec::with_capacity(room)))
    });

    let slices: Vec<IoSlice<'_>> =
        pieces.iter().copied().flatten().map(|out| IoSlice::new(&out.bytes)).collect();
    let mut rest = &slices[..];
    let slices = pieces.iter().map(|piece| rest.split_off(..piece.len()).unwrap_or_default());
    let slices: Vec<&[IoSlice<'_>]> = slices.collect();
    let remotes = pieces.iter().map(|piece| {
        piece.first().filter(|_| !connected).map(|out| SockaddrStorage::from(out.remote))
    });
    let remotes: Vec<Option<SockaddrStorage>> = remotes.collect();
    let sent = socket.udp.try_io(Interest::WRITABLE, || {
        let (fd, flags) = (socket.udp.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        Ok(sendmmsg(fd, headers, &slices, &remotes, &control, flags)?.count())
    });
    match sent {
        Err(error) if segment.is_some() && cannot_cut(&error) => {
            tracing::debug!("{} sends one by one from now on: {error}", socket.local);
            socket.cuts = false;
            Ok(0)
        }
        sent => Ok(pieces.iter().take(sent?).map(|piece| piece.len()).sum()),
    }
}

/// The oldest datagrams that share a route, as what the kernel is handed: each by itself, or trains
/// of them with the length at which it cuts.
fn pieces(waiting: &[Outgoing], cuts: bool) -> (Vec<&[Outgoing]>, Option<u16>) {
    let Some(first) = waiting.first() else { return (Vec::new(), None) };
    let waiting = &waiting[..waiting.len().min(BATCH)];
    let prefix = |same: &dyn Fn(&Outgoing) -> bool| {
        let end = waiting.iter().position(|out| !same(out));
        &waiting[..end.unwrap_or(waiting.len())]
    };
    let segment = first.bytes.len();
    if cuts && (1..=SEGMENT_BYTES_MAX).contains(&segment) {
        let alike = prefix(&|out| out.route == first.route && out.bytes.len() == segment);
        let trains: Vec<_> = alike
            .chunk_by(|one, next| one.remote == next.remote)
            .flat_map(|train| train.chunks(PIECE_BYTES_MAX / segment))
            .collect();
        if trains.len() <= alike.len() / 2 {
            return (trains, u16::try_from(segment).ok());
        }
    }
    (prefix(&|out| out.route == first.route).chunks(1).collect(), None)
}

/// What the kernel says when it cannot cut a piece: no checksums in the network device, a smaller MTU.
fn cannot_cut(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}

fn room_for(message: &ControlMessage<'_>) -> usize {
    match message {
        ControlMessage::Ipv4PacketInfo(_) => nix::cmsg_space!(libc::in_pktinfo).capacity(),
        ControlMessage::Ipv6PacketInfo(_) => nix::cmsg_space!(libc::in6_pktinfo).capacity(),
        _ => nix::cmsg_space!(u16).capacity(),
    }
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
