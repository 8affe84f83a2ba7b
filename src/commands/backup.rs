//! `bulkhead backup` and `bulkhead restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Output;
use crate::exit::CommandError;
use crate::operate::backup;
use crate::operate::target::{Target, TargetArgs, absolute};

/// Copy the data directory of a running process, or one at rest, as of one moment
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The copy holds everything that was acknowledged when it was taken, and opens as after a crash at that
moment; the platform goes on meanwhile. `bulkhead restore` makes a data directory of it.

Example:
  bulkhead backup /var/backups/bulkhead --data bulkhead-data"
)]
pub struct BackupArgs {
    /// Where the copy goes: absent or empty, on the machine where the process runs
    pub dir: PathBuf,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Make a data directory of a copy
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:
  bulkhead restore /var/backups/bulkhead --data bulkhead-data")]
pub struct RestoreArgs {
    /// A copy that `bulkhead backup` made; it stays as it is
    pub dir: PathBuf,
    /// Data directory to make: absent or empty
    #[arg(long, value_name = "DIR", env = "BULKHEAD_DATA_DIR", default_value = "bulkhead-data")]
    pub data: PathBuf,
}

/// Copies.
///
/// # Errors
/// The target holds something, or what is to be copied cannot be read.
pub fn backup(args: BackupArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let copied = match args.target.target()? {
            Target::Running(remote) => {
                // The process stands in another directory.
                let dir = std::path::absolute(&args.dir).map_err(CommandError::usage)?;
                let body = Bytes::from(json!({ "dir": dir }).to_string());
                serde_json::from_slice(&remote.post("/backup", body).await?).map_err(CommandError::failed)?
            }
            Target::Directory(data) => json!(backup::at_rest(&data, &args.dir)?),
        };
        Ok(say(&copied, &format!("in {}", absolute(&args.dir).display()), output))
    })
}

/// Copies back.
///
/// # Errors
/// The copy is none, or the data directory holds something.
pub fn restore(args: RestoreArgs, output: Output) -> Result<ExitCode, CommandError> {
    let copied = json!(backup::restore(&args.dir, &args.data)?);
    let next = format!(
        "in {}; `bulkhead up --data {}` goes on from there",
        absolute(&args.data).display(),
        args.data.display()
    );
    Ok(say(&copied, &next, output))
}

fn say(copied: &Value, place: &str, output: Output) -> ExitCode {
    match output {
        Output::Json => println!("{copied}"),
        Output::Text => println!(
            "{} topics, {} partitions, {} segment files, {} bytes {place}",
            copied["topics"], copied["partitions"], copied["files"], copied["bytes"]
        ),
    }
    ExitCode::SUCCESS
}
