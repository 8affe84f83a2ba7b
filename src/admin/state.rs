//! What the admin listener knows: the platform, its edge, and how far its end has come.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use runtime::env::BulkheadRuntime;
use sha2::{Digest as _, Sha256};

use super::faults::Given;
use crate::edge::Edge;
use crate::platform::Composed;

/// Shared by all requests.
pub struct State {
    pub up: Arc<Composed>,
    pub edge: Option<Arc<Edge>>,
    /// The data directory, absolute.
    pub data: PathBuf,
    /// Not ready any more: the process is about to end.
    pub draining: AtomicBool,
    /// Where dead letters are read: it may take seconds.
    pub desk: BulkheadRuntime,
    /// Alerts about dead letters, by service.
    alerts: Mutex<BTreeMap<String, u64>>,
    /// Faults made on purpose.
    pub given: Given,
    /// Actions that changed something.
    pub actions: AtomicU64,
    /// Digest of the token, so that comparing takes the same time for every guess.
    token: [u8; 32],
}

impl State {
    /// # Errors
    /// The system gives no thread.
    pub fn new(up: Arc<Composed>, edge: Option<Arc<Edge>>, data: PathBuf, token: &str) -> std::io::Result<Arc<Self>> {
        let (token, desk) = (Sha256::digest(token.as_bytes()).into(), BulkheadRuntime::new(&up.env, "dlq", 1, 5)?);
        let (draining, actions, alerts) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        Ok(Arc::new(Self { up, edge, data, draining, desk, alerts, given: Given::default(), actions, token }))
    }

    /// A group of a service's dead letters has begun to be too much.
    pub fn alerted(&self, service: &str) {
        *self.alerts.lock().unwrap_or_else(PoisonError::into_inner).entry(service.to_owned()).or_default() += 1;
    }

    /// Alerts about a service's dead letters since the start.
    pub fn alerts(&self, service: &str) -> u64 {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner).get(service).copied().unwrap_or(0)
    }

    /// Whether a request may change something.
    pub fn is_allowed(&self, authorization: Option<&str>) -> bool {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        given == self.token
    }
}
