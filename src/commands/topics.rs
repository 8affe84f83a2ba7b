//! `bulkhead topics`: what the platform needs of a cluster.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::ask;
use crate::backend::BrokerArgs;
use crate::cli::Output;
use crate::exit::CommandError;
use crate::operate::target::TargetArgs;

/// Make and look at topics
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead topics create --brokers 127.0.0.1:9092 --dry-run")]
pub struct TopicsArgs {
    #[command(subcommand)]
    pub command: TopicsCommand,
}

#[derive(Subcommand, Clone, Debug)]
pub enum TopicsCommand {
    Create(CreateArgs),
    /// All topics with their records
    #[command(after_help = "Example:\n  bulkhead topics ls --data bulkhead-data")]
    Ls {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// One topic: partitions, schema, who writes and reads it
    #[command(after_help = "Example:\n  bulkhead topics describe impressions --data bulkhead-data")]
    Describe {
        /// Topic
        topic: String,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Make the topics that are missing; none is ever changed, shrunk or deleted
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bulkhead topics create --brokers 127.0.0.1:9092 --dry-run")]
pub struct CreateArgs {
    #[command(flatten)]
    pub brokers: BrokerArgs,
    /// Partitions of every topic: what is joined must agree
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub partitions: u32,
    /// Copies of every partition; with more than one, two must have a record before it counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=9))]
    pub replicas: i32,
    /// Registry that the platform will use; where it lacks a schema of this binary, nothing is made. Without it the
    /// registry is the cluster's own topic `_schemas`
    #[arg(long, value_name = "URL", env = "BULKHEAD_REGISTRY_URL")]
    pub registry_url: Option<String>,
    /// Print the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs a subcommand.
///
/// # Errors
/// [`CommandError`] if the cluster does not answer or has topics of another shape.
pub fn run(args: TopicsArgs, output: Output) -> Result<ExitCode, CommandError> {
    match args.command {
        TopicsCommand::Create(args) => create(&args, output),
        TopicsCommand::Ls { target } => ask::topics_ls(&target, output),
        TopicsCommand::Describe { topic, target } => ask::topics_describe(&topic, &target, output),
    }
}

#[cfg(not(feature = "kafka"))]
fn create(args: &CreateArgs, _: Output) -> Result<ExitCode, CommandError> {
    args.brokers.kafka().map(|_| ExitCode::SUCCESS)
}

/// Whether an external registry has the schemas of this binary. Asked before anything is made.
#[cfg(feature = "kafka")]
fn registered(url: &str) -> Result<(), CommandError> {
    use crate::registry::{HttpRegistry, external, start};

    let services = actors::catalogue::services(&actors::catalogue::Config::default());
    crate::cli::block_on(async {
        let registry = HttpRegistry::new(url).map_err(CommandError::usage)?;
        let ids = external::ids_at(&registry, &start::topics(&services)).await;
        ids.map(|_| ExitCode::SUCCESS).map_err(CommandError::failed)
    })
    .map(|_| ())
}

#[cfg(feature = "kafka")]
fn create(args: &CreateArgs, output: Output) -> Result<ExitCode, CommandError> {
    use crate::backend::Backend;
    use runtime::env::Env;
    use runtime::log::Log as _;
    use runtime::log::kafka::{KafkaConfig, KafkaLog};

    if let Some(url) = &args.registry_url {
        registered(url)?;
    }
    let Backend::Kafka(config) = args.brokers.kafka()? else { return Err(CommandError::Failed("no cluster".into())) };
    let config = KafkaConfig { create_with_replicas: Some(args.replicas), ..config };
    let log = KafkaLog::open(&Env::production(), config).map_err(CommandError::failed)?;
    let mut wanted = crate::platform::topics(args.partitions);
    if args.registry_url.is_some() {
        // A log with this topic has its own registry, and a start with another one is refused.
        wanted.retain(|topic| &*topic.name != crate::registry::store::TOPIC);
    }
    let mut plan = Vec::new();
    for topic in &wanted {
        let found = log.partitions_of(&topic.name).map_err(CommandError::failed)?;
        let action = match found {
            None => "create",
            Some(count) if count == topic.partitions => "keep",
            Some(_) => "differs",
        };
        plan.push((topic, found, action));
    }
    let differs = plan.iter().any(|(.., action)| *action == "differs");
    let apply = !args.dry_run && !differs;
    if apply {
        for (topic, _, action) in &plan {
            if *action == "create" {
                log.ensure_topic(topic).map_err(CommandError::failed)?;
            }
        }
    }
    match output {
        Output::Json => {
            let row = |(topic, found, action): &(&runtime::log::TopicConfig, Option<u32>, &str)| {
                serde_json::json!({
                    "topic": &*topic.name, "action": action, "partitions": topic.partitions, "found_partitions": found,
                    "retention_ms": topic.retention_ms, "compacted": topic.compacted, "replicas": args.replicas,
                })
            };
            let rows: Vec<_> = plan.iter().map(row).collect();
            println!("{}", serde_json::json!({ "ok": !differs, "applied": apply, "topics": rows }));
        }
        Output::Text => {
            for (topic, found, action) in &plan {
                let keep = match (topic.compacted, topic.retention_ms) {
                    (true, _) => "compacted".to_owned(),
                    (false, None) => "kept".to_owned(),
                    (false, Some(ms)) => format!("{} days", ms / 86_400_000),
                };
                let found = found.map(|count| format!(" (has {count})")).unwrap_or_default();
                println!("{action:<8}{:<34}{:>4} partitions{found}, {keep}", topic.name, topic.partitions);
            }
        }
    }
    if differs {
        eprintln!(
            "bulkhead: topics with another partition count stand in the way and nothing was made; a count never \
             changes: use --partitions as they have, or another --topic-prefix"
        );
        return Ok(ExitCode::FAILURE);
    }
    if args.dry_run {
        eprintln!("nothing was changed (--dry-run)");
    }
    Ok(ExitCode::SUCCESS)
}
