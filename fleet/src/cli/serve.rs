//! `freshen-fleet serve`: opens the store, listens, answers, and tidies up now and then.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::access::housekeeping;
use crate::api;
use crate::blob::Blobs;
use crate::clock::Clock;
use crate::server::{Server, Waker};
use crate::store::Store;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;
/// How long a client may take for the head of a request, and for a handshake.
const HEAD: Duration = Duration::from_secs(15);
/// How long requests may go on after the order to end.
const GRACE: Duration = Duration::from_secs(5);
/// How often what is over is purged and sleeping devices are woken.
const ROUND: Duration = Duration::from_secs(30);

/// Run the server
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Where everything is kept; made when it is not there
    #[arg(long)]
    data: PathBuf,
    /// Where to listen; anything but loopback needs --cert and --key
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The server's certificate and those above it, PEM
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// Keep the database in PostgreSQL (15 or newer): `host=/run/postgresql user=fleet dbname=fleet`
    #[arg(long, env = "FRESHEN_FLEET_POSTGRES", hide_env_values = true)]
    postgres: Option<String>,
    /// Wake devices with this program; it gets the device's id
    #[arg(long, conflicts_with = "wake_webhook")]
    wake_command: Option<String>,
    /// Wake devices with a POST of {"device": id} to this address
    #[arg(long)]
    wake_webhook: Option<String>,
}

pub(super) fn run(serve: Serve) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(listen(serve))
}

async fn listen(serve: Serve) -> anyhow::Result<()> {
    let tls = match (&serve.cert, &serve.key) {
        (Some(cert), Some(key)) => Some(acceptor(cert, key)?),
        _ if !serve.listen.ip().is_loopback() => bail!(
            "{} is not loopback: everybody who can reach it needs TLS; give --cert and --key",
            serve.listen
        ),
        _ => None,
    };
    let server = open(&serve).await?;
    let listener = TcpListener::bind(serve.listen)
        .await
        .with_context(|| format!("{} cannot be listened on", serve.listen))?;
    let address = listener.local_addr()?;
    let first = server.first_token().await?;
    let mut ready = serde_json::json!({ "event": "ready", "http": [address.to_string()] });
    if let Some(minted) = &first {
        ready["token"] = minted.secret.reveal().into();
    }
    super::print(&ready.to_string())?;
    let (end, ended) = watch::channel(());
    let rounds = tokio::spawn(rounds(server.clone(), ended.clone()));
    let accepting = accept(listener, tls, api::router(server), ended);
    tokio::select! {
        () = accepting => {}
        signal = told_to_end() => signal?,
    }
    drop(end);
    tokio::time::sleep(Duration::from_millis(50)).await;
    rounds.abort();
    Ok(())
}

async fn open(serve: &Serve) -> anyhow::Result<Arc<Server>> {
    private_directory(&serve.data)
        .with_context(|| format!("{} cannot be used", serve.data.display()))?;
    let store = match &serve.postgres {
        Some(address) => Store::postgres(address).await,
        None => Store::sqlite(&serve.data.join("fleet.db")).await,
    };
    let store = store.context("the database cannot be opened")?;
    let blobs = Blobs::directory(&serve.data.join("packages")).await?;
    let waker = match (&serve.wake_command, &serve.wake_webhook) {
        (Some(program), _) => Waker::Command(program.clone()),
        (None, Some(url)) => Waker::Webhook(url.clone()),
        (None, None) => Waker::Nobody,
    };
    Ok(Server::start(store, blobs, Clock::default(), waker).await?)
}

/// Makes the directory for its owner alone: digests of tokens and packages are in it.
fn private_directory(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn acceptor(cert: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} has no certificate", cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("{} has no private key", key.display()))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and the key do not belong together")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers connections until it is told to end.
async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    ended: watch::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of files, or a peer that was gone before it was there: both pass.
                tracing::warn!("a connection was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, router, ended) = (tls.clone(), router.clone(), ended.clone());
        tokio::spawn(async move {
            let _place = place;
            serve_one(stream, tls, router, ended).await;
        });
    }
}

async fn serve_one(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    ended: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_http(TokioIo::new(stream), router, ended).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD, tls.accept(stream)).await {
                serve_http(TokioIo::new(stream), router, ended).await;
            }
        }
    }
}

async fn serve_http(
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    router: Router,
    mut ended: watch::Receiver<()>,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = http.serve_connection(io, TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = ended.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(GRACE, connection).await;
}

/// What is to be done again and again, until the server ends.
async fn rounds(server: Arc<Server>, mut ended: watch::Receiver<()>) {
    while tokio::time::timeout(ROUND, ended.changed()).await.is_err() {
        for tenant in server.tenants() {
            let scope = housekeeping(tenant);
            if let Err(refusal) = server.purge(&scope).await {
                tracing::warn!("what is over was not purged: {refusal}");
            }
            if let Err(refusal) = server.run_queue(&scope).await {
                tracing::warn!("nobody was woken: {refusal}");
            }
        }
    }
}

async fn told_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}
