//! The minute table counted again from the topics it is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actors::{metadata, topics};
use runtime::commit::provenance::{HEADER, Provenance};
use runtime::log::Log;
use schemas::events as e;

use super::money::{SetAside, each_event};
use super::{Findings, each_record};

/// Counts of one campaign's minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    impressions: i64,
    clicks: i64,
    conversions: i64,
    spend_micros: i64,
    ivt_impressions: i64,
    ivt_spend_micros: i64,
}

type Minutes = BTreeMap<(String, i64), Count>;

fn minute(timestamp_ms: i64) -> i64 {
    timestamp_ms.div_euclid(60_000) * 60_000
}

/// Compares what is published with a recount.
pub fn check(log: &Arc<dyn Log>, aside: &SetAside, partitions: u32, findings: &mut Findings) {
    let mut expected = recount(log, aside, partitions, findings);
    let mut found = published(log, partitions, findings);
    // Which of a dead letter's versions counted is another question.
    if aside.any("analytics", "attributions") {
        [&mut expected, &mut found].into_iter().flat_map(BTreeMap::values_mut).for_each(|count| count.conversions = 0);
    }
    let zero = Count::default();
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).cloned().collect();
    for key in keys {
        let (want, have) = (expected.get(&key).unwrap_or(&zero), found.get(&key).unwrap_or(&zero));
        findings.expect("minutes_recounted", want == have, || {
            format!("{} minute {}: published {have:?}, counted {want:?}", key.0, key.1)
        });
    }
}

fn recount(log: &Arc<dyn Log>, aside: &SetAside, partitions: u32, findings: &mut Findings) -> Minutes {
    let mut minutes = Minutes::new();
    let lost = |topic: &str, id: &str| aside.has("analytics", topic, id);
    each_event(log, topics::IMPRESSIONS.name, partitions, findings, |record| {
        let Ok(event) = schemas::frame::decode::<e::ImpressionEvent<'_>>(record.value.unwrap_or_default()) else {
            return;
        };
        if metadata::is_test(&event.metadata) || lost("impressions", event.event_id) {
            return;
        }
        let count = minutes.entry((event.campaign_id.to_owned(), minute(event.timestamp))).or_default();
        count.impressions += 1;
        count.spend_micros += event.win_price_micros;
    });
    each_event(log, topics::CLICKS.name, partitions, findings, |record| {
        let Ok(event) = schemas::frame::decode::<e::ClickEvent<'_>>(record.value.unwrap_or_default()) else { return };
        if !lost("clicks", event.event_id) {
            minutes.entry((event.campaign_id.to_owned(), minute(event.timestamp))).or_default().clicks += 1;
        }
    });
    each_event(log, topics::FRAUD_VERDICTS.name, partitions, findings, |record| {
        let Ok(event) = schemas::frame::decode::<e::FraudVerdict<'_>>(record.value.unwrap_or_default()) else { return };
        let judged = event.verdict == e::Verdict::Givt && event.target_topic == topics::IMPRESSIONS.name;
        if judged && !lost("fraud-verdicts", event.target_event_id) {
            let price = event.metadata.get(metadata::WIN_PRICE_MICROS).and_then(|p| p.parse().ok()).unwrap_or(0);
            let count = minutes.entry((event.campaign_id.to_owned(), minute(event.timestamp))).or_default();
            count.ivt_impressions += 1;
            count.ivt_spend_micros += price;
        }
    });
    conversions(log, partitions, findings, &mut minutes);
    minutes
}

fn conversions(log: &Arc<dyn Log>, partitions: u32, findings: &mut Findings, minutes: &mut Minutes) {
    let mut newest: BTreeMap<String, (i64, i64, BTreeSet<String>)> = BTreeMap::new();
    each_event(log, topics::ATTRIBUTIONS.name, partitions, findings, |record| {
        let Ok(event) = schemas::frame::decode::<e::AttributionResult<'_>>(record.value.unwrap_or_default()) else {
            return;
        };
        let campaigns = event.touches.iter().filter(|t| t.credit_ppm > 0).map(|t| t.campaign_id.to_owned()).collect();
        let version = i64::from(event.version);
        let known = newest.get(event.conversion_id).map_or(i64::MIN, |known| known.0);
        if version > known {
            newest.insert(event.conversion_id.to_owned(), (version, event.conversion_timestamp, campaigns));
        }
    });
    for (_, timestamp_ms, campaigns) in newest.into_values() {
        for campaign in campaigns {
            minutes.entry((campaign, minute(timestamp_ms))).or_default().conversions += 1;
        }
    }
}

/// The newest row of each shard's part, added up.
fn published(log: &Arc<dyn Log>, partitions: u32, findings: &mut Findings) -> Minutes {
    let mut parts: BTreeMap<Vec<u8>, (i64, (String, i64), Count)> = BTreeMap::new();
    for partition in 0..partitions {
        let result = each_record(log, topics::CAMPAIGN_METRICS_1M.name, partition, |record| {
            let Some(from) = record.headers.get(HEADER).and_then(Provenance::decode) else { return };
            let Ok(row) = schemas::frame::decode::<e::CampaignMinute<'_>>(record.value.unwrap_or_default()) else {
                return;
            };
            let count = Count {
                impressions: row.impressions,
                clicks: row.clicks,
                conversions: row.conversions,
                spend_micros: row.spend_micros,
                ivt_impressions: row.ivt_impressions,
                ivt_spend_micros: row.ivt_spend_micros,
            };
            let key = record.key.unwrap_or_default().to_vec();
            let part = parts.entry(key).or_insert((-1, (row.campaign_id.to_owned(), row.window_start), count));
            if from.n > part.0 {
                *part = (from.n, (row.campaign_id.to_owned(), row.window_start), count);
            }
        });
        if let Err(error) = result {
            findings.broken("minutes_recounted", error.to_string());
        }
    }
    let mut minutes = Minutes::new();
    for (_, key, part) in parts.into_values() {
        let count = minutes.entry(key).or_default();
        count.impressions += part.impressions;
        count.clicks += part.clicks;
        count.conversions += part.conversions;
        count.spend_micros += part.spend_micros;
        count.ivt_impressions += part.ivt_impressions;
        count.ivt_spend_micros += part.ivt_spend_micros;
    }
    minutes
}
