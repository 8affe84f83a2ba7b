//! Who earned each conversion, derived again: the click that the advertiser names, else the last valid one before it.

use std::collections::BTreeMap;

use super::billing::is_test;
use super::datum::Datum;
use super::intake::{Clock, DAY_MS, MINUTE_MS, Timed};
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

const WINDOW_MS: i64 = 30 * DAY_MS;
const OPEN_MS: i64 = DAY_MS;
const SKEW_MS: i64 = 5 * MINUTE_MS;
const WHOLE_PPM: i64 = 1_000_000;
const TOUCHES_MAX: usize = 64;
const CONVERSIONS_MAX: usize = 32;
const FORGOTTEN_AN_EVENT: usize = 2;
const FORGOTTEN_A_TICK: usize = 10_000;

/// Time, then id: later in this order is the later one.
type At = (i64, String);

#[derive(Clone)]
struct Touch {
    campaign: String,
    invalid: bool,
}

#[derive(Clone)]
struct Conversion {
    event: Datum,
    version: i64,
    credited: Option<String>,
}

#[derive(Clone, Default)]
struct Person {
    touches: BTreeMap<At, Touch>,
    conversions: BTreeMap<At, Conversion>,
}

/// State of one shard.
#[derive(Default)]
pub struct Attribution {
    people: Timed<String, Person>,
    clock: Clock,
}

impl Rules for Attribution {
    fn event(&mut self, event: &Event<'_>, out: &mut Outputs) -> Ending {
        let taken = event.value().and_then(|value| {
            let key = event.key_text()?;
            match event.topic {
                "clicks" => self.click(key, value, event.now_ms, out),
                "conversions" => self.conversion(key, value, event.now_ms, out),
                _ => self.verdict(key, value, event.now_ms, out),
            }
        });
        if let Err(ending) = taken {
            return ending;
        }
        self.people.forget(self.clock.ms(), FORGOTTEN_AN_EVENT);
        Ending::Done
    }

    fn tick(&mut self, _: i64, _: &mut Outputs) {
        self.people.forget(self.clock.ms(), FORGOTTEN_A_TICK);
    }
}

impl Attribution {
    fn oldest_open_ms(&self) -> i64 {
        self.clock.ms().saturating_sub(OPEN_MS)
    }

    fn oldest_touch_ms(&self) -> i64 {
        self.oldest_open_ms().saturating_sub(WINDOW_MS)
    }

    fn click(&mut self, key: &str, click: &Datum, now_ms: i64, out: &mut Outputs) -> Result<(), Ending> {
        let at_ms = click.int("timestamp");
        if is_test(click) {
            return Ok(());
        }
        if at_ms < self.oldest_touch_ms() {
            return Err(Ending::Dead("BEYOND_HORIZON"));
        }
        self.clock.advance(at_ms);
        let campaign = click.text("campaign_id").to_owned();
        let at = (at_ms, click.text("event_id").to_owned());
        self.change(key, now_ms, out, |person| {
            person.touches.entry(at).or_insert(Touch { campaign, invalid: false });
        });
        Ok(())
    }

    fn conversion(&mut self, key: &str, event: &Datum, now_ms: i64, out: &mut Outputs) -> Result<(), Ending> {
        if is_test(event) {
            return Ok(());
        }
        let at = (event.int("timestamp"), event.text("event_id").to_owned());
        self.clock.advance(at.0);
        let conversion = Conversion { event: event.clone(), version: 0, credited: None };
        self.change(key, now_ms, out, |person| {
            person.conversions.entry(at).or_insert(conversion);
        });
        Ok(())
    }

    fn verdict(&mut self, key: &str, verdict: &Datum, now_ms: i64, out: &mut Outputs) -> Result<(), Ending> {
        let at = (verdict.int("timestamp"), verdict.text("target_event_id").to_owned());
        let is_ours = verdict.text("verdict") == "GIVT" && verdict.text("target_topic") == "clicks";
        if !is_ours || at.0 < self.oldest_touch_ms() {
            return Ok(());
        }
        let campaign = verdict.text("campaign_id").to_owned();
        self.change(key, now_ms, out, |person| {
            person.touches.entry(at).or_insert(Touch { campaign, invalid: true }).invalid = true;
        });
        Ok(())
    }

