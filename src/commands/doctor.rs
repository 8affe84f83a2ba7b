//! `bulkhead doctor`: what on this machine would keep a server from running well.

use std::process::ExitCode;

use clap::Args;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::config::tried;
use crate::cli::Output;
use crate::config::{self, PlatformArgs};
use crate::exit::CommandError;
use crate::operate::process::running;
use crate::operate::target::{Target, TargetArgs};

/// Files that a platform keeps open: a segment a partition, connections, the journal.
const FILES_MIN: u64 = 8_192;
/// Free space below which the log is soon full.
const FREE_MIN_BYTES: u64 = 2 << 30;

/// Look for what would keep a server from running well: limits, disk, clock, configuration, processes that run
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead doctor")]
pub struct DoctorArgs {
    #[command(flatten)]
    pub platform: PlatformArgs,
}

/// One finding: what was looked at, whether it is well, and what to do if not.
type Finding = (String, bool, String);

/// Looks at everything; exit 1 if something is not well.
///
/// # Errors
/// The configuration cannot be used.
pub fn run(args: DoctorArgs, output: Output) -> Result<ExitCode, CommandError> {
    let settings = config::resolve(&args.platform).map_err(|error| CommandError::Config(error.to_string()))?;
    crate::cli::block_on(async move {
        let mut findings = vec![files(), cores(), disk(settings.data.as_deref()), clock()];
        for (name, result) in tried(&settings).await {
            let (ok, what) = result.map_or_else(|error| (false, error), |what| (true, what));
            findings.push((name.to_owned(), ok, what));
        }
        findings.extend(processes().await);
        let ok = findings.iter().all(|(_, ok, _)| *ok);
        match output {
            Output::Json => {
                let rows: Vec<Value> = findings
                    .iter()
                    .map(|(check, ok, what)| json!({ "check": check, "ok": ok, "what": what }))
                    .collect();
                println!("{}", json!({ "ok": ok, "checks": rows }));
            }
            Output::Text => {
                for (check, ok, what) in &findings {
                    println!("{} {check:<14}{what}", if *ok { "ok   " } else { "WRONG" });
                }
            }
        }
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn files() -> Finding {
    // The soft limit is raised at start; the hard one is the system's.
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let what = if most == u64::MAX { "no limit".to_owned() } else { format!("at most {most}") };
    let ok = most >= FILES_MIN;
    (
        "open files".into(),
        ok,
        if ok { what } else { format!("{what}; raise the hard limit (ulimit -Hn) to {FILES_MIN}") },
    )
}

fn cores() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ok = cores >= 2;
    let what = if ok { format!("{cores}") } else { "1; a service that spins takes the others' time".to_owned() };
    ("cores".into(), ok, what)
}

fn disk(data: Option<&std::path::Path>) -> Finding {
    let mut place = data.unwrap_or(std::path::Path::new("."));
    while !place.exists() {
        place = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    }
    match rustix::fs::statvfs(place) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let what = format!("{} MiB free at {}", free >> 20, place.display());
            ("disk".into(), free >= FREE_MIN_BYTES, what)
        }
        Err(error) => ("disk".into(), false, format!("{}: {error}", place.display())),
    }
}

fn clock() -> Finding {
    // The day this was written: a clock before it was never set.
    const WRITTEN_MS: i64 = 1_763_769_600_000;
    let now_ms = runtime::env::Env::production().clock.wall_ms();
    let ok = now_ms > WRITTEN_MS;
    ("clock".into(), ok, if ok { "set".into() } else { "before this program was written; set it".into() })
}

/// Every process of this user that can be found, asked whether it is ready.
async fn processes() -> Vec<Finding> {
    let mut findings = Vec::new();
    for process in running() {
        let args = TargetArgs { admin: Some(process.admin.clone()), ..TargetArgs::default() };
        let name = format!("process {}", process.pid);
        let answer = match args.target() {
            Ok(Target::Running(remote)) => remote.get("/readyz").await,
            Ok(Target::Directory(_)) => continue,
            Err(error) => Err(error),
        };
        let at = format!("on {}, admin {}", process.data.display(), process.admin);
        findings.push(match answer {
            Ok(_) => (name, true, format!("ready, {at}")),
            Err(error) => (name, false, format!("{at}: {error}")),
        });
    }
    findings
}
