//! Full, slow and failing disks.

use super::*;

#[test]
fn a_full_disk_refuses_at_admission_and_goes_on_when_there_is_room() {
    let storage = MemoryStorage::new();
    block_on(async {
        let settings = SegmentLogConfig { reserve_bytes: 8 << 10, ..tiny() };
        let env = Env::simulation(1, 0);
        let log = EmbeddedLog::open(&env, Arc::new(storage.clone()), settings).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&config("t")).unwrap();
        let to = TopicPartition { topic, partition: 0 };
        storage.set_capacity(storage.used_bytes() + (40 << 10));
        let mut acknowledged = 0;
        let refused = loop {
            let appending = log.append(to, batch(&[vec![1; 1000]], 0), AppendOptions { group, fence: None });
            match appending.await {
                Ok(base) => assert_eq!(base, acknowledged),
                Err(error) => break error,
            }
            acknowledged += 1;
            assert!(acknowledged < 1000, "a full disk is noticed");
        };
        assert_eq!(refused.kind(), "NO_SPACE");
        assert_eq!(log.room().unwrap_err().kind(), "NO_SPACE");
        assert!(acknowledged > 10);
        assert_eq!(read_all(&*log, to).unwrap().len() as i64, acknowledged);
        storage.set_capacity(u64::MAX);
        env.clock.sleep(std::time::Duration::from_millis(150)).await;
        log.room().unwrap();
        let base = log.append(to, batch(&[vec![1; 1000]], 0), AppendOptions { group, fence: None }).await.unwrap();
        assert_eq!(base, acknowledged, "the refused one took no offset");
    });
}

/// Fails every sync of the journal.
struct FailSync;

impl StorageHook for FailSync {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let fails = call.kind == CallKind::Sync && call.file.starts_with("journal");
        if fails { Fault::Error } else { Fault::None }
    }
}

#[test]
fn a_failed_sync_turns_the_log_read_only() {
    let storage = MemoryStorage::new();
    block_on(async {
        let log = reopen(&storage).unwrap();
        let group = log.producer_group("test", 1000);
        let topic = log.ensure_topic(&config("t")).unwrap();
        let to = TopicPartition { topic, partition: 0 };
        let options = AppendOptions { group, fence: None };
        log.append(to, batch(&[vec![1]], 0), options).await.unwrap();
        storage.set_hook(Some(Box::new(FailSync)));
        let first = log.append(to, batch(&[vec![2; 900]], 0), options);
        let waiting = log.append(to, batch(&[vec![3; 900]], 0), options);
        assert_eq!(first.await.unwrap_err().kind(), "INDEFINITE");
        assert_eq!(waiting.await.unwrap_err().kind(), "READ_ONLY");
        storage.set_hook(None);
        assert_eq!(log.append(to, batch(&[vec![4]], 0), options).await.unwrap_err().kind(), "READ_ONLY");
        assert_eq!(log.room().unwrap_err().kind(), "READ_ONLY");
        assert_eq!(read_all(&*log, to).unwrap(), [(0, vec![1])]);
        log.close().await;
    });
}

/// Calls of one kind, on files whose name ends so, meet a fault this many times.
struct FaultOn {
    kind: CallKind,
    suffix: &'static str,
    fault: Fault,
    left: Arc<AtomicU64>,
}

impl StorageHook for FaultOn {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let met = call.kind == self.kind && call.file.ends_with(self.suffix);
        let left = self.left.load(Ordering::Relaxed);
        if !met || left == 0 {
            return Fault::None;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        self.fault
    }
}

#[test]
fn a_slow_disk_delays_answers_and_readers_alike() {
    let storage = MemoryStorage::new();
    block_on(async {
        let env = Env::simulation(1, 0);
        let log = EmbeddedLog::open(&env, Arc::new(storage.clone()), tiny()).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&config("t")).unwrap();
        let to = TopicPartition { topic, partition: 0 };
        let options = AppendOptions { group, fence: None };
        log.append(to, batch(&[vec![1]], 0), options).await.unwrap();
        let fault = Fault::Slow { delay_us: 300_000 };
        let left = Arc::new(AtomicU64::new(1));
        storage.set_hook(Some(Box::new(FaultOn { kind: CallKind::Sync, suffix: "", fault, left })));
        let before_us = env.clock.mono_us();
        let appending = log.append(to, batch(&[vec![2]], 0), options);
        env.clock.sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(log.extent(to).unwrap().high_watermark, 1, "not synced, not seen");
        appending.await.unwrap();
        let took_us = env.clock.mono_us() - before_us;
        assert!((300_000..310_000).contains(&took_us), "{took_us}");
        log.append(to, batch(&[vec![3]], 0), options).await.unwrap();
        assert!(env.clock.mono_us() - before_us < 320_000, "the next sync is a fast one");
    });
}

