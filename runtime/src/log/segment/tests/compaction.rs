//! Compaction over simulated storage: what stays, what goes, and that no death at any call changes what a key says.

use std::collections::BTreeMap;

use super::super::lock;
use super::crash::EndAt;
use super::*;

const KEYS: usize = 12;
/// Offset, key, value.
type Keyed = (Offset, Vec<u8>, Option<Vec<u8>>);
/// What keys say: the last record's offset, and its value unless it is a tombstone.
type Fold = BTreeMap<Vec<u8>, (Offset, Option<Vec<u8>>)>;

fn settings() -> SegmentLogConfig {
    SegmentLogConfig { tombstone_ms: 1_000, ..tiny() }
}

fn compacted(name: &str) -> TopicConfig {
    TopicConfig { compacted: true, partitions: 1, ..config(name) }
}

fn record(key: usize, value: Option<&[u8]>, packed: bool) -> Bytes {
    let mut builder = BatchBuilder::new(if packed { Compression::Lz4 } else { Compression::None });
    builder.push(1_000, Some(format!("key-{key}").as_bytes()), value, &[(b"h", b"v")]).unwrap();
    builder.finish()
}

/// Offsets, keys and values from a position on, as a reader that asks for little gives them.
fn keyed(log: &dyn Log, of: TopicPartition, from: Offset) -> Vec<Keyed> {
    read_keyed(log, of, from).unwrap()
}

fn read_keyed(log: &dyn Log, of: TopicPartition, from: Offset) -> Result<Vec<Keyed>, FetchError> {
    let mut reader = log.reader(of, from, Arc::new(Notify::new()))?;
    let (mut found, mut scratch) = (Vec::new(), Vec::new());
    while let Some(fetched) = reader.try_next(2_000)? {
        let before = found.len();
        for batch in Batches::new(&fetched.bytes) {
            let batch = batch.unwrap();
            batch.check_crc().unwrap();
            for record in batch.records(&mut scratch).unwrap() {
                let record = record.unwrap();
                if record.offset >= fetched.from {
                    assert_eq!(record.headers.count(), 1);
                    found.push((record.offset, record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec)));
                }
            }
        }
        assert_eq!(found.len() - before, fetched.events as usize);
        assert!(fetched.events > 0 && fetched.next == reader.position());
    }
    assert_eq!(reader.position(), log.extent(of).unwrap().high_watermark);
    assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
    Ok(found)
}

/// As above; an error if the process has died, which is the only reason not to read.
fn unless_dead(log: &dyn Log, of: TopicPartition) -> Result<Vec<Keyed>, ()> {
    read_keyed(log, of, 0).map_err(|error| assert!(error.to_string().contains("the process is dead"), "{error}"))
}

fn fold(records: &[Keyed]) -> Fold {
    records.iter().map(|(offset, key, value)| (key.clone(), (*offset, value.clone()))).collect()
}

