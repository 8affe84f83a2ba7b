//! The admin listener: what an operator asks a process that runs. On loopback unless told otherwise; what changes something
//! needs a token. A bulkhead of its own: it answers while everything else is stuck.

pub mod audit;
mod faults;
mod health;
mod letters;
mod metrics;
mod routes;
mod sampling;
mod state;
mod tree;
mod views;

use std::net::SocketAddr;
use std::sync::Arc;

use runtime::env::{BulkheadRuntime, Env};
use tokio::sync::watch;

use crate::edge::{EdgeError, listen};

pub use health::is_alive;
pub use state::State;

/// A listener that answers.
pub struct Admin {
    pub address: SocketAddr,
    pub state: Arc<State>,
    stop: watch::Sender<bool>,
    _runtime: BulkheadRuntime,
}

impl Admin {
    /// Starts to answer.
    ///
    /// # Errors
    /// [`EdgeError`]: the address is taken, or there are no threads.
    pub async fn start(env: &Env, state: Arc<State>, asked: Option<&str>) -> Result<Self, EdgeError> {
        let runtime = BulkheadRuntime::with_network(env, "admin", 1, 0).map_err(EdgeError::Threads)?;
        let asked = asked.map(str::to_owned);
        let listener = runtime.spawn(async move { listen(asked.as_deref(), crate::config::ADMIN_DEFAULT).await });
        let listener = listener.await.map_err(|error| EdgeError::Threads(std::io::Error::other(error)))??;
        let address = listener.local_addr().map_err(EdgeError::Threads)?;
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let routes = routes::routes(state.clone());
        runtime.spawn(async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            });
            if let Err(error) = served.await {
                tracing::error!(%error, "the admin listener ended");
            }
        });
        Ok(Self { address, state, stop, _runtime: runtime })
    }

    /// Accepts nothing more.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}
