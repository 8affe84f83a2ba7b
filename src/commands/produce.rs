//! `bulkhead produce`: rows of a file become events of a topic.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use runtime::env::Env;
use serde_json::{Value, json};

use crate::cli::Output;
use crate::config::PARTITIONS_DEFAULT;
use crate::exit::CommandError;
use crate::operate::produce::{FILE_MAX_BYTES, produce};
use crate::operate::target::{Target, TargetArgs, escaped};

/// Append rows of JSON to a topic of the outside: all of them, or none with every bad row named
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A row is a value of the topic's schema, or {\"value\": …} with its key, timestamp_ms or another topic beside it.

Example:
  bulkhead produce campaigns-changes --from examples/campaigns.jsonl"
)]
pub struct ProduceArgs {
    /// Topic, such as campaigns-changes or budgets-changes
    pub topic: String,
    /// JSON lines; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Sends the rows to a process that runs, or appends them to a directory at rest.
///
/// # Errors
/// [`CommandError`]: the file cannot be read, nobody takes the rows, or the log refuses.
pub fn run(args: ProduceArgs, output: Output) -> Result<ExitCode, CommandError> {
    let text = read(&args.from)?;
    crate::cli::block_on(async move {
        let produced = match args.target.target()? {
            Target::Running(remote) => {
                let answer = remote.post(&format!("/produce/{}", escaped(&args.topic)), Bytes::from(text)).await?;
                serde_json::from_slice(&answer).map_err(CommandError::failed)?
            }
            Target::Directory(data) => at_rest(&data, &args.topic, &text).await?,
        };
        Ok(report(&produced, &args.topic, output))
    })
}

fn read(path: &std::path::Path) -> Result<String, CommandError> {
    use std::io::Read as _;
    let mut text = String::new();
    let failed = |error: std::io::Error| CommandError::Usage(format!("cannot read {}: {error}", path.display()));
    let limit = FILE_MAX_BYTES as u64 + 1;
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_string(&mut text).map_err(failed)?;
    } else {
        std::fs::File::open(path).map_err(failed)?.take(limit).read_to_string(&mut text).map_err(failed)?;
    }
    if text.len() > FILE_MAX_BYTES {
        let mib = FILE_MAX_BYTES >> 20;
        return Err(CommandError::Usage(format!("{} has more than {mib} MiB; split it", path.display())));
    }
    Ok(text)
}

async fn at_rest(data: &std::path::Path, topic: &str, text: &str) -> Result<Value, CommandError> {
    let log = crate::verify::open(data).map_err(CommandError::usage)?;
    // Frames carry the ids that the directory's registry gave.
    crate::registry::at_rest::writers(log.as_ref(), data).map_err(CommandError::failed)?;
    // Whoever joins topics needs the same count in all of them.
    let partitions = crate::platform::partitions_of(log.as_ref()).unwrap_or(PARTITIONS_DEFAULT);
    let produced = produce(&Env::production(), &log, partitions, topic, text).await;
    log.close().await;
    Ok(json!(produced?))
}

fn report(produced: &Value, topic: &str, output: Output) -> ExitCode {
    let ok = produced["ok"] == true;
    match output {
        Output::Json => println!("{produced}"),
        Output::Text => {
            for bad in produced["bad"].as_array().into_iter().flatten() {
                eprintln!("line {}: {}", bad["line"], bad["what"].as_str().unwrap_or_default());
            }
            for (topic, count) in produced["appended"].as_object().into_iter().flatten() {
                println!("{topic}: {count} events");
            }
            match (ok, produced["rows"].as_u64()) {
                (true, _) => {}
                (false, Some(0)) => eprintln!("bulkhead: no rows for {topic}"),
                (false, rows) => {
                    let rows = rows.unwrap_or_default();
                    eprintln!("bulkhead: {} of {rows} rows are bad; nothing was appended", produced["bad_rows"]);
                }
            }
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
