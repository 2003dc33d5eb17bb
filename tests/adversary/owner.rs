//! The owner of a device, and those for whom it provides.

use ciborium::{Value, cbor};
use freshen::coap::{Code, Request, option};
use freshen::dtls::{
    Anchor, ClientPolicy, IdentityRule, OwnCertificate, OwnerTransfer, PreSharedKey, Suite,
};
use uuid::Uuid;

use crate::tool::Tool;
use crate::victim::{DOXM, Victim};

pub(crate) const PSTAT: &str = "/oic/sec/pstat";
pub(crate) const CRED: &str = "/oic/sec/cred";
pub(crate) const ACL2: &str = "/oic/sec/acl2";
pub(crate) const SWU: &str = "/softwareupdateResURI";

pub(crate) const OWNER: Uuid = Uuid::from_u128(0xb566_b283_ef1a_46ef_791d_9b90_68a9_1386);
pub(crate) const CLIENT: Uuid = Uuid::from_u128(0x4f0a_2e4c_6b8e_4b5e_9a57_0f6f_6d1f_2a11);
/// What owners call the device.
const DEVICE: Uuid = Uuid::from_u128(0x6e0e_35f3_6281_4ff8_6a5b_4a8b_0d8d_ca21);

pub(crate) fn anonymous() -> ClientPolicy {
    ClientPolicy {
        suites: vec![Suite::EcdhAnonAes128CbcSha256],
        keep_secrets: true,
        ..ClientPolicy::default()
    }
}

pub(crate) fn psk(identity: &[u8], key: &[u8]) -> ClientPolicy {
    ClientPolicy {
        suites: vec![Suite::EcdhePskAes128CbcSha256],
        psk: Some(PreSharedKey::new(identity, key)),
        keep_secrets: true,
        ..ClientPolicy::default()
    }
}

/// Who holds the key that the onboarding connection made, from then on.
pub(crate) struct Owner {
    pub(crate) key: Vec<u8>,
    pub(crate) tool: Tool,
}

impl Owner {
    /// Takes a device that nobody owns, by Just Works, and comes back with the key.
    pub(crate) fn take(victim: &Victim) -> Self {
        victim.select(0);
        let mut tool = victim.connect(anonymous()).unwrap();
        let key = transfer(&mut tool, victim);
        tool.close();
        let tool = victim.connect(psk(OWNER.as_bytes(), &key)).unwrap();
        Self { key, tool }
    }

    /// Writes to a resource, in the state where that is done.
    pub(crate) fn provide(&mut self, path: &str, body: Value) {
        self.in_provisioning(|tool| tool.post(path, &body));
    }

    /// Removes a credential.
    pub(crate) fn forget(&mut self, id: u32) {
        self.in_provisioning(|tool| {
            let mut request = Request::new(Code::DELETE, CRED);
            request.options.push(option::URI_QUERY, format!("credid={id}"));
            tool.ask(request).code
        });
    }

    fn in_provisioning(&mut self, write: impl FnOnce(&mut Tool) -> Code) {
        assert_eq!(self.tool.post(PSTAT, &dos(2)), Code::CHANGED);
        let code = write(&mut self.tool);
        assert!(code.is_success(), "{code:?}");
        assert_eq!(self.tool.post(PSTAT, &dos(3)), Code::CHANGED);
    }

    /// A key for the client, under this number.
    pub(crate) fn give_key(&mut self, id: u32, key: &[u8]) {
        let raw = Value::Bytes(key.to_vec());
        let body = cbor!({"creds" => [{
            "credid" => id, "credtype" => 1, "subjectuuid" => CLIENT.to_string(),
            "privatedata" => {"encoding" => "oic.sec.encoding.raw", "data" => raw},
        }]});
        self.provide(CRED, body.unwrap());
    }

    /// Somebody who vouches for clients.
    pub(crate) fn trust(&mut self, id: u32, authority: &Authority) {
        let body = cbor!({"creds" => [{
            "credid" => id, "credtype" => 8, "subjectuuid" => "*", "credusage" => "oic.sec.cred.trustca",
            "publicdata" => {"encoding" => "oic.sec.encoding.pem", "data" => authority.pem.clone()},
        }]});
        self.provide(CRED, body.unwrap());
    }

