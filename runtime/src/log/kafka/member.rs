//! One member of a consumer group, on a thread of its own (rule P20). The group shares out the partitions of a commit
//! topic, and nothing is read through it: whoever has a partition of the commit topic owns the shard and assigns itself
//! that partition of every input by hand. No assignor of the library keeps several topics together.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};

use crate::log::membership::{Change, JoinError, Member, Membership, membership};

/// How soon a member that is to leave does.
const POLL: Duration = Duration::from_millis(100);
/// A service may take this long to let go of a partition; then the group goes on without its word. What it still appends
/// is void: the next owner's claim fences it.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A member that the coordinator has put out for good comes back as a new one after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What the library calls.
struct Context {
    member: Arc<Member>,
    group: String,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::warn!(?level, facility, group = self.group, "kafka: {text}");
    }
}

fn partitions(of: &TopicPartitionList) -> Vec<u32> {
    of.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

impl ConsumerContext for Context {
    /// Before the group hears that we let go.
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(taken) = rebalance else { return };
        let change = Change::Revoked { partitions: partitions(taken), is_lost: consumer.assignment_lost() };
        tracing::info!(group = self.group, ?change, "partitions are taken");
        if !self.member.tell_and_wait(change, ANSWER_LIMIT) && !self.member.is_leaving() {
            tracing::warn!(group = self.group, "the service did not let go within {ANSWER_LIMIT:?}");
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(given) = rebalance else { return };
        // Nothing is to be fetched here, from the start: this is no flow control.
        if let Err(error) = consumer.pause(given) {
            tracing::warn!(group = self.group, %error, "records are fetched for nobody");
        }
        let change = Change::Assigned(partitions(given));
        tracing::info!(group = self.group, ?change, "partitions are given");
        self.member.tell_and_wait(change, ANSWER_LIMIT);
    }
}

/// Joins; the membership ends when its other end is dropped or set to leave.
pub(super) fn join(config: ClientConfig, group: String, topic: String) -> Result<Membership, JoinError> {
    let (membership, member) = membership();
    let refused = |reason: String| JoinError::Refused { group: group.clone(), reason };
    let client = Client { config, group: group.clone(), topic, member: Arc::new(member) };
    let consumer = client.consumer().map_err(|error| refused(error.to_string()))?;
    let thread = std::thread::Builder::new().name("log-kafka-group".to_owned());
    thread.spawn(move || client.run(consumer)).map_err(|error| refused(error.to_string()))?;
    Ok(membership)
}

struct Client {
    config: ClientConfig,
    group: String,
    topic: String,
    member: Arc<Member>,
}

impl Client {
    fn consumer(&self) -> KafkaResult<BaseConsumer<Context>> {
        let context = Context { member: self.member.clone(), group: self.group.clone() };
        let consumer: BaseConsumer<Context> = self.config.create_with_context(context)?;
        consumer.subscribe(&[&self.topic])?;
        Ok(consumer)
    }

    /// Dropping a consumer hands back what it has, and says goodbye to the coordinator.
    fn run(&self, first: BaseConsumer<Context>) {
        let mut consumer = Some(first);
        while !self.member.is_leaving() {
            match &consumer {
                Some(alive) if self.serve(alive) => {}
                Some(_) => consumer = None,
                None => {
                    std::thread::sleep(AGAIN);
                    match self.consumer() {
                        Ok(made) => consumer = Some(made),
                        Err(error) => tracing::warn!(group = self.group, %error, "not in the group"),
                    }
                }
            }
        }
    }

    /// One turn; `false` if this consumer is of no use any more.
    fn serve(&self, consumer: &BaseConsumer<Context>) -> bool {
        match consumer.poll(POLL) {
            // A record can come before the pause has taken hold; it is nobody's.
            None | Some(Ok(_)) => true,
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                tracing::error!(group = self.group, %error, "put out of the group; joining anew");
                false
            }
            Some(Err(error)) => {
                tracing::warn!(group = self.group, %error, "kafka group");
                true
            }
        }
    }
}