/// Everything on disk that segments may have: closed by appends behind it, synced by a checkpoint.
async fn settle(log: &EmbeddedLog, env: &Env) {
    log.core.checkpoint().unwrap();
    env.clock.sleep(std::time::Duration::from_millis(5)).await;
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was() {
    let storage = MemoryStorage::new();
    block_on(async {
        let env = Env::simulation(1, 0);
        let log = EmbeddedLog::open(&env, Arc::new(storage.mount()), settings()).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&compacted("t")).unwrap();
        let of = TopicPartition { topic, partition: 0 };
        for n in 0..400usize {
            let mut builder = BatchBuilder::new(if n % 3 == 0 { Compression::Lz4 } else { Compression::None });
            for key in [n % KEYS, (n * 7) % KEYS, 100 + n / 100] {
                let value = [n as u8; 90];
                builder.push(n as i64, Some(format!("key-{key}").as_bytes()), Some(&value), &[(b"h", b"v")]).unwrap();
            }
            log.append(of, builder.finish(), AppendOptions { group, fence: None }).await.unwrap();
        }
        settle(&log, &env).await;
        let before = keyed(&*log, of, 0);
        let extent = log.extent(of).unwrap();
        // It stands in a segment that is about to be replaced, and goes on behind.
        let mut standing = log.reader(of, 0, Arc::new(Notify::new())).unwrap();
        let stood = standing.try_next(500).unwrap().unwrap().next;
        let files = storage.list("t-0").unwrap().len();

        let removed = log.compact(0);
        assert!(removed > 500, "{removed}");
        let after = keyed(&*log, of, 0);
        assert_eq!(before.len() - after.len(), removed as usize);
        assert_eq!(fold(&after), fold(&before));
        assert!(after.iter().all(|record| before.contains(record)), "what stays is as it was, where it was");
        assert_eq!(log.extent(of).unwrap(), extent);
        assert_eq!(log.compact(0), 0, "there is nothing more to do");
        for from in 0..extent.high_watermark {
            let expected: Vec<_> = after.iter().filter(|(offset, ..)| *offset >= from).take(1).collect();
            let mut reader = log.reader(of, from, Arc::new(Notify::new())).unwrap();
            let fetched = reader.try_next(1).unwrap().unwrap();
            assert_eq!(fetched.from, from);
            assert!(fetched.next > expected[0].0, "from {from}");
        }
        let fetched = standing.try_next(500).unwrap().unwrap();
        assert!(fetched.from == stood && fetched.next > stood);
        for time in [0, 150, 399] {
            let found = log.offset_at(of, time).unwrap();
            assert!(after.iter().any(|(offset, ..)| *offset == found), "time {time} leads to a record that is there");
        }
        log.close().await;
        let left = storage.list("t-0").unwrap();
        let (old, new): (Vec<_>, Vec<_>) = left.iter().partition(|name| name.matches('.').count() == 1);
        assert!(old.len() <= 2 && new.len() > 2 && left.len() <= files, "replaced files are gone: {left:?}");
        drop(log);
        tokio::task::yield_now().await;
        let log = EmbeddedLog::open(&Env::simulation(2, 0), Arc::new(storage.mount()), settings()).unwrap();
        assert_eq!(keyed(&*log, of, 0), after);
        assert_eq!(log.compact(0), 0, "what was seen is known after a restart");
    });
}

#[test]
fn tombstones_stay_for_their_time_and_go() {
    block_on(async {
        let env = Env::simulation(1, 0);
        let log = EmbeddedLog::open(&env, Arc::new(MemoryStorage::new()), settings()).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&compacted("t")).unwrap();
        let of = TopicPartition { topic, partition: 0 };
        let append = |bytes: Bytes| log.append(of, bytes, AppendOptions { group, fence: None });
        append(record(0, Some(&[1; 3_000]), false)).await.unwrap();
        append(record(0, None, false)).await.unwrap();
        for _ in 0..10 {
            append(record(1, Some(&[2; 3_000]), false)).await.unwrap();
        }
        settle(&log, &env).await;
        let of_key = |key: &[u8]| {
            keyed(&*log, of, 0).into_iter().filter(|found| found.1 == key).map(|found| found.0).collect::<Vec<_>>()
        };
        assert!(log.compact(10_000) > 0);
        assert_eq!(of_key(b"key-0"), [1], "the value is gone, the tombstone is not");
        assert_eq!(log.compact(10_999), 0);
        assert_eq!(of_key(b"key-0"), [1]);
        assert_eq!(log.compact(11_000), 1);
        assert_eq!(of_key(b"key-0"), [0; 0], "its time is over");
        assert_eq!(log.compact(99_000), 0);
    });
}

