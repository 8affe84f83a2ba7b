//! Processes die and disks lose what was not synced, at every call: nothing acknowledged or seen is lost.

use super::*;

/// Ends a life in its n-th storage call, counted over writes, syncs and changes of names: the process dies in it, or it
/// fails, whole or half done.
pub(super) struct EndAt {
    pub left: Arc<AtomicU64>,
    pub rng: fastrand::Rng,
}

impl StorageHook for EndAt {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        if matches!(call.kind, CallKind::Read | CallKind::Open) || self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return Fault::None;
        }
        let bytes = self.rng.usize(0..=call.content.len());
        match self.rng.u8(0..4) {
            0 => Fault::Error,
            1 => Fault::Torn { bytes },
            _ => Fault::Kill { bytes },
        }
    }
}

/// What must hold over all lives of a directory.
#[derive(Default)]
struct Oracle {
    /// Per slot: what was acknowledged, by offset.
    acknowledged: Vec<std::collections::BTreeMap<Offset, Vec<u8>>>,
    /// What readers saw before the crash.
    seen: Vec<Vec<(Offset, Vec<u8>)>>,
    starts: Vec<Offset>,
}

impl Oracle {
    fn new() -> Self {
        let slots = TOPICS * PARTITIONS as usize;
        Self { acknowledged: vec![Default::default(); slots], seen: vec![Vec::new(); slots], starts: vec![0; slots] }
    }

    fn check(&self, log: &dyn Log, topics: &[TopicId]) {
        for (slot, of) in slots(topics).enumerate() {
            let extent = log.extent(of).unwrap();
            assert!(extent.start >= self.starts[slot], "an acknowledged trim was lost");
            let found = read_all(log, of).unwrap();
            for (at, (offset, _)) in found.iter().enumerate() {
                assert_eq!(*offset, extent.start + at as i64, "offsets are dense");
            }
            let kept = |offset: Offset| offset >= extent.start;
            let at = |offset: Offset| found.get((offset - extent.start) as usize).map(|(_, value)| value);
            for (offset, value) in self.acknowledged[slot].iter().filter(|(offset, _)| kept(**offset)) {
                assert_eq!(at(*offset), Some(value), "acknowledged record {offset} of {of:?}");
            }
            for (offset, value) in self.seen[slot].iter().filter(|(offset, _)| kept(*offset)) {
                assert_eq!(at(*offset), Some(value), "record {offset} of {of:?} was readable");
            }
        }
    }
}

fn slots(topics: &[TopicId]) -> impl Iterator<Item = TopicPartition> {
    topics.iter().flat_map(|topic| (0..PARTITIONS).map(|partition| TopicPartition { topic: *topic, partition }))
}

/// One life: open, check what earlier lives left, append and trim until the process dies.
async fn live(storage: &MemoryStorage, rng: &mut fastrand::Rng, oracle: &mut Oracle, life: u64) -> Result<(), ()> {
    let env = Env::simulation(life, 0);
    let opened = EmbeddedLog::open(&env, Arc::new(storage.mount()), tiny());
    let log = match opened {
        Ok(log) => log,
        Err(OpenError::Storage(_)) => return Err(()),
        Err(error) => panic!("{error}"),
    };
    let group = log.producer_group("test", 64 << 10);
    let made: Result<Vec<TopicId>, _> = (0..TOPICS).map(|n| log.ensure_topic(&config(&format!("t{n}")))).collect();
    let topics = made.map_err(|_| ())?;
    oracle.check(&*log, &topics);
    let mut dead = false;
    for round in 0..40 {
        let mut pending = Vec::new();
        for (slot, of) in slots(&topics).enumerate() {
            for _ in 0..rng.usize(0..3) {
                let values: Vec<Vec<u8>> =
                    (0..rng.usize(1..5)).map(|_| (0..rng.usize(1..600)).map(|_| rng.u8(..)).collect()).collect();
                let appending = log.append(of, batch(&values, round), AppendOptions { group, fence: None });
                pending.push((slot, values, appending));
            }
        }
        for (slot, values, appending) in pending {
            match appending.await {
                Ok(base) => {
                    let offsets = base..;
                    oracle.acknowledged[slot].extend(offsets.zip(values));
                }
                Err(AppendError::Indefinite { .. } | AppendError::ReadOnly { .. }) => dead = true,
                Err(error) => panic!("{error}"),
            }
        }
        for (slot, of) in slots(&topics).enumerate() {
            if let Ok(found) = read_all(&*log, of) {
                oracle.seen[slot] = found;
            }
        }
        if dead {
            return Err(());
        }
        if rng.usize(0..6) == 0 {
            let slot = rng.usize(0..TOPICS * PARTITIONS as usize);
            let Some(of) = slots(&topics).nth(slot) else { continue };
            let extent = log.extent(of).unwrap();
            let to = rng.i64(extent.start..=extent.high_watermark);
            if log.trim(of, to).await.is_ok() {
                oracle.starts[slot] = oracle.starts[slot].max(to);
            }
        }
    }
    if rng.bool() {
        log.close().await;
    }
    Ok(())
}

#[test]
fn nothing_acknowledged_or_seen_is_lost_wherever_the_process_dies() {
    // More of them: LOG_CRASH_SEEDS.
    let seeds = std::env::var("LOG_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let storage = MemoryStorage::new();
        let mut oracle = Oracle::new();
        for life in 0..6 {
            let left = Arc::new(AtomicU64::new(if life == 5 { u64::MAX } else { rng.u64(1..250) }));
            storage.set_hook(Some(Box::new(EndAt { left, rng: rng.fork() })));
            let _ = block_on(live(&storage, &mut rng, &mut oracle, life));
            // Sometimes only the process dies, sometimes the machine loses what was not synced.
            if rng.u8(0..4) == 0 { storage.kill() } else { storage.crash(&mut rng) }
        }
    }
}

/// Folds every call, with its content, into one number.
struct Trace {
    end: EndAt,
    crc: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
}

impl StorageHook for Trace {
    fn decide(&mut self, call: &Call<'_>) -> Fault {
        self.end.decide(call)
    }

    fn observe(&mut self, call: &Call<'_>, succeeded: bool) {
        let mut crc = self.crc.load(Ordering::Relaxed) as u32;
        let numbers = [call.kind as u64, call.offset, u64::from(succeeded)];
        for bytes in [call.file.as_bytes(), numbers.map(u64::to_le_bytes).as_flattened(), call.content] {
            crc = crc32c::crc32c_append(crc, bytes);
        }
        self.crc.store(u64::from(crc), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn one_seed_makes_one_sequence_of_storage_calls() {
    let run = |seed: u64| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let storage = MemoryStorage::new();
        let mut oracle = Oracle::new();
        let (crc, calls) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        for life in 0..3 {
            let end = EndAt { left: Arc::new(AtomicU64::new(rng.u64(1..250))), rng: rng.fork() };
            storage.set_hook(Some(Box::new(Trace { end, crc: crc.clone(), calls: calls.clone() })));
            let _ = block_on(live(&storage, &mut rng, &mut oracle, life));
            storage.crash(&mut rng);
        }
        (crc.load(Ordering::Relaxed), calls.load(Ordering::Relaxed))
    };
    for seed in 0..10 {
        let (trace, calls) = run(seed);
        assert_eq!((trace, calls), run(seed));
        assert!(calls > 20);
    }
    assert_ne!(run(1), run(2));
}
