//! The platform with one service whose fold ends the process, in a way that no bulkhead can contain, when a marked event
//! comes. `boundary DIR KIND` plays generated requests until that happens; `boundary DIR none` is the same platform started
//! again: it says when it was ready, works everything off and drains. `tests/boundary.rs` runs both.
//! `boundary DIR KIND BROKERS PREFIX` is that service alone, on a cluster that others use too: it waits for their events.

use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead::args::Speed;
use bulkhead::backend::Backend;
use bulkhead::config::Settings;
use bulkhead::demo::input::InputSpec;
use bulkhead::demo::live::Live;
use bulkhead::demo::run::{Opening, RunSpec, play};
use bulkhead::platform::{Composed, Variant, compose};
use runtime::env::Env;
use runtime::log::kafka::KafkaConfig;
use runtime::service::ServiceDef;
use runtime::testkit::before;
use tests::fatal::Kind;

const SERVICE: &str = "fraud";
const REQUESTS: u64 = 40_000;
/// The marked event: by then every service has something in hand.
const MARKED: u64 = 300;
/// The same where the events are another process's.
const MARKED_ALONE: u64 = 40;
const SETTLE: Duration = Duration::from_secs(120);
const DRAIN: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(1);
/// Silent for this long, it has lost its partitions.
const SESSION: Duration = Duration::from_secs(3);

/// What happens, and at which event.
static KIND: OnceLock<(Kind, u64)> = OnceLock::new();
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// The service that ends the process at the marked event, and else does what it did.
fn fatal(service: ServiceDef) -> ServiceDef {
    if service.spec.name != SERVICE {
        return service;
    }
    before(service, |_| {
        if let Some((kind, marked)) = KIND.get()
            && HANDLED.fetch_add(1, Ordering::Relaxed) == *marked
        {
            kind.strike();
        }
        Ok(())
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (data, kind, cluster) = match arguments.as_slice() {
        [data, kind] => (Path::new(data), kind, None),
        [data, kind, brokers, prefix] => (Path::new(data), kind, Some((brokers.as_str(), prefix.as_str()))),
        _ => {
            eprintln!("boundary DIR none|{} [BROKERS PREFIX]", Kind::ALL.map(Kind::name).join("|"));
            return ExitCode::from(2);
        }
    };
    if let Some(kind) = Kind::parse(kind) {
        let _ = KIND.set((kind, if cluster.is_some() { MARKED_ALONE } else { MARKED }));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async {
        match cluster {
            Some((brokers, prefix)) => alone(data, brokers, prefix).await,
            None => run(data).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boundary: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(data: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let env = Env::production();
    let settings = Settings { partitions: 2, instance: "boundary".into(), ..Settings::default() };
    let variant = Variant { keep_commits: true, wrap: Some(fatal), ..Variant::default() };
    let up = compose(&env, data, &settings, &variant).await?;
    while up.platform.bulkheads.iter().any(|bulkhead| bulkhead.running() < bulkhead.shards.len()) {
        env.clock.sleep(STEP).await;
    }
    println!("{}", env.clock.mono_us() / 1_000);
    match KIND.get() {
        Some(_) => load(&env, &up).await,
        None if up.platform.idle(SETTLE).await => {
            up.platform.drain(DRAIN, |_| {}).await;
            Ok(())
        }
        None => Err("there is still something to do".into()),
    }
}

/// The service by itself, in its group on a cluster, until the marked event comes.
async fn alone(data: &Path, brokers: &str, prefix: &str) -> Result<(), Box<dyn std::error::Error>> {
    let env = Env::production();
    let mut settings = Settings { instance: "alone".into(), ..Settings::default() };
    settings.sharing.session_timeout = SESSION;
    let cluster = KafkaConfig { brokers: brokers.into(), topic_prefix: prefix.into(), ..KafkaConfig::default() };
    let backend = Backend::Kafka(cluster).shared(&settings);
    let variant = Variant { backend, only: Some(vec![SERVICE.into()]), wrap: Some(fatal), ..Variant::default() };
    let _up = compose(&env, data, &settings, &variant).await?;
    env.clock.sleep(SETTLE).await;
    Err("the marked event has not come".into())
}

async fn load(env: &Env, up: &Composed) -> Result<(), Box<dyn std::error::Error>> {
    let input = InputSpec::Generator { seed: 1, requests: REQUESTS };
    let spec = RunSpec { input, speed: Some(Speed::Max), time_budget: None, seed: 1, faults: Vec::new() };
    let opening = Opening::start(env, &spec)?;
    play(up, &spec, opening, &mut Live::new()).await?;
    Err("the marked event has not come".into())
}