/// A backup whose checkpoint fails: nothing may vouch for those bytes later, for whether they are on the disk nobody knows.
#[test]
fn what_a_failed_sync_left_behind_is_vouched_for_by_nobody() {
    let (storage, copy) = (MemoryStorage::new(), MemoryStorage::new());
    block_on(async {
        let log = reopen(&storage).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let to = TopicPartition { topic: log.ensure_topic(&config("t")).unwrap(), partition: 0 };
        let options = AppendOptions { group, fence: None };
        log.append(to, batch(&[vec![1]], 0), options).await.unwrap();
        let left = Arc::new(AtomicU64::new(1));
        let hook = FaultOn { kind: CallKind::Sync, suffix: ".log", fault: Fault::Error, left: left.clone() };
        storage.set_hook(Some(Box::new(hook)));
        assert!(log.copy_to(&copy).unwrap().is_err());
        assert_eq!(left.load(Ordering::Relaxed), 0);
        storage.set_hook(None);
        let again = log.copy_to(&copy).unwrap().unwrap_err().to_string();
        assert!(again.contains("read-only"), "{again}");
        assert_eq!(log.append(to, batch(&[vec![2]], 0), options).await.unwrap_err().kind(), "READ_ONLY");
        storage.kill();
        drop(log);
        let log = reopen(&storage).unwrap();
        let to = TopicPartition { topic: log.topic("t").unwrap(), partition: 0 };
        assert_eq!(read_all(&*log, to).unwrap(), [(0, vec![1])], "the journal has it");
    });
}

#[test]
fn segments_that_meet_a_full_disk_are_filled_later() {
    let storage = MemoryStorage::new();
    block_on(async {
        let env = Env::simulation(1, 0);
        let log = EmbeddedLog::open(&env, Arc::new(storage.clone()), tiny()).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&config("t")).unwrap();
        let to = TopicPartition { topic, partition: 0 };
        let options = AppendOptions { group, fence: None };
        let left = Arc::new(AtomicU64::new(3));
        let hook = FaultOn { kind: CallKind::Write, suffix: ".log", fault: Fault::Full, left: left.clone() };
        storage.set_hook(Some(Box::new(hook)));
        log.append(to, batch(&[vec![1]], 0), options).await.unwrap();
        assert_eq!(read_all(&*log, to).unwrap(), [(0, vec![1])], "the journal has it, memory shows it");
        assert_eq!(log.append(to, batch(&[vec![2]], 0), options).await.unwrap_err().kind(), "NO_SPACE");
        env.clock.sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(left.load(Ordering::Relaxed), 0, "tried again until it went");
        log.append(to, batch(&[vec![3]], 0), options).await.unwrap();
        log.close().await;
        drop(log);
        let log = reopen(&storage).unwrap();
        let to = TopicPartition { topic: log.topic("t").unwrap(), partition: 0 };
        assert_eq!(read_all(&*log, to).unwrap(), [(0, vec![1]), (1, vec![3])]);
    });
}

/// Every sync of the journal takes 5 s.
struct SlowSyncs;

impl StorageHook for SlowSyncs {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        let is_slow = call.kind == CallKind::Sync && call.file.starts_with("journal");
        if is_slow { Fault::Slow { delay_us: 5_000_000 } } else { Fault::None }
    }
}

#[test]
fn what_still_runs_of_a_killed_process_writes_nothing_beside_the_next() {
    let storage = MemoryStorage::new();
    filled(&storage, 4);
    block_on(async {
        let env = Env::simulation(2, 0);
        // Nothing to replay: the next opens its segments only when it fills them.
        reopen(&storage).unwrap().close().await;
        storage.set_hook(Some(Box::new(SlowSyncs)));
        let dead = EmbeddedLog::open(&env, Arc::new(storage.mount()), tiny()).unwrap();
        let group = dead.producer_group("test", 1 << 20);
        let of = |partition| TopicPartition { topic: dead.topic("t").unwrap(), partition };
        let hangs = dead.append(of(0), batch(&[vec![7; 500]], 9), AppendOptions { group, fence: None });
        env.clock.sleep(std::time::Duration::from_secs(1)).await;
        storage.kill();
        storage.set_hook(None);

        let next = EmbeddedLog::open(&env, Arc::new(storage.mount()), tiny()).unwrap();
        let group = next.producer_group("test", 1 << 20);
        for n in 0..3 {
            next.append(of(0), batch(&[vec![n; 700]], 10), AppendOptions { group, fence: None }).await.unwrap();
        }
        let before = read_all(&*next, of(0)).unwrap();
        // The sync of the dead comes back only now; it was made, but there is no process that could go on.
        let _ = hangs.await;
        env.clock.sleep(std::time::Duration::from_secs(10)).await;
        assert_eq!(read_all(&*next, of(0)).unwrap(), before);
        next.close().await;
        let after = EmbeddedLog::open(&env, Arc::new(storage.mount()), tiny()).unwrap();
        assert_eq!(read_all(&*after, of(0)).unwrap(), before);
    });
}
