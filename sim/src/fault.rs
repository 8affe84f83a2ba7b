//! Faults as data: what, when, where, how long. A run obeys its list; shrinking removes from the list.

use std::collections::BTreeSet;

use runtime::env::Random;
use serde::{Deserialize, Serialize};

/// What can go wrong. Names are stable: they stand in scenario files, reports and `--faults`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    // A service.
    Stall,
    Spin,
    Slow,
    Error,
    Panic,
    Poison,
    Down,
    Leak,
    // Actors.
    ShardKill,
    ServiceKill,
    RestartStorm,
    /// One event ends every process that takes it.
    FatalEvent,
    // Processes.
    ProcessKill,
    PowerLoss,
    DeathInWrite,
    PowerLossOnRecovery,
    DrainRestart,
    // The disk.
    SlowDisk,
    DiskHang,
    DiskFull,
    SyncError,
    WriteError,
    TornWrite,
    ReadFlip,
    // Time.
    ClockAhead,
    ClockBehind,
    ClockLeaps,
    // What comes from outside.
    DuplicateDelivery,
    SourceRetry,
    LateEvents,
    FutureEvents,
    Garbage,
    UnknownSchema,
    EmptyValue,
    WrongMoney,
    IdConflict,
    HotKey,
    Burst,
    SourcePause,
    // The log's network (Kafka mode).
    SlowRequests,
    LateAcks,
    LostAcks,
    LostRequests,
    DuplicateAppends,
    SwizzleClog,
    BrokerPause,
    Zombie,
    FrozenZombie,
    Takeover,
}

/// Which kinds a seed may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Any,
    /// Only on the embedded log: its disk, its process.
    Embedded,
    /// Only in Kafka mode.
    Kafka,
}

impl Kind {
    pub const ALL: [Self; 49] = [
        Self::Stall,
        Self::Spin,
        Self::Slow,
        Self::Error,
        Self::Panic,
        Self::Poison,
        Self::Down,
        Self::Leak,
        Self::ShardKill,
        Self::ServiceKill,
        Self::RestartStorm,
        Self::ProcessKill,
        Self::PowerLoss,
        Self::DeathInWrite,
        Self::PowerLossOnRecovery,
        Self::DrainRestart,
        Self::SlowDisk,
        Self::DiskHang,
        Self::DiskFull,
        Self::SyncError,
        Self::WriteError,
        Self::TornWrite,
        Self::ReadFlip,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::ClockLeaps,
        Self::DuplicateDelivery,
        Self::SourceRetry,
        Self::LateEvents,
        Self::FutureEvents,
        Self::Garbage,
        Self::UnknownSchema,
        Self::EmptyValue,
        Self::WrongMoney,
        Self::IdConflict,
        Self::HotKey,
        Self::Burst,
        Self::SourcePause,
        Self::SlowRequests,
        Self::LateAcks,
        Self::LostAcks,
        Self::LostRequests,
        Self::DuplicateAppends,
        Self::SwizzleClog,
        Self::BrokerPause,
        Self::Zombie,
        Self::FrozenZombie,
        Self::Takeover,
        // The last, so that the schedules of seeds stay what they were.
        Self::FatalEvent,
    ];

    /// The name in files and reports.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub fn scope(self) -> Scope {
        match self {
            Self::PowerLoss
            | Self::DeathInWrite
            | Self::PowerLossOnRecovery
            | Self::DiskFull
            | Self::SyncError
            | Self::WriteError
            | Self::TornWrite
            | Self::ReadFlip => Scope::Embedded,
            Self::SlowRequests
            | Self::LateAcks
            | Self::LostAcks
            | Self::LostRequests
            | Self::DuplicateAppends
            | Self::SwizzleClog
            | Self::BrokerPause
            | Self::Zombie
            | Self::FrozenZombie
            | Self::Takeover => Scope::Kafka,
            _ => Scope::Any,
        }
    }

    /// Whether it befalls one service.
    pub fn has_target(self) -> bool {
        self <= Self::FatalEvent
    }

    /// Shortest and longest duration, ms.
    fn lasts_ms(self) -> (u64, u64) {
        match self {
            Self::Panic | Self::Error | Self::Leak => (200, 3_000),
            Self::Stall | Self::Spin | Self::Slow | Self::Down => (500, 20_000),
            Self::SlowDisk | Self::SlowRequests | Self::LateAcks => (1_000, 15_000),
            Self::DiskHang | Self::BrokerPause => (300, 6_000),
            Self::DiskFull | Self::SourcePause | Self::SwizzleClog => (1_000, 10_000),
            Self::ProcessKill | Self::PowerLoss | Self::DeathInWrite | Self::PowerLossOnRecovery => (50, 3_000),
            Self::SyncError | Self::WriteError | Self::TornWrite | Self::DrainRestart => (50, 2_000),
            Self::Zombie | Self::FrozenZombie => (500, 12_000),
            Self::ClockAhead | Self::ClockBehind => (1_000, 30_000),
            Self::RestartStorm => (2_000, 10_000),
            _ => (500, 8_000),
        }
    }
}

