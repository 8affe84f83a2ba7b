//! Takes the inputs of one shard in the order in which it merged them, and accounts for every offset.

use std::collections::{BTreeMap, HashMap};

use runtime::log::{Log, Offset};
use serde::Serialize;

use super::VerifyError;
use super::avro::Schemas;
use super::catalogue::{self, Kind};
use super::commits::{Claimed, Commit, Commits, Outcome, Range};
use super::datum::Datum;
use super::differences::Differences;
use super::outputs::Outputs;
use super::topics::{Entry, Origin, Replayed, Walk};

/// What is taken of the events of one topic by one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub events: u64,
    pub done: u64,
    pub duplicate: u64,
    pub dead_lettered: u64,
    pub waiting: u64,
    /// Covered by no standing commit.
    pub unaccounted: u64,
}

/// Accounts by `TOPIC/SERVICE`.
pub type Accounts = BTreeMap<String, Account>;

/// How the rules say that an event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    Duplicate,
    /// Set aside with this code.
    Dead(&'static str),
}

/// Codes that follow from an event and the rules. A dead letter with another one is an accident of the process (a panic, an
/// injected fault, a dependency that stayed away): the event had no effect, whatever the rules say of it.
const RULE_CODES: [&str; 10] = [
    "SCHEMA_VIOLATION",
    "SIZE_VIOLATION",
    "SEMANTIC_VIOLATION",
    "TIMESTAMP_RANGE",
    "ID_CONFLICT",
    "BEYOND_HORIZON",
    "EXPIRED",
    "REFERENCE_MISSING",
    "UNPARKABLE",
    MALFORMED,
];

/// Code of a record of a replay topic that names no event.
const MALFORMED: &str = "REPLAY_MALFORMED";

/// Stands for every other code.
const ACCIDENT: &str = "ACCIDENT";

/// One input as the rules see it.
pub struct Event<'a> {
    pub topic: &'a str,
    pub key: &'a [u8],
    /// Bytes of the value with its frame.
    pub bytes: usize,
    value: &'a Result<Datum, String>,
    /// Processing time of the commit that took it.
    pub now_ms: i64,
}

impl Event<'_> {
    /// # Errors
    /// The ending of bytes that do not follow their schema.
    pub fn value(&self) -> Result<&Datum, Ending> {
        self.value.as_ref().map_err(|_| Ending::Dead("SCHEMA_VIOLATION"))
    }

    /// # Errors
    /// The ending of a key that is no text.
    pub fn key_text(&self) -> Result<&str, Ending> {
        std::str::from_utf8(self.key).map_err(|_| Ending::Dead("SCHEMA_VIOLATION"))
    }
}

/// The rules of one service.
pub trait Rules {
    /// Takes one event. Other endings than done leave nothing behind.
    fn event(&mut self, event: &Event<'_>, out: &mut Outputs) -> Ending;
    /// About once a second.
    fn tick(&mut self, _now_ms: i64, _out: &mut Outputs) {}
    /// Everything of a commit was taken.
    fn committed(&mut self, _now_ms: i64, _out: &mut Outputs) {}
    /// There is nothing more.
    fn finish(&mut self, _out: &mut Outputs) {}
}

/// What the recount is made with and into.
pub struct Context<'a> {
    pub log: &'a dyn Log,
    pub schemas: &'a Schemas,
    pub outputs: Outputs,
    pub differences: Differences,
    pub accounts: Accounts,
    /// Records read.
    pub rows: u64,
}

/// One input of the shard.
struct Input {
    walk: Walk,
    schema: &'static str,
    kind: Kind,
    /// Next offset to take.
    next: Offset,
    /// Producing service and partition: lineage and number of its last record taken.
    marks: HashMap<(u32, u16), (i64, i64)>,
}

