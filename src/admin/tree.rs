//! The supervision tree as it stands: what runs, what waits, what it handles and for how long.

use std::sync::atomic::Ordering;

use runtime::platform::Bulkhead;
use serde_json::{Value, json};

use crate::platform::Composed;

/// Root, bulkheads, shards.
pub fn tree(up: &Composed) -> Value {
    let now_us = up.env.clock.mono_us();
    json!({ "bulkheads": up.platform.bulkheads.iter().map(|bulkhead| of(bulkhead, now_us)).collect::<Vec<_>>() })
}

fn of(bulkhead: &Bulkhead, now_us: u64) -> Value {
    let stats = &bulkhead.stats;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let shards: Vec<Value> = bulkhead
        .shards
        .iter()
        .map(|slot| {
            let ctx = &slot.ctx;
            let handling_ms = ctx.progress.silent(now_us).map(|silent| silent.as_millis() as u64);
            let state = match (slot.actor().is_some(), ctx.draining.load(Ordering::Acquire)) {
                _ if !ctx.is_owned() => "elsewhere",
                (true, false) => "running",
                (true, true) => "draining",
                (false, true) => "drained",
                (false, false) => "down",
            };
            json!({
                "shard": ctx.partition, "state": state, "lag": ctx.lag(), "parked": count(&ctx.parked),
                "publishing": ctx.publishing.load(Ordering::Acquire), "handling_ms": handling_ms,
            })
        })
        .collect();
    let error = stats.last_error();
    json!({
        "service": bulkhead.spec.name,
        "state": if bulkhead.is_degraded() { "degraded" } else if bulkhead.is_supervised() { "running" } else { "ended" },
        "paused": bulkhead.paused(),
        "fault": bulkhead.faults.active().map(|kind| kind.name()),
        "handled": stats.tally().total(),
        "restarts": count(&stats.restarts),
        "panics": count(&stats.panics),
        "stuck": count(&stats.stuck),
        "lost_threads": count(&stats.lost_threads),
        "queue_bytes": stats.queue_bytes.load(Ordering::Relaxed).max(0),
        "last_error": if error.is_empty() { None } else { Some(error) },
        "shards": shards,
    })
}
