//! Admission: appends take their offsets and their place in line here, under one lock, and wait for the next group.
//!
//! Each producer group has a budget of bytes between admission and sync. What does not fit waits in the group's own line,
//! so that a flood of one service fills its own budget and nobody else's place in the next journal group.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::{AppendError, Durability, Fence, Offset, ProducerGroup, TopicConfig, TopicId};
use super::partition::Partition;
use super::space::Space;

pub(super) type Answer = oneshot::Sender<Result<Offset, AppendError>>;
pub(super) type TrimAnswer = oneshot::Sender<Result<(), AppendError>>;

const MAX_PRODUCER_GROUPS: usize = 4096;

/// A checked append on its way in.
pub(super) struct Append {
    pub partition: Arc<Partition>,
    pub bytes: Bytes,
    /// Offsets that it takes.
    pub span: i64,
    pub timestamp_ms: i64,
    pub group: ProducerGroup,
    pub fence: Option<Fence>,
    pub durability: Durability,
}

/// An admitted append: it has its offset and its place.
pub(super) struct Admitted {
    pub bytes: Bytes,
    pub base: Offset,
    pub next: Offset,
    pub timestamp_ms: i64,
    pub group: ProducerGroup,
    pub answer: Option<Answer>,
}

/// What goes into a journal group beside batches.
pub(super) enum Meta {
    Topic { id: TopicId, config: TopicConfig },
    Trim { partition: Arc<Partition>, to: Offset, answer: Option<TrimAnswer> },
}

/// Whether and why appends are taken.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    Open,
    ReadOnly { reason: String },
    Closed,
}

struct Lane {
    partition: Arc<Partition>,
    next: Offset,
    line: VecDeque<Admitted>,
}

struct Budget {
    name: String,
    budget_bytes: usize,
    in_flight_bytes: usize,
    waiting: VecDeque<(Append, Answer)>,
}

pub(super) struct Queue {
    pub mode: Mode,
    /// The journal's driver sleeps: whoever adds something wakes it.
    pub idle: bool,
    /// The driver ends when everything is settled.
    pub closing: bool,
    /// The driver ends at once, as if the process had been killed.
    pub abandoned: bool,
    lanes: Vec<Lane>,
    /// Slots of lanes with a line, in the order in which they got one.
    ready: VecDeque<usize>,
    meta: Vec<Meta>,
    budgets: Vec<Budget>,
    /// Looked up only, never walked.
    fences: HashMap<(ProducerGroup, u32), Offset>,
}

/// What an append came to.
pub(super) enum Taken {
    /// It has its offset; with `Accepted` durability that is the answer.
    Now(Offset),
    Later(oneshot::Receiver<Result<Offset, AppendError>>),
}

