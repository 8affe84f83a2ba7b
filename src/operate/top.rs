//! What `bulkhead top` shows: two looks at one process, and what happened between them. Pure; asking and drawing are elsewhere.

use serde_json::{Value, json};

use crate::demo::screen::{Style, count};

const BAR_CELLS: usize = 16;
/// A bar is full at this many records, unless somebody is further behind.
const BAR_FULL: u64 = 1_000;

/// One look: `/actors` and `/lag`, and when, microseconds of any clock.
#[derive(Clone, Debug)]
pub struct Look {
    pub at_us: u64,
    pub actors: Value,
    pub lag: Value,
}

/// One service between two looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub service: String,
    /// As the supervision tree says it; a pause or a fault before it.
    pub state: String,
    pub is_well: bool,
    pub events_per_s: u64,
    pub lag: u64,
    /// Age of the oldest record that is not settled, seconds.
    pub oldest_s: f64,
    pub queue_bytes: u64,
    /// Events that wait for their next attempt.
    pub parked: u64,
    /// What is handled longest, ms.
    pub handling_ms: Option<u64>,
    pub restarts: u64,
    pub last_error: Option<String>,
}

fn all(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

/// The service of the same name, in another list.
fn named<'a>(list: &'a Value, service: &str) -> Option<&'a Value> {
    all(list).find(|row| row["service"].as_str() == Some(service))
}

/// One row a service, in the topology's order.
pub fn rows(before: &Look, now: &Look) -> Vec<Row> {
    let passed_us = now.at_us.saturating_sub(before.at_us).max(1);
    let row = |bulkhead: &Value| {
        let service = bulkhead["service"].as_str().unwrap_or("?").to_owned();
        let handled_before = named(&before.actors["bulkheads"], &service).map_or(0, |was| number(was, "handled"));
        // A process that was started again counts from nothing.
        let handled = number(bulkhead, "handled").saturating_sub(handled_before);
        let behind = named(&now.lag["services"], &service);
        let shards = || all(&bulkhead["shards"]);
        let named_state = ["fault", "paused"].into_iter().find_map(|name| bulkhead[name].as_str());
        let state = named_state.or_else(|| bulkhead["state"].as_str()).unwrap_or("?").to_owned();
        Row {
            is_well: state == "running" && shards().all(|shard| shard["state"] != "down"),
            state,
            events_per_s: (u128::from(handled) * 1_000_000 / u128::from(passed_us)) as u64,
            lag: behind.map_or(0, |row| number(row, "records")),
            oldest_s: behind.and_then(|row| row["seconds"].as_f64()).unwrap_or(0.0),
            queue_bytes: number(bulkhead, "queue_bytes"),
            parked: shards().map(|shard| number(shard, "parked")).sum(),
            handling_ms: shards().filter_map(|shard| shard["handling_ms"].as_u64()).max(),
            restarts: number(bulkhead, "restarts"),
            last_error: bulkhead["last_error"].as_str().map(str::to_owned),
            service,
        }
    };
    all(&now.actors["bulkheads"]).map(row).collect()
}

/// The rows as one document.
pub fn to_json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "service": row.service, "state": row.state, "ok": row.is_well, "events_per_s": row.events_per_s, "lag": row.lag,
            "oldest_s": row.oldest_s, "queue_bytes": row.queue_bytes, "parked": row.parked,
            "handling_ms": row.handling_ms, "restarts": row.restarts, "last_error": row.last_error,
        })
    };
    json!({ "services": rows.iter().map(row).collect::<Vec<_>>() })
}

