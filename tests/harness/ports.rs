//! Ports for programs that have to be told one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// An address on loopback whose port nobody has, nor the one after it, for datagrams and for
/// connections. It lies below the ports that the system gives to whoever asks for any, so that none of
/// our own sockets is in the way when the program gets there.
pub fn free_address() -> SocketAddr {
    static ASKED: AtomicU16 = AtomicU16::new(0);
    // Another test process, or one before whose programs have not ended yet, begins elsewhere.
    let begin = std::process::id() % 200 * 100;
    loop {
        let asked = u32::from(ASKED.fetch_add(2, Ordering::SeqCst));
        let port = 10_000 + ((begin + asked) % 20_000) as u16;
        let is_free = |port| {
            let address = (Ipv4Addr::LOCALHOST, port);
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        };
        if is_free(port) && is_free(port + 1) {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
}
