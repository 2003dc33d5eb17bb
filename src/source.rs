//! This room judges which URLs packages may come from: before an order is taken, before anything is
//! resolved or sent, and anew for every redirection. It resolves no names: where a name leads is seen
//! when somebody goes there (`fetch`).

use url::{Host, Url};

/// What the configuration allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Hosts that may be asked: `updates.example.com`, a suffix such as `.example.com`, an address, or
    /// `*` for every public one. Empty: the host of [`Self::builtin_url`] only.
    pub hosts: Vec<String>,
    /// Schemes that may be used, of `https`, `coaps`, `http`, `coap`.
    pub schemes: Vec<String>,
    /// Ports that may be asked. Empty: every one.
    pub ports: Vec<u16>,
    /// The URL that the device knows itself; empty when there is none.
    pub builtin_url: String,
    /// Other places with the same files; their hosts need no other leave.
    pub mirrors: Vec<Url>,
}

/// Why a URL may not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an absolute URL, or one with parts that have no place here.
    #[error("`{url}` is not a URL that can be fetched: {why}")]
    BadUrl {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A scheme that this device does not speak, or is not allowed to.
    #[error("`{0}` is not a scheme that this device may fetch from; use https or coaps")]
    UnsupportedScheme(String),
    /// The allow-list or the port list says no.
    #[error(
        "`{0}` is not an address that this device may fetch from: its log names the address, and which of allow_hosts, allow_ports and allow_private it is about"
    )]
    HostNotAllowed(String),
}

/// A URL that the policy allows, with what is needed to go there.
#[derive(Clone, Debug)]
pub struct Target {
    /// The URL, in normal form.
    pub url: Url,
    /// How to speak there.
    pub scheme: Scheme,
    /// The host, without brackets.
    pub host: String,
    /// The port, as given or as the scheme has it.
    pub port: u16,
}

/// The schemes that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP over TLS.
    Https,
    /// HTTP in clear.
    Http,
    /// CoAP over DTLS.
    Coaps,
    /// CoAP in clear.
    Coap,
}

impl Scheme {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "https" => Some(Self::Https),
            "http" => Some(Self::Http),
            "coaps" => Some(Self::Coaps),
            "coap" => Some(Self::Coap),
            _ => None,
        }
    }

    /// Ports of RFC 9110 section 4.2 and RFC 7252 section 6.
    fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
            Self::Coaps => 5684,
            Self::Coap => 5683,
        }
    }
}

/// Parses and judges an absolute URL.
///
/// # Errors
///
/// [`Refusal`].
pub fn judge(text: &str, policy: &Policy) -> Result<Target, Refusal> {
    // The parser drops white space and control characters; whoever sends them has something in mind.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(bad(text, "it has white space in it"));
    }
    let url = Url::parse(text)
        .map_err(|_| bad(text, "it is not an absolute URL, or its host is not in ASCII"))?;
    judge_url(url, policy)
}

/// Judges what [`judge`] would, already parsed.
///
/// # Errors
///
/// [`Refusal`].
pub fn judge_url(url: Url, policy: &Policy) -> Result<Target, Refusal> {
    let allowed = policy.schemes.iter().any(|scheme| scheme == url.scheme());
    let Some(scheme) = Scheme::from_name(url.scheme()).filter(|_| allowed) else {
        return Err(Refusal::UnsupportedScheme(url.scheme().to_owned()));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(url.as_str(), "it has a user name in it"));
    }
    if url.fragment().is_some() {
        return Err(bad(url.as_str(), "it has a fragment"));
    }
    let host = match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').to_ascii_lowercase(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    };
    if host.is_empty() || host.contains('%') {
        return Err(bad(url.as_str(), "it has no host name"));
    }
    let port = url.port().unwrap_or(scheme.default_port());
    // For whoever owns the device; whoever asked learns less.
    let allowed = host_allowed(&host, policy);
    if !allowed {
        tracing::warn!("`{host}` is not in update.allow_hosts, so nothing is fetched from there");
    } else if !port_allowed(port, policy) {
        tracing::warn!("port {port} of `{host}` is not in update.allow_ports");
    }
    if !allowed || !port_allowed(port, policy) {
        return Err(Refusal::HostNotAllowed(host));
    }
    Ok(Target { url, scheme, host, port })
}

fn host_allowed(host: &str, policy: &Policy) -> bool {
    if policy.mirrors.iter().any(|mirror| host_of(mirror).is_some_and(|it| it == host)) {
        return true;
    }
    if policy.hosts.is_empty() {
        return builtin_host(policy).is_some_and(|builtin| builtin == host);
    }
    policy.hosts.iter().any(|pattern| match pattern.to_ascii_lowercase() {
        any if any == "*" => true,
        suffix if suffix.starts_with('.') => host.ends_with(&suffix),
        suffix if suffix.starts_with("*.") => {
            suffix.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
        }
        name => name.trim_end_matches('.') == host,
    })
}

fn port_allowed(port: u16, policy: &Policy) -> bool {
    port != 0 && (policy.ports.is_empty() || policy.ports.contains(&port))
}

