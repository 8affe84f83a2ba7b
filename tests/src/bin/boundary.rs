//! The platform with one service whose fold ends the process, in a way that no bulkhead can contain, when a marked event
//! comes. `boundary DIR KIND` plays generated requests until that happens; `boundary DIR none` is the same platform started
//! again: it says when it was ready, works everything off and drains. `tests/boundary.rs` runs both.

use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkhead::args::Speed;
use bulkhead::config::Settings;
use bulkhead::demo::input::InputSpec;
use bulkhead::demo::live::Live;
use bulkhead::demo::run::{Opening, RunSpec, play};
use bulkhead::platform::{Composed, Variant, compose};
use runtime::env::Env;
use runtime::invariant::Checks;
use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Fold, ServiceDef};
use runtime::state::AnyTable;
use tests::fatal::Kind;

const SERVICE: &str = "fraud";
const REQUESTS: u64 = 40_000;
/// The marked event: by then every service has something in hand.
const MARKED: u64 = 300;
const SETTLE: Duration = Duration::from_secs(120);
const DRAIN: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(1);

static KIND: OnceLock<Kind> = OnceLock::new();
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// A fold that ends the process at the marked event, and else does what it did.
struct Fatal(Box<dyn Fold>);

impl Fold for Fatal {
    fn handle(&mut self, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        if HANDLED.fetch_add(1, Ordering::Relaxed) == MARKED
            && let Some(kind) = KIND.get()
        {
            kind.strike();
        }
        self.0.handle(event, effects)
    }
    fn tick(&mut self, effects: &mut Effects<'_>) {
        self.0.tick(effects);
    }
    fn restate(&mut self, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        self.0.restate(from, effects)
    }
    fn invariants(&self, checks: &mut Checks) {
        self.0.invariants(checks);
    }
    fn tables(&mut self, visit: &mut dyn FnMut(&mut dyn AnyTable)) {
        self.0.tables(visit);
    }
    fn begin_event(&mut self) {
        self.0.begin_event();
    }
}

fn fatal(service: ServiceDef) -> ServiceDef {
    if service.spec.name == SERVICE { service.wrapped(|fold| Box::new(Fatal(fold))) } else { service }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, kind] = arguments.as_slice() else {
        eprintln!("boundary DIR none|{}", Kind::ALL.map(Kind::name).join("|"));
        return ExitCode::from(2);
    };
    if let Some(kind) = Kind::parse(kind) {
        let _ = KIND.set(kind);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run(Path::new(data))) {
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

async fn load(env: &Env, up: &Composed) -> Result<(), Box<dyn std::error::Error>> {
    let input = InputSpec::Generator { seed: 1, requests: REQUESTS };
    let spec = RunSpec { input, speed: Some(Speed::Max), seed: 1, faults: Vec::new() };
    let opening = Opening::start(env, &spec)?;
    play(up, &spec, opening, &mut Live::new()).await?;
    Err("the marked event has not come".into())
}
