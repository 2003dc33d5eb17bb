//! The network interfaces of this machine.

use std::io;
use std::net::IpAddr;

use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

/// Interfaces looked at; a machine with more (one for each container, say) is not where a device
/// lives, and every one of them costs four group memberships.
const INTERFACES_MAX: usize = 64;

/// One that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its number, which is also the scope of link-local IPv6 addresses.
    pub index: u32,
    /// Whether it takes multicast. The loopback interface does, although it does not say so.
    pub multicast: bool,
    /// Its addresses, of both families.
    pub addresses: Vec<IpAddr>,
}

/// Those that are up.
pub(super) fn list() -> io::Result<Vec<Interface>> {
    let mut list: Vec<Interface> = Vec::new();
    for entry in nix::ifaddrs::getifaddrs()? {
        if !entry.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let at = match list.iter().position(|known| known.name == entry.interface_name) {
            Some(at) => at,
            None if list.len() < INTERFACES_MAX => {
                // It may have gone since getifaddrs looked.
                let Ok(index) = if_nametoindex(entry.interface_name.as_str()) else { continue };
                let multicast = entry
                    .flags
                    .intersects(InterfaceFlags::IFF_MULTICAST | InterfaceFlags::IFF_LOOPBACK);
                let name = entry.interface_name.clone();
                list.push(Interface { name, index, multicast, addresses: Vec::new() });
                list.len() - 1
            }
            None => continue,
        };
        if let (Some(interface), Some(address)) =
            (list.get_mut(at), entry.address.as_ref().and_then(ip))
        {
            interface.addresses.push(address);
        }
    }
    Ok(list)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found() {
        let list = list().unwrap();
        let loopback = list.iter().find(|i| i.addresses.contains(&[127, 0, 0, 1].into())).unwrap();
        assert!(loopback.multicast && loopback.index > 0);
    }
}
