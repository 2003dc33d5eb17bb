//! Who gives way when all places for handshakes are taken.
//!
//! A client has shown by then that it can be reached at its address, so it has no others than those it
//! owns: one for most, a /64 for a host with IPv6, and sometimes more around it. Places are shared out by
//! that. The handshake that goes is one of whoever has the most; so nobody can take the place of those
//! who have fewer, however fast he comes back.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::Path;
use crate::clock::Instant;

/// The handshake that gives way to a newcomer, of those that clients have under way, each with the time
/// at which it is given up: the oldest of the heaviest source, the newcomer's own included. Among
/// sources that are as heavy as each other, those with many neighbours go first. None if there is none.
pub(super) fn gives_way(
    newcomer: Path,
    under_way: impl Iterator<Item = (Path, Instant)>,
) -> Option<Path> {
    let under_way: Vec<(Path, Instant)> = under_way.collect();
    let mut weights: HashMap<Source, usize> = HashMap::new();
    for path in under_way.iter().map(|(path, _)| *path).chain([newcomer]) {
        for source in [host(path), neighbourhood(path)] {
            *weights.entry(source).or_default() += 1;
        }
    }
    let weight = |source| weights.get(&source).copied().unwrap_or_default();
    let heavy = |(path, give_up): &&(Path, Instant)| {
        (weight(host(*path)), weight(neighbourhood(*path)), Reverse(*give_up))
    };
    under_way.iter().max_by_key(heavy).map(|(path, _)| *path)
}

/// The leading bits of an address, and how many: no two lengths in use are the same.
type Source = (u128, u32);

/// What one host can be sure to have: an address, or a /64.
fn host(path: Path) -> Source {
    prefix(path, 32, 64)
}

/// What one party may have: a /24, or a /48.
fn neighbourhood(path: Path) -> Source {
    prefix(path, 24, 48)
}

fn prefix(path: Path, v4: u32, v6: u32) -> Source {
    match path.remote.ip().to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits() >> (32 - v4)), v4),
        IpAddr::V6(address) => (address.to_bits() >> (128 - v6), v6),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn path(address: &str, port: u16) -> Path {
        Path { remote: (address.parse::<IpAddr>().unwrap(), port).into(), socket: 0 }
    }

    /// Those that began one second after the other, in this order.
    fn one_after_the_other(paths: &[Path]) -> impl Iterator<Item = (Path, Instant)> + '_ {
        let at = |n| Instant::at(Duration::from_secs(n));
        paths.iter().enumerate().map(move |(n, path)| (*path, at(n as u64)))
    }

    #[test]
    fn the_oldest_of_the_heaviest_source_gives_way() {
        for (one, many) in [
            ("192.0.2.1", ["192.0.2.9", "192.0.2.9", "192.0.2.9"]),
            ("192.0.2.1", ["::ffff:192.0.2.9", "192.0.2.9", "192.0.2.9"]),
            ("2001:db8::1", ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:f::3"]),
            ("192.0.2.1", ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:f::3"]),
        ] {
            let [a, b, c] = many;
            let others = [path(one, 1), path(a, 2), path(b, 3), path(one, 4), path(c, 5)];
            let stranger = path("198.51.100.7", 9);
            assert_eq!(gives_way(stranger, one_after_the_other(&others)), Some(path(a, 2)));
        }
    }

    #[test]
    fn who_has_most_gives_way_to_himself() {
        let others = [path("192.0.2.1", 1), path("192.0.2.9", 2), path("192.0.2.9", 3)];
        let newcomer = path("192.0.2.9", 4);
        assert_eq!(gives_way(newcomer, one_after_the_other(&others)), Some(path("192.0.2.9", 2)));
    }

    #[test]
    fn of_hosts_with_one_each_those_with_many_neighbours_go_first() {
        for (alone, [a, b, c]) in [
            ("192.0.2.1", ["198.51.100.1", "198.51.100.2", "198.51.100.3"]),
            ("2001:db8:1::1", ["2001:db8:2:1::", "2001:db8:2:2::", "2001:db8:2:3::"]),
        ] {
            let others = [path(alone, 1), path(a, 1), path(b, 1)];
            let goes = gives_way(path(c, 1), one_after_the_other(&others));
            assert_eq!(goes, Some(path(a, 1)), "not the oldest of all");
        }
    }

    #[test]
    fn nobody_gives_way_where_nobody_is() {
        assert_eq!(gives_way(path("192.0.2.1", 1), std::iter::empty()), None);
    }
}
