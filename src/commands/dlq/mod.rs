//! `bulkhead dlq`: what services could not take, why, and what is done about it.

mod args;
mod desk;
mod jobs;
mod list;
mod replay;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use runtime::log::Log;

use crate::cli::Output;
use crate::config::{self, Settings};
use crate::dlq::DlqError;
use crate::exit::CommandError;
use crate::verify::{self, VerifyError};

/// Directory where nothing else is said.
const DATA_DEFAULT: &str = "bulkhead-data";

/// List, group, show and export dead letters, bring them back to the service that failed, or put them away
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Where a process runs on the directory it is asked; a directory at rest is read by the command itself.

Example:
  bulkhead dlq groups --data bulkhead-data"
)]
pub struct DlqArgs {
    #[command(subcommand)]
    command: DlqCommand,
    #[command(flatten)]
    remote: desk::RemoteArgs,
}

#[derive(Subcommand, Clone, Debug)]
enum DlqCommand {
    /// List dead letters
    #[command(after_help = "Example:\n  bulkhead dlq ls --service billing --since 2h")]
    Ls(list::ListArgs),
    /// Group dead letters by cause: how many, since when, a sample, the money at stake, spikes
    #[command(after_help = "Example:\n  bulkhead dlq groups --output json")]
    Groups(list::ListArgs),
    /// Show one letter: the decoded record beside the reason
    #[command(after_help = "Example:\n  bulkhead dlq show impressions-dlq/2/17")]
    Show(show::ShowArgs),
    /// Write letters as JSON lines, with their bytes
    #[command(after_help = "Example:\n  bulkhead dlq export --fingerprint 0123456789abcdef --to letters.jsonl")]
    Export(show::ExportArgs),
    /// Bring letters back to the service that failed, and to no other
    #[command(after_help = "Letters already brought back, and letters put away, are skipped: a job can be run twice.

Example:
  bulkhead dlq replay --fingerprint 0123456789abcdef --canary 10 --stop-if-failures 5% --rate 500/s")]
    Replay(Box<replay::ReplayArgs>),
    /// Put letters away: they are kept, and count as done
    #[command(after_help = "Example:\n  bulkhead dlq discard --code EXPIRED --reason \"older than the invoice\"")]
    Discard(replay::DiscardArgs),
    /// List the jobs that were run, with what they moved
    #[command(after_help = "Example:\n  bulkhead dlq jobs --output json")]
    Jobs(jobs::JobsArgs),
    /// End a job that is paused or stopped; what it has moved stays moved
    #[command(after_help = "Example:\n  bulkhead dlq cancel replay-19abc-0001 --reason \"wrong group\"")]
    Cancel(jobs::CancelArgs),
    /// Let a service go on that pauses because too much fails: for ten minutes all that fails is set aside
    #[command(after_help = "Example:\n  bulkhead dlq release billing --reason \"the old schema, known\"")]
    Release(jobs::ReleaseArgs),
}

/// Runs one of them.
///
/// # Errors
/// A directory or a selection that cannot be used is usage, everything else a failure.
pub fn run(args: DlqArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let remote = &args.remote;
        match args.command {
            DlqCommand::Ls(args) => list::ls(args, remote, output).await,
            DlqCommand::Groups(args) => list::groups(args, remote, output).await,
            DlqCommand::Show(args) => show::show(args, remote, output).await,
            DlqCommand::Export(args) => show::export(args, remote, output).await,
            DlqCommand::Replay(args) => replay::replay(*args, remote, output).await,
            DlqCommand::Discard(args) => replay::discard(args, remote, output).await,
            DlqCommand::Jobs(args) => jobs::jobs(args, remote, output).await,
            DlqCommand::Cancel(args) => jobs::cancel(args, remote, output).await,
            DlqCommand::Release(args) => jobs::release(args, remote, output).await,
        }
    })
}

/// Settings and the directory they name.
fn place(args: &config::PlatformArgs) -> Result<(Settings, PathBuf), CommandError> {
    let settings = config::resolve(args).map_err(|error| CommandError::Config(error.to_string()))?;
    let data = settings.data.clone().unwrap_or_else(|| DATA_DEFAULT.into());
    Ok((settings, data))
}

/// Opens a directory that no other process uses.
fn open(data: &std::path::Path) -> Result<Arc<dyn Log>, CommandError> {
    verify::open(data).map_err(refused)
}

fn refused(error: VerifyError) -> CommandError {
    let hint = match error.kind() {
        "STORAGE_IN_USE" => {
            "; its process is not found from here: name its admin listener with --admin and --token, or let it drain"
        }
        _ => "",
    };
    CommandError::Usage(format!("{error}{hint}"))
}

impl From<DlqError> for CommandError {
    fn from(error: DlqError) -> Self {
        match error {
            DlqError::Selection(_) | DlqError::NoLetter(_) | DlqError::NoJob(_) | DlqError::JobOver { .. } => {
                Self::usage(error)
            }
            _ => Self::failed(error),
        }
    }
}

/// Milliseconds since 1970 as people write them, UTC.
fn time(at_ms: i64) -> String {
    let (day, ms) = (at_ms.div_euclid(86_400_000), at_ms.rem_euclid(86_400_000));
    // Howard Hinnant's `civil_from_days`.
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let y = yoe + era * 400 + i64::from(m <= 2);
    let (h, min, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{y:04}-{m:02}-{d:02}T{h:02}:{min:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_utc() {
        assert_eq!(super::time(0), "1970-01-01T00:00:00Z");
        assert_eq!(super::time(1_709_251_199_999), "2024-02-29T23:59:59Z");
        assert_eq!(super::time(-1), "1969-12-31T23:59:59Z");
    }
}
