//! `dlq jobs` and `dlq cancel`.

use std::process::ExitCode;

use clap::Args;
use runtime::env::Env;

use super::desk::{AtRest, Desk, RemoteArgs, desk, part, post, print_json};
use super::time;
use crate::cli::Output;
use crate::config::PlatformArgs;
use crate::dlq::Selection;
use crate::dlq::desk::{Change, Question};
use crate::dlq::job::{self, Job, Kind, Order};
use crate::exit::CommandError;
use crate::operate::target::account;

#[derive(Args, Clone, Debug)]
pub struct JobsArgs {
    #[command(flatten)]
    platform: PlatformArgs,
}

#[derive(Args, Clone, Debug)]
pub struct CancelArgs {
    /// The job, as `dlq jobs` writes it
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    platform: PlatformArgs,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Args, Clone, Debug)]
pub struct ReleaseArgs {
    /// The service, as `bulkhead actors` names it
    #[arg(value_name = "SERVICE")]
    service: String,
    #[command(flatten)]
    platform: PlatformArgs,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// All jobs, the oldest first.
///
/// # Errors
/// [`CommandError`]: nobody answers, or the directory cannot be used.
pub async fn jobs(args: JobsArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let value = desk(&args.platform, remote)?.ask("jobs", &Question::default()).await?;
    match output {
        Output::Json => print_json(&value)?,
        Output::Text => part::<Vec<Job>>(&value, "jobs")?.iter().for_each(|job| println!("{}", line(job))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends one.
///
/// # Errors
/// [`CommandError`]: nobody answers, the directory cannot be used, there is no such job, or it is over.
pub async fn cancel(args: CancelArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let desk = desk(&args.platform, remote)?;
    let (actor, reason) = (actor(desk.instance()), args.reason);
    let cancelled: Job = match desk {
        Desk::Running(remote, _) => {
            post(&remote, "cancel", &Change { job: Some(args.job), reason, actor, ..Change::default() }).await?
        }
        Desk::AtRest(AtRest { log, .. }) => {
            let cancelled = job::cancel(log.as_ref(), &Env::production(), &args.job, &actor, &reason).await;
            log.close().await;
            cancelled?
        }
    };
    print(&cancelled, output)?;
    Ok(ExitCode::SUCCESS)
}

/// Lets a service go on that pauses because too much fails. Only a process can pause.
///
/// # Errors
/// [`CommandError`]: nothing runs there, or it has no such service.
pub async fn release(args: ReleaseArgs, remote: &RemoteArgs, output: Output) -> Result<ExitCode, CommandError> {
    let desk = desk(&args.platform, remote)?;
    let actor = actor(desk.instance());
    let Desk::Running(remote, _) = desk else {
        return Err(CommandError::Failed("nothing runs there, so nothing pauses".into()));
    };
    let selection = Selection { service: Some(args.service), ..Selection::default() };
    let order = Order { kind: Kind::Release, selection, actor, reason: args.reason, ..Order::default() };
    let released: Job = post(&remote, "release", &Change { order, ..Change::default() }).await?;
    print(&released, output)?;
    Ok(ExitCode::SUCCESS)
}

/// Who does it, for the audit: the account and the instance.
pub fn actor(instance: &str) -> String {
    format!("{}@{instance}", account())
}

/// A job's end, on stdout.
pub fn print(job: &Job, output: Output) -> Result<(), CommandError> {
    match output {
        Output::Json => println!("{}", serde_json::to_string(job).map_err(CommandError::failed)?),
        Output::Text => println!("{}", line(job)),
    }
    Ok(())
}

/// A job in one line.
pub fn line(job: &Job) -> String {
    let c = job.counts;
    let again = if c.failed_again > 0 { format!(", {} failed again", c.failed_again) } else { String::new() };
    let why = if job.reason.is_empty() { String::new() } else { format!(" ({})", job.reason) };
    format!(
        "{}  {}  {:?}{why}: {} scanned = {} moved + {} skipped + {} failed{again}",
        job.job,
        time(job.last_ms),
        job.state,
        c.scanned,
        c.moved,
        c.skipped,
        c.failed
    )
}
