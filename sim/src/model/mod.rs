//! The protocol as an exhaustive model: every order of steps, deaths, late requests and lost answers within a scene's
//! budgets, over the product's own fold (`runtime::commit::standing`) and marks (`runtime::commit::marks`).
//!
//! Two processes, of which one may be a zombie at any moment, own one shard; a commit has outputs to two topics, one of
//! them compacted. `owner` is what a process does, `judge` what must hold, `designs` the simpler designs beside it.

pub mod designs;
mod judge;
mod owner;
pub mod rule;
pub mod search;
pub mod state;

use rule::Rule;
use search::{Broken, Model, Searched};
use state::{Lane, World};

/// What a search is bounded by. Within it nothing is left out.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub name: &'static str,
    /// Ids of the input's events: a number that comes again is a duplicate from outside.
    pub input: &'static [i8],
    pub claims: i8,
    /// Deaths of a process, or answers that never come.
    pub crashes: i8,
    pub power_losses: i8,
    pub snapshots: i8,
    pub restatements: i8,
    /// Records become durable in groups, which a loss of power tears; otherwise at once, as on Kafka.
    pub groups: bool,
}

const NOTHING: Scene = Scene {
    name: "",
    input: &[],
    claims: 0,
    crashes: 0,
    power_losses: 0,
    snapshots: 0,
    restatements: 0,
    groups: false,
};

/// What is searched: owners and zombies, snapshots and trimming, torn groups, the compacted topic.
pub const SCENES: [Scene; 6] = [
    Scene { name: "owners", input: &[0, 1], claims: 3, crashes: 1, ..NOTHING },
    Scene { name: "duplicates", input: &[0, 0], claims: 3, crashes: 1, ..NOTHING },
    Scene { name: "snapshots", input: &[0, 1], claims: 2, crashes: 1, snapshots: 1, ..NOTHING },
    Scene { name: "lineage", input: &[0], claims: 3, snapshots: 1, ..NOTHING },
    Scene { name: "groups", input: &[0, 1], claims: 2, crashes: 1, power_losses: 1, groups: true, ..NOTHING },
    Scene { name: "compacted", input: &[0, 1], claims: 3, restatements: 1, ..NOTHING },
];

/// One step of the model; `u8` is the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Claims(u8),
    Arrives(u8, Lane, u8),
    ArrivesLate(u8, Lane, u8),
    IsAnswered(u8),
    IsAcknowledged(u8, u8),
    TakesInput(u8),
    Restates(u8),
    WritesMark(u8),
    WritesChunk(u8),
    WritesEnd(u8),
    Trims(u8),
    Dies(u8),
    GoesOn(u8),
    Syncs,
    LosesPower(u8),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |owner: u8| if owner == 0 { "A" } else { "B" };
        let lane = |lane: Lane| match lane {
            Lane::Commits => "record reaches the commit topic",
            Lane::Plain => "next output reaches the plain topic",
            Lane::Compacted => "next output reaches the compacted topic",
        };
        match *self {
            Self::Claims(owner) => write!(f, "{} claims the shard", name(owner)),
            Self::Arrives(owner, on, _) => write!(f, "{}'s {}", name(owner), lane(on)),
            Self::ArrivesLate(owner, on, _) => write!(f, "{}'s {}, after it was given up", name(owner), lane(on)),
            Self::IsAnswered(owner) => write!(f, "{} gets its answer and reads back", name(owner)),
            Self::IsAcknowledged(owner, _) => write!(f, "{}'s outputs are all acknowledged", name(owner)),
            Self::TakesInput(owner) => write!(f, "{} folds the next input and sends the commit", name(owner)),
            Self::Restates(owner) => write!(f, "{} states its live key again", name(owner)),
            Self::WritesMark(owner) => write!(f, "{} sends a commit of the published mark alone", name(owner)),
            Self::WritesChunk(owner) => write!(f, "{} sends the chunk of a snapshot", name(owner)),
            Self::WritesEnd(owner) => write!(f, "{} sends the end of the snapshot", name(owner)),
            Self::Trims(owner) => write!(f, "{} trims the log to the chunk", name(owner)),
            Self::Dies(owner) => write!(f, "{} dies, or gives up waiting for an answer", name(owner)),
            Self::GoesOn(owner) => write!(f, "{} gets no answer and goes on", name(owner)),
            Self::Syncs => write!(f, "the log syncs what is written"),
            Self::LosesPower(kept) => write!(f, "power is lost; {kept} of the written records were durable"),
        }
    }
}

/// The protocol in a scene, whole or with one rule weakened.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub scene: Scene,
    pub rule: Option<Rule>,
}

impl Protocol {
    fn is(&self, rule: Rule) -> bool {
        self.rule == Some(rule)
    }
}

impl Model for Protocol {
    type State = World;
    type Step = Step;

    fn initial(&self) -> Vec<World> {
        let Scene { claims, crashes, power_losses, snapshots, restatements, .. } = self.scene;
        vec![World {
            claims_left: claims,
            crashes_left: crashes,
            power_losses_left: power_losses,
            snapshots_left: snapshots,
            restatements_left: restatements,
            ..World::default()
        }]
    }

    fn steps(&self, world: &World, steps: &mut Vec<Step>) {
        self.possible(world, steps);
    }

    fn after(&self, world: &World, step: Step) -> Result<World, Broken> {
        let mut world = *world;
        self.take(&mut world, step)?;
        Ok(world)
    }

    fn at_rest(&self, world: &World) -> Result<bool, Broken> {
        self.judge_rest(world)
    }
}

/// The shortest way in which a weakened protocol breaks, in the scene that shows it.
pub fn weakened(rule: Rule, states_max: usize) -> Searched<Step> {
    let scene = SCENES.into_iter().find(|scene| scene.name == rule.scene()).unwrap_or(NOTHING);
    search::search(&Protocol { scene, rule: Some(rule) }, states_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_groups_and_lineage_hold() {
        for scene in SCENES.into_iter().filter(|scene| matches!(scene.name, "groups" | "lineage")) {
            let found = search::search(&Protocol { scene, rule: None }, 2_000_000);
            assert!(
                found.broken.is_none() && found.is_complete && found.rests > 0,
                "{}: {:?}",
                scene.name,
                found.broken
            );
        }
    }

    /// Those that hold without a rule are searched whole by `bulkhead-sim model`; that takes longer.
    #[test]
    fn weakened_rules_break() {
        for rule in Rule::ALL.iter().copied().filter(|rule| rule.held_by().is_none()) {
            assert!(SCENES.iter().any(|scene| scene.name == rule.scene()), "{}", rule.name());
            let found = weakened(rule, 2_000_000);
            assert!(found.broken.is_some(), "{} holds over {} states", rule.name(), found.states);
        }
    }
}
