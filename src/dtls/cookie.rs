//! Cookies: a client proves its address before anything is kept for it (RFC 6347 section 4.2.1).

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Path;
use super::message::HelloFront;
use crate::clock::Instant;

/// Bytes of a cookie.
pub(super) const COOKIE_BYTES: usize = 32;

/// A path that cuts the hello in the middle of its cookie may leave this much of it in the first
/// fragment: enough to keep the fragment for. Who guesses it (four thousand million datagrams) has one
/// half-open place at an address that is not his, and no flight is sent there before the rest of the
/// cookie has come and is right too.
const BEGINNING_BYTES_MIN: usize = 4;

/// Whether a hello brings a cookie.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// This one, which was baked for it.
    Ours([u8; COOKIE_BYTES]),
    /// None, or one that is not or no longer good.
    NotOurs,
    /// Too little of one to say.
    TooLittle,
}

/// Makes cookies and knows its own.
pub(super) struct Cookies {
    secret: Zeroizing<[u8; 32]>,
}

impl Cookies {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(secret) }
    }

    /// The cookie for this hello from this address, now.
    pub(super) fn bake(
        &self,
        path: Path,
        hello: &HelloFront<'_>,
        now: Instant,
    ) -> [u8; COOKIE_BYTES] {
        self.of_period(period(now), path, hello)
    }

    /// Whether the hello carries its cookie of this period or the one before.
    pub(super) fn judge(&self, path: Path, hello: &HelloFront<'_>, now: Instant) -> Brought {
        let HelloFront { cookie, cookie_length, .. } = *hello;
        if cookie.len() < cookie_length.min(BEGINNING_BYTES_MIN) {
            return Brought::TooLittle;
        }
        if cookie_length != COOKIE_BYTES {
            return Brought::NotOurs;
        }
        let current = period(now);
        let periods = [Some(current), current.checked_sub(1)].into_iter().flatten();
        let mut cookies = periods.map(|period| self.of_period(period, path, hello));
        let fits = |ours: &[u8; COOKIE_BYTES]| {
            ours.get(..cookie.len()).is_some_and(|ours| bool::from(ours.ct_eq(cookie)))
        };
        cookies.find(fits).map_or(Brought::NotOurs, Brought::Ours)
    }

    fn of_period(&self, period: u64, path: Path, hello: &HelloFront<'_>) -> [u8; COOKIE_BYTES] {
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
        let cookie = cookies.bake(path(7, 0), &front(&[], 0), at(100));
        let front = |cookie| front(cookie, 32);
        let ours = Brought::Ours(cookie);
        assert_eq!(cookies.judge(path(7, 0), &front(&cookie), at(119)), ours);
        assert_eq!(cookies.judge(path(7, 0), &front(&cookie), at(179)), ours);
        let no = Brought::NotOurs;
        assert_eq!(cookies.judge(path(7, 0), &front(&cookie), at(180)), no);
        assert_eq!(cookies.judge(path(8, 0), &front(&cookie), at(100)), no);
        assert_eq!(cookies.judge(path(7, 1), &front(&cookie), at(100)), no);
        let other = HelloFront { random: [3; 32], ..front(&cookie) };
        assert_eq!(cookies.judge(path(7, 0), &other, at(100)), no);
        let none = HelloFront { cookie_length: 0, ..front(&[]) };
        assert_eq!(cookies.judge(path(7, 0), &none, at(100)), no);
        assert_eq!(Cookies::new([9; 32]).judge(path(7, 0), &front(&cookie), at(100)), no);
    }

    #[test]
    fn the_beginning_of_a_cookie_is_as_good_and_less_says_nothing() {
        let cookies = Cookies::new([1; 32]);
        let path = Path { remote: ([127, 0, 0, 1], 7).into(), socket: 0 };
        let now = Instant::at(Duration::from_secs(100));
        let cookie = cookies.bake(path, &front(&[], 0), now);
        for length in 0..=32 {
            let judged = cookies.judge(path, &front(&cookie[..length], 32), now);
            let expected = if length < 4 { Brought::TooLittle } else { Brought::Ours(cookie) };
            assert_eq!(judged, expected, "{length} bytes");
            for wrong in 0..length {
                let mut forged = cookie[..length].to_vec();
                forged[wrong] ^= 1;
                let judged = cookies.judge(path, &front(&forged, 32), now);
                assert!(!matches!(judged, Brought::Ours(_)), "{length} bytes, {wrong} is wrong");
            }
        }
        // A length that is not that of our cookies is no way to have fewer bytes compared.
        for length in [1, 4, 8, 31, 33, 255] {
            let said = &cookie[..length.min(32)];
            assert_ne!(cookies.judge(path, &front(said, length), now), Brought::Ours(cookie));
        }
    }

    fn front(cookie: &[u8], cookie_length: usize) -> HelloFront<'_> {
        let session_id = &[];
        HelloFront { version: 0xFEFD, random: [2; 32], session_id, cookie, cookie_length }
    }
}
