//! Rule P10: a view forgets what its producer no longer has, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::view::View;

static LATEST: Topic = Topic::compacted("latest", "campaign", ImpressionEvent::SCHEMA_ID);

/// Emits each campaign's last event; restates all it has but `forgotten`.
struct Latest {
    forgotten: Option<&'static str>,
}

fn event_of<'a>(campaign: &'a str, total: &Total) -> ImpressionEvent<'a> {
    ImpressionEvent {
        event_id: campaign,
        timestamp: total.count,
        campaign_id: campaign,
        creative_id: "c",
        placement_id: "p",
        user_id: None,
        bid_price_micros: 0,
        win_price_micros: total.micros,
        metadata: Map::from_pairs(&[]),
    }
}

impl Service for Latest {
    type State = Totals;
    fn spec() -> ServiceSpec {
        let (inputs, outputs) = (vec![&INPUT], vec![&LATEST]);
        ServiceSpec { name: "latest", inputs, outputs, order: Order::Strict, class: Class::Money }
    }
    fn handle(&mut self, state: &mut Totals, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        let impression: ImpressionEvent<'_> = event.decode()?;
        let key = SmolStr::new(impression.campaign_id);
        state.totals.update(&key, || Total { count: 0, micros: 0 }, |total| total.count += 1);
        let total = state.totals.get(&key).unwrap();
        effects.emit(&LATEST, &key, total.count, &event_of(&key, total));
        Ok(Handled::Done)
    }
    fn restate(&mut self, state: &Totals, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        let rows = state.totals.sorted();
        let (key, total) = rows.get(from)?;
        if self.forgotten != Some(key.as_str()) {
            effects.emit(&LATEST, key, total.count, &event_of(key, total));
        }
        Some(from + 1)
    }
}

struct Seen(Arc<Mutex<BTreeMap<String, i64>>>);

impl View for Seen {
    fn name(&self) -> &'static str {
        "seen"
    }
    fn topics(&self) -> Vec<&'static Topic> {
        vec![&LATEST]
    }
    fn apply(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        let value: ImpressionEvent<'_> = event.decode()?;
        self.0.lock().unwrap().insert(event.key_str()?.into(), value.timestamp);
        Ok(())
    }
    fn remove(&mut self, _: &'static Topic, key: &[u8]) {
        self.0.lock().unwrap().remove(std::str::from_utf8(key).unwrap());
    }
    fn publish(&mut self) {}
}

#[test]
fn a_view_follows_restatements() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let expected = |campaigns: &[usize]| -> BTreeMap<String, i64> {
            campaigns.iter().map(|n| (format!("campaign-{n}"), 10)).collect()
        };
        for (round, forgotten) in [(0, None), (1, None), (2, Some("campaign-3"))] {
            let services = vec![ServiceDef::new(move || Latest { forgotten })];
            let platform = Platform::start(env.clone(), log.clone(), services, config()).await.unwrap();
            let seen = Arc::new(Mutex::new(BTreeMap::new()));
            let age = platform.view(Box::new(Seen(seen.clone()))).unwrap();
            if round == 0 {
                produce(&log, 0, 50, "good").await;
            }
            assert!(platform.idle(LONG).await);
            env.clock.sleep(Duration::from_secs(30)).await;
            let wanted = if forgotten.is_some() { expected(&[0, 1, 2, 4]) } else { expected(&[0, 1, 2, 3, 4]) };
            assert_eq!(*seen.lock().unwrap(), wanted, "round {round}: {}", platform.bulkheads[0].stats.last_error());
            assert_eq!(age.rejected.load(std::sync::atomic::Ordering::Relaxed), 0);
            assert!(age.ms() <= 1_000);
            platform.kill();
        }
    });
}
