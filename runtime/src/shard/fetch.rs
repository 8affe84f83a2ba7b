//! Feeds a shard: takes from its partitions only while the shard has credits, one input after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::Notify;

use super::{ShardContext, ShardError, ShardMessage};
use crate::credit::{BATCH_BYTES, CreditPool};
use crate::envelope::Envelope;
use crate::log::Offset;

/// How often a fetcher looks for room where the shards of its service have filled their queues together.
const ROOM_LOOK: Duration = Duration::from_millis(5);
/// A shard that was fed rests this long for each event before it is fed again, and at most [`REST_MAX`]: above 2,000 events/s
/// what comes meanwhile shares its commit, which costs the same for one event as for hundreds. Below, events come later than
/// the rest ends, and nothing waits.
const REST_AN_EVENT: Duration = Duration::from_micros(500);
const REST_MAX: Duration = Duration::from_millis(20);

/// Reads until the shard is gone or draining. `positions`: next offset of each input.
pub(super) async fn run(
    ctx: Arc<ShardContext>,
    pool: Arc<CreditPool>,
    shard: ActorRef<ShardMessage>,
    positions: Vec<Offset>,
    tick_wanted: Arc<AtomicBool>,
) {
    if let Err(error) = feed(&ctx, &pool, &shard, positions, &tick_wanted).await {
        // The shard stops and its supervisor decides; a dead shard needs no telling.
        let _ = shard.cast(ShardMessage::FetchFailed(error));
    }
}

async fn feed(
    ctx: &ShardContext,
    pool: &Arc<CreditPool>,
    shard: &ActorRef<ShardMessage>,
    positions: Vec<Offset>,
    tick_wanted: &AtomicBool,
) -> Result<(), ShardError> {
    let readable = Arc::new(Notify::new());
    let mut readers = Vec::with_capacity(ctx.inputs.len());
    for (input, position) in ctx.inputs.iter().zip(positions) {
        readers.push(ctx.log.reader(input.at, position, readable.clone())?);
    }
    loop {
        let (mut idle, mut is_behind, mut events) = (true, false, 0);
        let began_us = ctx.env.clock.mono_us();
        for (input, reader) in readers.iter_mut().enumerate() {
            if ctx.draining.load(Ordering::Acquire) {
                return Ok(());
            }
            pool.available().await;
            let claimed = (ctx.limits.fetch_bytes + BATCH_BYTES) as i64;
            while !ctx.stats.claim_room(claimed) {
                ctx.env.clock.sleep(ROOM_LOOK).await;
            }
            let fetched = reader.try_next(ctx.limits.fetch_bytes);
            let bytes = fetched.as_ref().ok().and_then(Option::as_ref).map_or(0, |fetched| fetched.bytes.len() as i64);
            ctx.stats.give_room(claimed - bytes);
            if let Some(fetched) = fetched? {
                idle = false;
                is_behind |= fetched.bytes.len() >= ctx.limits.fetch_bytes / 2;
                events += fetched.events;
                let credit = pool.take(fetched.events, fetched.bytes.len());
                let envelope = Envelope::new(input, fetched, credit, ctx.stats.clone());
                if shard.cast(ShardMessage::Batch(envelope)).is_err() {
                    return Ok(());
                }
            }
        }
        if idle {
            // `Notify` keeps one permit, so what became readable since the last look is not missed.
            let woken = ctx.env.clock.timeout(ctx.limits.tick, readable.notified()).await.is_some();
            // A tick that is still waiting to be handled is enough: ticks never pile up.
            if !woken && tick_wanted.swap(false, Ordering::AcqRel) && shard.cast(ShardMessage::Tick).is_err() {
                return Ok(());
            }
        } else if !is_behind {
            let passed = Duration::from_micros(ctx.env.clock.mono_us() - began_us);
            ctx.env.clock.sleep(rest(events).saturating_sub(passed)).await;
        }
    }
}

/// How long a shard that was fed so many events, and all there were, is left alone.
fn rest(events: u32) -> Duration {
    REST_AN_EVENT.saturating_mul(events).min(REST_MAX)
}
