//! Who pays for what: services for the events in a commit before it is appended, the edge for what comes in, the journal's
//! thread for every byte, the disk for its syncs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use runtime::env::Clock;
use runtime::invariant::Checks;
use runtime::log::storage::{Call, CallKind, Fault, StorageHook};
use runtime::log::{
    AppendError, AppendOptions, Appending, Extent, Fence, FetchError, Log, Offset, PartitionReader, ProducerGroup,
    TopicConfig, TopicId, TopicPartition,
};
use runtime::outcome::{Failure, Handled};
use runtime::service::{Effects, Event, Fold, ServiceDef};
use runtime::state::AnyTable;
use runtime::stats::ServiceStats;
use tokio::sync::Notify;

use super::cores::Cores;
use super::costs;

/// What one service owes, and to whom.
#[derive(Default)]
pub struct Account {
    pub pool: usize,
    pub event_us: f64,
    /// Attempts at events that nobody has paid for yet.
    attempts: AtomicU64,
    panics: AtomicU64,
    /// The fold takes so many times as long until then, `Clock::mono_us`; 0: as usual.
    pub slow_until_us: AtomicU64,
    pub stats: Mutex<Option<Arc<ServiceStats>>>,
}

impl Account {
    pub fn new(pool: usize, event_us: f64) -> Self {
        Self { pool, event_us, ..Self::default() }
    }

    /// Everything since the last commit, this one included.
    fn settle_us(&self, now_us: u64) -> f64 {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let panics = stats.as_ref().map_or(0, |stats| stats.panics.load(Ordering::Relaxed));
        let new_panics = panics.saturating_sub(self.panics.swap(panics, Ordering::Relaxed));
        let attempts = self.attempts.swap(0, Ordering::Relaxed);
        let fold_us = attempts as f64 * self.event_us;
        let left_us = self.slow_until_us.load(Ordering::Relaxed).saturating_sub(now_us) as f64;
        let fold_us = fold_us.max((fold_us * costs::SLOW_TIMES).min(left_us));
        fold_us + costs::SLOWNESS * (costs::COMMIT_US + new_panics as f64 * costs::PANIC_US)
    }
}

/// The service with its attempts counted.
pub fn counted(service: ServiceDef, account: &Arc<Account>) -> ServiceDef {
    let account = account.clone();
    service.wrapped(move |inner| Box::new(Counted { inner, account: account.clone() }))
}

struct Counted {
    inner: Box<dyn Fold>,
    account: Arc<Account>,
}

impl Fold for Counted {
    fn handle(&mut self, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        self.inner.handle(event, effects)
    }
    fn tick(&mut self, effects: &mut Effects<'_>) {
        self.inner.tick(effects);
    }
    fn restate(&mut self, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        self.inner.restate(from, effects)
    }
    fn invariants(&self, checks: &mut Checks) {
        self.inner.invariants(checks);
    }
    fn tables(&mut self, visit: &mut dyn FnMut(&mut dyn AnyTable)) {
        self.inner.tables(visit);
    }
    /// Every attempt begins here, also one that an injected failure ends before the fold.
    fn begin_event(&mut self) {
        self.account.attempts.fetch_add(1, Ordering::Relaxed);
        self.inner.begin_event();
    }
}

/// The log with its bill.
pub struct ChargedLog {
    log: Arc<dyn Log>,
    clock: Clock,
    cores: Cores,
    journal: usize,
    edge: usize,
    accounts: BTreeMap<String, Arc<Account>>,
    /// Whose commits a topic holds.
    commits: Mutex<BTreeMap<TopicId, Arc<Account>>>,
}

impl ChargedLog {
    /// `accounts` by commit topic; `journal` and `edge` are pools of `cores`.
    pub fn new(
        log: Arc<dyn Log>,
        clock: Clock,
        cores: Cores,
        [journal, edge]: [usize; 2],
        accounts: BTreeMap<String, Arc<Account>>,
    ) -> Self {
        Self { log, clock, cores, journal, edge, accounts, commits: Mutex::default() }
    }

