//! The minute table, derived again. A shard tells its part of a minute with a tick; what changed since may be untold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::billing::is_test;
use super::datum::Datum;
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

const MINUTE_MS: i64 = 60_000;
const GRACE_MS: i64 = 2 * MINUTE_MS;
const IDLE_MS: i64 = 30_000;
const HORIZON_MS: i64 = 24 * 60 * MINUTE_MS;
const TOLD_A_TICK: usize = 5_000;
const CLOSED_A_TICK: usize = 10_000;

/// Campaign and start of the minute.
type Key = (String, i64);

/// One campaign's minute, as far as this shard saw it.
#[derive(Clone, Default)]
struct Minute {
    impressions: i64,
    clicks: i64,
    conversions: i64,
    spend: i64,
    invalid: i64,
    invalid_spend: i64,
    revision: i64,
    is_final: bool,
}

/// State of one shard.
pub struct Analytics {
    partition: u32,
    minutes: BTreeMap<Key, Minute>,
    /// Not final, by the time at which they will be.
    open: BTreeMap<Key, i64>,
    open_by_time: BTreeSet<(i64, Key)>,
    /// Not told as they stand, by processing time since when.
    changed: BTreeMap<Key, i64>,
    /// Conversion: version, minute, campaigns.
    conversions: HashMap<String, (i64, i64, BTreeSet<String>)>,
    /// Greatest event time in whole seconds, and when it moved.
    clock: Option<(i64, i64)>,
    /// What a key's newest record may be: as last told, and as it stood after each commit since.
    told: BTreeMap<Key, Vec<Datum>>,
    touched: BTreeSet<Key>,
}

impl Analytics {
    pub fn new(partition: u32) -> Self {
        Self {
            partition,
            minutes: BTreeMap::new(),
            open: BTreeMap::new(),
            open_by_time: BTreeSet::new(),
            changed: BTreeMap::new(),
            conversions: HashMap::new(),
            clock: None,
            told: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }
}

impl Rules for Analytics {
    fn event(&mut self, event: &Event<'_>, _: &mut Outputs) -> Ending {
        let counted = event.value().and_then(|value| match event.topic {
            "impressions" => self.impression(value, event.now_ms),
            "clicks" => self.click(value, event.now_ms),
            "attributions" => self.conversion(value, event.now_ms),
            _ => self.verdict(value, event.now_ms),
        });
        counted.err().unwrap_or(Ending::Done)
    }

    fn tick(&mut self, now_ms: i64, _: &mut Outputs) {
        self.finish_minutes(now_ms);
        let mut due: Vec<(i64, Key)> = self.changed.iter().map(|(key, since_ms)| (*since_ms, key.clone())).collect();
        due.sort();
        for (since_ms, key) in due.into_iter().take(TOLD_A_TICK) {
            if since_ms <= now_ms {
                self.tell(&key);
            }
        }
        self.expire();
    }

    /// A restatement tells what stands after a commit, told or not.
    fn committed(&mut self, _: i64, _: &mut Outputs) {
        for key in std::mem::take(&mut self.touched) {
            if let Some(minute) = self.minutes.get(&key).filter(|minute| minute.revision > 0) {
                let row = row(&key, minute);
                self.told.entry(key).or_default().push(row);
            }
        }
    }

    fn finish(&mut self, out: &mut Outputs) {
        for ((campaign, minute_ms), may_be) in std::mem::take(&mut self.told) {
            out.newest("campaign-metrics-1m", format!("{campaign}:{minute_ms}@{}", self.partition), may_be);
        }
    }
}

impl Analytics {
    fn impression(&mut self, impression: &Datum, now_ms: i64) -> Result<(), Ending> {
        if is_test(impression) {
            return Ok(());
        }
        let (price, at_ms) = (impression.int("win_price_micros"), impression.int("timestamp"));
        if price < 0 {
            return Err(Ending::Dead("SEMANTIC_VIOLATION"));
        }
        let key = self.key(impression, at_ms)?;
        self.advance(at_ms, now_ms);
        self.change(&key, now_ms, |minute| {
            minute.impressions += 1;
            minute.spend += price;
        });
        Ok(())
    }

    fn click(&mut self, click: &Datum, now_ms: i64) -> Result<(), Ending> {
        if is_test(click) {
            return Ok(());
        }
        let at_ms = click.int("timestamp");
        let key = self.key(click, at_ms)?;
        self.advance(at_ms, now_ms);
        self.change(&key, now_ms, |minute| minute.clicks += 1);
        Ok(())
    }

    fn verdict(&mut self, verdict: &Datum, now_ms: i64) -> Result<(), Ending> {
        if verdict.text("verdict") != "GIVT" || verdict.text("target_topic") != "impressions" {
            return Ok(());
        }
        let price = verdict.meta("win_price_micros").and_then(|text| text.parse::<i64>().ok());
        let price = price.filter(|price| *price >= 0).ok_or(Ending::Dead("REFERENCE_MISSING"))?;
        let key = self.key(verdict, verdict.int("timestamp"))?;
        self.change(&key, now_ms, |minute| {
            minute.invalid += 1;
            minute.invalid_spend += price;
        });
        Ok(())
    }

