//! Which letters are meant, as flags.

use std::time::Duration;

use clap::Args;

use crate::args;
use crate::dlq::Selection;

/// All that is stated must hold.
#[derive(Args, Clone, Debug, Default)]
pub struct SelectArgs {
    /// Letters of this service
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Events that came from this topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Letters of this group
    #[arg(long, value_name = "HEX")]
    pub fingerprint: Option<String>,
    /// Letters with this code
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Events with this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// One letter, TOPIC/PARTITION/OFFSET
    #[arg(long, value_name = "LETTER")]
    pub id: Option<String>,
    /// Failed at or after: so long ago (90s, 2h, 3d), or ms since 1970
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub since: Option<When>,
    /// Failed before: so long ago, or ms since 1970
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub until: Option<When>,
    /// Decoded records with this value; repeatable
    #[arg(long, value_name = "PATH=VALUE", value_parser = assignment)]
    pub field: Vec<(String, String)>,
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Ago(Duration),
    AtMs(i64),
}

impl When {
    fn ms(self, now_ms: i64) -> i64 {
        match self {
            Self::Ago(ago) => now_ms.saturating_sub(ago.as_millis() as i64),
            Self::AtMs(at_ms) => at_ms,
        }
    }
}

impl SelectArgs {
    pub fn selection(&self, now_ms: i64) -> Selection {
        Selection {
            id: self.id.clone(),
            service: self.service.clone(),
            topic: self.topic.clone(),
            fingerprint: self.fingerprint.clone(),
            code: self.code.clone(),
            key: self.key.clone(),
            since_ms: self.since.map(|since| since.ms(now_ms)),
            until_ms: self.until.map(|until| until.ms(now_ms)),
            fields: self.field.clone(),
        }
    }
}

fn when(text: &str) -> Result<When, String> {
    if let Ok(at_ms) = text.parse() {
        return Ok(When::AtMs(at_ms));
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()).filter(|days| *days <= 3_650);
    if let Some(days) = days {
        return Ok(When::Ago(Duration::from_secs(u64::from(days) * 86_400)));
    }
    args::duration(text).map(When::Ago).map_err(|error| format!("{error}; days read `3d`"))
}

/// Reads `path=value`.
pub fn assignment(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("write PATH=VALUE, for example win_price_micros=1200")?;
    if path.is_empty() || path.split('.').any(str::is_empty) {
        return Err(format!("`{path}` is no path; write names with dots between them"));
    }
    Ok((path.to_owned(), value.to_owned()))
}

/// Reads `500/s`.
pub fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>().ok();
    number.filter(|rate| (0.01..=1e6).contains(rate)).ok_or_else(|| format!("`{text}` is no rate; write 500/s"))
}

/// Reads `5%`.
pub fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let share = number.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| percent / 100.0);
    share.ok_or_else(|| format!("`{text}` is no share; write 5%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_or_refused_with_what_to_write() {
        assert_eq!(when("2h"), Ok(When::Ago(Duration::from_secs(7_200))));
        assert_eq!((when("3d").map(|w| w.ms(400_000_000)), when("17")), (Ok(140_800_000), Ok(When::AtMs(17))));
        assert!(when("yesterday").is_err_and(|error| error.contains("`3d`")));
        assert_eq!(assignment("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(assignment("a").is_err() && assignment("=b").is_err() && assignment("a..b=c").is_err());
        assert_eq!((rate("500/s"), share("5%")), (Ok(500.0), Ok(0.05)));
        for wrong in ["", "x/s", "0/s", "-1/s", "inf"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        for wrong in ["5", "x%", "101%", "-1%", "NaN%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
