//! The ways by which answers leave, as small numbers.

use std::collections::HashMap;
use std::net::IpAddr;

/// Routes remembered. A device needs one for each of its addresses and sockets, and IPv6 privacy
/// addresses change daily; but all of 127/8 is local, so that a local program could use up any
/// number. What finds no room leaves as the kernel sees fit.
const PATHS_MAX: usize = 4096;

/// A way by which a datagram leaves. Equal numbers mean the same socket and the same address on our
/// side, so that a remote address and a path name an endpoint pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub u16);

/// What a [`Path`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    /// Which socket.
    pub(super) socket: u16,
    /// The address it leaves from; `None` lets the kernel choose.
    pub(super) source: Option<IpAddr>,
    /// The interface it leaves by; 0 goes by the routing table.
    pub(super) interface: u32,
}

impl Route {
    /// From this socket, as the kernel sees fit.
    pub(super) const fn plain(socket: u16) -> Self {
        Self { socket, source: None, interface: 0 }
    }
}

/// Routes and their numbers.
#[derive(Debug, Default)]
pub(super) struct Paths {
    routes: Vec<Route>,
    numbers: HashMap<Route, u16>,
    /// The number given last: datagrams come in bunches.
    last: u16,
}

impl Paths {
    /// The number of this route, a new one if need be.
    pub(super) fn number(&mut self, route: Route) -> Path {
        if self.routes.get(usize::from(self.last)) == Some(&route) {
            return Path(self.last);
        }
        let number = match self.numbers.get(&route) {
            Some(number) => *number,
            None if self.routes.len() < PATHS_MAX => self.add(route),
            // Every socket's plain route was numbered when the socket was opened.
            None => self.numbers.get(&Route::plain(route.socket)).copied().unwrap_or_default(),
        };
        self.last = number;
        Path(number)
    }

    /// What the number stands for.
    pub(super) fn route(&self, path: Path) -> Option<Route> {
        self.routes.get(usize::from(path.0)).copied()
    }

    fn add(&mut self, route: Route) -> u16 {
        let number = u16::try_from(self.routes.len()).expect("PATHS_MAX fits 16 bits");
        self.routes.push(route);
        self.numbers.insert(route, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_keeps_its_number() {
        let mut paths = Paths::default();
        let plain = paths.number(Route::plain(0));
        let other = paths.number(Route { interface: 3, ..Route::plain(0) });
        assert_ne!(plain, other);
        assert_eq!(paths.number(Route::plain(0)), plain);
        assert_eq!(paths.route(other).unwrap().interface, 3);
    }

    #[test]
    fn a_full_table_falls_back_to_the_plain_route() {
        let mut paths = Paths::default();
        let first = paths.number(Route::plain(0));
        let second = paths.number(Route::plain(1));
        for n in 0..70_000u32 {
            let source = Some(IpAddr::from((0x7f00_0000 + n).to_be_bytes()));
            paths.number(Route { socket: 1, source, interface: 0 });
        }
        assert_eq!(paths.routes.len(), PATHS_MAX);
        let late = Route { socket: 1, source: None, interface: 77 };
        assert_eq!(paths.number(late), second);
        assert_eq!(paths.number(Route { socket: 0, ..late }), first);
    }
}
