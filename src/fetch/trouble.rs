//! What is wrong with a server's certificate, in words for the person who has to mend it.

use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// What went wrong in a handshake, and what to do.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented => "it shows no certificate; give it one".to_owned(),
        Error::AlertReceived(AlertDescription::ProtocolVersion) => VERSION.to_owned(),
        Error::PeerIncompatible(why) => format!("{VERSION} ({why:?})"),
        other => format!("{other}; look at the server's own log"),
    }
}

const VERSION: &str = "it speaks no TLS in common with this device, which speaks 1.2 and 1.3";

fn certificate(error: &CertificateError) -> String {
    use CertificateError as C;
    let words = match error {
        C::Expired | C::ExpiredContext { .. } => {
            "its certificate has expired; renew it, or set the clock of this device if that is wrong"
        }
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "its certificate is not valid yet; set the clock of this device, or wait"
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "its certificate is for another name; give it one with this name as subjectAltName, or \
             ask for the URL under the name that it has"
        }
        C::UnknownIssuer => {
            "nobody whom this device believes has issued its certificate; set `update.ca` to the \
             issuer's certificate, and let the server send those in between"
        }
        C::BadSignature => {
            "its certificate was not signed by the issuer that it names; compare `update.ca` with \
             the server's chain"
        }
        C::Revoked => "its certificate has been revoked; give it a new one",
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "its certificate is not for servers; give it one with the extended key usage serverAuth"
        }
        C::BadEncoding => "its certificate cannot be read; make it anew as X.509 version 3",
        C::Other(error) => return other(error),
        other => return format!("its certificate is not accepted: {other:?}"),
    };
    words.to_owned()
}

/// What the verifier of certificates has no word of rustls for. Its errors show themselves as the name
/// of their variant.
fn other(error: &OtherError) -> String {
    let OtherError(error) = error;
    let name = error.to_string();
    let words = match error.downcast_ref::<webpki::Error>() {
        Some(webpki::Error::CaUsedAsEndEntity) => {
            "its certificate is that of an authority (CA:TRUE); give it one of its own with \
             basicConstraints CA:FALSE, and keep that one for `update.ca`"
        }
        Some(webpki::Error::EndEntityUsedAsCa) => {
            "its certificate was issued by one that is no authority; make the issuer anew with \
             basicConstraints CA:TRUE"
        }
        Some(webpki::Error::UnsupportedCertVersion) => {
            "its certificate is not X.509 version 3; make it anew with a subjectAltName"
        }
        _ => return format!("its certificate is not accepted ({name}); make it anew"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
    };
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    /// Who issues it, what is odd about it, and what is said.
    type Case<'a> = (&'a Issuer, fn(&mut CertificateParams), &'static str);

    fn authority(name: &str) -> Issuer {
        let mut params = CertificateParams::new(vec!["updates.example.com".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn server(issuer: &Issuer, change: fn(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["updates.example.com".into()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    /// What the verifier that the client uses says in the year 2026.
    fn verdict(root: &Issuer, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from("updates.example.com").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_790_000_000));
        verifier.verify_server_cert(certificate, &[], &name, &[], now).map(|_| ())
    }

    #[test]
    fn each_trouble_with_a_certificate_has_a_sentence_and_a_remedy() {
        let (ours, other, double) = (authority("a"), authority("b"), authority("a"));
        verdict(&ours, &server(&ours, |_| {})).expect("the control");
        let cases: [Case<'_>; 6] = [
            (&ours, |it| it.not_after = date_time_ymd(2021, 1, 1), "has expired; renew it"),
            (&ours, |it| it.not_before = date_time_ymd(2029, 1, 1), "not valid yet; set the clock"),
            (&ours, |it| it.subject_alt_names.clear(), "for another name; give it one"),
            (&other, |_| {}, "; set `update.ca`"),
            (&double, |_| {}, "; compare `update.ca`"),
            (
                &ours,
                |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
                "CA:TRUE); give it one of its own with basicConstraints CA:FALSE",
            ),
        ];
        for (issuer, change, expected) in cases {
            let error = verdict(&ours, &server(issuer, change)).unwrap_err();
            let words = words(&error);
            assert!(words.contains(expected), "{words}");
            assert!(!words.contains("Other") && !words.contains("Error"), "{words}");
        }
        // What stands in `ca` is the server's own certificate, made by a tool that says CA:TRUE.
        let error = verdict(&ours, ours.der()).unwrap_err();
        assert!(words(&error).contains("CA:FALSE"), "{}", words(&error));
    }
}
