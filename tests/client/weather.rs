//! Real clients and real servers over a bad line: libcoap's client and aiocoap's to our device, ours to
//! libcoap's server.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use ciborium::cbor;
use freshen::fetch::{Fetcher, Settings};
use freshen::package::{Component, Digest, Format, Source};
use freshen::worker::{Cancel, Progress};
use sha2::Digest as _;
use url::Url;

use super::ours::Device;
use super::peers::{Peer, python};
use super::run;
use harness::line::{Line, Weather};

/// Loss that costs each exchange a few retransmissions in ten, copies, and enough delay to disorder
/// them.
fn bad(seed: u64) -> Weather {
    let (delay, jitter) = (Duration::from_millis(1), Duration::from_millis(20));
    Weather { seed, lost: 10, doubled: 20, delay, jitter }
}

/// Every datagram comes at least twice, in any order; nothing is lost.
fn echoing(seed: u64) -> Weather {
    Weather { lost: 0, doubled: 100, ..bad(seed) }
}

/// What libcoap's client prints; it asks for small blocks, so that there are many.
fn libcoap_gets(at: SocketAddr, path: &str) -> Vec<u8> {
    let mut client = Command::new("timeout");
    client.args(["100", "coap-client-notls", "-B", "90", "-b", "256", "-o", "-", "-m", "get"]);
    let ran = client.arg(format!("coap://{at}{path}")).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    ran.stdout
}

#[test]
fn libcoaps_client_reads_our_device_over_a_bad_line() {
    let device = Device::open();
    // Version 4.3.1 of it writes a block twice that came twice: no copies here.
    let line = Line::to(device.coap[0], Weather { doubled: 0, ..bad(7) });
    let clear = libcoap_gets(device.coap[0], "/oc/introspection");
    assert!(clear.len() > 2000, "{} bytes", clear.len());
    let read = libcoap_gets(line.address, "/oc/introspection");
    assert!(read == clear, "{} bytes of {} came", read.len(), clear.len());
    assert!(line.counts().lost > 0, "{:?}", line.counts());
}

#[test]
fn aiocoaps_client_reads_our_device_over_a_bad_line() {
    let device = Device::open();
    let line = Line::to(device.coap[0], bad(11));
    let script = "
import asyncio, sys, aiocoap, cbor2
async def main():
    context = await aiocoap.Context.create_client_context()
    for path in ['/oic/d', '/oic/p', '/oc/introspection', '/softwareupdateResURI'] * 2:
        request = aiocoap.Message(code=aiocoap.GET, uri=sys.argv[1] + path)
        answer = await context.request(request).response
        assert answer.code == aiocoap.CONTENT, answer
        cbor2.loads(answer.payload)
    await context.shutdown()
asyncio.run(main())
print('all read')
";
    let mut client = Command::new("timeout");
    client.args(["150", &python(), "-c", script, &format!("coap://{}", line.address)]);
    assert_eq!(run(&mut client).done(), "all read\n");
    let counts = line.counts();
    assert!(counts.lost > 0 && counts.doubled > 0, "{counts:?}");
}

#[test]
fn an_order_that_comes_in_many_copies_is_carried_out_once() {
    let device = Device::open();
    let line = Line::to(device.coap[0], echoing(3));
    let body = tempfile::NamedTempFile::new().unwrap();
    let (purl, at) = ("https://depot.example/a", "2030-01-09T14:30:00Z");
    let order = cbor!({"purl" => purl, "swupdateaction" => "isac", "updatetime" => at});
    let mut bytes = vec![];
    ciborium::into_writer(&order.unwrap(), &mut bytes).unwrap();
    fs::write(body.path(), bytes).unwrap();
    for _ in 0..5 {
        let mut client = Command::new("timeout");
        client.args(["60", "coap-client-notls", "-B", "30", "-m", "post", "-t", "10000", "-f"]);
        client.arg(body.path()).arg(format!("coap://{}/softwareupdateResURI", line.address));
        assert!(client.output().unwrap().status.success());
    }
    // The last copies are still on their way.
    harness::until("the copies arrive", || line.counts().all_arrived());
    let counts = line.counts();
    assert!(counts.doubled >= 10, "{counts:?}");
    assert_eq!(device.log().matches(" asks: ").count(), 5, "{}", device.log());
}

#[test]
fn our_client_downloads_from_libcoaps_server_over_a_bad_line() {
    let server = Peer::libcoap_with_resources();
    let body: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_be_bytes()).collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("upload");
    fs::write(&file, &body).unwrap();
    let mut put = Command::new("timeout");
    put.args(["60", "coap-client-notls", "-m", "put", "-b", "1024", "-B", "30", "-f"]).arg(&file);
    let url = format!("coap://127.0.0.1:{}/body", server.port);
    assert!(put.arg(url).output().unwrap().status.success());

    let at = SocketAddr::from(([127, 0, 0, 1], server.port));
    let line = Line::to(at, Weather { lost: 5, ..bad(5) });
    let settings = Settings {
        allow_hosts: vec!["*".into()],
        allow_schemes: vec!["coap".into()],
        loopback_addresses: true,
        ..Settings::default()
    };
    let component = Component {
        id: vec!["body".into()],
        digest: Digest(sha2::Sha256::digest(&body).into()),
        size: body.len() as u64,
        format: Format::Raw,
        source: Source::Uri("body".into()),
    };
    let base = Url::parse(&format!("coap://{}/", line.address)).unwrap();
    let (into, progress) = (directory.path().join("download"), Progress::new(component.size));
    let fetcher = Fetcher::new(settings).unwrap();
    fetcher.payload(&base, &component, &into, &progress, &Cancel::new()).unwrap();
    assert!(fs::read(&into).unwrap() == body);
    let counts = line.counts();
    assert!(counts.lost > 0 && counts.doubled > 0, "{counts:?}");
}
