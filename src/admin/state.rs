//! What the admin listener knows: the platform, its edge, and how far its end has come.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use sha2::{Digest as _, Sha256};

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
    /// Actions that changed something.
    pub actions: AtomicU64,
    /// Digest of the token, so that comparing takes the same time for every guess.
    token: [u8; 32],
}

impl State {
    pub fn new(up: Arc<Composed>, edge: Option<Arc<Edge>>, data: PathBuf, token: &str) -> Arc<Self> {
        let token = Sha256::digest(token.as_bytes()).into();
        Arc::new(Self { up, edge, data, draining: AtomicBool::new(false), actions: AtomicU64::new(0), token })
    }

    /// Whether a request may change something.
    pub fn is_allowed(&self, authorization: Option<&str>) -> bool {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        given == self.token
    }
}
