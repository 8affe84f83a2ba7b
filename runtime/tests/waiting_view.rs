//! A view whose registry is away waits before the record that it cannot read, and goes on by itself: nothing is left out, nothing
//! is taken twice, and its age says that it is old.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::env::{BulkheadRuntime, Env};
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::MemoryStorage;
use runtime::log::{AppendOptions, BatchBuilder, Compression, Durability, Log, TopicConfig, TopicPartition};
use runtime::outcome::Failure;
use runtime::service::Event;
use runtime::topology::Topic;
use runtime::view::{self, View};
use runtime::writers::{Found, WriterSchemas, Writers};
use schemas::codec::Encode as _;
use schemas::events::ClickEvent;
use schemas::frame::{self, Writer};
use schemas::model::Schema;

static CLICKS: Topic = Topic::external("clicks", "click", ClickEvent::SCHEMA_ID, None);
/// The id under which another writer's schema, the same one, is known to the registry.
const OTHERS_ID: u32 = 2_000;

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl View for Seen {
    fn name(&self) -> &'static str {
        "seen"
    }
    fn topics(&self) -> Vec<&'static Topic> {
        vec![&CLICKS]
    }
    fn apply(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        let click: ClickEvent<'_> = event.decode()?;
        self.0.lock().expect("whole").push(click.event_id.to_owned());
        Ok(())
    }
    fn publish(&mut self) {}
}

/// A registry behind a switch.
#[derive(Default)]
struct Switched(AtomicBool);

impl WriterSchemas for Switched {
    fn find(&self, _: Writer) -> Found {
        if !self.0.load(Ordering::SeqCst) {
            return Found::Away("no route".into());
        }
        let builtin = schemas::builtin_by_id(ClickEvent::SCHEMA_ID).expect("built in");
        Found::Schema(Arc::new(Schema::parse(builtin.avsc).expect("a schema")))
    }
}

#[test]
fn a_view_waits_for_the_registry_and_goes_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let env = Env::simulation(1, 1_700_000_000_000);
        let log: Arc<dyn Log> =
            EmbeddedLog::open(&env, Arc::new(MemoryStorage::new()), SegmentLogConfig::small()).expect("a log");
        let config = TopicConfig {
            name: CLICKS.name.into(),
            partitions: 1,
            durability: Durability::Synced,
            retention_ms: None,
            compacted: false,
        };
        let at = TopicPartition { topic: log.ensure_topic(&config).expect("a topic"), partition: 0 };
        let group = log.producer_group("test", 1 << 20);
        let mut batch = BatchBuilder::new(Compression::None);
        for (id, name) in [(ClickEvent::SCHEMA_ID, "own"), (OTHERS_ID, "other"), (ClickEvent::SCHEMA_ID, "behind")] {
            let mut value = Vec::new();
            frame::encode(&ClickEvent { event_id: name, ..ClickEvent::default() }, &mut value);
            value[1..5].copy_from_slice(&id.to_be_bytes());
            batch.push(env.clock.wall_ms(), None, Some(&value), &[]).expect("small");
        }
        log.append(at, batch.finish(), AppendOptions { group, fence: None }).await.expect("appended");

        let (seen, registry, stop) = (Seen::default(), Arc::new(Switched::default()), Arc::new(AtomicBool::new(false)));
        let thread = BulkheadRuntime::new(&env, "views", 1, 0).expect("the current one");
        let writers = Arc::new(Writers::new(registry.clone()));
        let age = view::start(&env, &log, &thread, 1, Box::new(seen.clone()), writers, stop.clone()).expect("starts");
        let names = || seen.0.lock().expect("whole").clone();
        env.clock.sleep(Duration::from_secs(20)).await;
        assert_eq!(names(), ["own"]);
        assert!(age.ms() >= 20_000, "an old view says so: {} ms", age.ms());
        registry.0.store(true, Ordering::SeqCst);
        env.clock.sleep(Duration::from_secs(3)).await;
        assert_eq!(names(), ["own", "other", "behind"], "in order, each once");
        assert!(age.ms() < 3_000, "{} ms", age.ms());
        assert_eq!(age.rejected.load(Ordering::Relaxed), 0);
        stop.store(true, Ordering::Release);
        env.clock.sleep(Duration::from_secs(2)).await;
        log.close().await;
    });
}
