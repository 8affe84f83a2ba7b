//! Answers as text for people.

use std::fmt::Write as _;

use serde_json::Value;

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> String {
    let all: Vec<String> = rows(value).map(text).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

pub fn lag(value: &Value) -> String {
    let mut out = format!("{:<14}{:>12}{:>12}\n", "service", "records", "seconds");
    for row in rows(&value["services"]) {
        let seconds = row["seconds"].as_f64().unwrap_or_default();
        let _ = writeln!(out, "{:<14}{:>12}{seconds:>12.1}", text(&row["service"]), text(&row["records"]));
    }
    for row in rows(&value["partitions"]).filter(|row| row["records"].as_i64().is_some_and(|records| records > 0)) {
        let at = format!("{}-{}", text(&row["topic"]), row["partition"]);
        let _ = writeln!(out, "  {} <- {at}: {} of {}", text(&row["service"]), row["records"], row["end"]);
    }
    out
}

pub fn actors(value: &Value) -> String {
    let mut out = String::from("platform\n");
    for bulkhead in rows(&value["bulkheads"]) {
        let mut line = format!("├─ {:<12} {}", text(&bulkhead["service"]), text(&bulkhead["state"]));
        for name in ["restarts", "panics", "stuck", "lost_threads", "queue_bytes"] {
            if bulkhead[name].as_u64().is_some_and(|count| count > 0) {
                let _ = write!(line, ", {name} {}", bulkhead[name]);
            }
        }
        for name in ["fault", "last_error"] {
            if let Some(text) = bulkhead[name].as_str() {
                let _ = write!(line, ", {name}: {text}");
            }
        }
        let _ = writeln!(out, "{line}");
        for shard in rows(&bulkhead["shards"]) {
            let handling =
                shard["handling_ms"].as_u64().map(|ms| format!(", handling for {ms} ms")).unwrap_or_default();
            let (state, lag, parked) = (text(&shard["state"]), &shard["lag"], &shard["parked"]);
            let _ = writeln!(out, "│  └─ shard {} {state}, lag {lag}, waiting {parked}{handling}", shard["shard"]);
        }
    }
    out
}

pub fn topics(value: &Value) -> String {
    let mut out = format!("{:<28}{:<10}{:>12}  {}\n", "topic", "kind", "records", "schema");
    for row in rows(&value["topics"]) {
        let _ = writeln!(
            out,
            "{:<28}{:<10}{:>12}  {}",
            text(&row["topic"]),
            text(&row["kind"]),
            text(&row["records"]),
            text(&row["schema"])
        );
    }
    out
}

pub fn topic(value: &Value) -> String {
    let mut out = String::new();
    for name in ["topic", "kind", "key", "schema", "schema_id", "retention_ms", "compacted", "records"] {
        let _ = writeln!(out, "{name:<14}{}", text(&value[name]));
    }
    let _ = writeln!(
        out,
        "{:<14}{}\n{:<14}{}",
        "written by",
        list(&value["written_by"]),
        "read by",
        list(&value["read_by"])
    );
    for row in rows(&value["partitions"]) {
        let _ = writeln!(out, "partition {:<4}{} to {}", row["partition"], row["start"], row["end"]);
    }
    out
}

pub fn events(value: &Value) -> String {
    let mut out = String::new();
    for event in rows(&value["events"]) {
        let _ = writeln!(out, "{event}");
    }
    out
}

pub fn explained(value: &Value) -> String {
    let mut out = format!("auction {}  trace {}\n", text(&value["auction_id"]), text(&value["trace_id"]));
    let _ = writeln!(out, "bid     {}  outcome {}", text(&value["bid_id"]), text(&value["outcome"]));
    for (label, name) in [("no bid", "no_bid"), ("filters", "filtered"), ("views", "view_ages_ms")] {
        if !value[name].is_null() {
            let _ = writeln!(out, "{label:<8}{}", text(&value[name]));
        }
    }
    for step in rows(&value["steps"]) {
        for record in rows(&step["records"]) {
            let place = format!("{}-{}@{}", text(&step["topic"]), record["partition"], record["offset"]);
            let _ = writeln!(out, "{:<12} {place}\n             {}", text(&step["step"]), record["value"]);
        }
    }
    out
}
