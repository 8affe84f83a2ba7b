use runtime::deadletter::{Failed, letter};
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::{MemoryStorage, Storage};
use runtime::log::{Batch, Durability, Record, TopicConfig};
use runtime::outcome::Reason;
use runtime::writers::{Found, WriterSchemas};
use schemas::codec::Encode as _;
use schemas::events::ImpressionEvent;
use schemas::frame::Writer;

use super::super::letters;
use super::*;

const LETTERS: u64 = 40;

/// A log with dead letters of billing, and nobody who takes them back.
async fn log() -> Arc<dyn Log> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let log: Arc<dyn Log> =
        EmbeddedLog::open(&Env::production(), storage, SegmentLogConfig::small()).expect("a log of its own");
    let topic = |name: &str| TopicConfig {
        name: name.into(),
        partitions: 2,
        durability: Durability::Synced,
        retention_ms: None,
        compacted: false,
    };
    log.ensure_topic(&topic("billing-replay")).expect("made");
    let dead = log.ensure_topic(&topic("impressions-dlq")).expect("made");
    for n in 0..LETTERS {
        let id = format!("event-{n}");
        let event = ImpressionEvent { event_id: &id, win_price_micros: n as i64, ..Default::default() };
        let mut value = schemas::frame::MAGIC_ID.to_be_bytes().to_vec();
        value.extend_from_slice(&<ImpressionEvent<'_> as schemas::codec::Encode>::SCHEMA_ID.to_be_bytes());
        event.encode(&mut value);
        add(log.as_ref(), dead, n, &value, &[(b"own", b"header")]).await;
    }
    log
}

/// A dead letter of an impression with offset `n`.
async fn add(log: &dyn Log, dead: TopicId, n: u64, value: &[u8], headers: &[(&[u8], &[u8])]) {
    let options = AppendOptions { group: audit::group(log), fence: None };
    let key = format!("user-{n}");
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(n as i64, Some(key.as_bytes()), Some(value), headers).expect("small");
    let (event, mut scratch) = (batch.finish(), Vec::new());
    let (event, _) = Batch::parse(&event).expect("a batch");
    let record = event.records(&mut scratch).expect("records").next().expect("one").expect("readable");
    let partition = (n % 2) as u32;
    let record = Record { offset: n as i64, ..record };
    let reason = Reason::new("POISON", "told to panic");
    let failed = Failed { class: "POISON", reason: &reason, attempts: 3, first_ms: 1, last_ms: 2 };
    let written = letter::write("billing", "impressions", partition, &record, None, &failed, None);
    let headers = written.with(record.headers).expect("readable");
    batch.push(record.timestamp_ms, record.key, record.value, &headers).expect("small");
    log.append(TopicPartition { topic: dead, partition }, batch.finish(), options).await.expect("appended");
}

fn test(body: impl AsyncFnOnce(Env, Arc<dyn Log>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = log().await;
        body(Env::production(), log.clone()).await;
        log.close().await;
    });
}

