//! Every backend of the log against the same cases.
//!
//! Known differences: none between segments on disk and over simulated storage; Kafka's are told in docs/kafka.md.

use std::sync::Arc;

use runtime::env::Env;
use runtime::log::Log;
use runtime::log::kafka::{KafkaConfig, KafkaLog};
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::{DiskStorage, MemoryStorage, Storage};
use tests::log_cases::{self, Backend, Instead};
use tests::{kafka, log_kafka};

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

    fn instead<'a>(&'a self, case: &str) -> Option<Instead<'a>> {
        match case {
            "a_record_of_the_epoch_s_first_millisecond" => {
                Some(Box::pin(log_kafka::a_time_of_zero_is_that_of_the_append(self)))
            }
            "a_record_with_binary_in_a_header_s_name" => Some(Box::pin(log_kafka::names_of_headers_are_text(self))),
            "a_trim_beyond_the_end_stops_there" => Some(Box::pin(log_kafka::a_trim_beyond_the_end_is_refused(self))),
            _ => None,
        }
    }
}

macro_rules! conformance {
    ($backend:ident, $module:ident, [$($case:ident),* $(,)?]) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    let backend = super::$backend::new();
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    let runtime = runtime.expect("a runtime");
                    match super::log_cases::Backend::instead(&backend, stringify!($case)) {
                        Some(other) => runtime.block_on(other),
                        None => runtime.block_on(super::log_cases::$case(&backend)),
                    }
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
                a_time_is_found_where_it_is,
                a_time_between_two_records_gives_the_later,
                a_time_before_all_gives_the_first_record,
                a_time_after_all_gives_the_end,
                an_empty_partition_has_no_time,
                of_equal_times_the_first_is_given,
                times_out_of_order_give_the_first_that_is_late_enough,
                a_time_is_found_in_a_packed_batch,
                a_time_is_found_over_many_files,
                a_time_below_the_start_gives_the_start,
                a_time_of_the_trimmed_part_of_a_batch_is_not_found_there,
                a_partition_trimmed_to_its_end_has_no_time,
                a_time_is_found_after_a_restart,
                partitions_have_times_of_their_own,
                a_reader_goes_on_from_a_time,
                a_time_in_what_is_not_there_is_refused,
                a_reader_above_the_end_waits_for_its_record,
                a_reader_below_the_start_is_told_and_goes_on_from_there,
                a_reader_that_a_trim_passes_is_told,
                a_trim_inside_a_batch_hides_its_first_part,
                trims_of_partitions_are_apart,
                a_trim_of_nothing_is_fine,
                a_trim_beyond_the_end_stops_there,
                a_batch_of_ten_thousand_empty_records,
                records_of_every_size_around_the_steps_of_a_length,
                a_thousand_small_batches,
                packed_and_plain_batches_take_turns,
                a_packed_batch_of_half_a_megabyte_of_one_byte,
                a_batch_over_every_limit_is_refused_and_takes_no_offset,
                six_readers_of_one_partition_see_the_same,
                a_reader_that_goes_leaves_the_others_alone,
                a_seek_to_where_it_stands_changes_nothing,
                a_reader_is_read_while_it_is_written,
                one_batch_at_a_time_fits_a_narrow_budget,
                a_group_that_waits_holds_up_no_other,
                answers_that_nobody_waits_for_are_appends_all_the_same,
                appends_of_four_threads_are_all_there,
                a_fence_never_goes_back,
                fences_are_of_one_group,
                who_carries_no_epoch_is_not_fenced,
                an_append_of_a_new_owner_fences_the_old_one,
                offsets_go_on_over_three_lives,
                what_is_acknowledged_outlives_a_log_that_was_not_closed,
                a_reader_of_a_closed_log_ends,
                readers_do_not_take_from_each_other,
                a_reader_goes_back_and_forth,
                a_reader_at_the_end_gets_what_comes_and_nothing_before,
                groups_keep_their_own_order,
                a_partition_trimmed_to_its_end_goes_on,
                a_key_lies_where_java_puts_it,
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
                a_record_with_a_key_of_the_world,
                a_record_with_a_value_of_line_ends,
                a_record_with_a_header_of_nothing,
                a_record_with_a_long_key_and_an_empty_value,
                a_record_with_binary_in_a_header_s_name,
                a_tombstone_with_a_header,
            ]
        );
    };
}

all_cases!(Disk, disk);
all_cases!(Simulated, simulated);
all_cases!(Kafka, kafka_cluster);
