//! `dlq jobs` and `dlq cancel`.

use std::process::ExitCode;

use clap::Args;
use runtime::env::Env;
use serde_json::json;

use super::{open, place, time};
use crate::cli::Output;
use crate::config::PlatformArgs;
use crate::dlq::job::{self, Job};
use crate::exit::CommandError;

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

/// All jobs, the oldest first.
///
/// # Errors
/// [`CommandError`]: the directory cannot be used.
pub async fn jobs(args: JobsArgs, output: Output) -> Result<ExitCode, CommandError> {
    let (_, data) = place(&args.platform)?;
    let log = open(&data)?;
    let jobs = job::jobs(log.as_ref());
    log.close().await;
    let jobs = jobs?;
    match output {
        Output::Json => println!("{}", json!({ "jobs": jobs })),
        Output::Text => jobs.iter().for_each(|job| println!("{}", line(job))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends one.
///
/// # Errors
/// [`CommandError`]: the directory cannot be used, there is no such job, or it is over.
pub async fn cancel(args: CancelArgs, output: Output) -> Result<ExitCode, CommandError> {
    let (settings, data) = place(&args.platform)?;
    let log = open(&data)?;
    let env = Env::production();
    let cancelled = job::cancel(log.as_ref(), &env, &args.job, &actor(&settings.instance), &args.reason).await;
    log.close().await;
    print(&cancelled?, output)?;
    Ok(ExitCode::SUCCESS)
}

/// Who does it, for the audit: the account and the instance.
pub fn actor(instance: &str) -> String {
    let account = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
    format!("{}@{instance}", account.chars().filter(|c| !c.is_control()).take(64).collect::<String>())
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
