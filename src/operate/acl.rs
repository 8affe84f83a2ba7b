//! The least rights on a cluster, per service, from the same data that the platform starts from.

use actors::topics::{BUDGETS_CHANGES, CAMPAIGNS_CHANGES};
use runtime::topology::{ServiceSpec, TopicKind, dead_letter_topic, replay_topic};
use serde::Serialize;

/// What is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    Topic,
    Group,
}

/// A right of somebody: operations as Kafka calls them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Right {
    /// A service; `edge`; `process`: every process, whatever runs in it; `operator`: whoever replays dead letters or looks
    /// into topics.
    pub who: String,
    pub resource: Resource,
    pub name: String,
    /// The name is the beginning of names.
    pub prefixed: bool,
    pub operations: Vec<&'static str>,
}

/// All rights, in the order of services. `prefix` stands before every name at the cluster; `views` are the topics that
/// every process folds.
pub fn rights(specs: &[ServiceSpec], views: &[&str], own: &[&str], prefix: &str) -> Vec<Right> {
    let mut rights = Vec::new();
    let mut add = |who: &str, resource, name: &str, operations: &[&'static str]| {
        let (who, name, operations) = (who.to_owned(), format!("{prefix}{name}"), operations.to_vec());
        rights.push(Right { who, resource, name, prefixed: false, operations });
    };
    let topic = Resource::Topic;
    for spec in specs {
        for read in spec.reads() {
            add(spec.name, topic, read.name, &["Read"]);
        }
        // Claims and commits, read back; trimmed behind a snapshot.
        add(spec.name, topic, &spec.commit_topic(), &["Read", "Write", "Delete"]);
        spec.outputs.iter().for_each(|output| add(spec.name, topic, output.name, &["Write"]));
        spec.inputs.iter().for_each(|input| add(spec.name, topic, &dead_letter_topic(input.name), &["Write"]));
        add(spec.name, Resource::Group, spec.name, &["Read"]);
    }
    for name in sources(specs) {
        add("edge", topic, name, &["Write"]);
    }
    views.iter().for_each(|view| add("process", topic, view, &["Read"]));
    own.iter().for_each(|name| add("process", topic, name, &["Read", "Write", "Delete"]));
    for spec in specs {
        spec.inputs.iter().for_each(|input| add("process", topic, &dead_letter_topic(input.name), &["Read"]));
        add("operator", topic, replay_topic(spec.name).name, &["Write"]);
    }
    let by_key = |right: &Right| (right.who.clone(), right.resource, right.name.clone());
    let mut seen = std::collections::BTreeSet::new();
    rights.retain(|right| seen.insert(by_key(right)));
    // Ends of partitions are asked for by everybody, and checked at the start.
    for (who, operation) in [("process", "Describe"), ("operator", "Read")] {
        let (who, name) = (who.to_owned(), prefix.to_owned());
        rights.push(Right { who, resource: topic, name, prefixed: true, operations: vec![operation] });
    }
    rights
}

/// What the edge writes: what comes from outside, change data aside.
fn sources(specs: &[ServiceSpec]) -> Vec<&'static str> {
    let from_outside = specs.iter().flat_map(|spec| &spec.inputs).filter(|topic| topic.kind == TopicKind::External);
    let is_change = |name: &str| [CAMPAIGNS_CHANGES.name, BUDGETS_CHANGES.name].contains(&name);
    let mut names: Vec<_> = from_outside.map(|topic| topic.name).filter(|name| !is_change(name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl Right {
    /// The command of Kafka's own tool that grants it to the user `PREFIX + who`.
    pub fn command(&self, brokers: &str, users: &str) -> String {
        let resource = match self.resource {
            Resource::Topic => "topic",
            Resource::Group => "group",
        };
        // Nothing before the names: everything on the cluster.
        let (name, pattern) = match (self.prefixed, self.name.as_str()) {
            (true, "") => ("'*'", ""),
            (true, name) => (name, " --resource-pattern-type prefixed"),
            (false, name) => (name, ""),
        };
        let operations: String = self.operations.iter().map(|name| format!(" --operation {name}")).collect();
        format!(
            "kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal User:{users}{}{operations} --{resource} {name}{pattern}",
            self.who
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::values::services;

    fn all() -> Vec<Right> {
        rights(&services(), &["campaign-states"], &["_schemas"], "p-")
    }

    fn of<'a>(all: &'a [Right], who: &str, name: &str) -> &'a [&'static str] {
        let found = all.iter().find(|right| right.who == who && right.name == name && !right.prefixed);
        match found {
            Some(right) => &right.operations,
            None => &[],
        }
    }

    #[test]
    fn a_service_may_do_what_it_does_and_nothing_else() {
        let all = all();
        assert_eq!(of(&all, "billing", "p-impressions"), ["Read"]);
        assert_eq!(of(&all, "billing", "p-billing-commits"), ["Read", "Write", "Delete"]);
        assert_eq!(
            (of(&all, "billing", "p-billing-events"), of(&all, "billing", "p-billing")),
            (&["Write"][..], &["Read"][..])
        );
        assert_eq!(of(&all, "billing", "p-impressions-dlq"), ["Write"]);
        assert!(of(&all, "fraud", "p-billing-events").is_empty() && of(&all, "fraud", "p-billing-commits").is_empty());
        assert_eq!((of(&all, "edge", "p-bids"), of(&all, "edge", "p-campaigns-changes")), (&["Write"][..], &[][..]));
        assert_eq!(of(&all, "operator", "p-billing-replay"), ["Write"]);
        for spec in services() {
            let written: Vec<_> =
                all.iter().filter(|r| r.who != spec.name && r.operations.contains(&"Delete")).collect();
            assert!(
                written.iter().all(|right| right.name != format!("p-{}", spec.commit_topic())),
                "one writer a commit topic"
            );
        }
    }

    #[test]
    fn the_commands_are_those_of_kafkas_tool() {
        let all = all();
        let group = all.iter().find(|right| right.resource == Resource::Group && right.who == "ads").expect("a group");
        assert_eq!(
            group.command("h:1", "bulkhead-"),
            "kafka-acls.sh --bootstrap-server h:1 --add --allow-principal User:bulkhead-ads --operation Read --group p-ads"
        );
        let everything = all.last().expect("rights").command("h:1", "");
        assert!(everything.ends_with("User:operator --operation Read --topic p- --resource-pattern-type prefixed"));
        let bare = rights(&services(), &[], &[], "");
        assert!(bare.last().expect("rights").command("h:1", "").ends_with("--topic '*'"));
    }
}