    /// A certificate by which the device says who it is.
    pub(crate) fn name_device(&mut self, authority: &Authority) {
        let (chain, key) = authority.issue(DEVICE, &|_| {});
        let body = cbor!({"creds" => [{
            "credid" => 90, "credtype" => 8, "subjectuuid" => "*", "credusage" => "oic.sec.cred.cert",
            "publicdata" => {"encoding" => "oic.sec.encoding.pem", "data" => chain},
            "privatedata" => {"encoding" => "oic.sec.encoding.pem", "data" => key},
        }]});
        self.provide(CRED, body.unwrap());
    }

    /// Lets the client read and write the software update resource.
    pub(crate) fn allow(&mut self) {
        let body = cbor!({"aclist2" => [{
            "subject" => {"uuid" => CLIENT.to_string()},
            "resources" => [{"href" => SWU}], "permission" => 22,
        }]});
        self.provide(ACL2, body.unwrap());
    }

    /// Gives an order for later: whoever watches the update is told of it.
    pub(crate) fn order(&mut self, purl: &str) {
        assert_eq!(order(&mut self.tool, purl), Code::CHANGED);
    }
}

/// An order for a time that does not come.
pub(crate) fn order(tool: &mut Tool, purl: &str) -> Code {
    let body = cbor!({
        "purl" => purl, "swupdateaction" => "upgrade", "updatetime" => "2100-01-01T00:00:00Z",
    });
    tool.post(SWU, &body.unwrap())
}

pub(crate) fn dos(state: i64) -> Value {
    cbor!({"dos" => {"s" => state}}).unwrap()
}

/// Everything from the onboarding connection to RFNOP; the owner's key.
fn transfer(tool: &mut Tool, victim: &Victim) -> Vec<u8> {
    let owner = OWNER.to_string();
    let key = cbor!({
        "creds" => [{
            "credtype" => 1,
            "subjectuuid" => owner.as_str(),
            "privatedata" => {"encoding" => "oic.sec.encoding.raw", "data" => Value::Bytes(vec![])},
        }],
        "rowneruuid" => owner.as_str(),
    });
    let access = cbor!({"aclist2" => [{
        "subject" => {"uuid" => owner.as_str()},
        "resources" => [{"href" => SWU}],
        "permission" => 22,
    }]});
    for (path, body) in [
        (DOXM, cbor!({"devowneruuid" => owner.as_str()})),
        (DOXM, cbor!({"deviceuuid" => DEVICE.to_string()})),
        (DOXM, cbor!({"rowneruuid" => owner.as_str()})),
        (ACL2, cbor!({"rowneruuid" => owner.as_str()})),
        (PSTAT, cbor!({"rowneruuid" => owner.as_str()})),
        (CRED, key),
        (DOXM, cbor!({"owned" => true})),
        (PSTAT, Ok(dos(2))),
        (ACL2, access),
        (PSTAT, Ok(dos(3))),
    ] {
        let code = tool.post(path, &body.unwrap());
        assert_eq!(code, Code::CHANGED, "{path}: {}", victim.log());
    }
    tool.owner_key(OwnerTransfer::JustWorks, OWNER, DEVICE)
}

/// Who vouches for devices and clients.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(parameters, key), pem }
    }

    /// A certificate in OCF's form and its key, PEM, changed as the scenario wants it.
    fn issue(&self, who: Uuid, change: &dyn Fn(&mut rcgen::CertificateParams)) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("uuid:{who}"));
        parameters.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
            rcgen::ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 44924, 1, 6]),
        ];
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// What the client offers, with a certificate of this authority.
    pub(crate) fn client(
        &self,
        change: &dyn Fn(&mut rcgen::CertificateParams),
        devices: &Self,
    ) -> ClientPolicy {
        let (chain, key) = self.issue(CLIENT, change);
        ClientPolicy {
            suites: vec![Suite::EcdheEcdsaAes128Ccm8],
            certificate: Some(OwnCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()),
            anchors: Anchor::from_pem(devices.pem.as_bytes()).unwrap(),
            server_identity: IdentityRule::Ocf,
            ..ClientPolicy::default()
        }
    }
}
