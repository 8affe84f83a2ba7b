//! Flow control: a shard's permission to have events and bytes in flight.
//!
//! A credit is held by the envelope and comes back when it is dropped: handled, panicked, killed or thrown away with
//! its mailbox. ractor's mailboxes are unbounded; this is what bounds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::Notify;

/// What all shards of a service may have in their queues, however many they are.
pub const SERVICE_QUEUE_BYTES: i64 = 32 << 20;
/// What one batch may have; a fetch cannot split it.
pub const BATCH_BYTES: usize = 1 << 20;

/// How much one shard may have in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditLimit {
    pub events: i64,
    pub bytes: i64,
}

/// The pool of one shard. One fetcher takes, everybody gives back.
pub struct CreditPool {
    limit: CreditLimit,
    events_free: AtomicI64,
    bytes_free: AtomicI64,
    /// Most bytes ever in flight.
    bytes_used_max: AtomicU64,
    returned: Notify,
}

impl CreditPool {
    pub fn new(limit: CreditLimit) -> Arc<Self> {
        Arc::new(Self {
            limit,
            events_free: AtomicI64::new(limit.events),
            bytes_free: AtomicI64::new(limit.bytes),
            bytes_used_max: AtomicU64::new(0),
            returned: Notify::new(),
        })
    }

    /// Waits until something is free. A fetch may then overdraw by the batch that it cannot split, never by more.
    pub async fn available(&self) {
        loop {
            let returned = self.returned.notified();
            if self.events_free.load(Ordering::Acquire) > 0 && self.bytes_free.load(Ordering::Acquire) > 0 {
                return;
            }
            returned.await;
        }
    }

    /// Puts `events` and `bytes` in flight until the credit is dropped.
    pub fn take(self: &Arc<Self>, events: u32, bytes: usize) -> Credit {
        let (events, bytes) = (i64::from(events), bytes as i64);
        self.events_free.fetch_sub(events, Ordering::AcqRel);
        let free = self.bytes_free.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        self.bytes_used_max.fetch_max((self.limit.bytes - free) as u64, Ordering::Relaxed);
        Credit { pool: self.clone(), events, bytes }
    }

    pub fn events_used(&self) -> i64 {
        self.limit.events - self.events_free.load(Ordering::Acquire)
    }

    pub fn bytes_used(&self) -> i64 {
        self.limit.bytes - self.bytes_free.load(Ordering::Acquire)
    }

    pub fn bytes_used_max(&self) -> u64 {
        self.bytes_used_max.load(Ordering::Relaxed)
    }
}

/// Events and bytes in flight; they are free again when this is dropped.
pub struct Credit {
    pool: Arc<CreditPool>,
    events: i64,
    bytes: i64,
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.pool.events_free.fetch_add(self.events, Ordering::AcqRel);
        self.pool.bytes_free.fetch_add(self.bytes, Ordering::AcqRel);
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credits_bound_and_come_back() {
        let pool = CreditPool::new(CreditLimit { events: 10, bytes: 100 });
        let first = pool.take(4, 50);
        pool.available().await;
        let second = pool.take(20, 10);
        assert_eq!((pool.events_used(), pool.bytes_used()), (24, 60));
        let blocked = tokio::time::timeout(std::time::Duration::from_millis(10), pool.available()).await;
        assert!(blocked.is_err(), "nothing is free");
        drop(second);
        pool.available().await;
        drop(first);
        assert_eq!((pool.events_used(), pool.bytes_used(), pool.bytes_used_max()), (0, 0, 60));
    }

    #[tokio::test]
    async fn a_panic_gives_back() {
        let pool = CreditPool::new(CreditLimit { events: 1, bytes: 1 });
        let credit = pool.take(1, 1);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = credit;
            panic!("handler");
        }));
        assert_eq!(pool.events_used(), 0);
    }
}
