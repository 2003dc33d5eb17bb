//! The vendor's part: a key, releases, and an https server.

use std::convert::Infallible;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use super::screen::Screen;
use super::shown;

/// What is wrong with a release.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Nothing.
    Good,
    /// One bit of its payload is flipped on the server.
    Flipped,
    /// Its health check fails.
    Bad,
}

/// A vendor with a web server in a thread of its own.
pub(super) struct Vendor<'a> {
    directory: PathBuf,
    port: u16,
    screen: &'a Screen,
}

impl<'a> Vendor<'a> {
    pub(super) fn open(directory: PathBuf, screen: &'a Screen) -> Result<Self> {
        shown(screen, &directory, &["keygen", "--out", "vendor"])?;
        fs::create_dir(directory.join("site"))?;
        let tls = certificates(&directory)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let site = Arc::new(directory.join("site"));
        std::thread::Builder::new()
            .name("vendor".into())
            .spawn(move || serve(listener, tls, site))?;
        Ok(Self { directory, port, screen })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Packs and publishes a release; its URL.
    pub(super) fn publish(&self, version: &str, megabytes: u32, kind: Kind) -> Result<String> {
        let tree = self.directory.join(format!("build-{version}"));
        fs::create_dir(&tree)?;
        fs::write(tree.join("version"), version)?;
        let health = tree.join("health");
        let code = if kind == Kind::Bad { 1 } else { 0 };
        fs::write(
            &health,
            format!("#!/bin/sh\n# What the device asks before it believes.\nexit {code}\n"),
        )?;
        fs::set_permissions(&health, fs::Permissions::from_mode(0o755))?;
        fs::write(tree.join("camera"), program(version, megabytes))?;
        let envelope = format!("site/{version}.suit");
        let build = format!("build-{version}/");
        shown(
            self.screen,
            &self.directory,
            &[
                "pack",
                "--key",
                "vendor.key.pem",
                "--vendor",
                "example.com",
                "--class",
                "cam-1",
                "--version",
                version,
                "--out",
                &envelope,
                "--sequence",
                &version.replace('.', ""),
                &build,
            ],
        )?;
        fs::remove_dir_all(&tree)?;
        if kind == Kind::Flipped {
            self.flip(version)?;
        }
        Ok(format!("https://localhost:{}/{version}.suit", self.port))
    }

    /// One bit in the middle of the payload.
    fn flip(&self, version: &str) -> Result<()> {
        let envelope = format!("{version}.suit");
        let payload = fs::read_dir(self.directory.join("site"))?
            .flatten()
            .find(|file| {
                let name = file.file_name().to_string_lossy().into_owned();
                name.starts_with(version) && name != envelope
            })
            .context("the release has no payload")?;
        let mut bytes = fs::read(payload.path())?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(payload.path(), bytes)?;
        self.screen.say(&format!("one bit of site/{} is flipped", payload.file_name().display()));
        Ok(())
    }
}

/// Something large that does not compress, other bytes for each version.
fn program(version: &str, megabytes: u32) -> Vec<u8> {
    let seed = version.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte));
    let mut bytes = vec![0; megabytes as usize * 1_000_000];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// An authority, written to `site-ca.pem`, and a certificate for this machine.
fn certificates(directory: &Path) -> Result<Arc<rustls::ServerConfig>> {
    let mut params = CertificateParams::new(vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Demo authority");
    let authority_key = KeyPair::generate()?;
    let authority = params.self_signed(&authority_key)?;
    fs::write(directory.join("site-ca.pem"), authority.pem())?;
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    Ok(Arc::new(config))
}

/// Serves the site until the process ends.
fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, site: Arc<PathBuf>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async move {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, site) = (TlsAcceptor::from(tls.clone()), site.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| answer(site.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // A client that goes away in the middle is the client's affair.
                let _ = connection.await;
            });
        }
    });
}

/// A whole file, or 404.
async fn answer(
    site: Arc<PathBuf>,
    request: Request<Incoming>,
) -> Result<Response<File>, Infallible> {
    let name = request.uri().path().trim_start_matches('/');
    let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    let bytes = plain.then(|| fs::read(site.join(name)).ok()).flatten();
    let mut response = Response::new(File(bytes.clone().map(Bytes::from)));
    if bytes.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

/// A body in memory.
struct File(Option<Bytes>);

impl Body for File {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
