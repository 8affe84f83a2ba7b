//! The public edge: bid requests are answered from views, reports are answered once the log has them. A bulkhead of its
//! own; nothing that happens in a service is felt here but an age of a view or a log that is behind.
//!
//! `serve` is a request's way, `bid` and `track` the two kinds of it; `token` and `facts` are what travels in URLs; `buckets`,
//! `line`, `depth`, `config` are the limits; `wire`, `framing`, `door` what is said below HTTP; `appender` is how it writes.

mod answer;
pub mod appender;
pub mod base64url;
mod bid;
pub mod buckets;
pub mod config;
pub mod depth;
mod door;
pub mod facts;
mod framing;
pub mod keyfile;
mod line;
pub mod macros;
mod query;
mod recent;
mod response;
mod serve;
pub mod stats;
pub mod token;
mod track;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::env::{BulkheadRuntime, Env};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::platform::Composed;
use crate::sources::slices::{Slices, SourceError};
use crate::sources::treasury::Treasury;
use appender::Appender;
use config::EdgeConfig;
use door::Gate;
use recent::Recent;
use serve::{Rates, Served};
use stats::EdgeStats;
use wire::Wire;

/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Requests under way may take this long to end at a drain.
const GRACE: Duration = Duration::from_secs(2);
/// After an error of the system (no file left) nothing is accepted for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why there is no edge.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("cannot listen on {address}: {source}; choose another address")]
    Listen { address: String, source: std::io::Error },
    #[error("no threads for the edge: {0}")]
    Threads(std::io::Error),
    #[error(transparent)]
    Keys(#[from] keyfile::KeyFileError),
}

impl EdgeError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "LISTEN",
            Self::Threads(_) => "THREADS",
            Self::Keys(error) => error.kind(),
        }
    }
}

/// Listens where it was asked to. Where nobody asked and the usual port is taken, the system chooses one.
///
/// # Errors
/// The address is taken, or not ours.
pub async fn listen(asked: Option<&str>, usual: &str) -> Result<TcpListener, EdgeError> {
    let failed = |address: &str, source| EdgeError::Listen { address: address.to_owned(), source };
    let Some(address) = asked else {
        return match TcpListener::bind(usual).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(usual, error)),
        };
    };
    TcpListener::bind(address).await.map_err(|error| failed(address, error))
}

/// An edge that serves.
pub struct Edge {
    pub address: SocketAddr,
    pub stats: Arc<EdgeStats>,
    served: Arc<Served>,
    env: Env,
    keys_file: PathBuf,
    stop: watch::Sender<bool>,
    stop_treasury: Arc<AtomicBool>,
    treasury: Mutex<Option<JoinHandle<Result<(), SourceError>>>>,
    _probes: BulkheadRuntime,
    runtime: BulkheadRuntime,
}

impl Edge {
    /// Starts to serve what `asked` names.
    ///
    /// # Errors
    /// [`EdgeError`]; nothing is left running.
    pub async fn start(up: &Composed, data: &Path, asked: Option<&str>, config: EdgeConfig) -> Result<Self, EdgeError> {
        let env = up.env.clone();
        let keys_file = config.keys_file.clone().unwrap_or_else(|| data.join(keyfile::FILE));
        let keys = keyfile::load(&env, &keys_file)?;
        let runtime = BulkheadRuntime::with_network(&env, "edge", config.threads, 0).map_err(EdgeError::Threads)?;
        // Bound where it is served: a listener belongs to the runtime that made it.
        let asked_for = asked.map(str::to_owned);
        let listener = runtime.spawn(async move { listen(asked_for.as_deref(), crate::config::LISTEN_DEFAULT).await });
        let listener = listener.await.map_err(|error| EdgeError::Threads(std::io::Error::other(error)))??;
        let address = listener.local_addr().map_err(EdgeError::Threads)?;
        let (stats, partitions) = (Arc::new(EdgeStats::default()), up.platform.partitions);
        let appender = Appender::new(&env, &up.log, partitions);
        for number in 0..appender::FLUSHES_IN_FLIGHT {
            runtime.spawn(appender.clone().run(number));
        }
        let stop_treasury = Arc::new(AtomicBool::new(false));
        let slices = Slices::new(&env, &up.log, "treasury", partitions);
        let treasury = Treasury::new(&env, slices, Arc::default(), up.views.clone());
        let treasury = Mutex::new(Some(runtime.spawn(treasury.run(stop_treasury.clone()))));
        let served = Arc::new(Served {
            env: env.clone(),
            views: up.views.clone(),
            appender,
            keys: ArcSwap::from_pointee(keys),
            base: ArcSwap::from_pointee(base(&config, address)),
            rates: Rates::new(&config),
            recent: Recent::default(),
            line: Arc::default(),
            telemetry: up.telemetry.clone(),
            config: ArcSwap::from_pointee(config),
            stats: stats.clone(),
        });
        let probes = BulkheadRuntime::new(&env, "edge-line", 1, 0).map_err(EdgeError::Threads)?;
        probes.spawn(served.line.clone().probe(env.clock.clone(), runtime.handle().clone()));
        let stop = watch::Sender::new(false);
        runtime.spawn(accept(listener, served.clone(), stop.subscribe(), runtime.handle().clone()));
        Ok(Self { address, stats, served, env, keys_file, stop, stop_treasury, treasury, _probes: probes, runtime })
    }