/// Appends, compacts and trims until the process dies. What keys say is checked against what is known of them.
async fn live(storage: &MemoryStorage, rng: &mut fastrand::Rng, known: &mut Fold, life: u64) -> Result<u64, ()> {
    let env = Env::simulation(life, 0);
    // So little memory that most passes see a part only.
    let settings =
        SegmentLogConfig { compaction_key_bytes: 600, tombstone_ms: 300, retention_tick_ms: 2, ..settings() };
    let log = match EmbeddedLog::open(&env, Arc::new(storage.mount()), settings) {
        Ok(log) => log,
        Err(OpenError::Storage(_)) => return Err(()),
        Err(error) => panic!("{error}"),
    };
    let group = log.producer_group("test", 64 << 10);
    let topic = log.ensure_topic(&compacted("t")).map_err(|_| ())?;
    let of = TopicPartition { topic, partition: 0 };
    let mut removed = 0;
    // Answered with "unknown": any of them may stand.
    let check = |known: &Fold, log: &EmbeddedLog| -> Result<Fold, ()> {
        let mut found = fold(&unless_dead(log, of)?);
        for (key, (offset, value)) in known {
            match found.get(key) {
                Some((there, _)) if there > offset => {}
                Some((there, what)) => assert_eq!((there, what), (offset, value), "life {life}"),
                None => {
                    assert_eq!(*value, None, "life {life}: {:?} is lost", String::from_utf8_lossy(key));
                    // What it has deleted never comes back.
                    found.insert(key.clone(), (*offset, None));
                }
            }
        }
        Ok(found)
    };
    // What an earlier life could not tell is told now.
    *known = check(known, &log)?;
    for _ in 0..60 {
        let mut pending = Vec::new();
        for _ in 0..rng.usize(1..6) {
            let key = rng.usize(0..KEYS);
            let value: Option<Vec<u8>> =
                (rng.u8(0..4) > 0).then(|| (0..rng.usize(1..900)).map(|_| rng.u8(..)).collect());
            let bytes = record(key, value.as_deref(), rng.bool());
            pending.push((key, value, log.append(of, bytes, AppendOptions { group, fence: None })));
        }
        let mut dead = false;
        for (key, value, appending) in pending {
            let key = format!("key-{key}").into_bytes();
            match appending.await {
                Ok(offset) => _ = known.insert(key, (offset, value)),
                // It may stand or not, and may have removed itself and all before it, if it is a tombstone.
                Err(AppendError::Indefinite { .. } | AppendError::ReadOnly { .. }) => {
                    dead = true;
                    if value.is_none() {
                        known.remove(&key);
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
        if dead {
            return Err(());
        }
        if rng.u8(0..4) == 0 {
            let before = unless_dead(&*log, of)?;
            removed += log.compact(env.clock.wall_ms() + rng.i64(0..600));
            let after = unless_dead(&*log, of)?;
            // What is in memory too is read from there or from its segment, as the reader's steps fall.
            let in_memory = log.core.partition(of).and_then(|found| Some(lock(&found.state).tail.front()?.base));
            let in_memory = in_memory.unwrap_or(Offset::MAX);
            assert!(after.iter().all(|record| before.contains(record) || record.0 >= in_memory), "seed of life {life}");
            check(known, &log)?;
        }
        if rng.u8(0..8) == 0 {
            log.core.checkpoint().map_err(|_| ())?;
        }
    }
    if rng.bool() {
        log.close().await;
    }
    Ok(removed)
}

#[test]
fn what_a_key_says_outlives_any_death() {
    let mut removed = 0;
    // More of them: LOG_CRASH_SEEDS.
    let seeds = std::env::var("LOG_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(150);
    for seed in 0..seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let storage = MemoryStorage::new();
        let mut known = Fold::new();
        for life in 0..6 {
            let left = Arc::new(AtomicU64::new(if life == 5 { u64::MAX } else { rng.u64(1..700) }));
            storage.set_hook(Some(Box::new(EndAt { left, rng: rng.fork() })));
            removed += block_on(live(&storage, &mut rng, &mut known, life)).unwrap_or(0);
            // Sometimes only the process dies, sometimes the machine loses what was not synced.
            if rng.u8(0..4) == 0 { storage.kill() } else { storage.crash(&mut rng) }
        }
    }
    assert!(removed > 10_000, "{removed}: the lives compact");
}

#[test]
fn one_seed_compacts_in_one_way() {
    let run = |seed: u64| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (storage, mut known) = (MemoryStorage::new(), Fold::new());
        let removed = block_on(live(&storage, &mut rng, &mut known, 0)).unwrap();
        storage.set_hook(None);
        let files = storage.list("t-0").unwrap();
        let content: Vec<_> =
            files.iter().map(|file| read_whole(&storage, &format!("t-0/{file}"), 1 << 20).unwrap()).collect();
        (removed, files, content)
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert!(first.0 > 0 && first != run(2));
}
