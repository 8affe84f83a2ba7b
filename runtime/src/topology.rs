//! Services and topics as data: declared once, checked at start, drawn, created, drained in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// What a topic is for; decides its retention and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    /// Events from outside (sources, change data): no provenance, may repeat.
    External,
    /// Outputs of services: every record has provenance, repetitions of ours are dropped by marks.
    Internal,
    /// The newest value of each key; folded into views and compared by version (rule P10).
    Compacted,
    /// Dead letters on their way back to the one service that set them aside (`deadletter::replay`).
    Replay,
}

/// A topic, as a `static`: `pub static CLICKS: Topic = Topic::internal("clicks", ClickEvent::SCHEMA_ID, days(90));`
#[derive(Debug)]
pub struct Topic {
    pub name: &'static str,
    pub kind: TopicKind,
    /// Built-in id of the schema of its values.
    pub schema_id: u32,
    pub retention_ms: Option<i64>,
    /// What its key is, for people.
    pub key: &'static str,
}

impl Topic {
    pub const fn external(name: &'static str, key: &'static str, schema_id: u32, retention_ms: Option<i64>) -> Self {
        Self { name, kind: TopicKind::External, schema_id, retention_ms, key }
    }
    pub const fn internal(name: &'static str, key: &'static str, schema_id: u32, retention_ms: Option<i64>) -> Self {
        Self { name, kind: TopicKind::Internal, schema_id, retention_ms, key }
    }
    pub const fn compacted(name: &'static str, key: &'static str, schema_id: u32) -> Self {
        Self { name, kind: TopicKind::Compacted, schema_id, retention_ms: None, key }
    }
}

/// A topic is its name; statics are compared by address first.
impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.name == other.name
    }
}
impl Eq for Topic {}

pub const fn days(n: i64) -> Option<i64> {
    Some(n * 24 * 60 * 60 * 1000)
}

/// What may overtake what when an event fails for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing: the partition waits (money).
    Strict,
    /// Later events of the same key follow the one that waits.
    PerKey,
    /// Everything may go on.
    None,
}

/// Which bulkheads get the cores first when there are too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Serving,
    Money,
    BackOffice,
}

impl Class {
    /// Niceness of the bulkhead's threads.
    pub fn nice(self) -> i32 {
        match self {
            Self::Serving => 0,
            Self::Money => 2,
            Self::BackOffice => 5,
        }
    }
}

/// A service, as data.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    pub name: &'static str,
    pub inputs: Vec<&'static Topic>,
    pub outputs: Vec<&'static Topic>,
    pub order: Order,
    pub class: Class,
}

impl ServiceSpec {
    /// Topic that holds the service's commits: its state, outputs and ownership.
    pub fn commit_topic(&self) -> String {
        format!("{}-commits", self.name)
    }

    /// Everything that the service reads: its inputs, then its replay topic.
    pub fn reads(&self) -> impl Iterator<Item = &'static Topic> {
        self.inputs.iter().copied().chain([replay_topic(self.name)])
    }
}

/// Where dead letters come back to a service, and to no other; nobody else reads or writes it but `dlq replay`.
pub fn replay_topic(service: &'static str) -> &'static Topic {
    static MADE: Mutex<BTreeMap<&'static str, &'static Topic>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(service).or_insert_with(|| {
        // Once a service for the life of the process, as if it stood in the catalogue.
        let name = Box::leak(format!("{service}-replay").into_boxed_str());
        let (kind, retention_ms) = (TopicKind::Replay, days(7));
        Box::leak(Box::new(Topic { name, kind, schema_id: 0, retention_ms, key: "as the event's" }))
    })
}

/// Where an event that this service could not take is set aside, original bytes untouched.
pub fn dead_letter_topic(input: &str) -> String {
    format!("{input}-dlq")
}

/// What is wrong with a set of services.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    #[error("two services are named {0}; rename one")]
    DuplicateService(&'static str),
    #[error("{topic} is written by {first} and by {second}, but a compacted topic has one writer")]
    TwoWriters { topic: &'static str, first: &'static str, second: &'static str },
    #[error("{service} reads {topic}, which comes from inside, but no service writes it")]
    NoWriter { service: &'static str, topic: &'static str },
    #[error("{service} writes {topic}, which is declared as coming from outside")]
    WritesExternal { service: &'static str, topic: &'static str },
    #[error("events go in a circle: {0}; break it with a view")]
    Cycle(String),
}

impl TopologyError {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DuplicateService(_) => "DUPLICATE_SERVICE",
            Self::TwoWriters { .. } => "TWO_WRITERS",
            Self::NoWriter { .. } => "NO_WRITER",
            Self::WritesExternal { .. } => "WRITES_EXTERNAL",
            Self::Cycle(_) => "CYCLE",
        }
    }
}