    /// Takes over limits, rates and keys; address, threads and the number of connections stay.
    ///
    /// # Errors
    /// The key file cannot be used: then everything stays as it was.
    pub fn reload(&self, config: EdgeConfig) -> Result<(), EdgeError> {
        let keys = keyfile::load(&self.env, &self.keys_file)?;
        self.served.keys.store(Arc::new(keys));
        self.served.rates.set(&config);
        self.served.base.store(Arc::new(base(&config, self.address)));
        self.served.config.store(Arc::new(config));
        Ok(())
    }

    /// Accepts nothing more, ends what is under way, gives unspent money back.
    pub async fn drain(&self) {
        self.stop.send_replace(true);
        let until_us = self.env.clock.mono_us() + GRACE.as_micros() as u64;
        while self.env.clock.mono_us() < until_us
            && (self.stats.connections.load(Ordering::Relaxed) > 0 || !self.served.appender.is_idle())
        {
            self.env.clock.sleep(Duration::from_millis(10)).await;
        }
        self.stop_treasury.store(true, Ordering::Release);
        let treasury = self.treasury.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(treasury) = treasury
            && let Some(Ok(Err(error))) = self.env.clock.timeout(GRACE, treasury).await
        {
            tracing::warn!(%error, "leases were not given back; they expire");
        }
    }

    /// The bulkhead's runtime, for what is served beside it.
    pub fn runtime(&self) -> &BulkheadRuntime {
        &self.runtime
    }
}

fn base(config: &EdgeConfig, address: SocketAddr) -> String {
    let public = config.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    public.unwrap_or_else(|| format!("http://{address}"))
}

/// Connections of each address.
type Open = Arc<Mutex<BTreeMap<IpAddr, u32>>>;

async fn accept(
    listener: TcpListener,
    served: Arc<Served>,
    mut stop: watch::Receiver<bool>,
    runtime: tokio::runtime::Handle,
) {
    let open = Open::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            served.env.clock.sleep(ACCEPT_PAUSE).await;
            continue;
        };
        match Admitted::new(&open, &served, peer.ip()) {
            Some(admitted) => {
                runtime.spawn(connection(stream, admitted, stop.clone()));
            }
            None => {
                served.stats.connections_refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A connection that counts until it is dropped.
struct Admitted {
    open: Open,
    served: Arc<Served>,
    peer: IpAddr,
}

impl Admitted {
    fn new(open: &Open, served: &Arc<Served>, peer: IpAddr) -> Option<Self> {
        let config = served.config();
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        let all = served.stats.connections.load(Ordering::Relaxed);
        let of_peer = counts.entry(peer).or_default();
        if all >= config.connections_max as u64 || *of_peer >= config.connections_max_per_address {
            if *of_peer == 0 {
                counts.remove(&peer);
            }
            return None;
        }
        *of_peer += 1;
        served.stats.connections.fetch_add(1, Ordering::Relaxed);
        Some(Self { open: open.clone(), served: served.clone(), peer })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
        self.served.stats.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection. A slow one is a waiting task of a few kilobytes, and ends by its timeouts.
async fn connection(stream: TcpStream, admitted: Admitted, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let config = admitted.served.config();
    let wire = Wire::new(stream, Gate::new(admitted.served.clone()));
    let serve = service_fn(|request| admitted.served.serve(request, admitted.peer));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(config.head_max_bytes)
        .max_headers(HEADERS_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(wire), serve);
    let mut served = pin!(served);
    // What ends a connection early is the peer's business: it hung up, was too slow, or spoke no HTTP.
    let is_over = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => false,
        _ = served.as_mut() => true,
    };
    if !is_over {
        served.as_mut().graceful_shutdown();
        let _ = admitted.served.env.clock.timeout(GRACE, served).await;
    }
}
