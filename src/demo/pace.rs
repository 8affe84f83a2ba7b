//! How fast the input is played: the recorded pace, bent so that a run is short and a fault meets load.

use std::time::Duration;

use actors::input::Survey;

use crate::args::{FaultSpec, Speed};

/// Pace where no times are recorded: that of the recorded traffic.
pub const RATE_DEFAULT_PER_S: u64 = actors::generator::RATE_PER_S as u64;
/// Without `--speed` an input lasts at most this long ...
const INPUT_MAX: Duration = Duration::from_secs(30);
/// ... and at least this much longer than the last fault, so that catching up can be seen under load.
const AFTER_FAULT: Duration = Duration::from_secs(5);

/// How many requests come over which recorded time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recorded {
    pub requests: u64,
    /// Earliest recorded time, microseconds since the epoch; `None` where the default pace stands in.
    pub first_us: Option<i64>,
    pub span_us: u64,
}

impl Recorded {
    /// From what a file's times say.
    pub fn of_file(survey: &Survey) -> Self {
        match survey.span_us() {
            Some(span_us) if span_us > 0 => {
                Self { requests: survey.lines, first_us: Some(survey.first_us), span_us: span_us as u64 }
            }
            _ => Self::at_default_rate(survey.lines),
        }
    }

    /// At [`RATE_DEFAULT_PER_S`].
    pub fn at_default_rate(requests: u64) -> Self {
        Self { requests, first_us: None, span_us: requests * 1_000_000 / RATE_DEFAULT_PER_S }
    }
}

/// When each request is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Recorded microseconds a microsecond of ours; `None`: as fast as it goes.
    pub times: Option<f64>,
    first_us: Option<i64>,
}

impl Pace {
    /// The speed asked for, or the one that the rules choose.
    pub fn choose(speed: Option<Speed>, recorded: &Recorded, faults: &[FaultSpec]) -> Self {
        let times = match speed {
            Some(Speed::Max) => None,
            Some(Speed::Times(times)) => Some(times),
            None => {
                let longest = recorded.span_us.min(INPUT_MAX.as_micros() as u64);
                let last_fault = faults.iter().map(FaultSpec::end).max();
                let shortest = last_fault.map_or(0, |end| (end + AFTER_FAULT).as_micros() as u64);
                let lasting = longest.max(shortest).max(1);
                Some(recorded.span_us.max(1) as f64 / lasting as f64)
            }
        };
        Self { times, first_us: recorded.first_us }
    }

    /// Microseconds after the first event at which request `number` (from 0), recorded at `ts_us`, is due.
    pub fn due_us(&self, number: u64, ts_us: Option<i64>) -> u64 {
        let Some(times) = self.times else { return 0 };
        let recorded_us = match (self.first_us, ts_us) {
            (Some(first_us), Some(ts_us)) => ts_us.saturating_sub(first_us).max(0) as u64,
            _ => number * 1_000_000 / RATE_DEFAULT_PER_S,
        };
        (recorded_us as f64 / times) as u64
    }

    /// For the market's delays, which are shortened as the input is, and never lengthened.
    pub fn divisor(&self) -> i64 {
        // At full speed a tenth of a second stands for ten.
        self.times.map_or(100, |times| times.ceil().clamp(1.0, 100.0) as i64)
    }

    /// For people.
    pub fn shown(&self) -> String {
        match self.times {
            None => "max".to_owned(),
            Some(times) => format!("{times:.2}x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::fault;

    fn recorded(requests: u64, span_s: u64) -> Recorded {
        Recorded { requests, first_us: Some(0), span_us: span_s * 1_000_000 }
    }

    fn lasting_s(recorded: &Recorded, faults: &[&str]) -> f64 {
        let faults: Vec<_> = faults.iter().map(|text| fault(text).expect("a fault")).collect();
        let pace = Pace::choose(None, recorded, &faults);
        pace.due_us(0, Some(recorded.span_us as i64)) as f64 / 1e6
    }

    #[test]
    fn the_recorded_pace_is_bent_to_the_limits() {
        assert_eq!(lasting_s(&recorded(1, 20), &[]), 20.0);
        assert_eq!(lasting_s(&recorded(1, 200), &[]), 30.0);
        assert_eq!(lasting_s(&recorded(1, 2), &["fraud:stall@5s+10s"]), 20.0);
        assert_eq!(lasting_s(&recorded(1, 200), &["fraud:stall@30s+10s"]), 45.0);
    }

    #[test]
    fn a_stated_speed_is_kept() {
        let (faults, recorded) = ([fault("fraud:stall@5s+10s").expect("a fault")], recorded(1, 2));
        let pace = Pace::choose(Some(Speed::Times(2.0)), &recorded, &faults);
        assert_eq!((pace.due_us(0, Some(2_000_000)), pace.divisor()), (1_000_000, 2));
        assert_eq!(Pace::choose(Some(Speed::Max), &recorded, &faults).due_us(7, Some(9)), 0);
    }

    #[test]
    fn without_times_the_default_rate_counts() {
        let survey = Survey { lines: RATE_DEFAULT_PER_S, ..Survey::default() };
        let pace = Pace::choose(Some(Speed::Times(1.0)), &Recorded::of_file(&survey), &[]);
        assert_eq!(pace.due_us(RATE_DEFAULT_PER_S, None), 1_000_000);
    }
}
