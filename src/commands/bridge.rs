//! `bulkhead bridge`: topics of a data directory into a cluster, and back.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::backend::BrokerArgs;
use crate::cli::Output;
use crate::exit::CommandError;

/// Which way records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// From the data directory to the brokers
    ToKafka,
    /// From the brokers to the data directory
    FromKafka,
}

/// Carry topics between a data directory and Kafka; begun again, it goes on where it stopped
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Every record keeps its partition, key, value, time and headers, and gets one more that says where it comes
from (bulkhead-bridge: TOPIC-PARTITION@OFFSET). By these headers the target itself knows how far the bridge came. What came
over a bridge is never sent back, so a topic may go both ways. The directory must be at rest.

Example:
  bulkhead bridge to-kafka impressions clicks --data bulkhead-data --brokers 127.0.0.1:9092"
)]
pub struct BridgeArgs {
    /// Which way
    #[arg(value_enum)]
    pub way: Way,
    /// Topics, each with all its partitions
    #[arg(required = true)]
    pub topics: Vec<String>,
    /// Data directory of the embedded log
    #[arg(long, value_name = "DIR", env = "BULKHEAD_DATA_DIR", default_value = "bulkhead-data")]
    pub data: PathBuf,
    #[command(flatten)]
    pub brokers: BrokerArgs,
    /// Go on with what comes from the brokers, until stopped
    #[arg(long)]
    pub follow: bool,
    /// Go on although the source has lost records that were not carried
    #[arg(long)]
    pub accept_gone: bool,
}

/// Refused: this build has no Kafka.
///
/// # Errors
/// Always.
#[cfg(not(feature = "kafka"))]
pub fn run(args: BridgeArgs, _: Output) -> Result<ExitCode, CommandError> {
    args.brokers.kafka().map(|_| ExitCode::SUCCESS)
}

/// Carries.
///
/// # Errors
/// [`CommandError`]: one side cannot be used, the two do not fit, or the target takes no more. What was carried stands.
#[cfg(feature = "kafka")]
pub fn run(args: BridgeArgs, output: Output) -> Result<ExitCode, CommandError> {
    use std::sync::Arc;

    use runtime::env::Env;
    use runtime::log::Log;

    use super::up::Signals;
    use crate::backend::Backend;
    use crate::bridge::{self, Bridge, Manner};

    if args.follow && args.way == Way::ToKafka {
        return Err(CommandError::Usage("--follow is for from-kafka: a directory at rest gets no more records".into()));
    }
    let env = Env::production();
    let Backend::Kafka(config) = args.brokers.kafka()? else { return Err(CommandError::Failed("no cluster".into())) };
    let embedded: Arc<dyn Log> = match args.way {
        Way::ToKafka => crate::verify::open(&args.data).map_err(CommandError::usage)?,
        Way::FromKafka => Backend::Embedded.open(&env, &args.data, &[]).map_err(CommandError::failed)?.log,
    };
    let kafka = runtime::log::kafka::KafkaLog::open(&env, config).map_err(CommandError::failed)?;
    kafka.adopt_all().map_err(CommandError::failed)?;
    let kafka: Arc<dyn Log> = kafka;
    let (from, to) = match args.way {
        Way::ToKafka => (embedded.clone(), kafka),
        Way::FromKafka => (kafka, embedded.clone()),
    };
    crate::cli::block_on(async move {
        let mut signals = Signals::new()?;
        let manner = Manner { follow: args.follow, accept_gone: args.accept_gone };
        bridge::agree(from.as_ref(), to.as_ref(), &args.topics).map_err(CommandError::failed)?;
        let opened = Bridge::open(&env, from.as_ref(), to.clone(), &args.topics, manner);
        let mut bridge = opened.map_err(CommandError::failed)?;
        eprintln!("{} records to carry; Ctrl-C stops, and the next run goes on from there", bridge.left());
        let (carried, result) = bridge.run(signals.next()).await;
        embedded.close().await;
        let sum = carried.iter().map(|lane| lane.records).sum::<u64>();
        match output {
            Output::Json => {
                let ok = result.is_ok();
                println!("{}", serde_json::json!({ "ok": ok, "records": sum, "partitions": carried }));
            }
            Output::Text => {
                for lane in &carried {
                    let returned = match lane.returned {
                        0 => String::new(),
                        count => format!(", {count} that had come over a bridge stay"),
                    };
                    let (topic, partition, records) = (&lane.topic, lane.partition, lane.records);
                    println!("{topic}-{partition}: {records} records, {} to {}{returned}", lane.began_at, lane.next);
                }
                println!("{sum} records carried");
            }
        }
        result.map(|()| ExitCode::SUCCESS).map_err(CommandError::failed)
    })
}
