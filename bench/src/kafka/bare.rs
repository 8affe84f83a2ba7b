//! The floor: the client library's batch calls, decoding, a hash map; nothing that could be restored.
#![allow(unsafe_code)] // the client library's batch calls have no safe form

use std::ptr;

use rdkafka::bindings as sys;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::{Clocks, Measured, PARTITIONS, Step};
use crate::Failed;
use crate::minutes::{Bare, Fields, IMPRESSIONS};

const BATCH: usize = 10_000;
const WAIT_MS: i32 = 100;
/// Turns without a message before it is given up.
const EMPTY_TURNS_MAX: u32 = 300;

pub fn walk(step: &Step) -> Result<Measured, Failed> {
    // As our own reader has them.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &step.brokers)
        .set("group.id", "bench-bare")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", "1024")
        .set("queued.min.messages", "10000")
        .set("fetch.queue.backoff.ms", "20")
        .create()?;
    let (mut list, topic) = (TopicPartitionList::new(), format!("{}{}", step.prefix, IMPRESSIONS.name));
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&topic, partition as i32, Offset::Beginning)?;
    }
    let mut clocks = Clocks::start();
    consumer.assign(&list)?;
    let (mut bare, mut done, mut empty) = (Bare::new(Fields::new()?), 0, 0);
    let mut taken = vec![ptr::null_mut::<sys::rd_kafka_message_t>(); BATCH];
    // The queue is referenced until it is destroyed below; the consumer outlives it.
    let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    while done < step.events && empty < EMPTY_TURNS_MAX {
        // The array has room for as many messages as it is said to have; each is destroyed once, after its last use.
        let found = unsafe { sys::rd_kafka_consume_batch_queue(queue, WAIT_MS, taken.as_mut_ptr(), BATCH) };
        let found = usize::try_from(found)?;
        empty = if found == 0 { empty + 1 } else { 0 };
        for message in &taken[..found] {
            let added = unsafe {
                let inside = &**message;
                let is_record = inside.err as i32 == 0 && !inside.payload.is_null();
                let added =
                    is_record.then(|| bare.add(std::slice::from_raw_parts(inside.payload.cast::<u8>(), inside.len)));
                sys::rd_kafka_message_destroy(*message);
                added
            };
            if let Some(added) = added {
                added?;
                done += 1;
            }
        }
        clocks.look(done, step.events);
    }
    let measured = clocks.end(step.events);
    unsafe { sys::rd_kafka_queue_destroy(queue) };
    Ok(measured.of(bare.totals()))
}
