//! The topics that this process uses, and what it knows of their partitions.

use std::ffi::CString;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use crate::log::times::{Mark, Times};
use crate::log::{Extent, Offset, TopicConfig, TopicId, TopicPartition};

use super::lock;

/// One partition. The offsets are what was heard last: of our own appends at once, of others' within the refresh.
#[derive(Debug, Default)]
pub(super) struct Partition {
    start: AtomicI64,
    high_watermark: AtomicI64,
    times: Mutex<Times>,
}

impl Partition {
    pub(super) fn extent(&self) -> Extent {
        Extent {
            start: self.start.load(Ordering::Acquire),
            high_watermark: self.high_watermark.load(Ordering::Acquire),
        }
    }

    pub(super) fn starts_at(&self, start: Offset) {
        self.start.fetch_max(start, Ordering::AcqRel);
        self.high_watermark.fetch_max(start, Ordering::AcqRel);
    }

    /// What was there before this process looked.
    pub(super) fn already(&self, next: Offset) {
        self.high_watermark.fetch_max(next, Ordering::AcqRel);
    }

    /// Everything below `next` is readable since `now_us`. `timestamp_ms`: event time of the record at `from`.
    pub(super) fn readable(&self, from: Offset, next: Offset, now_us: u64, timestamp_ms: Option<i64>) {
        let before = self.high_watermark.fetch_max(next, Ordering::AcqRel);
        if let Some(timestamp_ms) = timestamp_ms {
            lock(&self.times).push(Mark { from, readable_at_us: now_us, timestamp_ms });
        } else if next > before {
            lock(&self.times).push(Mark { from: before, readable_at_us: now_us, timestamp_ms: i64::MIN });
        }
    }

    /// When the record at `offset` became readable, if this process saw it.
    pub(super) fn readable_at_us(&self, offset: Offset) -> Option<u64> {
        lock(&self.times).at(offset).map(|mark| mark.readable_at_us)
    }

    pub(super) fn timestamp_at(&self, offset: Offset) -> Option<i64> {
        let extent = self.extent();
        if offset < extent.start || offset >= extent.high_watermark {
            return None;
        }
        lock(&self.times).at(offset).map(|mark| mark.timestamp_ms).filter(|ms| *ms != i64::MIN)
    }
}

/// One topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub id: TopicId,
    pub config: TopicConfig,
    /// Its name at the brokers, prefix included; twice, since the library wants both.
    pub broker_name: String,
    pub c_name: CString,
    pub partitions: Vec<Partition>,
}

/// All of them; ids are places.
pub(super) type Topics = Vec<Arc<Topic>>;

/// A partition with its topic.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub topic: Arc<Topic>,
    pub partition: u32,
}

impl Place {
    pub(super) fn of(topics: &Topics, at: TopicPartition) -> Option<Self> {
        let topic = topics.get(at.topic.0 as usize)?.clone();
        ((at.partition as usize) < topic.partitions.len()).then_some(Self { topic, partition: at.partition })
    }

    pub(super) fn state(&self) -> &Partition {
        &self.topic.partitions[self.partition as usize]
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.topic.config.name
    }

    pub(super) fn at(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.id, partition: self.partition }
    }
}
