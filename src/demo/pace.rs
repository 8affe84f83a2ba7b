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

/// A stretch of a pace that is made for a test of load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub per_s: u64,
    pub lasting: Duration,
}

impl Step {
    /// Requests that come in it.
    pub fn requests(&self) -> u64 {
        self.per_s * self.lasting.as_millis() as u64 / 1_000
    }
}

/// When each request is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// As fast as they are taken.
    Max,
    /// Recorded microseconds a microsecond of ours, from the first recorded time, if there is one.
    Recorded { times: f64, first_us: Option<i64> },
    /// One stretch after the other; what comes after the last is due at its end.
    Steps(Vec<Step>),
}

impl Pace {
    /// The speed asked for, or the one that the rules choose.
    pub fn choose(speed: Option<Speed>, recorded: &Recorded, faults: &[FaultSpec]) -> Self {
        let times = match speed {
            Some(Speed::Max) => return Self::Max,
            Some(Speed::Times(times)) => times,
            None => {
                let longest = recorded.span_us.min(INPUT_MAX.as_micros() as u64);
                let last_fault = faults.iter().map(FaultSpec::end).max();
                let shortest = last_fault.map_or(0, |end| (end + AFTER_FAULT).as_micros() as u64);
                let lasting = longest.max(shortest).max(1);
                recorded.span_us.max(1) as f64 / lasting as f64
            }
        };
        Self::Recorded { times, first_us: recorded.first_us }
    }

    /// Microseconds after the first event at which line `number` (from 0) is due; `None` if only its recorded time tells.
    pub fn due_by_number_us(&self, number: u64) -> Option<u64> {
        match self {
            Self::Max => Some(0),
            Self::Recorded { first_us: Some(_), .. } => None,
            Self::Recorded { times, first_us: None } => {
                Some((number as f64 * 1e6 / RATE_DEFAULT_PER_S as f64 / times) as u64)
            }
            Self::Steps(steps) => Some(due_in_steps_us(steps, number)),
        }
    }

    /// The same for a line whose recorded time is known.
    pub fn due_us(&self, number: u64, ts_us: Option<i64>) -> u64 {
        match (self, ts_us) {
            (Self::Recorded { times, first_us: Some(first_us) }, Some(ts_us)) => {
                (ts_us.saturating_sub(*first_us).max(0) as f64 / times) as u64
            }
            (Self::Recorded { times, .. }, _) => (number as f64 * 1e6 / RATE_DEFAULT_PER_S as f64 / times) as u64,
            _ => self.due_by_number_us(number).unwrap_or(0),
        }
    }

    /// For the market's delays, which are shortened as the input is, and never lengthened.
    pub fn divisor(&self) -> i64 {
        match self {
            Self::Recorded { times, .. } => times.ceil().clamp(1.0, 100.0) as i64,
            // A tenth of a second stands for ten.
            Self::Max | Self::Steps(_) => 100,
        }
    }

    /// For people.
    pub fn shown(&self) -> String {
        match self {
            Self::Max => "max".to_owned(),
            Self::Recorded { times, .. } => format!("{times:.2}x"),
            Self::Steps(steps) => {
                let steps: Vec<_> =
                    steps.iter().map(|step| format!("{}/s for {:?}", step.per_s, step.lasting)).collect();
                steps.join(", ")
            }
        }
    }
}

fn due_in_steps_us(steps: &[Step], mut number: u64) -> u64 {
    let mut start_us = 0;
    for step in steps {
        if number < step.requests() {
            return start_us + number * 1_000_000 / step.per_s.max(1);
        }
        number -= step.requests();
        start_us += step.lasting.as_micros() as u64;
    }
    start_us
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
        assert_eq!(pace.due_by_number_us(RATE_DEFAULT_PER_S), Some(1_000_000));
    }

    #[test]
    fn one_step_follows_the_other() {
        let step = |per_s, seconds| Step { per_s, lasting: Duration::from_secs(seconds) };
        let pace = Pace::Steps(vec![step(10, 2), step(100, 1), step(10, 1)]);
        let due_s = |number| pace.due_by_number_us(number).expect("by number") as f64 / 1e6;
        assert_eq!([0, 10, 20, 70, 120, 125, 130].map(due_s), [0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0]);
    }
}