/// The screen, a line each, none wider than `columns`.
pub fn lines(rows: &[Row], whom: &str, style: Style, columns: usize) -> Vec<String> {
    let fit = |line: String| line.chars().take(columns).collect::<String>();
    let (rate, lag) = (rows.iter().map(|row| row.events_per_s).sum(), rows.iter().map(|row| row.lag).sum());
    let ill = rows.iter().filter(|row| !row.is_well).count();
    let health = if ill == 0 { style.good("all running") } else { style.bad(&format!("{ill} not running")) };
    let title = fit(format!("bulkhead at {whom}   {} events/s   {} behind", count(rate), count(lag)));
    let mut lines = vec![format!("{}   {health}", style.title(&title)), String::new()];
    lines.push(style.faint(&fit(format!(
        "{:<12} {:<10} {:>10} {:>10} {:>8} {:>8} {:>7} {:>8} {:>8}  behind",
        "service", "state", "events/s", "lag", "oldest", "queue", "parked", "handling", "restarts"
    ))));
    let full = rows.iter().map(|row| row.lag).max().unwrap_or(0).max(BAR_FULL);
    for row in rows {
        let cells = (row.lag as usize * BAR_CELLS).div_ceil(full as usize).min(BAR_CELLS);
        let line = fit(format!(
            "{:<12} {:<10} {:>10} {:>10} {:>8} {:>8} {:>7} {:>8} {:>8}  {}{}",
            row.service,
            row.state,
            count(row.events_per_s),
            count(row.lag),
            if row.lag == 0 { "-".to_owned() } else { format!("{:.1} s", row.oldest_s) },
            bytes(row.queue_bytes),
            count(row.parked),
            row.handling_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            row.restarts,
            "#".repeat(cells),
            "-".repeat(BAR_CELLS - cells),
        ));
        lines.push(if row.is_well { line } else { style.bad(&line) });
    }
    let errors: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(fit(format!("{:<12} {}", row.service, row.last_error.as_deref()?.lines().next()?))))
        .collect();
    if !errors.is_empty() {
        lines.extend([String::new(), style.faint("last errors")]);
        lines.extend(errors);
    }
    lines
}

fn bytes(n: u64) -> String {
    match n {
        0 => "-".to_owned(),
        n if n < 1 << 10 => format!("{n} B"),
        n if n < 1 << 20 => format!("{} KiB", n >> 10),
        n => format!("{} MiB", n >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at_us: u64, handled: u64, state: &str, paused: Value) -> Look {
        let shard = json!({"shard": 0, "state": state, "lag": 0, "parked": 3, "handling_ms": 12});
        let fraud = json!({
            "service": "fraud", "state": "running", "paused": paused, "fault": null, "restarts": 1, "handled": handled,
            "queue_bytes": 2048, "last_error": "first\nsecond", "shards": [shard],
        });
        let lag = json!({"services": [{"service": "fraud", "records": 70, "seconds": 1.5}]});
        Look { at_us, actors: json!({ "bulkheads": [fraud] }), lag }
    }

    #[test]
    fn what_happened_between_two_looks() {
        let (before, now) = (look(0, 100, "running", Value::Null), look(2_000_000, 1_100, "running", Value::Null));
        let rows = rows(&before, &now);
        assert_eq!((rows.len(), rows[0].events_per_s, rows[0].lag, rows[0].parked), (1, 500, 70, 3));
        assert!(rows[0].is_well && rows[0].state == "running");
        assert_eq!(to_json(&rows)["services"][0]["oldest_s"], 1.5);
        let lines = lines(&rows, "a:1", Style::for_stream(false), 200);
        assert!(lines[0].contains("500 events/s") && lines[0].contains("all running"), "{lines:#?}");
        assert!(lines.last().is_some_and(|line| line.ends_with("first")), "{lines:#?}");
    }

    #[test]
    fn a_process_that_started_again_counts_from_nothing_and_ill_shards_show() {
        let (before, now) = (look(0, 100, "running", Value::Null), look(1_000_000, 40, "down", json!("flood")));
        let rows = rows(&before, &now);
        assert_eq!((rows[0].events_per_s, rows[0].is_well, rows[0].state.as_str()), (0, false, "flood"));
        for columns in [0, 10, 79] {
            let lines = lines(&rows, "a:1", Style::for_stream(false), columns);
            assert!(lines.iter().skip(1).all(|line| line.chars().count() <= columns.max(11)), "{columns}: {lines:#?}");
        }
    }
}
