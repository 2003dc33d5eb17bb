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
