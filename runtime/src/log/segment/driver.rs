//! Who drives the journal: two named threads in production, one task on a fixed grid in the simulation.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::compact::Compactor;
use super::core::Core;
use super::error::OpenError;
use super::lock;
use super::writer::{Closed, Writer};
use crate::env::{BulkheadRuntime, Env};

/// How often a segment that met a full disk is tried again.
const FULL_DISK_RETRY: Duration = Duration::from_millis(250);

/// Ends with the log.
pub(super) enum Driver {
    Threads(Option<JoinHandle<()>>),
    Task(tokio::task::JoinHandle<()>),
}

impl Driver {
    pub(super) fn start(env: &Env, writer: Writer) -> Result<Self, OpenError> {
        let failed = |error: std::io::Error| OpenError::Threads { reason: error.to_string() };
        if env.is_simulation() {
            let runtime = BulkheadRuntime::new(env, "log-journal", 1, 0).map_err(failed)?;
            return Ok(Self::Task(runtime.spawn(drive(writer))));
        }
        let core = writer.core.clone();
        let chores = std::thread::Builder::new().name("log-segments".to_owned());
        let chores = chores.spawn(move || run_chores(&core)).map_err(failed)?;
        let core = writer.core.clone();
        let compactor = std::thread::Builder::new().name("log-compactor".to_owned());
        let compactor = compactor.spawn(move || run_compactor(&core)).map_err(failed)?;
        let core = writer.core.clone();
        let journal = std::thread::Builder::new().name("log-journal".to_owned()).spawn(move || {
            let _end = End { core };
            run_journal(writer, [chores, compactor]);
        });
        Ok(Self::Threads(Some(journal.map_err(failed)?)))
    }

    /// Waits for threads; a task ends where it stands.
    pub(super) fn stop(&mut self) {
        match self {
            Self::Threads(thread) => {
                if let Some(thread) = thread.take() {
                    // A panic of the thread has turned the log read-only already.
                    let _ = thread.join();
                }
            }
            Self::Task(task) => task.abort(),
        }
    }
}

/// However the driver ends, nobody waits for it for ever.
struct End {
    core: Arc<Core>,
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.core.fail("the journal's driver panicked");
        }
        *lock(&self.core.directory_lock) = None;
        self.core.closed.send_replace(true);
    }
}

/// What the driver does next.
enum Next {
    Group,
    RetryFill,
    /// Everything is settled.
    Close,
    /// As if the process had been killed.
    Abandon,
}

fn run_journal(mut writer: Writer, helpers: [JoinHandle<()>; 2]) {
    let mut filled = true;
    let end = loop {
        match wait(&writer.core, filled) {
            Next::Group => {
                if let Some(closed) = writer.close_group()
                    && let Some(closed) = place(&mut writer, closed)
                    && let Some(closed) = writer.write(closed)
                {
                    writer.publish(closed);
                    filled = writer.fill();
                }
            }
            Next::RetryFill => filled = writer.fill(),
            end => break end,
        }
    };
    lock(&writer.core.signals.chores).stop = true;
    writer.core.signals.chores_due.notify_all();
    for helper in helpers {
        let _ = helper.join();
    }
    if matches!(end, Next::Close) {
        last_checkpoint(&mut writer);
    }
}

