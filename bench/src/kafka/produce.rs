//! Events a second into the broker: through our log, and by the client library alone with the same settings.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use runtime::env::Env;
use runtime::log::kafka::KafkaLog;
use runtime::log::{AppendOptions, Batches, Compression, Log as _, TopicPartition};

use super::{BATCH_EVENTS, FILL_BUDGET_BYTES, PARTITIONS, config, topic};
use crate::Failed;
use crate::minutes::Generator;
use crate::report::median;

const REPEATS: usize = 3;
const FLUSH: Duration = Duration::from_secs(60);

/// Ours and the bare producer's, in turns; the medians.
pub fn rates(brokers: &str, prefix: &str, events: u64) -> Result<(f64, f64), Failed> {
    let mut generator = Generator::new(2, events, Compression::None);
    let batches = (0..events / BATCH_EVENTS).map(|_| generator.batch(BATCH_EVENTS as usize));
    let batches: Vec<bytes::Bytes> = batches.collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for repeat in 0..REPEATS {
        let prefix = format!("{prefix}{repeat}-");
        ours.push(runtime.block_on(through_our_log(brokers, &prefix, &batches))?);
        bare.push(bare_loop(brokers, &prefix, &batches)?);
        eprintln!("produce {repeat}: {:.0}/s, bare {:.0}/s", ours[repeat], bare[repeat]);
    }
    Ok((median(ours), median(bare)))
}

async fn through_our_log(brokers: &str, prefix: &str, batches: &[bytes::Bytes]) -> Result<f64, Failed> {
    let log = KafkaLog::open(&Env::production(), config(brokers, prefix))?;
    let topic = log.ensure_topic(&topic("ours"))?;
    let options = AppendOptions { group: log.producer_group("produce", FILL_BUDGET_BYTES), fence: None };
    let started = Instant::now();
    let mut waiting = std::collections::VecDeque::new();
    for (n, batch) in batches.iter().enumerate() {
        let to = TopicPartition { topic, partition: n as u32 % PARTITIONS };
        waiting.push_back(log.append(to, batch.clone(), options));
        if waiting.len() >= 64
            && let Some(first) = waiting.pop_front()
        {
            first.await?;
        }
    }
    for append in waiting {
        append.await?;
    }
    let rate = (batches.len() as u64 * BATCH_EVENTS) as f64 / started.elapsed().as_secs_f64();
    log.close().await;
    Ok(rate)
}

fn bare_loop(brokers: &str, prefix: &str, batches: &[bytes::Bytes]) -> Result<f64, Failed> {
    let log = KafkaLog::open(&Env::production(), config(brokers, prefix))?;
    log.ensure_topic(&topic("bare"))?;
    let name = format!("{prefix}bare");
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "1")
        .set("compression.type", "lz4")
        .set("linger.ms", "1")
        .set("batch.size", "262144")
        .set("queue.buffering.max.messages", "2000000")
        .set("queue.buffering.max.kbytes", "131072")
        .create()?;
    let (started, mut scratch) = (Instant::now(), Vec::new());
    for (n, batch) in batches.iter().enumerate() {
        for batch in Batches::new(batch) {
            for record in batch?.records(&mut scratch)? {
                let record = record?;
                let mut send = BaseRecord::to(&name)
                    .partition((n as u32 % PARTITIONS) as i32)
                    .key(record.key.unwrap_or_default())
                    .payload(record.value.unwrap_or_default())
                    .timestamp(record.timestamp_ms);
                while let Err((error, back)) = producer.send(send) {
                    let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else {
                        return Err(error.into());
                    };
                    producer.poll(Duration::from_millis(1));
                    send = back;
                }
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(FLUSH)?;
    Ok((batches.len() as u64 * BATCH_EVENTS) as f64 / started.elapsed().as_secs_f64())
}
