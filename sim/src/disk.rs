//! The simulated disk's misbehaviour, and its part of the trace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::log::storage::{Call, CallKind, Fault, StorageHook};

use crate::trace::{self, Trace};

/// What the disk does to calls at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Condition {
    /// Added to each sync, microseconds, 0 to this.
    pub slow_sync_us: u64,
    /// Added to each write.
    pub slow_write_us: u64,
    /// The next syncs fail.
    pub sync_errors: u32,
    pub write_errors: u32,
    /// The next write is cut short and fails.
    pub torn_writes: u32,
    /// The next reads find one bit turned over.
    pub read_flips: u32,
    /// Every write is refused.
    pub full: bool,
    /// The process dies in this write or sync from now, counted from 1; 0: never.
    pub dies_in: u64,
    /// Planted bug: syncs are claimed, not made. Only mutants set it.
    pub syncs_skipped: bool,
    pub directory_syncs_skipped: bool,
    pub segment_syncs_skipped: bool,
}

/// What the disk has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub slowed: u64,
    pub refused: u64,
    pub flipped: u64,
    pub died: bool,
    /// Writes and syncs so far: the points at which a process can die.
    pub points: u64,
}

#[derive(Default)]
struct State {
    condition: Condition,
    done: Done,
}

/// Shared between the world, which sets the condition, and the storage, which obeys.
#[derive(Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut self.lock().condition);
    }

    pub fn done(&self) -> Done {
        self.lock().done
    }

    /// The process that died in a call has been buried.
    pub fn buried(&self) {
        self.lock().done.died = false;
    }

    /// The hook to install.
    pub fn hook(&self, trace: Trace, rng: fastrand::Rng) -> Box<dyn StorageHook> {
        Box::new(DiskHook { disk: self.clone(), trace, rng })
    }
}

struct DiskHook {
    disk: Disk,
    trace: Trace,
    rng: fastrand::Rng,
}

fn take(left: &mut u32) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}

impl StorageHook for DiskHook {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let mut state = self.disk.lock();
        let State { condition, done } = &mut *state;
        let is_point = matches!(call.kind, CallKind::Write | CallKind::Sync | CallKind::SyncDir | CallKind::Rename);
        if is_point {
            done.points += 1;
            if condition.dies_in > 0 {
                condition.dies_in -= 1;
                if condition.dies_in == 0 {
                    done.died = true;
                    return Fault::Kill { bytes: self.rng.usize(0..=call.content.len()) };
                }
            }
        }
        let fault = match call.kind {
            CallKind::Sync if condition.syncs_skipped => Fault::Skip,
            CallKind::SyncDir if condition.directory_syncs_skipped => Fault::Skip,
            CallKind::Sync if condition.segment_syncs_skipped && call.file.ends_with(".log") => Fault::Skip,
            CallKind::Sync if take(&mut condition.sync_errors) => Fault::Error,
            CallKind::Sync if condition.slow_sync_us > 0 => {
                Fault::Slow { delay_us: self.rng.u64(0..=condition.slow_sync_us) }
            }
            CallKind::Write if take(&mut condition.write_errors) => Fault::Error,
            CallKind::Write if take(&mut condition.torn_writes) => {
                Fault::Torn { bytes: self.rng.usize(0..=call.content.len()) }
            }
            CallKind::Write if condition.full => Fault::Full,
            CallKind::Write if condition.slow_write_us > 0 => {
                Fault::Slow { delay_us: self.rng.u64(0..=condition.slow_write_us) }
            }
            CallKind::Read if take(&mut condition.read_flips) => Fault::Flip { bit: self.rng.u64(..) },
            _ => Fault::None,
        };
        match fault {
            Fault::Slow { .. } => done.slowed += 1,
            Fault::Error | Fault::Torn { .. } | Fault::Full => done.refused += 1,
            Fault::Flip { .. } => done.flipped += 1,
            Fault::None | Fault::Kill { .. } | Fault::Skip => {}
        }
        fault
    }

    fn observe(&mut self, call: &Call<'_>, succeeded: bool) {
        trace::storage_call(&self.trace, call, succeeded);
    }
}