fn wait(core: &Core, filled: bool) -> Next {
    let mut queue = lock(&core.queue);
    loop {
        if queue.abandoned {
            return Next::Abandon;
        }
        if queue.is_waiting() {
            return Next::Group;
        }
        if queue.closing && queue.is_drained() {
            return Next::Close;
        }
        queue.idle = true;
        if filled {
            queue = core.signals.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        } else {
            let waited = core.signals.work.wait_timeout(queue, FULL_DISK_RETRY);
            let (held, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = held;
            if timeout.timed_out() {
                return Next::RetryFill;
            }
        }
    }
}

/// Waits until there is a place for the group: the journal's oldest file is free when its segments are synced.
fn place(writer: &mut Writer, closed: Closed) -> Option<Closed> {
    while let Err(sequence) = writer.place(&closed) {
        let core = writer.core.clone();
        if core.is_read_only() || lock(&core.queue).abandoned {
            writer.give_up(closed);
            return None;
        }
        // Segments that met a full disk hold the checkpoint back.
        writer.fill();
        core.ask_checkpoint();
        let chores = lock(&core.signals.chores);
        if core.retired_below() <= sequence {
            let _ = core.signals.retired.wait_timeout(chores, FULL_DISK_RETRY);
        }
    }
    Some(closed)
}

fn last_checkpoint(writer: &mut Writer) {
    if writer.core.is_read_only() {
        return;
    }
    writer.fill();
    // A failure has turned the log read-only already.
    let _ = writer.core.checkpoint();
}

fn run_chores(core: &Core) {
    let tick = Duration::from_millis(core.config.retention_tick_ms);
    let mut ticked_at_us = core.clock.mono_us();
    loop {
        let asked = {
            let mut chores = lock(&core.signals.chores);
            if !chores.checkpoint && !chores.stop {
                let waited = core.signals.chores_due.wait_timeout(chores, tick);
                chores = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if chores.stop {
                return;
            }
            std::mem::take(&mut chores.checkpoint)
        };
        if asked {
            // A failure turns the log read-only, and nobody asks again.
            let _ = core.checkpoint();
        }
        let now_us = core.clock.mono_us();
        if now_us.saturating_sub(ticked_at_us) >= tick.as_micros() as u64 {
            ticked_at_us = now_us;
            core.expire(core.clock.wall_ms());
        }
    }
}

/// Compaction has a thread of its own: a checkpoint, which the journal may wait for, never waits for it.
fn run_compactor(core: &Core) {
    let tick = Duration::from_millis(core.config.retention_tick_ms);
    let mut compactor = Compactor::default();
    loop {
        let rest = match compactor.step(core, core.clock.wall_ms()) {
            Some(stepped) => {
                Duration::from_micros(stepped.bytes.saturating_mul(1_000_000) / core.config.compaction_bytes_per_s)
            }
            None => tick,
        };
        let chores = lock(&core.signals.chores);
        let waited = core.signals.chores_due.wait_timeout_while(chores, rest, |chores| !chores.stop);
        if waited.unwrap_or_else(PoisonError::into_inner).0.stop {
            return;
        }
    }
}

/// The same steps in virtual time: what storage calls cost is slept before anybody is told.
async fn drive(mut writer: Writer) {
    let core = writer.core.clone();
    let _end = End { core: core.clone() };
    let mut filled = true;
    let mut ticked_at_us = 0;
    let mut compactor = Compactor::default();
    loop {
        match next_in_simulation(&core) {
            Some(Next::Group) => {}
            Some(Next::Close) => break,
            Some(Next::Abandon | Next::RetryFill) => return,
            None => {
                let woken = core.signals.work_task.notified();
                if filled {
                    woken.await;
                } else if core.clock.timeout(FULL_DISK_RETRY, woken).await.is_none() {
                    filled = writer.fill();
                }
                continue;
            }
        }
        let grid_us = core.config.grid_us;
        let past_us = core.clock.mono_us() % grid_us;
        core.clock.sleep(Duration::from_micros(grid_us - past_us)).await;
        if let Some(closed) = writer.close_group()
            && let Some(closed) = place_in_simulation(&mut writer, closed).await
            && let Some(closed) = writer.write(closed)
        {
            pay(&core).await;
            writer.publish(closed);
            filled = writer.fill();
        }
        let asked = std::mem::take(&mut lock(&core.signals.chores).checkpoint);
        if asked && !core.is_read_only() {
            checkpoint_in_simulation(&core).await;
        }
        let now_us = core.clock.mono_us();
        if now_us.saturating_sub(ticked_at_us) >= core.config.retention_tick_ms * 1000 {
            ticked_at_us = now_us;
            core.expire(core.clock.wall_ms());
            compactor.step(&core, core.clock.wall_ms());
        }
        pay(&core).await;
    }
    last_checkpoint(&mut writer);
}

fn next_in_simulation(core: &Core) -> Option<Next> {
    let mut queue = lock(&core.queue);
    if queue.abandoned {
        return Some(Next::Abandon);
    }
    if queue.is_waiting() {
        return Some(Next::Group);
    }
    if queue.closing && queue.is_drained() {
        return Some(Next::Close);
    }
    queue.idle = true;
    None
}

async fn place_in_simulation(writer: &mut Writer, closed: Closed) -> Option<Closed> {
    while writer.place(&closed).is_err() {
        let core = writer.core.clone();
        if core.is_read_only() {
            writer.give_up(closed);
            return None;
        }
        if !writer.fill() {
            core.clock.sleep(FULL_DISK_RETRY).await;
        }
        checkpoint_in_simulation(&core).await;
    }
    Some(closed)
}

async fn checkpoint_in_simulation(core: &Core) {
    // A failure turns the log read-only.
    let _ = core.checkpoint();
    pay(core).await;
}

/// Sleeps for what slow storage calls have cost.
async fn pay(core: &Core) {
    let delay_us = core.storage.take_delay_us();
    if delay_us > 0 {
        core.clock.sleep(Duration::from_micros(delay_us)).await;
    }
}
