//! A run as data: everything that a world is made from. A seed makes one, shrinking makes smaller ones, files keep them.

use std::collections::BTreeSet;
use std::io::Read as _;

use runtime::env::Random;
use serde::{Deserialize, Serialize};

use crate::fault::{self, Fault, Kind};
use crate::mutant::Mutant;

/// Changes whenever the same seed would give another run.
pub const VERSION: u32 = 2;

/// Everything that a world is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub version: u32,
    pub seed: u64,
    /// Faults and traffic end here; what follows is the time to converge.
    pub until_ms: u64,
    /// Mean impressions a second, thousandths.
    pub rate_milli: u64,
    pub partitions: u32,
    /// The log refuses nothing, answers late or never; two owners may live.
    pub kafka: bool,
    /// Snapshots and trimming on.
    pub trim: bool,
    /// Only the first bids of the traffic, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bids_max: Option<u64>,
    /// A planted bug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<Mutant>,
    pub faults: Vec<Fault>,
}

/// What a caller asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub seed: u64,
    pub until_ms: u64,
    pub rate_milli: u64,
    /// `Some(empty)`: no faults; `None`: swarm.
    pub only: Option<BTreeSet<Kind>>,
    pub kafka: Option<bool>,
    pub mutant: Option<Mutant>,
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("{file}: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{file} is not a scenario: {reason}; make one with `bulkhead-sim shrink --seed N --save FILE`")]
    Damaged { file: String, reason: String },
    #[error("{file} is of version {found}, this program runs version {known}: the same seed would give another run")]
    OtherVersion { file: String, found: u64, known: u32 },
}

impl ScenarioError {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "UNREADABLE",
            Self::Damaged { .. } => "DAMAGED",
            Self::OtherVersion { .. } => "OTHER_VERSION",
        }
    }
}

/// Largest scenario file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

impl Scenario {
    /// The scenario of a seed. `services`: whom faults may befall.
    pub fn of(wanted: &Wanted, services: &[&'static str]) -> Self {
        let random = Random::seeded(wanted.seed);
        let mut rng = random.stream("scenario");
        let drawn_kafka = rng.bool();
        let partitions = rng.u32(1..=3);
        let trim = rng.bool();
        let kafka = wanted.kafka.unwrap_or(drawn_kafka);
        let draw = fault::Draw {
            kafka,
            services,
            until_ms: wanted.until_ms,
            mean_gap_ms: (wanted.until_ms / 2).clamp(20_000, 120_000),
            only: wanted.only.as_ref(),
        };
        let faults = fault::draw(&random, &draw);
        Self {
            version: VERSION,
            seed: wanted.seed,
            until_ms: wanted.until_ms,
            rate_milli: wanted.rate_milli,
            partitions,
            kafka,
            trim,
            bids_max: None,
            mutant: wanted.mutant,
            faults,
        }
    }

    /// # Errors
    /// The file is missing, too large, no scenario, or of another version.
    pub fn load(file: &str) -> Result<Self, ScenarioError> {
        let unreadable = |reason: String| ScenarioError::Unreadable { file: file.to_owned(), reason };
        if file == "-" {
            let mut text = String::new();
            let read = std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| unreadable(error.to_string()))?;
            return Self::parse(file, &text);
        }
        let size = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(format!("{size} bytes, at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(file, &text)
    }

    /// # Errors
    /// As `load`; `file` is for the message.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let damaged = |reason: String| ScenarioError::Damaged { file: file.to_owned(), reason };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
        let found = value.get("version").and_then(serde_json::Value::as_u64);
        let found = found.ok_or_else(|| damaged("it has no version".into()))?;
        if found != u64::from(VERSION) {
            return Err(ScenarioError::OtherVersion { file: file.to_owned(), found, known: VERSION });
        }
        let scenario: Self = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        if !(1..=64).contains(&scenario.partitions) || scenario.until_ms > 366 * 86_400_000 || scenario.rate_milli == 0
        {
            return Err(damaged("partitions, until_ms or rate_milli are out of range".into()));
        }
        Ok(scenario)
    }

    /// As a file holds it.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seed: u64) -> Scenario {
        let wanted = Wanted { seed, until_ms: 60_000, rate_milli: 20_000, only: None, kafka: None, mutant: None };
        Scenario::of(&wanted, &["ads", "billing"])
    }

    #[test]
    fn files_hold_scenarios() {
        let scenario = of(3);
        assert_eq!(Scenario::parse("f", &scenario.to_json()).unwrap(), scenario);
        let kind = |text: &str| Scenario::parse("f", text).unwrap_err().kind();
        assert_eq!(kind("{"), "DAMAGED");
        assert_eq!(kind("{}"), "DAMAGED");
        assert_eq!(kind(&scenario.to_json().replace("\"version\": 2", "\"version\": 7")), "OTHER_VERSION");
        assert_eq!(kind(&scenario.to_json().replace("\"seed\"", "\"sed\"")), "DAMAGED");
        assert_eq!(Scenario::load("/no/such/file").unwrap_err().kind(), "UNREADABLE");
    }

    #[test]
    fn half_of_the_seeds_are_in_kafka_mode() {
        let kafka = (0..400).filter(|seed| of(*seed).kafka).count();
        assert!((150..250).contains(&kafka), "{kafka} of 400");
    }
}
