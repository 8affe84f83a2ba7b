//! A shard behind ractor: one actor, one mailbox bounded by credits, everything in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::{Observation, Shard, ShardContext, ShardError, fetch};
use crate::credit::CreditPool;
use crate::envelope::Envelope;

/// What a shard is told.
pub enum ShardMessage {
    Batch(Envelope),
    /// Nothing came for a while.
    Tick,
    /// Finish what is in hand, leave the published mark, answer.
    Drain(RpcReplyPort<()>),
    /// Rows and bytes of each table.
    Inspect(RpcReplyPort<Vec<(&'static str, usize, usize)>>),
    FetchFailed(ShardError),
}

/// The ractor handler.
pub struct ShardActor;

/// A running shard.
pub struct Running {
    ctx: Arc<ShardContext>,
    permit: Option<OwnedSemaphorePermit>,
    shard: Option<Shard>,
    pool: Arc<CreditPool>,
    tick_wanted: Arc<AtomicBool>,
    fetcher: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(fetcher) = &self.fetcher {
            fetcher.abort();
        }
    }
}

impl Actor for ShardActor {
    type Msg = ShardMessage;
    type State = Running;
    /// What it is made from, and the place among the restarts under way, held until it is up.
    type Arguments = (Arc<ShardContext>, Option<OwnedSemaphorePermit>);

    /// Nothing that waits: the supervisor stands still meanwhile.
    async fn pre_start(
        &self,
        _: ActorRef<ShardMessage>,
        (ctx, permit): Self::Arguments,
    ) -> Result<Running, ActorProcessingErr> {
        let pool = CreditPool::new(ctx.limits.credit);
        ctx.credits.store(Some(pool.clone()));
        Ok(Running { ctx, permit, shard: None, pool, tick_wanted: Arc::new(AtomicBool::new(true)), fetcher: None })
    }

    /// Claims, rebuilds, then starts to read.
    async fn post_start(&self, myself: ActorRef<ShardMessage>, state: &mut Running) -> Result<(), ActorProcessingErr> {
        // A claim would fence whoever has it now.
        if !state.ctx.is_owned() {
            return Err(stop(&state.ctx, ShardError::Revoked));
        }
        let shard = match Shard::recover(state.ctx.clone()).await {
            Ok(shard) => shard,
            Err(error) => return Err(stop(&state.ctx, error)),
        };
        let positions = shard.positions.iter().map(crate::offsets::SettledPrefix::next).collect();
        state.shard = Some(shard);
        state.permit = None;
        let feeding = fetch::run(state.ctx.clone(), state.pool.clone(), myself, positions, state.tick_wanted.clone());
        #[allow(clippy::disallowed_methods)] // this actor runs on its bulkhead's runtime
        let fetcher = tokio::spawn(feeding);
        state.fetcher = Some(fetcher);
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<ShardMessage>,
        message: ShardMessage,
        state: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        let Some(shard) = &mut state.shard else { return Ok(()) };
        let ctx = state.ctx.clone();
        ctx.progress.beat(ctx.env.clock.mono_us());
        let result = match message {
            // It is the next owner's; what was taken before it is finished.
            ShardMessage::Batch(_) if !ctx.is_owned() => Ok(()),
            ShardMessage::Batch(envelope) => {
                // Every envelope that waits holds credit.
                let more = state.pool.events_used() > i64::from(envelope.fetched.events);
                shard.process(&envelope, more).await
            }
            ShardMessage::Tick => {
                let result = shard.idle().await;
                state.tick_wanted.store(true, Ordering::Release);
                result
            }
            ShardMessage::Drain(reply) => {
                if let Some(fetcher) = state.fetcher.take() {
                    fetcher.abort();
                }
                let result = shard.finish().await;
                let _ = reply.send(());
                result
            }
            ShardMessage::Inspect(reply) => {
                let _ = reply.send(shard.inspect());
                Ok(())
            }
            ShardMessage::FetchFailed(error) => Err(error),
        };
        ctx.progress.rest();
        // ractor never yields between messages by itself.
        tokio::task::yield_now().await;
        result.map_err(|error| stop(&state.ctx, error))
    }
}

fn stop(ctx: &ShardContext, error: ShardError) -> ActorProcessingErr {
    let reason = format!("{}: {error}", error.kind());
    ctx.observe(Observation::Stopped { reason: &reason });
    ctx.stats.fail(reason);
    Box::new(error)
}
