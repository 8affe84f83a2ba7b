//! Every backend of the log against the same cases.
//!
//! Known differences: none between segments on disk and over simulated storage; Kafka's are told in docs/kafka.md.

use std::sync::Arc;

use runtime::env::Env;
use runtime::log::Log;
use runtime::log::kafka::{KafkaConfig, KafkaLog};
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::{DiskStorage, MemoryStorage, Storage};
use tests::kafka;
use tests::log_cases::{self, Backend};

/// Files rotate, roll and leave memory within one case.
fn config() -> SegmentLogConfig {
    SegmentLogConfig {
        journal_file_bytes: 1 << 20,
        group_bytes: 128 << 10,
        max_batch_bytes: 128 << 10,
        segment_bytes: 256 << 10,
        tail_bytes: 128 << 10,
        index_interval_bytes: 8 << 10,
        grid_us: 100,
        ..SegmentLogConfig::small()
    }
}

/// Segment files in a temporary directory, driven by threads.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }
}

impl Backend for Disk {
    fn open(&self) -> Arc<dyn Log> {
        let storage = DiskStorage::open(self.directory.path()).expect("the directory opens");
        EmbeddedLog::open(&Env::production(), Arc::new(storage), config()).expect("the log opens")
    }
}

/// The same code over simulated storage, driven by one task on a grid.
struct Simulated {
    storage: MemoryStorage,
}

impl Simulated {
    fn new() -> Self {
        Self { storage: MemoryStorage::new() }
    }
}

impl Backend for Simulated {
    fn open(&self) -> Arc<dyn Log> {
        let storage: Arc<dyn Storage> = Arc::new(self.storage.clone());
        EmbeddedLog::open(&Env::simulation(1, 0), storage, config()).expect("the log opens")
    }
}

/// A real cluster; topics of its own for each case.
struct Kafka {
    prefix: String,
}

impl Kafka {
    fn new() -> Self {
        Self { prefix: kafka::fresh_prefix() }
    }
}

impl Backend for Kafka {
    fn open(&self) -> Arc<dyn Log> {
        let config = KafkaConfig {
            brokers: kafka::brokers().to_owned(),
            topic_prefix: self.prefix.clone(),
            create_with_replicas: Some(1),
            ..KafkaConfig::default()
        };
        KafkaLog::open(&Env::production(), config).expect("the cluster answers")
    }

    fn differs(&self, case: &str) -> bool {
        // To the client library a time of 0 is "now".
        case == "a_record_of_the_epoch_s_first_millisecond"
    }
}

macro_rules! conformance {
    ($backend:ident, $module:ident, [$($case:ident),* $(,)?]) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    let backend = super::$backend::new();
                    if super::log_cases::Backend::differs(&backend, stringify!($case)) {
                        return;
                    }
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.expect("a runtime").block_on(super::log_cases::$case(&backend));
                }
            )*
        }
    };
}

macro_rules! all_cases {
    ($backend:ident, $module:ident) => {
        conformance!(
            $backend,
            $module,
            [
                records_come_back_as_they_were,
                appends_keep_the_order_of_their_calls,
                what_is_acknowledged_is_readable_at_its_offset,
                a_waiting_reader_is_woken,
                a_reader_starts_inside_a_batch_and_seeks,
                a_fetch_gives_whole_batches_and_at_least_one,
                old_records_are_read_as_recent_ones,
                partitions_and_topics_do_not_mix,
                a_topic_is_made_once_and_keeps_its_partition_count,
                bytes_that_are_no_batch_are_refused_and_take_no_offset,
                a_trim_is_exact_and_survives,
                everything_survives_a_restart,
                a_stale_epoch_is_refused,
                an_accepted_append_is_answered_with_its_offset_and_becomes_readable,
                event_time_is_known_for_the_lag,
                a_full_budget_makes_producers_wait_and_loses_nothing,
                a_record_without_a_key,
                a_record_with_an_empty_key,
                a_record_with_a_long_key,
                a_record_with_a_binary_key,
                a_tombstone,
                a_record_of_nothing,
                a_record_with_an_empty_value,
                a_record_with_a_value_of_one_byte,
                a_record_with_a_value_of_64_kib,
                a_record_with_a_value_of_100_kb,
                a_record_of_the_epoch_s_first_millisecond,
                a_record_of_the_year_1970,
                a_record_of_the_year_2262,
                a_record_with_one_header,
                a_record_with_a_header_without_a_value,
                a_record_with_a_header_without_a_name,
                a_record_with_two_headers_of_one_name,
                a_record_with_binary_in_a_header,
                a_record_with_text_of_the_world_in_a_header,
                a_record_with_a_long_header,
                a_record_with_thirty_headers,
                a_tombstone_with_a_header,
                readers_do_not_take_from_each_other,
                a_reader_goes_back_and_forth,
                a_reader_at_the_end_gets_what_comes_and_nothing_before,
                groups_keep_their_own_order,
                a_partition_trimmed_to_its_end_goes_on,
                a_key_lies_where_java_puts_it,
            ]
        );
    };
}

all_cases!(Disk, disk);
all_cases!(Simulated, simulated);
all_cases!(Kafka, kafka_cluster);
