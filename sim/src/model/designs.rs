//! Eight ways to have an effect once, and what each of them survives: why a ledger is keyed by the event's id and
//! changed with the input position, in one commit.
//!
//! One partition, two consumers that may both live, a death, a rebalance, one event produced again from outside.

use super::search::{Broken, Model, Searched, search};

/// A design, by what it does about repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    AtLeastOnce,
    CommitOffsetFirst,
    IdsInMemory,
    OffsetWithState,
    OffsetCompared,
    FencedTransaction,
    IdWithState,
    IdAndOffsetCompared,
}

impl Design {
    pub const ALL: [Self; 8] = [
        Self::AtLeastOnce,
        Self::CommitOffsetFirst,
        Self::IdsInMemory,
        Self::OffsetWithState,
        Self::OffsetCompared,
        Self::FencedTransaction,
        Self::IdWithState,
        Self::IdAndOffsetCompared,
    ];

    pub fn what(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at least once, nothing else",
            Self::CommitOffsetFirst => "offset committed first",
            Self::IdsInMemory => "ids remembered in memory",
            Self::OffsetWithState => "offset stored with the state",
            Self::OffsetCompared => "offset stored with the state and compared",
            Self::FencedTransaction => "fenced transaction, as if it had no holes",
            Self::IdWithState => "id stored with the state",
            Self::IdAndOffsetCompared => "id and offset stored with the state, offset compared",
        }
    }

    /// Whether it is expected to hold.
    pub fn holds(self, with_duplicates: bool) -> bool {
        match self {
            Self::IdWithState | Self::IdAndOffsetCompared => true,
            Self::OffsetCompared | Self::FencedTransaction => !with_duplicates,
            _ => false,
        }
    }
}

/// Of a consumer: its generation, where it reads, what it has read and not applied, ids that it remembers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Consumer {
    pub lives: bool,
    pub generation: u8,
    pub position: u8,
    pub in_hand: Option<u8>,
    pub committed: bool,
    pub remembered: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Ids in the partition, in order.
    input: [u8; 3],
    produced: u8,
    consumers: [Consumer; 2],
    generation: u8,
    offset: u8,
    /// How often each id was applied.
    applied: [u8; 2],
    deaths_left: u8,
    rebalances_left: u8,
    duplicates_left: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Produces(u8),
    ProducesAgain(u8),
    Assigns(u8),
    Fetches(u8),
    Commits(u8),
    Applies(u8),
    Dies(u8),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |consumer: u8| if consumer == 0 { "A" } else { "B" };
        match *self {
            Self::Produces(id) => write!(f, "event {id} is produced"),
            Self::ProducesAgain(id) => write!(f, "event {id} is produced again"),
            Self::Assigns(consumer) => write!(f, "the partition is assigned to {}", name(consumer)),
            Self::Fetches(consumer) => write!(f, "{} fetches the next event", name(consumer)),
            Self::Commits(consumer) => write!(f, "{} commits its offset", name(consumer)),
            Self::Applies(consumer) => write!(f, "{} applies the event", name(consumer)),
            Self::Dies(consumer) => write!(f, "{} dies", name(consumer)),
        }
    }
}

/// A design under faults.
#[derive(Clone, Copy, Debug)]
pub struct World {
    pub design: Design,
    pub with_duplicates: bool,
}

impl World {
    /// The offset is committed by a step of its own, before or after the effect.
    fn commits_apart(&self) -> bool {
        matches!(self.design, Design::AtLeastOnce | Design::CommitOffsetFirst | Design::IdsInMemory)
    }

    fn apply(&self, state: &mut State, number: usize, position: u8) {
        let id = state.input[usize::from(position)];
        let consumer = &mut state.consumers[number];
        let is_known = match self.design {
            Design::IdsInMemory => consumer.remembered & 1 << id != 0,
            Design::IdWithState | Design::IdAndOffsetCompared => state.applied[usize::from(id)] > 0,
            _ => false,
        };
        let is_refused = match self.design {
            Design::OffsetCompared | Design::IdAndOffsetCompared => state.offset != position,
            Design::FencedTransaction => consumer.generation != state.generation || state.offset != position,
            _ => false,
        };
        consumer.in_hand = None;
        consumer.remembered |= 1 << id;
        if is_refused {
            // What the store says is where to go on.
            consumer.position = state.offset;
            return;
        }
        if !is_known {
            state.applied[usize::from(id)] += 1;
        }
        if !self.commits_apart() {
            state.offset = position + 1;
        }
    }
}

impl Model for World {
    type State = State;
    type Step = Step;

