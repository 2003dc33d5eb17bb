//! What OCF adds to CoAP's messages.

use ciborium::Value;

use super::{Refusal, body};
use crate::coap::{Code, Request, Response, option};

/// OCF-Accept-Content-Format-Version and OCF-Content-Format-Version. Both are critical.
pub(super) const CRITICAL_OPTIONS: [u16; 2] = [ACCEPT_VERSION, CONTENT_VERSION];
const ACCEPT_VERSION: u16 = 2049;
const CONTENT_VERSION: u16 = 2053;

/// 1.0.0, in their notation: what every OCF device sends.
const VERSION: u32 = 2048;

/// application/vnd.ocf+cbor and application/cbor.
const OCF_CBOR: u32 = 10_000;
const CBOR: u32 = 60;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With OCF's options and content format.
    Ocf,
    /// As any CoAP server understands it.
    Plain,
}

/// Adds what this way of asking needs.
pub fn dressed(mut request: Request, way: Way) -> Request {
    let has_body = !request.payload.is_empty();
    if way == Way::Ocf {
        request.options.set_uint(option::ACCEPT, OCF_CBOR);
        request.options.set_uint(ACCEPT_VERSION, VERSION);
        if has_body {
            request.options.set_uint(option::CONTENT_FORMAT, OCF_CBOR);
            request.options.set_uint(CONTENT_VERSION, VERSION);
        }
    } else if has_body {
        request.options.set_uint(option::CONTENT_FORMAT, CBOR);
    }
    request
}

/// A GET in OCF's way.
pub fn get(path: &str) -> Request {
    dressed(Request::new(Code::GET, path), Way::Ocf)
}

/// Whether a server that knows nothing of OCF gave this answer: nothing has been done, and it is
/// worth asking in the plain way.
pub(super) fn unknown(method: Code, response: &Response) -> bool {
    match response.code {
        Code::BAD_OPTION | Code::UNSUPPORTED_CONTENT_FORMAT => true,
        Code::NOT_ACCEPTABLE => method == Code::GET,
        _ => false,
    }
}

/// The response, if it is a success.
///
/// # Errors
///
/// What the device says of its refusal.
pub fn accepted(response: Response) -> Result<Response, Refusal> {
    if response.code.is_success() { Ok(response) } else { Err(Refusal::of(&response)) }
}

/// Whether the body is CBOR.
pub fn is_cbor(response: &Response) -> bool {
    matches!(response.options.uint(option::CONTENT_FORMAT), Some(OCF_CBOR | CBOR))
}

/// The body, if it is CBOR.
pub fn cbor(response: &Response) -> Option<Value> {
    is_cbor(response).then(|| body::decode(&response.payload)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_in_ocfs_way_carry_its_options() {
        let mut request = Request::new(Code::POST, "/swu");
        request.payload = vec![0xa0];
        let ocf = dressed(request.clone(), Way::Ocf);
        assert_eq!(ocf.options.uint(ACCEPT_VERSION), Some(2048));
        assert_eq!(ocf.options.uint(CONTENT_VERSION), Some(2048));
        assert_eq!(ocf.options.uint(option::CONTENT_FORMAT), Some(10_000));
        let plain = dressed(request, Way::Plain);
        assert_eq!(plain.options.uint(option::CONTENT_FORMAT), Some(60));
        assert!(CRITICAL_OPTIONS.iter().all(|number| plain.options.uint(*number).is_none()));
    }
}
