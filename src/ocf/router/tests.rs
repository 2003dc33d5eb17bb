//! One request, one answer.

use ciborium::{Value, cbor};
use uuid::Uuid;

use super::*;
use crate::clock::Instant;
use crate::clock::Now;
use crate::ocf::memo::Memo;
use crate::ocf::security::Security;
use crate::ocf::site::{About, NO_PROGRESS};
use crate::update::State;
use crate::update::{Rules, step};

struct Bench {
    about: About,
    state: State,
    endpoints: Vec<String>,
    /// None: everything is open.
    security: Option<Security>,
    rules: security::Rules,
    memo: Memo,
    step: u64,
}

impl Bench {
    fn new() -> Self {
        let about = About {
            device: Uuid::from_u128(1),
            protocol_independent: Uuid::from_u128(2),
            platform: Uuid::from_u128(3),
            name: "Camera".into(),
            manufacturer: "Example Ltd".into(),
            model: "cam-1".into(),
            manufactured: "2026-01-09T14:30:00Z".parse().unwrap(),
            softwareupdate_href: "/softwareupdateResURI".into(),
            purl_max: 64,
        };
        let state = State::new("1.0.0", about.manufactured);
        let endpoints =
            vec!["coap://127.0.0.1:5683".to_owned(), "coaps://127.0.0.1:5684".to_owned()];
        Self {
            about,
            state,
            endpoints,
            security: None,
            rules: security::Rules::default(),
            memo: Memo::default(),
            step: 0,
        }
    }

    fn site(&self) -> Site<'_> {
        Site {
            about: &self.about,
            state: &self.state,
            step: self.step,
            memo: &self.memo,
            progress: &NO_PROGRESS,
            endpoints: &self.endpoints,
            guard: self.security.as_ref().map(|state| Guard {
                state,
                rules: &self.rules,
                connected: false,
                locked: false,
            }),
            now: Now { wall: "2026-02-01T00:00:00Z".parse().unwrap(), mono: Instant::ZERO },
        }
    }

    fn ask(&self, request: Request) -> Option<Response> {
        self.ask_as(&Subject::Anonymous, Reception::Unicast, request)
    }

    fn ask_as(
        &self,
        subject: &Subject,
        reception: Reception,
        request: Request,
    ) -> Option<Response> {
        let site = self.site();
        match answer(&site, subject, reception, request) {
            Answer::Reply(response, _)
            | Answer::Denied(response, _)
            | Answer::Refused(response) => Some(response),
            Answer::Silence => None,
            Answer::Write(..) | Answer::Roles(..) => unreachable!("nothing here writes these"),
            Answer::Order(command, pending) => {
                let input = crate::update::Input::Command(command);
                match step(&self.state, input, &Rules::default(), site.now) {
                    Ok(step) => {
                        let site = Site { state: &step.next, step: u64::MAX, ..site };
                        Some(pending.done(&site, None))
                    }
                    Err(refusal) => Some(pending.done(&site, Some(&refusal))),
                }
            }
        }
    }

    /// As the device's loop does: the next request sees what this one has changed.
    fn take(&mut self, request: Request) {
        let site = self.site();
        let answer = answer(&site, &Subject::Anonymous, Reception::Unicast, request);
        let Answer::Order(command, _) = answer else { panic!("{answer:?}") };
        let input = crate::update::Input::Command(command);
        let next = step(&self.state, input, &Rules::default(), site.now).unwrap().next;
        self.state = next;
        self.step += 1;
    }

    fn code(&self, request: Request) -> Code {
        self.ask(request).unwrap().code
    }
}

fn unowned() -> Security {
    let key = security::Secret::new(vec![1]);
    Security::new(security::Fresh { device: Uuid::from_u128(7), key })
}

fn get(path: &str) -> Request {
    Request::new(Code::GET, path)
}

fn with(mut request: Request, number: u16, value: u32) -> Request {
    request.options.set_uint(number, value);
    request
}

