//! The commands that only ask: `lag`, `actors`, `graph`, `topics ls`, `tap`, `explain`. Each puts one question to a process that
//! runs, or answers it from a directory at rest, and shows the same document.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use runtime::env::Env;
use runtime::log::Log;
use serde_json::Value;

use super::shown;
use crate::args;
use crate::cli::Output;
use crate::exit::CommandError;
use crate::operate::tap::{self, Tap};
use crate::operate::target::{Target, TargetArgs, escaped};
use crate::operate::topology::{self, Behind};
use crate::operate::{OperateError, explain, lag, topics, values};
use crate::registry;

/// How far each service is behind, in records and seconds
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead lag --data bulkhead-data")]
pub struct LagArgs {
    #[command(flatten)]
    pub target: TargetArgs,
}

/// The supervision tree of a process: state, queue, what is handled and for how long, restarts, last error
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead actors --admin 127.0.0.1:8081")]
pub struct ActorsArgs {
    #[command(flatten)]
    pub target: TargetArgs,
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    Text,
    Dot,
    Svg,
}

/// Services and the topics between them; live with lag where a process runs
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead graph --format svg")]
pub struct GraphArgs {
    /// How it is drawn
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    pub format: GraphFormat,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Decoded events of a topic, one JSON document a line; personal data is masked
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead tap bids --where campaign_id=camp-1 -n 5")]
pub struct TapArgs {
    /// Topic
    pub topic: String,
    /// Only events with this value; `a.b` is a field of a field
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub wanted: Option<String>,
    /// First offset of each partition (below zero: from the end), or how long ago (10m)
    #[arg(long, value_name = "OFFSET|TIME", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Events at most
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 20)]
    pub count: usize,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// One auction from its request to the ledger: filters, views with their ages, lease, price, what followed
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead explain auction-1")]
pub struct ExplainArgs {
    /// `id` of the bid request
    pub auction_id: String,
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Asks a process for `path`, or a directory through `at_rest`.
async fn answer(
    target: Target,
    path: &str,
    at_rest: impl FnOnce(&dyn Log, &Path) -> Result<Value, OperateError>,
) -> Result<Value, CommandError> {
    match target {
        Target::Running(remote) => remote.json(path).await,
        Target::Directory(data) => {
            let log = crate::verify::open(&data).map_err(CommandError::usage)?;
            let answer = at_rest(log.as_ref(), &data);
            log.close().await;
            Ok(answer?)
        }
    }
}

fn show(value: &Value, output: Output, text: impl FnOnce(&Value) -> String) -> ExitCode {
    match output {
        Output::Json => println!("{value}"),
        Output::Text => print!("{}", text(value)),
    }
    ExitCode::SUCCESS
}

/// `bulkhead lag`.
///
/// # Errors
/// Nobody answers, or the directory cannot be read.
pub fn lag(args: LagArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let now_ms = Env::production().clock.wall_ms();
        let value = answer(args.target.target()?, "/lag", |log, _| lag::at_rest(log, now_ms)).await?;
        Ok(show(&value, output, shown::lag))
    })
}

/// `bulkhead actors`.
///
/// # Errors
/// Nothing runs.
pub fn actors(args: ActorsArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let value = args.target.remote()?.json("/actors").await?;
        Ok(show(&value, output, shown::actors))
    })
}

/// `bulkhead graph`. Without a process the topology of this build is drawn.
///
/// # Errors
/// The process that was named does not answer.
pub fn graph(args: GraphArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let (specs, behind) = (values::services(), Behind::new());
        let named = args.target.admin.is_some() || args.target.data.is_some();
        let target = match args.target.target() {
            Ok(Target::Running(remote)) => Some(remote),
            Err(error) if named => return Err(error),
            Ok(Target::Directory(_)) | Err(_) => None,
        };
        let format = match (output, args.format) {
            (Output::Json, _) => "json",
            (Output::Text, GraphFormat::Text) => "text",
            (Output::Text, GraphFormat::Dot) => "dot",
            (Output::Text, GraphFormat::Svg) => "svg",
        };
        let text = match target {
            Some(remote) => {
                let answer = remote.get(&format!("/topology?format={format}")).await?;
                String::from_utf8_lossy(&answer).into_owned()
            }
            None => match format {
                "json" => topology::to_json(&specs, &behind).to_string(),
                "text" => topology::to_text(&specs, &behind),
                "dot" => topology::to_dot(&specs),
                _ => topology::to_svg(&specs, &behind),
            },
        };
        println!("{}", text.trim_end());
        Ok(ExitCode::SUCCESS)
    })
}

/// `bulkhead topics ls`.
///
/// # Errors
/// Nobody answers, or the directory cannot be read.
pub fn topics_ls(target: &TargetArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let value = answer(target.target()?, "/topics", |log, _| topics::list(log)).await?;
        Ok(show(&value, output, shown::topics))
    })
}

/// `bulkhead topics describe`.
///
/// # Errors
/// Nobody answers, or there is no such topic.
pub fn topics_describe(topic: &str, target: &TargetArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let path = format!("/topics/{}", escaped(topic));
        let value = answer(target.target()?, &path, |log, _| topics::describe(log, topic)).await?;
        Ok(show(&value, output, shown::topic))
    })
}

/// `bulkhead tap`.
///
/// # Errors
/// Wrong flags, nobody answers, or there is no such topic.
pub fn tap(args: TapArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let wanted = args.wanted.as_deref().map(tap::wanted).transpose().map_err(CommandError::Usage)?;
        let (from_offset, from_ms) = from(args.from.as_deref())?;
        let mut path = format!("/tap/{}?n={}", escaped(&args.topic), args.count);
        if let Some((field, value)) = &wanted {
            path.push_str(&format!("&where={}", escaped(&format!("{field}={value}"))));
        }
        from_offset.iter().for_each(|offset| path.push_str(&format!("&from_offset={offset}")));
        from_ms.iter().for_each(|ms| path.push_str(&format!("&from_ms={ms}")));
        let tap = Tap { wanted, from_offset, from_ms, limit: args.count };
        let at_rest = |log: &dyn Log, data: &Path| {
            let writers = registry::at_rest::writers(log, data).map_err(OperateError::failed)?;
            Ok(serde_json::json!({ "events": tap::events(log, writers, &args.topic, &tap)? }))
        };
        let value = answer(args.target.target()?, &path, at_rest).await?;
        Ok(show(&value, output, shown::events))
    })
}

/// An offset, or a time that long ago.
fn from(text: Option<&str>) -> Result<(Option<i64>, Option<i64>), CommandError> {
    let Some(text) = text else { return Ok((None, None)) };
    if let Ok(offset) = text.parse() {
        return Ok((Some(offset), None));
    }
    let ago = args::duration(text)
        .map_err(|_| CommandError::Usage(format!("--from `{text}`: an offset, or a time such as 10m")))?;
    Ok((None, Some(Env::production().clock.wall_ms() - ago.as_millis() as i64)))
}

/// `bulkhead explain`.
///
/// # Errors
/// Nobody answers, or nothing is known of the auction.
pub fn explain(args: ExplainArgs, output: Output) -> Result<ExitCode, CommandError> {
    crate::cli::block_on(async move {
        let path = format!("/explain/{}", escaped(&args.auction_id));
        let value = answer(args.target.target()?, &path, |log, data| {
            let writers = registry::at_rest::writers(log, data).map_err(OperateError::failed)?;
            explain::explain(log, &writers, &args.auction_id)
        })
        .await?;
        Ok(show(&value, output, shown::explained))
    })
}
