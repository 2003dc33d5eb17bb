//! `oic.r.csr`: the device's request for a certificate, PKCS#10 in PEM, signed with its own key.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde::Serialize;

use super::{Refusal, Security};
use crate::ocf::representation::{Names, common};
use crate::ocf::resource::Resource;

#[derive(Serialize)]
pub(super) struct Representation {
    #[serde(skip_serializing_if = "Option::is_none")]
    rt: Names,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#if: Names,
    csr: String,
    encoding: &'static str,
}

impl Representation {
    pub(super) fn new(state: &Security, baseline: bool) -> Result<Self, Refusal> {
        let (rt, r#if) = common(Resource::CertificateRequest, baseline);
        let csr = request(state).ok_or(Refusal::Later("the device has no key for certificates"))?;
        Ok(Self { rt, r#if, csr, encoding: "oic.sec.encoding.pem" })
    }
}

/// The subject is what OCF wants in an identity certificate: `CN=uuid:<deviceuuid>`.
fn request(state: &Security) -> Option<String> {
    let key = PrivatePkcs8KeyDer::from(state.key.expose());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).ok()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("uuid:{}", state.doxm.device));
    params.serialize_request(&key).ok()?.pem().ok()
}
