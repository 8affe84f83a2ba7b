use std::collections::HashMap;

use super::*;
use crate::fraud::lists::{AgentClass, Lists, NetworkClass};
use crate::openrtb::{self, BidRequest};
use crate::testdata;

fn lines(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut generator = Generator::new(seed, 1_700_000_000_000_000);
    (0..count).map(|_| generator.next_line().to_vec()).collect()
}

/// Rates of a file, each counted the same way for real and generated lines. Ids are only compared with each other.
#[derive(Debug)]
struct Rates(Vec<(String, f64)>);

fn rates(lines: &[Vec<u8>]) -> Rates {
    let requests: Vec<BidRequest<'_>> = lines.iter().map(|line| openrtb::parse(line).expect("valid")).collect();
    let n = requests.len() as f64;
    let mut all: Vec<(String, f64)> = Vec::new();
    let mut share = |name: &str, wanted: &dyn Fn(&BidRequest<'_>) -> bool| {
        all.push((name.to_owned(), requests.iter().filter(|request| wanted(request)).count() as f64 / n));
    };
    share("no user", &|r| r.user_id().is_none());
    share("no site", &|r| r.site_absent());
    share("no address", &|r| r.network().is_none());
    share("no agent", &|r| r.device.ua.is_none());
    share("no blocked advertisers", &|r| r.badv.is_empty());
    for size in [(300, 250), (728, 90), (160, 600), (336, 280), (468, 60), (120, 600)] {
        share(&format!("size {size:?}"), &|r| r.imp[0].sizes().next() == Some(size));
    }
    for country in ["USA", "CAN"] {
        share(country, &|r| r.country() == Some(country));
    }
    for family in ["Chrome/", "MSIE 7", "MSIE 8", "MSIE 9", "Firefox/", "Android", "iPhone", "iPad"] {
        share(family, &|r| r.device.ua.as_deref().is_some_and(|agent| agent.contains(family)));
    }
    for region in ["CA", "NY", "IL", "ON"] {
        share(&format!("region {region}"), &|r| {
            r.device.geo.as_ref().is_some_and(|geo| geo.region.as_deref() == Some(region))
        });
    }
    let repeated: [(&str, Vec<String>); 4] = [
        ("users", requests.iter().filter_map(|r| r.user_id().map(str::to_owned)).collect()),
        ("networks", requests.iter().filter_map(|r| r.network().map(|network| network.to_string())).collect()),
        ("agents", requests.iter().filter_map(|r| r.device.ua.as_deref().map(str::to_owned)).collect()),
        ("domains", requests.iter().filter_map(|r| r.domain().map(str::to_owned)).collect()),
    ];
    for (name, values) in &repeated {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        values.iter().for_each(|value| *counts.entry(value).or_default() += 1);
        let total = values.len() as f64;
        all.push((format!("{name}: distinct"), counts.len() as f64 / total));
        all.push((format!("{name}: most frequent"), counts.values().copied().max().unwrap_or(0) as f64 / total));
    }
    all.push(("mean bytes / 1000".into(), lines.iter().map(Vec::len).sum::<usize>() as f64 / n / 1_000.0));
    let times: Vec<i64> = requests.iter().filter_map(|request| request.ext.ts_us).collect();
    times_of(&times, &mut all);
    Rates(all)
}

fn times_of(times: &[i64], all: &mut Vec<(String, f64)>) {
    let mut latest = i64::MIN;
    let mut behind = Vec::new();
    for &time in times {
        if time < latest {
            behind.push(latest - time);
        }
        latest = latest.max(time);
    }
    behind.sort_unstable();
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let mut gaps: Vec<i64> = sorted.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let at = |values: &[i64], part: f64| values[((values.len() - 1) as f64 * part) as usize] as f64 / 10_000.0;
    let span_s = (sorted[sorted.len() - 1] - sorted[0]) as f64 / 1e6;
    all.push(("thousands a second".into(), times.len() as f64 / span_s / 1_000.0));
    all.push(("behind the latest".into(), behind.len() as f64 / times.len() as f64));
    all.push(("behind by, median / 10 ms".into(), at(&behind, 0.5)));
    all.push(("behind by, p99 / 100 ms".into(), at(&behind, 0.99) / 10.0));
    all.push(("gap, median / 10 ms".into(), at(&gaps, 0.5)));
    all.push(("gap, p99 / 10 ms".into(), at(&gaps, 0.99)));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(lines(5, 300), lines(5, 300));
    assert_ne!(lines(5, 300), lines(6, 300));
}

#[test]
fn ids_are_unique_and_requests_valid() {
    let lines = lines(5, 5_000);
    let mut ids: Vec<_> = lines.iter().map(|line| openrtb::parse(line).expect("valid").id.into_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), lines.len());
    for line in &lines {
        serde_json::from_slice::<serde_json::Value>(line).expect("JSON");
    }
}

#[test]
fn defects_that_services_must_find_are_there() {
    let lines = lines(5, 20_000);
    let lists = Lists::builtin();
    let requests: Vec<_> = lines.iter().map(|line| openrtb::parse(line).expect("valid")).collect();
    let count = |wanted: &dyn Fn(&BidRequest<'_>) -> bool| requests.iter().filter(|request| wanted(request)).count();
    let class =
        |request: &BidRequest<'_>| request.network().and_then(|network| lists.networks.class_of(network.address()));
    assert!(count(&|request| lists.user_agent(request.device.ua.as_deref()) == AgentClass::Known) > 10);
    assert!(count(&|request| class(request) == Some(NetworkClass::DataCentre)) > 100);
    // One id from so many networks is nobody's.
    let mut networks: HashMap<&str, Vec<_>> = HashMap::new();
    for request in &requests {
        if let (Some(user), Some(network)) = (request.user_id(), request.network()) {
            let seen = networks.entry(user).or_default();
            if !seen.contains(&network) {
                seen.push(network);
            }
        }
    }
    let mut spread: Vec<usize> = networks.values().map(Vec::len).collect();
    spread.sort_unstable();
    assert!(spread[spread.len() - 1] > 200 && spread[spread.len() - 2] < 5, "one placeholder id");
}

#[test]
fn rates_are_those_of_the_recorded_file() {
    let Some(recorded) = testdata::recorded_requests() else { return };
    let (real, ours) = (rates(&recorded), rates(&lines(5, recorded.len())));
    let mut wrong = Vec::new();
    for ((name, expected), (_, found)) in real.0.iter().zip(&ours.0) {
        // A fifth, or one and a half percentage points: shape, not a copy.
        if (found - expected).abs() > (expected * 0.2).max(0.015) {
            wrong.push(format!("{name}: recorded {expected:.4}, generated {found:.4}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
