//! A month of faults in three worlds: the synchronous chain as it was, the chain as good engineers would tune it, and the
//! platform. Same faults, same hours; only the windows around faults are simulated, the calm between is extrapolated.

pub mod chain;

use chain::{Fault, Protection, Trouble};

use crate::fault::Kind;

/// Faults a month, by kind, frozen after calibration: the plain chain has 8 cascades a month within 2. The shapes are
/// assumptions for some thirty services; what is compared is the three worlds under the same ones.
pub const PAUSES_A_MONTH: f64 = 360.0;
pub const SLOW_A_MONTH: f64 = 9.0;
pub const HANGS_A_MONTH: f64 = 1.0;
pub const DEPLOYS_A_MONTH: f64 = 1.0;
/// Faults are cut here: longer ones are worse for the chains.
const LONGEST_MS: u64 = 40_000;
/// Shorter pauses are not simulated: fifteen bad seconds cannot come of them.
const LEAST_PAUSE_MS: u64 = 1_000;
/// Before the fault, and after it until calm.
const BEFORE_S: u64 = 10;
const AFTER_S: u64 = 45;
/// Thirty days.
pub const MONTH_S: f64 = 30.0 * 86_400.0;

/// One fault of a month.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    /// Day of the month, from 0.
    pub day: u32,
    pub service: usize,
    pub trouble: Trouble,
    pub for_ms: u64,
    /// Requests a second at that hour.
    pub rate: f64,
    pub seed: u64,
}

impl Incident {
    /// Simulated around it in the chains, seconds: from before it until calm.
    pub fn window_s(&self) -> u64 {
        BEFORE_S + self.for_ms.div_ceil(1_000) + AFTER_S
    }
}

/// Which worlds fell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fell {
    pub plain: bool,
    pub tuned: bool,
}

fn exponential(rng: &mut fastrand::Rng, mean: f64) -> f64 {
    -(1.0 - rng.f64()).ln() * mean
}

/// Box and Muller.
fn normal(rng: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

fn poisson(rng: &mut fastrand::Rng, mean: f64) -> usize {
    let (mut count, mut left) = (0, mean);
    loop {
        left -= exponential(rng, 1.0);
        if left < 0.0 {
            return count;
        }
        count += 1;
    }
}

/// The faults of one month; `pauses` that are too short to matter are drawn and left out.
pub fn month(seed: u64, rate_factor: f64) -> (Vec<Incident>, usize) {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x6d6f_6e74_6800_0000);
    let mut incidents = Vec::new();
    let mut drawn = 0;
    let kinds = [PAUSES_A_MONTH, SLOW_A_MONTH, HANGS_A_MONTH, DEPLOYS_A_MONTH];
    for (kind, a_month) in kinds.into_iter().enumerate() {
        for _ in 0..poisson(&mut rng, a_month * rate_factor) {
            drawn += 1;
            let incident = incident(&mut rng, kind);
            if incident.trouble != Trouble::Pause || incident.for_ms >= LEAST_PAUSE_MS {
                incidents.push(incident);
            }
        }
    }
    (incidents, drawn)
}

fn incident(rng: &mut fastrand::Rng, kind: usize) -> Incident {
    let (trouble, for_s) = match kind {
        0 => (Trouble::Pause, 0.3 * normal(rng).exp()),
        1 => (Trouble::Slow(2.0 * (1.5 * normal(rng)).abs().exp()), exponential(rng, 60.0)),
        2 => (Trouble::Hang, 5.0 + exponential(rng, 60.0)),
        _ => (Trouble::Errors([100, 500, 1_000][rng.usize(0..3)]), 20.0 + exponential(rng, 40.0)),
    };
    // A day's load is a wave between 40 and 160 requests a second.
    let rate = 100.0 + 60.0 * (std::f64::consts::TAU * rng.f64()).sin();
    let for_ms = ((for_s * 1e3) as u64).min(LONGEST_MS);
    Incident { day: rng.u32(0..30), service: rng.usize(1..7), trouble, for_ms, rate, seed: rng.u64(..) }
}

/// The chains under one fault, and others that happen to fall into its window.
pub fn chains(incident: &Incident, more: &[Incident]) -> Fell {
    let window_s = incident.window_s();
    let mut faults = vec![fault(incident, BEFORE_S * 1_000)];
    let mut rng = fastrand::Rng::with_seed(incident.seed ^ 2);
    faults.extend(more.iter().map(|other| fault(other, rng.u64(0..window_s * 1_000))));
    let fell = |protection| chain::is_cascade(&chain::run(protection, &faults, incident.rate, window_s, incident.seed));
    Fell { plain: fell(&Protection::PLAIN), tuned: fell(&Protection::TUNED) }
}

fn fault(incident: &Incident, at_ms: u64) -> Fault {
    let Incident { service, trouble, for_ms, .. } = *incident;
    Fault { service, trouble, from_us: at_ms * 1_000, to_us: (at_ms + for_ms) * 1_000 }
}

/// The same fault in the platform: on a service that is not ad serving.
pub fn ours(incident: &Incident, services: &[&'static str], at_ms: u64) -> crate::fault::Fault {
    let others: Vec<&&str> = services.iter().filter(|name| **name != "ads").collect();
    let service = others.get(incident.service % others.len().max(1)).map_or(String::new(), |name| (**name).to_string());
    let kind = match incident.trouble {
        Trouble::Pause | Trouble::Hang => Kind::Stall,
        Trouble::Slow(_) => Kind::Slow,
        Trouble::Errors(_) => Kind::Error,
    };
    crate::fault::Fault { kind, at_ms, for_ms: incident.for_ms, service, draw: incident.seed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_reproducible_and_have_the_stated_rates() {
        let counts: Vec<usize> = (0..20).map(|seed| month(seed, 1.0).1).collect();
        assert_eq!(counts, (0..20).map(|seed| month(seed, 1.0).1).collect::<Vec<_>>());
        let mean = counts.iter().sum::<usize>() as f64 / 20.0;
        assert!((350.0..400.0).contains(&mean), "{mean} faults a month");
    }
}
