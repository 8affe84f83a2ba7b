//! What healthy services feel of as many spinning neighbours as there are cores, with bulkheads and without.

use std::time::Duration;

use bulkhead::isolation::rig::{Rig, Window};
use runtime::env::Env;
use runtime::fault::FaultKind;

use crate::Failed;
use crate::report::{Figure, Report, median};

/// Who spins, as many as there are cores; nobody observed reads what they write.
const SPINNERS: [&str; 2] = ["attribution", "analytics"];
const OBSERVED: [&str; 4] = ["ads", "fraud", "bidding", "billing"];
/// Beside the windows: catching up after each.
const SPARE: u32 = 5;

/// Time from a record being readable to its outcome, p99, of the slowest of ads, fraud, bidding and billing, while attribution
/// and analytics spin without ever yielding (one a core, at most those two). The platform as `up` runs it, in this process, under
/// 2,000 requests/s; windows in pairs, idle and spinning in turns, the median of the pairs counts. Then the same services
/// on one tokio runtime of as many workers as cores, `shared_runtime_p99_ms`, beside its own idle windows.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo run --release -p bench -- isolation --pairs 6 --output json")]
pub struct Arguments {
    /// Idle and spinning windows of each.
    #[arg(long, default_value_t = 8)]
    pairs: u32,
    /// Milliseconds of a window.
    #[arg(long, default_value_t = 2_000)]
    window_ms: u64,
    /// Requests a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
}

/// p99 of the slowest observed service, idle and beside spinners, ms.
struct Pairs {
    idle_ms: f64,
    spinning_ms: f64,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failed> {
    let mut report = Report::new("isolation");
    let cores = report.machine.cores;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let own = runtime.block_on(async { pairs(&Env::production(), arguments, cores, false).await })?;
    let shared = runtime.block_on(async { pairs(&Env::without_bulkheads(cores)?, arguments, cores, true).await })?;
    report.push(Figure::beside("healthy_p99_ms", own.spinning_ms, "ms", "idle", own.idle_ms));
    report.push(Figure::alone("healthy_more_ms", own.spinning_ms - own.idle_ms, "ms"));
    report.push(Figure::beside("shared_runtime_p99_ms", shared.spinning_ms, "ms", "idle", shared.idle_ms));
    Ok(report)
}

async fn pairs(env: &Env, arguments: &Arguments, cores: usize, is_shared: bool) -> Result<Pairs, Failed> {
    let length = Duration::from_millis(arguments.window_ms);
    let lasting = SPARE * length * 2 * arguments.pairs + Duration::from_secs(30);
    let mut rig = Rig::start(env, arguments.rate, lasting, 1).await?;
    let spinners = &SPINNERS[..cores.min(SPINNERS.len())];
    let (mut idle, mut spinning) = (Vec::new(), Vec::new());
    for pair in 0..arguments.pairs.max(1) {
        let calm = worst_ms(&rig.window(length, &[], FaultKind::Spin).await?);
        let window = rig.window(length, spinners, FaultKind::Spin).await?;
        // Without bulkheads the first spinner may keep the second one from its events, too.
        let spun = spinners.iter().filter(|spinner| window.get(**spinner).is_some_and(|watched| watched.fired > 0));
        if spun.count() < if is_shared { 1 } else { spinners.len() } {
            return Err("a spinner met no event; raise --rate or --window-ms".into());
        }
        eprintln!("pair {pair}: idle {calm:.2} ms, spinning {:.2} ms", worst_ms(&window));
        idle.push(calm);
        spinning.push(worst_ms(&window));
    }
    rig.end();
    Ok(Pairs { idle_ms: median(idle), spinning_ms: median(spinning) })
}

fn worst_ms(window: &Window) -> f64 {
    let p99_us = OBSERVED.iter().filter_map(|name| window.get(name)).map(|watched| watched.p99_us).max();
    p99_us.unwrap_or(0) as f64 / 1e3
}
