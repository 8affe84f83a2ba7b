//! When somebody should look: a group of dead letters that comes faster, and as a larger share of all events, than it has been
//! used to at this hour. Pure: what happened when goes in, alerts come out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const MINUTE_MS: i64 = 60_000;
const HOUR_MINUTES: i64 = 60;
/// The short window tells that it is going on, the long one that it is no blink.
const SHORT_MINUTES: i64 = 5;
/// How much of a new hour goes into what the group is used to at this hour of the day.
const LEARN: f64 = 0.3;

/// What is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Letters a minute that are never an alert.
    pub rate_min: f64,
    /// Times the usual rate.
    pub factor: f64,
    /// Share of the service's events.
    pub share_min: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { rate_min: 10.0, factor: 5.0, share_min: 0.001 }
    }
}

/// One letter, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// When the event failed for the last time.
    pub at_ms: i64,
    pub fingerprint: &'a str,
    pub service: &'a str,
    /// Money that hangs on it.
    pub stake_micros: i64,
    /// Where it lies.
    pub id: &'a str,
}

/// One group has begun to be too much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub fingerprint: String,
    pub service: String,
    pub at_ms: i64,
    pub letters_per_minute: f64,
    /// Learnt for this hour of the day; 0 where it never came.
    pub usual_per_minute: f64,
    /// Of the service's events, within five minutes.
    pub share: f64,
    /// Within the last hour.
    pub stake_micros: i64,
    /// First letter of the last hour.
    pub sample: String,
}

/// A group.
#[derive(Debug)]
struct Group {
    service: String,
    /// Minute: letters and money.
    minutes: BTreeMap<i64, (u64, i64)>,
    /// Hour: first letter in it.
    first: BTreeMap<i64, String>,
    /// Letters a minute by hour of the day.
    usual: BTreeMap<i64, f64>,
    /// Hour up to which `usual` has learnt.
    learnt_to: i64,
    alerted: bool,
}

/// All groups and what the services have done meanwhile.
#[derive(Debug, Default)]
pub struct Detector {
    rules: Rules,
    groups: BTreeMap<String, Group>,
    /// Service: events a minute.
    events: BTreeMap<String, BTreeMap<i64, u64>>,
    /// Alerts so far.
    pub alerts: u64,
}

impl Detector {
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// A letter was found; letters come in order of time, about.
    pub fn letter(&mut self, seen: &Seen<'_>) {
        let minute = seen.at_ms.div_euclid(MINUTE_MS);
        let hour = minute.div_euclid(HOUR_MINUTES);
        let group = self.groups.entry(seen.fingerprint.to_owned()).or_insert_with(|| Group {
            service: seen.service.to_owned(),
            minutes: BTreeMap::new(),
            first: BTreeMap::new(),
            usual: BTreeMap::new(),
            learnt_to: hour,
            alerted: false,
        });
        let of_minute = group.minutes.entry(minute).or_default();
        *of_minute = (of_minute.0 + 1, of_minute.1.saturating_add(seen.stake_micros));
        group.first.entry(hour).or_insert_with(|| seen.id.to_owned());
    }

    /// The service has ended so many events, letters among them.
    pub fn events(&mut self, at_ms: i64, service: &str, count: u64) {
        *self.events.entry(service.to_owned()).or_default().entry(at_ms.div_euclid(MINUTE_MS)).or_default() += count;
    }

    /// What has become too much by `now_ms`: once a group, until it has been calm for an hour.
    pub fn judge(&mut self, now_ms: i64) -> Vec<Alert> {
        let minute = now_ms.div_euclid(MINUTE_MS);
        let rules = self.rules;
        let mut alerts = Vec::new();
        for (fingerprint, group) in &mut self.groups {
            group.learn(minute.div_euclid(HOUR_MINUTES));
            let (short, _) = group.within(minute, SHORT_MINUTES);
            let (long, stake_micros) = group.within(minute, HOUR_MINUTES);
            let usual = group.usual(minute.div_euclid(HOUR_MINUTES));
            let rate = short as f64 / SHORT_MINUTES as f64;
            let threshold = rules.rate_min.max(rules.factor * usual);
            let service = self.events.get(&group.service);
            let share = |letters: u64, minutes: i64| {
                let events = service.map_or(0, |events| total(events, minute, minutes));
                letters as f64 / events.max(letters).max(1) as f64
            };
            let is_spike = rate > threshold
                && share(short, SHORT_MINUTES) > rules.share_min
                && share(long, HOUR_MINUTES) > rules.share_min;
            if is_spike && !group.alerted {
                let hours = minute.div_euclid(HOUR_MINUTES) - 1..;
                let sample = group.first.range(hours).next().map(|(_, id)| id.clone()).unwrap_or_default();
                alerts.push(Alert {
                    fingerprint: fingerprint.clone(),
                    service: group.service.clone(),
                    at_ms: now_ms,
                    letters_per_minute: rate,
                    usual_per_minute: usual,
                    share: share(short, SHORT_MINUTES),
                    stake_micros,
                    sample,
                });
            }
            let is_calm = long as f64 <= threshold;
            group.alerted = is_spike || group.alerted && !is_calm;
            group.forget(minute);
        }
        for minutes in self.events.values_mut() {
            *minutes = minutes.split_off(&(minute - 2 * HOUR_MINUTES));
        }
        // A group that has nothing left and is used to nothing is as good as new.
        self.groups.retain(|_, group| !group.minutes.is_empty() || group.usual.values().any(|usual| *usual > 0.001));
        self.alerts += alerts.len() as u64;
        alerts
    }
}

fn total(minutes: &BTreeMap<i64, u64>, now: i64, back: i64) -> u64 {
    minutes.range(now - back + 1..=now).map(|(_, count)| count).sum()
}

impl Group {
    /// Letters and money within the last minutes.
    fn within(&self, minute: i64, back: i64) -> (u64, i64) {
        let window = self.minutes.range(minute - back + 1..=minute);
        window.fold((0, 0i64), |sum, (_, of)| (sum.0 + of.0, sum.1.saturating_add(of.1)))
    }

    fn usual(&self, hour: i64) -> f64 {
        self.usual.get(&hour.rem_euclid(24)).copied().unwrap_or(0.0)
    }

    /// Takes in every hour that is over.
    fn learn(&mut self, hour: i64) {
        // After a year without a letter everything is forgotten anyway.
        self.learnt_to = self.learnt_to.max(hour - 24 * 365);
        while self.learnt_to < hour {
            let from = self.learnt_to * HOUR_MINUTES;
            let letters: u64 = self.minutes.range(from..from + HOUR_MINUTES).map(|(_, of)| of.0).sum();
            let usual = self.usual.entry(self.learnt_to.rem_euclid(24)).or_insert(0.0);
            *usual = LEARN * letters as f64 / HOUR_MINUTES as f64 + (1.0 - LEARN) * *usual;
            self.learnt_to += 1;
        }
    }

    fn forget(&mut self, minute: i64) {
        self.minutes = self.minutes.split_off(&(minute - 2 * HOUR_MINUTES));
        self.first = self.first.split_off(&(minute.div_euclid(HOUR_MINUTES) - 2));
    }
}

#[cfg(test)]
#[path = "spike_tests.rs"]
mod tests;