fn post(path: &str, body: Value) -> Request {
    let mut request = Request::new(Code::POST, path);
    request.payload = body::encoded(&body);
    with(request, option::CONTENT_FORMAT, 10000)
}

fn value(response: &Response) -> Value {
    ciborium::from_reader(&*response.payload).unwrap()
}

fn member(value: &Value, name: &str) -> Value {
    let map = value.as_map().unwrap();
    map.iter().find(|(key, _)| key.as_text() == Some(name)).expect(name).1.clone()
}

const SWU: &str = "/softwareupdateResURI";

#[test]
fn the_resource_shows_its_published_names_and_nothing_more() {
    let bench = Bench::new();
    let response = bench.ask(get(SWU)).unwrap();
    assert_eq!(response.options.uint(option::CONTENT_FORMAT), Some(10000));
    let names = |response: &Response| -> Vec<String> {
        let value = value(response);
        value.as_map().unwrap().iter().map(|(key, _)| key.as_text().unwrap().into()).collect()
    };
    let plain = [
        "purl",
        "swupdateaction",
        "swupdatestate",
        "swupdateresult",
        "lastupdate",
        "signed",
        "updatetime",
    ];
    assert_eq!(names(&response), plain);
    let baseline = bench.ask(get("/softwareupdateResURI?if=oic.if.baseline")).unwrap();
    assert_eq!(names(&baseline), [&["rt", "if"][..], &plain].concat());
}

#[test]
fn the_version_option_goes_only_to_those_who_know_it() {
    let bench = Bench::new();
    let version = |request| bench.ask(request).unwrap().options.uint(2053);
    assert_eq!(version(get(SWU)), None);
    assert_eq!(version(with(get(SWU), 2049, 2048)), Some(2048));
    // Who accepts the format need not know the option, and has to drop an answer with it.
    assert_eq!(version(with(get(SWU), option::ACCEPT, 10000)), None);
    assert_eq!(version(with(get(SWU), option::ACCEPT, 60)), None);
}

#[test]
fn formats_and_versions_that_are_not_spoken_are_refused() {
    let bench = Bench::new();
    assert_eq!(bench.code(with(get(SWU), option::ACCEPT, 50)), Code::NOT_ACCEPTABLE);
    assert_eq!(bench.code(with(get(SWU), 2049, 2047)), Code::UNSUPPORTED_CONTENT_FORMAT);
    let body = cbor!({"tm" => 0}).unwrap();
    let json = with(post("/oic/sec/pstat", body), option::CONTENT_FORMAT, 50);
    assert_eq!(bench.code(json), Code::UNSUPPORTED_CONTENT_FORMAT);
}

#[test]
fn methods_interfaces_and_paths_that_are_not_there_are_refused() {
    let bench = Bench::new();
    for (code, path, expected) in [
        (Code::GET, "/nothing", Code::NOT_FOUND),
        (Code::GET, "/", Code::NOT_FOUND),
        (Code::PUT, SWU, Code::METHOD_NOT_ALLOWED),
        (Code::DELETE, SWU, Code::METHOD_NOT_ALLOWED),
        (Code(5), SWU, Code::METHOD_NOT_ALLOWED),
        (Code::POST, "/oic/d", Code::FORBIDDEN),
        (Code::DELETE, "/updatestatus", Code::FORBIDDEN),
        (Code::GET, "/softwareupdateResURI?if=oic.if.ll", Code::FORBIDDEN),
        (Code::PUT, "/softwareupdateResURI?if=oic.if.ll", Code::FORBIDDEN),
    ] {
        assert_eq!(bench.code(Request::new(code, path)), expected, "{code:?} {path}");
    }
}

