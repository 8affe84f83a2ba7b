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
/// A shard that has all there is rests this long for each event it was fed, and at most [`REST_MAX`], before it is fed again:
/// above 2,000 events/s what comes meanwhile shares its commit, which costs the same for one event as for hundreds. Below,
/// events come later than the rest ends, and hardly one waits.
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
    // Fed since the last rest.
    let mut events = 0u32;
    loop {
        let mut idle = true;
        for (input, reader) in readers.iter_mut().enumerate() {
            if ctx.is_ending() {
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
                events = events.saturating_add(fetched.events);
                let credit = pool.take(fetched.events, fetched.bytes.len());
                let envelope = Envelope::new(input, fetched, credit, ctx.stats.clone());
                if shard.cast(ShardMessage::Batch(envelope)).is_err() {
                    return Ok(());
                }
            }
        }
        if idle {
            if events > 0 {
                ctx.env.clock.sleep(rest(std::mem::take(&mut events))).await;
            }
            // `Notify` keeps one permit, so what became readable since the last look is not missed.
            let woken = ctx.env.clock.timeout(ctx.limits.tick, readable.notified()).await.is_some();
            // A tick that is still waiting to be handled is enough: ticks never pile up.
            if !woken && tick_wanted.swap(false, Ordering::AcqRel) && shard.cast(ShardMessage::Tick).is_err() {
                return Ok(());
            }
        }
    }
}

/// How long a shard that was fed so many events is left alone.
fn rest(events: u32) -> Duration {
    REST_AN_EVENT.saturating_mul(events).min(REST_MAX)
}
