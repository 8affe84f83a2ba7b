//! The registry's own port: a few connections at a time, none of which may dawdle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use runtime::env::BulkheadRuntime;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once; the next waits in the system's queue.
const CONNECTIONS_MAX: usize = 128;
/// A request's head must be there by then.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// A connection is closed after this, whatever it does.
const CONNECTION_LIMIT: Duration = Duration::from_secs(600);
/// After a failed accept (too many files) the next is tried this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on `address` and serves `router` on the runtime until that ends. Gives the address that it got.
///
/// # Errors
/// The address cannot be had.
pub async fn listen(runtime: &BulkheadRuntime, address: SocketAddr, router: Router) -> std::io::Result<SocketAddr> {
    let handle = runtime.handle().clone();
    let bound = handle.spawn(async move { TcpListener::bind(address).await }).await;
    let listener = bound.map_err(std::io::Error::other)??;
    let local = listener.local_addr()?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    runtime.spawn(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let service = TowerToHyperService::new(router.clone());
            handle.spawn(async move {
                let _place = place;
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
                let connection = http.serve_connection(TokioIo::new(stream), service);
                // What goes wrong with one connection is between it and its client.
                let _ = tokio::time::timeout(CONNECTION_LIMIT, connection).await;
            });
        }
    });
    Ok(local)
}