#[test]
fn an_order_is_answered_with_the_whole_new_representation() {
    let bench = Bench::new();
    let body = cbor!({
        "purl" => "https://myvendor/newversion",
        "swupdateaction" => "upgrade",
        "updateatime" => "2030-01-09T14:30Z",
    });
    let response = bench.ask(post(SWU, body.unwrap())).unwrap();
    assert_eq!(response.code, Code::CHANGED);
    let value = value(&response);
    assert_eq!(member(&value, "purl"), "https://myvendor/newversion".into());
    assert_eq!(member(&value, "swupdateaction"), "upgrade".into());
    assert_eq!(member(&value, "updatetime"), "2030-01-09T14:30:00Z".into());
    assert_eq!(member(&value, "swupdatestate"), "idle".into());
}

#[test]
fn a_time_in_the_past_is_refused_with_the_devices_own() {
    let bench = Bench::new();
    let body = |action: &str| {
        cbor!({"purl" => "https://v/a", "swupdateaction" => action, "updatetime" => "2026-01-31T23:59:54Z"})
            .unwrap()
    };
    let response = bench.ask(post(SWU, body("upgrade"))).unwrap();
    assert_eq!(response.code, Code::BAD_REQUEST);
    assert!(String::from_utf8(response.payload).unwrap().starts_with("updatetime"));
    assert_eq!(bench.code(post(SWU, body("idle"))), Code::CHANGED);
}

#[test]
fn a_second_order_is_taken_when_it_is_the_same_and_finds_the_device_busy_when_it_is_not() {
    let mut bench = Bench::new();
    let now = "2026-02-01T00:00:00Z";
    let order = |source: &str, action: &str, time: &str| {
        cbor!({"purl" => source, "swupdateaction" => action, "updatetime" => time}).unwrap()
    };
    bench.take(post(SWU, order("https://v/a", "upgrade", now)));
    let tm = |bits| post("/oic/sec/pstat", cbor!({"tm" => bits}).unwrap());
    assert_eq!(bench.code(tm(128)), Code::CHANGED);
    assert_eq!(bench.code(tm(256)), Code::SERVICE_UNAVAILABLE);
    assert_eq!(bench.code(post(SWU, order("https://v/a", "upgrade", now))), Code::CHANGED);
    assert_eq!(bench.code(post(SWU, order("https://v/a", "isac", now))), Code::SERVICE_UNAVAILABLE);
    assert_eq!(
        bench.code(post(SWU, order("https://v/b", "upgrade", now))),
        Code::SERVICE_UNAVAILABLE
    );
}

#[test]
fn what_is_remembered_is_what_would_be_made() {
    let mut bench = Bench::new();
    let shown = |bench: &Bench| {
        ["/updatestatus", SWU, "/oic/sec/pstat"].map(|path| value(&bench.ask(get(path)).unwrap()))
    };
    let fresh = |bench: &mut Bench| {
        let remembered = [shown(bench), shown(bench)];
        bench.memo = Memo::default();
        assert_eq!(remembered, [shown(bench), shown(bench)]);
        remembered[0].clone()
    };
    let before = fresh(&mut bench);
    let order =
        cbor!({"purl" => "https://v/a", "swupdateaction" => "upgrade", "updatetime" => "now"});
    bench.take(post(SWU, order.unwrap()));
    let after = fresh(&mut bench);
    assert!(before[0] != after[0] && before[1] != after[1], "{before:?} {after:?}");
    bench.security = Some(unowned());
    let known = Subject::Known("client-1".into());
    let pstat = |bench: &Bench| {
        value(&bench.ask_as(&known, Reception::Unicast, get("/oic/sec/pstat")).unwrap())
    };
    assert_ne!(pstat(&bench), after[2], "ownership is shown as it is");
}

