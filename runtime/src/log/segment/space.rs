//! Room on the disk, decided at admission: what is admitted finds its place in the segments (rule P21).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::super::storage::Storage;
use crate::env::Clock;

/// The disk is asked again after this many admitted bytes, because others write to it too.
const ASK_AFTER_BYTES: u64 = 16 << 20;
/// No commit is larger than this with its frame.
const COMMIT_BYTES: u64 = 1 << 20;
/// While it is full it is asked at most this often.
const ASK_EVERY_US: u64 = 100_000;

pub(super) struct Space {
    storage: Arc<dyn Storage>,
    clock: Clock,
    reserve_bytes: u64,
    /// May be admitted before the disk is asked again.
    credit_bytes: AtomicI64,
    /// Admitted and not in a segment yet.
    unfilled_bytes: AtomicU64,
    full: AtomicBool,
    asked_at_us: AtomicU64,
}

impl Space {
    pub(super) fn new(storage: Arc<dyn Storage>, clock: Clock, reserve_bytes: u64) -> Self {
        Self {
            storage,
            clock,
            reserve_bytes,
            credit_bytes: AtomicI64::new(0),
            unfilled_bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            asked_at_us: AtomicU64::new(0),
        }
    }

    /// Takes room for `bytes`. False: there is none, nothing was taken.
    pub(super) fn admit(&self, bytes: u64) -> bool {
        let left = self.credit_bytes.fetch_sub(bytes as i64, Ordering::AcqRel) - bytes as i64;
        if left < 0 {
            if !self.ask(bytes) {
                return false;
            }
            self.credit_bytes.fetch_sub(bytes as i64, Ordering::AcqRel);
        }
        self.unfilled_bytes.fetch_add(bytes, Ordering::AcqRel);
        true
    }

    /// What was admitted is in its segment, or was given up.
    pub(super) fn settled(&self, bytes: u64) {
        self.unfilled_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether the largest commit would be admitted now.
    pub(super) fn has_room(&self) -> bool {
        self.credit_bytes.load(Ordering::Acquire) >= COMMIT_BYTES as i64 || self.ask(COMMIT_BYTES)
    }

    /// A write met a full disk in spite of the reserve: somebody else took it.
    pub(super) fn met_full_disk(&self) {
        self.full.store(true, Ordering::Release);
        self.credit_bytes.store(-1, Ordering::Release);
        self.asked_at_us.store(self.clock.mono_us(), Ordering::Release);
    }

    fn ask(&self, bytes: u64) -> bool {
        let now_us = self.clock.mono_us();
        let asked_us = self.asked_at_us.load(Ordering::Acquire);
        if self.full.load(Ordering::Acquire) && now_us < asked_us + ASK_EVERY_US {
            self.credit_bytes.store(-1, Ordering::Release);
            return false;
        }
        self.asked_at_us.store(now_us, Ordering::Release);
        // A disk that does not answer is not called full: the write itself will tell.
        let free = self.storage.free_bytes().unwrap_or(u64::MAX);
        let taken = self.reserve_bytes.saturating_add(self.unfilled_bytes.load(Ordering::Acquire));
        let room = free.saturating_sub(taken).min(ASK_AFTER_BYTES.max(bytes));
        let enough = room > 0 && room >= bytes;
        self.full.store(!enough, Ordering::Release);
        self.credit_bytes.store(if enough { room as i64 } else { -1 }, Ordering::Release);
        enough
    }
}