/// One service's partition.
pub struct Shard<'r> {
    service: &'static str,
    partition: u32,
    inputs: BTreeMap<String, Input>,
    /// Input that dead letters are filed with which name no event.
    first_input: &'static str,
    /// Last replay taken of an event: topic and offset.
    replays: BTreeMap<(String, Offset), u32>,
    /// Events that were set aside, with the number of the replay that failed; 0: when it came first.
    set_aside: BTreeMap<(String, Offset), u32>,
    waiting: BTreeMap<(String, Offset), Entry>,
    rules: &'r mut dyn Rules,
}

impl<'r> Shard<'r> {
    /// # Errors
    /// The log refuses.
    pub fn new(
        log: &dyn Log,
        (service, topics): catalogue::Service,
        partition: u32,
        rules: &'r mut dyn Rules,
    ) -> Result<Self, VerifyError> {
        let mut inputs = BTreeMap::new();
        for (name, schema, kind) in topics.iter().filter_map(|name| catalogue::topic(name)) {
            let walk = Walk::new(log, name, partition)?;
            let next = walk.start;
            inputs.insert((*name).to_owned(), Input { walk, schema, kind: *kind, next, marks: HashMap::new() });
        }
        let name = format!("{service}-replay");
        let walk = Walk::new(log, &name, partition)?;
        let next = walk.start;
        inputs.insert(name, Input { walk, schema: "", kind: Kind::Replay, next, marks: HashMap::new() });
        let first_input = topics.first().copied().unwrap_or_default();
        let (replays, set_aside, waiting) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { service, partition, inputs, first_input, replays, set_aside, waiting, rules })
    }

    /// Takes every standing commit, then accounts for what is left.
    ///
    /// # Errors
    /// A topic cannot be read.
    pub fn replay(mut self, context: &mut Context<'_>) -> Result<(), VerifyError> {
        let mut commits = Commits::new(context.log, context.schemas, self.service, self.partition)?;
        while let Some(commit) = commits.next()? {
            self.commit(&commit, context)?;
        }
        self.rules.finish(&mut context.outputs);
        for (name, input) in &self.inputs {
            if input.kind == Kind::Replay && input.walk.end == 0 {
                continue;
            }
            let account = context.accounts.entry(format!("{name}/{}", self.service)).or_default();
            account.events += (input.walk.end - input.walk.start) as u64;
            account.unaccounted += (input.walk.end - input.next).max(0) as u64;
        }
        for (topic, _) in self.waiting.keys() {
            context.accounts.entry(format!("{topic}/{}", self.service)).or_default().waiting += 1;
        }
        Ok(())
    }

    fn commit(&mut self, commit: &Commit, context: &mut Context<'_>) -> Result<(), VerifyError> {
        let claims: HashMap<(&str, Offset), &Outcome> =
            commit.outcomes.iter().rev().map(|outcome| ((outcome.topic.as_str(), outcome.offset), outcome)).collect();
        let mut seen = 0;
        for range in &commit.ranges {
            seen += self.range(commit, range, &claims, context)?;
        }
        // What waited comes after what was read, in the order in which it ended.
        for outcome in &commit.outcomes {
            let at = (outcome.topic.clone(), outcome.offset);
            if outcome.claimed == Claimed::Parked {
                continue;
            }
            if let Some(entry) = self.waiting.remove(&at) {
                self.take(&outcome.topic, &entry, Some(outcome), commit.now_ms, context);
                seen += 1;
            }
        }
        if seen < claims.len() {
            let place = format!("{}-commits-{}@{}", self.service, self.partition, commit.offset);
            context.differences.add(place, format!("outcomes of {seen} events"), format!("of {}", claims.len()));
        }
        if commit.tick {
            self.rules.tick(commit.now_ms, &mut context.outputs);
        }
        self.rules.committed(commit.now_ms, &mut context.outputs);
        Ok(())
    }

    /// Takes a range of one input; answers how many of its events have a claim.
    fn range(
        &mut self,
        commit: &Commit,
        range: &Range,
        claims: &HashMap<(&str, Offset), &Outcome>,
        context: &mut Context<'_>,
    ) -> Result<usize, VerifyError> {
        let place = format!("{}-{}/{}", range.topic, self.partition, self.service);
        let Some(input) = self.inputs.get_mut(range.topic.as_str()) else {
            context.differences.add(place, "no such input", format!("offsets {} to {}", range.from, range.to));
            return Ok(0);
        };
        if range.from != input.next || range.to < range.from || range.to > input.walk.end {
            let found = format!("offsets {} to {} of {}", range.from, range.to, input.walk.end);
            context.differences.add(place, format!("offsets from {}", input.next), found);
        }
        // Records between two commits were taken by nobody.
        while input.next < range.from {
            let Some(entry) = input.walk.next()? else { break };
            input.next = entry.offset + 1;
            context.accounts.entry(format!("{}/{}", range.topic, self.service)).or_default().unaccounted += 1;
        }
        let mut seen = 0;
        loop {
            let Some(input) = self.inputs.get_mut(range.topic.as_str()).filter(|input| input.next < range.to) else {
                return Ok(seen);
            };
            let Some(entry) = input.walk.next()? else { return Ok(seen) };
            input.next = entry.offset + 1;
            let claim = claims.get(&(range.topic.as_str(), entry.offset)).copied();
            seen += usize::from(claim.is_some());
            if claim.is_some_and(|claim| claim.claimed == Claimed::Parked) {
                self.note_origin(&range.topic, &entry, context);
                seen -= usize::from(claims_again(commit, &range.topic, entry.offset));
                self.waiting.insert((range.topic.clone(), entry.offset), entry);
            } else if self.note_origin(&range.topic, &entry, context) {
                self.take(&range.topic, &entry, claim, commit.now_ms, context);
            } else {
                self.end(&range.topic, &entry, claim, Ending::Duplicate, context);
            }
        }
    }

    /// Moves the mark of the producer; `false` for a repetition of ours (rule P7).
    fn note_origin(&mut self, topic: &str, entry: &Entry, context: &mut Context<'_>) -> bool {
        if self.inputs.get(topic).is_some_and(|input| input.kind == Kind::Replay) {
            return self.note_replay(topic, entry, context);
        }
        let Some(Origin { service, partition, lineage, n }) = entry.origin else { return true };
        let Some(input) = self.inputs.get_mut(topic).filter(|input| input.kind != Kind::Compacted) else { return true };
        let mark = input.marks.entry((service, partition)).or_insert((lineage, -1));
        if n <= mark.1 {
            return false;
        }
        if n > mark.1 + 1 || lineage != mark.0 {
            let place = format!("{topic}-{}@{}", self.partition, entry.offset);
            context.differences.add(place, format!("output {} of its producer", mark.1 + 1), format!("output {n}"));
        }
        *mark = (lineage, n);
        true
    }

    /// The event that a record of the replay topic stands for; `None` if it is none that this shard takes.
    fn original(&self, entry: &Entry) -> Option<(Replayed, Entry)> {
        let (replayed, original) = entry.replayed()?;
        let is_input = self.inputs.get(&replayed.topic).is_some_and(|input| input.kind != Kind::Replay);
        (is_input && replayed.partition == self.partition).then_some((replayed, original))
    }

    /// `false` for a replay that was taken before, or is older than one that was.
    fn note_replay(&mut self, topic: &str, entry: &Entry, context: &mut Context<'_>) -> bool {
        let Some((replayed, _)) = self.original(entry) else { return true };
        let event = (replayed.topic, replayed.offset);
        let last = self.replays.get(&event).copied().unwrap_or(0);
        if replayed.n <= last {
            return false;
        }
        // An event that was not set aside would be counted twice.
        if self.set_aside.remove(&event) != Some(replayed.n - 1) {
            let place = format!("{topic}-{}@{}", self.partition, entry.offset);
            let what = format!("{}@{} was set aside", event.0, event.1);
            context.differences.add(place, what, format!("its replay {}", replayed.n));
        }
        self.replays.insert(event, replayed.n);
        true
    }

    /// One event, judged by the rules unless an accident kept it from them.
    fn take(&mut self, topic: &str, entry: &Entry, claim: Option<&Outcome>, now_ms: i64, context: &mut Context<'_>) {
        context.rows += 1;
        let dead = claim.filter(|claim| claim.claimed == Claimed::DeadLettered);
        let accident = dead.is_some_and(|claim| !RULE_CODES.contains(&claim.code.as_str()));
        if accident {
            return self.end(topic, entry, claim, Ending::Dead(ACCIDENT), context);
        }
        let Some(input) = self.inputs.get(topic) else { return };
        // A replay is judged as the event that it stands for.
        let original = if input.kind == Kind::Replay { self.original(entry) } else { None };
        let (name, seen) = original.as_ref().map_or((topic, entry), |(of, original)| (of.topic.as_str(), original));
        let Some(input) = self.inputs.get(name) else { return };
        if input.kind == Kind::Replay {
            return self.end(topic, entry, claim, Ending::Dead(MALFORMED), context);
        }
        if input.kind == Kind::Compacted && seen.value.is_none() {
            return self.end(topic, entry, claim, Ending::Done, context);
        }
        let bytes = seen.value.as_deref().unwrap_or_default();
        let value = context.schemas.decode(input.schema, bytes);
        let event = Event { topic: name, key: &seen.key, bytes: bytes.len(), value: &value, now_ms };
        let ending = self.rules.event(&event, &mut context.outputs);
        self.end(topic, entry, claim, ending, context);
    }

    /// Compares how an event ended with how it was to end, and counts it.
    fn end(&mut self, topic: &str, entry: &Entry, claim: Option<&Outcome>, ending: Ending, context: &mut Context<'_>) {
        let claimed = match claim.map(|claim| claim.claimed) {
            None | Some(Claimed::DoneAfterParking | Claimed::Parked) => "done",
            Some(Claimed::Duplicate) => "duplicate",
            Some(Claimed::DeadLettered) => "dead_lettered",
        };
        let account = context.accounts.entry(format!("{topic}/{}", self.service)).or_default();
        let derived = match ending {
            Ending::Done => {
                account.done += 1;
                "done"
            }
            Ending::Duplicate => {
                account.duplicate += 1;
                "duplicate"
            }
            Ending::Dead(_) => {
                account.dead_lettered += 1;
                "dead_lettered"
            }
        };
        let place = || format!("{topic}-{}@{}/{}", self.partition, entry.offset, self.service);
        if derived != claimed {
            context.differences.add(place(), derived, claimed);
        } else if let (Ending::Dead(code), Some(claim)) = (ending, claim)
            && code != ACCIDENT
            && code != claim.code
        {
            context.differences.add(place(), code, &claim.code);
        }
        if let Ending::Dead(_) = ending {
            self.expect_letter(topic, entry, context);
        }
    }

    /// A dead letter is filed under the event's own topic and place, with the replay that failed where it was one.
    fn expect_letter(&mut self, topic: &str, entry: &Entry, context: &mut Context<'_>) {
        let is_replay = self.inputs.get(topic).is_some_and(|input| input.kind == Kind::Replay);
        let (filed, place, offset, n) = match self.original(entry).filter(|_| is_replay) {
            Some((of, _)) => (of.topic.clone(), of.topic, of.offset, of.n),
            None if is_replay => (self.first_input.to_owned(), topic.to_owned(), entry.offset, 0),
            None => (topic.to_owned(), topic.to_owned(), entry.offset, 0),
        };
        self.set_aside.insert((place.clone(), offset), n);
        let letters = context.outputs.dead.entry(format!("{filed}-dlq")).or_default();
        let id = format!("{}-{} {place}@{offset} replay {n}", self.service, self.partition);
        letters.insert(id, entry.value.clone());
    }
}

/// An event that was parked and ended in the same commit has two outcomes there.
fn claims_again(commit: &Commit, topic: &str, offset: Offset) -> bool {
    let of_event = |outcome: &&Outcome| outcome.topic == topic && outcome.offset == offset;
    commit.outcomes.iter().filter(of_event).count() > 1
}