#[test]
fn links_are_filtered_by_type_and_tell_every_endpoint() {
    let mut bench = Bench::new();
    let links = value(&bench.ask(get("/oic/res")).unwrap());
    assert_eq!(links.as_array().unwrap().len(), 7);
    let two = bench.ask(get("/oic/res?rt=oic.wk.d&rt=oic.r.softwareupdate")).unwrap();
    let two = value(&two);
    let two = two.as_array().unwrap();
    assert_eq!(two.len(), 2);
    assert_eq!(member(&two[1], "href"), SWU.into());
    assert_eq!(member(&member(&two[1], "p"), "bm"), 3.into());
    assert_eq!(member(&two[1], "eps").as_array().unwrap().len(), 2);
    let baseline = value(&bench.ask(get("/oic/res?if=oic.if.baseline")).unwrap());
    assert_eq!(member(&baseline.as_array().unwrap()[0], "links").as_array().unwrap().len(), 7);
    bench.security = Some(unowned());
    let two = value(&bench.ask(get("/oic/res?rt=oic.r.softwareupdate")).unwrap());
    assert_eq!(member(&two.as_array().unwrap()[0], "eps").as_array().unwrap().len(), 1);
}

#[test]
fn a_group_is_answered_only_by_those_who_have_something_to_say() {
    let bench = Bench::new();
    let ask = |request| bench.ask_as(&Subject::Anonymous, Reception::Multicast, request);
    assert!(ask(get("/oic/res?rt=oic.r.softwareupdate")).is_some());
    assert!(ask(get("/oic/res?rt=oic.r.doxm")).is_none());
    assert!(ask(get("/nothing")).is_none());
    assert!(ask(post("/oic/sec/pstat", cbor!({"tm" => 128}).unwrap())).is_none());
    let response = bench.ask(get("/oic/res?rt=oic.r.doxm")).unwrap();
    assert_eq!(response.code, Code::BAD_REQUEST);
}

#[test]
fn in_clear_only_what_a_device_must_tell_is_told() {
    let mut bench = Bench::new();
    bench.security = Some(unowned());
    for (path, code) in [
        ("/oic/res", Code::CONTENT),
        ("/oic/d", Code::CONTENT),
        ("/oic/p", Code::CONTENT),
        ("/oic/sec/pstat", Code::CONTENT),
        (SWU, Code::UNAUTHORIZED),
        ("/updatestatus", Code::UNAUTHORIZED),
    ] {
        assert_eq!(bench.code(get(path)), code, "{path}");
        let known = Subject::Known("client-1".into());
        let response = bench.ask_as(&known, Reception::Unicast, get(path)).unwrap();
        assert_eq!(response.code, Code::CONTENT, "{path}");
    }
}

#[test]
fn plain_coap_tools_find_their_way_by_link_format() {
    let bench = Bench::new();
    let response = bench.ask(get("/.well-known/core?rt=oic.r.soft*")).unwrap();
    let text = String::from_utf8(response.payload).unwrap();
    assert_eq!(
        text,
        "</softwareupdateResURI>;rt=\"oic.r.softwareupdate\";if=\"oic.if.rw oic.if.baseline\";ct=10000;obs"
    );
    assert_eq!(response.options.uint(option::CONTENT_FORMAT), Some(40));
}

#[test]
fn identifiers_are_texts() {
    let bench = Bench::new();
    for (path, name) in [("/oic/d", "di"), ("/oic/d", "piid"), ("/oic/p", "pi")] {
        let value = value(&bench.ask(get(path)).unwrap());
        assert_eq!(member(&value, name).as_text().unwrap().len(), 36, "{path} {name}");
    }
    let pstat = value(&bench.ask(get("/oic/sec/pstat")).unwrap());
    assert_eq!(member(&pstat, "rowneruuid"), Uuid::nil().to_string().into());
}

#[test]
fn only_what_can_be_watched_says_how_long_it_is_fresh() {
    let bench = Bench::new();
    let max_age = |request| bench.ask(request).unwrap().options.uint(option::MAX_AGE);
    for path in [SWU, "/oic/sec/pstat", "/updatestatus"] {
        assert_eq!(max_age(get(path)), Some(WATCHED_FRESH_S), "{path}");
    }
    assert_eq!(max_age(get("/oic/d")), None);
    // What answers a change cannot be kept.
    let at = "2026-02-01T00:00:00Z";
    let order = cbor!({"purl" => "https://v/a", "swupdateaction" => "upgrade", "updatetime" => at});
    assert_eq!(max_age(post(SWU, order.unwrap())), None);
}