    /// Changes a person, credits what is open again, tells what moved, forgets what is over.
    fn change(&mut self, key: &str, now_ms: i64, out: &mut Outputs, change: impl FnOnce(&mut Person)) {
        let (oldest_touch_ms, oldest_open_ms) = (self.oldest_touch_ms(), self.oldest_open_ms());
        let mut person = self.people.remove(&key.to_owned()).unwrap_or_default();
        person.conversions.retain(|at, _| at.0 >= oldest_open_ms);
        change(&mut person);
        let Person { touches, conversions } = &mut person;
        for (at, conversion) in conversions.iter_mut() {
            let credited = credited(touches, at.0, conversion.event.opt_text("click_event_id"));
            let id = credited.map(|(at, _)| at.1.clone());
            if conversion.version > 0 && conversion.credited == id {
                continue;
            }
            conversion.version += 1;
            conversion.credited = id;
            tell(key, at, conversion, credited, now_ms, out);
        }
        while touches.len() > TOUCHES_MAX {
            touches.pop_first();
        }
        touches.retain(|at, _| at.0 >= oldest_touch_ms);
        while conversions.len() > CONVERSIONS_MAX {
            conversions.pop_first();
        }
        conversions.retain(|at, _| at.0 >= oldest_open_ms);
        let of_touch = touches.keys().next_back().map(|at| at.0.saturating_add(WINDOW_MS + OPEN_MS));
        let of_open = conversions.keys().next_back().map(|at| at.0.saturating_add(OPEN_MS));
        let expires_ms = of_touch.max(of_open).map_or(i64::MIN, |last_ms| last_ms.saturating_add(1));
        self.people.put(key.to_owned(), expires_ms, person);
    }
}

/// The touch that a conversion at `at_ms` goes to. Both ends of the window are in it.
fn credited<'a>(touches: &'a BTreeMap<At, Touch>, at_ms: i64, named: Option<&str>) -> Option<(&'a At, &'a Touch)> {
    let in_window = |(at, touch): &(&At, &Touch)| !touch.invalid && at_ms.saturating_sub(at.0) <= WINDOW_MS;
    let named = named.and_then(|id| touches.iter().find(|(at, _)| at.1 == id));
    let named = named.filter(|touch| in_window(touch) && touch.0.0 <= at_ms.saturating_add(SKEW_MS));
    named.or_else(|| touches.iter().rev().filter(|(at, _)| at.0 <= at_ms).find(in_window))
}

fn tell(
    key: &str,
    (at_ms, id): &At,
    conversion: &Conversion,
    credited: Option<(&At, &Touch)>,
    now_ms: i64,
    out: &mut Outputs,
) {
    let touch = |(at, touch): (&At, &Touch)| {
        record! {
            "event_id": at.1.as_str(),
            "kind": "click",
            "campaign_id": touch.campaign.as_str(),
            "timestamp": at.0,
            "credit_ppm": WHOLE_PPM,
        }
    };
    let event = &conversion.event;
    let result = record! {
        "conversion_id": id.as_str(),
        "version": conversion.version,
        "model": "last_touch",
        "computed_at": now_ms,
        "conversion_timestamp": *at_ms,
        "touches": Datum::List(credited.map(touch).into_iter().collect()),
        "unattributed_ppm": if credited.is_none() { WHOLE_PPM } else { 0 },
        "metadata": record! {
            "advertiser_id": event.text("advertiser_id"),
            "conversion_type": event.text("conversion_type"),
            "currency": event.text("currency"),
            "value_micros": event.int("value_micros").to_string(),
        },
    };
    out.emit("attributions", format!("{id} version {}", conversion.version), key, *at_ms, result);
}
