//! Cookies: a client proves its address before anything is kept for it (RFC 6347 section 4.2.1).

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Path;
use super::message::HelloFront;
use crate::clock::Instant;

/// Makes cookies and knows its own.
pub(super) struct Cookies {
    secret: Zeroizing<[u8; 32]>,
}

impl Cookies {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(secret) }
    }

    /// The cookie for this hello from this address, now.
    pub(super) fn bake(&self, path: Path, hello: &HelloFront<'_>, now: Instant) -> [u8; 32] {
        self.of_period(period(now), path, hello)
    }

    /// Whether the hello carries its cookie of this period or the one before.
    pub(super) fn knows(&self, path: Path, hello: &HelloFront<'_>, now: Instant) -> bool {
        let current = period(now);
        [Some(current), current.checked_sub(1)].into_iter().flatten().any(|period| {
            bool::from(self.of_period(period, path, hello).as_slice().ct_eq(hello.cookie))
        })
    }

    fn of_period(&self, period: u64, path: Path, hello: &HelloFront<'_>) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.secret).expect("HMAC takes keys of any length");
        mac.update(&period.to_be_bytes());
        match path.remote.ip() {
            std::net::IpAddr::V4(address) => mac.update(&address.octets()),
            std::net::IpAddr::V6(address) => mac.update(&address.octets()),
        }
        mac.update(&path.remote.port().to_be_bytes());
        mac.update(&path.socket.to_be_bytes());
        mac.update(&hello.version.to_be_bytes());
        mac.update(&hello.random);
        mac.update(hello.session_id);
        mac.finalize().into_bytes().into()
    }
}

fn period(now: Instant) -> u64 {
    now.since(Instant::ZERO).as_secs() / PERIOD.as_secs()
}

/// A cookie is good for one to two of these.
const PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_good_for_its_address_its_hello_and_two_minutes() {
        let cookies = Cookies::new([1; 32]);
        let path = |port, socket| Path { remote: ([127, 0, 0, 1], port).into(), socket };
        let at = |seconds| Instant::at(Duration::from_secs(seconds));
        let front =
            |cookie| HelloFront { version: 0xFEFD, random: [2; 32], session_id: &[], cookie };
        let cookie = cookies.bake(path(7, 0), &front(&[]), at(100));
        assert!(cookies.knows(path(7, 0), &front(&cookie), at(119)));
        assert!(cookies.knows(path(7, 0), &front(&cookie), at(179)));
        assert!(!cookies.knows(path(7, 0), &front(&cookie), at(180)));
        assert!(!cookies.knows(path(8, 0), &front(&cookie), at(100)));
        assert!(!cookies.knows(path(7, 1), &front(&cookie), at(100)));
        let other = HelloFront { random: [3; 32], ..front(&cookie) };
        assert!(!cookies.knows(path(7, 0), &other, at(100)));
        assert!(!cookies.knows(path(7, 0), &front(&[]), at(100)));
        assert!(!Cookies::new([9; 32]).knows(path(7, 0), &front(&cookie), at(100)));
    }
}
