//! What the page of `compare` shows beside the months: one long fault second by second, seeds with every kind of fault,
//! and the planted bugs.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Deserialize;
use sim::compare::{Incident, chain::Trouble};
use sim::fault::Kind;
use sim::oracle::flow::Conserved;
use sim::scenario::{Scenario, Wanted};
use sim::world::{Lags, service_names};

use super::children::{self, child, each, locked};
use super::compare::scenario_of;

/// Virtual time and impressions a second of a seed.
const UNTIL_MS: u64 = 60_000;
const RATE_MILLI: u64 = 5_000;
/// First seed: others than those that the swarm and the tests run by themselves.
const FROM_SEED: u64 = 5_000;

/// All of it.
pub struct Evidence {
    /// The longest hang of the months, in the platform.
    pub longest: Option<(Scenario, Lags)>,
    pub seeds: u64,
    pub violations: u64,
    /// Events that were true against what stands, over all seeds.
    pub conserved: BTreeMap<String, Conserved>,
    /// Faults by kind and service; an empty name is the world.
    pub coverage: BTreeMap<String, BTreeMap<String, u64>>,
    /// Times that a kind took hold of something.
    pub fired: BTreeMap<String, u64>,
    /// From the last fault of a seed until all was calm.
    pub recoveries_s: Vec<f64>,
    pub planted: Vec<Planted>,
}

/// A planted bug, as `mutants` reports it.
#[derive(Deserialize)]
pub struct Planted {
    pub name: String,
    pub found: bool,
    pub seeds_to_find: u64,
    pub cpu_s_to_find: f64,
    pub invariant: String,
    #[serde(default)]
    pub explained: Option<String>,
}

#[derive(Deserialize)]
struct Mutants {
    mutants: Vec<Planted>,
}

/// # Errors
/// The simulator itself failed.
pub fn gather(jobs: usize, seeds: u64, windows: &[(u64, Incident)]) -> Result<Evidence, String> {
    let services = service_names();
    let hangs = windows.iter().map(|(_, incident)| incident).filter(|incident| incident.trouble == Trouble::Hang);
    let longest = match hangs.max_by_key(|incident| incident.for_ms) {
        None => None,
        Some(incident) => {
            let scenario = scenario_of(incident, &[], &services);
            let seen = children::scenario(&scenario, &["--watch-services"])?;
            seen.lags.map(|lags| (scenario, lags))
        }
    };
    let mut evidence = Evidence {
        longest,
        seeds,
        violations: 0,
        conserved: BTreeMap::new(),
        coverage: BTreeMap::new(),
        fired: BTreeMap::new(),
        recoveries_s: Vec::new(),
        planted: Vec::new(),
    };
    add_seeds(&mut evidence, jobs, &services)?;
    let arguments = ["mutants", "--output", "json", "--budget", "5s", "--jobs", &jobs.to_string()];
    let mutants: Mutants = child(&arguments.map(str::to_owned), None)?;
    evidence.planted = mutants.mutants;
    Ok(evidence)
}

fn add_seeds(evidence: &mut Evidence, jobs: usize, services: &[&'static str]) -> Result<(), String> {
    for kind in Kind::ALL {
        evidence.coverage.insert(kind.name(), BTreeMap::new());
    }
    let shared = Mutex::new((evidence, None::<String>));
    let count = locked(&shared).0.seeds as usize;
    each(jobs, count, |index| {
        let wanted = Wanted {
            seed: FROM_SEED + index as u64,
            until_ms: UNTIL_MS,
            rate_milli: RATE_MILLI,
            only: None,
            kafka: None,
            mutant: None,
        };
        let scenario = Scenario::of(&wanted, services);
        let seen = children::scenario(&scenario, &[]);
        let (evidence, failure) = &mut *locked(&shared);
        match seen {
            Ok(seen) => evidence.add(&scenario, seen),
            Err(error) => *failure = Some(error),
        }
        failure.is_none()
    });
    let (_, failure) = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

impl Evidence {
    fn add(&mut self, scenario: &Scenario, seen: children::Seen) {
        self.violations += seen.violations.len() as u64;
        self.recoveries_s.push(seen.converged_s);
        for one in seen.conserved {
            let sum = self.conserved.entry(one.topic.clone()).or_default();
            sum.were += one.were;
            sum.stand += one.stand;
            sum.set_aside += one.set_aside;
        }
        for fault in &scenario.faults {
            *self.coverage.entry(fault.kind.name()).or_default().entry(fault.service.clone()).or_default() += 1;
        }
        for (kind, times) in seen.faults {
            *self.fired.entry(kind).or_default() += times;
        }
    }
}
