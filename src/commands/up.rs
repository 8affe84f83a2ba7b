//! `bulkhead up`: the platform as a server.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runtime::env::{BulkheadRuntime, Env};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::backend::LogArgs;
use crate::cli::Output;
use crate::config::keys::{KEYS, Key};
use crate::config::{self, PlatformArgs, Resolved, Settings};
use crate::dlq::watch;
use crate::exit::CommandError;
use crate::platform::{Composed, Variant, compose, drain_line};
use crate::registry::serve as registry_serve;
use crate::server::Server;
use crate::systemd;
use crate::telemetry::Hub;

/// Directory where nothing else is said.
const DATA_DEFAULT: &str = "bulkhead-data";
/// A backlog that is not worked off by then is reported and left for the next start.
const IDLE_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Looked at again after this.
const IDLE_STEP: Duration = Duration::from_secs(5);
/// The collector has so long to take the last of it.
const FLUSH: Duration = Duration::from_secs(1);
/// Shards look for what is due once a tick.
const TICK: Duration = Duration::from_millis(200);
/// How far the clock runs at once: most delays of a retry are shorter.
const RUN_FORWARD_MS: i64 = 60_000;

/// Run the platform on a data directory until it is told to stop
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead up --data bulkhead-data --until-idle")]
pub struct UpArgs {
    #[command(flatten)]
    pub platform: PlatformArgs,
    #[command(flatten)]
    pub log: LogArgs,
    /// Run these services, and no others, in this process
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub only: Option<Vec<String>>,
    /// Work off every backlog, then drain and end; opens no port unless asked
    #[arg(long)]
    pub until_idle: bool,
    /// Public edge: bid requests and tracking [default: 127.0.0.1:8080, or any free port if that is taken]
    #[arg(long, value_name = "ADDR", env = "BULKHEAD_LISTEN")]
    pub listen: Option<String>,
    /// Admin listener [default: 127.0.0.1:8081, or any free port if that is taken]
    #[arg(long, value_name = "ADDR", env = "BULKHEAD_ADMIN")]
    pub admin: Option<String>,
}

/// Runs until a signal, or until nothing is left to do.
///
/// # Errors
/// [`CommandError`] if the platform does not start, or a drain leaves a shard behind.
pub fn run(args: UpArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let resolved = args.resolve()?;
        let settings = resolved.settings();
        let data = settings.data.clone().unwrap_or_else(|| DATA_DEFAULT.into());
        let mut signals = Signals::new()?;
        let env = Env::production();
        let started_us = env.clock.mono_us();
        let serves = !args.until_idle || args.listen.is_some() || args.admin.is_some();
        let backend = args.log.backend()?.shared(&settings);
        let place = backend.place(&data);
        let hub = Hub::start(&env, &settings.telemetry, &settings.instance);
        let hub = hub.map_err(|error| CommandError::Config(error.to_string()))?;
        let variant = Variant {
            backend,
            telemetry: Some(hub.clone()),
            only: args.only.clone(),
            // Its commits are what `verify` recounts from.
            keep_commits: args.until_idle,
            keep_leases: serves,
            ..Variant::default()
        };
        let up = Arc::new(compose(&env, &data, &settings, &variant).await?);
        let names: Vec<_> = up.platform.bulkheads.iter().map(|bulkhead| bulkhead.spec.name).collect();
        eprintln!("up on {place}: {}", names.join(", "));
        let _registry = serve_registry(&up, &settings).await?;
        let server = if serves { Some(Server::start(&up, &data, &settings).await?) } else { None };
        let stats = up.platform.bulkheads.iter().map(|bulkhead| (bulkhead.spec.name, bulkhead.stats.clone())).collect();
        // Ends with this command, before the log closes.
        let told = server.as_ref().map(|server| server.admin.state.clone());
        let watching = watch::start(&env, &up.log, up.registry.writers(), stats, move |alert| {
            told.iter().for_each(|state| state.alerted(&alert.service));
            eprintln!("{}", watch::line(alert));
        });
        let watching = watching.map_err(CommandError::failed)?;
        let idle = if args.until_idle {
            tokio::select! {
                biased;
                () = signals.next() => false,
                idle = work_off(&up) => idle,
            }
        } else {
            serve(&args, resolved, &env, server.as_ref(), &mut signals).await?;
            false
        };
        let events: u64 = up.platform.bulkheads.iter().map(|bulkhead| bulkhead.stats.tally().total()).sum();
        if let Some(server) = &server {
            let started_us = env.clock.mono_us();
            server.drain().await;
            eprintln!("drain edge         in {} ms", (env.clock.mono_us() - started_us) / 1_000);
        }
        let alerts = watching.alerts.load(std::sync::atomic::Ordering::Relaxed);
        drop(watching);
        let late = drain(&up, settings.drain_timeout, &mut signals).await;
        if let Some(server) = &server {
            server.admin.stop();
        }
        hub.flush(FLUSH).await;
        let ok = late == 0 && (idle || !args.until_idle);
        if output == Output::Json {
            let took_ms = (env.clock.mono_us() - started_us) / 1_000;
            println!(
                "{}",
                json!({ "ok": ok, "idle": idle, "events": events, "late_shards": late, "took_ms": took_ms, "dead_letter_alerts": alerts })
            );
        }
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

impl UpArgs {
    fn resolve(&self) -> Result<Resolved, CommandError> {
        let flags = [("edge.listen", self.listen.clone()), ("admin.listen", self.admin.clone())];
        config::resolve_with(&self.platform, &flags).map_err(|error| CommandError::Config(error.to_string()))
    }
}

/// Until a signal to end: reloads on SIGHUP, tells systemd's watchdog that it lives.
async fn serve(
    args: &UpArgs,
    mut known: Resolved,
    env: &Env,
    server: Option<&Server>,
    signals: &mut Signals,
) -> Result<(), CommandError> {
    let mut hangup =
        signal(SignalKind::hangup()).map_err(|error| CommandError::Failed(format!("signal handler: {error}")))?;
    let beat = systemd::watchdog_interval().unwrap_or(Duration::from_secs(24 * 60 * 60));
    loop {
        tokio::select! {
            biased;
            () = signals.next() => return Ok(()),
            _ = hangup.recv() => known = reload(args, server, known).await,
            () = env.clock.sleep(beat) => {
                if server.is_some_and(Server::is_alive) {
                    systemd::notify("WATCHDOG=1");
                }
            }
        }
    }
}

/// Takes over what may change and says what may not. What is wrong changes nothing.
async fn reload(args: &UpArgs, server: Option<&Server>, known: Resolved) -> Resolved {
    let wanted = match args.resolve() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("not reloaded, everything stays as it was:\n{error}");
            return known;
        }
    };
    let changed = |key: &&Key| wanted.get(key).map(|(text, _)| text) != known.get(key).map(|(text, _)| text);
    let names: Vec<&str> = KEYS.iter().filter(changed).map(|key| key.name).collect();
    if let Some(server) = server
        && let Err(error) = server.reload(&wanted.settings(), &names).await
    {
        eprintln!("not reloaded, everything stays as it was: {error}");
        return known;
    }
    for key in KEYS.iter().filter(changed) {
        eprintln!("{}: {}", key.name, if key.reloads { "taken over" } else { "stays until the next start" });
    }
    eprintln!("reloaded");
    wanted
}