    fn initial(&self) -> Vec<State> {
        vec![State {
            input: [0; 3],
            produced: 0,
            consumers: Default::default(),
            generation: 0,
            offset: 0,
            applied: [0; 2],
            deaths_left: 1,
            rebalances_left: 1,
            duplicates_left: u8::from(self.with_duplicates),
        }]
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        let known = &state.input[..usize::from(state.produced)];
        let fresh = known.iter().map(|id| id + 1).max().unwrap_or(0);
        if fresh < 2 {
            steps.push(Step::Produces(fresh));
        }
        if state.duplicates_left > 0 {
            steps.extend((0..fresh).map(Step::ProducesAgain));
        }
        let any_current = state.consumers.iter().any(|c| c.lives && c.generation == state.generation);
        for (number, consumer) in state.consumers.iter().enumerate() {
            let id = number as u8;
            let is_current = consumer.lives && consumer.generation == state.generation;
            if !is_current && (!any_current || state.rebalances_left > 0) {
                steps.push(Step::Assigns(id));
            }
            if !consumer.lives {
                continue;
            }
            if state.deaths_left > 0 {
                steps.push(Step::Dies(id));
            }
            match consumer.in_hand {
                None if consumer.position < state.produced => steps.push(Step::Fetches(id)),
                Some(_) if self.design == Design::CommitOffsetFirst && !consumer.committed => {
                    steps.push(Step::Commits(id));
                }
                Some(_) => steps.push(Step::Applies(id)),
                None => {}
            }
            if self.commits_apart() && self.design != Design::CommitOffsetFirst && !consumer.committed {
                steps.push(Step::Commits(id));
            }
        }
    }

    fn after(&self, state: &State, step: Step) -> Result<State, Broken> {
        let mut state = *state;
        match step {
            Step::Produces(id) | Step::ProducesAgain(id) => {
                state.duplicates_left -= u8::from(step == Step::ProducesAgain(id));
                state.input[usize::from(state.produced)] = id;
                state.produced += 1;
            }
            Step::Assigns(number) => {
                if state.consumers.iter().any(|c| c.lives && c.generation == state.generation) {
                    state.rebalances_left -= 1;
                }
                state.generation += 1;
                let (generation, position) = (state.generation, state.offset);
                state.consumers[usize::from(number)] =
                    Consumer { lives: true, generation, position, committed: true, ..Consumer::default() };
            }
            Step::Fetches(number) => {
                let consumer = &mut state.consumers[usize::from(number)];
                consumer.in_hand = Some(consumer.position);
                consumer.position += 1;
                consumer.committed = self.design != Design::CommitOffsetFirst;
            }
            Step::Commits(number) => {
                let consumer = &mut state.consumers[usize::from(number)];
                consumer.committed = true;
                // A coordinator refuses the offsets of older generations.
                if consumer.generation == state.generation {
                    state.offset = consumer.position;
                }
            }
            Step::Applies(number) => {
                let number = usize::from(number);
                if let Some(position) = state.consumers[number].in_hand {
                    self.apply(&mut state, number, position);
                    if self.design != Design::CommitOffsetFirst {
                        state.consumers[number].committed = !self.commits_apart();
                    }
                }
            }
            Step::Dies(number) => {
                state.deaths_left -= 1;
                state.consumers[usize::from(number)] = Consumer::default();
            }
        }
        if state.applied.iter().any(|times| *times > 1) {
            return Err(Broken("an id is counted twice"));
        }
        Ok(state)
    }

    fn at_rest(&self, state: &State) -> Result<bool, Broken> {
        let fresh = state.input[..usize::from(state.produced)].iter().map(|id| id + 1).max().unwrap_or(0);
        let rests = |c: &Consumer| {
            c.lives
                && c.generation == state.generation
                && c.in_hand.is_none()
                && c.committed
                && c.position >= state.produced
        };
        if fresh < 2 || !state.consumers.iter().any(rests) {
            return Ok(false);
        }
        // A zombie may still hold one: what it applies later is no excuse for the owner.
        if state.applied.contains(&0) && state.consumers.iter().all(|c| c.in_hand.is_none()) {
            return Err(Broken("an id is never counted"));
        }
        Ok(true)
    }
}

/// Searches a design.
pub fn searched(design: Design, with_duplicates: bool) -> Searched<Step> {
    search(&World { design, with_duplicates }, 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_survive_what_is_produced_twice() {
        for design in Design::ALL {
            for with_duplicates in [false, true] {
                let found = searched(design, with_duplicates);
                let holds = design.holds(with_duplicates);
                assert_eq!(found.broken.is_none(), holds, "{design:?} {with_duplicates}: {:?}", found.broken);
                assert!(found.broken.is_some() || found.is_complete && found.rests > 0);
            }
        }
    }
}