    fn account(&self, topic: TopicId) -> Option<Arc<Account>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).get(&topic).cloned()
    }
}

impl Log for ChargedLog {
    fn ensure_topic(&self, config: &TopicConfig) -> Result<TopicId, AppendError> {
        let id = self.log.ensure_topic(config)?;
        if let Some(account) = self.accounts.get(&*config.name) {
            self.commits.lock().unwrap_or_else(PoisonError::into_inner).insert(id, account.clone());
        }
        Ok(id)
    }
    fn topics(&self) -> Vec<(TopicId, TopicConfig)> {
        self.log.topics()
    }
    fn topic(&self, name: &str) -> Option<TopicId> {
        self.log.topic(name)
    }
    fn producer_group(&self, name: &str, budget_bytes: usize) -> ProducerGroup {
        self.log.producer_group(name, budget_bytes)
    }
    /// Threads serve in line, so that appends of one caller keep their order on their way to the log.
    fn append(&self, to: TopicPartition, batch: Bytes, options: AppendOptions) -> Appending {
        let (log, cores, journal, edge) = (self.log.clone(), self.cores.clone(), self.journal, self.edge);
        let (account, clock) = (self.account(to.topic), self.clock.clone());
        async move {
            if let Some(account) = account {
                let us = account.settle_us(clock.mono_us());
                cores.work(account.pool, us).await;
            } else if options.fence.is_none() {
                let records = runtime::log::Batches::new(&batch).flatten().map(|batch| batch.count()).sum::<u32>();
                cores.work(edge, costs::SLOWNESS * costs::EDGE_US * f64::from(records)).await;
            }
            let bytes_us = batch.len() as f64 * costs::APPEND_BYTE_US;
            cores.work(journal, costs::SLOWNESS * (costs::APPEND_US + bytes_us)).await;
            log.append(to, batch, options).await
        }
        .boxed()
    }
    fn fence(&self, group: ProducerGroup, fence: Fence) {
        self.log.fence(group, fence);
    }
    fn room(&self) -> Result<(), AppendError> {
        self.log.room()
    }
    fn reader(
        &self,
        of: TopicPartition,
        position: Offset,
        wake: Arc<Notify>,
    ) -> Result<Box<dyn PartitionReader>, FetchError> {
        self.log.reader(of, position, wake)
    }
    fn extent(&self, of: TopicPartition) -> Result<Extent, FetchError> {
        self.log.extent(of)
    }
    fn trim(&self, of: TopicPartition, to: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.log.trim(of, to)
    }
    fn offset_at(&self, of: TopicPartition, timestamp_ms: i64) -> Result<Offset, FetchError> {
        self.log.offset_at(of, timestamp_ms)
    }
    fn timestamp_at(&self, of: TopicPartition, offset: Offset) -> Option<i64> {
        self.log.timestamp_at(of, offset)
    }
    fn close(&self) -> BoxFuture<'static, ()> {
        self.log.close()
    }
}

/// The disk: bandwidth for every write, a sync for every group. Segments go through the system's page cache and are synced by
/// a thread of their own behind the journal. How slow a sync is depends on the time alone, so that both twins meet the same
/// disk.
pub struct ChargedDisk {
    pub seed: u64,
    pub clock: Clock,
}

impl ChargedDisk {
    fn sync_us(&self) -> u64 {
        let slot = self.clock.mono_us() / costs::SYNC_SLOT_US;
        fastrand::Rng::with_seed(self.seed ^ slot.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .u64(costs::SYNC_US.0..=costs::SYNC_US.1)
    }
}

impl StorageHook for ChargedDisk {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let (is_journal, bytes) = (call.file.starts_with("journal"), call.content.len() as u64);
        let delay_us = match call.kind {
            CallKind::Write if is_journal => bytes / costs::DISK_BYTES_A_US,
            CallKind::Write => bytes / costs::CACHE_BYTES_A_US,
            CallKind::Sync if is_journal => self.sync_us(),
            _ => 0,
        };
        if delay_us > 0 { Fault::Slow { delay_us } } else { Fault::None }
    }

    fn observe(&mut self, _: &Call<'_>, _: bool) {}
}
