//! `dlq replay` and `dlq discard`.

use std::process::ExitCode;

use clap::Args;
use runtime::env::Env;
use serde_json::Value as Json;

use super::args::{SelectArgs, assignment, rate, share};
use super::desk::{AtRest, Desk, RemoteArgs, desk, now_ms, post};
use super::jobs::{actor, line, print};
use crate::cli::Output;
use crate::commands::up::{Signals, drain};
use crate::config::PlatformArgs;
use crate::dlq::audit::Action;
use crate::dlq::desk::Change;
use crate::dlq::job::{self, Job, Kind, Order};
use crate::dlq::{self, value};
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
/// [`CommandError`]: nobody answers, the directory or the selection cannot be used, the log refuses.
pub async fn replay(args: ReplayArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let desk = desk(&args.platform, remote)?;
    let actor = actor(desk.instance());
    let order = Order {
        kind: Kind::Replay,
        selection: args.select.selection(now_ms()),
        set: args.set.clone(),
        canary: args.canary,
        rate: args.rate,
        stop_at_failures: args.stop_if_failures,
        actor: actor.clone(),
        reason: args.reason.clone(),
    };
    let change = Change { order, dry_run: args.dry_run, job: args.resume.clone(), actor, ..Change::default() };
    match desk {
        Desk::Running(remote, _) if args.dry_run => told(&post(&remote, "replay", &change).await?, output),
        Desk::Running(remote, _) => ended(&post(&remote, "replay", &change).await?, output),
        Desk::AtRest(at_rest) => replay_at_rest(at_rest, change, output).await,
    }
}

async fn replay_at_rest(at_rest: AtRest, mut change: Change, output: Output) -> Result<ExitCode, CommandError> {
    let AtRest { settings, data, log, schemas } = at_rest;
    let env = Env::production();
    if let Some(name) = &change.job {
        change.order = job::job(log.as_ref(), name)?.order;
    }
    let order = &change.order;
    let catalogue = crate::platform::services(&settings).map_err(CommandError::from)?;
    let services = dlq::desk::services_of(log.as_ref(), &schemas, &order.selection, &catalogue)?;
    if change.dry_run {
        let tried = dlq::desk::dry_run(log.as_ref(), &schemas, &catalogue, order, env.clock.wall_ms());
        log.close().await;
        return told(&tried?, output);
    }
    let is_judged = order.canary.is_some() || order.stop_at_failures.is_some();
    if !is_judged || services.is_empty() {
        let job = dlq::desk::run(&env, &log, &schemas, None, &change, &progress).await;
        log.close().await;
        return ended(&job?, output);
    }
    // What was brought back is to be judged: the services run in this process, and no others.
    log.close().await;
    drop(log);
    let mut signals = Signals::new()?;
    let variant = Variant { only: Some(services), keep_commits: true, ..Variant::default() };
    let up = compose(&env, &data, &settings, &variant).await?;
    let moving = dlq::desk::run(&env, &up.log, &schemas, Some(&up.platform), &change, &progress);
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

fn progress(job: &Job) {
    if job.state == Action::Progress {
        eprintln!("{}", line(job));
    }
}

fn told(trial: &Json, output: Output) -> Result<ExitCode, CommandError> {
    let count = |name: &str| trial[name].as_u64().unwrap_or(0);
    match output {
        Output::Json => println!("{trial}"),
        Output::Text => {
            println!(
                "dry run, nothing written: {} scanned, {} would succeed, {} would be duplicates, {} would fail, {} skipped, {} cannot be edited",
                count("scanned"),
                count("would_succeed"),
                count("would_be_duplicates"),
                count("would_fail"),
                count("skipped"),
                count("failed")
            );
            for (topic, count) in trial["outputs"].as_object().into_iter().flatten() {
                println!("  {count} events would go to {topic}");
            }
            for failure in trial["failures"].as_array().into_iter().flatten() {
                let of = |name: &str| value::text(&failure[name]);
                let (count, service, code) = (of("count"), of("service"), of("code"));
                println!("  {count} x {service} {code}: {} ({})", of("message"), of("sample"));
            }
        }
    }
    Ok(if count("would_fail") + count("failed") > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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
pub async fn discard(args: DiscardArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let desk = desk(&args.platform, remote)?;
    let actor = actor(desk.instance());
    let order = Order {
        kind: Kind::Discard,
        selection: args.select.selection(now_ms()),
        actor,
        reason: args.reason,
        ..Order::default()
    };
    let change = Change { order, ..Change::default() };
    match desk {
        Desk::Running(remote, _) => ended(&post(&remote, "discard", &change).await?, output),
        Desk::AtRest(AtRest { log, schemas, .. }) => {
            let job = dlq::desk::run(&Env::production(), &log, &schemas, None, &change, &progress).await;
            log.close().await;
            ended(&job?, output)
        }
    }
}