/// What lies in the replay topic, in order.
fn replayed<T: Ord>(log: &dyn Log, read: fn(&Arc<str>, u32, &Record<'_>) -> Option<T>) -> Vec<T> {
    let mut found = Vec::new();
    super::super::walk::each(log, "billing-replay", read, |replay| {
        found.push(replay);
        Ok(())
    })
    .expect("readable");
    found.sort();
    found
}

/// Offset of the event, job, value.
fn replays(log: &dyn Log) -> Vec<(i64, String, Vec<u8>)> {
    replayed(log, |_, _, record| {
        let (of, own) = ReplayOf::of(record)?;
        assert_eq!(own.get(b"own"), Some(&b"header"[..]), "the event's own headers come back");
        Some((of.offset, of.job.to_owned(), record.value?.to_vec()))
    })
}

fn order(kind: Kind) -> Order {
    Order { kind, actor: "test".into(), reason: "because".into(), ..Order::default() }
}

#[test]
fn each_letter_is_moved_once_whatever_is_run_again() {
    test(async |env, log| {
        let schemas = Schemas::builtin();
        let runner = Runner { env: &env, log: &log, schemas: &schemas, platform: None, progress: &|_| {} };
        let one = Order {
            selection: Selection { key: Some("user-7".into()), ..Selection::default() },
            ..order(Kind::Replay)
        };
        let one = runner.start(one).await.expect("runs");
        assert_eq!((one.state, one.counts.scanned, one.counts.moved), (Action::Finished, 1, 1));
        // A job of which nothing is known but that it was started, and half of whose letters lie there already: what a crash
        // leaves behind.
        let started =
            row(&env, "crashed", &order(Kind::Replay), Action::Started, "", Counts::default()).expect("a row");
        audit::append(log.as_ref(), &[started]).await.expect("appended");
        let half = Order { selection: Selection { until_ms: Some(2), ..Selection::default() }, ..order(Kind::Replay) };
        assert_eq!(runner.start(half).await.expect("runs").counts, Counts::default(), "nothing is that old");
        let resumed = runner.resume("crashed", "other").await.expect("runs");
        let counts = resumed.counts;
        assert_eq!((resumed.state, counts.scanned, counts.moved, counts.skipped), (Action::Finished, 40, 39, 1));
        let moved = replays(log.as_ref());
        assert_eq!(moved.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
        assert_eq!(moved.iter().filter(|(_, job, _)| *job == one.job).count(), 1);
        let again = runner.start(order(Kind::Replay)).await.expect("runs");
        assert_eq!((again.counts.scanned, again.counts.skipped), (40, 40));
        assert_eq!(replays(log.as_ref()).len(), 40);
        assert_eq!(runner.resume("crashed", "other").await.expect_err("over").kind(), "JOB_OVER");
        let names: Vec<_> = jobs(log.as_ref()).expect("readable").into_iter().map(|job| job.state).collect();
        assert_eq!(names, [Action::Finished; 4]);
    });
}

#[test]
fn a_canary_without_its_service_waits_and_can_be_cancelled() {
    test(async |env, log| {
        let schemas = Schemas::builtin();
        let runner = Runner { env: &env, log: &log, schemas: &schemas, platform: None, progress: &|_| {} };
        let job = runner.start(Order { canary: Some(3), ..order(Kind::Replay) }).await.expect("runs");
        assert_eq!((job.state, job.counts.moved, replays(log.as_ref()).len()), (Action::Paused, 3, 3));
        // Gone on with, it looks at the same three again and moves none of them twice.
        let job = runner.resume(&job.job, "other").await.expect("runs");
        assert_eq!((job.state, job.counts.moved, replays(log.as_ref()).len()), (Action::Paused, 3, 3));
        let cancelled = cancel(log.as_ref(), &env, &job.job, "other", "no").await.expect("cancelled");
        assert_eq!((cancelled.state, cancelled.counts.moved), (Action::Cancelled, 3));
        assert_eq!(runner.resume(&job.job, "other").await.expect_err("over").kind(), "JOB_OVER");
        assert_eq!(cancel(log.as_ref(), &env, "nobody", "other", "").await.expect_err("none").kind(), "NO_JOB");
    });
}

#[test]
fn letters_are_mended_or_put_away() {
    test(async |env, log| {
        let schemas = Schemas::builtin();
        let runner = Runner { env: &env, log: &log, schemas: &schemas, platform: None, progress: &|_| {} };
        let field =
            |value: &str| Selection { fields: vec![("win_price_micros".into(), value.into())], ..Selection::default() };
        let set = |text: &str| vec![("win_price_micros".to_owned(), text.to_owned())];
        let mend = Order { selection: field("5"), set: set("50"), ..order(Kind::Replay) };
        assert_eq!(runner.start(mend).await.expect("runs").counts.moved, 1);
        let (offset, _, value) = replays(log.as_ref()).remove(0);
        let event: ImpressionEvent<'_> = schemas::frame::decode(&value).expect("ours");
        assert_eq!((offset, event.event_id, event.win_price_micros), (5, "event-5", 50));
        // What cannot be set is counted, and stays open.
        let wrong = Order { selection: field("6"), set: set("much"), ..order(Kind::Replay) };
        let counts = runner.start(wrong).await.expect("runs").counts;
        assert_eq!((counts.scanned, counts.moved, counts.failed), (1, 0, 1));
        let discard = Order { selection: field("6"), ..order(Kind::Discard) };
        assert_eq!(runner.start(discard).await.expect("runs").counts.moved, 1);
        let shelf = Shelf::read(log.as_ref()).expect("readable");
        let mut states = BTreeMap::new();
        letters::each(log.as_ref(), |letter| {
            *states.entry(shelf.state(&letter).name()).or_insert(0) += 1;
            Ok(())
        })
        .expect("readable");
        assert_eq!(states, [("discarded", 1), ("open", 38), ("replayed", 1)].into());
        let all = runner.start(order(Kind::Replay)).await.expect("runs").counts;
        assert_eq!((all.scanned, all.moved, all.skipped), (40, 38, 2));
    });
}

/// A newer version of the impressions' schema, known by its GUID alone.
struct Newer;

const GUID: [u8; 16] = [7; 16];

impl WriterSchemas for Newer {
    fn find(&self, writer: Writer) -> Found {
        let Writer::Guid(GUID) = writer else { return Found::Absent };
        let own = schemas::builtin_by_id(<ImpressionEvent<'_> as schemas::codec::Encode>::SCHEMA_ID).expect("built in");
        let newer = own.avsc.replacen("\"fields\": [", "\"fields\": [{\"name\": \"added\", \"type\": \"long\"},", 1);
        Found::Schema(Arc::new(schemas::model::Schema::parse(&newer).expect("a schema")))
    }
}

/// Offset, value and schema header.
fn headed(log: &dyn Log) -> Vec<(i64, Vec<u8>, Option<Vec<u8>>)> {
    replayed(log, |_, _, record| {
        let (of, own) = ReplayOf::of(record)?;
        Some((of.offset, record.value?.to_vec(), own.get(VALUE_HEADER.as_bytes()).map(<[u8]>::to_vec)))
    })
}

#[test]
fn letters_of_other_writers_are_read_and_mended() {
    test(async |env, log| {
        let dead = log.topic("impressions-dlq").expect("made");
        let header = [&[schemas::frame::MAGIC_GUID], &GUID[..]].concat();
        for n in [100, 101] {
            // Zigzag 7, then what our own version holds.
            let mut datum = vec![14];
            ImpressionEvent { event_id: "newer", win_price_micros: n as i64, ..Default::default() }.encode(&mut datum);
            add(log.as_ref(), dead, n, &datum, &[(VALUE_HEADER.as_bytes(), &header)]).await;
        }
        let (knows, without) = (Schemas::new(Arc::new(Newer)).expect("they parse"), Schemas::builtin());
        let at = |price: &str| Order {
            selection: Selection { fields: vec![("win_price_micros".into(), price.into())], ..Selection::default() },
            ..order(Kind::Replay)
        };
        let runner = |schemas| Runner { env: &env, log: &log, schemas, platform: None, progress: &|_| {} };
        assert_eq!(runner(&without).start(at("100")).await.expect("runs").counts.scanned, 0);
        let set = vec![("win_price_micros".to_owned(), "50".to_owned())];
        let mended = runner(&knows).start(Order { set, ..at("100") }).await.expect("runs");
        assert_eq!((mended.counts.scanned, mended.counts.moved), (1, 1));
        assert_eq!(runner(&knows).start(at("101")).await.expect("runs").counts.moved, 1);
        let moved = headed(log.as_ref());
        let event: ImpressionEvent<'_> = schemas::frame::decode(&moved[0].1).expect("our own frame");
        assert_eq!((moved[0].0, event.event_id, event.win_price_micros, &moved[0].2), (100, "newer", 50, &None));
        assert_eq!((moved[1].0, moved[1].1[0], moved[1].2.as_ref()), (101, 14, Some(&header)), "untouched");

        let mut said = Vec::new();
        letters::each(log.as_ref(), |letter| {
            said.extend((letter.event.offset == 101).then(|| without.read(&letter).err()));
            Ok(())
        })
        .expect("readable");
        let said = said.remove(0).expect("nobody knows the writer");
        assert!(said.contains("schema GUID 07070707") && said.contains("does not have"), "{said}");
    });
}