    /// The newest version of an attribution counts, in the minute of the first.
    fn conversion(&mut self, result: &Datum, now_ms: i64) -> Result<(), Ending> {
        let (id, version) = (result.text("conversion_id"), result.int("version"));
        let known = self.conversions.get(id).cloned();
        if known.as_ref().is_some_and(|known| known.0 >= version) {
            return Ok(());
        }
        let minute_ms = known.as_ref().map_or(minute_of(result.int("conversion_timestamp")), |known| known.1);
        self.check_age(minute_ms)?;
        let credited = result.list("touches").iter().filter(|touch| touch.int("credit_ppm") > 0);
        let campaigns: BTreeSet<String> = credited.map(|touch| touch.text("campaign_id").to_owned()).collect();
        let before = known.map(|known| known.2).unwrap_or_default();
        for gone in before.difference(&campaigns) {
            self.change(&(gone.clone(), minute_ms), now_ms, |minute| minute.conversions -= 1);
        }
        for new in campaigns.difference(&before) {
            self.change(&(new.clone(), minute_ms), now_ms, |minute| minute.conversions += 1);
        }
        self.conversions.insert(id.to_owned(), (version, minute_ms, campaigns));
        Ok(())
    }

    fn key(&self, event: &Datum, at_ms: i64) -> Result<Key, Ending> {
        let campaign = event.text("campaign_id");
        if campaign.is_empty() {
            return Err(Ending::Dead("SEMANTIC_VIOLATION"));
        }
        let minute_ms = minute_of(at_ms);
        self.check_age(minute_ms)?;
        Ok((campaign.to_owned(), minute_ms))
    }

    fn check_age(&self, minute_ms: i64) -> Result<(), Ending> {
        let is_closed = self.clock.is_some_and(|(event_ms, _)| expires_ms(minute_ms) <= event_ms);
        if is_closed { Err(Ending::Dead("BEYOND_HORIZON")) } else { Ok(()) }
    }

    fn advance(&mut self, at_ms: i64, now_ms: i64) {
        let event_ms = at_ms.div_euclid(1_000) * 1_000;
        if self.clock.is_none_or(|(known_ms, _)| event_ms > known_ms) {
            self.clock = Some((event_ms, now_ms));
        }
    }

    fn change(&mut self, key: &Key, now_ms: i64, change: impl FnOnce(&mut Minute)) {
        if !self.minutes.contains_key(key) {
            let final_ms = key.1 + MINUTE_MS + GRACE_MS;
            self.open.insert(key.clone(), final_ms);
            self.open_by_time.insert((final_ms, key.clone()));
        }
        change(self.minutes.entry(key.clone()).or_default());
        self.changed.entry(key.clone()).or_insert(now_ms);
        self.touched.insert(key.clone());
    }

    fn finish_minutes(&mut self, now_ms: i64) {
        let Some((event_ms, moved_ms)) = self.clock else { return };
        let until_ms = event_ms + (now_ms - moved_ms - IDLE_MS).max(0);
        for _ in 0..CLOSED_A_TICK {
            let Some((final_ms, key)) = self.open_by_time.first().cloned() else { return };
            if final_ms > until_ms {
                return;
            }
            self.open_by_time.pop_first();
            self.open.remove(&key);
            self.change(&key, now_ms, |minute| minute.is_final = true);
        }
    }

    fn tell(&mut self, key: &Key) {
        self.changed.remove(key);
        if let Some(minute) = self.minutes.get_mut(key) {
            minute.revision += 1;
            self.told.insert(key.clone(), vec![row(key, minute)]);
            self.touched.remove(key);
        }
    }

    /// Minutes that no event may change any more, the oldest first; then conversions of such minutes.
    fn expire(&mut self) {
        let Some((event_ms, _)) = self.clock else { return };
        let mut over: Vec<(i64, Key)> = self.minutes.keys().map(|key| (expires_ms(key.1), key.clone())).collect();
        over.retain(|(at_ms, _)| *at_ms <= event_ms);
        over.sort();
        for (_, key) in over.into_iter().take(CLOSED_A_TICK) {
            if let Some(final_ms) = self.open.remove(&key) {
                self.open_by_time.remove(&(final_ms, key.clone()));
            }
            if self.changed.contains_key(&key) {
                self.tell(&key);
            }
            self.minutes.remove(&key);
        }
        self.conversions.retain(|_, (_, minute_ms, _)| expires_ms(*minute_ms) > event_ms);
    }
}

fn minute_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(MINUTE_MS) * MINUTE_MS
}

fn expires_ms(minute_ms: i64) -> i64 {
    minute_ms + MINUTE_MS + HORIZON_MS
}

fn row((campaign, minute_ms): &Key, minute: &Minute) -> Datum {
    record! {
        "campaign_id": campaign.as_str(),
        "window_start": *minute_ms,
        "impressions": minute.impressions,
        "clicks": minute.clicks,
        "conversions": minute.conversions,
        "spend_micros": minute.spend,
        "ivt_impressions": minute.invalid,
        "ivt_spend_micros": minute.invalid_spend,
        "revision": minute.revision,
        "final": minute.is_final,
        "metadata": Datum::Map(Default::default()),
    }
}
