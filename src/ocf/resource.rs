//! The table of resources: what there is, what it is called, what can be done with it.

use crate::coap::{Request, Topic};

/// A resource of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `/oic/res`: the links to all others.
    Discovery,
    /// `/oic/d`: the device.
    Device,
    /// `/oic/p`: the platform.
    Platform,
    /// Where the introspection data is.
    Introspection,
    /// The introspection data.
    IntrospectionData,
    /// The software update resource.
    SoftwareUpdate,
    /// `/oic/sec/pstat`: the provisioning status.
    ProvisioningStatus,
    /// `/oic/sec/doxm`: who owns the device, and how it can be owned.
    OwnerTransfer,
    /// `/oic/sec/cred`: whom the device knows.
    Credentials,
    /// `/oic/sec/acl2`: who may do what.
    AccessControl,
    /// `/oic/sec/sp`: the security profile.
    SecurityProfile,
    /// `/oic/sec/csr`: the request for a certificate.
    CertificateRequest,
    /// `/oic/sec/roles`: what a peer may be beside itself.
    Roles,
    /// `/oic/sec/sdi`: the security domain.
    SecurityDomain,
    /// `/oic/sec/ael`: the auditable events.
    AuditLog,
    /// How far an update is; not part of OCF.
    UpdateStatus,
    /// `/.well-known/core` (RFC 6690), for CoAP tools that do not know OCF.
    WellKnownCore,
}

/// Ways to look at a resource (OCF Core 7.6.3).
pub(super) mod interface {
    pub(crate) const BASELINE: &str = "oic.if.baseline";
    pub(crate) const LINK_LIST: &str = "oic.if.ll";
    pub(crate) const READ: &str = "oic.if.r";
    pub(crate) const READ_WRITE: &str = "oic.if.rw";
}

/// The resources that can be watched.
pub const TOPICS: [Resource; 3] =
    [Resource::SoftwareUpdate, Resource::ProvisioningStatus, Resource::UpdateStatus];

impl Resource {
    pub(super) const ALL: [Self; 17] = [
        Self::Discovery,
        Self::Device,
        Self::Platform,
        Self::Introspection,
        Self::IntrospectionData,
        Self::SoftwareUpdate,
        Self::ProvisioningStatus,
        Self::OwnerTransfer,
        Self::Credentials,
        Self::AccessControl,
        Self::SecurityProfile,
        Self::CertificateRequest,
        Self::Roles,
        Self::SecurityDomain,
        Self::AuditLog,
        Self::UpdateStatus,
        Self::WellKnownCore,
    ];

    /// Its path; that of the software update resource is configured.
    pub(super) fn href(self, softwareupdate: &str) -> &str {
        match self {
            Self::Discovery => "/oic/res",
            Self::Device => "/oic/d",
            Self::Platform => "/oic/p",
            Self::Introspection => "/oc/wk/introspection",
            Self::IntrospectionData => "/oc/introspection",
            Self::SoftwareUpdate => softwareupdate,
            Self::ProvisioningStatus => "/oic/sec/pstat",
            Self::OwnerTransfer => "/oic/sec/doxm",
            Self::Credentials => "/oic/sec/cred",
            Self::AccessControl => "/oic/sec/acl2",
            Self::SecurityProfile => "/oic/sec/sp",
            Self::CertificateRequest => "/oic/sec/csr",
            Self::Roles => "/oic/sec/roles",
            Self::SecurityDomain => "/oic/sec/sdi",
            Self::AuditLog => "/oic/sec/ael",
            Self::UpdateStatus => "/updatestatus",
            Self::WellKnownCore => "/.well-known/core",
        }
    }

    /// Its resource types.
    pub(super) fn types(self) -> &'static [&'static str] {
        match self {
            Self::Discovery => &["oic.wk.res"],
            Self::Device => &["oic.wk.d"],
            Self::Platform => &["oic.wk.p"],
            Self::Introspection => &["oic.wk.introspection"],
            Self::SoftwareUpdate => &["oic.r.softwareupdate"],
            Self::ProvisioningStatus => &["oic.r.pstat"],
            Self::OwnerTransfer => &["oic.r.doxm"],
            Self::Credentials => &["oic.r.cred"],
            Self::AccessControl => &["oic.r.acl2"],
            Self::SecurityProfile => &["oic.r.sp"],
            Self::CertificateRequest => &["oic.r.csr"],
            Self::Roles => &["oic.r.roles"],
            Self::SecurityDomain => &["oic.r.sdi"],
            Self::AuditLog => &["oic.r.ael"],
            Self::UpdateStatus => &["x.freshen.r.updatestatus"],
            Self::IntrospectionData | Self::WellKnownCore => &[],
        }
    }

    /// Its interfaces, the default first.
    pub(super) fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::Discovery => &[interface::LINK_LIST, interface::BASELINE],
            Self::Device | Self::Platform | Self::Introspection | Self::UpdateStatus => {
                &[interface::READ, interface::BASELINE]
            }
            Self::IntrospectionData | Self::WellKnownCore => &[],
            _ => &[interface::READ_WRITE, interface::BASELINE],
        }
    }

    /// Whether `/oic/res` has a link to it.
    pub(super) fn is_discoverable(self) -> bool {
        !self.types().is_empty()
    }

    /// Whether it takes a POST.
    pub(super) fn is_writable(self) -> bool {
        self == Self::SoftwareUpdate || self.is_security() && self != Self::CertificateRequest
    }

    /// Whether it takes a DELETE.
    pub(super) fn has_entries(self) -> bool {
        matches!(self, Self::Credentials | Self::AccessControl | Self::Roles)
    }

    /// Whether it is one of the security virtual resources.
    pub(super) fn is_security(self) -> bool {
        matches!(
            self,
            Self::ProvisioningStatus
                | Self::OwnerTransfer
                | Self::Credentials
                | Self::AccessControl
                | Self::SecurityProfile
                | Self::CertificateRequest
                | Self::Roles
                | Self::SecurityDomain
                | Self::AuditLog
        )
    }

    /// Whether it configures the device (OCF: DCR). Wildcards of access control entries never mean
    /// these; the software update resource is one of them, as IoTivity-Lite and plgd have it.
    pub(super) fn is_configuration(self) -> bool {
        !matches!(self, Self::Introspection | Self::IntrospectionData | Self::UpdateStatus)
    }

    /// Whether it is out of reach in clear, whatever an access control entry says.
    pub(super) fn is_secured(self) -> bool {
        matches!(self, Self::SoftwareUpdate | Self::UpdateStatus)
    }

    /// What watchers of it are told by; `None` when it cannot be watched.
    pub fn topic(self) -> Option<Topic> {
        TOPICS.iter().position(|other| *other == self).map(|n| Topic(n as u32))
    }

    /// Whether the answer to a request names the device's endpoints: links and locations do.
    pub fn needs_endpoints(request: &Request) -> bool {
        [Self::Discovery, Self::Introspection].iter().any(|resource| resource.is_at("", request))
    }

    /// Whether a request is for this resource.
    pub(super) fn is_at(self, softwareupdate: &str, request: &Request) -> bool {
        request.is_for(self.href(softwareupdate))
    }

    /// The `p.bm` bits of its link: 1 discoverable, 2 observable.
    pub(super) fn policy(self) -> u8 {
        u8::from(self.is_discoverable()) | u8::from(self.topic().is_some()) << 1
    }
}
