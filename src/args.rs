//! What people type: durations, speeds, faults. Every refusal says what was read and what would be taken.

use std::time::Duration;

use runtime::fault::FaultKind;

/// Longest duration that is taken: nothing here runs for more than a day.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Why an argument cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgError {
    #[error("`{0}` is no duration; write 200ms, 10s, 5m or 1h")]
    Duration(String),
    #[error("`{0}` is longer than a day")]
    DurationTooLong(String),
    #[error("`{0}` is no size; write 512, 64KiB, 16MiB or 1GiB")]
    Size(String),
    #[error("`{0}` is no speed; write 1x, 10x, 0.5x or max")]
    Speed(String),
    #[error("`{found}` is no fault: {what}; write SERVICE:KIND@AT+FOR, for example fraud:stall@5s+10s")]
    Fault { found: String, what: String },
}

impl ArgError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Duration(_) | Self::DurationTooLong(_) => "DURATION",
            Self::Size(_) => "SIZE",
            Self::Speed(_) => "SPEED",
            Self::Fault { .. } => "FAULT",
        }
    }
}

/// Reads `200ms`, `10s`, `5m`, `1h`, whole or with a fraction.
///
/// # Errors
/// [`ArgError`] for anything else, and for more than a day.
pub fn duration(text: &str) -> Result<Duration, ArgError> {
    let wrong = || ArgError::Duration(text.to_owned());
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
    let unit_s = match &text[digits..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let seconds = number * unit_s;
    if seconds > DURATION_MAX.as_secs_f64() {
        return Err(ArgError::DurationTooLong(text.to_owned()));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads `512`, `64KiB`, `16MiB`, `1GiB`.
///
/// # Errors
/// [`ArgError::Size`] for anything else.
pub fn size(text: &str) -> Result<u64, ArgError> {
    let wrong = || ArgError::Size(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match &text[digits..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// How fast an input is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// Recorded time divided by this.
    Times(f64),
    /// As fast as the platform takes it.
    Max,
}

/// Reads `1x`, `10x`, `0.5x`, `max`.
///
/// # Errors
/// [`ArgError::Speed`] for anything else.
pub fn speed(text: &str) -> Result<Speed, ArgError> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.strip_suffix('x').and_then(|number| number.parse::<f64>().ok());
    let plausible = times.filter(|times| (0.001..=100_000.0).contains(times));
    plausible.map(Speed::Times).ok_or_else(|| ArgError::Speed(text.to_owned()))
}

/// One fault of a run, by run time from the first event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// As it was written.
    pub text: String,
    pub service: String,
    pub kind: FaultKind,
    pub at: Duration,
    pub lasting: Duration,
}

impl FaultSpec {
    /// Run time at which it is over.
    pub fn end(&self) -> Duration {
        self.at + self.lasting
    }
}

/// Reads `SERVICE:KIND@AT+FOR`. Whether the service exists is for whoever knows the services.
///
/// # Errors
/// [`ArgError::Fault`] naming the part that is wrong.
pub fn fault(text: &str) -> Result<FaultSpec, ArgError> {
    let wrong = |what: String| ArgError::Fault { found: text.to_owned(), what };
    let (service, rest) = text.split_once(':').ok_or_else(|| wrong("no `:` after the service".into()))?;
    let (kind, times) = rest.split_once('@').ok_or_else(|| wrong("no `@` before its start".into()))?;
    let (at, lasting) = times.split_once('+').ok_or_else(|| wrong("no `+` before its length".into()))?;
    if service.is_empty() {
        return Err(wrong("the service is missing".into()));
    }
    let kind = FaultKind::parse(kind).ok_or_else(|| {
        let known: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        wrong(format!("kind `{kind}` is not one of {}", known.join(", ")))
    })?;
    let time = |text: &str| duration(text).map_err(|error| wrong(error.to_string()));
    let (at, lasting) = (time(at)?, time(lasting)?);
    if lasting.is_zero() {
        return Err(wrong("it lasts no time".into()));
    }
    Ok(FaultSpec { text: text.to_owned(), service: service.to_owned(), kind, at, lasting })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "5", "s", "-1s", "1 s", "1d", "1.2.3s"] {
            assert_eq!(duration(wrong), Err(ArgError::Duration(wrong.into())), "{wrong}");
        }
        assert!(matches!(duration("999h"), Err(ArgError::DurationTooLong(_))));
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!((size("512"), size("64KiB"), size("1GiB")), (Ok(512), Ok(65_536), Ok(1 << 30)));
        assert!(size("64kb").is_err() && size("").is_err() && size("99999999999GiB").is_err());
    }

    #[test]
    fn speeds() {
        assert_eq!(
            (speed("max"), speed("2x"), speed("0.5x")),
            (Ok(Speed::Max), Ok(Speed::Times(2.0)), Ok(Speed::Times(0.5)))
        );
        for wrong in ["", "x", "2", "0x", "-1x", "infx", "NaNx"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_says_which_part_is_wrong() {
        let fine = fault("fraud:stall@5s+10s").expect("a fault");
        assert_eq!((fine.kind, fine.end()), (FaultKind::Stall, Duration::from_secs(15)));
        let message = |text| fault(text).expect_err("refused").to_string();
        assert!(message("fraud:stal@5s+10s").contains("stall, spin, slow"));
        assert!(message("fraud").contains("no `:`"));
        assert!(message("fraud:stall").contains("no `@`"));
        assert!(message("fraud:stall@5s").contains("no `+`"));
        assert!(message("fraud:stall@5+1s").contains("`5` is no duration"));
        assert!(message("fraud:stall@5s+0s").contains("no time"));
    }
}
