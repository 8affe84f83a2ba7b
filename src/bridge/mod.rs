//! Carries topics from one log to another, record by record: the same partition, key, value, time and headers.
//!
//! Each record says in a header of its own where it comes from, so the target itself knows how far a bridge has come: there is
//! no file of positions that could say otherwise. A lane carries one partition, one batch at a time, so that a position
//! in the target vouches for all before it.

mod error;
mod lane;
mod position;
mod registries;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use runtime::env::Env;
use runtime::log::{Log, Offset, ProducerGroup, TopicConfig};
use serde::Serialize;

pub use error::BridgeError;
use lane::Lane;
pub use position::HEADER;
pub use registries::agree;

/// Bytes that all lanes together have under way.
const BUDGET_BYTES: usize = 16 << 20;

/// Two logs, and what goes from one to the other.
pub struct Bridge {
    env: Env,
    to: Arc<dyn Log>,
    group: ProducerGroup,
    lanes: Vec<Lane>,
}

/// What became of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Carried {
    pub topic: String,
    pub partition: u32,
    /// Offset in the source at which this run began.
    pub began_at: Offset,
    /// The next offset in the source.
    pub next: Offset,
    /// Records carried by this run.
    pub records: u64,
    /// Records that came over a bridge themselves, and are not sent back.
    pub returned: u64,
    /// Records that the source had no more, and whose loss was accepted.
    pub gone: u64,
}

/// How a bridge deals with what it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Goes on behind the end that the source had at the start.
    pub follow: bool,
    /// Records that the source has no more, by retention or compaction of its start, are given up.
    pub accept_gone: bool,
}

impl Bridge {
    /// Finds the topics at both ends and how far an earlier bridge came. A missing topic is
    /// made where the target makes topics by itself. Blocks.
    ///
    /// # Errors
    /// [`BridgeError`]: nothing was carried.
    pub fn open(
        env: &Env,
        from: &dyn Log,
        to: Arc<dyn Log>,
        topics: &[String],
        manner: Manner,
    ) -> Result<Self, BridgeError> {
        let group = to.producer_group("bridge", BUDGET_BYTES);
        let mut found = Vec::new();
        for name in topics {
            let all = from.topics();
            let known = all.into_iter().find(|(_, config)| *config.name == **name);
            let (source, config) = known.ok_or_else(|| BridgeError::NoTopic { topic: name.clone() })?;
            let target = to.ensure_topic(&settings(&config)).map_err(BridgeError::Append)?;
            found.push((name.as_str(), source, target, config.partitions));
        }
        let mut lanes = Vec::new();
        for (name, source, target, partitions) in found {
            for partition in 0..partitions {
                lanes.push(Lane::open(from, to.as_ref(), name, (source, target), partition, manner)?);
            }
        }
        Ok(Self { env: env.clone(), to, group, lanes })
    }

    /// What lies before the lanes now, records at most.
    pub fn left(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.left()).sum()
    }

    /// Carries until all lanes are at their end, `stop` says so, or one lane cannot go on. What was carried is the same in
    /// all three.
    pub async fn run(&mut self, stop: impl Future<Output = ()>) -> (Vec<Carried>, Result<(), BridgeError>) {
        let (env, to, group) = (&self.env, &self.to, self.group);
        let lanes = self.lanes.iter_mut().map(|lane| lane.carry(env, to.as_ref(), group));
        let all = futures_util::future::try_join_all(lanes);
        let result = tokio::select! {
            biased;
            result = all => result.map(|_| ()),
            () = stop => Ok(()),
        };
        (self.lanes.iter().map(Lane::carried).collect(), result)
    }
}

/// How a topic is made where it is missing: as the catalogue says, with the partitions that it has at the source.
fn settings(found: &TopicConfig) -> TopicConfig {
    let ours = crate::platform::topics(found.partitions);
    let known = ours.into_iter().find(|topic| topic.name == found.name);
    TopicConfig { partitions: found.partitions, ..known.unwrap_or_else(|| found.clone()) }
}
