//! `dlq replay` and `dlq discard`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use runtime::env::Env;
use runtime::log::Log;
use serde_json::json;

use super::args::{SelectArgs, assignment, rate, share};
use super::jobs::{actor, line, print};
use super::{open, place};
use crate::cli::Output;
use crate::commands::up::{Signals, drain};
use crate::config::PlatformArgs;
use crate::dlq::audit::Action;
use crate::dlq::job::{self, Job, Kind, Order, Runner};
use crate::dlq::trial::{self, Trial};
use crate::dlq::{DlqError, Selection, letters, value::Schemas};
use crate::exit::CommandError;
use crate::platform::{Variant, compose};

#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    #[command(flatten)]
    platform: PlatformArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Say what would happen, on a copy of the state; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Bring so many back first, run the service on them, and go on only if all went well
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    canary: Option<u64>,
    /// Letters a second at most
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// Run the service meanwhile, and stop when more than this share has failed again
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    stop_if_failures: Option<f64>,
    /// Set a field of the record on its way; repeatable
    #[arg(long, value_name = "PATH=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Go on with a job that was interrupted, paused or stopped, with its own selection
    #[arg(long, value_name = "JOB", conflicts_with_all = ["dry_run", "canary", "rate", "stop_if_failures", "set"])]
    resume: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct DiscardArgs {
    #[command(flatten)]
    platform: PlatformArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Brings letters back; exit 0 if the job finished and nothing failed.
///
/// # Errors
/// [`CommandError`]: the directory or the selection cannot be used, the log refuses.
pub async fn replay(args: ReplayArgs, output: Output) -> Result<ExitCode, CommandError> {
    let (settings, data) = place(&args.platform)?;
    let env = Env::production();
    let log = open(&data)?;
    let actor = actor(&settings.instance);
    let order = match &args.resume {
        Some(name) => job::job(log.as_ref(), name)?.order,
        None => Order {
            kind: Kind::Replay,
            selection: args.select.selection(env.clock.wall_ms()),
            set: args.set.clone(),
            canary: args.canary,
            rate: args.rate,
            stop_at_failures: args.stop_if_failures,
            actor: actor.clone(),
            reason: args.reason.clone(),
        },
    };
    let services = services_of(log.as_ref(), &order.selection)?;
    let catalogue = crate::platform::services(&settings).map_err(CommandError::from)?;
    if let Some(gone) = services.iter().find(|name| !catalogue.iter().any(|def| def.spec.name == name.as_str())) {
        return Err(DlqError::NoService(gone.clone()).into());
    }
    if args.dry_run {
        let tried = trial::trial(log.as_ref(), &catalogue, &order, env.clock.wall_ms());
        log.close().await;
        return told(&tried?, output);
    }
    let is_judged = order.canary.is_some() || order.stop_at_failures.is_some();
    if !is_judged || services.is_empty() {
        let job = run(&env, &log, None, &args.resume, order, &actor).await;
        log.close().await;
        return ended(&job?, output);
    }
    // What was brought back is to be judged: the services run in this process, and no others.
    log.close().await;
    drop(log);
    let mut signals = Signals::new()?;
    let variant = Variant { only: Some(services), keep_commits: true, ..Variant::default() };
    let up = compose(&env, &data, &settings, &variant).await?;
    let moving = run(&env, &up.log, Some(&up.platform), &args.resume, order, &actor);
    let job = tokio::select! {
        biased;
        () = signals.next() => None,
        job = moving => Some(job),
    };
    let late = drain(&up, settings.drain_timeout, &mut signals).await;
    match job {
        None => Err(CommandError::Failed(
            "interrupted; `dlq jobs` says how far it is, `dlq replay --resume JOB` goes on".into(),
        )),
        Some(job) => {
            let code = ended(&job?, output)?;
            Ok(if late > 0 { ExitCode::FAILURE } else { code })
        }
    }
}

async fn run(
    env: &Env,
    log: &Arc<dyn Log>,
    platform: Option<&runtime::platform::Platform>,
    resume: &Option<String>,
    order: Order,
    actor: &str,
) -> Result<Job, CommandError> {
    let progress = |job: &Job| {
        if job.state == Action::Progress {
            eprintln!("{}", line(job));
        }
    };
    let runner = Runner { env, log, platform, progress: &progress };
    let job = match resume {
        Some(name) => runner.resume(name, actor).await?,
        None => runner.start(order).await?,
    };
    Ok(job)
}

/// Services that have set aside what is selected.
fn services_of(log: &dyn Log, selection: &Selection) -> Result<Vec<String>, DlqError> {
    let schemas = Schemas::builtin()?;
    let mut services = std::collections::BTreeSet::new();
    letters::each(log, |letter| {
        if !services.contains(&letter.event.service) && selection.matches(&letter, &schemas) {
            services.insert(letter.event.service);
        }
        Ok(())
    })?;
    Ok(services.into_iter().collect())
}

fn told(trial: &Trial, output: Output) -> Result<ExitCode, CommandError> {
    match output {
        Output::Json => {
            let mut document = serde_json::to_value(trial).map_err(CommandError::failed)?;
            document["dry_run"] = json!(true);
            println!("{document}");
        }
        Output::Text => {
            println!(
                "dry run, nothing written: {} scanned, {} would succeed, {} would be duplicates, {} would fail, {} skipped, {} cannot be edited",
                trial.scanned,
                trial.would_succeed,
                trial.would_be_duplicates,
                trial.would_fail,
                trial.skipped,
                trial.failed
            );
            trial.outputs.iter().for_each(|(topic, count)| println!("  {count} events would go to {topic}"));
            for failure in &trial.failures {
                println!(
                    "  {} x {} {}: {} ({})",
                    failure.count, failure.service, failure.code, failure.message, failure.sample
                );
            }
        }
    }
    Ok(if trial.would_fail + trial.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn ended(job: &Job, output: Output) -> Result<ExitCode, CommandError> {
    print(job, output)?;
    if job.state == Action::Paused || job.state == Action::Stopped {
        eprintln!(
            "go on with `bulkhead dlq replay --resume {}`, or end it with `bulkhead dlq cancel {}`",
            job.job, job.job
        );
    }
    let is_well = job.state == Action::Finished && job.counts.failed == 0;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts letters away.
///
/// # Errors
/// As [`replay`].
pub async fn discard(args: DiscardArgs, output: Output) -> Result<ExitCode, CommandError> {
    let (settings, data) = place(&args.platform)?;
    let env = Env::production();
    let log = open(&data)?;
    let actor = actor(&settings.instance);
    let order = Order {
        kind: Kind::Discard,
        selection: args.select.selection(env.clock.wall_ms()),
        actor: actor.clone(),
        reason: args.reason,
        ..Order::default()
    };
    let job = run(&env, &log, None, &None, order, &actor).await;
    log.close().await;
    ended(&job?, output)
}
