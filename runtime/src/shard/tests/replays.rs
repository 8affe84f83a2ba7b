//! Dead letters and their way back: what they say, that a replay is taken once, and that a flood of them fits its commits.

use super::*;
use crate::deadletter::replay::REPLAY;
use crate::deadletter::{Letter, ReplayOf};
use crate::log::{AppendOptions, BatchBuilder, Compression, TopicPartition};

/// What a dead letter says, and what it holds.
#[derive(Debug)]
struct Owned {
    partition: u32,
    replay: String,
    told: (String, u32, u32),
    first_failed_ms: i64,
    key: Vec<u8>,
    value: Vec<u8>,
    timestamp_ms: i64,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

fn letters(log: &PlainLog, topic: &str) -> Vec<Owned> {
    let mut letters = Vec::new();
    log.each(topic, |partition, record| {
        let letter = Letter::of(record).expect("a dead letter");
        letters.push(Owned {
            partition,
            replay: ReplayOf::next_of(&letter, "job-1").encode(),
            told: (letter.code.to_owned(), letter.attempts, letter.replays),
            first_failed_ms: letter.first_failed_ms,
            key: record.key.unwrap().to_vec(),
            value: record.value.unwrap().to_vec(),
            timestamp_ms: record.timestamp_ms,
            headers: letter.headers.map(Result::unwrap).map(|(n, v)| (n.to_vec(), v.unwrap().to_vec())).collect(),
        });
    });
    letters
}

/// Moves letters to the replay topic of `service`, as a job does.
async fn replay(log: &Arc<PlainLog>, service: &str, letters: &[Owned], value: Option<&[u8]>) {
    for letter in letters {
        let topic = log.topic(&format!("{service}-replay")).unwrap();
        let mut headers: Vec<(&[u8], &[u8])> = vec![(REPLAY, letter.replay.as_bytes())];
        headers.extend(letter.headers.iter().map(|(name, value)| (&name[..], &value[..])));
        let mut batch = BatchBuilder::new(Compression::None);
        let value = value.unwrap_or(&letter.value);
        batch.push(letter.timestamp_ms, Some(&letter.key), Some(value), &headers).unwrap();
        let options = AppendOptions { group: log.producer_group("dlq", 1 << 20), fence: None };
        let to = TopicPartition { topic, partition: letter.partition };
        log.append(to, batch.finish(), options).await.unwrap();
    }
}

#[test]
fn a_replay_is_taken_once_by_the_service_that_failed() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        platform.bulkheads[1].faults.start(FaultKind::Panic);
        produce(&log, 0, 1, "good").await;
        env.clock.sleep(Duration::from_secs(10)).await;
        platform.bulkheads[1].faults.end();
        produce(&log, 1, 20, "good").await;
        assert!(platform.idle(LONG).await);
        let set_aside = letters(&log, "middle-dlq");
        assert_eq!(set_aside.len(), 1);
        assert_eq!(set_aside[0].told, ("POISON".into(), 3, 0));
        // The producer's own header comes back with it, and decides nothing.
        assert_eq!(set_aside[0].headers[0].0, b"bh");
        assert_eq!(reached(&log), (20, 20));
        for _ in 0..3 {
            replay(&log, "second", &set_aside, None).await;
            assert!(platform.idle(LONG).await);
        }
        assert_eq!(reached(&log), (21, 21));
        platform.kill();
        let platform = start(&env, &log, config()).await;
        replay(&log, "second", &set_aside, None).await;
        assert!(platform.idle(LONG).await);
        assert_eq!(reached(&log), (21, 21), "what was taken is state");
        let tally = platform.bulkheads[1].stats.tally();
        assert_eq!((tally.done, tally.dead_lettered), (0, 0));
        assert_eq!(platform.bulkheads[0].stats.tally().total(), 0, "nobody else has heard of it");
        assert_eq!(standing_total(&log), 21 * 7);
    });
}

#[test]
fn a_replay_that_fails_again_is_the_same_event_s_next_dead_letter() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 1, "bad").await;
        assert!(platform.idle(LONG).await);
        let first = letters(&log, "input-dlq");
        env.clock.sleep(Duration::from_secs(60)).await;
        replay(&log, "first", &first, None).await;
        assert!(platform.idle(LONG).await);
        let both = letters(&log, "input-dlq");
        assert_eq!(both.len(), 2);
        assert_eq!(both[1].told, ("SEMANTIC_VIOLATION".into(), 1, 1));
        assert_eq!(both[1].first_failed_ms, first[0].first_failed_ms);
        assert_eq!((&both[1].value, &both[1].headers), (&first[0].value, &first[0].headers));
        // Mended bytes go through; the older letter is spent.
        let mended = {
            let mut event: ImpressionEvent<'_> = schemas::frame::decode(&first[0].value).unwrap();
            event.placement_id = "good";
            let mut value = Vec::new();
            schemas::frame::encode(&event, &mut value);
            value
        };
        replay(&log, "first", &first, Some(&mended)).await;
        replay(&log, "first", &both[1..], Some(&mended)).await;
        assert!(platform.idle(LONG).await);
        let tally = platform.bulkheads[0].stats.tally();
        assert_eq!((tally.done, tally.duplicates, tally.dead_lettered), (1, 1, 2));
        assert_eq!(reached(&log), (1, 1));
    });
}

