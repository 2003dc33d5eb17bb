//! A web server over TLS that does what it is told to do wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use url::Url;

use harness::certs::{self, Certs};

pub(crate) type Stream = StreamOwned<ServerConnection, TcpStream>;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) range_from: Option<usize>,
    pub(crate) if_range: Option<String>,
    /// Counts requests from 0.
    pub(crate) number: usize,
}

/// What to answer; the connection is closed when it returns.
pub(crate) type Behaviour = dyn Fn(&Request, &mut Stream) -> std::io::Result<()> + Send + Sync;

pub(crate) struct Faulty {
    pub(crate) certs: Certs,
    pub(crate) base: Url,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
}

impl Faulty {
    /// Serves until the test's process ends.
    pub(crate) fn start(
        behaviour: impl Fn(&Request, &mut Stream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1", behaviour)
    }

    /// As [`Self::start`], at another address of loopback.
    pub(crate) fn start_at(
        address: &str,
        behaviour: impl Fn(&Request, &mut Stream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let certs = certs::make();
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(server_config(&certs));
        let requests = Arc::new(Mutex::new(vec![]));
        let server = Self {
            certs,
            base: Url::parse(&format!("https://localhost:{port}/")).unwrap(),
            requests: requests.clone(),
        };
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, requests) = (config.clone(), requests.clone());
                let behaviour = behaviour.clone();
                std::thread::spawn(move || serve(stream, config, &requests, &*behaviour));
            }
        });
        server
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    requests: &Mutex<Vec<Request>>,
    behaviour: &Behaviour,
) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let request = {
        let mut seen = read_request(&mut stream)?;
        let mut requests = requests.lock().unwrap();
        seen.number = requests.len();
        requests.push(seen.clone());
        seen
    };
    behaviour(&request, &mut stream).ok()?;
    stream.conn.send_close_notify();
    let _ = stream.flush();
    // Wait for the other side, or the kernel may throw away what it has not read yet.
    let _ = stream.sock.shutdown(std::net::Shutdown::Write);
    let _ = stream.sock.read(&mut [0; 16]);
    Some(())
}

fn read_request(stream: &mut Stream) -> Option<Request> {
    let mut lines = BufReader::with_capacity(1, stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut request = Request { path, range_from: None, if_range: None, number: 0 };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else { return Some(request) };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let from = value.strip_prefix("bytes=")?.strip_suffix('-')?;
                request.range_from = Some(from.parse().ok()?);
            }
            "if-range" => request.if_range = Some(value.to_owned()),
            _ => {}
        }
    }
    None
}

fn server_config(certs: &Certs) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(certs.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certs.key.as_bytes()).unwrap();
    ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// A head with these fields.
pub(crate) fn head(
    stream: &mut Stream,
    status: &str,
    fields: &[(&str, String)],
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{text}\r\n").as_bytes())
}

/// As a good server answers; at most `most` bytes of the body, then the connection ends.
pub(crate) fn serve_well(
    body: &[u8],
    request: &Request,
    stream: &mut Stream,
    most: usize,
) -> std::io::Result<()> {
    let from = begin_well(body, request, stream)?;
    let end = body.len().min(from.saturating_add(most));
    stream.write_all(&body[from..end])?;
    stream.flush()
}

/// The head of a good server's answer; where in the body it begins.
pub(crate) fn begin_well(
    body: &[u8],
    request: &Request,
    stream: &mut Stream,
) -> std::io::Result<usize> {
    let from = request.range_from.unwrap_or(0).min(body.len());
    let etag = "\"v1\"";
    let current = request.if_range.as_deref().is_none_or(|asked| asked == etag);
    let from = if current { from } else { 0 };
    let mut fields =
        vec![("Content-Length", (body.len() - from).to_string()), ("ETag", etag.to_owned())];
    let status = if request.range_from.is_some() && current {
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        fields.push(("Content-Range", range));
        "206 Partial Content"
    } else {
        "200 OK"
    };
    head(stream, status, &fields)?;
    Ok(from)
}

/// Counts bytes that were written to the connection.
pub(crate) fn write_counted(
    stream: &mut Stream,
    bytes: &[u8],
    count: &AtomicU64,
) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()?;
    count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    Ok(())
}
