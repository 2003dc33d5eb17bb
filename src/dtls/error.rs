//! What can go wrong, in the words of the one who must act.

/// Why something of this room did not work.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A message does not follow its grammar.
    #[error("the other side sent a malformed {0}")]
    Malformed(&'static str),
    /// A well-formed message at the wrong place.
    #[error("the other side sent {0} where it has no place")]
    Unexpected(&'static str),
    /// A value that was not offered or makes no sense.
    #[error("the other side chose {0} that is not allowed")]
    Illegal(&'static str),
    /// The other side speaks no DTLS 1.2.
    #[error("the other side does not speak DTLS 1.2")]
    Version,
    /// The two sides have no suite, curve or signature in common, or no key for one.
    #[error("no cipher suite fits both sides: {0}")]
    NoSharedSuite(&'static str),
    /// The server does not know this PSK identity. Never told to the peer.
    #[error("the PSK identity is not known")]
    UnknownPskIdentity,
    /// The server wants a key, and by its hint it is none of those we have keys for.
    #[error("there is no key for this server")]
    NoKey,
    /// The encrypted Finished could not be read: the keys differ.
    #[error("the other side has another key (check the PSK and its identity)")]
    KeyMismatch,
    /// A Finished that does not cover this handshake.
    #[error("the Finished message does not match the handshake")]
    FinishedMismatch,
    /// A signature of the peer is wrong.
    #[error("the signature in {0} is wrong")]
    BadSignature(&'static str),
    /// The peer has to show a certificate and did not.
    #[error("the other side showed no certificate")]
    NoCertificate,
    /// The chain of the peer leads to none of the anchors, has expired, or breaks a rule.
    #[error("the certificate of the other side is not accepted: {0}")]
    Certificate(String),
    /// The peer ended the handshake.
    #[error("the other side refused with alert {0} ({name})", name = super::alert::name(*.0))]
    Alert(u8),
    /// The deadline passed.
    #[error("the other side did not answer in time")]
    TimedOut,
    /// What clients may do has changed since the handshake began; a new one is judged anew.
    #[error("what is asked of clients has changed meanwhile; try again")]
    PolicyChanged,
    /// A newer handshake of the same peer took over, another peer needed its place, or the caller closed
    /// it.
    #[error("the handshake was given up")]
    Abandoned,
    /// The caller's own key, certificate or anchor cannot be used.
    #[error("{0}")]
    Credentials(String),
    /// There is no such session (any more).
    #[error("the session has ended")]
    NoSession,
    /// More bytes than fit into one datagram of the path.
    #[error("{bytes} bytes do not fit into one datagram; at most {max} do")]
    TooLong {
        /// How many were given.
        bytes: usize,
        /// How many may be given.
        max: usize,
    },
    /// A table is full; see [`super::Config`].
    #[error("no room for another session; try again later")]
    Full,
}