/// Checks the services and returns their names in topological order (sources first): the order of draining.
/// Topics that only views read are no edges; services alone are looked at.
pub fn check(services: &[ServiceSpec]) -> Result<Vec<&'static str>, TopologyError> {
    let mut writers: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for service in services {
        if !names.insert(service.name) {
            return Err(TopologyError::DuplicateService(service.name));
        }
        for topic in &service.outputs {
            if topic.kind == TopicKind::External {
                return Err(TopologyError::WritesExternal { service: service.name, topic: topic.name });
            }
            let of_topic = writers.entry(topic.name).or_default();
            if let (TopicKind::Compacted, Some(first)) = (topic.kind, of_topic.first()) {
                return Err(TopologyError::TwoWriters { topic: topic.name, first, second: service.name });
            }
            of_topic.push(service.name);
        }
    }
    for service in services {
        for topic in &service.inputs {
            if topic.kind != TopicKind::External && !writers.contains_key(topic.name) {
                return Err(TopologyError::NoWriter { service: service.name, topic: topic.name });
            }
        }
    }
    order(services, &writers)
}

/// Services that `service` reads from, directly.
fn upstream(service: &ServiceSpec, writers: &BTreeMap<&str, Vec<&'static str>>) -> BTreeSet<&'static str> {
    service.inputs.iter().filter_map(|topic| writers.get(topic.name)).flatten().copied().collect()
}

fn order(
    services: &[ServiceSpec],
    writers: &BTreeMap<&str, Vec<&'static str>>,
) -> Result<Vec<&'static str>, TopologyError> {
    let mut waiting: BTreeMap<&'static str, BTreeSet<&'static str>> =
        services.iter().map(|service| (service.name, upstream(service, writers))).collect();
    let mut ordered = Vec::with_capacity(services.len());
    while !waiting.is_empty() {
        // Services in the order of their declaration, so that equals stay where their author put them.
        let next = services.iter().map(|s| s.name).find(|name| waiting.get(name).is_some_and(BTreeSet::is_empty));
        let Some(name) = next else {
            let circle: Vec<_> = waiting.keys().copied().collect();
            return Err(TopologyError::Cycle(circle.join(" -> ")));
        };
        waiting.remove(name);
        waiting.values_mut().for_each(|upstream| {
            upstream.remove(name);
        });
        ordered.push(name);
    }
    Ok(ordered)
}

/// `true` where `observed` reads a topic that `faulted` writes, directly or through others.
pub fn depends(services: &[ServiceSpec], observed: &str, faulted: &str) -> bool {
    let mut reached = BTreeSet::from([faulted]);
    // Each round adds at least one service or ends: at most as many rounds as services.
    loop {
        let before = reached.len();
        for service in services {
            let reads = service.inputs.iter().any(|topic| {
                services.iter().any(|writer| reached.contains(writer.name) && writer.outputs.contains(topic))
            });
            if reads {
                reached.insert(service.name);
            }
        }
        if reached.len() == before {
            return observed != faulted && reached.contains(observed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static A: Topic = Topic::external("a", "id", 1, None);
    static B: Topic = Topic::internal("b", "id", 1, None);
    static C: Topic = Topic::compacted("c", "id", 1);

    fn service(name: &'static str, inputs: &[&'static Topic], outputs: &[&'static Topic]) -> ServiceSpec {
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        ServiceSpec { name, inputs, outputs, order: Order::None, class: Class::Serving }
    }

    #[test]
    fn order_is_topological() {
        let services = [service("late", &[&B], &[&C]), service("early", &[&A], &[&B])];
        assert_eq!(check(&services).unwrap(), ["early", "late"]);
        assert!(depends(&services, "late", "early"));
        assert!(!depends(&services, "early", "late"));
        assert!(!depends(&services, "early", "early"));
    }

    #[test]
    fn a_service_reads_its_own_replays_last() {
        let late = service("late", &[&B], &[]);
        let read: Vec<_> = late.reads().map(|topic| topic.name).collect();
        assert_eq!(read, ["b", "late-replay"]);
        assert!(std::ptr::eq(replay_topic("late"), late.reads().last().unwrap()), "made once");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let circle = [service("x", &[&B], &[&C]), service("y", &[&C], &[&B])];
        assert_eq!(check(&circle), Err(TopologyError::Cycle("x -> y".into())));
        assert!(matches!(check(&[service("x", &[&B], &[])]), Err(TopologyError::NoWriter { .. })));
        assert!(matches!(check(&[service("x", &[], &[&A])]), Err(TopologyError::WritesExternal { .. })));
        let twice = [service("x", &[&A], &[&C]), service("y", &[&A], &[&C])];
        assert!(matches!(check(&twice), Err(TopologyError::TwoWriters { .. })));
        assert!(matches!(
            check(&[service("x", &[], &[]), service("x", &[], &[])]),
            Err(TopologyError::DuplicateService("x"))
        ));
    }
}
