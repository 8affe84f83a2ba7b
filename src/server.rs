//! What a server has over a platform: the public edge, the admin listener, and how both begin and end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::admin::{self, Admin};
use crate::config::Settings;
use crate::edge::Edge;
use crate::exit::CommandError;
use crate::operate::process::{Announced, Process, announce};
use crate::operate::target::absolute;
use crate::platform::Composed;
use crate::systemd;

/// A platform that serves.
pub struct Server {
    pub edge: Arc<Edge>,
    pub admin: Admin,
    _announced: Option<Announced>,
}

impl Server {
    /// Opens edge and admin listener, and says where they are.
    ///
    /// # Errors
    /// An address is taken, or the key file cannot be used; nothing is left running.
    pub async fn start(up: &Arc<Composed>, data: &Path, settings: &Settings) -> Result<Self, CommandError> {
        let started = Self::open(up, data, settings).await;
        if started.is_err() {
            // Nothing has come in: what runs is stopped as a crash would, and comes back by itself.
            up.platform.kill();
        }
        started
    }

    async fn open(up: &Arc<Composed>, data: &Path, settings: &Settings) -> Result<Self, CommandError> {
        let edge = Edge::start(up, data, settings.listen.as_deref(), settings.edge.clone()).await;
        let edge = Arc::new(edge.map_err(CommandError::failed)?);
        eprintln!("edge on http://{}", edge.address);
        let fresh = || up.env.secret("admin token").iter().map(|byte| format!("{byte:02x}")).collect();
        let token: String = settings.admin_token.clone().unwrap_or_else(fresh);
        let data = absolute(data);
        let state =
            admin::State::new(up.clone(), Some(edge.clone()), data.clone(), &token).map_err(CommandError::failed)?;
        let admin = Admin::start(&up.env, state, settings.admin.as_deref()).await.map_err(CommandError::failed)?;
        eprintln!("admin on http://{}", admin.address);
        if !admin.address.ip().is_loopback() {
            eprintln!("note: the admin listener is open beyond this machine; what it tells needs no token");
        }
        let process = Process { pid: std::process::id(), admin: admin.address.to_string(), token, data };
        let announced = announce(&process).inspect_err(|error| {
            eprintln!("note: commands do not find this process by themselves ({error}); use --admin and admin.token");
        });
        systemd::notify("READY=1");
        Ok(Self { edge, admin, _announced: announced.ok() })
    }

    /// Not ready from here on; accepts nothing more, ends what is under way.
    pub async fn drain(&self) {
        systemd::notify("STOPPING=1");
        self.admin.state.draining.store(true, Ordering::Release);
        self.edge.drain().await;
    }

    /// Takes over what may change while it runs.
    ///
    /// # Errors
    /// The key file cannot be used, or the audit takes no row: then everything stays as it was.
    pub async fn reload(&self, settings: &Settings, changed: &[&str]) -> Result<(), CommandError> {
        let order = serde_json::json!({ "changed": changed });
        let entered = admin::audit::entered(&self.admin.state, "SIGHUP", "reload", &order).await;
        entered.map_err(CommandError::Failed)?;
        self.edge.reload(settings.edge.clone()).map_err(CommandError::failed)?;
        if let Some(hub) = &self.admin.state.up.telemetry {
            hub.sampling.set_one_in(settings.telemetry.one_in);
        }
        Ok(())
    }

    /// Whether its supervisors are alive: what systemd's watchdog is told.
    pub fn is_alive(&self) -> bool {
        admin::is_alive(&self.admin.state)
    }
}
