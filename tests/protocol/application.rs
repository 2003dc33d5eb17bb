//! The resources that the tests ask for.

use std::time::Duration;

use freshen::coap::{Code, Request, Response, Topic};

use crate::pair::Reply;

pub(crate) const TOPIC: Topic = Topic(7);

pub(crate) fn text(body: impl Into<Vec<u8>>) -> Response {
    Response::new(Code::CONTENT).with_payload(0, body.into())
}

/// `/long/N` has N bytes, `/slow` takes three seconds, `/watched` can be observed, `/silent` says
/// nothing, `/sink` gives back what it is given.
pub(crate) fn application(request: &Request) -> Reply {
    let path: Vec<&str> = request.path().flatten().collect();
    match &*path {
        ["long", length] => Reply::Now(text(pattern(length.parse().unwrap())), None),
        ["slow"] => Reply::Later(Duration::from_secs(3), text("slow"), None),
        ["watched"] => Reply::Now(text("first"), Some(TOPIC)),
        ["silent"] => Reply::Never,
        ["sink"] => {
            let mut response = Response::new(Code::CHANGED);
            response.payload = request.payload.clone();
            Reply::Now(response, None)
        }
        _ => Reply::Now(Response::diagnostic(Code::NOT_FOUND, "no such resource"), None),
    }
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 251) as u8).collect()
}