fn builtin_host(policy: &Policy) -> Option<String> {
    host_of(&Url::parse(&policy.builtin_url).ok()?)
}

fn host_of(url: &Url) -> Option<String> {
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

fn bad(url: &str, why: &'static str) -> Refusal {
    Refusal::BadUrl { url: url.chars().take(URL_SHOWN_MAX).collect(), why }
}

/// How much of a bad URL is repeated in the error, characters: what a person recognizes it by.
const URL_SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(hosts: &[&str]) -> Policy {
        Policy {
            hosts: hosts.iter().map(|host| host.to_string()).collect(),
            schemes: vec!["https".into(), "coaps".into()],
            ..Policy::default()
        }
    }

    #[test]
    fn without_a_list_only_the_builtin_host_is_asked() {
        let policy = Policy { builtin_url: "https://Updates.example.com/x".into(), ..policy(&[]) };
        assert!(judge("https://updates.example.com:8443/y", &policy).is_ok());
        assert!(judge("https://updates.example.com./y", &policy).is_ok());
        for url in ["https://example.com/", "https://updates.example.com.evil.org/"] {
            assert!(matches!(judge(url, &policy), Err(Refusal::HostNotAllowed(_))), "{url}");
        }
        let nothing = Policy { builtin_url: String::new(), ..policy };
        assert!(judge("https://updates.example.com/", &nothing).is_err());
    }

    #[test]
    fn a_mirror_may_be_asked_and_nobody_beside_it() {
        let mirrors = vec![Url::parse("https://Mirror.example.net/cam/").unwrap()];
        let policy = Policy { mirrors, ..policy(&["updates.example.com"]) };
        assert!(judge("https://mirror.example.net/x", &policy).is_ok());
        for url in ["https://example.net/", "https://a.mirror.example.net/"] {
            assert!(matches!(judge(url, &policy), Err(Refusal::HostNotAllowed(_))), "{url}");
        }
        let plain = "http://mirror.example.net/x";
        assert!(matches!(judge(plain, &policy), Err(Refusal::UnsupportedScheme(_))));
    }

    #[test]
    fn a_suffix_covers_hosts_below_it_and_no_other() {
        for pattern in [".example.com", "*.example.com"] {
            let policy = policy(&[pattern]);
            assert!(judge("https://a.b.EXAMPLE.com/", &policy).is_ok());
            assert!(judge("https://badexample.com/", &policy).is_err());
            assert!(judge("https://example.com/", &policy).is_err());
        }
    }

    #[test]
    fn a_scheme_that_is_not_allowed_is_told_apart_from_a_bad_url() {
        let policy = policy(&["*"]);
        for url in [
            "http://a.example/",
            "coap://a.example/",
            "ftp://a.example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:,x",
            "gopher://a.example/",
        ] {
            assert!(matches!(judge(url, &policy), Err(Refusal::UnsupportedScheme(_))), "{url}");
        }
        for url in [
            "",
            "/x",
            "updates.example.com/x",
            "https://",
            "https:///",
            "https://[::1",
            "https://a.example:99999/",
            "https://u@a.example/",
            "https://u:p@a.example/",
            "https://a.example/#top",
            "https://a.exa mple/",
            "https://a.example/\n",
            "ht\ttps://a/",
            "coaps:x",
            "coaps:///x",
        ] {
            assert!(matches!(judge(url, &policy), Err(Refusal::BadUrl { .. })), "{url}");
        }
    }

    #[test]
    fn odd_spellings_of_an_address_are_judged_as_that_address() {
        let policy = policy(&["*"]);
        for url in
            ["https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/"]
        {
            assert_eq!(judge(url, &policy).unwrap().host, "127.0.0.1", "{url}");
        }
        assert_eq!(judge("https://[::ffff:7f00:1]/", &policy).unwrap().host, "::ffff:127.0.0.1");
    }

    #[test]
    fn a_host_beyond_ascii_is_refused_and_its_punycode_is_taken() {
        let policy = policy(&["xn--bcher-kva.example"]);
        assert!(judge("https://XN--bcher-kva.example/", &policy).is_ok());
        // The last two would be an address and a name of ASCII, if they were mapped.
        for url in [
            "https://b\u{fc}cher.example/",
            "https://b%C3%BCcher.example/",
            "https://\u{ff11}\u{ff12}7.0.0.1/",
            "https://\u{24d0}.example/",
        ] {
            assert!(matches!(judge(url, &policy), Err(Refusal::BadUrl { .. })), "{url}");
        }
    }

    #[test]
    fn ports_follow_the_scheme_and_the_list() {
        let mut policy = policy(&["*"]);
        assert_eq!(judge("https://a.example/", &policy).unwrap().port, 443);
        assert_eq!(judge("coaps://a.example/", &policy).unwrap().port, 5684);
        assert!(judge("https://a.example:0/", &policy).is_err());
        policy.ports = vec![443];
        assert!(judge("https://a.example:22/", &policy).is_err());
        assert!(judge("https://a.example/", &policy).is_ok());
    }
}
