//! Keys and certificates for both sides, in memory for us and in files for the programs.

use std::path::PathBuf;

use freshen::dtls::{
    Anchor, ClientCertificates, ClientPolicy, IdentityRule, OwnCertificate, PeerIdentity, Policy,
    PreSharedKey, Suite,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

pub(crate) const KEY: &[u8] = b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
pub(crate) const KEY_HEX: &str = "00112233445566778899aabbccddeeff";
pub(crate) const IDENTITY: &str = "client-1";
pub(crate) const OUR_UUID: &str = "00000000-0000-4000-8000-00000000000a";
pub(crate) const THEIR_UUID: &str = "00000000-0000-4000-8000-00000000000b";

/// A root, an intermediate, a certificate for us and one for the program.
pub(crate) struct Pki {
    directory: TempDir,
    anchors: Vec<Anchor>,
    middle: Anchor,
    ours: OwnCertificate,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::on(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// With end entity keys on this curve.
    pub(crate) fn on(curve: &'static rcgen::SignatureAlgorithm) -> Self {
        let (root, root_parameters) = (KeyPair::generate().unwrap(), authority("root"));
        let root_certificate = root_parameters.self_signed(&root).unwrap();
        let root_issuer = Issuer::new(root_parameters, root);
        let (middle, middle_parameters) = (KeyPair::generate().unwrap(), authority("middle"));
        let middle_certificate = middle_parameters.signed_by(&middle, &root_issuer).unwrap();
        let issuer = Issuer::new(middle_parameters, middle);
        let issue = |uuid: &str| {
            let key = KeyPair::generate_for(curve).unwrap();
            let certificate = device(uuid).signed_by(&key, &issuer).unwrap();
            (certificate.pem() + &middle_certificate.pem(), key.serialize_pem())
        };
        let (our_chain, our_key) = issue(OUR_UUID);
        let (their_chain, their_key) = issue(THEIR_UUID);
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("root.pem", &root_certificate.pem());
        write("chain.pem", &their_chain);
        write("key.pem", &their_key);
        write("psk.txt", &format!("{IDENTITY}:{KEY_HEX}\n"));
        Self {
            directory,
            anchors: Anchor::from_pem(root_certificate.pem().as_bytes()).unwrap(),
            middle: Anchor::new(middle_certificate.der()).unwrap(),
            ours: OwnCertificate::from_pem(our_chain.as_bytes(), our_key.as_bytes()).unwrap(),
        }
    }

    fn file(&self, name: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    /// What the programs trust.
    pub(crate) fn root(&self) -> String {
        self.file("root.pem")
    }

    /// The intermediate, for peers that send their own certificate alone.
    pub(crate) fn middle(&self) -> Anchor {
        self.middle.clone()
    }

    /// The certificates of the program, its own first.
    pub(crate) fn chain(&self) -> String {
        self.file("chain.pem")
    }

    pub(crate) fn key(&self) -> String {
        self.file("key.pem")
    }

    /// `identity:hex`, as GnuTLS reads it.
    pub(crate) fn psk_file(&self) -> String {
        self.file("psk.txt")
    }

    /// Our side as a server.
    pub(crate) fn server(&self, suites: &[Suite]) -> Policy {
        Policy {
            suites: suites.to_vec(),
            psks: vec![PreSharedKey::new(IDENTITY, KEY)],
            identity_hint: b"hint".to_vec(),
            certificate: Some(self.ours.clone()),
            anchors: self.anchors.clone(),
            client_certificates: ClientCertificates::Required,
            client_identity: IdentityRule::Ocf,
            keep_secrets: false,
        }
    }

    /// Our side as a client.
    pub(crate) fn client(&self, suite: Suite) -> ClientPolicy {
        ClientPolicy {
            suites: vec![suite],
            psk: Some(PreSharedKey::new(IDENTITY, KEY)),
            psks_by_hint: vec![],
            certificate: Some(self.ours.clone()),
            anchors: self.anchors.clone(),
            server_identity: IdentityRule::OcfDevice(THEIR_UUID.parse().unwrap()),
            keep_secrets: false,
        }
    }
}

/// That the peer proved to be the program, by its key or its certificate.
pub(crate) fn assert_theirs(peer: &PeerIdentity) {
    match peer {
        PeerIdentity::Psk(identity) => assert_eq!(identity, IDENTITY.as_bytes()),
        PeerIdentity::Certificate { uuid, .. } => assert_eq!(uuid.unwrap().to_string(), THEIR_UUID),
        PeerIdentity::Anonymous => panic!("nobody in particular"),
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn device(uuid: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, format!("uuid:{uuid}"));
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    parameters.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 44924, 1, 6]),
    ];
    parameters
}
