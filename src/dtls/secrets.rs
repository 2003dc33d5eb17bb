//! The secrets of one session, and the OCF keys derived from them.

use std::num::NonZeroU32;

use ring::pbkdf2;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Suite;
use super::prf::prf;

/// What the keys of one session were made from; erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// RFC 5246 section 8.1, or RFC 7627 section 4.
    pub master_secret: [u8; 48],
    /// The random of the ClientHello.
    pub client_random: [u8; 32],
    /// The random of the ServerHello.
    pub server_random: [u8; 32],
    /// The suite of the session.
    #[zeroize(skip)]
    pub suite: Suite,
}

impl std::fmt::Debug for Secrets {
    /// Tells the suite only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// How a device changes hands (OCF Security 7.3); the owner key depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerTransfer {
    /// `oic.sec.doxm.jw`
    JustWorks,
    /// `oic.sec.doxm.rdp`
    RandomPin,
    /// `oic.sec.doxm.mfgcert`
    ManufacturerCertificate,
}

impl OwnerTransfer {
    fn label(self) -> &'static str {
        match self {
            Self::JustWorks => "oic.sec.doxm.jw",
            Self::RandomPin => "oic.sec.doxm.rdp",
            Self::ManufacturerCertificate => "oic.sec.doxm.mfgcert",
        }
    }
}

/// The owner's key, 16 bytes (OCF Security 7.3.2): both sides derive it at the end of the transfer.
///
/// `owner` is `devowneruuid`, `device` the *new* `deviceuuid`. `None` for a suite for which OCF
/// defines no key block: onboarding uses none of those.
pub fn owner_psk(
    secrets: &Secrets,
    transfer: OwnerTransfer,
    owner: &[u8; 16],
    device: &[u8; 16],
) -> Option<Zeroizing<[u8; 16]>> {
    let mut key_block = Zeroizing::new(vec![0; owner_key_block_bytes(secrets.suite)?]);
    let randoms = [&secrets.server_random[..], &secrets.client_random[..]];
    prf(&secrets.master_secret, "key expansion", &randoms, &mut key_block);
    let mut key = Zeroizing::new([0; 16]);
    prf(&key_block, transfer.label(), &[owner, device], &mut *key);
    Some(key)
}

/// 2 x (MAC + key + IV) as OCF counts them: without the explicit IV of CBC.
fn owner_key_block_bytes(suite: Suite) -> Option<usize> {
    match suite {
        Suite::EcdhePskAes128CbcSha256
        | Suite::EcdhAnonAes128CbcSha256
        | Suite::EcdheEcdsaAes128CbcSha256 => Some(96),
        Suite::EcdheEcdsaAes128Ccm8 | Suite::EcdheEcdsaAes128Ccm | Suite::PskAes128Ccm8 => Some(40),
        Suite::EcdheEcdsaAes256Ccm8 | Suite::EcdheEcdsaAes256Ccm => Some(72),
        Suite::EcdheEcdsaAes128GcmSha256 => None,
    }
}

/// The key that a random PIN stands for (OCF Security 7.3.5): `pin` as it is shown, `device` the
/// `deviceuuid` that is valid before the transfer.
pub fn pin_psk(pin: &[u8], device: &[u8; 16]) -> Zeroizing<[u8; 16]> {
    let mut key = Zeroizing::new([0; 16]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, PIN_ROUNDS, device, pin, &mut *key);
    key
}

/// Fixed by OCF Security 7.3.5.
const PIN_ROUNDS: NonZeroU32 = NonZeroU32::new(1000).expect("not zero");

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let digits: Vec<u8> = hex.bytes().filter(|digit| *digit != b'-').collect();
        std::array::from_fn(|n| {
            let pair = std::str::from_utf8(&digits[2 * n..2 * n + 2]).unwrap();
            u8::from_str_radix(pair, 16).unwrap()
        })
    }

    #[test]
    fn the_owner_key_is_the_one_that_iotivity_lite_stored() {
        let secrets = Secrets {
            master_secret: bytes(
                "2c7d3caa5eebab5f81a5e48d5614afd812e35a4fe301a49a7a64dc7b1a47eae8\
                 ded6787afae6798a43ba6093b108091c",
            ),
            client_random: bytes(
                "6b00d142c09ef5617da2fcc940264378402dd77cf0e2dd5d531557745ac87aa3",
            ),
            server_random: bytes(
                "6b00d1428480f710de2924dc12ca0c9d586ae9f1c21138f6c816dae98d31145d",
            ),
            suite: Suite::EcdhAnonAes128CbcSha256,
        };
        let owner = bytes("b566b283-ef1a-46ef-791d-9b9068a91386");
        let device = bytes("6e0e35f3-6281-4ff8-6a5b-4a8b0d8dca21");
        let key = owner_psk(&secrets, OwnerTransfer::JustWorks, &owner, &device).unwrap();
        assert_eq!(*key, bytes("5d4ed252d47b646c266734776f977ab2"));
    }

    #[test]
    fn the_pin_key_is_pbkdf2_with_the_device_as_salt() {
        // Made with Python: hashlib.pbkdf2_hmac("sha256", b"12345678", bytes(range(16)), 1000, 16)
        let device = std::array::from_fn(|n| n as u8);
        assert_eq!(*pin_psk(b"12345678", &device), bytes("42b99a197a7d9cafa9fa5b60091da410"));
    }

    #[test]
    fn secrets_do_not_print() {
        let secrets = Secrets {
            master_secret: [0xAB; 48],
            client_random: [0xAB; 32],
            server_random: [0xAB; 32],
            suite: Suite::PskAes128Ccm8,
        };
        let shown = format!("{secrets:?}").to_lowercase();
        assert!(!shown.contains("ab,") && !shown.contains("171"), "{shown}");
    }
}
