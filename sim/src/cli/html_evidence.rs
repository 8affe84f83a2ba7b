//! The page of `compare` below the months: evidence that the platform's column is no accident.

use std::fmt::Write as _;

use super::compare::Report;
use super::evidence::Evidence;
use super::html::table;
use super::html_services::{slowness, waiting};

/// Seconds, as the rows of the distribution begin.
const BUCKETS_S: [f64; 7] = [0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 90.0];

/// All sections.
pub fn add(page: &mut String, report: &Report, evidence: &Evidence) {
    if let Some((scenario, lags)) = &evidence.longest {
        let fault = &scenario.faults[0];
        let _ = write!(
            page,
            "<h2>The longest hang, in the platform</h2><p>{} stood still for {:.0} s.</p>",
            fault.service,
            fault.for_ms as f64 / 1e3
        );
        waiting(page, scenario, lags);
        slowness(page, scenario, lags);
    }
    recovery(page, report, evidence);
    let _ = write!(
        page,
        "<h2>Every kind of fault</h2><p>{} seeds beside the months, with faults of all kinds at once: {} broken invariants.</p>",
        evidence.seeds, evidence.violations
    );
    conservation(page, evidence);
    coverage(page, evidence);
    planted(page, evidence);
}

fn recovery(page: &mut String, report: &Report, evidence: &Evidence) {
    let count = |all: &[f64], from: f64, to: f64| all.iter().filter(|s| (from..to).contains(*s)).count().to_string();
    let rows: Vec<Vec<String>> = BUCKETS_S
        .iter()
        .enumerate()
        .map(|(index, from)| {
            let to = BUCKETS_S.get(index + 1).copied();
            let name = to.map_or(format!("{from} s and more"), |to| format!("{from} to {to} s"));
            let to = to.unwrap_or(f64::INFINITY);
            vec![name, count(&report.recoveries_s, *from, to), count(&evidence.recoveries_s, *from, to)]
        })
        .collect();
    table(page, "Time to recover", &["from the last fault to calm", "windows of the months", "seeds"], &rows);
}

fn conservation(page: &mut String, evidence: &Evidence) {
    let rows: Vec<Vec<String>> = evidence
        .conserved
        .iter()
        .map(|(topic, one)| {
            let missing = i128::from(one.were) - i128::from(one.stand) - i128::from(one.set_aside);
            vec![
                topic.clone(),
                one.were.to_string(),
                one.stand.to_string(),
                one.set_aside.to_string(),
                missing.to_string(),
            ]
        })
        .collect();
    let heads = ["were true = stand + set aside", "were true", "stand once", "set aside", "missing or double"];
    table(page, "Conservation", &heads, &rows);
}

fn coverage(page: &mut String, evidence: &Evidence) {
    let services: std::collections::BTreeSet<&String> = evidence.coverage.values().flat_map(|of| of.keys()).collect();
    let mut heads = vec!["kind", "took hold"];
    heads.extend(services.iter().map(|name| if name.is_empty() { "world" } else { name.as_str() }));
    let rows: Vec<Vec<String>> = evidence
        .coverage
        .iter()
        .map(|(kind, of)| {
            let fired = evidence.fired.get(kind).copied().unwrap_or(0);
            let mut row = vec![kind.clone(), fired.to_string()];
            row.extend(services.iter().map(|name| of.get(*name).map_or(String::new(), u64::to_string)));
            row
        })
        .collect();
    table(page, "Faults that were planned, by service", &heads, &rows);
}

fn planted(page: &mut String, evidence: &Evidence) {
    let rows: Vec<Vec<String>> = evidence
        .planted
        .iter()
        .map(|bug| {
            let verdict = match (bug.found, &bug.explained) {
                (true, _) => format!("found by {}", bug.invariant.replace('_', " ")),
                (false, Some(why)) => format!("survived: {why}"),
                (false, None) => "survived within 5 s".to_owned(),
            };
            vec![bug.name.clone(), verdict, bug.seeds_to_find.to_string(), format!("{:.1}", bug.cpu_s_to_find)]
        })
        .collect();
    let found = evidence.planted.iter().filter(|bug| bug.found).count();
    let title = format!("Planted bugs: {found} of {} found", evidence.planted.len());
    table(page, &title, &["bug", "verdict", "seeds", "CPU s"], &rows);
}