#[test]
fn what_names_no_event_of_ours_is_set_aside() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 1, "bad").await;
        assert!(platform.idle(LONG).await);
        let mut letter = letters(&log, "input-dlq").pop().unwrap();
        for wrong in ["nonsense", "output/0/1/1/1/j", "input/7/1/1/1/j"] {
            letter.replay = wrong.into();
            replay(&log, "first", std::slice::from_ref(&letter), None).await;
        }
        assert!(platform.idle(LONG).await);
        let all = letters(&log, "input-dlq");
        assert_eq!(all.len(), 4);
        assert!(all[1..].iter().all(|letter| letter.told.0 == "REPLAY_MALFORMED"), "{all:?}");
        assert_eq!(all[1].value, letter.value);
    });
}

/// Dead letters are in the commit beside the outputs: a batch of nothing else must be cut in time as well.
#[test]
fn a_flood_of_dead_letters_fits_its_commits() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let mut config = config();
        config.flood.failures_min = u64::MAX;
        let platform = start(&env, &log, config).await;
        let mut batch = BatchBuilder::new(Compression::None);
        for n in 0..3_000 {
            batch.push(n, Some(b"k"), Some(&[7; 300]), &[]).unwrap();
        }
        let to = TopicPartition { topic: log.topic("input").unwrap(), partition: 0 };
        let options = AppendOptions { group: log.producer_group("test", 1 << 20), fence: None };
        log.append(to, batch.finish(), options).await.unwrap();
        assert!(platform.idle(LONG).await, "{}", platform.bulkheads[0].stats.last_error());
        assert_eq!(platform.bulkheads[0].stats.tally().dead_lettered, 3_000);
        assert_eq!(log.values("input-dlq").len(), 3_000);
    });
}

/// So are events that wait.
#[test]
fn a_flood_of_waiting_events_fits_its_commits() {
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        platform.bulkheads[1].faults.start(FaultKind::Error);
        let event = ImpressionEvent { event_id: "e", campaign_id: "c", user_id: Some("u"), ..Default::default() };
        let long = "x".repeat(900);
        let mut batch = BatchBuilder::new(Compression::None);
        let mut value = Vec::new();
        schemas::frame::encode(&ImpressionEvent { creative_id: &long, ..event }, &mut value);
        for n in 0..1_000 {
            batch.push(n, Some(format!("k{n}").as_bytes()), Some(&value), &[]).unwrap();
        }
        let to = TopicPartition { topic: log.topic("middle").unwrap(), partition: 0 };
        let options = AppendOptions { group: log.producer_group("test", 1 << 20), fence: None };
        log.append(to, batch.finish(), options).await.unwrap();
        env.clock.sleep(Duration::from_millis(500)).await;
        platform.bulkheads[1].faults.end();
        assert!(platform.idle(LONG).await, "{}", platform.bulkheads[1].stats.last_error());
        let tally = platform.bulkheads[1].stats.tally();
        assert_eq!(tally.done + tally.dead_lettered, 1_000, "{}", platform.bulkheads[1].stats.last_error());
        assert_eq!(platform.bulkheads[1].stats.last_error(), "");
    });
}

/// A trial on a copy of the state says what a replay would come to, and changes nothing.
#[test]
fn a_preview_says_what_would_happen() {
    use crate::log::{Headers, Record};
    use crate::shard::{Preview, Previewed};
    simulate(async |env| {
        let log = PlainLog::kind();
        let platform = start(&env, &log, config()).await;
        produce(&log, 0, 10, "good").await;
        produce(&log, 10, 1, "bad").await;
        assert!(platform.idle(LONG).await);
        let letter = letters(&log, "input-dlq").pop().unwrap();
        let def = ServiceDef::new(|| First);
        let mut preview = Preview::of(log.as_ref(), &def, letter.partition, env.clock.wall_ms()).unwrap();
        let mut attempt = |n, value: &[u8]| {
            let of =
                ReplayOf { topic: "input", partition: letter.partition, offset: 3, n, first_failed_ms: 0, job: "j" };
            let (key, headers) = (Some(&letter.key[..]), Headers::empty());
            preview.attempt(&INPUT, &of, &Record { offset: 3, timestamp_ms: 1, key, value: Some(value), headers })
        };
        let failed = attempt(1, &letter.value);
        assert!(matches!(&failed, Previewed::Failed(failure) if failure.kind() == "PERMANENT"), "{failed:?}");
        let mut good = log.values("input").remove(0);
        assert_eq!(attempt(2, &good), Previewed::Done([("middle", 1)].into()));
        assert_eq!(attempt(2, &good), Previewed::Duplicate);
        good.truncate(9);
        assert!(matches!(attempt(3, &good), Previewed::Failed(_)));
        let before = log.values("middle").len();
        assert!(platform.idle(LONG).await);
        assert_eq!((log.values("middle").len(), platform.lag()), (before, 0));
    });
}