/// One fault of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub kind: Kind,
    /// Since the start of the world.
    pub at_ms: u64,
    pub for_ms: u64,
    /// The service, for kinds that have one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Seeds whatever the fault draws while it lasts, so that removing another fault moves nothing here.
    pub draw: u64,
}

impl Fault {
    pub fn end_ms(&self) -> u64 {
        self.at_ms + self.for_ms
    }
}

/// How a schedule is drawn.
#[derive(Clone, Debug)]
pub struct Draw<'a> {
    pub kafka: bool,
    pub services: &'a [&'static str],
    /// No fault begins later.
    pub until_ms: u64,
    /// Mean time between two faults of one kind that is on.
    pub mean_gap_ms: u64,
    /// Only these, if given.
    pub only: Option<&'a BTreeSet<Kind>>,
}

/// Draws a schedule: kinds are switched off for a whole seed, not only rated down, because what one fault hides another
/// would have shown (swarm testing). Each kind has a stream of its own.
pub fn draw(random: &Random, draw: &Draw<'_>) -> Vec<Fault> {
    const FIRST_MS: u64 = 2_000;
    let mut swarm = random.stream("faults/swarm");
    // Some seeds have most kinds on, some only a few.
    let on_ppm = [150_000, 300_000, 500_000, 800_000][swarm.usize(0..4)];
    let mut faults = Vec::new();
    for kind in Kind::ALL {
        let on = swarm.u32(0..1_000_000) < on_ppm;
        let fits = match kind.scope() {
            Scope::Any => true,
            Scope::Embedded => !draw.kafka,
            Scope::Kafka => draw.kafka,
        };
        let wanted = draw.only.map_or(on, |only| only.contains(&kind));
        if !fits || !wanted || draw.until_ms <= FIRST_MS {
            continue;
        }
        let mut rng = random.stream(&format!("faults/{}", kind.name()));
        let mut at_ms = FIRST_MS + gap_ms(&mut rng, draw.mean_gap_ms);
        if draw.only.is_some() && at_ms >= draw.until_ms {
            at_ms = rng.u64(FIRST_MS..draw.until_ms);
        }
        while at_ms < draw.until_ms {
            let (least, most) = kind.lasts_ms();
            let for_ms = rng.u64(least..=most);
            let service = if kind.has_target() && !draw.services.is_empty() {
                draw.services[rng.usize(0..draw.services.len())].to_owned()
            } else {
                String::new()
            };
            faults.push(Fault { kind, at_ms, for_ms, service, draw: rng.u64(..) });
            at_ms += for_ms + gap_ms(&mut rng, draw.mean_gap_ms);
        }
    }
    faults.sort_by_key(|fault| (fault.at_ms, fault.kind));
    faults
}

/// Exponential, at least 200 ms. Sums of integers, so that no machine's floating point can move a fault.
fn gap_ms(rng: &mut fastrand::Rng, mean_ms: u64) -> u64 {
    // The sum of a geometric number of small steps is close to exponential and needs no logarithm.
    let step = (mean_ms / 16).max(1);
    let mut gap = 200;
    while gap < 16 * mean_ms && rng.u32(0..16) != 0 {
        gap += rng.u64(0..=2 * step);
    }
    gap
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: [&str; 2] = ["ads", "billing"];

    fn drawn(seed: u64, kafka: bool) -> Vec<Fault> {
        let random = runtime::env::Random::seeded(seed);
        let all = Draw { kafka, services: &SERVICES, until_ms: 120_000, mean_gap_ms: 30_000, only: None };
        draw(&random, &all)
    }

    #[test]
    fn names_are_unique_and_read_back() {
        let names: BTreeSet<String> = Kind::ALL.into_iter().map(Kind::name).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.into_iter().all(|kind| Kind::parse(&kind.name()) == Some(kind)));
    }

    #[test]
    fn schedules_are_reproducible_and_swarm() {
        assert_eq!(drawn(1, false), drawn(1, false));
        let kinds = |seed| drawn(seed, true).iter().map(|fault| fault.kind).collect::<BTreeSet<_>>();
        let all: BTreeSet<Kind> = (0..200).flat_map(kinds).collect();
        assert!((0..200).any(|seed| kinds(seed).len() < 8) && (0..200).any(|seed| kinds(seed).len() > 20));
        let fits = |kind: &&Kind| kind.scope() != Scope::Embedded;
        assert_eq!(all.len(), Kind::ALL.iter().filter(fits).count());
    }
}
