//! The tool's own certificate authority: signs the identity certificates of its devices and clients.

use chrono::Datelike;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Error;
use crate::clock;

/// A key and a certificate that says it may sign others.
pub struct Authority {
    certificate: String,
    key: Zeroizing<String>,
    issuer: Issuer<'static, KeyPair>,
}

/// The name in the authority's certificate.
const NAME: &str = "freshen onboarding";

/// Years that the authority is valid: longer than its devices live.
const AUTHORITY_YEARS: i32 = 30;

/// Years that an identity certificate is valid. Nothing renews them but a person with this tool.
const IDENTITY_YEARS: i32 = 10;

/// oic.sec identity certificate usage (OCF Security 9.4.2).
const OCF_IDENTITY: [u64; 9] = [1, 3, 6, 1, 4, 1, 44924, 1, 6];

impl Authority {
    /// A new one.
    ///
    /// # Errors
    ///
    /// Where the system gives no random numbers.
    pub fn new() -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(cannot("cannot make a key"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(NAME);
        // No intermediate authority below (OCF Security 9.4.2.2).
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid(&mut params, AUTHORITY_YEARS);
        let certificate =
            params.self_signed(&key).map_err(cannot("cannot make a certificate"))?.pem();
        Self::from_pem(&certificate, &key.serialize_pem())
    }

    /// One that was kept.
    ///
    /// # Errors
    ///
    /// Where it is damaged.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        let pair = KeyPair::from_pem(key).map_err(cannot("cannot read the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, pair)
            .map_err(cannot("cannot read the authority's certificate"))?;
        let (certificate, key) = (certificate.to_owned(), Zeroizing::new(key.to_owned()));
        Ok(Self { certificate, key, issuer })
    }

    /// Its certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Its key.
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// A certificate with a new key, for a client that has none.
    ///
    /// # Errors
    ///
    /// Where the system gives no random numbers.
    pub fn issue(&self, owner: Uuid) -> Result<(String, Zeroizing<String>), Error> {
        let key = KeyPair::generate().map_err(cannot("cannot make a key"))?;
        let certificate = identity(owner)
            .signed_by(&key, &self.issuer)
            .map_err(cannot("cannot make a certificate"))?;
        Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
    }

    /// A certificate for the key in a request. Only the key is taken from it: what the device may be
    /// called is not the device's to say.
    ///
    /// # Errors
    ///
    /// Where the request is none.
    pub fn sign(&self, request: &str, device: Uuid) -> Result<String, Error> {
        // Some devices end their texts with a zero.
        let request = request.trim_end_matches('\0');
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(cannot(
            "the device's certificate request is malformed or not signed by its key",
        ))?;
        request.params = identity(device);
        Ok(request.signed_by(&self.issuer).map_err(cannot("cannot sign the certificate"))?.pem())
    }
}

/// What could not be done, and why.
fn cannot(what: &'static str) -> impl FnOnce(rcgen::Error) -> Error {
    move |error| Error::Invalid(format!("{what}: {error}"))
}

/// What OCF wants in an identity certificate (OCF Security 9.4.2.3).
fn identity(owner: Uuid) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("uuid:{owner}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Other(OCF_IDENTITY.to_vec()),
    ];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, IDENTITY_YEARS);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From the beginning of this year: the clocks of devices are often behind.
fn valid(params: &mut CertificateParams, years: i32) {
    let year = clock::now().wall.year();
    params.not_before = date_time_ymd(year, 1, 1);
    params.not_after = date_time_ymd(year + years, 1, 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::{Anchor, OwnCertificate};

    #[test]
    fn a_device_gets_a_certificate_for_its_key_under_the_name_that_we_give() {
        let authority = Authority::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = named("uuid:somebody-else");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let request = params.serialize_request(&key).unwrap().pem().unwrap() + "\0";
        let device = Uuid::from_u128(5);
        let chain = authority.sign(&request, device).unwrap();
        OwnCertificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        Anchor::from_pem(authority.certificate_pem().as_bytes()).unwrap();
        let other = KeyPair::generate().unwrap();
        assert!(
            OwnCertificate::from_pem(chain.as_bytes(), other.serialize_pem().as_bytes()).is_err()
        );
        let der = pem_body(&chain);
        assert!(contains(&der, format!("uuid:{device}").as_bytes()));
        assert!(!contains(&der, b"somebody-else"));
    }

    #[test]
    fn a_request_that_its_key_has_not_signed_is_refused() {
        let authority = Authority::new().unwrap();
        for request in [
            "",
            "x",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            assert!(authority.sign(request, Uuid::from_u128(5)).is_err());
        }
    }

    fn pem_body(pem: &str) -> Vec<u8> {
        use rustls_pki_types::pem::PemObject;
        rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }
}
