//! Verdicts, derived again: agents, networks, slots nobody can see, and clicks that follow each other too fast.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::billing::is_test;
use super::datum::Datum;
use super::intake::{Clock, Id, MINUTE_MS, Timed};
use super::lists::{Agent, Lists, Network};
use super::outputs::Outputs;
use super::replay::{Ending, Event, Rules};
use crate::record;

const DOUBLE_CLICK_MS: i64 = 2_000;
const MEMORY_MS: i64 = 10 * MINUTE_MS;
const CLICKS_MAX: usize = 16;
const FORGOTTEN_AN_EVENT: usize = 2;
const FORGOTTEN_A_TICK: usize = 10_000;
/// Rules that only raise a suspicion.
const SUSPICIONS: [&str; 2] = ["suspect_bot", "proxy_network"];

/// Names of the rules that an event breaks.
type Broken = BTreeSet<&'static str>;

/// A click that may show another one to be a double.
#[derive(Clone)]
struct Click {
    campaign: String,
    invalid: bool,
}

/// State of one shard.
pub struct Fraud {
    lists: Rc<Lists>,
    /// Clicks of one person on one creative, by time, then id.
    groups: Timed<Id, BTreeMap<(i64, String), Click>>,
    clock: Clock,
}

impl Fraud {
    pub fn new(lists: Rc<Lists>) -> Self {
        Self { lists, groups: Timed::default(), clock: Clock::default() }
    }
}

impl Rules for Fraud {
    fn event(&mut self, event: &Event<'_>, out: &mut Outputs) -> Ending {
        let judged = event.value().and_then(|value| {
            if is_test(value) {
                return Ok(());
            }
            let key = event.key_text()?;
            if event.topic == "impressions" {
                self.impression(key, value, out);
            } else {
                self.click(key, value, out);
            }
            Ok(())
        });
        judged.err().unwrap_or(Ending::Done)
    }

    fn tick(&mut self, _: i64, _: &mut Outputs) {
        self.forget(FORGOTTEN_A_TICK);
    }
}

impl Fraud {
    fn impression(&self, key: &str, impression: &Datum, out: &mut Outputs) {
        let mut broken = self.agent_and_network(impression);
        if matches!(impression.meta("ad_size"), Some("0x0" | "1x1")) {
            broken.insert("invisible_slot");
        }
        let mut context = BTreeMap::new();
        context.insert("win_price_micros".to_owned(), impression.int("win_price_micros").to_string());
        for name in ["auction_id", "bid_id"] {
            context.extend(impression.meta(name).map(|value| (name.to_owned(), value.to_owned())));
        }
        let (id, campaign) = (impression.text("event_id"), impression.text("campaign_id"));
        self.tell("impressions", key, (impression.int("timestamp"), id), campaign, &broken, context, out);
    }

    fn click(&mut self, key: &str, click: &Datum, out: &mut Outputs) {
        let mut broken = self.agent_and_network(click);
        let (at_ms, id, campaign) = (click.int("timestamp"), click.text("event_id"), click.text("campaign_id"));
        let group_id = group_id(key, click);
        let mut group = self.groups.remove(&group_id).unwrap_or_default();
        let mut follower = None;
        if !group.contains_key(&(at_ms, id.to_owned())) {
            let here = (at_ms, id.to_owned());
            let before = group.range(..here.clone()).next_back().map(|(at, _)| at.0);
            let double = before.is_some_and(|before_ms| at_ms - before_ms <= DOUBLE_CLICK_MS);
            let after = group.range_mut(here.clone()..).next();
            if let Some((at, after)) = after.filter(|(at, after)| !after.invalid && at.0 - at_ms <= DOUBLE_CLICK_MS) {
                after.invalid = true;
                follower = Some((at.clone(), after.campaign.clone()));
            }
            let invalid = double || is_invalid(&broken);
            group.insert(here, Click { campaign: campaign.to_owned(), invalid });
            while group.len() > CLICKS_MAX {
                group.pop_first();
            }
            if double {
                broken.insert("double_click");
            }
        }
        let last_ms = group.keys().next_back().map_or(at_ms, |at| at.0);
        self.groups.put(group_id, last_ms, group);
        self.clock.advance(at_ms);
        self.forget(FORGOTTEN_AN_EVENT);
        if let Some(((after_ms, after_id), campaign)) = follower {
            let broken = Broken::from(["double_click"]);
            self.tell("clicks", key, (after_ms, &after_id), &campaign, &broken, BTreeMap::new(), out);
        }
        let context = click.meta("bid_id").map(|bid| ("bid_id".to_owned(), bid.to_owned())).into_iter().collect();
        self.tell("clicks", key, (at_ms, id), campaign, &broken, context, out);
    }

    fn forget(&mut self, limit: usize) {
        self.groups.forget(self.clock.ms().saturating_sub(MEMORY_MS), limit);
    }

    fn agent_and_network(&self, event: &Datum) -> Broken {
        let mut broken = Broken::new();
        let (agent, address) = (event.meta("ua"), event.meta("ip"));
        match agent.filter(|agent| !agent.trim().is_empty()) {
            Some(agent) => {
                broken.extend(match self.lists.agent(agent) {
                    Agent::Known => Some("known_bot"),
                    Agent::Suspect => Some("suspect_bot"),
                    Agent::Unlisted => None,
                });
            }
            // Neither agent nor address: nothing was forwarded, and nothing can be said.
            None if (agent.is_some() || address.is_some()) && event.meta("source") != Some("server") => {
                broken.insert("empty_agent");
            }
            None => {}
        }
        let network = address.and_then(|address| self.lists.network(address.split('/').next().unwrap_or_default()));
        broken.extend(network.map(|network| match network {
            Network::Proxy => "proxy_network",
            Network::Crawler => "crawler_network",
            Network::DataCentre => "data_centre_network",
            Network::Fraudulent => "fraudulent_network",
        }));
        broken
    }

    #[allow(clippy::too_many_arguments)] // the parts of a verdict
    fn tell(
        &self,
        topic: &str,
        key: &str,
        (at_ms, id): (i64, &str),
        campaign: &str,
        broken: &Broken,
        context: BTreeMap<String, String>,
        out: &mut Outputs,
    ) {
        if broken.is_empty() {
            return;
        }
        let (verdict, score) = if is_invalid(broken) { ("GIVT", 1.0) } else { ("SIVT_SUSPECT", 0.5) };
        let value = record! {
            "target_event_id": id,
            "target_topic": topic,
            "timestamp": at_ms,
            "verdict": verdict,
            "rules": broken.iter().copied().collect::<Vec<_>>(),
            "score": Datum::Float(score),
            "ruleset_version": format!("rules-1/{}", self.lists.version),
            "campaign_id": campaign,
            "metadata": context,
        };
        out.emit("fraud-verdicts", id, key, at_ms, value);
    }
}

fn is_invalid(broken: &Broken) -> bool {
    broken.iter().any(|rule| !SUSPICIONS.contains(rule))
}

/// Who clicked on what, from which browser. An id that is no person counts for nothing.
fn group_id(key: &str, click: &Datum) -> Id {
    let is_placeholder = click.meta("sentinel_user").is_some();
    let person = if is_placeholder { click.text("impression_event_id") } else { key };
    let browser = [click.meta("ip").unwrap_or_default(), click.meta("ua").unwrap_or_default()];
    let mut hash = Sha256::new();
    for part in [person, click.text("creative_id"), browser[0], browser[1]] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut id = Id::default();
    id.copy_from_slice(&hash.finalize()[..16]);
    id
}
