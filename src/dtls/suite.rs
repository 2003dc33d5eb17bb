//! The cipher suites.

/// A cipher suite that this room speaks. All of them use the PRF with SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Suite {
    /// TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, the mandatory one of CoAP and OCF (RFC 7251).
    EcdheEcdsaAes128Ccm8 = 0xC0AE,
    /// TLS_ECDHE_ECDSA_WITH_AES_128_CCM (RFC 7251).
    EcdheEcdsaAes128Ccm = 0xC0AC,
    /// TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8 (RFC 7251).
    EcdheEcdsaAes256Ccm8 = 0xC0AF,
    /// TLS_ECDHE_ECDSA_WITH_AES_256_CCM (RFC 7251).
    EcdheEcdsaAes256Ccm = 0xC0AD,
    /// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 (RFC 5289).
    EcdheEcdsaAes128GcmSha256 = 0xC02B,
    /// TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 (RFC 5289).
    EcdheEcdsaAes128CbcSha256 = 0xC023,
    /// TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256, for OCF sessions with symmetric keys (RFC 5489).
    EcdhePskAes128CbcSha256 = 0xC037,
    /// TLS_PSK_WITH_AES_128_CCM_8, the mandatory PSK suite of CoAP (RFC 6655).
    PskAes128Ccm8 = 0xC0A8,
    /// TLS_ECDH_ANON_WITH_AES_128_CBC_SHA256, a private number of OCF for its Just Works owner
    /// transfer: nobody proves anything.
    EcdhAnonAes128CbcSha256 = 0xFF00,
}

impl Suite {
    /// The suites with certificates, the preferred one first.
    pub const WITH_CERTIFICATES: [Self; 6] = [
        Self::EcdheEcdsaAes128Ccm8,
        Self::EcdheEcdsaAes128Ccm,
        Self::EcdheEcdsaAes256Ccm8,
        Self::EcdheEcdsaAes256Ccm,
        Self::EcdheEcdsaAes128GcmSha256,
        Self::EcdheEcdsaAes128CbcSha256,
    ];

    /// Those of them that OCF names (OCF Security 11.3); the others are for CoAP at large.
    pub const OCF_WITH_CERTIFICATES: [Self; 4] = [
        Self::EcdheEcdsaAes128Ccm8,
        Self::EcdheEcdsaAes128Ccm,
        Self::EcdheEcdsaAes256Ccm8,
        Self::EcdheEcdsaAes256Ccm,
    ];

    /// The suites with a pre-shared key: OCF's, then CoAP's.
    pub const WITH_KEYS: [Self; 2] = [Self::EcdhePskAes128CbcSha256, Self::PskAes128Ccm8];

    /// Whether both sides, or the server alone, prove themselves by a certificate.
    pub fn has_certificates(self) -> bool {
        self.exchange() == Exchange::EcdheEcdsa
    }

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The suite with this number, if it is one of ours.
    pub fn from_code(code: u16) -> Option<Self> {
        ALL.into_iter().find(|suite| suite.code() == code)
    }

    pub(super) fn exchange(self) -> Exchange {
        match self {
            Self::EcdheEcdsaAes128Ccm8
            | Self::EcdheEcdsaAes128Ccm
            | Self::EcdheEcdsaAes256Ccm8
            | Self::EcdheEcdsaAes256Ccm
            | Self::EcdheEcdsaAes128GcmSha256
            | Self::EcdheEcdsaAes128CbcSha256 => Exchange::EcdheEcdsa,
            Self::EcdhePskAes128CbcSha256 => Exchange::EcdhePsk,
            Self::PskAes128Ccm8 => Exchange::Psk,
            Self::EcdhAnonAes128CbcSha256 => Exchange::EcdhAnon,
        }
    }

    pub(super) fn is_cbc(self) -> bool {
        matches!(
            self,
            Self::EcdheEcdsaAes128CbcSha256
                | Self::EcdhePskAes128CbcSha256
                | Self::EcdhAnonAes128CbcSha256
        )
    }
}

/// How the two sides come to a secret, and how they prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// ECDH signed with certificates (RFC 8422).
    EcdheEcdsa,
    /// ECDH and a shared key (RFC 5489).
    EcdhePsk,
    /// A shared key alone (RFC 4279).
    Psk,
    /// ECDH with nobody.
    EcdhAnon,
}

impl Exchange {
    pub(super) fn has_ecdh(self) -> bool {
        self != Self::Psk
    }

    pub(super) fn has_psk(self) -> bool {
        matches!(self, Self::Psk | Self::EcdhePsk)
    }
}

/// Every suite of this room.
pub(super) const ALL: [Suite; 9] = [
    Suite::EcdheEcdsaAes128Ccm8,
    Suite::EcdheEcdsaAes128Ccm,
    Suite::EcdheEcdsaAes256Ccm8,
    Suite::EcdheEcdsaAes256Ccm,
    Suite::EcdheEcdsaAes128GcmSha256,
    Suite::EcdheEcdsaAes128CbcSha256,
    Suite::EcdhePskAes128CbcSha256,
    Suite::PskAes128Ccm8,
    Suite::EcdhAnonAes128CbcSha256,
];
