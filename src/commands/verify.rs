//! `bulkhead verify`: the independent recount.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::backend::BrokerArgs;
use crate::cli::Output;
use crate::exit::CommandError;
use crate::verify::{self, Found, VerifyError};

/// Differences shown as text; JSON lists more.
const SHOWN: usize = 20;

/// Count everything in a data directory again, from its inputs, and compare row by row
#[derive(Args, Clone, Debug)]
#[command(after_help = "The directory must be at rest: `bulkhead up --data DIR --until-idle` works off what is left.

Example:
  bulkhead verify --data bulkhead-data")]
pub struct VerifyArgs {
    /// Data directory, as given to `demo` or `up`
    #[arg(long, value_name = "DIR", env = "BULKHEAD_DATA_DIR", default_value = "bulkhead-data")]
    pub data: PathBuf,
    #[command(flatten)]
    pub brokers: BrokerArgs,
    /// Directory with lists, where the platform was run with one
    #[arg(long, value_name = "DIR", env = "BULKHEAD_LISTS")]
    pub lists: Option<PathBuf>,
}

/// Recounts; exit 0 if nothing differs, 1 if something does, 2 if the directory cannot be used.
///
/// # Errors
/// [`CommandError::Usage`] for what is no usable data directory.
pub fn run(args: VerifyArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let log = match &args.brokers.brokers {
            Some(_) => cluster(&args.brokers)?,
            None => verify::open(&args.data).map_err(CommandError::usage)?,
        };
        let found = verify::recount(log.as_ref(), args.lists.as_deref(), &args.data).map_err(refused);
        log.close().await;
        let found = found?;
        match output {
            Output::Json => println!("{}", document(&found)),
            Output::Text => print!("{}", text(&found)),
        }
        Ok(if found.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// A cluster's topics, as they are.
#[cfg(feature = "kafka")]
fn cluster(brokers: &BrokerArgs) -> Result<std::sync::Arc<dyn runtime::log::Log>, CommandError> {
    use crate::backend::Backend;
    let Backend::Kafka(config) = brokers.kafka()? else { return Err(CommandError::Usage("no cluster".into())) };
    let log = runtime::log::kafka::KafkaLog::open(&runtime::env::Env::production(), config);
    let log = log.map_err(CommandError::usage)?;
    log.adopt_all().map_err(CommandError::failed)?;
    Ok(log)
}

#[cfg(not(feature = "kafka"))]
fn cluster(brokers: &BrokerArgs) -> Result<std::sync::Arc<dyn runtime::log::Log>, CommandError> {
    Err(brokers.kafka().err().unwrap_or_else(|| CommandError::Usage("no cluster".into())))
}

/// A directory that cannot be recounted is unusable; a fault of this program is a failure.
fn refused(error: VerifyError) -> CommandError {
    match error {
        VerifyError::Schema { .. } => CommandError::failed(error),
        _ => CommandError::usage(error),
    }
}

fn document(found: &Found) -> serde_json::Value {
    json!({
        "ok": found.is_ok(),
        "recount_diff_micros": found.recount_diff_micros,
        "rows_compared": found.rows_compared,
        "differences": found.differences.listed,
        "differences_count": found.differences.count,
        "offsets": found.offsets,
    })
}

fn text(found: &Found) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    line(format!(
        "{:<34}{:>10}{:>10}{:>10}{:>10}{:>10}{:>13}",
        "topic/service", "events", "done", "duplicate", "dead", "waiting", "unaccounted"
    ));
    for (name, a) in &found.offsets {
        line(format!(
            "{name:<34}{:>10}{:>10}{:>10}{:>10}{:>10}{:>13}",
            a.events, a.done, a.duplicate, a.dead_lettered, a.waiting, a.unaccounted
        ));
    }
    for difference in found.differences.listed.iter().take(SHOWN) {
        line(format!("{}\n  expected {}\n  found    {}", difference.place, difference.expected, difference.found));
    }
    let more = found.differences.count.saturating_sub(SHOWN as u64);
    if more > 0 {
        line(format!("... and {more} more; --output json lists the first hundred"));
    }
    let (rows, count, micros) = (found.rows_compared, found.differences.count, found.recount_diff_micros);
    line(if found.is_ok() {
        format!("verified: {rows} rows counted again, none differs, the ledger is exact")
    } else {
        format!("NOT verified: {rows} rows counted again, {count} differ, the ledger by {micros} micros")
    });
    text
}
