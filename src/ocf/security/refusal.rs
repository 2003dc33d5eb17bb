//! Why a write changes nothing, and the code that says so.

use crate::coap::{Code, Response};

/// Why a write changes nothing. The words are for the one who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body says something that cannot be: 4.00.
    #[error("{0}")]
    Malformed(String),
    /// Not in this state, or not on this connection: 4.00, as IoTivity-Lite has it for a POST.
    #[error("{0}")]
    WrongState(String),
    /// A removal that this state forbids: 4.03, as IoTivity-Lite has it.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such entry: 4.04.
    #[error("there is no such entry")]
    Absent,
    /// There is no room for another entry: 4.13.
    #[error("there is no room: this device keeps {max} {what}")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many there can be.
        max: usize,
    },
    /// The device cannot do this now: 5.03.
    #[error("{0}")]
    Later(&'static str),
}

impl Refusal {
    /// The answer that says so.
    pub fn response(&self) -> Response {
        let code = match self {
            Self::Malformed(_) | Self::WrongState(_) => Code::BAD_REQUEST,
            Self::Forbidden(_) => Code::FORBIDDEN,
            Self::Absent => Code::NOT_FOUND,
            Self::Full { .. } => Code::REQUEST_ENTITY_TOO_LARGE,
            Self::Later(_) => Code::SERVICE_UNAVAILABLE,
        };
        Response::diagnostic(code, self.to_string())
    }
}