/// Gives the embedded registry its own port, where one is configured; it lasts as long as the runtime.
async fn serve_registry(up: &Composed, settings: &Settings) -> Result<Option<BulkheadRuntime>, CommandError> {
    let Some(address) = settings.registry_listen else { return Ok(None) };
    let Some(router) = up.registry_router() else {
        up.platform.kill();
        return Err(CommandError::Config("registry_listen: an external registry has a port already".to_owned()));
    };
    let failed = |error: std::io::Error| {
        up.platform.kill();
        CommandError::Failed(format!("registry on {address}: {error}"))
    };
    let runtime = BulkheadRuntime::with_network(&up.env, "registry", 1, 5).map_err(failed)?;
    let local = registry_serve::listen(&runtime, address, router).await.map_err(failed)?;
    eprintln!("registry on http://{local}");
    Ok(Some(runtime))
}

/// Waits until nothing is left to do. What waits for its time is not waited for: once nothing else is left, the clock
/// runs forward until it is due.
async fn work_off(up: &Composed) -> bool {
    let clock = &up.env.clock;
    let until_us = clock.mono_us() + IDLE_LIMIT.as_micros() as u64;
    while clock.mono_us() < until_us {
        if up.platform.lag() > 0 || up.platform.parked() == 0 {
            let left = Duration::from_micros(until_us.saturating_sub(clock.mono_us()));
            if up.platform.parked() == 0 && up.platform.idle(left.min(IDLE_STEP)).await {
                return true;
            }
        } else {
            clock.run_forward(RUN_FORWARD_MS);
        }
        clock.sleep(TICK).await;
    }
    false
}

/// Drains with a line a stage; a second signal ends it at once. Answers how many shards did not finish.
pub async fn drain(up: &Composed, limit: Duration, signals: &mut Signals) -> usize {
    let mut late = 0;
    let draining = up.platform.drain(limit, |stage| {
        late += stage.late;
        eprintln!("{}", drain_line(&stage));
    });
    let cut_short = tokio::select! {
        biased;
        () = draining => false,
        () = signals.next() => true,
    };
    if cut_short {
        eprintln!("stopped at once; what was not finished comes again at the next start");
        up.platform.kill();
        late += 1;
    }
    late
}

/// Requests to end from outside.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// The system gives no handler.
    pub fn new() -> Result<Self, CommandError> {
        let of = |kind| signal(kind).map_err(|error| CommandError::Failed(format!("signal handler: {error}")));
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    /// The next SIGTERM or SIGINT.
    pub async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
