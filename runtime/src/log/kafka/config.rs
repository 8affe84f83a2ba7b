//! Settings of the client library, each with its reason.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;

/// Bytes that one partition may hold in the client before its reader takes them.
const PREFETCH_KIB: &str = "1024";

/// Largest record that is sent: the brokers' default for `message.max.bytes`. Commit records stay below 768 KiB.
pub(super) const MESSAGE_MAX_BYTES: usize = 1_048_588;

/// Where the brokers are and how to talk to them.
#[derive(Clone, Debug, Default)]
pub struct KafkaConfig {
    /// `HOST:PORT`, several with commas.
    pub brokers: String,
    /// Put before every topic's name at the brokers, so that several platforms share a cluster. May be empty.
    pub topic_prefix: String,
    /// Settings of the client library as they are (security, host names); they win over ours.
    pub options: BTreeMap<String, String>,
    /// Create topics that are missing, with this many replicas. Without it a missing topic is an error.
    pub create_with_replicas: Option<i32>,
    /// Share partitions with other processes; without it this one takes all.
    pub group: Option<GroupConfig>,
}

/// How processes share partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    pub protocol: GroupProtocol,
    /// A process that is silent for this long has lost its partitions. The brokers' own setting with the newer protocol.
    pub session_timeout: Duration,
    /// Name of this process for static membership: if it comes back within the session, no partition moves.
    pub static_name: Option<String>,
}

/// Who works out the assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// One of the members.
    Classic,
    /// The coordinator (KIP-848), Kafka 4.0 and later.
    Consumer,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { protocol: GroupProtocol::Classic, session_timeout: Duration::from_secs(10), static_name: None }
    }
}

impl KafkaConfig {
    /// The command that makes what this cluster lacks.
    pub(super) fn create_command(&self, partitions: u32) -> String {
        let prefix = match self.topic_prefix.as_str() {
            "" => String::new(),
            prefix => format!(" --topic-prefix {prefix}"),
        };
        format!("bulkhead topics create --brokers {}{prefix} --partitions {partitions}", self.brokers)
    }

    fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "bulkhead")
            // A broker that restarts is met again within a second.
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "5000")
            // Small requests are not held back for larger ones.
            .set("socket.nagle.disable", "true");
        config
    }

    fn with_options(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.options {
            config.set(key, value);
        }
        config
    }

    /// Questions to the cluster: topics, offsets, deletions.
    pub(super) fn admin(&self) -> ClientConfig {
        self.with_options(self.common())
    }

    /// One shard's producer (rule P9).
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A broker without the producer's state accepts any first sequence: with a second request in flight, a lost
            // first one would leave a gap.
            .set("max.in.flight.requests.per.connection", "1")
            // The library never gives up a message and goes on with the next; the shard has a deadline of its own.
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", MESSAGE_MAX_BYTES.to_string())
            .set("compression.type", "lz4")
            .set("linger.ms", "1")
            .set("batch.size", "262144")
            // More than a group's byte budget can hold of the smallest records: the queue is never full.
            .set("queue.buffering.max.messages", "2000000")
            .set("queue.buffering.max.kbytes", "131072");
        self.with_options(config)
    }

    /// A member of a group; `None` where partitions are not shared.
    pub(super) fn member(&self, id: &str) -> Option<ClientConfig> {
        let group = self.group.as_ref()?;
        let mut config = self.common();
        config
            .set("group.id", id)
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            // Nothing is read here: no position can be missing.
            .set("auto.offset.reset", "latest")
            // A thread of ours that does not come back is put out of the group.
            .set("max.poll.interval.ms", "60000");
        let session_ms = group.session_timeout.as_millis();
        match group.protocol {
            // Only what moves is taken: the other partitions work on.
            GroupProtocol::Classic => config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", session_ms.to_string())
                .set("heartbeat.interval.ms", (session_ms / 3).max(1).to_string()),
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        if let Some(name) = &group.static_name {
            config.set("group.instance.id", name);
        }
        Some(self.with_options(config))
    }

    /// A client that reads partitions, each into a queue of its own.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            // A silent jump would skip the claim that fenced us (rule P3).
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            // Markers of transactions have offsets and no record: the end is told, or a reader would wait for them for ever.
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("queued.max.messages.kbytes", PREFETCH_KIB)
            .set("queued.min.messages", "10000")
            // The default waits a second after a full queue.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100");
        self.with_options(config)
    }
}