/// The batches of one partition that go into a group.
pub(super) struct Run {
    pub partition: Arc<Partition>,
    pub batches: Vec<Admitted>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            mode: Mode::Open,
            idle: false,
            closing: false,
            abandoned: false,
            lanes: Vec::new(),
            ready: VecDeque::new(),
            meta: Vec::new(),
            budgets: Vec::new(),
            fences: HashMap::new(),
        }
    }

    /// Partitions are added in order of their slots.
    pub(super) fn add_lane(&mut self, partition: Arc<Partition>) {
        assert_eq!(partition.slot, self.lanes.len(), "INVARIANT slots_are_dense");
        let next = partition.extent().high_watermark;
        self.lanes.push(Lane { partition, next, line: VecDeque::new() });
    }

    pub(super) fn add_meta(&mut self, meta: Meta) {
        self.meta.push(meta);
    }

    /// # Panics
    /// Beyond 4,096 groups: they are services and sources, a few dozen.
    pub(super) fn producer_group(&mut self, name: &str, budget_bytes: usize) -> ProducerGroup {
        if let Some(found) = self.budgets.iter().position(|budget| budget.name == name) {
            self.budgets[found].budget_bytes = budget_bytes;
            return ProducerGroup(found as u16);
        }
        assert!(self.budgets.len() < MAX_PRODUCER_GROUPS, "too many producer groups");
        let name = name.to_owned();
        self.budgets.push(Budget { name, budget_bytes, in_flight_bytes: 0, waiting: VecDeque::new() });
        ProducerGroup((self.budgets.len() - 1) as u16)
    }

    pub(super) fn fence(&mut self, group: ProducerGroup, fence: Fence) {
        let newest = self.fences.entry((group, fence.shard)).or_insert(fence.epoch_offset);
        *newest = (*newest).max(fence.epoch_offset);
    }

    /// # Errors
    /// When the mode, the fence or the disk refuses: nothing was taken.
    pub(super) fn append(&mut self, append: Append, space: &Space) -> Result<Taken, AppendError> {
        self.refusal()?;
        let Some(budget) = self.budgets.get(append.group.0 as usize) else {
            return Err(AppendError::Unknown { what: format!("producer group {}", append.group.0) });
        };
        let fits = budget.waiting.is_empty() && budget.fits(append.bytes.len());
        self.check_fence(&append)?;
        if fits {
            Self::reserve(&append, space)?;
            if append.durability == Durability::Accepted {
                return Ok(Taken::Now(self.place(append, None)));
            }
            let (answer, answered) = oneshot::channel();
            self.place(append, Some(answer));
            return Ok(Taken::Later(answered));
        }
        let (answer, answered) = oneshot::channel();
        self.budgets[append.group.0 as usize].waiting.push_back((append, answer));
        Ok(Taken::Later(answered))
    }

    pub(super) fn refusal(&self) -> Result<(), AppendError> {
        match &self.mode {
            Mode::Open => Ok(()),
            Mode::ReadOnly { reason } => Err(AppendError::ReadOnly { reason: reason.clone() }),
            Mode::Closed => Err(AppendError::Closed),
        }
    }

    fn check_fence(&self, append: &Append) -> Result<(), AppendError> {
        let Some(fence) = append.fence else { return Ok(()) };
        match self.fences.get(&(append.group, fence.shard)) {
            Some(newer) if *newer > fence.epoch_offset => Err(AppendError::Fenced {
                topic: append.partition.topic.clone(),
                partition: append.partition.of.partition,
                epoch_offset: fence.epoch_offset,
                newer_offset: *newer,
            }),
            _ => Ok(()),
        }
    }

    /// Room on the disk, or a refusal before an offset is taken.
    fn reserve(append: &Append, space: &Space) -> Result<(), AppendError> {
        let needed_bytes = append.bytes.len() as u64;
        if space.admit(needed_bytes) {
            return Ok(());
        }
        Err(AppendError::NoSpace {
            topic: append.partition.topic.clone(),
            partition: append.partition.of.partition,
            needed_bytes,
        })
    }

    /// Gives it its offset and its place.
    fn place(&mut self, append: Append, answer: Option<Answer>) -> Offset {
        self.budgets[append.group.0 as usize].in_flight_bytes += append.bytes.len();
        let slot = append.partition.slot;
        let lane = &mut self.lanes[slot];
        let base = lane.next;
        lane.next += append.span;
        if lane.line.is_empty() {
            self.ready.push_back(slot);
        }
        lane.line.push_back(Admitted {
            bytes: append.bytes,
            base,
            next: lane.next,
            timestamp_ms: append.timestamp_ms,
            group: append.group,
            answer,
        });
        base
    }

    /// Something is there for the next group.
    pub(super) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || !self.meta.is_empty()
    }

    /// Takes what the next group holds: at most about `limit_bytes`, partitions in order of their first waiting batch.
    pub(super) fn take_group(&mut self, limit_bytes: usize) -> (Vec<Meta>, Vec<Run>) {
        let meta = std::mem::take(&mut self.meta);
        let mut runs = Vec::with_capacity(self.ready.len());
        let mut bytes = 0;
        while bytes < limit_bytes
            && let Some(slot) = self.ready.pop_front()
        {
            let lane = &mut self.lanes[slot];
            let mut batches = Vec::with_capacity(lane.line.len());
            while bytes < limit_bytes
                && let Some(batch) = lane.line.pop_front()
            {
                bytes += batch.bytes.len();
                batches.push(batch);
            }
            if !lane.line.is_empty() {
                // Behind the others: a long line of one partition does not keep their place.
                self.ready.push_back(slot);
            }
            runs.push(Run { partition: lane.partition.clone(), batches });
        }
        (meta, runs)
    }

    /// Gives back the budget of what is durable, and lets in what was waiting for it. The answers are to be sent when
    /// the lock is free.
    pub(super) fn release(&mut self, released: &[(ProducerGroup, usize)], space: &Space) -> Vec<Settled> {
        for (group, bytes) in released {
            self.budgets[group.0 as usize].in_flight_bytes -= bytes;
        }
        let mut settled = Vec::new();
        for group in 0..self.budgets.len() {
            while let Some((append, _)) = self.budgets[group].waiting.front()
                && self.budgets[group].fits(append.bytes.len())
                && let Some((append, answer)) = self.budgets[group].waiting.pop_front()
            {
                self.admit_waiting(append, answer, space, &mut settled);
            }
        }
        settled
    }

    fn admit_waiting(&mut self, append: Append, answer: Answer, space: &Space, settled: &mut Vec<Settled>) {
        // A newer owner may have come while it waited, and the disk may have filled up.
        if let Err(error) = self.check_fence(&append).and_then(|()| Self::reserve(&append, space)) {
            settled.push((answer, Err(error)));
        } else if append.durability == Durability::Accepted {
            let base = self.place(append, None);
            settled.push((answer, Ok(base)));
        } else {
            self.place(append, Some(answer));
        }
    }

    /// Ends everything that has not been taken into a group.
    pub(super) fn drain(&mut self, space: &Space, error: &AppendError) -> Vec<Settled> {
        let mut settled = Vec::new();
        for slot in std::mem::take(&mut self.ready) {
            for batch in std::mem::take(&mut self.lanes[slot].line) {
                self.budgets[batch.group.0 as usize].in_flight_bytes -= batch.bytes.len();
                space.settled(batch.bytes.len() as u64);
                settled.extend(batch.answer.map(|answer| (answer, Err(error.clone()))));
            }
        }
        for budget in &mut self.budgets {
            settled.extend(budget.waiting.drain(..).map(|(_, answer)| (answer, Err(error.clone()))));
        }
        settled
    }

    /// Trims and topics that were not taken into a group.
    pub(super) fn drain_meta(&mut self) -> Vec<Meta> {
        std::mem::take(&mut self.meta)
    }

    /// Nothing is waiting, for a group or for a budget.
    pub(super) fn is_drained(&self) -> bool {
        !self.is_waiting() && self.budgets.iter().all(|budget| budget.waiting.is_empty())
    }

    /// Bytes that a producer group has between admission and sync.
    pub(super) fn in_flight_bytes(&self, group: ProducerGroup) -> usize {
        self.budgets.get(group.0 as usize).map_or(0, |budget| budget.in_flight_bytes)
    }
}

/// An answer and whom to tell it.
pub(super) type Settled = (Answer, Result<Offset, AppendError>);

impl Budget {
    /// A batch larger than the whole budget goes when nothing else is in flight.
    fn fits(&self, bytes: usize) -> bool {
        self.in_flight_bytes == 0 || self.in_flight_bytes + bytes <= self.budget_bytes
    }
}
