//! The independent recount finds what it is there to find: a small directory is written by the program, copied record by
//! record with one thing wrong in it, and counted again. Each planted error is found, with its row.

use std::process::Command;
use std::sync::{Arc, OnceLock};

use bulkhead::verify::{self, Found};
use runtime::env::Env;
use runtime::log::batch::Compression;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::{MemoryStorage, Storage};
use runtime::log::{AppendOptions, BatchBuilder, Log, TopicConfig, TopicPartition};
use schemas::codec::{Array, Encode};
use schemas::events as e;
use schemas::frame;
use tests::log_cases::{Owned, records};
use tests::program::built;
use tokio::sync::Notify;

/// A batch of the copy holds about so much.
const BATCH_BYTES: usize = 128 << 10;

/// A data directory in memory: topics, their partitions, their records.
#[derive(Clone)]
struct Directory(Vec<(TopicConfig, Vec<Vec<Owned>>)>);

/// Where a record stands.
type At = (u32, i64);

impl Directory {
    fn read(log: &dyn Log) -> Self {
        let partition = |at| {
            let extent = log.extent(at).expect("known");
            let mut reader = log.reader(at, extent.start, Arc::new(Notify::new())).expect("a reader");
            let mut found = Vec::new();
            while reader.position() < extent.high_watermark {
                found.extend(records(&reader.try_next(1 << 20).expect("readable").expect("more")));
            }
            found
        };
        let topic = |(topic, config): (_, TopicConfig)| {
            let all = (0..config.partitions).map(|n| partition(TopicPartition { topic, partition: n })).collect();
            (config, all)
        };
        Self(log.topics().into_iter().map(topic).collect())
    }

    /// The same in a new log.
    async fn log(&self) -> Arc<EmbeddedLog> {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let log = EmbeddedLog::open(&Env::production(), storage, SegmentLogConfig::small()).expect("opens");
        let options = AppendOptions { group: log.producer_group("copy", 64 << 20), fence: None };
        for (config, partitions) in &self.0 {
            let topic = log.ensure_topic(config).expect("made");
            for (partition, records) in partitions.iter().enumerate() {
                let to = TopicPartition { topic, partition: partition as u32 };
                let mut builder = BatchBuilder::new(Compression::None);
                for record in records {
                    if builder.bytes() > BATCH_BYTES {
                        log.append(to, builder.finish(), options).await.expect("appended");
                    }
                    let headers: Vec<(&[u8], &[u8])> =
                        record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
                    builder
                        .push(record.timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers)
                        .expect("small");
                }
                if !builder.is_empty() {
                    log.append(to, builder.finish(), options).await.expect("appended");
                }
            }
        }
        log
    }

    fn recount(&self) -> Found {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let log = self.log().await;
            let found = verify::recount(log.as_ref(), None, "".as_ref()).expect("readable");
            log.close().await;
            found
        })
    }

    fn topic(&mut self, name: &str) -> &mut Vec<Vec<Owned>> {
        let found = self.0.iter_mut().find(|(config, _)| &*config.name == name);
        &mut found.unwrap_or_else(|| panic!("no topic {name}")).1
    }

    /// Changes the first record for which `change` has other bytes.
    fn change(&mut self, topic: &str, change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> At {
        for (partition, records) in self.topic(topic).iter_mut().enumerate() {
            for record in records {
                if let Some(value) = record.value.as_deref().and_then(&change) {
                    record.value = Some(value);
                    return (partition as u32, record.offset);
                }
            }
        }
        panic!("{topic} holds nothing to change; give the demo more requests")
    }

    /// Takes the first record away for which `which` holds.
    fn remove(&mut self, topic: &str, which: impl Fn(&[u8]) -> bool) -> At {
        for (partition, records) in self.topic(topic).iter_mut().enumerate() {
            let at = records.iter().position(|record| record.value.as_deref().is_some_and(&which));
            if let Some(at) = at {
                return (partition as u32, records.remove(at).offset);
            }
        }
        panic!("{topic} holds nothing to take away; give the demo more requests")
    }

    /// Appends a copy of the first record for which `which` holds, as its producer's next output or as a repetition.
    fn double(&mut self, topic: &str, as_next: bool, which: impl Fn(&[u8]) -> bool) {
        for records in self.topic(topic).iter_mut() {
            let found = records.iter().find(|record| record.value.as_deref().is_some_and(&which)).cloned();
            let Some(mut copy) = found else { continue };
            if as_next {
                let producer = copy.headers[0].1[..14].to_vec();
                let of_producer = records.iter().filter(|record| record.headers[0].1.starts_with(&producer));
                let n = of_producer.map(|record| number(&record.headers[0].1)).max().expect("itself");
                copy.headers[0].1[14..].copy_from_slice(&(n + 1).to_be_bytes());
            }
            records.push(copy);
            return;
        }
        panic!("{topic} holds nothing to double; give the demo more requests")
    }
}

/// The last eight bytes of a provenance header.
fn number(provenance: &[u8]) -> i64 {
    i64::from_be_bytes(provenance[14..].try_into().expect("22 bytes"))
}

fn framed(event: &impl Encode) -> Vec<u8> {
    let mut value = Vec::new();
    frame::encode(event, &mut value);
    value
}

/// A run in which events are set aside, wait, and are judged late.
fn directory() -> &'static Directory {
    static DIRECTORY: OnceLock<Directory> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let data = tempfile::tempdir().expect("a directory");
        let demo = Command::new(built("bulkhead", "bulkhead"))
            .args(["demo", "--requests", "6000", "--speed", "4x", "--seed", "7", "--fault", "billing:poison@300ms+3s"])
            .args(["--fault", "analytics:error@1s+500ms", "--output", "json", "--data"])
            .arg(data.path())
            .output()
            .expect("the program starts");
        assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
        let log = verify::open(data.path()).expect("opens");
        Directory::read(log.as_ref())
    })
}

fn transfer(value: &[u8]) -> e::BillingEvent<'_> {
    frame::decode(value).expect("a transfer")
}

fn is_reversal(value: &[u8]) -> bool {
    transfer(value).kind == e::TransferKind::Reversal
}

fn is_charge(value: &[u8]) -> bool {
    transfer(value).kind == e::TransferKind::Charge
}

/// A commit of `ads` with its first range changed.
fn ads_commit(change: impl Fn(&e::InputRange<'_>) -> Option<(i64, i64)>) -> impl Fn(&[u8]) -> Option<Vec<u8>> {
    move |value| {
        let commit: e::Commit<'_> = frame::decode(value).ok()?;
        let mut inputs: Vec<_> = commit.inputs.iter().collect();
        let (from, to) = change(inputs.first()?)?;
        (inputs[0].from, inputs[0].to) = (from, to);
        Some(framed(&e::Commit { inputs: Array::from_slice(&inputs), ..commit }))
    }
}

/// Name, the error, and words that its row must have.
type Planted = (&'static str, fn(&mut Directory) -> String);

const PLANTED: [Planted; 16] = [
    ("an amount", |directory| {
        let change = |value: &[u8]| {
            let transfer = transfer(value);
            Some(framed(&e::BillingEvent { amount_micros: transfer.amount_micros + 1, ..transfer }))
        };
        let (partition, offset) = directory.change("billing-events", change);
        format!("billing-events-{partition}@{offset}")
    }),
    ("a posting to another account", |directory| {
        let change = |value: &[u8]| Some(framed(&e::BillingEvent { debit_account: "x", ..transfer(value) }));
        let (partition, offset) = directory.change("billing-events", change);
        format!("billing-events-{partition}@{offset}")
    }),
    ("a missing posting", |directory| {
        directory.remove("billing-events", is_charge);
        "billing-events chg-".into()
    }),
    ("a doubled posting", |directory| {
        directory.double("billing-events", true, is_charge);
        "chg-".into()
    }),
    ("a reversal twice", |directory| {
        directory.double("billing-events", true, is_reversal);
        "rev-".into()
    }),
    ("a missing reversal", |directory| {
        directory.remove("billing-events", is_reversal);
        "billing-events rev-".into()
    }),
    ("a skipped event", |directory| {
        // The last of a range is left out.
        let (partition, _) = directory
            .change("ads-commits", ads_commit(|range| Some((range.from, range.to - 1)).filter(|(f, t)| f < t)));
        format!("impression-pixels-{partition}/ads")
    }),
    ("a moved offset", |directory| {
        let (partition, _) = directory
            .change("ads-commits", ads_commit(|range| Some((range.from - 1, range.to)).filter(|(f, _)| *f > 0)));
        format!("impression-pixels-{partition}/ads")
    }),
    ("a wrong minute", |directory| {
        // In every record of a key, so that the newest one has it whichever that is.
        let mut key = None;
        for records in directory.topic("campaign-metrics-1m") {
            for record in records.iter_mut() {
                let Some(value) = record.value.as_deref() else { continue };
                if *key.get_or_insert_with(|| record.key.clone()) == record.key {
                    let minute: e::CampaignMinute<'_> = frame::decode(value).expect("a minute");
                    record.value = Some(framed(&e::CampaignMinute { impressions: minute.impressions + 1, ..minute }));
                }
            }
        }
        String::from_utf8(key.flatten().expect("a minute")).expect("text")
    }),
    ("a missing dead letter", |directory| {
        directory.remove("impressions-dlq", |_| true);
        "impressions-dlq billing-".into()
    }),
    ("a dead letter with other bytes", |directory| {
        let (partition, offset) = directory.change("impressions-dlq", |_| Some(b"x".to_vec()));
        format!("impressions-dlq-{partition}@{offset}")
    }),
    ("an altered verdict", |directory| {
        let change = |value: &[u8]| {
            let verdict: e::FraudVerdict<'_> = frame::decode(value).expect("a verdict");
            let other = e::FraudVerdict { verdict: e::Verdict::SivtSuspect, ..verdict };
            (verdict.verdict == e::Verdict::Givt).then(|| framed(&other))
        };
        let (partition, offset) = directory.change("fraud-verdicts", change);
        format!("fraud-verdicts-{partition}@{offset}")
    }),
    ("credit moved to another campaign", |directory| {
        let change = |value: &[u8]| {
            let result: e::AttributionResult<'_> = frame::decode(value).expect("a result");
            let touch = e::Touch { campaign_id: "camp-x", ..result.touches.get(0)? };
            Some(framed(&e::AttributionResult { touches: Array::from_slice(&[touch]), ..result }))
        };
        let (partition, offset) = directory.change("attributions", change);
        format!("attributions-{partition}@{offset}")
    }),
    ("a lost output", |directory| {
        directory.remove("auction-results", |_| true);
        "auction-results ".into()
    }),
    ("an outcome that was another one", |directory| {
        let change = |value: &[u8]| {
            let commit: e::Commit<'_> = frame::decode(value).ok()?;
            let mut outcomes: Vec<_> = commit.outcomes.iter().collect();
            let at = outcomes.iter().position(|outcome| outcome.kind == e::OutcomeKind::Duplicate)?;
            outcomes[at].kind = e::OutcomeKind::DoneAfterParking;
            Some(framed(&e::Commit { outcomes: Array::from_slice(&outcomes), ..commit }))
        };
        directory.change("tracking-commits", change);
        "/tracking".into()
    }),
    ("money of a budget", |directory| {
        let mut key = None;
        for records in directory.topic("budget-status") {
            for record in records.iter_mut() {
                let Some(value) = record.value.as_deref() else { continue };
                if *key.get_or_insert_with(|| record.key.clone()) == record.key {
                    let status: e::BudgetStatus<'_> = frame::decode(value).expect("a status");
                    record.value = Some(framed(&e::BudgetStatus { posted_micros: status.posted_micros + 1, ..status }));
                }
            }
        }
        format!("{}: posted_micros", String::from_utf8(key.flatten().expect("a status")).expect("text"))
    }),
];

#[test]
fn a_directory_of_the_program_is_in_order() {
    let found = directory().recount();
    assert!(found.is_ok(), "{:#?}", found.differences);
    assert_eq!(found.recount_diff_micros, 0);
    let sum = |of: fn(&verify::replay::Account) -> u64| found.offsets.values().map(of).sum::<u64>();
    assert!(found.rows_compared > 30_000 && sum(|a| a.dead_lettered) > 0 && sum(|a| a.duplicate) > 0);
    for (name, a) in &found.offsets {
        assert_eq!(a.events, a.done + a.duplicate + a.dead_lettered + a.waiting + a.unaccounted, "{name}");
    }
}

#[test]
fn every_planted_error_is_found_with_its_row() {
    let mut missed = Vec::new();
    for (name, plant) in PLANTED {
        let mut copy = directory().clone();
        let row = plant(&mut copy);
        let found = copy.recount();
        if found.is_ok() || !found.differences.listed.iter().any(|difference| difference.place.contains(&row)) {
            missed.push(format!("{name}: no difference at `{row}` among {:#?}", found.differences.listed));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn an_error_of_the_ledger_is_said_in_micros() {
    let mut copy = directory().clone();
    copy.change("billing-events", |value| {
        let transfer = transfer(value);
        Some(framed(&e::BillingEvent { amount_micros: transfer.amount_micros + 7, ..transfer }))
    });
    // Both accounts of the transfer are wrong by it.
    assert_eq!(copy.recount().recount_diff_micros, 14);
}

/// What the protocol allows is no error: outputs published again, records of an owner that was fenced.
#[test]
fn repetitions_and_void_commits_are_passed_over() {
    let mut copy = directory().clone();
    copy.double("billing-events", false, is_charge);
    copy.double("impressions-dlq", false, |_| true);
    // An old commit once more, out of line and of whatever epoch: void for every reader.
    let commits = &mut copy.topic("billing-commits")[0];
    let old = commits[1].clone();
    commits.push(old);
    let found = copy.recount();
    assert!(found.is_ok(), "{:#?}", found.differences);
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let empty = tempfile::tempdir().expect("a directory");
    let program = built("bulkhead", "bulkhead");
    let verify = |path: &std::path::Path| {
        let output = Command::new(&program).args(["verify", "--data"]).arg(path).output().expect("the program starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, says) = verify(empty.path());
    assert!(code == Some(2) && says.contains("is no data directory"), "{code:?} {says}");
    let (code, says) = verify(&empty.path().join("absent"));
    assert!(code == Some(2) && says.contains("no such directory"), "{code:?} {says}");
    std::fs::write(empty.path().join("VERSION"), "another log 99\n").expect("written");
    let (code, says) = verify(empty.path());
    assert!(code == Some(2) && says.contains("another version"), "{code:?} {says}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let storage = Arc::new(runtime::log::storage::DiskStorage::open(data.path()).expect("a directory"));
    let held = EmbeddedLog::open(&Env::production(), storage, SegmentLogConfig::default()).expect("opens");
    let error = verify::open(data.path()).err().expect("refused").to_string();
    assert!(error.contains("in use"), "{error}");
    drop(held);
}
